"""Runs of a campaign that died, were judged, resumed or moved, and such as cannot be read; no load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from campaign_world import DAY, HOST, HOUR, START, World, simulated
from made_runs import make_run

from loadgate.cli.main import run_cli
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import fold
from loadgate.judge.campaign_facts import iso
from loadgate.judge.campaign_gather import Found
from loadgate.judge.campaign_gather import gather as gather_all
from loadgate.judge.gather import gather
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import judge, write
from loadgate.store.annotations import Annotation, annotate
from loadgate.store.campaign import read_entries
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A campaign that has just been started."""
    world = World(tmp_path_factory.mktemp("lives"))
    with pytest.MonkeyPatch.context() as patch, simulated(world, patch):
        assert world.run("start", world.campaign)[0] == 0
    return world


@pytest.fixture
def world(begun: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of it for one test."""
    copy = begun.copied(tmp_path / "results")
    with simulated(copy, monkeypatch):
        yield copy


def unended(world: World) -> RunFolder:
    """Store a soak that began with the campaign, was seen for a day, and has no end."""
    run = make_run(
        world.results,
        0,
        planned=world.plans["soak"],
        changes={"scenario": "soak", "host": HOST, "ended": None, "ended_at_run_time": None},
        verdict=False,
    )
    world.watch_database(run, DAY)
    return run


def judged(run: RunFolder, length: float, grade: Grade | None = None, *, ended: str = "planned") -> Path:
    """Judge a run as one of a length, by its rows or as told."""
    verdict = judge(gather(run), now=START)
    steady = (Interval(0.0, length),)
    told = replace(verdict.evidence, steady=steady, planned=steady, ended_at=length, fleet=(), ended=ended)
    grade = grade or verdict.grade
    code = ExitCode.FAIL if grade is Grade.FAIL else verdict.exit_code
    return write(run, replace(verdict, evidence=told, grade=grade, exit_code=code))


def end(run: RunFolder) -> None:
    """Write down that a run came to its planned end."""
    with open_writer(run.database) as writer:
        writer.commit([], run_values={"ended": "planned", "ended_at_run_time": 10.0})


def look(world: World) -> Found:
    """Hold the book against the disk."""
    state = fold(read_entries(world.results / "campaign" / "weeks"))
    return gather_all(world.results, state, world.now)


def item(decision: Any, key: str) -> Any:
    """Return an item of a decision."""
    return next(one for one in decision["items"] if one["key"] == key)


def resumed_week(world: World, grade: Grade, *, alerts: bool = False) -> Any:
    """Let a soak die after a day, be judged, resumed, come to its end and be judged; decide then."""
    run = unended(world)
    world.later(days=1, hours=1)
    judged(run, DAY, grade, ended="died")
    world.run("decide")
    with open_writer(run.database):
        assert [(one.run, one.ended) for one in look(world).under_way] == [(run.id, None)]
    run.watch_database.unlink()
    world.watch_database(run, 7 * DAY, alerts=alerts)
    world.later(days=6, hours=1)
    end(run)
    judged(run, 7 * DAY)
    return world.json("decide")


# -- runs that died and were resumed -----------------------------------------------------------------------


def test_a_resumed_run_is_under_way_and_its_early_verdict_is_over(world: World) -> None:
    """Judged INVALID when it was dead; the PASS of its end is what counts."""
    told = resumed_week(world, Grade.INVALID)
    assert item(told, "sustained")["reasons"] == ["load-20260105-080000 was steady for 7d: PASS"]


def test_an_alert_after_a_resume_stops_the_clock(world: World) -> None:
    """Of day 3.5, which the verdict of day 1 does not know."""
    told = resumed_week(world, Grade.INVALID, alerts=True)
    assert told["clock"]["stopped"] == "alert down (critical) fired in run load-20260105-080000"


def test_an_early_fail_stays(world: World) -> None:
    """What was bad once is bad, whatever the run said later."""
    told = resumed_week(world, Grade.FAIL)
    assert told["clock"]["stopped"] == "run load-20260105-080000 ended FAIL"


def test_a_resumed_run_that_nobody_judged_again_was_not_judged(world: World) -> None:
    """The INVALID of before its end is no verdict of it."""
    run = unended(world)
    world.later(days=1, hours=1)
    judged(run, DAY, Grade.INVALID, ended="died")
    end(run)
    assert "goes on, or was not judged yet" in item(world.json("decide"), "sustained")["reasons"][0]


def test_a_fail_after_a_restart_stops_the_clock_of_after_it(world: World) -> None:
    """FAIL when it was dead, restarted then, and FAIL at the end of the resumed run."""
    run = unended(world)
    world.later(days=1, hours=1)
    judged(run, DAY, Grade.FAIL, ended="died")
    world.run("decide")
    assert world.run("restart", "--hotfix", "fix", "--role", "qa")[0] == 0
    assert world.json("decide")["clock"]["stopped"] is None
    world.later(days=6, hours=1)
    end(run)
    judged(run, 7 * DAY, Grade.FAIL)
    assert world.json("decide")["clock"]["stopped"] == f"run {run.id} ended FAIL"


# -- runs whose end was moved ------------------------------------------------------------------------------


def moved(world: World) -> RunFolder:
    """Let a soak die after a day, be resumed with a moved end, and the clock be started again."""
    run = unended(world)
    world.later(days=1, hours=1)
    world.run("decide")
    run.plan.write_bytes(run.plan.read_bytes() + b"\n")
    with open_writer(run.database):
        assert world.run("restart", "--hotfix", "moved end", "--role", "qa")[0] == 0
        world.later(hours=1)
        told = world.json("decide")
        assert item(told, "evidence")["reasons"] == [f"{run.id}/plan.json was edited"]
    return run


def test_what_is_bad_in_a_moved_run_stops_the_clock(world: World) -> None:
    """An alert of day 3.5, after the restart, in a run that ended and passed."""
    run = moved(world)
    run.watch_database.unlink()
    world.watch_database(run, 7 * DAY, alerts=True)
    world.later(days=7)
    end(run)
    judged(run, 7 * DAY)
    told = world.json("decide")
    assert told["clock"]["stopped"] == f"alert down (critical) fired in run {run.id}"
    assert item(told, "evidence")["standing"] == "missing"


def test_nothing_good_comes_of_a_moved_run(world: World) -> None:
    """Its PASS shows nothing, and a second look adds nothing; that it is judged FAIL then stops the clock."""
    run = moved(world)
    world.later(days=7)
    end(run)
    judged(run, 7 * DAY)
    told = world.json("decide")
    assert item(told, "sustained")["reasons"][0].startswith("no run of soak")
    runs = [one for one in world.json("history") if one["kind"] == "run"]
    assert world.json("decide")["clock"]["stopped"] is None
    assert [one for one in world.json("history") if one["kind"] == "run"] == runs
    judged(run, 7 * DAY, Grade.FAIL)
    assert world.json("decide")["clock"]["stopped"] == f"run {run.id} ended FAIL"


# -- runs that cannot be read -----------------------------------------------------------------------------


def test_a_run_of_another_target_that_cannot_be_read_is_only_noted(world: World) -> None:
    """Its database says where it ran; what its verdict would have said is of no concern."""
    run = world.load("load", world.now, 600.0, host="http://other:1")
    (run.path / "verdict.json").write_text("{")
    found = look(world)
    assert found.faults == []
    assert any(run.id in note and "another target" in note for note in found.notes)


def test_a_restart_heals_a_run_of_before_it_that_cannot_be_read(world: World) -> None:
    """Before the restart it is a fault, then only a note: no decision rests on it any more."""
    run = world.load("load", world.now, 600.0)
    world.later(hours=1)
    world.run("decide")
    judged(run, 600.0)
    (run.path / "verdict.json").unlink()
    assert any("cannot be read" in fault for fault in look(world).faults)
    assert world.run("restart", "--hotfix", "fix", "--role", "qa")[0] == 0
    found = look(world)
    assert (found.faults, any("cannot be read" in note for note in found.notes)) == ([], True)


def test_a_load_that_goes_on_and_cannot_be_read_keeps_others_away(world: World) -> None:
    """Its plan is damaged, and somebody writes it."""
    run = unended(world)
    run.plan.write_text("{")
    with open_writer(run.database):
        found = look(world)
    assert [(one.run, one.mode, one.ended) for one in found.under_way] == [(run.id, "load", None)]
    assert len(found.faults) == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("plan.json", b'{"scenario": {"name": "load", "probes": [3]}}'),
        ("plan.json", b'{"scenario": [], "files": null}'),
        ("verdict.json", b'{"ended_at": 1e300}'),
        ("verdict.json", b'{"alerts": [3]}'),
        ("verdict.json", b'{"objectives": [3]}'),
    ],
)
def test_whatever_a_damaged_file_holds_is_a_fault(world: World, file: str, content: bytes) -> None:
    """Never one of the command."""
    run = world.load("load", world.now, 600.0)
    path = run.path / file
    whole = orjson.loads(path.read_bytes()) if file == "verdict.json" else {}
    path.write_bytes(orjson.dumps(whole | orjson.loads(content)))
    world.later(hours=1)
    assert [fault for fault in look(world).faults if f"run {run.id} cannot be read" in fault]


# -- deployments in runs that do not count otherwise --------------------------------------------------------


def test_a_deployment_in_a_run_whose_load_never_began_counts(world: World) -> None:
    """It is of the target: the clock is started again. One in such a run of another target is not."""
    for name, plan in (("load", b""), ("other", b"http://other:1")):
        run = create_run(world.results, name, world.now)
        run.plan.write_bytes(world.plans["load"].to_json().replace(HOST.encode(), plan or HOST.encode()))
        world.later(hours=5)
        annotate(run, Annotation(None, world.now.isoformat(), "deployment", "v2"))
    world.later(hours=1)
    clock = world.json("decide")["clock"]
    assert (clock["cycle"], clock["since"]) == (2, iso(START + timedelta(hours=5)))


def test_a_deployment_of_now_in_a_run_of_before_the_lookback_counts(world: World) -> None:
    """The run ended nine days before the start, and somebody noted the release of today in it."""
    run = world.load("load", world.now - timedelta(days=9), 600.0)
    world.later(hours=5)
    annotate(run, Annotation(9 * DAY + 5 * HOUR, world.now.isoformat(), "deployment", "v2"))
    world.later(hours=1)
    clock = world.json("decide")["clock"]
    assert (clock["cycle"], clock["since"]) == (2, iso(START + timedelta(hours=5)))


def test_a_damaged_note_in_a_run_whose_load_never_began_is_a_fault(world: World) -> None:
    """It may have been a deployment."""
    run = create_run(world.results, "load", world.now)
    run.plan.write_bytes(world.plans["load"].to_json())
    (run.path / "annotations.jsonl").write_text("{\n")
    assert any("annotations.jsonl line 1" in fault for fault in look(world).faults)


# -- watches -----------------------------------------------------------------------------------------------


def test_a_verdict_of_a_watch_is_none(world: World) -> None:
    """It has no load to judge, and stays the watch that it was."""
    run = world.watched(world.now, HOUR)
    world.later(hours=2)
    before = world.json("decide")["items"]
    write(run, judge(gather(run), now=world.now))
    assert world.json("decide")["items"] == before
    assert [one["content"]["mode"] for one in world.json("history") if one["kind"] == "run"][-1] == "watch"


def test_a_watch_is_not_judged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`loadgate verdict` says so and writes none."""
    run = world.watched(world.now, HOUR)
    assert run_cli(["verdict", str(run.path)]) == ExitCode.USAGE
    assert "is a watch: it has no load that could be judged" in capsys.readouterr().err
    assert run.newest_verdict() == 0
