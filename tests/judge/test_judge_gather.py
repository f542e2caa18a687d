"""Reading the evidence of a run from its databases, in whatever state they are."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadgate.judge.gather import dropped_notes, gather
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import judge
from loadgate.measure.delta import Delta, Failure
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.store.database import Event, open_writer
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.watch import WatchWriter

NOW = datetime(2026, 11, 22, 20, 35, 12, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Make an empty run."""
    return create_run(tmp_path / "results", "gate", NOW)


def plan_of(make: Any, **verdict: Any) -> Plan:
    """Return a plan of a 10 s ramp and 30 s of steady load with two rows."""
    scenario = Scenario.model_validate(
        {
            "name": "gate",
            "locustfile": "staging.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {
                "users": 10,
                "source_addresses": ["127.0.0.2-127.0.0.3"],
                "stages": [{"rate": 100.0, "ramp": 10.0, "hold": 30.0}],
            },
            "verdict": verdict,
            "probes": [{"name": "health", "http": "/health", "every": 1.0}],
        }
    )
    rows = (make.objective(alert="> 200ms"), make.objective("uptime", ">= 99%", alert="< 95%"))
    return Plan(scenario=scenario, objectives=rows)


def fill(run: RunFolder, make: Any, plan: Plan | None, **values: Any) -> None:
    """Write the good run: a second of ramp, the steady phase, the fleet, a failure and an event."""
    defaults = {
        "id": run.id,
        "scenario": "gate",
        "plan": orjson.loads(plan.to_json()) if plan else None,
        "anchor": {"monotonic": 5.0, "wall": 1_795_379_712.0, "boot_id": "b"},
        "started_at": "2026-11-22T20:35:12+00:00",
        "ended": "planned",
        "ended_at_run_time": 42.5,
        "mode": "distributed",
        "model": "open",
        "flushed": True,
        "versions": {"loadgate": "1", "locust": "2.47"},
        "workers_expected": 1,
    }
    windows = [make.window(5, {20: 50}, phase="ramp"), *make.steady({20: 100})]
    failure = Failure("emotion", "failed", "http_500", "500", 1, 12.0, 12.0, [])
    delta = Delta(run.id, "worker-1", 1, 1, windows, [failure], make.fleet(range(40)))
    writer = open_writer(run.database)
    try:
        writer.commit([delta], events=[Event(40.0, "draining", {})], run_values={**defaults, **values})
    finally:
        writer.close()


def test_a_whole_run_is_gathered_and_passes(run: RunFolder, make: Any) -> None:
    """Windows, fleet, readings, plan and anchor come back, and the verdict is PASS."""
    fill(run, make, plan_of(make))
    with WatchWriter(run.watch_database) as watch:
        watch.readings(make.readings("health", "up", [1.0] * 30))
    evidence = gather(run)
    assert (evidence.run, evidence.scenario, evidence.ended) == (run.id, "gate", "planned")
    assert evidence.steady == evidence.planned == (Interval(10, 40),)
    assert (evidence.source_addresses, evidence.workers_expected) == (2, 1)
    assert evidence.endpoints == ("emotion",)
    assert evidence.books().arrivals == 3050
    assert len(evidence.failures) == 1
    assert judge(evidence, now=NOW).grade is Grade.PASS


def test_a_run_whose_database_was_never_filled_is_invalid(run: RunFolder) -> None:
    """No load was started: every command still works on the folder."""
    evidence = gather(run)
    verdict = judge(evidence, now=NOW)
    assert (evidence.ended, verdict.grade, verdict.void) == ("died", Grade.INVALID, True)


def test_a_run_without_an_end_died_and_ends_with_its_last_report(run: RunFolder, make: Any) -> None:
    """Its steady phase is what was reported, so it cannot pass."""
    fill(run, make, plan_of(make), ended=None, ended_at_run_time=None, flushed=False)
    evidence = gather(run)
    assert (evidence.ended, evidence.ended_at, evidence.cut_short) == ("died", 40, True)
    assert judge(evidence, now=NOW).grade is Grade.INVALID


def test_a_stopped_run_is_steady_until_the_load_stopped(run: RunFolder, make: Any) -> None:
    """The drain after a stop is no steady load, though the plan says so."""
    fill(run, make, plan_of(make), ended="stopped", ended_at_run_time=60.0)
    plan = plan_of(make)
    stage = plan.scenario.traffic.stages[0].model_copy(update={"hold": 90.0})
    traffic = plan.scenario.traffic.model_copy(update={"stages": (stage,)})
    longer = plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"traffic": traffic})})
    assert gather(run, longer).steady == (Interval(10, 40),)


def test_a_run_without_a_plan_is_steady_throughout(run: RunFolder, make: Any) -> None:
    """From the first report to the end of the load, and judged by a table that is given."""
    fill(run, make, None, model="closed")
    bare = judge(gather(run), now=NOW)
    assert bare.grade is Grade.INVALID
    rows = (make.objective(), make.objective("uptime", ">= 99%"))
    evidence = gather(run, objectives=rows)
    assert evidence.steady == (Interval(0, 40),)
    grades = [row.verdict for row in judge(evidence, now=NOW).rows]
    assert grades == [Grade.PASS, Grade.INVALID]


def test_a_table_given_later_still_leaves_out_what_the_scenario_leaves_out(run: RunFolder, make: Any) -> None:
    """The scenario's own choice of rows holds."""
    fill(run, make, plan_of(make, leave_out=["uptime"]))
    rows = (make.objective(), make.objective("uptime", ">= 99%"))
    assert [row.metric for row in gather(run, objectives=rows).objectives] == ["response_time"]


def test_a_trace_that_was_changed_is_not_taken_for_the_one_that_was_replayed(
    make: Any, run: RunFolder, tmp_path: Path
) -> None:
    """Two recorded arrivals over 30 s; then the file holds others, so nothing is known of the plan."""
    trace = tmp_path / "arrivals.csv"
    trace.write_text("0\n30\n", encoding="utf-8")
    content = plan_of(make).model_dump(mode="json", by_alias=True)
    content["scenario"]["traffic"] |= {"arrivals": "trace", "trace": str(trace), "stages": []}
    content["files"] = {str(trace): sha256(trace.read_bytes()).hexdigest()}
    plan = Plan.from_json(orjson.dumps(content))
    fill(run, make, plan)
    assert gather(run).planned == (Interval(0, math.nextafter(30, math.inf)),)
    trace.write_text("0\n20\n", encoding="utf-8")
    evidence = gather(run)
    assert evidence.planned == ()
    assert "it was changed" in evidence.notes[0]
    assert judge(evidence, now=NOW).grade is Grade.INVALID


def test_what_the_watch_had_too_much_of_is_told(tmp_path: Path) -> None:
    """A run whose oldest readings were dropped says how many, of what, and up to when."""
    run = RunFolder(tmp_path)
    assert dropped_notes(run) == ()
    WatchWriter(run.watch_database).close()
    with closing(sqlite3.connect(run.watch_database, isolation_level=None)) as connection:
        connection.execute("INSERT INTO dropped VALUES ('readings', 'process', 12, 90.5)")
    assert dropped_notes(run) == (
        "the oldest 12 readings of process were dropped, because there were too many: "
        "nothing of them before run time 1m30.5s is known any more",
    )
