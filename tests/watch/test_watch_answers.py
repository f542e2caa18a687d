"""The whole answer to an alert: one desk, a responder and a notifier, against a service and a receiver."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from inbox import Inbox
from loadgate.plan.notify import Notify, Receiver
from loadgate.plan.plan import Plan
from loadgate.plan.rollback import Rollback
from loadgate.plan.scenario import Scenario, Stage, Traffic
from loadgate.staging.server import StagingService
from loadgate.store.folder import RunFolder
from loadgate.store.watch import AlertChange
from loadgate.store.watch_desk import WatchDesk
from loadgate.watch.actions import Responder
from loadgate.watch.notifier import Notifier

pytestmark = pytest.mark.system

PATH = "/api/v1/emotions/analyze"
DETAIL = {
    "limit": 0.2,
    "unit": "ms",
    "metric": "emotion response_time p95",
    "window": [30.0, 60.0],
    "since": 30.0,
    "because": "threshold",
    "text": "emotion.response_time is 312ms",
    "on_fire": ["stop-load", f"disable-endpoint {PATH}"],
}


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Give a receiver on loopback."""
    box = Inbox()
    yield box
    box.close()


def test_it_is_told_that_it_fires_what_was_done_and_that_it_is_over(
    tmp_path: Path, inbox: Inbox, until
) -> None:
    """Three messages: at once, after the ladder, and at the end; the service refuses the endpoint then."""
    run = RunFolder(tmp_path / "run")
    run.logs.mkdir(parents=True)
    began, stopped = time.monotonic(), threading.Event()

    def now() -> float:
        return 60.0 + time.monotonic() - began

    with StagingService() as service, WatchDesk(run.watch_database) as desk:
        plan = Plan(
            scenario=Scenario(
                name="watched",
                locustfile=Path("none.py"),
                host=service.url,
                traffic=Traffic(stages=(Stage(rate=1.0, hold=60.0),), users=1),
                notify=Notify(receiver=(Receiver(name="team", kind="webhook", url="env:HOOK"),)),
                rollback=Rollback(off_text="disabled"),
            )
        )
        environ = {"HOOK": inbox.url}
        notifier = Notifier(plan, run, desk, now, environ).start()
        responder = Responder(
            plan, run, desk, True, lambda _: stopped.set(), now, environ=environ, told=notifier.acted
        ).start()
        fires = AlertChange(60.0, "emotion-slow", "high", "firing", 0.312, DETAIL)
        fires = fires._replace(id=desk.alert(fires))
        notifier.changed(fires)
        responder.handle(fires, void=False)
        until(lambda: len(inbox.mails) == 2)
        assert stopped.is_set()
        assert httpx.post(service.url + PATH, json={"text": "hello"}).status_code == 503
        over = AlertChange(now(), "emotion-slow", "high", "resolved", 0.02, DETAIL)
        notifier.changed(over._replace(id=desk.alert(over)))
        assert responder.close()
        assert notifier.close()
    entries = [mail.content["entries"] for mail in inbox.mails]
    assert [[entry["state"] for entry in group] for group in entries] == [
        ["firing"],
        ["action"] * 2,
        ["resolved"],
    ]
    assert [entry["outcome"] for entry in entries[1]] == ["done", "done"]
    assert entries[1][1]["verified"] is True
    assert notifier.errors == responder.errors == ()
