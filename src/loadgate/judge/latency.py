"""Response and service times: percentiles, means and maxima of merged histograms.

The value of a percentile is the highest value equivalent to the sample at rank ceil(p·n). Whether it
meets a limit is decided without the histogram where the exact count over that limit is known:
with k of n values over T, the percentile is at most T if and only if k <= n - ceil(p·n). Times are whole
microseconds; a limit "< T" counts the values over T - 1 µs where those were counted, else those over T.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from loadgate.judge.evidence import Evidence
from loadgate.judge.results import ObjectiveResult
from loadgate.judge.rows import NOTHING, Measured, decide, invalid, measured
from loadgate.judge.slots import slots
from loadgate.measure.histogram import rank_of
from loadgate.measure.window import Window
from loadgate.plan.sla import Limit, Objective

EXACT = "exact count over the limit"
BY_HISTOGRAM = "histogram, 3 significant digits"
EXACT_VALUE = "exact value"


def latency(objective: Objective, evidence: Evidence) -> ObjectiveResult:
    """Judge a latency row over the steady phase and its windows; the endpoint must have been seen."""
    total = evidence.total(objective.endpoint)
    whole = measure(objective, total)
    if whole.value is None:
        which = "ok " if objective.latency_on != "all" else ""
        return invalid(objective, f"no {which}request of the steady phase has a latency: nothing can be said")
    cut = slots(evidence.steady, objective.every)
    parts = [measure(objective, window) for window in evidence.by_slot(cut, objective.endpoint)]
    method = EXACT_VALUE if objective.rank is None else EXACT if whole.exact else BY_HISTOGRAM
    result = decide(objective, whole, cut, parts, method=method, notes=_notes(objective, evidence, total))
    _, infinite = total.response(objective.latency_on, clock_of(objective))
    result = replace(result, bad=infinite)
    if whole.value is not None and whole.exact and objective.target.met(whole.value) != whole.holds:
        note = "the value shown is the upper edge of its histogram counter; the limit was compared exactly"
        result = replace(result, notes=(*result.notes, note))
    return result


def measure(objective: Objective, window: Window) -> Measured:
    """Evaluate a latency row over one window (a second, a slot or the whole phase)."""
    histogram, infinite = window.response(objective.latency_on, clock_of(objective))
    n = histogram.total + infinite
    if n == 0:
        return NOTHING
    rank = objective.rank
    if rank is not None:
        found = histogram.percentile(rank, infinite)
        value = None if found is None else found / 1e6
    elif infinite:
        value = math.inf
    else:
        micros = histogram.maximum if objective.statistic == "max" else histogram.mean
        value = None if micros is None else micros / 1e6
    by_value = measured(objective, value, n)
    if rank is None:
        return by_value
    allowed = n - rank_of(rank, n)
    holds = _met_exactly(objective.target, objective, window, allowed)
    if holds is None:
        return by_value
    past = not holds
    if objective.alert:
        counted = _met_exactly(objective.alert, objective, window, allowed)
        past = by_value.past if counted is None else counted
    return Measured(value, n, holds, past, exact=True)


def clock_of(objective: Objective) -> Literal["response", "service"]:
    """Return which clock a row is about."""
    return "service" if objective.metric == "service_time" else "response"


def _met_exactly(limit: Limit, objective: Objective, window: Window, allowed: int) -> bool | None:
    """Compare a percentile with a limit by counting; None where the values over it were not counted.

    `allowed` is the number of values that may lie over the limit: n - ceil(p·n).
    """
    micros = round(limit.value * 1e6, 3)
    strictly_below = limit.op in ("<", ">=")
    edge = math.ceil(micros) - 1 if strictly_below else math.floor(micros)
    over = _over(objective, window, edge)
    if over is None and strictly_below:
        over = _over(objective, window, math.floor(micros))
    if over is None:
        return None
    within = over <= allowed
    return within != limit.upward


def _over(objective: Objective, window: Window, threshold_us: int) -> int | None:
    """Count the judged latencies over a threshold (µs), the infinite ones too; None where not counted."""
    return window.response_over(threshold_us, objective.latency_on, clock_of(objective))


def _notes(objective: Objective, evidence: Evidence, total: Window) -> tuple[str, ...]:
    """Say what a reader of the value has to know."""
    notes = []
    if evidence.model == "closed" and objective.metric == "response_time":
        notes.append("closed model: the response time equals the service time, so waits are not in it")
    _, infinite = total.response(objective.latency_on, clock_of(objective))
    if infinite:
        notes.append(f"{infinite} failed, timed-out, unfinished or unsent requests count as infinitely slow")
    return tuple(notes)
