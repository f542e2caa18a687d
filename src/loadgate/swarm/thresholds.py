"""Which latency limits a plan wants counted exactly, per endpoint."""

from __future__ import annotations

from collections.abc import Iterable

from loadgate.plan.sla import Objective


def thresholds_of(objectives: Iterable[Objective]) -> dict[str | None, list[int]]:
    """Return the limits in microseconds by endpoint; None holds those of every endpoint."""
    limits: dict[str | None, set[int]] = {}
    for objective in objectives:
        if not objective.is_latency:
            continue
        for limit in (objective.target, objective.alert):
            if limit is not None:
                at = round(limit.value * 1e6)
                # What is counted is what lies over a limit; "< 50ms" is broken at 50 ms already.
                limits.setdefault(objective.endpoint, set()).update((at - 1, at))
    return {endpoint: sorted(values) for endpoint, values in limits.items()}
