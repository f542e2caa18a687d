"""The windows of an objective one by one: what the newest one says, and when a limit was last broken.

A verdict keeps of the windows what decides it. Who follows a run asks how it is now, and since when it has
been well; this answers with the same formulas. It is for the eyes only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgate.judge import latency
from loadgate.judge.evidence import Evidence
from loadgate.judge.measured import NOTHING, Measured, MeasuredColumns, measured
from loadgate.judge.objectives import REQUEST_METRICS
from loadgate.judge.readings import find_probe, source_of
from loadgate.judge.samples import summed
from loadgate.judge.slots import TOLERANCE, Interval, slots, slots_of
from loadgate.measure.layout import Floats, Int64s
from loadgate.measure.levels import errors, misses
from loadgate.measure.window import Count
from loadgate.plan.sla import Objective

_COUNTED: Final = {"error_rate": errors, "cache_hit_rate": misses}


@dataclass(frozen=True, slots=True)
class LastWindows:
    """The newest whole window that has data, and the last one that was past the limit that fails the row."""

    newest: Interval | None = None
    state: Measured = NOTHING
    breach: Interval | None = None


def last_windows(objective: Objective, evidence: Evidence) -> LastWindows:
    """Return what the windows of a row say last; nothing where the row cannot be told window by window.

    Windows that compaction has made longer than the row's own cannot be told apart any more.
    """
    cut = slots(evidence.steady, objective.every)
    whole = [slot for slot in cut if slot.length >= objective.every - TOLERANCE] or cut
    tallies = evidence.of(objective.endpoint)
    if not cut or (
        objective.metric in REQUEST_METRICS
        and evidence.parts_of(objective, cut) is None
        and max((one.span for one in tallies), default=1) > max(objective.every, 1)
    ):
        return LastWindows()
    parts = list(zip(cut, _parts(objective, evidence, cut), strict=True))
    newest = next(((slot, part) for slot, part in reversed(parts) if part.n and slot in whole), None)
    breach = next((slot for slot, part in reversed(parts) if part.n and part.past), None)
    at, state = newest or (None, NOTHING)
    return LastWindows(at, state, breach)


def _parts(objective: Objective, evidence: Evidence, cut: Sequence[Interval]) -> Sequence[Measured]:
    """Evaluate a row over each of its windows."""
    kept = evidence.parts_of(objective, cut)
    if kept is not None:
        # As many windows as a long run has were evaluated while it was read.
        if objective.is_latency:
            return latency.measured_parts(objective, kept)
        return MeasuredColumns.by_value(objective, kept.values, np.maximum(kept.n, 1))
    if objective.is_latency:
        if not any(one.count(Count.ARRIVALS) for one in evidence.of(objective.endpoint)):
            return [NOTHING] * len(cut)
        return latency.by_window(objective, evidence, cut)
    if objective.metric in _COUNTED:
        return _shares(objective, evidence, cut)
    if objective.metric == "throughput":
        counts = _by_slot(objective, evidence, cut, evidence.counts(objective.endpoint).count(Count.OK))
        return [
            measured(objective, count / slot.length, max(int(count), 1))
            for slot, count in zip(cut, counts, strict=True)
        ]
    return _readings(objective, evidence, cut)


def _shares(objective: Objective, evidence: Evidence, cut: Sequence[Interval]) -> list[Measured]:
    """Evaluate a share of requests: of the bad ones for an error rate, of the others for a hit rate."""
    bad, n = (
        _by_slot(objective, evidence, cut, values)
        for values in _COUNTED[objective.metric](evidence.counts(objective.endpoint))
    )
    of_good = objective.metric == "cache_hit_rate"
    return [
        measured(objective, (total - wrong if of_good else wrong) / total, int(total)) if total else NOTHING
        for wrong, total in zip(bad.tolist(), n.tolist(), strict=True)
    ]


def _by_slot(objective: Objective, evidence: Evidence, cut: Sequence[Interval], values: Int64s) -> Floats:
    return summed(slots_of(cut, evidence.of(objective.endpoint)), values, len(cut))


def _readings(objective: Objective, evidence: Evidence, cut: Sequence[Interval]) -> list[Measured]:
    """Evaluate a row of a probe: the worst reading of each window, or the share of good ones for uptime."""
    found = find_probe(evidence.probes, objective)
    if found is None:
        return [NOTHING] * len(cut)
    source, scale = source_of(*found, evidence), 1.0
    if objective.metric == "cpu" and evidence.policy.cpu_of == "machine":
        cores = [item.value for item in source_of(found[0], "cores", evidence).good if item.value]
        if not cores:
            return [NOTHING] * len(cut)
        scale = 1 / cores[-1]
    parts, moments = [], [item.at for item in source.attempts]
    for slot in cut:
        first, end = bisect_left(moments, slot.start), bisect_left(moments, slot.end)
        inside = [item.value for item in source.attempts[first:end]]
        if objective.metric == "uptime":
            values = (
                [sum(value is not None and value >= 1 for value in inside) / len(inside)] if inside else []
            )
        else:
            values = [value * scale for value in inside if value is not None]
        worst = min if objective.target.upward else max
        parts.append(measured(objective, worst(values), len(inside)) if values else NOTHING)
    return parts
