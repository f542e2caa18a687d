"""The live page: how a run stands, as the JSON that a page in a browser asks for each second, and that page.

Everything of it is bounded, whatever the run has. Text goes to the page as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from loadgate.plan.plan import Plan
from loadgate.plan.units import format_number
from loadgate.report.snapshot import EndpointView, Snapshot
from loadgate.store.watch import Reading

MOST_ENDPOINTS: Final = 20
"""Endpoints that are shown one by one, those with the most arrivals; the total holds all."""
MOST_ROWS: Final = 200
"""Objectives, alerts, workers or readings that are shown at most."""


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
    busiest = sorted(snapshot.endpoints, key=lambda view: -view.count("arrivals"))[:MOST_ENDPOINTS]
    kept = {view.name for view in busiest}
    shown = [view for view in snapshot.endpoints if view.name in kept]
    return state | {
        "begun": snapshot.begun,
        "now": snapshot.now,
        "until": snapshot.until,
        "planned": snapshot.planned,
        "phase": snapshot.phase,
        "model": snapshot.model,
        "requested": snapshot.requested,
        "in_flight": snapshot.in_flight,
        "late": snapshot.late,
        "endpoints": [_endpoint(view) for view in shown],
        "more_endpoints": len(snapshot.endpoints) - len(shown),
        "total": _endpoint(snapshot.total),
        "objectives": [
            {
                "title": row.title,
                "target": row.target,
                "state": row.state,
                "value": row.value,
                "n": row.n,
                "reason": row.reason,
            }
            for row in snapshot.objectives[:MOST_ROWS]
        ],
        "alerts": [
            {"rule": one.rule, "severity": one.severity, "state": one.state}
            for one in snapshot.alerts[:MOST_ROWS]
        ],
        "workers": [
            {
                "name": worker.name,
                "cpu": worker.cpu,
                "users": worker.users,
                "in_flight": worker.in_flight,
                "start_lag": worker.start_lag_p99_us / 1000,
                "silent": worker.silent,
            }
            for worker in snapshot.workers[:MOST_ROWS]
        ],
        "reporting": snapshot.reporting,
        "expected": snapshot.expected or len(snapshot.workers),
        "failures": [
            {
                "endpoint": one.endpoint,
                "outcome": one.outcome,
                "kind": one.kind,
                "message": one.message,
                "count": one.count,
            }
            for one in snapshot.failures
        ],
        "probes": [
            {
                "name": f"{probe}.{name}",
                "value": "no data" if one.value is None else format_number(one.value),
                "error": one.error,
            }
            for (probe, name), one in sorted(readings.items())[:MOST_ROWS]
        ],
    }


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
