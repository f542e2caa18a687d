"""Which latency limits a plan wants counted exactly, per endpoint: of its objectives and alert rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loadgate.plan.alerts import AlertRule
from loadgate.plan.sla import LATENCIES, Limit, Objective


def thresholds_of(
    objectives: Iterable[Objective], rules: Iterable[AlertRule] = ()
) -> dict[str | None, list[int]]:
    """Return the limits in microseconds by endpoint; None holds those of every endpoint."""
    limits: dict[str | None, set[int]] = {}
    for endpoint, limit in (*_of_rows(objectives), *_of_rules(rules)):
        if limit is not None:
            at = round(limit.value * 1e6)
            # What is counted is what lies over a limit; "< 50ms" is broken at 50 ms already.
            limits.setdefault(endpoint, set()).update((at - 1, at))
    return {endpoint: sorted(values) for endpoint, values in limits.items()}


def _of_rows(objectives: Iterable[Objective]) -> Iterator[tuple[str | None, Limit | None]]:
    for row in objectives:
        if row.is_latency:
            yield from ((row.endpoint, row.target), (row.endpoint, row.alert))


def _of_rules(rules: Iterable[AlertRule]) -> Iterator[tuple[str | None, Limit | None]]:
    for rule in rules:
        if rule.subject.metric in LATENCIES:
            over = rule.burn.over if rule.burn is not None else None
            yield from ((rule.subject.endpoint, limit) for limit in (rule.limit, rule.clear, over))
