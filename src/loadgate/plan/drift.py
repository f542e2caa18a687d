"""A drift rule of the plan: which series must not creep, and how far is too far.

A rule speaks of a metric as an objective does (`memory`, `response_time` of an endpoint, `probe.reading`).
It fails where a slope is shown that would pass the `limit` within a horizon, or that grew by more than
`growth` over the run.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from loadgate.plan.fields import PlanModel, Seconds, is_toml
from loadgate.plan.sla import HIGHER_IS_BETTER, LATENCIES, METRICS, Limit, Objective, parser_of
from loadgate.plan.units import UnitError, UnitErrors, parse_duration, parse_share

SHARES: Final = ("error_rate", "cache_hit_rate", "cpu", "uptime")
"""Metrics that are shares themselves: a growth of 1% is one point more, not one hundredth of the level."""
FLOORS: Final = {"error_rate": "0.1%", "cache_hit_rate": "1%", "cpu": "2%", "uptime": "0.1%"}
"""The growth over a run that matters where a rule names none; `RELATIVE` for every other metric."""
RELATIVE: Final = "5%"

Positive = Annotated[Seconds, Field(gt=0)]


class Growth(PlanModel):
    """How much more is too much over a run: `value` in SI, or a share of the level where `relative`."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    relative: bool
    text: str

    @classmethod
    def parse(cls, text: str, metric: str) -> Growth:
        """Read a growth of `metric` such as "50MB" or "10%"; UnitError shows a right one."""
        share = text.strip().endswith("%")
        relative = share and metric not in SHARES
        value = parse_share(text) if share else parser_of(metric)(text)
        if value <= 0:
            raise UnitError(f"'{text}' is no growth", 'for example "5%"')
        return cls(value=value, relative=relative, text=text.strip())

    def floor(self, level: float) -> float:
        """Return the growth in SI beside a level."""
        return self.value * abs(level) if self.relative else self.value


def parse_stretch(text: str) -> tuple[float, float]:
    """Read a stretch of run time such as "2d..2d1h" and return its start and end in seconds."""
    hint = 'for example "2d..2d1h"'
    low, dots, high = text.partition("..")
    if not dots:
        raise UnitError(f"'{text}' is not a stretch of run time", hint)
    start, end = parse_duration(low), parse_duration(high)
    if end <= start:
        raise UnitError(f"'{text}' ends before it begins", hint)
    return start, end


def _default_statistic(data: dict[str, Any]) -> str | None:
    """Follow the p95 of latencies."""
    return "p95" if data.get("metric") in LATENCIES else None


def _default_growth(data: dict[str, Any]) -> Growth:
    """Take what matters of the metric."""
    metric = str(data.get("metric", ""))
    return Growth.parse(FLOORS.get(metric, RELATIVE), metric)


class Drift(PlanModel):
    """A series that must not creep over a long run."""

    metric: str = Field(description="what is followed: a metric, or `probe.reading`", examples=["memory"])
    endpoint: str | None = Field(default=None, description="one endpoint; without it all endpoints together")
    statistic: str | None = Field(
        default_factory=_default_statistic, description="p50 to p99.99, max or mean; latencies only"
    )
    limit: Limit | None = Field(
        default=None, description="what it must not come to reach", examples=["< 1GB"]
    )
    within: Positive | None = Field(
        default=None, description="how far ahead it must not reach the limit; four times what was seen"
    )
    growth: Growth = Field(
        default_factory=_default_growth, description="how much it may grow over the run", examples=["50MB"]
    )
    settle: Seconds | None = Field(
        default=None,
        description="left out after the start, a restart or a deployment; the shorter of 30m and 5%",
    )
    exclude: tuple[tuple[float, float], ...] = Field(
        default=(), description="stretches of run time to leave out", examples=[["2d..2d1h"]]
    )
    worse: Literal["rising", "falling"] | None = Field(
        default=None, description="which way is worse; told by the metric, or by the limit"
    )

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        Objective.model_validate({"metric": metric, "target": _ANYTHING, "every": 1.0})
        return metric

    @field_validator("statistic")
    @classmethod
    def _known_statistic(cls, statistic: str | None, info: ValidationInfo) -> str | None:
        metric = info.data.get("metric")
        if statistic is None or metric is None:
            return _default_statistic(info.data)
        Objective.model_validate(
            {"metric": metric, "target": _ANYTHING, "every": 1.0, "statistic": statistic}
        )
        return statistic

    @field_validator("limit", mode="before")
    @classmethod
    def _limit(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return Limit.parse(value, str(info.data.get("metric", "")))
        if value is not None and is_toml(info):
            raise UnitError("must be a comparison in text", 'for example "< 1GB"')
        return value

    @field_validator("growth", mode="before")
    @classmethod
    def _growth(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return Growth.parse(value, str(info.data.get("metric", "")))
        if is_toml(info):
            raise UnitError("must be text with a unit", 'for example "50MB" or "5%"')
        return value

    @field_validator("exclude", mode="before")
    @classmethod
    def _stretches(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise UnitError("must be a list", 'for example ["2d..2d1h"]')
        found: list[Any] = []
        faults: list[tuple[str | int, UnitError]] = []
        for index, item in enumerate(value):
            try:
                found.append(parse_stretch(item) if isinstance(item, str) else item)
            except UnitError as error:
                faults.append((index, error))
        if faults:
            raise UnitErrors(faults)
        return tuple(found)

    @property
    def name(self) -> str:
        """Return the name of the series: "memory", "emotion.response_time p95"."""
        named = f"{self.endpoint}.{self.metric}" if self.endpoint else self.metric
        return f"{named} {self.statistic}" if self.statistic else named

    @property
    def rising_is_worse(self) -> bool:
        """Tell which way the series must not go."""
        if self.worse is not None:
            return self.worse == "rising"
        if self.limit is not None:
            return not self.limit.upward
        return self.metric not in HIGHER_IS_BETTER

    @property
    def objective(self) -> Objective:
        """Return a row that speaks of the same series, for what finds a row's windows or its probe."""
        limit = self.limit or _ANYTHING
        return Objective(
            metric=self.metric, endpoint=self.endpoint, statistic=self.statistic, target=limit, every=60.0
        )


_ANYTHING: Final = Limit(op=">=", value=0.0, text=">= 0")
USUAL: Final = ("response_time", "error_rate", "throughput", "memory", "cpu")
"""What is followed where a plan names no rules: these, and every other reading of its probes."""


def usual_rules(known: tuple[str, ...]) -> tuple[Drift, ...]:
    """Return a rule with the usual growth for each of some metrics or readings, those of `USUAL` first."""
    names = [*(name for name in USUAL if name in known), *(name for name in known if name not in USUAL)]
    return tuple(Drift(metric=name) for name in names if name in METRICS or "." in name)
