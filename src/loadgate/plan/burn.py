"""Burn rates: how fast a run uses up the share of bad requests that its objective allows.

Multiwindow, multi-burn-rate alerts after "Alerting on SLOs", chapter 5 of Google's Site Reliability Workbook
(2018). Its table is for a period of 30 days: page at 14.4 times for 1 h (2 % of the budget), at 6 times for
6 h (5 %), and write a ticket at 1 time for 3 days (10 %), each only while the burn over a twelfth of that
time is as high, so that an alert ends soon after its cause.

A run's period is its own planned steady time T. The shares stay; so the windows are T/720, T/120 and T/10,
and the burn rate follows: using up a share s of the budget within a window w means a burn of s * T / w, which
gives 0.02 * 720 = 14.4, 0.05 * 120 = 6 and 0.10 * 10 = 1. Constants of 30 days would be wrong here: 14.4
times for an hour is 8.6 % of the budget of a week.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationInfo

from loadgate.plan.fields import PlanModel, is_toml, number
from loadgate.plan.sla import Limit
from loadgate.plan.units import UnitError, format_duration, format_number, format_share, parse_share

Speed = Literal["fast", "medium", "slow"]
SPEEDS: Final[dict[Speed, tuple[float, float]]] = {
    "fast": (0.02, 1 / 720),
    "medium": (0.05, 1 / 120),
    "slow": (0.10, 1 / 10),
}
"""By speed: the share of the budget, and the long window as a share of the run's steady time."""
SHORT: Final = 1 / 12
"""The short window, as a share of the long one."""
SHORTEST: Final = 10.0
"""Seconds below which a short window says too little; such a pair is left out."""
STEPS: Final = 6
"""Evaluations in the shortest short window."""


def _budget(value: Any, info: ValidationInfo) -> float:
    """Read a budget: "0.1%", and a bare share only outside of TOML."""
    if isinstance(value, str):
        share = parse_share(value)
    else:
        bare = number(value)
        if bare is None or is_toml(info):
            raise UnitError("must be a share", 'write a percentage, for example "0.1%"')
        share = bare
    if not 0 < share < 1:
        raise UnitError("must be more than 0% and less than 100%", 'for example "0.1%"')
    return share


class Burn(PlanModel):
    """The `burn` of a rule, as its file says it."""

    objective: str = Field(
        description="a row of the SLA table, or error_rate of all or one endpoint", examples=["error_rate"]
    )
    budget: Annotated[float, BeforeValidator(_budget)] | None = Field(
        default=None, description="the share of bad requests that is allowed", examples=["0.1%"]
    )
    windows: Annotated[tuple[Speed, ...], Field(min_length=1)] = Field(
        default=("fast", "medium", "slow"), description="which pairs of windows are watched"
    )


class BurnPair(PlanModel):
    """A long and a short window, in seconds of run time, and the burn rate that both must reach."""

    speed: Speed
    share: float
    factor: float
    long: float
    short: float

    @property
    def text(self) -> str:
        """Say it in words."""
        return (
            f"{format_number(self.factor)} times for {format_duration(self.long)} "
            f"({format_share(self.share)} of the run's budget) and for the last {format_duration(self.short)}"
        )


class BurnRate(PlanModel):
    """A burn rule of a run: the budget, its pairs, and over which latency a request is bad."""

    budget: float
    pairs: tuple[BurnPair, ...]
    over: Limit | None = None


def pairs_of(seconds: float, budget: float, speeds: tuple[Speed, ...]) -> tuple[BurnPair, ...]:
    """Return the pairs that a run of so many steady seconds can use, the fastest first.

    Left out are those whose short window is under 10 s, and those that can never be reached: with every
    request bad the burn is 1 / budget, and no more.
    """
    found = []
    for speed, (share, part) in SPEEDS.items():
        long = seconds * part
        pair = BurnPair(
            speed=speed, share=share, factor=round(share / part, 9), long=long, short=long * SHORT
        )
        if speed in speeds and pair.short >= SHORTEST - 1e-9 and pair.factor * budget <= 1:
            found.append(pair)
    return tuple(found)


def least_run(speeds: tuple[Speed, ...]) -> float:
    """Return the shortest steady time (s) that leaves any of the pairs a short window of 10 s."""
    return min(SHORTEST / SHORT / SPEEDS[speed][1] for speed in speeds)


def step_of(pairs: tuple[BurnPair, ...]) -> float:
    """Return the seconds between two looks: a sixth of the shortest window, whole, and at least 10."""
    return max(SHORTEST, float(int(min(pair.short for pair in pairs) / STEPS)))
