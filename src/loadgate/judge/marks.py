"""Which seconds the generator itself spoilt: what each worker says of itself, held against limits.

A *mark* says that in one second one worker was past one of these limits, so what was measured then may be
the generator's doing. Marks void a run only when they are enough to matter: in over 10 % of all worker
seconds, or in over half of one worker's, which then does not do its part whatever the size of the fleet; and
in three seconds at the least, since a machine hiccups. Pool wait is no witness: it is the target's doing.

The limits themselves are in `measure/marks.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgate.judge.evidence import Evidence
from loadgate.measure.delta import FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.marks import (
    CONTROL_LIMIT_US,
    FULL_CORE,
    GC_LIMIT_US,
    KINDS,
    LOOP_LAG_LIMIT_US,
    SHORT_LIMIT,
    START_LAG_LIMIT_US,
    THROTTLED_LIMIT_US,
    WITNESSES,
    cpu_share,
    marks_in,
    marks_of,
    may_use,
)

__all__ = [
    "CONTROL_LIMIT_US",
    "FULL_CORE",
    "GC_LIMIT_US",
    "KINDS",
    "LOOP_LAG_LIMIT_US",
    "MARKED_HALF",
    "MARKED_LEAST",
    "MARKED_LIMIT",
    "SHORT_LIMIT",
    "START_LAG_LIMIT_US",
    "THROTTLED_LIMIT_US",
    "Marked",
    "control_latency",
    "cpu_share",
    "loop_lag",
    "marked",
    "marked_seconds",
    "marks_in",
    "marks_of",
    "may_use",
]

MARKED_LIMIT: Final = 0.10
"""The share of all worker seconds that may be marked by one witness."""
MARKED_HALF: Final = 0.50
"""The share of one worker's seconds that may be."""
MARKED_LEAST: Final = 3
"""Marked seconds below which no witness voids a run."""


@dataclass(frozen=True)
class Marked:
    """The seconds that one witness marked: of all workers, and of the worker that has the most of them."""

    kind: str
    seconds: int
    of: int
    worker: str
    worker_seconds: int
    worker_of: int
    worst: FleetRow
    """The worst second of that worker."""

    @property
    def matters(self) -> bool:
        """Tell whether these are enough to void a run."""
        share, half = MARKED_LIMIT * self.of, MARKED_HALF * self.worker_of
        return self.seconds >= MARKED_LEAST and (self.seconds > share or self.worker_seconds > half)


def marked(by_worker: Mapping[str, Sequence[FleetRow]]) -> dict[str, Marked]:
    """Return what each witness marked in the rows of some workers; one that marked nothing is left out."""
    told = {worker: sum(row.seconds for row in rows) for worker, rows in by_worker.items()}
    of = sum(told.values())
    found: dict[str, Marked] = {}
    marks = {worker: [(row, marks_in(row)) for row in rows] for worker, rows in by_worker.items()}
    for witness in WITNESSES:
        kind = witness.kind
        past = {worker: [row for row, kinds in rows if kind in kinds] for worker, rows in marks.items()}
        number = {
            worker: sum(kinds[kind].bit_count() for _, kinds in rows if kind in kinds)
            for worker, rows in marks.items()
        }
        seconds = sum(number.values())
        if not seconds:
            continue
        # The one with the greatest share of its seconds; of equals, the one that comes first by name.
        worker = max(sorted(past), key=lambda name: number[name] / told[name])
        worst = max(past[worker], key=witness.size)
        found[kind] = Marked(kind, seconds, of, worker, number[worker], told[worker], worst)
    return found


def marked_seconds(evidence: Evidence) -> dict[int, tuple[str, ...]]:
    """Return the run seconds, of any phase, in which the generator may be behind what was measured, and why.

    For each second the kinds of witness, as `KINDS` names and orders them, that marked it in any worker.
    """
    kinds: dict[int, set[str]] = defaultdict(set)
    for row in evidence.fleet:
        for kind, seconds in marks_in(row).items():
            for place in range(seconds.bit_length()):
                if seconds >> place & 1:
                    kinds[row.second + place].add(kind)
    return {second: tuple(kind for kind in KINDS if kind in kinds[second]) for second in sorted(kinds)}


def control_latency(rows: Iterable[FleetRow], percentile: int) -> float | None:
    """Return a percentile (ten-thousandths) of the control's latency in µs; None without an answer.

    About one request a second is made, so a second's p99 is its one request.
    """
    answered = [row for row in rows if row.control_n > row.control_failures]
    return _percentile([row.control_p99_us for row in answered], percentile)


def loop_lag(rows: Iterable[FleetRow], percentile: int) -> float | None:
    """Return a percentile (ten-thousandths) of the seconds' loop lag, each its own p99, in µs."""
    return _percentile([row.loop_lag_p99_us for row in rows], percentile)


def _percentile(values_us: list[float], percentile: int) -> float | None:
    histogram = Histogram()
    histogram.record_many([round(value) for value in values_us])
    return histogram.percentile(percentile)
