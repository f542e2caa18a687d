"""The notifier: real receivers on loopback, dead ones among them, and control rooms that come and go."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox import Inbox, hanging
from loadgate.errors import StoreError
from loadgate.plan.notify import SEVERITIES, Notify, Receiver
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.plan.scenario import Scenario, Stage, Traffic
from loadgate.store.folder import RunFolder
from loadgate.store.watch import ActionStage, AlertChange, Notice, WatchReader
from loadgate.store.watch_desk import WatchDesk
from loadgate.watch import notifier as notifier_module
from loadgate.watch.notifier import Notifier, try_receivers


class Room:
    """A control room with a run, and receivers that are told by it."""

    def __init__(self, folder: Path, environ: dict[str, str], receivers: tuple[Receiver, ...]) -> None:
        self.run = RunFolder(folder / "run")
        self.run.path.mkdir()
        self.environ = environ
        traffic = Traffic(stages=(Stage(rate=1.0, hold=60.0),), users=1)
        notify = Notify(contact="on call", channel="#ops", receiver=receivers)
        self.plan = Plan(
            scenario=Scenario(
                name="watched", locustfile=Path("none.py"), host="http://t", traffic=traffic, notify=notify
            )
        )
        self.desk = WatchDesk(self.run.watch_database)
        self.began = time.monotonic()

    def now(self) -> float:
        """Return the run time."""
        return time.monotonic() - self.began

    def notifier(self, writer: Any = None) -> Notifier:
        """Make a notifier of this run."""
        return Notifier(self.plan, self.run, writer or self.desk, self.now, self.environ)

    def change(self, state: str = "firing", severity: str = "critical", rule: str = "spike") -> AlertChange:
        """Store a change of state that happens now."""
        change = AlertChange(self.now(), rule, severity, state, 0.3, {"limit": 0.2, "unit": "ms"})
        return change._replace(id=self.desk.alert(change))

    def notices(self) -> list[tuple[str, str]]:
        """Return (receiver, stage) of every notice."""
        with WatchReader(self.run.watch_database) as reader:
            return [(notice.receiver, notice.stage) for notice in reader.notices()]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Give a receiver on loopback."""
    box = Inbox()
    yield box
    box.close()


@pytest.fixture
def room(tmp_path: Path, inbox: Inbox, closed_port: int) -> Iterator[Callable[..., Room]]:
    """Give a function that makes a control room; HOOK is the inbox, DEAD nobody."""
    rooms: list[Room] = []
    environ = {"HOOK": f"{inbox.url}/secret-path", "DEAD": f"http://127.0.0.1:{closed_port}/dead-path"}

    def make(*receivers: Receiver) -> Room:
        rooms.append(Room(tmp_path, environ, receivers))
        return rooms[-1]

    yield make
    for item in rooms:
        item.desk.close()


def hook(name: str = "team", url: str = "env:HOOK", timeout: float = 5.0, **keys: Any) -> Receiver:
    """Make a webhook."""
    return Receiver(name=name, kind="webhook", url=url, timeout=timeout, **keys)


def test_one_message_when_it_fires_and_one_when_it_is_over(room, inbox, until) -> None:
    """At once, each with the same alert's id; both are stored as delivered."""
    control = room(hook())
    with control.notifier() as notifier:
        first = control.change()
        notifier.changed(first)
        until(lambda: len(inbox.mails) == 1)
        notifier.changed(control.change("resolved"))
        until(lambda: len(inbox.mails) == 2)
    states = [mail.content["entries"][0]["state"] for mail in inbox.mails]
    alerts = {mail.content["entries"][0]["alert"] for mail in inbox.mails}
    assert (states, alerts) == (["firing", "resolved"], {first.id})
    assert control.notices() == [("team", "delivered")] * 2
    assert notifier.errors == ()


def test_the_end_of_a_run_sends_the_digest(room, inbox) -> None:
    """Three medium alerts, one of them over: one message with three entries."""
    control = room(hook())
    with control.notifier() as notifier:
        for rule in ("a", "b", "c"):
            notifier.changed(control.change(severity="medium", rule=rule))
        notifier.changed(control.change("resolved", "medium", "b"))
        assert inbox.mails == []
    (mail,) = inbox.mails
    assert mail.content["kind"] == "digest"
    states = {entry["title"]: entry["state"] for entry in mail.content["entries"]}
    assert states == {"a": "firing", "b": "firing, resolved", "c": "firing"}


