"""Alert rules: as a rules file says them (`AlertEntry`), and as a run uses them (`AlertRule`).

A rule points at rows, probes and phases of a scenario; `checks_alerts.py` looks these up. What comes out
stands alone, so that the stored plan of a run is all that a replay of its alerts needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, StrictInt, ValidationInfo, field_validator

from loadgate.plan.burn import Burn, BurnRate
from loadgate.plan.conditions import Subject, parse_when
from loadgate.plan.fields import PlanModel, Seconds, is_toml
from loadgate.plan.notify import Severity
from loadgate.plan.rollback import VERBS
from loadgate.plan.sla import Limit
from loadgate.plan.strict import nearest
from loadgate.plan.units import UnitError, UnitErrors, parse_duration

PhaseName = Literal["warmup", "ramp", "steady", "drain"]
PHASE_NAMES: Final[tuple[PhaseName, ...]] = get_args(PhaseName)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_FLAPS = re.compile(r"\s*(\d{1,6})\s+in\s+(\S+)\s*", re.ASCII)


class AlertEntry(PlanModel):
    """One `[[alert]]` of a rules file."""

    name: str = Field(description="name of the rule", examples=["emotion-slow"])
    when: str | None = Field(
        default=None, description="the condition, with its unit", examples=["sla: error_rate > alert"]
    )
    burn: Burn | None = Field(default=None, description="in place of `when`: watch how fast a budget burns")
    for_: Seconds = Field(
        alias="for", default=0.0, description="how long it must hold, in windows on end, before it fires"
    )
    keep_firing_for: Seconds = Field(
        default=0.0, description="how long it must be clear, in windows on end, before it is resolved"
    )
    clear: str | None = Field(
        default=None, description="level at which it is clear; without it: where `when` does not hold"
    )
    severity: Severity = Field(description="how soon somebody has to know", examples=["high"])
    every: Annotated[Seconds, Field(ge=1)] | None = Field(default=None, description="length of a window")
    at_least: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1, description="requests or readings without which a window is no data"
    )
    no_data: Literal["hold", "fire", "resolve"] = Field(
        default="hold", description="what a window without data means"
    )
    flaps: tuple[int, float] | None = Field(
        default=None, description="firings in a time from which it is told once as flapping"
    )
    phases: tuple[PhaseName, ...] | None = Field(default=None, description="phases that it looks at")
    exclude: tuple[str, ...] = Field(default=(), description="phases and times that it does not look at")
    min_run: Seconds = Field(default=0.0, description="steady time under which a run leaves the rule out")
    on_fire: tuple[str, ...] = Field(default=(), description="actions of a run that is armed")
    summary: str = Field(default="", description="what to tell people beside the numbers")

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or len(name) > 64:
            raise UnitError(
                f"'{name}' is not a name for a rule", "at most 64 letters, digits, '.', '-' and '_'"
            )
        return name

    @field_validator("when")
    @classmethod
    def _readable(cls, when: str | None) -> str | None:
        if when is not None:
            parse_when(when)
        return when

    @field_validator("every")
    @classmethod
    def _whole(cls, every: float | None) -> float | None:
        if every is not None and every != int(every):
            raise UnitError("must be whole seconds", 'for example "30s"')
        return every

    @field_validator("flaps", mode="before")
    @classmethod
    def _flap_rule(cls, value: Any, info: ValidationInfo) -> Any:
        hint = 'for example "5 in 10m"'
        if isinstance(value, str):
            match = _FLAPS.fullmatch(value)
            if match is None or int(match[1]) < 2:
                raise UnitError(f"'{value}' is no number of firings (from 2 on) in a time", hint)
            return int(match[1]), parse_duration(match[2])
        if value is not None and is_toml(info):
            raise UnitError("must be text", hint)
        return value

    @field_validator("exclude")
    @classmethod
    def _excluded(cls, exclude: tuple[str, ...]) -> tuple[str, ...]:
        _each(exclude, lambda item: excluded(item, 0.0))
        return exclude

    @field_validator("on_fire")
    @classmethod
    def _known_actions(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        _each(actions, _check_action)
        return actions


def _each(items: tuple[str, ...], check: Callable[[str], object]) -> None:
    """Check every item of a list; UnitErrors with the index of each that is wrong."""
    faults: list[tuple[str | int, UnitError]] = []
    for index, item in enumerate(items):
        try:
            check(item)
        except UnitError as error:
            faults.append((index, error))
    if faults:
        raise UnitErrors(faults)


def _check_action(action: str) -> None:
    verb = action.partition(" ")[0]
    if verb not in VERBS:
        raise UnitError(f"'{action}' is not an action", nearest(verb, VERBS) or ", ".join(VERBS))


def excluded(item: str, end: float) -> PhaseName | tuple[float, float]:
    """Read one entry of `exclude`: a phase, "first 60s", "last 1m" or "10m..12m" (run time).

    `end` is the planned end of the load in seconds. UnitError for anything else.
    """
    text = item.strip()
    for phase in PHASE_NAMES:
        if text == phase:
            return phase
    word, _, length = text.partition(" ")
    if word == "first":
        return 0.0, parse_duration(length)
    if word == "last":
        return max(0.0, end - parse_duration(length)), max(end, 0.0)
    first, dots, last = text.partition("..")
    if not dots:
        raise UnitError(
            f"'{item}' is neither a phase nor a time", 'for example "ramp", "first 60s" or "10m..12m"'
        )
    low, high = parse_duration(first), parse_duration(last)
    if high <= low:
        raise UnitError(f"'{item}' ends before it begins", 'for example "10m..12m"')
    return low, high


class AlertRule(PlanModel):
    """A rule of a run, with all that it points at looked up; times are seconds, values SI.

    `limit` is met while the rule is violated; `clear` is met where it is clear. A burn rule has no limit.
    `phases` is empty where all of the run time counts; `excluded` are stretches [start, end) that do not.
    """

    name: str
    severity: Severity
    when: str
    subject: Subject
    limit: Limit | None = None
    clear: Limit | None = None
    burn: BurnRate | None = None
    every: float
    for_: float = Field(alias="for", default=0.0)
    keep_firing_for: float = 0.0
    at_least: int = 1
    no_data: Literal["hold", "fire", "resolve"] = "hold"
    flaps: tuple[int, float] | None = None
    phases: tuple[PhaseName, ...] = ()
    excluded: tuple[tuple[float, float], ...] = ()
    on_fire: tuple[str, ...] = ()
    summary: str = ""
