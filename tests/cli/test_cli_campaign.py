"""`loadgate campaign`: what people say, what is started once and never twice, and one real run of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from campaign_world import START, World, simulated

from loadgate.cli import campaign_due, campaign_slots
from loadgate.cli.campaign_desk import Place
from loadgate.cli.campaign_links import links_from
from loadgate.judge import campaign_gather
from loadgate.judge.campaign import fold
from loadgate.judge.campaign_evidence import read_run
from loadgate.store.campaign import CampaignWriter, read_entries
from loadgate.store.lock import WriterLock
from loadgate.watch.command import Program
from loadgate.watch.probes import Ended


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A campaign that has just been started, in simulated time."""
    made = World(tmp_path)
    with simulated(made, monkeypatch):
        assert made.run("start", made.campaign)[0] == 0
        yield made


def book(world: World, *, new: bool = False) -> CampaignWriter:
    """Open the book for writing."""
    return CampaignWriter(world.results / "campaign" / "weeks", new=new)


def kinds(world: World, *wanted: str) -> list[tuple[str, str]]:
    """Return kind and key of the entries of some kinds."""
    return [
        (one["kind"], one["content"].get("key", ""))
        for one in world.json("history")
        if one["kind"] in (wanted or ("intent", "began", "done"))
    ]


# -- what people say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("attest", "nothing", "--role", "qa", "--note", "x"), "the campaign has no line 'nothing'"),
        (("attest", "load-test", "--role", "qa", "--note", "x"), "'load-test' is measured"),
        (("attest", "backup", "--role", "qa", "--note", "x"), "'qa' may not say this"),
        (("attest", "backup", "--role", "boss", "--note", "x"), "'boss' is not a role of the campaign"),
        (("attest", "backup", "--role", "operations", "--note", " "), "the note is empty"),
        (("attest", "backup", "--role", "operations", "--note", "a\x1bb"), "the note is empty, too long, or"),
        (("sign-off", "--role", "operations", "--note", "x"), "'operations' may not say this"),
        (
            ("waive", "evidence", "--owner", "qa", "--reason", "x", "--expires", "2099-01-01"),
            "cannot be waived",
        ),
        (("waive", "bugs", "--owner", "boss", "--reason", "x", "--expires", "2099-01-01"), "is not a role"),
        (("waive", "bugs", "--owner", "qa", "--reason", "x", "--expires", "soon"), "'soon' is no date"),
        (("waive", "bugs", "--owner", "qa", "--reason", "x", "--expires", "2026-01-04"), "is over already"),
        (("checklist", "--run", "backup"), "'backup' has no commands to run"),
        (("run-due", "--again", "load-testing/load#1"), "was not started"),
        (("verify", "--head", "7"), "'7' is no head of a campaign"),
        (("verify", "--head", ""), "'' is no head of a campaign"),
        (("verify", "--head", "0:" + "z" * 64), "is no head of a campaign"),
        (("status", "--campaign", "other"), "there is no campaign 'other'"),
    ],
)
def test_what_cannot_be_said_is_refused(world: World, words: tuple[str, ...], told: str) -> None:
    """With exit code 2, and nothing is written."""
    before = len(world.json("history"))
    code, text = world.run(*words)
    assert (code, told in text) == (2, True), text
    assert len(world.json("history")) == before


def test_there_is_no_campaign_before_its_start(tmp_path: Path) -> None:
    """Every command says how to start one."""
    made = World(tmp_path)
    code, text = made.run("decide")
    assert code == 2
    assert "loadgate campaign start" in text


def test_a_changed_file_changes_nothing_until_a_restart(world: World) -> None:
    """A laxer clock in the file is named, and the campaign goes on by what the file said."""
    world.campaign.write_text(world.campaign.read_text().replace('length = "7d"', 'length = "1d"', 1))
    status = world.json("status")
    assert status["clock"]["needed"] == 7 * 86_400
    assert any("was changed since the clock was started" in note for note in status["notes"])
    world.later(hours=1)
    assert world.run("restart", "--role", "qa", "--hotfix", "a shorter clock")[0] == 0
    assert world.json("status")["clock"]["needed"] == 86_400


