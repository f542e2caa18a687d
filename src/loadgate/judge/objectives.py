"""Evaluate every objective: the metric's function, after the checks that all metrics share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches

from loadgate.judge import latency, rates, readings
from loadgate.judge.evidence import STEADY, Evidence
from loadgate.judge.results import ObjectiveResult
from loadgate.judge.rows import invalid
from loadgate.judge.slots import slots
from loadgate.measure.columns import Columns
from loadgate.measure.parts import Parts, definition
from loadgate.measure.recorder import OVERFLOW_ENDPOINT
from loadgate.plan.sla import LATENCIES, Objective
from loadgate.plan.units import format_duration

REQUEST_METRICS: dict[str, Callable[[Objective, Evidence, bool], ObjectiveResult]] = {
    **dict.fromkeys(LATENCIES, latency.latency),
    "error_rate": rates.error_rate,
    "throughput": lambda objective, evidence, _: rates.throughput(objective, evidence),
    "cache_hit_rate": rates.cache_hit_rate,
}
"""The metrics that come from requests; all others come from probes."""


def evaluate_all(evidence: Evidence) -> tuple[ObjectiveResult, ...]:
    """Evaluate the objectives of a run in their order."""
    return tuple(evaluate(objective, evidence) for objective in evidence.objectives)


def evaluate(objective: Objective, evidence: Evidence, *, merged: bool = False) -> ObjectiveResult:
    """Judge one row of the SLA table over the steady phase.

    `merged` says that its windows were merged, so that neighbouring seconds can no longer be told apart, and
    only the binomial bound stands against chance: for a view of a run that goes on, never for a verdict.
    """
    result = _evaluate(objective, evidence, merged)
    optional = any(objective.matches(word) for word in evidence.policy.optional)
    return replace(result, optional=optional)


def _evaluate(objective: Objective, evidence: Evidence, merged: bool) -> ObjectiveResult:
    if evidence.seconds <= 0:
        return invalid(objective, "no part of the steady phase was run: run until it has begun")
    evaluate_metric = REQUEST_METRICS.get(objective.metric)
    if evaluate_metric is None:
        return readings.reading(objective, evidence)
    missing = _missing(objective, evidence, merged)
    return missing if missing is not None else evaluate_metric(objective, evidence, merged)


def _may_lack_some(evidence: Evidence) -> bool:
    """Tell whether an endpoint may be counted in part as overflow.

    One worker keeps an endpoint or does not; several may each keep other ones.
    """
    return OVERFLOW_ENDPOINT in evidence.endpoints and evidence.workers_expected > 1


def _too_coarse(objective: Objective, evidence: Evidence, merged: bool) -> int:
    """Return how long the run's windows are, where the row's cannot be told from them; else 0."""
    if evidence.digest is not None:
        return evidence.digest.coarse.get(definition(objective), 0)
    long = [window for window in evidence.of(objective.endpoint) if window.span > 1]
    coarsest = max((window.span for window in long), default=0)
    if coarsest > objective.every or not long or merged:
        return coarsest if coarsest > objective.every else 0
    parts = Parts(objective, slots(evidence.steady, objective.every))
    parts.look_for_coarse(Columns(long, {}))
    return parts.coarse


def _missing(objective: Objective, evidence: Evidence, merged: bool) -> ObjectiveResult | None:
    """Return an INVALID row where there are no requests to judge, or None where there are."""
    endpoint = objective.endpoint
    if endpoint is not None and endpoint not in evidence.endpoints:
        near = get_close_matches(endpoint, evidence.endpoints, n=1)
        had = ", ".join(evidence.endpoints) or "none"
        mean = f" (did you mean {near[0]}?)" if near else ""
        return invalid(objective, f"the run had no requests of endpoint {endpoint!r}; it had: {had}{mean}")
    if endpoint is not None and (endpoint == OVERFLOW_ENDPOINT or _may_lack_some(evidence)):
        return invalid(
            objective,
            f"more endpoints than a worker keeps apart: some requests of {endpoint!r} may be among those "
            f"counted as {OVERFLOW_ENDPOINT}: give requests of one kind one name",
        )
    if not evidence.books(endpoint, STEADY).arrivals and not evidence.total(endpoint).histograms:
        who = f"of endpoint {endpoint!r} " if endpoint else ""
        return invalid(objective, f"no request {who}was due in the steady phase: nothing was offered")
    coarsest = _too_coarse(objective, evidence, merged)
    if coarsest:
        kept, asked = format_duration(coarsest), format_duration(objective.every)
        return invalid(objective, f"the run keeps windows of {kept} now, too coarse to judge every {asked}")
    if not evidence.books(endpoint, STEADY).settled:
        return invalid(
            objective, "no request of the steady phase has ended yet: judge again when the run has ended"
        )
    return None
