"""Rules, plans and series for the tests of the alert engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.alert_files import RulesFile
from loadgate.plan.alerts import AlertEntry, AlertRule
from loadgate.plan.checks_alerts import Against, resolve
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Probe, Scenario, Stage, Traffic
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Timeline
from loadgate.store.watch import AlertChange

PROBES = (
    Probe(name="health", http="/health", every=10.0, timeout=5.0),
    Probe(name="process", process="listening", every=10.0, timeout=5.0),
)
SLA = tuple(
    Objective.model_validate(row)
    for row in (
        {
            "metric": "response_time",
            "endpoint": "emotion",
            "target": "< 50ms",
            "alert": "> 200ms",
            "every": 10.0,
        },
        {"metric": "error_rate", "target": "< 0.1%", "alert": "> 1%", "every": 10.0},
        {"metric": "throughput", "target": ">= 50/s", "alert": "< 20/s", "every": 10.0},
        {"metric": "cache_hit_rate", "target": "> 60%", "alert": "< 30%", "every": 10.0},
        {"metric": "cpu", "target": "< 50%", "alert": "> 80%", "every": 10.0},
    )
)


def plan(*entries: dict[str, Any], hold: float = 600.0, ramp: float = 0.0, **scenario: Any) -> Plan:
    """Return a plan of `hold` steady seconds after a ramp, with these rules."""
    traffic = Traffic(
        stages=(Stage(rate=100.0, ramp=ramp, hold=hold),), users=10, mix={"emotion": 1.0, "creative": 1.0}
    )
    made = Scenario(
        name="alerts",
        locustfile=Path("none.py"),
        host="http://127.0.0.1:3000",
        traffic=traffic,
        probes=PROBES,
        **scenario,
    )
    against = Against(
        rows=SLA,
        probes=PROBES,
        traffic=traffic,
        timeline=Timeline.of(made),
        policy=made.verdict,
        rollback=made.rollback,
    )
    found = [(i, AlertEntry.model_validate({"severity": "high", **one})) for i, one in enumerate(entries)]
    resolved = resolve(RulesFile("rules.toml", found), against)
    assert resolved.problems == []
    return Plan(scenario=made, objectives=SLA, alerts=tuple(resolved.rules))


def rule(**entry: Any) -> AlertRule:
    """Return one rule of a plan of ten steady minutes."""
    (only,) = plan({"name": "rule", **entry}).alerts
    return only


def window(
    second: int,
    ms: float = 20.0,
    ok: int = 10,
    failed: int = 0,
    endpoint: str = "emotion",
    phase: str = "steady",
    **more: int,
) -> Window:
    """Return a second of requests that all took the same time."""
    histogram = Histogram()
    histogram.record(round(ms * 1000), ok)
    counts = {"arrivals": ok + failed, "ok": ok, "failed": failed, **more}
    histograms = {"response.ok": histogram} if ok else {}
    return Window(second, 1, endpoint, phase, {k: n for k, n in counts.items() if n}, histograms)


def told(changes: list[AlertChange]) -> list[tuple[float, str, str]]:
    """Return when which rule changed to which state."""
    return [(change.at, change.rule, change.state) for change in changes]
