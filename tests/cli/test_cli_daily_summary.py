"""The daily summary of a run that goes on, and by hand."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import made_runs
import orjson
import pytest

from loadgate.cli import daily_summary
from loadgate.cli.daily_summary import DailySummaries
from loadgate.errors import UsageError
from loadgate.plan.notify import Notify
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario, Stage, Traffic
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder
from loadgate.watch.daily import Section, Summary

BEGAN = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MADE = Summary("made", (Section("Run", ("fine",)),))
PRINTS = [sys.executable, "-c", f"print({orjson.dumps(MADE.to_dict()).decode()!r})"]
FAILS = [sys.executable, "-c", "import sys; sys.exit('no database')"]
HANGS = [sys.executable, "-c", "import time; time.sleep(60)"]


class Post:
    """A notifier that remembers what it was given; `days` were told before."""

    def __init__(self, days: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.days = days
        self.got: list[tuple[str, Summary]] = []

    def daily(self, day: str, summary: Summary) -> None:
        self.got.append((day, summary))

    def days_told(self) -> set[str]:
        return set(self.days)


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = BEGAN

    def wall(self) -> datetime:
        return self.now

    def clock(self) -> float:
        return self.now.timestamp()

    def passes(self, **parts: float) -> None:
        self.now += timedelta(**parts)


def plan(daily: str | None = "08:00") -> Plan:
    """Return a plan with a receiver."""
    notify = Notify.model_validate({"daily": daily, "receiver": [{"name": "tickets", "kind": "file"}]})
    traffic = Traffic(stages=(Stage(rate=1.0, hold=60.0),), users=1)
    scenario = Scenario(
        name="soak", locustfile=Path("none.py"), host="http://127.0.0.1", traffic=traffic, notify=notify
    )
    return Plan(scenario=scenario)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Give the folder of a run that began at nine."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with open_writer(run.database) as writer:
        writer.commit(run_values={"anchor": {"monotonic": 0.0, "wall": BEGAN.timestamp(), "boot_id": "b"}})
    return run


def room(folder: RunFolder, post: Post, time: Time, command: list[str], **more: Any) -> DailySummaries:
    """Return the summaries of a control room that begins now."""
    made = DailySummaries(plan(**more), folder, post, command=command, wall=time.wall, clock=time.clock)
    made.begin()
    return made


def looked(summaries: DailySummaries) -> None:
    """Look, let the process end that was begun by that, and look again."""
    summaries.look()
    if summaries._making is not None:
        summaries._making[1].wait(30)
        summaries.look()


def test_a_summary_is_made_when_it_is_due_and_sent_once(folder: RunFolder) -> None:
    """At eight the next morning; a quarter of an hour later there is nothing more to do."""
    post, time = Post(), Time()
    summaries = room(folder, post, time, PRINTS)
    summaries.look()
    time.passes(hours=22, minutes=59)
    summaries.look()
    assert summaries._making is None
    time.passes(minutes=1)
    looked(summaries)
    assert post.got == [("2026-11-25", MADE)]
    time.passes(minutes=15)
    summaries.look()
    assert summaries._making is None


def test_a_control_room_that_comes_back_makes_up_for_it(folder: RunFolder) -> None:
    """It was away at eight, and comes at noon two days later: one summary, unless it was told."""
    time = Time()
    time.passes(days=2, hours=3)
    post = Post()
    looked(room(folder, post, time, PRINTS))
    assert post.got == [("2026-11-26", MADE)]
    again = room(folder, Post({"2026-11-26"}), time, PRINTS)
    again.look()
    assert again._making is None


@pytest.mark.parametrize(
    ("command", "why"), [(FAILS, "exit code 1: no database"), (["./not-there"], "No such file or directory")]
)
def test_a_summary_that_cannot_be_made_says_so(folder: RunFolder, command: list[str], why: str) -> None:
    """People who wait for it are told why there is none."""
    post, time = Post(), Time()
    time.passes(days=1)
    looked(room(folder, post, time, command))
    ((day, summary),) = post.got
    assert day == "2026-11-25"
    assert "could not be made" in summary.title
    assert summary.sections[0].lines[0] == why


def test_a_summary_that_takes_too_long_is_given_up(folder: RunFolder) -> None:
    """After five minutes its process is ended, and that is what is told."""
    post, time = Post(), Time()
    time.passes(days=1)
    summaries = room(folder, post, time, HANGS)
    summaries.look()
    time.passes(seconds=daily_summary.MADE_WITHIN + 1)
    summaries.look()
    assert post.got[0][1].sections[0].lines[0] == "it took more than 5m"


def test_the_end_of_a_run_waits_for_no_summary(folder: RunFolder) -> None:
    """What is being made is ended; again is fine."""
    post, time = Post(), Time()
    time.passes(days=1)
    summaries = room(folder, post, time, HANGS)
    summaries.look()
    summaries.close()
    summaries.close()
    assert post.got == []


def test_without_a_time_nothing_is_sent(folder: RunFolder) -> None:
    """The plan asks for none."""
    post, time = Post(), Time()
    time.passes(days=3)
    summaries = room(folder, post, time, PRINTS, daily=None)
    summaries.look()
    assert summaries._making is None


def test_a_zone_that_this_machine_does_not_know_is_refused(folder: RunFolder) -> None:
    """A stored plan can be read all the same; it is the control room that cannot go by it."""
    with pytest.raises(UsageError, match="Nowhere/Else"):
        room(folder, Post(), Time(), PRINTS, daily="08:00 Nowhere/Else")


# -- by hand


def with_tickets(tmp_path: Path) -> RunFolder:
    """Return a run of ten seconds at 100/s, whose plan has a receiver, and that is well."""
    made = made_runs.plan()
    notify = Notify.model_validate(
        {"receiver": [{"name": "tickets", "kind": "file", "path": str(tmp_path / "told.md")}]}
    )
    scenario = made.scenario.model_copy(update={"notify": notify})
    return made_runs.make_run(tmp_path / "results", 0, planned=made.model_copy(update={"scenario": scenario}))


def test_by_hand_it_is_printed(told: Any, tmp_path: Path) -> None:
    """In Markdown: how the run stands, and the objective over the last day and the run so far."""
    run = with_tickets(tmp_path)
    done = told("notify", "daily", run.id).expect(0, err="")
    assert done.out.startswith("## load: 10s of 10s, worst row so far ")
    (line,) = [line for line in done.out.splitlines() if "emotion.response\\_time" in line]
    # All of the run lies within its last day.
    day, so_far = line.partition(": last day ")[2].split(", run so far ")
    assert day == so_far
    assert "**Disk**" in done.out


def test_as_json_it_is_what_the_control_room_reads(told: Any, tmp_path: Path) -> None:
    """A run that nobody planned has a summary too."""
    run = with_tickets(tmp_path)
    whole = told("notify", "daily", run.id, "--json").expect(0, err="").json
    assert [one["title"] for one in whole["sections"]][:2] == ["Run", "Objectives"]
    run.plan.unlink()
    summary = Summary.from_dict(told("notify", "daily", run.id, "--json").expect(0, err="").json)
    assert "Disk" in [one.title for one in summary.sections]


def test_by_hand_it_is_sent(told: Any, tmp_path: Path) -> None:
    """To the receivers of the run's plan, or to one of them; what each said is printed."""
    run = with_tickets(tmp_path)
    told("notify", "daily", run.id, "--send").expect(0, out="told +tickets", err="")
    assert (tmp_path / "told.md").read_text().startswith("## load: 10s of 10s")
    told("notify", "daily", run.id, "--send", "--receiver", "x").expect(2, err="there is no receiver 'x'")
    told("notify", "daily", run.id, "--receiver", "tickets").expect(2, err="--receiver is for --send")
    (tmp_path / "told.md").unlink()
    (tmp_path / "told.md").mkdir()
    told("notify", "daily", run.id, "--send").expect(20, out="FAILED +tickets", err="")


def test_the_control_room_asks_with_a_command_that_exists(told: Any, tmp_path: Path) -> None:
    """The words after the program are those of the command above."""
    run = with_tickets(tmp_path)
    words = daily_summary.command_of(run)
    assert words[-5:-2] == ["loadgate", "notify", "daily"]
    told(*words[-4:]).expect(0, err="")