def test_a_dead_and_a_hanging_receiver_hold_up_nobody_else(room, inbox, until) -> None:
    """The good one is told at once, and the end comes in its time."""
    let_go = threading.Event()
    slow = Inbox()
    slow.answers = [hanging(let_go)] * 100
    control = room(hook("dead", "env:DEAD"), hook("slow", "env:SLOW", timeout=30.0), hook())
    control.environ["SLOW"] = slow.url
    notifier = control.notifier().start()
    notifier.changed(control.change())
    until(lambda: inbox.mails)
    began = time.monotonic()
    assert notifier.close(0.5) is False
    assert time.monotonic() - began < 5
    let_go.set()
    slow.close()
    errors = " ".join(notifier.errors)
    assert "dead was not reached: no answer" in errors
    assert "NOT DELIVERED: slow: 'spike' firing" in errors
    assert "dead-path" not in errors


def test_handing_over_takes_no_time(room) -> None:
    """A thousand changes to a receiver that is dead, without waiting; the queue has an end."""
    control = room(hook("dead", "env:DEAD"))
    change = control.change()
    notifier = control.notifier()
    for number in range(notifier_module.QUEUE_MOST + 5):
        notifier.changed(change._replace(id=number + 2))
    assert len(notifier._events) == notifier_module.QUEUE_MOST
    with notifier:
        pass
    assert any("5 events were not told of" in error for error in notifier.errors)


def test_what_fails_is_tried_again(room, inbox, until, monkeypatch) -> None:
    """500, then 429 with a wait of nothing, then 200: three attempts with one key."""
    monkeypatch.setattr("loadgate.watch.notices.FIRST_WAIT", 0.02)
    inbox.answers = [500, (429, {"Retry-After": "0"})]
    control = room(hook())
    with control.notifier() as notifier:
        notifier.changed(control.change())
        until(lambda: len(control.notices()) == 3)
    assert {mail.headers["idempotency-key"] for mail in inbox.mails} == {f"{control.run.id}/1/firing/team"}
    assert control.notices() == [("team", "failed"), ("team", "failed"), ("team", "delivered")]


def test_a_critical_alert_is_escalated_when_its_receiver_is_gone(room, inbox, until) -> None:
    """404 is final: the next receiver gets it, which wants only low ones otherwise."""
    inbox.answers = [404]
    control = room(hook(severities=("critical",)), Receiver(name="tickets", kind="file"))
    with control.notifier() as notifier:
        notifier.changed(control.change())
        until((control.run.path / "tickets.md").exists)
    assert "critical firing: spike" in (control.run.path / "tickets.md").read_text()
    assert any("NOT DELIVERED: team was given up for 'spike' firing" in error for error in notifier.errors)


def test_a_new_control_room_sends_what_the_last_one_could_not(room, inbox) -> None:
    """From the database alone."""
    inbox.answers = [500] * 5
    control = room(hook())
    with control.notifier() as notifier:
        notifier.changed(control.change())
    assert ("team", "delivered") not in control.notices()
    inbox.answers.clear()
    before = len(inbox.mails)
    with control.notifier():
        pass
    assert len(inbox.mails) == before + 1
    assert control.notices()[-1] == ("team", "delivered")
    with control.notifier():
        pass
    assert len(inbox.mails) == before + 1


class Forgetting:
    """A database that takes no notices."""

    def alert(self, change: AlertChange) -> int:
        """Refuse."""
        raise StoreError("the disk is full")

    action = notice = alert


def test_a_message_whose_notice_is_lost_is_sent_again_with_the_same_key(room, inbox) -> None:
    """At least once: this is the crash between sending and storing. This process sends it only once."""
    control = room(hook())
    change = control.change()
    with control.notifier(Forgetting()) as notifier:
        notifier.changed(change)
    assert len(inbox.mails) == 1
    assert any("it may be told again: the disk is full" in error for error in notifier.errors)
    with control.notifier():
        pass
    first, second = inbox.mails
    assert first.content["entries"][0]["keys"] == second.content["entries"][0]["keys"]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_what_was_read_at_the_start_is_not_taken_twice(room, inbox) -> None:
    """A change that is in the database and is handed over as well."""
    control = room(hook())
    change = control.change()
    with control.notifier() as notifier:
        notifier.changed(change)
    assert len(inbox.mails) == 1


