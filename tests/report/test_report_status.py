"""How a run stands: read from its folder in whatever state it is, and told on one screen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.judge.evidence import Evidence
from loadgate.judge.objectives import evaluate
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.probe import Probe
from loadgate.plan.sla import Objective
from loadgate.report.last_windows import last_windows
from loadgate.report.standing import ObjectiveNow, Status, stability
from loadgate.report.status import read_status
from loadgate.report.status_lines import status_lines
from loadgate.store.annotations import Annotation, annotate
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.run_clock import Now
from loadgate.store.watch import AlertChange, Reading, WatchWriter
from loadgate.store.writer import Event

Make = Callable[..., Any]
HEALTH = {"name": "health", "kind": "health", "http": "/health", "every": 1.0}


def at(run_time: float) -> Now:
    """The fixture's run began at wall time 0, on no known machine."""
    return Now(0.0, run_time, "")


def tell(run: Any, plan: Any, **values: Any) -> None:
    stored = {"scenario": "hand", "plan": json.loads(plan.to_json()), "ended": None, "model": "open"}
    run.writer.commit(run_values={**stored, "mode": "distributed", "workers_expected": 1, **values})


def later(run: Any, seconds: float) -> Now:
    """A moment so long after the last write to the run's databases, run time 300 + seconds."""
    moment = run.folder.database.stat().st_mtime
    for path in run.folder.path.iterdir():
        os.utime(path, (moment, moment))
    return Now(0.0, moment + seconds, "")


@pytest.fixture
def broken_and_well(run: Any, make_plan: Make, make_objective: Make, make_window: Make) -> Any:
    """Ten seconds of 300 ms and ten of 10 ms, of a row that wants less than 50 ms and fails over 200 ms."""
    tell(run, make_plan(make_objective(alert="> 200ms")))
    for second in range(5, 25):
        run.second(second, "w1", make_window(second, {300 if second < 15 else 10: 10}))
    return run


def test_a_run_that_goes_on(broken_and_well: Any) -> None:
    """At 28 s of 205 s: who writes it, 177 s are left, the last window holds, the one before broke the limit.

    The limit was broken until 15 s, so the run has been stable for 13 s.
    """
    status = read_status(broken_and_well.folder, at(28.0))
    assert (status.state, status.phase, status.elapsed, status.remaining) == (
        "running",
        "steady",
        28.0,
        177.0,
    )
    generator, control = status.writers
    assert (generator.pid, generator.here) == (os.getpid(), True)
    assert (control.held, control.beat) == (False, None)
    (row,) = status.objectives
    assert (row.now, row.now_value, row.window) == ("holds", "10.007ms", (15.0, 25.0))
    assert row.last_breach == (5.0, 15.0)
    assert status.stability is not None
    assert (status.stability.seconds, status.stability.last) == (13.0, "breach")


def test_what_is_not_settled_is_left_out(broken_and_well: Any, make_window: Make) -> None:
    """The last three seconds may still change, so nothing is said of them: 100 requests of 1 s at 26 s."""
    broken_and_well.second(26, "w1", make_window(26, {1000: 100}))
    (row,) = read_status(broken_and_well.folder, at(28.0)).objectives
    assert (row.n, row.now_value) == (200, "10.007ms")


