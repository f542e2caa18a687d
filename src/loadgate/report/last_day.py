"""The objectives over a stretch of a run alone, such as its last day: by the formulas of the verdict.

These are values beside the verdict's, to be read by people: they have no interval, and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from loadgate.judge.latency import clock_of
from loadgate.judge.readings import find_probe
from loadgate.judge.results import spelled
from loadgate.judge.slots import Interval
from loadgate.measure.levels import errors, latency, misses
from loadgate.measure.window import Count, Window
from loadgate.plan.plan import Plan
from loadgate.plan.sla import PER_ENDPOINT, Objective
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading, WatchReader

DAY: Final = 86_400.0
ROW: Final = 60.0
"""Seconds of the longest rows: a stretch begins at a multiple of it, so that no row is cut."""


def last_day(now: float) -> Interval:
    """Return the last day before a run time, from a whole minute on; of a younger run all of it."""
    return Interval(max(0.0, math.floor((now - DAY) / ROW) * ROW), max(0.0, now))


def values_of(run: RunFolder, plan: Plan, part: Interval) -> dict[str, str]:
    """Return the value of each objective over the steady phase in a stretch of a run, by its name.

    What has no data there is not in it. StoreError when a database cannot be read.
    """
    found: dict[str, str] = {}
    totals: dict[str | None, Window] = {}
    steady = plan.timeline.steady
    seconds = math.fsum(max(0.0, min(end, part.end) - max(start, part.start)) for start, end in steady)
    with RunReader(run.database) as reader, WatchReader(run.watch_database) as seen:
        for row in plan.objectives:
            if row.metric in PER_ENDPOINT:
                if row.endpoint not in totals:
                    totals[row.endpoint] = reader.total("steady", part.start, part.end, row.endpoint)
                value = _of_requests(row, totals[row.endpoint], seconds)
            else:
                value = _of_readings(row, plan, seen, part)
            if value is not None:
                found[row.name] = spelled(row.target, value)
    return found


def _of_requests(row: Objective, total: Window, seconds: float) -> float | None:
    if row.metric == "throughput":
        return total.count(Count.OK) / seconds if seconds > 0 else None
    if row.metric == "error_rate":
        bad, n = errors(total)
        return bad / n if n else None
    if row.metric == "cache_hit_rate":
        bad, n = misses(total)
        return 1 - bad / n if n else None
    histogram, infinite = total.response(row.latency_on, clock_of(row))
    return latency(histogram, infinite, row.statistic, row.rank)


def _of_readings(row: Objective, plan: Plan, seen: WatchReader, part: Interval) -> float | None:
    source = find_probe(plan.scenario.probes, row)
    if source is None:
        return None
    probe, name = source
    readings = [
        one
        for one in seen.readings(f"{probe.name}.{name}", part.start, part.end)
        if any(start <= one.at < end for start, end in plan.timeline.steady)
    ]
    if row.metric == "uptime":
        return _share_of_good(readings)
    values = [one.value for one in readings if one.value is not None]
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if row.metric == "cpu" and plan.scenario.verdict.cpu_of == "machine":
        cores = [one.value for one in seen.readings(f"{probe.name}.cores", part.start, part.end) if one.value]
        return mean / cores[-1] if cores else None
    return mean


def _share_of_good(readings: Sequence[Reading]) -> float | None:
    good = sum(one.value is not None and one.value >= 1 for one in readings)
    return good / len(readings) if readings else None
