"""What an alert rule speaks of, and the comparison that it makes: the grammar of `when`.

emotion.response_time > 200ms          one endpoint; the statistic of a latency is p95 unless named
emotion.response_time.p99.9 > 1s
error_rate > 1%                        all endpoints together
process.memory > 1GB                   a probe's reading
sla: emotion.response_time > alert     the row of the SLA table says value, statistic and window
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from loadgate.plan.fields import PlanModel
from loadgate.plan.sla import (
    HIGHER_IS_BETTER,
    LATENCIES,
    METRICS,
    PER_ENDPOINT,
    Limit,
    Objective,
    UnknownWord,
    statistic_rank,
)
from loadgate.plan.units import UnitError

EXAMPLE: Final = 'for example "emotion.response_time > 200ms" or "sla: error_rate > alert"'

_COMPARISON = re.compile(r"\s*([^<>=\s]+)\s*((?:<=|>=|<|>).*)", re.DOTALL)
_SLA = re.compile(r"\s*sla\s*:\s*(\S.*?)\s*(<|>)\s*(\S+)\s*", re.DOTALL)
_STATISTIC = re.compile(r"(.+)\.(p\d{2}(?:\.\d{1,2})?|max|mean)", re.ASCII)
_READING = re.compile(r"[A-Za-z][\w-]*\.[A-Za-z_][\w-]*", re.ASCII)
_TURNED: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class Subject(PlanModel):
    """What a rule is about: a metric of requests, or a reading of a probe."""

    metric: str = Field(description="a metric of the SLA table, or `probe.reading`")
    endpoint: str | None = Field(default=None, description="one endpoint; None means all together")
    statistic: str | None = Field(default=None, description="p50 to p99.99, max or mean; latencies only")
    latency_on: Literal["adjusted", "ok", "all"] = Field(
        default="adjusted", description="which requests a latency is taken over"
    )
    probe: str | None = Field(default=None, description="the probe, of a reading")
    reading: str | None = Field(default=None, description="its reading")
    per_core: bool = Field(default=False, description="divide by the cores that the target may use")

    @property
    def of_requests(self) -> bool:
        """Tell whether the windows of the run tell it, and not a probe."""
        return self.metric in PER_ENDPOINT

    @property
    def rank(self) -> int | None:
        """Return the percentile in ten-thousandths; None for everything that is none."""
        return statistic_rank(self.statistic) if self.statistic else None

    @property
    def text(self) -> str:
        """Name it for people: "emotion response_time p95", "error_rate", "process.memory"."""
        return " ".join(part for part in (self.endpoint, self.metric, self.statistic) if part)

    @property
    def name(self) -> str:
        """Write it as `when` does: "emotion.response_time.p95"."""
        return ".".join(part for part in (self.endpoint, self.metric, self.statistic) if part)


class Condition(PlanModel):
    """A rule's subject and the limit that it fires at: the rule is violated while the limit is met."""

    subject: Subject
    limit: Limit


@dataclass(frozen=True, slots=True)
class OfRow:
    """A condition that points at a row of the SLA table: its `alert` threshold, or its `target`."""

    row: str
    op: str
    which: Literal["alert", "target"]


def parse_when(text: str) -> Condition | OfRow:
    """Read a `when`; UnitError says what is wrong with it and shows a right one."""
    if re.match(r"\s*sla\s*:", text):
        return _parse_sla(text)
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise UnitError(f"'{text}' is not a comparison", EXAMPLE)
    subject = parse_subject(match[1])
    return Condition(subject=subject, limit=Limit.parse(match[2], subject.metric))


def _parse_sla(text: str) -> OfRow:
    match = _SLA.fullmatch(text)
    if match is None or match[3] not in ("alert", "target"):
        raise UnitError(
            f"'{text}' does not point at a row of the SLA table",
            'write "sla: ROW > alert" or "sla: ROW > target" (with < where more is better)',
        )
    return OfRow(match[1], match[2], "alert" if match[3] == "alert" else "target")


def parse_subject(name: str) -> Subject:
    """Read the name of a subject; UnitError (with the nearest known word) when it is none."""
    stem, statistic = name, None
    if match := _STATISTIC.fullmatch(name):
        stem, statistic = match[1], match[2]
    endpoint, _, metric = stem.rpartition(".")
    if metric in PER_ENDPOINT:
        return Subject(metric=metric, endpoint=endpoint or None, statistic=_checked(metric, statistic))
    if statistic is not None:
        raise UnitError(f"'{stem}' takes no statistic", "leave it out; only latencies have percentiles")
    if name in METRICS:
        return Subject(metric=name)
    if not _READING.fullmatch(name):
        raise UnknownWord(name, METRICS, "metric", "or name a probe's reading, as in `probe.reading`")
    return Subject(metric=name, probe=endpoint, reading=metric)


def _checked(metric: str, statistic: str | None) -> str | None:
    """Return the statistic of a latency (p95 unless named); UnitError for one of anything else."""
    if metric not in LATENCIES:
        if statistic is not None:
            raise UnitError(f"'{metric}' takes no statistic", "leave it out; only latencies have percentiles")
        return None
    statistic_rank(statistic or "p95")
    return statistic or "p95"


def turned(limit: Limit) -> Limit:
    """Return the limit that holds exactly where this one does not: "< 50ms" becomes ">= 50ms"."""
    op = _TURNED[limit.op]
    return Limit(op=op, value=limit.value, text=f"{op} {limit.text[len(limit.op) :].strip()}")  # type: ignore[arg-type]


def of_row(pointer: OfRow, row: Objective) -> Condition:
    """Turn a pointer into the condition that its row says; UnitError when the two do not fit.

    `alert` is met past the alert threshold, `target` where the target is not met.
    """
    if pointer.which == "alert" and row.alert is None:
        raise UnitError(f"'{row.name}' has no alert threshold", f'write "sla: {row.name} {_bad(row)} target"')
    limit = row.alert if pointer.which == "alert" and row.alert is not None else turned(row.target)
    if limit.op[0] != pointer.op:
        right = f'"sla: {pointer.row} {_bad(row)} {pointer.which}"'
        raise UnitError(
            f"'{pointer.op}' points the wrong way: '{row.name}' is bad at {limit.text}", f"write {right}"
        )
    named = row.probe_reading or (None, None)
    subject = Subject(
        metric=row.metric,
        endpoint=row.endpoint,
        statistic=row.statistic,
        latency_on=row.latency_on,
        probe=named[0],
        reading=named[1],
    )
    return Condition(subject=subject, limit=limit)


def _bad(row: Objective) -> str:
    """Return the side on which a row is bad: "<" where more is better."""
    return "<" if row.metric in HIGHER_IS_BETTER or row.target.upward else ">"