def test_a_faulty_file_starts_nothing(world: World) -> None:
    """Every fault at once, and no folder."""
    bad = world.write("bad.toml", world.campaign.read_text().replace('"weeks"', '"other"').replace("7d", "7"))
    code, text = world.run("start", bad)
    assert code == 2
    assert "clock.length: '7' has no unit" in text
    assert not (world.results / "campaign" / "other").exists()


def test_commands_of_a_line_are_kept_with_output_and_status(world: World) -> None:
    """Both commands of a step; the first that fails ends it."""
    text = world.campaign.read_text()
    py = json.dumps(sys.executable)
    commands = f'[[{py}, "-c", "print(42)"], [{py}, "-c", "exit(3)"]]'
    world.campaign.write_text(f'{text}\n[[step]]\nid = "qa"\ntext = "QA"\ncommands = {commands}\n')
    world.run("restart", "--role", "qa", "--hotfix", "a step more")
    code, told = world.run("checklist", "--run", "qa")
    assert code == 20
    assert "exit status 3" in told
    found = [one["content"] for one in world.json("history") if one["kind"] == "command"]
    assert [(one["status"], one["output"]) for one in found] == [(0, "42\n"), (3, "")]


def test_a_bugs_command_does_not_hold_the_book(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs somebody else can write, such as `follow`; what it said is in the book all the same."""
    text = world.campaign.read_text().replace('file = "bugs.json"', 'command = ["bugs"]', 1)
    world.campaign.write_text(text)
    world.run("restart", "--role", "qa", "--hotfix", "bugs by a command")

    def run(*_: object) -> Ended:
        with book(world) as writer:
            writer.append("attest", {"line": "x", "role": "qa", "note": "x", "holds": True}, world.stamp())
        return Ended(0, b"[]", b"")

    monkeypatch.setattr(Program, "run", run)
    world.run("decide")
    assert [kind for kind, _ in kinds(world, "attest", "bugs")][-2:] == ["attest", "bugs"]


# -- once and never twice ----------------------------------------------------------------------------------


def test_what_is_due_is_started_once(world: World) -> None:
    """Three calls in a row start the watch and the smoke check of the first day once."""
    for _ in range(3):
        world.run("run-due")
    assert kinds(world, "intent") == [("intent", "load-testing/smoke#1"), ("intent", "load-testing/watch#1")]


def test_the_outcome_is_written_down_by_a_later_call(world: World) -> None:
    """With the run or the smoke check that was left behind."""
    world.run("run-due")
    world.later(hours=24)
    world.run("run-due")
    done = {one["content"]["key"]: one["content"] for one in world.json("history") if one["kind"] == "done"}
    assert done["load-testing/smoke#1"]["run"] == "smoke/load-20260105-080000.json"
    assert done["load-testing/watch#1"]["text"] == "run load-20260105-080000: planned"


def intent(world: World, key: str = "load-testing/smoke#1", attempt: int = 1) -> None:
    """Write an intent, and die before anything was started."""
    with book(world) as writer:
        writer.append("intent", {"key": key, "attempt": attempt, "command": []}, world.stamp())


def test_after_a_crash_it_looks_at_what_was_left(world: World) -> None:
    """The smoke check was made, and the process died before it could say so: not made again."""
    intent(world)
    world.smoke(world.now)
    world.later(minutes=1)
    world.run("run-due")
    assert ("done", "load-testing/smoke#1") in kinds(world)
    assert kinds(world, "intent").count(("intent", "load-testing/smoke#1")) == 1


def test_after_a_crash_what_never_began_is_started(world: World) -> None:
    """Neither a process nor anything it left: a second attempt, of three at most."""
    intent(world)
    world.later(minutes=1)
    world.run("run-due")
    assert kinds(world, "intent").count(("intent", "load-testing/smoke#1")) == 2
    for attempt in (3, 4):
        world.pending.clear()
        intent(world, attempt=attempt)
        world.later(minutes=1)
        world.run("run-due")
    assert kinds(world, "intent").count(("intent", "load-testing/smoke#1")) == 4
    outcomes = [one["content"]["outcome"] for one in world.json("history") if one["kind"] == "done"]
    assert outcomes[-1] == "nothing"


def test_what_left_nothing_is_not_started_again_by_itself(world: World) -> None:
    """It began and ended without a trace (the target could not be reached): only --again repeats it."""
    world.run("run-due")
    world.pending.pop("load-testing/smoke#1")
    world.later(minutes=1)
    world.run("run-due")
    assert kinds(world, "intent").count(("intent", "load-testing/smoke#1")) == 1
    code, text = world.run("run-due", "--again", "load-testing/smoke#1")
    assert code == 0, text
    assert kinds(world, "intent").count(("intent", "load-testing/smoke#1")) == 2


def test_a_load_of_long_ago_that_goes_on_is_taken_up(world: World) -> None:
    """Begun ten days before the start, and judged FAIL an hour after it: that stops the clock."""
    run = world.load("load", world.now - timedelta(days=10), 10 * 86_400 + 3600.0, ms=30_000.0)
    world.later(hours=2)
    world.run("decide")
    assert f"run {run.id} ended FAIL" in world.run("status")[1]


def test_a_load_of_long_ago_that_goes_on_keeps_others_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ended it yet: it is under way, so that nothing is started beside it."""
    run = world.load("load", world.now - timedelta(days=10), 600.0)
    going = replace(read_run(world.results, run.id, world.now), ended=None, verdict=None)
    monkeypatch.setattr(campaign_gather, "read_run", lambda *_: going)
    state = fold(read_entries(world.results / "campaign" / "weeks"))
    found = campaign_gather.gather(world.results, state, world.now)
    assert [one.run for one in found.under_way] == [run.id]


def test_a_look_at_what_is_known_adds_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of microseconds, as disks and probes have them, are those of the book once they are in it."""
    run = world.load("load", world.now - timedelta(hours=1), 600.0)
    facts = read_run(world.results, run.id, world.now)
    assert facts is not None
    odd = timedelta(microseconds=123_456)
    going = replace(
        facts,
        ended=None,
        verdict=None,
        started_at=facts.started_at + odd,
        ended_at=facts.ended_at + odd,
        observed=((facts.started_at + odd, facts.ended_at + odd),),
        down=((facts.started_at + odd, facts.ended_at + odd),),
        deployments=((facts.started_at + odd, "v2"),),
    )
    monkeypatch.setattr(campaign_gather, "read_run", lambda *_: going)
    moment = world.now.timestamp() + 0.123_456
    os.utime(world.folder / "unit.xml", (moment, moment))
    os.utime(world.folder / "bugs.json", (moment, moment))
    world.later(minutes=1)
    first = [one["kind"] for one in (world.run("decide"), world.json("history"))[1]]
    again = [one["kind"] for one in (world.run("decide"), world.json("history"))[1]]
    assert {"run", "tests", "bugs"} <= set(first)
    assert again == [*first, "decision"]


def test_two_of_them_never_work_at_once(world: World) -> None:
    """The second one says so and does nothing, which is no fault for cron."""
    lock = WriterLock(world.results / "campaign" / "weeks" / "due")
    try:
        assert world.run("run-due") == (0, "another run-due or follow is at work: nothing was done\n")
        assert world.run("follow")[0] == 2
        code, text = world.run("run-due", "--again", "load-testing/smoke#1")
        assert (code, "'load-testing/smoke#1' was not started" in text) == (2, True)
    finally:
        lock.release()
    assert kinds(world) == []


def test_waiting_for_what_left_nothing_is_no_success(world: World) -> None:
    """Both entries of the first day ended at once and left nothing behind."""
    start = world.started
    world.started = lambda words, key: None  # type: ignore[method-assign]
    code, text = world.run("run-due", "--wait")
    assert code == 30
    assert text.count("it left neither a run nor a smoke check") == 2
    world.started = start  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["PASS", "WARN", "INVALID", None], 0),
        (["PASS", "FAIL"], 20),
        ([], 0),
    ],
)
def test_what_was_waited_for_gives_the_exit_code(verdicts: list[str | None], code: int) -> None:
    """A FAIL of any is 20; what is unknown or left nothing is 30 beside good ones, and a FAIL comes first."""
    ended = [campaign_slots.Outcome("done", "run-1", "", verdict) for verdict in verdicts]
    nothing = campaign_slots.Outcome("nothing", None, "")
    assert campaign_due._waited(ended) == code
    assert campaign_due._waited([*ended, nothing]) == (code or 30)
    assert campaign_due._waited([*ended, None]) == (code or 30)


def test_a_process_is_found_by_its_mark(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash came between the start and its note: the process lives, and is not started a second time."""
    monkeypatch.undo()
    place = Place(world.results, world.results / "campaign" / "weeks")
    slot = campaign_slots.Slot("load-testing/smoke#1", 1, world.now)
    assert campaign_slots._living(place, slot) is None
    environment = os.environ | {campaign_slots.MARK: campaign_slots.mark(place, slot.key)}
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
    try:
        found = campaign_slots._living(place, slot)
        assert found is not None
        assert found.pid == child.pid
        slot.pid, slot.created = child.pid, psutil.Process(child.pid).create_time()
        assert campaign_slots._living(place, slot) is not None
    finally:
        child.communicate(b"\n")
    assert campaign_slots._living(place, slot) is None


def test_a_start_that_died_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The book was made, and nothing was written into it."""
    made = World(tmp_path)
    with simulated(made, monkeypatch):
        book(made, new=True).close()
        assert made.run("start", made.campaign)[0] == 0
        assert made.run("start", made.campaign)[0] == 2


def test_follow_leads_through_the_calendar(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a day between two looks: it starts everything once, and ends when the calendar is over."""

    class Clock:
        passed = 0.0

        def monotonic(self) -> float:
            return self.passed

        def sleep(self, _: float) -> None:
            self.passed += 60
            world.later(hours=12)

    monkeypatch.setattr(campaign_due, "time", Clock())
    code, text = world.run("follow")
    assert code == 0
    assert text.endswith("the calendar is over and nothing is under way: loadgate campaign decide\n")
    keys = [key for _, key in kinds(world, "intent")]
    assert len(keys) == len(set(keys)) == 17
    assert (world.now - START).days == 14


# -- for real ----------------------------------------------------------------------------------------------


@pytest.mark.system
def test_a_real_run_of_a_campaign(loadgate, told, service) -> None:
    """A load is started by `run-due --wait`, once, and what it came to is in the book."""
    scenario = loadgate.scenario(service.url, name="soak", rate=50, hold="2s")
    probe = '\n[[probes]]\nname = "health"\nhttp = "/health"\nevery = "1s"\n'
    scenario.write_text(scenario.read_text().replace("[traffic]", "stability = true\n[traffic]", 1) + probe)
    campaign = loadgate.write(
        "real.toml",
        f"""
        name  = "real"
        host  = "{service.url}"
        roles = ["qa"]
        [decision]
        sign_off = ["qa"]
        [bugs]
        command = ["{sys.executable}", "-c", "print([])"]
        [[tests]]
        name  = "unit"
        junit = ["unit.xml"]
        [[phase]]
        name   = "one"
        length = "1h"
        [[phase.run]]
        name     = "load"
        scenario = "soak.toml"
        """,
    )
    told("campaign", "start", campaign).expect(0, out="one/load", err=r"head 1:[0-9a-f]{64}")
    told("campaign", "run-due", "--wait").expect(0, out=r"one/load: started(.|\n)*one/load: run soak-")
    told("campaign", "run-due").expect(0, err="nothing is due")
    decided = told("campaign", "decide", "--json").expect(30).json
    standings = {item["key"]: item["standing"] for item in decided["items"]}
    assert (standings["bugs"], standings["tests"]) == ("met", "missing")
    (run,) = told("campaign", "status", "--json").expect(0).json["runs"]
    assert run["verdict"] is not None
    told("campaign", "verify").expect(0)


# -- the page's links -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "link"),
    [
        ("run-1/verdict.json", "../../run-1/report.html"),
        ("run-2/watch.db", "../../run-2/watch.db"),
        ("run-3/verdict.json", ""),
        ("entry 7", ""),
        ("../secret/file", ""),
        ("/run-2/watch.db", ""),
        ("a #?/x.json", "../../a%20%23%3F/x.json"),
    ],
)
def test_the_page_links_to_what_is_there(tmp_path: Path, evidence: str, link: str) -> None:
    """To a run's report where there is one, else to the file; to nothing outside of the results."""
    for name in (
        "run-1/verdict.json",
        "run-1/report.html",
        "run-2/watch.db",
        "a #?/x.json",
        "../secret/file",
    ):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    root = tmp_path / "results"
    assert links_from(root / "campaign" / "weeks", root)(evidence) == link
