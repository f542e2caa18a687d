"""Alerts beside a real run: faults that are switched on in its middle, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from loadgate.errors import StoreError
from loadgate.plan.plan import load_plan
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.watch import AlertChange
from loadgate.watch.alert_feed import LiveAlerts, replay

pytestmark = pytest.mark.system

RULES = """
[[alert]]
name     = "slow"
when     = "emotion.response_time > 200ms"
every    = "2s"
for      = "4s"
severity = "high"

[[alert]]
name     = "errors"
when     = "creative.error_rate > 20%"
every    = "2s"
severity = "high"

[[alert]]
name     = "down"
when     = "health.up < 1"
every    = "1s"
for      = "2s"
severity = "critical"
"""
MORE = """
[[probes]]
name    = "health"
http    = "/health"
every   = "1s"
timeout = "500ms"
"""


def anchor_of(database: Path) -> float | None:
    """Return the monotonic second of run time 0, once it is known."""
    with suppress(StoreError), RunReader(database) as reader:
        found = reader.value("anchor", None)
        return float(found["monotonic"]) if found else None
    return None


def test_faults_of_a_run_fire_when_their_for_is_over(loadgate: Any, fresh_service: StagingService) -> None:
    """Each fires at its first violated window and `for`, is over after the fault, and a replay says the same.

    From 5 s to 13 s of run time emotion takes 400 ms more, half of the creative answers are errors, and the
    health check fails.
    """
    path = loadgate.scenario(fresh_service.url, rate=60, hold="20s", more=MORE)
    path.write_text(
        path.read_text().replace('sla        = "sla.toml"', 'sla = "sla.toml"\nalerts = "rules.toml"')
    )
    loadgate.write("rules.toml", RULES)
    plan = load_plan(path)
    running = loadgate.start("run", path)
    running.until_answered()
    folder = running.folder_of_run()
    anchor = anchor_of(folder.database)
    assert anchor is not None
    steps: list[tuple[float, Callable[[], object]]] = [
        (5.0, lambda: fresh_service.add_fault("latency", endpoint="emotion", delay="400ms")),
        (5.0, lambda: fresh_service.add_fault("error", endpoint="creative", status=500, share="50%")),
        (5.0, lambda: fresh_service.add_fault("error", endpoint="health", status=503)),
        (13.0, fresh_service.clear_faults),
    ]
    said: list[AlertChange] = []
    with LiveAlerts(plan, folder) as alerts:
        while running.process.poll() is None:
            now = time.monotonic() - anchor
            while steps and now >= steps[0][0]:
                steps.pop(0)[1]()
            said += alerts.step(now)
            time.sleep(0.2)
        said += alerts.finish()
    assert replay(folder, plan.alerts, plan) == sorted(
        said, key=lambda one: (one.at, [rule.name for rule in plan.alerts].index(one.rule))
    )
    for rule, held in (("slow", 4.0), ("errors", 2.0), ("down", 2.0)):
        fired, resolved = (one for one in said if one.rule == rule and one.state in ("firing", "resolved"))
        assert fired.detail["since"] in (4.0, 5.0, 6.0), fired
        assert fired.at == fired.detail["since"] + held
        assert 13.0 < resolved.at <= 18.0, resolved
