"""The plain lines of a run that goes on, for logs."""

from __future__ import annotations

import math

from loadgate.plan.plan import Plan
from loadgate.plan.units import format_duration, format_number
from loadgate.report.snapshot import EndpointView, Snapshot
from loadgate.report.text import clean, counted, run_seconds
from loadgate.store.folder import RunFolder


def start_line(plan: Plan, folder: RunFolder) -> str:
    """Say what is run, where to, and for how long."""
    scenario = plan.scenario
    return (
        f"run {clean(folder.id)}: scenario {scenario.name} on {clean(scenario.host)}, "
        f"{format_duration(plan.timeline.end)} of load, {counted(len(plan.objectives), 'objective')}"
    )


def status_line(snapshot: Snapshot) -> str:
    """Say in one line how the run stands: time, phase, rates, latencies, failures, objectives."""
    parts = [
        f"[{run_seconds(snapshot.now)}/{run_seconds(snapshot.planned)}] {snapshot.phase}",
        f"{requested(snapshot)}, ok {rate(snapshot.total.ok_rate)}, in flight {snapshot.in_flight}",
    ]
    latencies = [f"{clean(row.name)} {micros(row.recent.p95)}" for row in snapshot.endpoints]
    parts.append(f"p95 {' '.join(latencies)}" if latencies else "no request has ended yet")
    parts.append(troubles(snapshot.total))
    states = tally(snapshot)
    return "; ".join([*parts, states] if states else parts)


def ended_line(snapshot: Snapshot) -> str:
    """Say what the whole run came to."""
    total = snapshot.total
    return (
        f"load ended at {run_seconds(snapshot.now)}: {total.count('arrivals')} arrivals, "
        f"ok {total.count('ok')}, {troubles(total)}"
    )


def requested(snapshot: Snapshot) -> str:
    """Return the level that the plan asks for now."""
    if snapshot.model == "closed":
        return f"users {format_number(round(snapshot.requested))}"
    return f"planned {rate(snapshot.requested)}"


def rate(per_second: float) -> str:
    """Write a rate for a glance: whole numbers from 100 on, one decimal below."""
    digits = 0 if per_second >= 100 else 1
    return f"{per_second:.{digits}f}/s"


def micros(value: float | None) -> str:
    """Write µs in ms for a glance with three significant digits; "∞" is a rank among the infinitely slow."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "∞"
    ms = value / 1000
    digits = 0 if ms >= 99.95 else 1 if ms >= 9.995 else 2
    return f"{ms:.{digits}f}ms"


def troubles(row: EndpointView) -> str:
    """Return the counts of what did not end well."""
    text = f"failed {row.count('failed')}, timeout {row.count('timeout')}, unsent {row.unsent}"
    for name in ("unfinished", "lost"):
        if row.count(name):
            text += f", {name} {row.count(name)}"
    return text


def tally(snapshot: Snapshot) -> str:
    """Count the objectives by state, and name those that fail: "7 PASS, 1 FAIL (error_rate), 1 waiting"."""
    parts = []
    for state in ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS", "waiting"):
        titles = [row.title for row in snapshot.objectives if row.state == state]
        if titles:
            named = f" ({', '.join(titles)})" if state not in ("PASS", "waiting") else ""
            parts.append(f"{len(titles)} {state}{named}")
    return f"objectives {', '.join(parts)}" if parts else ""
