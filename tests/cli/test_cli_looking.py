"""Looks at a growing run: each is taken once, when its time has come and its seconds are all told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadgate.cli.looking import Looking
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run

START = 10
"""The run second in which the steady minute begins, after a ramp."""


def plan_of(*, certain: bool = True) -> Plan:
    """Return a plan of a ramp of 10 s and a steady minute at 100/s, with one row."""
    scenario = Scenario.model_validate(
        {
            "name": "gate",
            "locustfile": "staging.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {"users": 10, "stages": [{"rate": 100.0, "ramp": 10.0, "hold": 60.0}]},
            "verdict": {"stop_when_certain": certain},
        }
    )
    row = {"metric": "response_time", "target": "< 50ms", "alert": "> 200ms", "every": 10.0}
    return Plan(scenario=scenario, objectives=(Objective.model_validate(row),))


@pytest.fixture
def growing(tmp_path: Path) -> Callable[[int, int], RunFolder]:
    """Store a run that goes on: so many steady seconds of 100 requests, each of so many ms."""

    def make(seconds: int, ms: int) -> RunFolder:
        run = create_run(tmp_path, "gate", datetime(2026, 1, 1, tzinfo=UTC))
        windows, fleet = [], []
        for second in range(START, START + seconds):
            took, lag = Histogram(), Histogram()
            took.record(ms * 1000, 100)
            lag.record(100, 100)
            series = {"response.ok": took, "service.ok": took.copy(), "start_lag": lag}
            windows.append(Window(second, 1, "emotion", "steady", {"arrivals": 100, "ok": 100}, series))
            fleet.append(FleetRow(second, "w1", 100, 100, 100, 0, 10, 0.1, 60_000_000, 100.0, 100.0, 500.0))
        values = {"anchor": {"monotonic": 0.0, "wall": 0.0, "boot_id": "b"}, "workers_expected": 1}
        with open_writer(run.database) as writer:
            writer.commit([Delta(run.id, "w1", 1, 1, windows, [], fleet)], run_values=values)
        return run

    return make


def test_a_good_run_is_decided_when_half_of_it_is_told(growing: Callable[[int, int], RunFolder]) -> None:
    """After 30 s and what the reports of the last second take; the look after 20 s does not let it pass."""
    looking = Looking(plan_of(), growing(40, 20))
    assert [looking.look(START + after) for after in (5.0, 22.9, 23.0, 32.9)] == [None] * 4
    assert looking.look(START + 33.0) == "every row that decides is settled"


def test_a_bad_run_is_decided_at_the_first_look(growing: Callable[[int, int], RunFolder]) -> None:
    """After 20 s, and nothing is said a second time."""
    looking = Looking(plan_of(), growing(22, 400))
    assert looking.look(START + 23.0) == "a row that decides is past its limit for sure"
    assert [looking.look(START + after) for after in (23.5, 33.0, 50.0)] == [None] * 3


def test_a_look_that_was_missed_is_not_made_up_for(growing: Callable[[int, int], RunFolder]) -> None:
    """Of two that are due the later one is taken, of all that it may see."""
    looking = Looking(plan_of(), growing(40, 20))
    assert looking.look(START + 35.0) == "every row that decides is settled"


def test_a_plan_without_the_key_is_never_looked_at(growing: Callable[[int, int], RunFolder]) -> None:
    """However certain its verdict is."""
    looking = Looking(plan_of(certain=False), growing(40, 400))
    assert [looking.look(START + after) for after in (23.0, 33.0, 48.0, 70.0)] == [None] * 4


def test_a_run_that_cannot_be_read_decides_nothing(tmp_path: Path) -> None:
    """There is no database yet: the run goes on."""
    looking = Looking(plan_of(), create_run(tmp_path, "gate", datetime(2026, 1, 1, tzinfo=UTC)))
    assert looking.look(START + 23.0) is None