def test_a_run_that_goes_on_never_has_a_verdict_of_its_own(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """Its worst row may be a PASS; `verdict` is what is stored, and nothing is."""
    tell(run, make_plan(make_objective()))
    for second in range(5, 25):
        run.second(second, "w1", make_window(second, {10: 100}))
    status = read_status(run.folder, at(28.0))
    assert (status.verdict, status.so_far) == (None, "PASS")
    assert "worst row so far PASS" in "\n".join(status_lines(status))


def test_a_run_whose_load_has_not_begun(run: Any, make_plan: Make) -> None:
    """Without an anchor there is no run time; all of the plan is left."""
    tell(run, make_plan(), anchor=None)
    status = read_status(run.folder, at(28.0))
    assert (status.state, status.elapsed, status.remaining, status.so_far) == ("starting", None, 205.0, None)
    assert "the load has not begun" in "\n".join(status_lines(status))


def test_a_run_that_died(broken_and_well: Any) -> None:
    """Nobody writes it: what was measured until 25 s is judged, nothing is left, and what to do is said."""
    broken_and_well.writer.close()
    status = read_status(broken_and_well.folder, later(broken_and_well, 60.0))
    assert (status.state, status.elapsed, status.remaining, status.ended) == ("dead", 25.0, None, None)
    assert status.so_far in ("FAIL", "INVALID")
    assert "loadgate verdict" in status.advice


def test_a_generator_that_may_hang_is_told(broken_and_well: Any) -> None:
    """It holds the run and has not written for a minute: still running, with a word about it."""
    status = read_status(broken_and_well.folder, later(broken_and_well, 60.0))
    assert status.state == "running"
    assert "may hang" in status.advice


def test_a_run_that_was_written_just_now_by_nobody_here(broken_and_well: Any) -> None:
    """It may be written on another machine, so it is not called dead."""
    broken_and_well.writer.close()
    assert read_status(broken_and_well.folder, later(broken_and_well, 5.0)).state == "elsewhere"


def test_a_run_between_two_generators(broken_and_well: Any) -> None:
    """Its control room lives, so it may go on."""
    broken_and_well.writer.close()
    with WatchWriter(broken_and_well.folder.watch_database):
        assert read_status(broken_and_well.folder, later(broken_and_well, 60.0)).state == "between writers"


def test_a_run_that_has_ended(broken_and_well: Any) -> None:
    """How and when it ended, at its own run time, with the stored verdict, however long ago that was."""
    tell_end = {"ended": "stopped", "ended_at_run_time": 25.5, "ended_at": "2026-01-05T08:00:00+00:00"}
    broken_and_well.writer.commit(run_values=tell_end)
    broken_and_well.writer.close()
    broken_and_well.folder.verdict_path().write_text('{"verdict": "FAIL"}')
    status = read_status(broken_and_well.folder, at(9e5))
    assert (status.state, status.ended, status.elapsed, status.verdict) == ("ended", "stopped", 25.5, "FAIL")
    assert status.remaining is None
    text = "\n".join(status_lines(status))
    assert "ENDED (stopped) at 2026-01-05T08:00:00+00:00" in text
    assert "alive" not in text


def test_a_run_without_a_plan(run: Any, make_window: Make) -> None:
    """It has no end to come, and no objectives."""
    for second in range(5):
        run.second(second, "w1", make_window(second, {10: 10}))
    status = read_status(run.folder, at(8.0))
    assert (status.state, status.elapsed, status.planned, status.objectives) == ("running", 8.0, None, ())


def test_a_watch_without_a_load(run: Any, make_plan: Make, make_objective: Make) -> None:
    """Probes and alerts are told; objectives, fleet and verdict are not, since there is no load."""
    tell(run, make_plan(make_objective(), probes=(HEALTH,)), mode="watch")
    with WatchWriter(run.folder.watch_database) as writer:
        writer.readings([Reading(1.0, "health", "up", 1.0, "", 0.01)])
        status = read_status(run.folder, at(3600.0))
    assert (status.state, status.elapsed, status.remaining, status.objectives) == (
        "running",
        3600.0,
        None,
        (),
    )
    text = "\n".join(status_lines(status))
    assert "watch, no load" in text
    assert "health up" in text
    assert "verdict" not in text


def test_what_happened_to_the_fleet_and_the_target(broken_and_well: Any, make_plan: Make) -> None:
    """A worker lost, three reports missing, arrivals that nobody offered, a restart, a critical alert."""
    run = broken_and_well
    tell(run, make_plan(probes=(HEALTH,)))
    run.sequences["w1"] += 3
    run.ship(worker="w1")
    run.writer.commit(
        [],
        events=[Event(20.0, "worker_lost", {"worker": "w2"})],
        ledger=[LedgerRow(20, 2, 1, 0, 1, 7)],
    )
    with WatchWriter(run.folder.watch_database) as writer:
        uptimes = [(10.0, 500.0), (18.0, 508.0), (20.0, 1.0)]
        writer.readings([Reading(moment, "health", "uptime", value, "", 0.01) for moment, value in uptimes])
        detail = {"text": "health is down"}
        writer.alert(AlertChange(19.0, "down", "critical", "firing", 0.0, detail))
        writer.alert(AlertChange(22.0, "down", "critical", "resolved", 1.0, detail))
    status = read_status(run.folder, at(28.0))
    assert [one["worker"] for one in status.losses] == ["w2"]
    assert (status.gaps, status.unoffered) == ({"w1": 3}, 7)
    assert [one["at"] for one in status.restarts] == [20.0]
    assert status.stability is not None
    assert (status.stability.seconds, status.stability.last) == (6.0, "critical alert")
    text = "\n".join(status_lines(status))
    for said in ("1 time (1 not back), last w2 at 20s", "3 reports missing", "7 arrivals offered by nobody"):
        assert said in text
    assert "restarted at 20s" in text
    assert "down (critical) fired at 19s, resolved at 22s" in text


def test_annotations_are_told_and_so_are_damaged_ones(broken_and_well: Any) -> None:
    """In order of time; a torn line is a fault that names it."""
    annotate(broken_and_well.folder, Annotation(21.0, "2026-01-05T08:00:21+00:00", "note", "cache emptied"))
    annotate(broken_and_well.folder, Annotation(20.0, "2026-01-05T08:00:20+00:00", "deployment", "1.4.2"))
    with (broken_and_well.folder.path / "annotations.jsonl").open("a") as file:
        file.write('{"at"')
    status = read_status(broken_and_well.folder, at(28.0))
    assert [one["text"] for one in status.annotations] == ["1.4.2", "cache emptied"]
    lines = status_lines(status)
    assert any(line.startswith("notes") and "20s deployment: 1.4.2" in line for line in lines)
    assert any(line.startswith("unreadable") and "annotations.jsonl line 3" in line for line in lines)


def test_a_plan_that_cannot_be_read_hides_nothing_else(broken_and_well: Any) -> None:
    """State and writers are told all the same, and what is wrong is said."""
    broken_and_well.writer.commit(run_values={"plan": {"scenario": 7}})
    status = read_status(broken_and_well.folder, at(28.0))
    assert (status.state, status.elapsed, status.planned) == ("running", 28.0, None)
    assert status.faults


def test_a_damaged_watch_database_hides_nothing_else(broken_and_well: Any) -> None:
    """Who writes the run and since when is still told, and the fault is said."""
    broken_and_well.folder.watch_database.write_bytes(b"no database at all" * 100)
    status = read_status(broken_and_well.folder, at(28.0))
    assert status.state == "running"
    assert any("watch.db" in fault for fault in status.faults)


def test_a_run_that_cannot_be_read_at_all_is_an_error(broken_and_well: Any) -> None:
    """Nothing can be said of it."""
    broken_and_well.writer.close()
    broken_and_well.folder.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError):
        read_status(broken_and_well.folder, at(28.0))


