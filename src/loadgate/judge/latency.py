"""Response and service times: percentiles, means and maxima of merged histograms.

The value of a percentile is the highest value equivalent to the sample at rank ceil(p·n). Whether it
meets a limit is decided without the histogram where the exact count over that limit is known:
with k of n values over T, the percentile is at most T if and only if k <= n - ceil(p·n). Times are whole
microseconds; a limit "< T" counts the values over T - 1 µs where those were counted, else those over T.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadgate.judge.confidence import Shown, mean_shown, percentile_shown
from loadgate.judge.evidence import Evidence
from loadgate.judge.measured import Measured, MeasuredColumns
from loadgate.judge.results import ObjectiveResult
from loadgate.judge.rows import decide, invalid, with_late
from loadgate.judge.samples import Latencies
from loadgate.judge.slots import Interval, slots
from loadgate.measure.histogram import RANKS_PER_WHOLE
from loadgate.measure.levels import met_by_count
from loadgate.measure.part import PartColumns
from loadgate.measure.parts import Slot, clock_of, latency_part, thresholds
from loadgate.measure.window import Window
from loadgate.plan.sla import Objective

__all__ = ["by_window", "clock_of", "latency", "measure", "measured_parts", "thresholds"]

EXACT = "exact count over the limit"
BY_HISTOGRAM = "histogram, 3 significant digits"
EXACT_VALUE = "exact value"


def latency(objective: Objective, evidence: Evidence, merged: bool = False) -> ObjectiveResult:
    """Judge a latency row over the steady phase and its windows; the endpoint must have been seen.

    A percentile and a mean have intervals. A maximum is what was seen: whatever number of requests says
    nothing of the next one, so its value is judged as it is.
    """
    total = evidence.total(objective.endpoint)
    whole = measure(objective, total)
    if whole.value is None:
        which = "ok " if objective.latency_on != "all" else ""
        return invalid(objective, f"no {which}request of the steady phase has a latency: nothing can be said")
    found = Latencies(evidence, objective.endpoint, objective.latency_on, clock_of(objective))
    cut = slots(evidence.steady, objective.every)
    parts = parts_over(objective, evidence, cut, found)
    windows = measured_parts(objective, parts)
    result = decide(
        objective,
        whole,
        cut,
        windows,
        shown=_shown(objective, found, evidence.seconds, merged),
        doubt=evidence.doubt,
        method=EXACT_VALUE if objective.rank is None else EXACT if whole.exact else BY_HISTOGRAM,
        notes=_notes(objective, evidence, total),
    )
    if whole.exact and objective.target.met(whole.value) != whole.holds:
        note = "the value shown is the upper edge of its histogram counter; the limit was compared exactly"
        result = replace(result, notes=(*result.notes, note))
    return with_late(result, parts)


def parts_over(
    objective: Objective, evidence: Evidence, cut: Sequence[Interval], found: Latencies
) -> PartColumns:
    """Return what a latency row's windows measured: as they were kept, else from the rows of `found`."""
    kept = evidence.parts_of(objective, cut)
    if kept is not None:
        return kept
    by_slot = found.by_slot(cut, thresholds(objective))
    return PartColumns.of(latency_part(objective, slot) for slot in by_slot)


def _shown(objective: Objective, found: Latencies, seconds: float, merged: bool) -> Shown | None:
    """Return what the interval of a percentile or a mean shows; None for a maximum, which has none."""
    if objective.rank is not None:
        return percentile_shown(objective, found, objective.rank, seconds, merged=merged)
    return None if objective.statistic == "max" or merged else mean_shown(objective, found, seconds)


def measure(objective: Objective, window: Window) -> Measured:
    """Evaluate a latency row over one window (a second, a slot or the whole phase)."""
    histogram, infinite = window.response(objective.latency_on, clock_of(objective))
    slot = Slot(histogram, infinite)
    for threshold_us in thresholds(objective):
        over = window.response_over(threshold_us, objective.latency_on, clock_of(objective))
        if over is not None:
            slot.over[threshold_us] = over - infinite
    return _measure(objective, slot)


def by_window(objective: Objective, evidence: Evidence, cut: Sequence[Interval]) -> Sequence[Measured]:
    """Evaluate a latency row over each window of the steady phase."""
    if not cut:
        return ()
    found = Latencies(evidence, objective.endpoint, objective.latency_on, clock_of(objective))
    return measured_parts(objective, parts_over(objective, evidence, cut, found))


def _measure(objective: Objective, slot: Slot) -> Measured:
    """Evaluate a latency row over some time."""
    return measured_parts(objective, PartColumns.of([latency_part(objective, slot)]))[0]


def measured_parts(objective: Objective, parts: PartColumns) -> MeasuredColumns:
    """Compare windows of a latency row with the row's limits: by counting, where that was counted.

    With k of n values over T, a percentile is at most T if and only if k <= n - ceil(p·n).
    """
    by_value = MeasuredColumns.by_value(objective, np.where(parts.n > 0, parts.values, math.nan), parts.n)
    rank = objective.rank
    if rank is None:
        return by_value
    n, infinite, some = parts.n, parts.count("infinite"), parts.n > 0
    allowed = n - np.maximum(1, -(-rank * n // RANKS_PER_WHOLE))
    counted = some & (parts.overs >= 0)
    held = met_by_count(objective.target, parts.overs + infinite, allowed)
    past = np.where(counted, ~held, by_value.past)
    if objective.alert:
        counted_alert = counted & (parts.over_alerts >= 0)
        past_alert = met_by_count(objective.alert, parts.over_alerts + infinite, allowed)
        past = np.where(counted_alert, past_alert, by_value.past)
    return replace(
        by_value,
        holds=np.where(counted, held, by_value.holds),
        past=past,
        exact=counted,
        bad=np.where(some, parts.bad, by_value.bad),
        allowed=np.where(some, 1 - rank / RANKS_PER_WHOLE, 0.0),
    )


def _notes(objective: Objective, evidence: Evidence, total: Window) -> tuple[str, ...]:
    """Say what a reader of the value has to know."""
    notes = []
    if evidence.model == "closed" and objective.metric == "response_time":
        notes.append("closed model: the response time equals the service time, so waits are not in it")
    _, infinite = total.response(objective.latency_on, clock_of(objective))
    if infinite:
        notes.append(f"{infinite} failed, timed-out, unfinished or unsent requests count as infinitely slow")
    return tuple(notes)
