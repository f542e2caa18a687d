"""The shipped scenarios and the checklist's SLA table."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.plan.plan import load_plan, load_sla
from loadgate.plan.samples import expected_readings, probe_of

CHECKLIST = [
    ("emotion.response_time", "p95", "< 50ms", "> 200ms", 30.0),
    ("creative.response_time", "p95", "< 200ms", "> 500ms", 30.0),
    ("reasoning.response_time", "p95", "< 100ms", "> 300ms", 30.0),
    ("error_rate", None, "< 0.1%", "> 1%", 60.0),
    ("cache_hit_rate", None, "> 60%", "< 30%", 60.0),
    ("throughput", None, ">= 1000/s", "< 500/s", 60.0),
    ("memory", None, "< 500MB", "> 1GB", 60.0),
    ("cpu", None, "< 50%", "> 80%", 60.0),
    ("uptime", None, ">= 99%", "< 95%", 300.0),
]
"""Metric, target, alert threshold and check interval of the staging checklist's nine rows."""


def test_the_table_is_the_checklist(scenarios: Path) -> None:
    """All nine rows, to the letter."""
    rows = load_sla(scenarios / "sla" / "staging.toml")
    found = [(r.name, r.statistic, r.target.text, r.alert.text if r.alert else None, r.every) for r in rows]
    assert found == CHECKLIST


@pytest.mark.parametrize("name", ["gate", "load", "stress", "spike", "soak"])
def test_shipped_scenarios_have_no_problems(scenarios: Path, name: str) -> None:
    """Neither errors nor warnings."""
    assert load_plan(scenarios / f"{name}.toml").warnings == ()


def test_smoke_warns_only_that_it_is_short(scenarios: Path) -> None:
    """Noise takes 20 s; what its own table asks for, 400 requests can show."""
    (warning,) = load_plan(scenarios / "smoke.toml").warnings
    assert "(8s) is too short to estimate its noise" in warning.message


def test_smoke_has_a_table_that_its_requests_can_show(scenarios: Path) -> None:
    """The checklist's rows but for the throughput; of errors fewer than 1 %, not 0.1 %, have to be shown."""
    rows = load_plan(scenarios / "smoke.toml").objectives
    found = [(r.name, r.statistic, r.target.text, r.alert.text if r.alert else None, r.every) for r in rows]
    wanted = [row for row in CHECKLIST if row[0] != "throughput"]
    wanted[3] = ("error_rate", None, "< 1%", "> 1%", 60.0)
    assert found == wanted


def test_throughput_is_left_out_by_name(scenarios: Path) -> None:
    """Where the offered rate says nothing about 1000/s; the other eight rows stay."""
    plan = load_plan(scenarios / "stress.toml")
    assert plan.scenario.verdict.leave_out == ("throughput",)
    assert [row.name for row in plan.objectives] == [row[0] for row in CHECKLIST if row[0] != "throughput"]


@pytest.mark.parametrize(("name", "steady"), [("gate", 25.0), ("load", 600.0), ("soak", 604_800.0)])
def test_the_judged_load_is_a_little_above_the_objective(scenarios: Path, name: str, steady: float) -> None:
    """1100/s all through the steady phase, which lasts as long as the scenario promises."""
    plan = load_plan(scenarios / f"{name}.toml")
    assert plan.timeline.seconds() == steady
    levels = {(p.level_start, p.level_end) for p in plan.timeline.segments if p.phase == "steady"}
    assert levels == {(1100.0, 1100.0)}
    assert len(plan.objectives) == 9


def test_the_gate_takes_half_a_minute(scenarios: Path) -> None:
    """3 s ramp and 2 s of warm-up that are not judged, then 25 s that are."""
    line = load_plan(scenarios / "gate.toml").timeline
    assert [(p.end, p.phase) for p in line.segments] == [(3.0, "ramp"), (5.0, "warmup"), (30.0, "steady")]


def test_a_soak_survives_the_loss_of_a_worker(scenarios: Path) -> None:
    """And reads its probes at the checklist's intervals."""
    scenario = load_plan(scenarios / "soak.toml").scenario
    assert scenario.generator.on_worker_loss == "continue"
    assert {p.name: p.every for p in scenario.probes} == {"health": 30.0, "cache": 300.0, "process": 60.0}


@pytest.mark.parametrize("name", ["smoke", "gate", "load", "stress", "spike", "soak"])
def test_every_row_from_a_probe_has_five_readings(scenarios: Path, name: str) -> None:
    """With fewer it would be INVALID."""
    plan = load_plan(scenarios / f"{name}.toml")
    probes = [
        probe_of(row, plan.scenario.probes)
        for row in plan.objectives
        if row.metric in ("cpu", "memory", "uptime")
    ]
    assert len(probes) == 3
    assert all(probe is not None and expected_readings(probe, plan.timeline) >= 5 for probe in probes)


def test_the_smoke_checks_are_the_checklists(scenarios: Path) -> None:
    """Its three requests to the letter, the same in each scenario that has them, every endpoint."""
    plans = [load_plan(scenarios / f"{name}.toml").scenario for name in ("smoke", "gate", "load")]
    smoke = plans[0].smoke
    assert smoke is not None
    assert [plan.smoke for plan in plans] == [smoke] * 3
    assert [(item.path, item.body) for item in smoke.request] == [
        ("/api/v1/emotions/analyze", {"text": "Test message"}),
        ("/api/v1/creative/generate", {"prompt": "Test prompt"}),
        ("/api/v1/reasoning/verify", {"reasoning": "Test reasoning"}),
    ]
    assert all(item.repeat_cached for item in smoke.request)
    assert {item.endpoint for item in smoke.request} == set(plans[0].traffic.mix)
    assert smoke.pages == ("/web-app/dashboard.html",)