def test_the_results_of_actions_are_told(room, inbox) -> None:
    """To the receivers of the alert's severity."""
    control = room(hook())
    with control.notifier() as notifier:
        change = control.change()
        notifier.changed(change)
        detail = {"outcome": "failed", "text": "answered 500"}
        stage = ActionStage(control.now(), "disable-endpoint /x", "result", detail, change.id)
        notifier.acted(stage._replace(id=control.desk.action(stage)))
    entries = [entry for mail in inbox.mails for entry in mail.content["entries"]]
    assert [entry["state"] for entry in entries] == ["firing", "action"]
    assert entries[1]["outcome"] == "failed"


def test_a_command_can_be_told(room, tmp_path) -> None:
    """From a thread that is not the main one."""
    out = tmp_path / "out"
    script = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    pager = Receiver(name="pager", kind="command", command=(sys.executable, "-c", script, str(out)))
    control = room(pager)
    with control.notifier() as notifier:
        notifier.changed(control.change())
    assert '"title":"spike"' in out.read_text()
    assert notifier.errors == ()


def test_a_plan_without_receivers_needs_no_thread(room) -> None:
    """Nobody is told, and nothing waits."""
    control = room()
    before = threading.active_count()
    with control.notifier() as notifier:
        notifier.changed(control.change())
        assert threading.active_count() == before
    assert notifier.errors == ()


def test_an_alert_that_is_not_stored_is_an_error(room, inbox) -> None:
    """It could not be told apart from the next one."""
    control = room(hook())
    with control.notifier() as notifier:
        notifier.changed(control.change()._replace(id=None))
    assert any("not stored" in error for error in notifier.errors)


def test_no_secret_is_stored(room, inbox) -> None:
    """Neither in the plan's snapshot nor in the watch database."""
    inbox.answers = [500]
    control = room(hook())
    with control.notifier() as notifier:
        notifier.changed(control.change())
    control.desk.close()
    assert b"secret-path" not in control.plan.to_json()
    for path in control.run.path.iterdir():
        assert b"secret-path" not in path.read_bytes()
    assert "secret-path" not in " ".join(notifier.errors)


def test_a_missing_secret_is_told_before_the_load(room) -> None:
    """With its name, and the key of the plan."""
    control = room(hook(url="env:NOT_THERE"))
    with pytest.raises(PlanError, match=r"notify\.receiver\.team\.url.*NOT_THERE is not set"):
        control.notifier()


def test_every_receiver_can_be_tried(room, inbox, tmp_path) -> None:
    """All at once; what happened is said of each, or of those that were named."""
    control = room(hook(), hook("dead", "env:DEAD"), Receiver(name="tickets", kind="file"))
    tried = try_receivers(control.plan, control.environ, folder=tmp_path)
    assert [(name, answer.ok) for name, _, answer in tried] == [
        ("team", True),
        ("dead", False),
        ("tickets", True),
    ]
    assert inbox.mails[0].content["kind"] == "test"
    assert [name for name, _, _ in try_receivers(control.plan, control.environ, ("dead",))] == ["dead"]


def test_all_severities_have_a_way(room, inbox) -> None:
    """One alert of each is told by the end of the run."""
    control = room(hook(severities=SEVERITIES))
    with control.notifier() as notifier:
        for severity in SEVERITIES:
            notifier.changed(control.change(severity=severity, rule=severity))
    told = [entry["severity"] for mail in inbox.mails for entry in mail.content["entries"]]
    assert sorted(told) == sorted(SEVERITIES)


def test_notices_come_back_as_they_were_written(room) -> None:
    """In order, with their details."""
    control = room()
    notice = Notice(1.0, "k", "team", "failed", {"covers": [[1, "firing"]], "attempt": 1}, "wall")
    assert control.desk.notice(notice) == 1
    with WatchReader(control.run.watch_database) as reader:
        assert reader.notices() == [notice._replace(id=1)]
