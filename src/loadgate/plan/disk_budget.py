"""How many bytes a run will store, worked out from its plan before it begins.

An estimate of what the run's folder grows to, on the high side. The sizes are measured, not derived:

- A row of windows of `n` requests, with the histograms of all its series, takes about 165 × n^0.4 bytes. That
  is a fit to rows of the reference service from 228 requests (1.4 kB) to 11,000 (6.4 kB), 7 % high at the
  upper end; the exponent says how slowly the number of distinct latencies grows. Counts, exact over-counts
  and the indices add 700 bytes. As they are packed now rows take 100 to 127 × n^0.4
  (`benchmarks/endurance.py`); the difference is for the sums of ten minutes that are kept beside them (7 % of
  a week), and keeps a run that is as planned below the mark from which its rows are merged early.
- Windows and fleet rows are kept by age, as docs/run-database.md says: single seconds for an hour, 10 s for a
  day, 60 s for ever.
- A reading takes 12 bytes once it is packed, and 120 in the hours before, index included
  (`tests/store/test_store_packed.py` measures both). A point of an alert rule takes as much.

What happens to a run and is not planned (alerts, failures, lost workers) has a share of its own, which the
caps of the databases bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from loadgate.plan.plan import Plan
from loadgate.plan.units import format_bytes, format_duration

WINDOW_FACTOR: Final = 165.0
WINDOW_POWER: Final = 0.4
WINDOW_ROW: Final = 700.0
WINDOW_MOST: Final = 60_000.0
"""Bytes of a row of a great many requests: by then most of the latencies that occur have occurred."""
FLEET_ROW: Final = 200.0
LEDGER_ROW: Final = 40.0
OBJECTIVE_WINDOW: Final = 100.0
READING: Final = 12.0
READING_FRESH: Final = 120.0
FRESH_FOR: Final = 10_800.0
"""Seconds for which readings and points are rows: two hours, and the hour in which they are packed."""
LEVELS: Final = ((3600.0, 1.0), (86_400.0, 10.0), (math.inf, 60.0))
"""Up to which age, in seconds, rows of how many seconds are kept."""
ENDPOINTS_UNKNOWN: Final = 5
"""Endpoints that a plan without a mix is taken to have."""
UNPLANNED: Final = 15e6
"""Bytes for alerts, notices, failures, events, annotations, evidence and the verdict."""
WAL: Final = 2 * 16 * 2.0**20
"""Bytes of the write-ahead logs of the two databases, at their most."""
WAL_LEAST: Final = 9e6
"""Bytes that they come to in any run: SQLite looks for an end of a log from a thousand pages (4 MB) on."""
LOG: Final = 2 * 10e6
"""Bytes of one process's log, at its most."""
LOG_PER_DAY: Final = 0.5e6
"""Bytes that a process prints in a day, on the high side."""
TOLD_FROM: Final = 3600.0
"""Seconds of planned run time from which the estimate is told, and kept to; one that is stated always is."""


@dataclass(frozen=True)
class DiskEstimate:
    """Bytes by what they are for, over a run of `length` seconds; `least` is what no merging goes below."""

    length: float
    parts: Mapping[str, float] = field(default_factory=dict)
    least: float = 0.0

    @property
    def total(self) -> float:
        """Return all the bytes."""
        return math.fsum(self.parts.values())

    @property
    def text(self) -> str:
        """Say it in short: "about 430MB for 7d"."""
        return f"about {about(self.total)} for {format_duration(self.length)}"


def about(size: float) -> str:
    """Write a size with two significant digits."""
    if size <= 0:
        return "0B"
    digits = 1 - math.floor(math.log10(size))
    return format_bytes(round(size, digits))


