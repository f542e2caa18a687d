"""The SLA table: objectives, each with a target, an alert threshold and its windows."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from loadgate.plan.fields import PlanModel, Seconds, is_toml, number
from loadgate.plan.units import (
    BYTE_UNITS,
    DURATION_UNITS,
    UnitError,
    format_number,
    parse_bytes,
    parse_duration,
    parse_rate,
    parse_share,
)

LATENCIES: Final = ("response_time", "service_time")
"""Metrics that are judged by a percentile, the mean or the maximum of a histogram."""
READINGS: Final = ("cpu", "memory", "uptime")
"""Metrics that come from probes."""
METRICS: Final = (*LATENCIES, "error_rate", "throughput", "cache_hit_rate", *READINGS)
"""Every metric with a name of its own; any other is `probe.reading`."""
HIGHER_IS_BETTER: Final = ("throughput", "cache_hit_rate", "uptime")
PER_ENDPOINT: Final = (*LATENCIES, "error_rate", "throughput", "cache_hit_rate")
"""Metrics that an objective can ask of one endpoint."""

Op = Literal["<", "<=", ">", ">="]

_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*(.*?)\s*", re.DOTALL)
_STATISTIC = re.compile(r"p(\d{2})(?:\.(\d{1,2}))?", re.ASCII)
_READING = re.compile(r"[A-Za-z][\w-]*\.[A-Za-z_][\w-]*", re.ASCII)
_UNIT = re.compile(r"[\d.\s]+(.*)", re.DOTALL)
_RATE_WORDS: Final = {"s": "req/s", "m": "req/min", "h": "req/h"}
_EXAMPLES: Final = {
    "response_time": '"< 50ms"',
    "service_time": '"< 50ms"',
    "error_rate": '"< 0.1%"',
    "throughput": '">= 1000/s"',
    "cache_hit_rate": '"> 60%"',
    "cpu": '"< 50%"',
    "memory": '"< 500MB"',
    "uptime": '">= 99%"',
}


def parser_of(metric: str) -> Callable[[str], float]:
    """Return the reader of a metric's limits; SI results, UnitError on any other text."""
    if metric in LATENCIES:
        return parse_duration
    if metric == "throughput":
        return parse_rate
    if metric == "memory":
        return parse_bytes
    if metric in METRICS:
        return parse_share
    return _parse_any


def _parse_any(text: str) -> float:
    """Read a limit on a probe's reading: a bare number, or a number with any known unit."""
    bare = text.strip()
    if re.fullmatch(r"-?(\d+(\.\d+)?|\.\d+)", bare, re.ASCII):
        return float(bare)
    for parse in (parse_duration, parse_rate, parse_share, parse_bytes):
        try:
            return parse(bare)
        except UnitError:
            continue
    raise UnitError(f"'{bare}' is not a number with a known unit", 'for example "< 40", "< 5ms" or "> 60%"')


def _example(metric: str) -> str:
    """Show a right limit of a metric."""
    return "for example " + _EXAMPLES.get(metric, '"< 40"')


class Limit(PlanModel):
    """A comparison such as "< 50ms": `value` in SI of the metric, `text` as it was written."""

    op: Op
    value: float
    text: str

    @classmethod
    def parse(cls, text: str, metric: str) -> Limit:
        """Read a limit of `metric`; raise UnitError that shows a right one."""
        hint = _example(metric)
        match = _LIMIT.fullmatch(text)
        if match is None or not match[2]:
            raise UnitError(f"'{text}' does not start with <, <=, > or >= and name a value", hint)
        try:
            value = parser_of(metric)(match[2])
        except UnitError as error:
            raise UnitError(error.message, hint) from error
        return cls(op=match[1], value=value, text=f"{match[1]} {match[2]}")  # type: ignore[arg-type]

    def met(self, value: float) -> bool:
        """Compare `value` (SI); NaN meets nothing."""
        if self.op == "<":
            return value < self.value
        if self.op == "<=":
            return value <= self.value
        if self.op == ">":
            return value > self.value
        return value >= self.value

    @property
    def upward(self) -> bool:
        """Tell whether large values meet the limit."""
        return self.op in (">", ">=")

    @property
    def inclusive(self) -> bool:
        """Tell whether the value itself meets the limit."""
        return self.op in ("<=", ">=")

    @property
    def _suffix(self) -> str:
        """Return the unit as written; "s" for a compound duration, "" for a bare number."""
        quantity = self.text[len(self.op) :].strip().lstrip("-")
        match = _UNIT.fullmatch(quantity)
        suffix = match[1].strip() if match else ""
        return "s" if any(char.isdigit() for char in suffix) else suffix.replace("µ", "u").replace("μ", "u")

    @property
    def unit(self) -> str:
        """Return the unit of the text for people: "ms", "%", "req/s", "MB"; "" for a bare number."""
        suffix = self._suffix
        return _RATE_WORDS[suffix.rsplit("/", 1)[1].strip()] if "/" in suffix else suffix

    def shown(self, value: float) -> float:
        """Turn an SI value into the unit of the text, so that 0.042 beside "< 50ms" is 42.0."""
        suffix = self._suffix
        if not math.isfinite(value):
            return value
        if suffix == "%":
            return value * 100
        if "/" in suffix:
            return value * {"s": 1.0, "m": 60.0, "h": 3600.0}[suffix.rsplit("/", 1)[1].strip()]
        scale = DURATION_UNITS.get(suffix) or BYTE_UNITS.get(suffix)
        return value * scale.denominator / scale.numerator if scale else value

    def spelled(self, value: float) -> str:
        """Write an SI value for people in the unit of the text: "42ms", "1003 req/s"."""
        unit = self.unit
        return format_number(self.shown(value)) + (f" {unit}" if unit.startswith("req") else unit)


