"""The live page: how a run stands, as the JSON that a page in a browser asks for each second, and that page.

Everything of it is bounded, whatever the run has. Text goes to the page as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeVar

from loadgate.plan.plan import Plan
from loadgate.plan.units import format_number
from loadgate.report.cut import ORDER, left_out
from loadgate.report.snapshot import EndpointView, FailureView, ObjectiveState, Snapshot, WorkerView
from loadgate.store.watch import Reading

MOST_ENDPOINTS: Final = 20
"""Endpoints that are shown one by one, those with the most arrivals; the total holds all."""
MOST_ROWS: Final = 200
"""Objectives, alerts, workers or readings that are shown at most; of more, the worst are."""
_ALERTS: Final = ("firing", "flapping", "pending", "inactive")
_WORKERS: Final = ("silent", "reporting")
_READINGS: Final = ("failed", "read")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class LivePage:
    """The page and the policy that keeps everything but its own script from running."""

    html: bytes
    policy: str


@cache
def live_page() -> LivePage:
    """Read the page."""
    html = files("loadgate.report").joinpath("live_page.html").read_text(encoding="utf-8")
    hashes = {
        kind: " ".join(_hash(text) for text in re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL))
        for kind in ("script", "style")
    }
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return LivePage(html.encode(), policy)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def live_state(
    plan: Plan,
    run: str,
    snapshot: Snapshot | None,
    readings: Mapping[tuple[str, str], Reading],
    *,
    stoppable: bool = True,
) -> dict[str, Any]:
    """Say how a run stands, in plain values. Latencies are ms; "inf" is infinitely slow, None is no data."""
    state: dict[str, Any] = {
        "run": run,
        "scenario": plan.scenario.name,
        "host": plan.scenario.host,
        "stoppable": stoppable,
        "begun": False,
    }
    if snapshot is None:
        return state
    return state | _of_time(snapshot) | _of_endpoints(snapshot) | _of_lists(snapshot, readings)


def _of_time(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "begun": snapshot.begun,
        "now": snapshot.now,
        "until": snapshot.until,
        "planned": snapshot.planned,
        "phase": snapshot.phase,
        "model": snapshot.model,
        "requested": snapshot.requested,
        "in_flight": snapshot.in_flight,
        "late": snapshot.late,
        "reporting": snapshot.reporting,
        "expected": snapshot.expected or len(snapshot.workers),
    }


def _of_endpoints(snapshot: Snapshot) -> dict[str, Any]:
    busiest = sorted(snapshot.endpoints, key=lambda view: -view.count("arrivals"))[:MOST_ENDPOINTS]
    kept = {view.name for view in busiest}
    shown = [view for view in snapshot.endpoints if view.name in kept]
    return {
        "endpoints": [_endpoint(view) for view in shown],
        "more_endpoints": len(snapshot.endpoints) - len(shown),
        "total": _endpoint(snapshot.total),
    }


def _of_lists(snapshot: Snapshot, readings: Mapping[tuple[str, str], Reading]) -> dict[str, Any]:
    """Give objectives, alerts, workers, failures and readings, and what is left out of each in words."""
    objectives, more_objectives = _cut(snapshot.objectives, lambda row: row.state, ORDER)
    alerts, more_alerts = _cut(snapshot.alerts, lambda one: one.state, _ALERTS)
    workers, more_workers = _cut(snapshot.workers, _worker_state, _WORKERS)
    probes, more_probes = _cut(sorted(readings.items()), lambda pair: _reading_state(pair[1]), _READINGS)
    return {
        "objectives": [_objective(row) for row in objectives],
        "alerts": [{"rule": one.rule, "severity": one.severity, "state": one.state} for one in alerts],
        "workers": [_worker(worker) for worker in workers],
        "failures": [_failure(one) for one in snapshot.failures],
        "probes": [_probe(f"{probe}.{name}", one) for (probe, name), one in probes],
        "left_out": {
            "objectives": more_objectives,
            "alerts": more_alerts,
            "workers": more_workers,
            "probes": more_probes,
        },
    }


def _cut(rows: Sequence[Row], state: Callable[[Row], str], order: Sequence[str]) -> tuple[Sequence[Row], str]:
    """Return at most `MOST_ROWS` rows, and what is left out in words; a list that fits keeps its order."""
    if len(rows) <= MOST_ROWS:
        return rows, ""
    places = {word: place for place, word in enumerate(order)}
    ordered = sorted(rows, key=lambda row: places.get(state(row), -1))
    return ordered[:MOST_ROWS], left_out([state(row) for row in ordered[MOST_ROWS:]])


def _worker_state(worker: WorkerView) -> str:
    return "silent" if worker.silent else "reporting"


def _reading_state(reading: Reading) -> str:
    return "failed" if reading.value is None else "read"


def _objective(row: ObjectiveState) -> dict[str, Any]:
    return {
        "title": row.title,
        "target": row.target,
        "state": row.state,
        "value": row.value,
        "n": row.n,
        "reason": row.reason,
    }


def _worker(worker: WorkerView) -> dict[str, Any]:
    return {
        "name": worker.name,
        "cpu": worker.cpu,
        "users": worker.users,
        "in_flight": worker.in_flight,
        "start_lag": worker.start_lag_p99_us / 1000,
        "silent": worker.silent,
    }


def _failure(one: FailureView) -> dict[str, Any]:
    return {
        "endpoint": one.endpoint,
        "outcome": one.outcome,
        "kind": one.kind,
        "message": one.message,
        "count": one.count,
    }


def _probe(name: str, one: Reading) -> dict[str, Any]:
    value = "no data" if one.value is None else format_number(one.value)
    return {"name": name, "value": value, "error": one.error}


def _endpoint(view: EndpointView) -> dict[str, Any]:
    return {
        "name": view.name,
        "ok_rate": view.ok_rate,
        "p50": _ms(view.recent.p50),
        "p95": _ms(view.recent.p95),
        "p99": _ms(view.recent.p99),
        "ok": view.count("ok"),
        "failed": view.count("failed"),
        "timeout": view.count("timeout"),
        "unsent": view.unsent,
        "trend": [[one.second, one.ok, _ms(one.p50), _ms(one.p95), _ms(one.p99)] for one in view.trend],
    }


def _ms(micros: float | None) -> float | str | None:
    if micros is None:
        return None
    return "inf" if math.isinf(micros) else micros / 1000