def test_everything_fits_one_screen_and_json(broken_and_well: Any) -> None:
    """Long lists are cut to their last three, and nothing moves the cursor of a terminal."""
    tell_host = {"host": "http://127.0.0.1:3000/\x1b[2J"}
    broken_and_well.writer.commit(run_values=tell_host)
    for number in range(50):
        annotate(
            broken_and_well.folder,
            Annotation(float(number), "2026-01-05T08:00:00+00:00", "note", f"n{number}"),
        )
    status = read_status(broken_and_well.folder, at(28.0))
    lines = status_lines(status)
    assert len(lines) <= 24
    assert all(line.isprintable() for line in lines)
    assert "(47 earlier annotations not shown: see --json)" in "\n".join(lines)
    assert len(json.loads(json.dumps(status.to_dict()))["annotations"]) == 50


# -- stability ----------------------------------------------------------------------------------


def row_of(breach: tuple[float, float] | None) -> ObjectiveNow:
    return ObjectiveNow("e.rt", "p95", "< 50ms", None, "PASS", "", 1, "", "holds", "", None, breach)


def alert_of(resolved: float | None, severity: str = "critical") -> dict[str, Any]:
    return {"rule": "down", "severity": severity, "resolved_at": resolved}


MOMENTS = st.floats(0, 1000)


@given(
    elapsed=MOMENTS,
    breaches=st.lists(MOMENTS, max_size=3),
    restarts=st.lists(MOMENTS, max_size=3),
    alerts=st.lists(st.none() | MOMENTS, max_size=3),
)
def test_stability_is_the_time_since_the_last_of_all(
    elapsed: float, breaches: list[float], restarts: list[float], alerts: list[float | None]
) -> None:
    """Since the latest end of anything; what goes on, or is said to come, is now; else the whole run."""
    found = stability(
        elapsed,
        [row_of((0.0, end)) for end in breaches],
        [{"at": moment, "sign": "uptime went back"} for moment in restarts],
        [alert_of(moment) for moment in alerts],
        over=False,
    )
    assert found is not None
    ends = [*breaches, *restarts, *(elapsed if moment is None else moment for moment in alerts)]
    assert found.since == min(elapsed, max(ends, default=0.0))
    assert found.seconds == elapsed - found.since
    assert bool(found.last) == bool(ends)