def statistic_rank(statistic: str) -> int | None:
    """Return a percentile in ten-thousandths (p99.9 is 9990); None for "max" and "mean".

    Raises UnitError for anything else; percentiles run from p50 to p99.99.
    """
    if statistic in ("max", "mean"):
        return None
    match = _STATISTIC.fullmatch(statistic)
    rank = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else 0
    if rank < 5000:
        raise UnitError(
            f"'{statistic}' is not a statistic", 'use "p50" to "p99.99", "max" or "mean", for example "p95"'
        )
    return rank


def _default_name(data: dict[str, Any]) -> str:
    """Name a row after its metric, with the endpoint in front where there is one."""
    metric, endpoint = str(data.get("metric", "")), data.get("endpoint")
    return f"{endpoint}.{metric}" if endpoint else metric


def _default_statistic(data: dict[str, Any]) -> str | None:
    """Judge latencies by their p95."""
    return "p95" if data.get("metric") in LATENCIES else None


def _default_for(data: dict[str, Any]) -> float:
    """Let a breach last 60 s or two windows, whichever is longer."""
    return float(max(60.0, 2 * data.get("every", 30.0)))


class Objective(PlanModel):
    """One row of the SLA table.

    The target says when the row passes, the alert threshold when it fails: over the whole phase, or for
    `for_` in its windows of `every`. No alert means: worse than the target fails.
    """

    metric: str = Field(
        description="what is measured: a metric of this page, or `probe.reading`", examples=["response_time"]
    )
    endpoint: str | None = Field(default=None, description="one endpoint; without it all endpoints together")
    statistic: str | None = Field(
        default_factory=_default_statistic, description="p50 to p99.99, max or mean; latencies only"
    )
    target: Limit = Field(description="the row passes while this holds", examples=["< 50ms"])
    alert: Limit | None = Field(default=None, description="the row fails when this holds")
    every: Annotated[Seconds, Field(gt=0)] = Field(description="length of a window", examples=["30s"])
    for_: Annotated[Seconds, Field(gt=0)] = Field(
        alias="for", default_factory=_default_for, description="how long a breach must last in the windows"
    )
    latency_on: Literal["adjusted", "ok", "all"] = Field(
        default="adjusted", description="which requests a latency is taken over"
    )
    name: str = Field(default_factory=_default_name, description="the row's name in reports and in [verdict]")

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric not in METRICS and not _READING.fullmatch(metric):
            raise UnknownWord(metric, METRICS, "metric", "or name a probe's reading, as in `probe.reading`")
        return metric

    @field_validator("statistic")
    @classmethod
    def _known_statistic(cls, statistic: str | None, info: ValidationInfo) -> str | None:
        if statistic is None:
            return _default_statistic(info.data)
        if "metric" in info.data and info.data["metric"] not in LATENCIES:
            raise UnitError(
                f"{info.data['metric']} takes no statistic", "leave it out; only latencies have percentiles"
            )
        statistic_rank(statistic)
        return statistic

    @field_validator("endpoint", "name")
    @classmethod
    def _named(cls, name: str | None) -> str | None:
        if name is not None and not name.strip():
            raise UnitError("is empty", "give it a name, or leave it out")
        return name

    @field_validator("target", "alert", mode="before")
    @classmethod
    def _limit(cls, value: Any, info: ValidationInfo) -> Any:
        metric = str(info.data.get("metric", ""))
        if isinstance(value, str):
            return Limit.parse(value, metric)
        hint = _example(metric)
        if number(value) is not None:
            raise UnitError(f"{value} has neither a comparison nor a unit", hint)
        if is_toml(info):
            raise UnitError("must be a comparison in text", hint)
        return value

    @property
    def rank(self) -> int | None:
        """Return the percentile in ten-thousandths (p95 is 9500); None when the row has none."""
        return statistic_rank(self.statistic) if self.statistic else None

    @property
    def is_latency(self) -> bool:
        """Tell whether the row is judged by a histogram."""
        return self.metric in LATENCIES

    @property
    def probe_reading(self) -> tuple[str, str] | None:
        """Return (probe, reading) where the metric is `probe.reading`, else None."""
        if self.metric in METRICS:
            return None
        probe, _, reading = self.metric.partition(".")
        return probe, reading

    def matches(self, word: str) -> bool:
        """Tell whether a name in `optional` or `leave_out` means this row: its name or its metric."""
        return word in (self.name, self.metric)


class UnknownWord(UnitError):
    """A word is not one of those known; keeps them, so that the nearest can be suggested."""

    def __init__(self, word: str, known: Sequence[str], what: str, also: str = "") -> None:
        super().__init__(f"unknown {what} '{word}'", ", ".join(known) + (f"; {also}" if also else ""))
        self.word = word
        self.known = tuple(known)
        self.also = also


def named(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """Append the statistic to the names of rows that would collide; explicit names stay as they are."""
    seen = Counter(row.name for row in objectives)
    result = []
    for row in objectives:
        if seen[row.name] > 1 and "name" not in row.model_fields_set and row.statistic:
            row = row.model_copy(update={"name": f"{row.name}.{row.statistic}"})
        result.append(row)
    return tuple(result)