def estimate_disk(plan: Plan, length: float | None = None) -> DiskEstimate:
    """Estimate the bytes that a run of a plan stores, over `length` seconds or its planned ones."""
    seconds = plan.timeline.drain_end if length is None else length
    rates = _rates(plan)
    windows = {span: math.fsum(_window_bytes(rate * span) for rate in rates) for _, span in LEVELS}
    workers = plan.scenario.generator.workers
    rows = _rows(seconds)
    parts = {
        "windows": math.fsum(number * windows[span] for span, number in rows.items()),
        "fleet": math.fsum(rows.values()) * (workers * FLEET_ROW + LEDGER_ROW),
        "objectives": _kept_windows(plan, seconds) * OBJECTIVE_WINDOW,
        "readings": _kept(_readings_per_second(plan), seconds),
        "alerts": _kept(math.fsum(1 / rule.every for rule in plan.alerts), seconds),
        "logs": (workers + 1) * min(LOG, LOG_PER_DAY * (1 + seconds / 86_400)),
        "write-ahead logs": min(WAL, WAL_LEAST + 2e4 * seconds),
        "the rest": min(UNPLANNED, 1e6 + 1e3 * seconds),
    }
    coarsest = LEVELS[-1][1]
    # Merging earlier changes the windows and the fleet alone; the newest seconds are always single.
    merged = math.ceil(seconds / coarsest) * (windows[coarsest] + workers * FLEET_ROW + LEDGER_ROW)
    single = min(seconds, 2 * coarsest) * windows[LEVELS[0][1]]
    others = math.fsum(size for name, size in parts.items() if name not in ("windows", "fleet"))
    least = min(merged + single + others, math.fsum(parts.values()))
    return DiskEstimate(seconds, parts, least)


def disk_budget(plan: Plan) -> int:
    """Return the bytes that a run's folder may take: as its plan says, else what is estimated."""
    stated = plan.scenario.results.budget
    return stated if stated is not None else math.ceil(estimate_disk(plan).total)


def database_budget(plan: Plan) -> int | None:
    """Return the bytes of the run's budget that are left for run.db and its write-ahead log.

    None for a run that is told no budget: a short one without a `[results] budget`.
    """
    estimate = estimate_disk(plan)
    if plan.scenario.results.budget is None and estimate.length < TOLD_FROM:
        return None
    whole, parts = disk_budget(plan), estimate.parts
    others = parts["readings"] + parts["alerts"] + parts["logs"] + parts["write-ahead logs"] / 2
    return math.ceil(max(whole - others, whole / 2))


def _rows(seconds: float) -> dict[float, float]:
    """Return how many rows of each length a series of so many seconds comes to."""
    found: dict[float, float] = {}
    before = 0.0
    for age, span in LEVELS:
        part = max(0.0, min(seconds, age) - before)
        found[span] = math.ceil(part / span)
        before = age
    return found


def _rates(plan: Plan) -> list[float]:
    """Return the mean requests per second of each endpoint; of a closed model one per user and second."""
    traffic, timeline = plan.scenario.traffic, plan.timeline
    length = timeline.end
    rate = timeline.total / length if length > 0 else 0.0
    if traffic.model == "closed":
        pause = sum(traffic.wait) / 2
        rate = rate / pause if pause > 0 else rate * 100
    shares = [traffic.share_of(endpoint) or 0.0 for endpoint in traffic.mix]
    return [rate * share for share in shares or [1 / ENDPOINTS_UNKNOWN] * ENDPOINTS_UNKNOWN]


def _window_bytes(requests: float) -> float:
    return WINDOW_ROW + min(WINDOW_FACTOR * math.pow(requests, WINDOW_POWER), WINDOW_MOST)


def _kept_windows(plan: Plan, seconds: float) -> float:
    return math.fsum(seconds / row.every for row in plan.objectives)


def _readings_per_second(plan: Plan) -> float:
    return math.fsum(len(probe.readings) / probe.every for probe in plan.scenario.probes)


def _kept(per_second: float, seconds: float) -> float:
    """Return the bytes of readings or points: as rows while they are fresh, and packed after that."""
    fresh = min(seconds, FRESH_FOR)
    return per_second * (fresh * READING_FRESH + max(0.0, seconds - fresh) * READING)