def test_alerts_that_are_not_critical_leave_a_run_stable() -> None:
    """A high one is told among the alerts."""
    found = stability(50.0, [], [], [alert_of(None, "high")], over=False)
    assert found is not None
    assert (found.seconds, found.last) == (50.0, "")


def test_a_run_that_has_not_begun_is_not_stable() -> None:
    """Nothing is said of it."""
    assert stability(None, [], [], [], over=False) is None


# -- windows ------------------------------------------------------------------------------------

ROWS: Sequence[tuple[str, str, str | None]] = (
    ("response_time", "< 50ms", "> 200ms"),
    ("response_time", "< 100ms", None),
    ("error_rate", "< 5%", "> 30%"),
    ("error_rate", "< 20%", None),
    ("throughput", ">= 8/s", "< 4/s"),
    ("memory", "< 100MB", "> 200MB"),
    ("uptime", ">= 99%", "< 60%"),
)


PROBES = (
    Probe.model_validate(HEALTH),
    Probe.model_validate({"name": "process", "kind": "process", "process": "listening", "every": 1.0}),
)


def second_of(second: int, latency: int, ok: int) -> Window:
    """Return a second of ten requests: so many answered well after a latency in ms, the others failed."""
    histogram = Histogram()
    histogram.record(latency * 1000, ok)
    counts = {"arrivals": 10, "ok": ok, "failed": 10 - ok}
    return Window(second, 1, "emotion", "steady", counts, {"response.ok": histogram} if ok else {})


@given(
    seconds=st.lists(
        st.tuples(st.sampled_from([10, 60, 150, 300]), st.integers(0, 10)), min_size=10, max_size=40
    ),
    memory=st.lists(st.sampled_from([None, 5e7, 1.5e8, 3e8]), min_size=40, max_size=40),
    row=st.sampled_from(ROWS),
)
def test_a_breach_is_found_exactly_where_the_verdict_counts_one(
    seconds: list[tuple[int, int]],
    memory: list[float | None],
    row: tuple[str, str, str | None],
) -> None:
    """A row has a last breach if and only if judging it finds time in violation, and in its worst windows.

    Judged are windows of ten seconds from 5 s on, each second with some requests of one latency, some failed.
    """
    metric, target, alert = row
    objective = Objective.model_validate({"metric": metric, "target": target, "alert": alert, "every": 10.0})
    windows = [second_of(second, latency, ok) for second, (latency, ok) in enumerate(seconds, 5)]
    probe, name = ("health", "up") if metric == "uptime" else ("process", "memory")
    values = [(float(one < 2e8) if one else None) if name == "up" else one for one in memory]
    readings = tuple(
        Reading(5.0 + number, probe, name, value, "", 0.01)
        for number, value in enumerate(values[: len(seconds)])
    )
    evidence = Evidence(
        run="r",
        scenario="hand",
        objectives=(objective,),
        planned=(Interval(5.0, 205.0),),
        steady=(Interval(5.0, 5.0 + len(seconds)),),
        windows=windows,
        readings=readings,
        probes=PROBES,
    )
    result = evaluate(objective, evidence)
    found = last_windows(objective, evidence)
    if result.verdict is not Grade.INVALID:
        assert (found.breach is not None) == (result.time_in_violation > 0)
        if found.breach is not None and result.worst_window is not None:
            assert found.breach.end >= result.worst_window.end
    assert found.newest is None or found.newest.length >= 10.0 - 1e-6


def test_compacted_windows_say_nothing_of_shorter_ones() -> None:
    """A minute that was merged cannot be told apart in windows of ten seconds."""
    objective = Objective.model_validate({"metric": "error_rate", "target": "< 5%", "every": 10.0})
    window = Window(5, 60, "emotion", "steady", {"arrivals": 10, "failed": 10})
    evidence = Evidence("r", "hand", (objective,), (), (Interval(5.0, 65.0),), [window])
    assert last_windows(objective, evidence).breach is None


def test_the_screen_of_a_run_of_which_nothing_is_known() -> None:
    """An empty status is told without a fault."""
    assert status_lines(Status("r", "/r", "starting", ""))[0].startswith("run")
