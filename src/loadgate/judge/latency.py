"""Response and service times: percentiles, means and maxima of merged histograms.

The value of a percentile is the highest value equivalent to the sample at rank ceil(p·n). Whether it
meets a limit is decided without the histogram where the exact count over that limit is known:
with k of n values over T, the percentile is at most T if and only if k <= n - ceil(p·n). Times are whole
microseconds; a limit "< T" counts the values over T - 1 µs where those were counted, else those over T.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from loadgate.judge.confidence import Shown, mean_shown, percentile_shown
from loadgate.judge.evidence import Evidence
from loadgate.judge.results import ObjectiveResult
from loadgate.judge.rows import NOTHING, Measured, decide, invalid, measured
from loadgate.judge.samples import Latencies, Slot
from loadgate.judge.slots import Interval, slots
from loadgate.measure.histogram import RANKS_PER_WHOLE, rank_of
from loadgate.measure.levels import edges, met_by_count, over_by_histogram
from loadgate.measure.levels import latency as latency_level
from loadgate.measure.window import Window
from loadgate.plan.sla import Limit, Objective

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
    result = decide(
        objective,
        whole,
        cut,
        [_measure(objective, slot) for slot in found.by_slot(cut, thresholds(objective))],
        shown=_shown(objective, found, evidence.seconds, merged),
        doubt=evidence.doubt,
        method=EXACT_VALUE if objective.rank is None else EXACT if whole.exact else BY_HISTOGRAM,
        notes=_notes(objective, evidence, total),
    )
    if whole.exact and objective.target.met(whole.value) != whole.holds:
        note = "the value shown is the upper edge of its histogram counter; the limit was compared exactly"
        result = replace(result, notes=(*result.notes, note))
    return result


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


def by_window(objective: Objective, evidence: Evidence, cut: Sequence[Interval]) -> Iterator[Measured]:
    """Evaluate a latency row over one window of the steady phase after the other."""
    if cut:
        found = Latencies(evidence, objective.endpoint, objective.latency_on, clock_of(objective))
        yield from (_measure(objective, slot) for slot in found.by_slot(cut, thresholds(objective)))


def thresholds(objective: Objective) -> tuple[int, ...]:
    """Return the thresholds (µs) over which a percentile's limits count; none for a maximum or a mean."""
    limits = [limit for limit in (objective.target, objective.alert) if limit is not None]
    return tuple(edge for limit in limits for edge in edges(limit)) if objective.rank is not None else ()


def _measure(objective: Objective, slot: Slot) -> Measured:
    """Evaluate a latency row over some time."""
    n = slot.histogram.total + slot.infinite
    if n == 0:
        return NOTHING
    if objective.rank is not None:
        return _percentile(objective, objective.rank, slot)
    return measured(objective, latency_level(slot.histogram, slot.infinite, objective.statistic, None), n)


def _percentile(objective: Objective, rank: int, slot: Slot) -> Measured:
    """Compare a percentile with its limits by counting, where the values over them were counted."""
    n = slot.histogram.total + slot.infinite
    by_value = measured(objective, latency_level(slot.histogram, slot.infinite, None, rank), n)
    allowed = n - rank_of(rank, n)
    failing = objective.alert or objective.target
    holds = _met_exactly(objective.target, slot, allowed)
    past = None if holds is None else not holds
    if objective.alert and holds is not None:
        past = _met_exactly(objective.alert, slot, allowed)
    bad = _over_limit(failing, slot)
    if bad is None:
        bad = over_by_histogram(slot.histogram, edges(failing)[1]) + slot.infinite
    return Measured(
        by_value.value,
        n,
        by_value.holds if holds is None else holds,
        by_value.past if past is None else past,
        exact=holds is not None,
        bad=bad,
        allowed=1 - rank / RANKS_PER_WHOLE,
    )


def clock_of(objective: Objective) -> Literal["response", "service"]:
    """Return which clock a row is about."""
    return "service" if objective.metric == "service_time" else "response"


def _met_exactly(limit: Limit, slot: Slot, allowed: int) -> bool | None:
    """Compare a percentile with a limit by counting; None where the values over it were not counted.

    `allowed` is the number of values that may lie over the limit: n - ceil(p·n).
    """
    over = _over_limit(limit, slot)
    return None if over is None else met_by_count(limit, over, allowed)


def _over_limit(limit: Limit, slot: Slot) -> int | None:
    """Count the latencies over a limit, the infinite ones too; None where not counted."""
    found = next((slot.over[edge] for edge in edges(limit) if edge in slot.over), None)
    return None if found is None else found + slot.infinite


def _notes(objective: Objective, evidence: Evidence, total: Window) -> tuple[str, ...]:
    """Say what a reader of the value has to know."""
    notes = []
    if evidence.model == "closed" and objective.metric == "response_time":
        notes.append("closed model: the response time equals the service time, so waits are not in it")
    _, infinite = total.response(objective.latency_on, clock_of(objective))
    if infinite:
        notes.append(f"{infinite} failed, timed-out, unfinished or unsent requests count as infinitely slow")
    return tuple(notes)
