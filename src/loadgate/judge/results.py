"""What judging says: the five verdicts, and the result of one objective."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from loadgate.plan.samples import DOUBT
from loadgate.plan.sla import Limit, Objective


class Grade(StrEnum):
    """Name the verdicts; an objective and a run have the same five."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


SEVERITY: Final = (Grade.FAIL, Grade.INVALID, Grade.INCONCLUSIVE, Grade.WARN, Grade.PASS)
"""From the worst: a FAIL outranks missing data, so that a dead target is FAIL and not INVALID."""


def worst(grades: Iterable[Grade]) -> Grade:
    """Return the worst of some grades in the order of `SEVERITY`; none at all is INVALID."""
    return min(grades, key=SEVERITY.index, default=Grade.INVALID)


def iso(wall: float) -> str:
    """Write seconds since 1970 as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: float | None) -> float | None:
    """Return a value that JSON can hold: None for what is missing, infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


def spelled(limit: Limit, value: float | None) -> str:
    """Write a value (SI) for people in the unit of `limit`; "no data" and "infinite" are words."""
    if value is None:
        return "no data"
    return limit.spelled(value) if math.isfinite(value) else "infinite"


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst window of an objective: run time in seconds, `value` in SI, `n` samples."""

    start: float
    end: float
    value: float
    n: int
    under_loss: bool = False
    """Whether a worker was lost in it, or a part of the load offered by nobody."""

    def to_dict(self, limit: Limit, anchor_wall: float) -> dict[str, Any]:
        """Return the window as plain values, in the unit of `limit` and with wall-clock times."""
        return {
            "start": self.start,
            "end": self.end,
            "start_at": iso(anchor_wall + self.start),
            "end_at": iso(anchor_wall + self.end),
            "value": number(limit.shown(self.value)),
            "value_text": spelled(limit, self.value),
            "infinite": math.isinf(self.value),
            "n": self.n,
            "under_loss": self.under_loss,
        }


@dataclass(frozen=True, slots=True)
class ObjectiveResult:
    """The result of one objective; values in SI, as the limits hold them.

    `value` is None without data and `inf` where the rank falls among the infinitely slow. `n` counts the
    samples behind it: requests, or readings. `time_in_violation` is in seconds of windows past the alert
    threshold (the target, without one). `method` says how the limit was compared where that is a choice.
    """

    objective: Objective
    verdict: Grade
    reason: str
    value: float | None = None
    n: int = 0
    interval: tuple[float, float] | None = None
    """The one-sided bounds of `value`, lower and upper; None where limits meet the value itself."""
    worst_window: Worst | None = None
    time_in_violation: float = 0.0
    longest_breach: float = 0.0
    windows: int = 0
    optional: bool = False
    method: str = ""
    notes: tuple[str, ...] = ()
    settled: bool = False
    """Whether more of the same load would not change the verdict, as far as that can be told."""
    confidence: float = 1 - DOUBT
    """That of each bound of `interval`."""

    @property
    def decides(self) -> bool:
        """Tell whether the row counts for the run: an optional one does only when it fails."""
        return not self.optional or self.verdict is Grade.FAIL

    def to_dict(self, anchor_wall: float) -> dict[str, Any]:
        """Return the row of verdict.json: values in the objective's own unit, the target's."""
        row, target, alert = self.objective, self.objective.target, self.objective.alert
        shown = None if self.value is None else number(target.shown(self.value))
        return {
            "name": row.name,
            "metric": row.metric,
            "endpoint": row.endpoint,
            "statistic": row.statistic,
            "value": shown,
            "value_text": spelled(target, self.value),
            "infinite": self.value is not None and math.isinf(self.value),
            "unit": target.unit,
            "target": target.text,
            "target_value": target.shown(target.value),
            "alert": alert.text if alert else None,
            "alert_value": target.shown(alert.value) if alert else None,
            "n": self.n,
            "interval": [number(target.shown(end)) for end in self.interval] if self.interval else None,
            "confidence": self.confidence if self.interval else None,
            "worst_window": self.worst_window.to_dict(target, anchor_wall) if self.worst_window else None,
            "every": row.every,
            "for": row.for_,
            "windows": self.windows,
            "time_in_violation": self.time_in_violation,
            "longest_breach": self.longest_breach,
            "latency_on": row.latency_on if row.is_latency else None,
            "method": self.method,
            "optional": self.optional,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "notes": list(self.notes),
        }
