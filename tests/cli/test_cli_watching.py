"""What the control room does with the changes of alerts: each is written and told once, or said not to be."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from loadgate.cli import watching as module
from loadgate.cli.watching import Watching
from loadgate.errors import StoreError
from loadgate.plan.plan import Plan, load_plan
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.watch import AlertChange, Dropped, WatchReader

SCENARIO = """
name       = "w"
locustfile = "users.py"
host       = "http://127.0.0.1:9"

[traffic]
users = 1

[[traffic.stages]]
rate = "1/s"
hold = "1m"
"""
CHANGES = [AlertChange(float(at), f"rule-{at}", "critical", "firing", 1.0, {"text": "bad"}) for at in (1, 2)]


class Rules:
    """Rules that say two things once."""

    standing: dict[str, str] = {}
    unread: list[str] = []

    def __init__(self, *_: object) -> None:
        self.left = list(CHANGES)

    def step(self, _now: float) -> list[AlertChange]:
        said, self.left = self.left, []
        return said

    def finish(self) -> list[AlertChange]:
        return []

    def close(self) -> None:
        """Have nothing open."""


@pytest.fixture
def room(loadgate: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Watching, RunFolder, list[str]]:
    """A watch of a target that is not there, whose rules are those above."""
    loadgate.write("users.py", "")
    plan: Plan = load_plan(loadgate.write("w.toml", SCENARIO))
    folder = create_run(loadgate.folder / "results", "w", module.datetime.now(module.UTC))
    monkeypatch.setattr(module, "LiveAlerts", Rules)
    said: list[str] = []
    watching = Watching(plan, folder, arm=False, stop_load=lambda _: None, say=said.append, has_load=False)
    watching.begin(module.time.monotonic())
    return watching, folder, said


def stored(folder: RunFolder) -> list[str]:
    with WatchReader(folder.watch_database) as reader:
        return [change.rule for change in reader.alerts()]


def test_a_change_that_could_not_be_written_is_written_the_next_time(room: Any, monkeypatch: Any) -> None:
    """The disk is full when the second one comes: it is neither lost nor told twice."""
    watching, folder, said = room
    write, calls = watching._desk.alert, []

    def full_once(change: AlertChange) -> int:
        calls.append(change.rule)
        if len(calls) == 2:
            raise StoreError("the disk is full")
        return write(change)

    monkeypatch.setattr(watching, "_desk", SimpleNamespace(alert=full_once, close=watching._desk.close))
    watching.look()
    assert (stored(folder), watching.blind) == (["rule-1"], "alerts: the disk is full")
    watching.look()
    assert (stored(folder), watching.blind) == (["rule-1", "rule-2"], "")
    watching.end()
    assert [text for text in said if text.startswith("CRITICAL")] == [
        f"CRITICAL firing: bad (at {at}s)" for at in (1, 2)
    ]


def test_a_watch_whose_rules_cannot_be_read_says_that_it_is_blind(room: Any, monkeypatch: Any) -> None:
    """To the very end: what the rules would have said is not known, so nobody may take it for silence."""
    watching, folder, _ = room

    def damaged(*_: object) -> list[AlertChange]:
        raise StoreError("run.db is damaged")

    monkeypatch.setattr(Rules, "step", damaged)
    monkeypatch.setattr(Rules, "finish", damaged)
    watching.look()
    watching.end()
    assert watching.blind == "alerts: run.db is damaged"
    assert stored(folder) == []


def test_the_backlog_does_not_take_the_place_of_the_last_look(room: Any, monkeypatch: Any) -> None:
    """What waited is written first, and then the rules are followed to the end: three changes."""
    watching, folder, _ = room
    write, full = watching._desk.alert, [True]

    def full_once(change: AlertChange) -> int:
        if full.pop() if full else False:
            raise StoreError("the disk is full")
        return write(change)

    late = AlertChange(3.0, "rule-3", "critical", "firing", 1.0, {"text": "bad"})
    monkeypatch.setattr(watching, "_desk", SimpleNamespace(alert=full_once, close=watching._desk.close))
    watching.look()
    assert watching.blind == "alerts: the disk is full"
    watching._alerts.left = [late]
    watching.end()
    assert (stored(folder), watching.blind) == (["rule-1", "rule-2", "rule-3"], "")


def test_a_backlog_that_is_written_makes_nobody_see_who_was_blind(room: Any, monkeypatch: Any) -> None:
    """The changes are on record, and the look after them fails: what it would have said is not known."""
    watching, folder, _ = room
    monkeypatch.setattr(watching, "_unwritten", deque(CHANGES))

    def damaged(*_: object) -> list[AlertChange]:
        raise StoreError("run.db is damaged")

    monkeypatch.setattr(Rules, "step", damaged)
    watching.end()
    assert (stored(folder), watching.blind) == (["rule-1", "rule-2"], "alerts: run.db is damaged")


def test_a_run_that_has_ended_is_followed_to_its_end(room: Any, monkeypatch: Any) -> None:
    """Not by one more look, which would take the time after the end for silence."""
    watching, folder, _ = room
    with open_writer(folder.database) as writer:
        writer.commit([], run_values={"ended": "planned"})
    monkeypatch.setattr(Rules, "finish", lambda _: CHANGES[1:])
    watching.end()
    assert (stored(folder), watching.blind) == (["rule-2"], "")


def test_logs_and_the_database_are_looked_after_each_minute(room: Any, monkeypatch: Any) -> None:
    """A fault of a log, and what is dropped for its number, are told once."""
    watching, _, said = room
    rotated: list[object] = []

    def rotate(logs: object) -> list[str]:
        rotated.append(logs)
        return ["master.log: cannot be rotated"]

    monkeypatch.setattr(module, "rotate_logs", rotate)
    monkeypatch.setattr(module.WatchReader, "dropped", lambda _: [Dropped("changes", "slow", 5, 60.0)])
    watching.look()
    assert rotated == []
    for _ in range(2):
        watching._anchor -= 60.0
        watching.look()
    watching.end()
    assert len(rotated) == 2
    assert [text for text in said if "rotated" in text or "dropped" in text] == [
        "logs: master.log: cannot be rotated",
        "the oldest changes of slow are dropped: too many",
    ]
