"""The responder: ladders carried out against the reference service, also by control rooms that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from loadgate.errors import StoreError
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.plan.rollback import Command, Rollback
from loadgate.plan.scenario import Probe, Scenario, Stage, Traffic
from loadgate.staging.server import StagingService
from loadgate.store.folder import RunFolder
from loadgate.store.watch import ActionStage, AlertChange, Reading, WatchReader
from loadgate.store.watch_desk import WatchDesk
from loadgate.watch.actions import Responder

pytestmark = pytest.mark.system

PATH = "/api/v1/emotions/analyze"
DISABLE = f"disable-endpoint {PATH}"


@pytest.fixture(scope="module")
def running() -> Iterator[StagingService]:
    """Start one service for the module."""
    with StagingService() as service:
        yield service


@pytest.fixture
def service(running: StagingService) -> Iterator[StagingService]:
    """Give the module's service with every endpoint enabled and no fault, before and after."""
    yield running
    running.clear_faults()
    httpx.post(f"{running.url}/api/v1/system/enable-endpoint", json={"endpoint": PATH}).raise_for_status()
    httpx.post(f"{running.url}/api/v1/system/rate-limit", json={"rateLimit": None}).raise_for_status()


class Room:
    """A control room with a run, whose responders come and go."""

    def __init__(self, folder: Path, host: str, rollback: dict[str, Any]) -> None:
        self.run = RunFolder(folder / "run")
        self.run.logs.mkdir(parents=True)
        traffic = Traffic(stages=(Stage(rate=1.0, hold=60.0),), users=1)
        health = Probe(name="health", http="/health", every=1.0)
        self.plan = Plan(
            scenario=Scenario(
                name="watched",
                locustfile=Path("none.py"),
                host=host,
                traffic=traffic,
                probes=(health,),
                rollback=Rollback(**{"endpoints": {"emotion": PATH}, "verify_within": 1.0, **rollback}),
            )
        )
        self.stopped: list[str] = []
        self.told: list[ActionStage] = []
        self.errors: tuple[str, ...] = ()

    def fire(self, *on_fire: str, **detail: Any) -> AlertChange:
        """Store an alert that fires."""
        detail = {"on_fire": list(on_fire), "because": "threshold", "text": "too slow", **detail}
        change = AlertChange(60.0, "spike", "critical", "firing", 0.3, detail)
        with WatchDesk(self.run.watch_database) as desk:
            return change._replace(id=desk.alert(change))

    def answer(self, change: AlertChange | None = None, *, arm: bool = True, void: bool = False) -> None:
        """Run a responder that handles a change, or goes on with what was left."""
        with WatchDesk(self.run.watch_database) as desk:
            responder = Responder(
                self.plan,
                self.run,
                desk,
                arm,
                self.stopped.append,
                lambda: 61.0,
                environ={},
                told=self.told.append,
            )
            with responder:
                if change is None:
                    responder.resume(void=void)
                else:
                    responder.handle(change, void=void)
            self.errors = responder.errors

    def journal(self) -> list[tuple[str, str, str]]:
        """Return (step, stage, outcome) of every entry."""
        with WatchReader(self.run.watch_database) as reader:
            return [(row.step, row.stage, str(row.detail.get("outcome", ""))) for row in reader.actions()]

    def outcomes(self) -> dict[str, str]:
        """Return the last outcome of each step."""
        return {step: outcome for step, stage, outcome in self.journal() if stage == "result"}

    def killed_at(self, moment: int) -> str:
        """Let a process of its own answer the first alert and kill itself; return where that was."""
        plan = self.run.path / "plan.json"
        plan.write_bytes(self.plan.to_json())
        script = Path(__file__).with_name("killed_responder.py")
        done = subprocess.run(
            [sys.executable, str(script), str(self.run.path), str(plan), str(moment)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        return done.stdout.strip()


@pytest.fixture
def room(tmp_path: Path, service: StagingService) -> Callable[..., Room]:
    """Give a function that makes a control room for the service, with these keys of [rollback]."""
    return lambda host=None, **rollback: Room(tmp_path, host or service.url, rollback)


def disabled(service: StagingService) -> list[str]:
    """Return the endpoints that the service holds to be disabled."""
    return list(service.control("GET", "settings")["disabled"])


def requests(service: StagingService) -> int:
    """Return how often the service was asked to disable something, by its own books."""
    return int(service.counts()["routes"].get("disable", {"received": 0})["received"])


def test_an_armed_ladder_stops_the_load_keeps_the_evidence_disables_and_verifies(room, service) -> None:
    """In that order, and the endpoint answers 503 afterwards."""
    control = room()
    before = requests(service)
    control.answer(control.fire("disable-endpoint emotion", "stop-load"))
    assert control.stopped == ["too slow"]
    assert [(step, stage) for step, stage, _ in control.journal()] == [
        (step, stage)
        for step in ("stop-load", "evidence", DISABLE)
        for stage in ("intent", "start", "result")
    ]
    assert set(control.outcomes().values()) == {"done"}
    assert control.told[-1].detail["verified"] is True
    assert disabled(service) == [PATH]
    assert requests(service) - before == 1
    assert httpx.post(service.url + PATH, json={"text": "hello"}).status_code == 503


def test_an_unarmed_ladder_keeps_the_evidence_and_only_says_the_rest(room, service) -> None:
    """With the command that would do it by hand."""
    control = room()
    control.answer(control.fire("stop-load", "disable-endpoint emotion"), arm=False)
    assert control.outcomes() == {"stop-load": "dry", "evidence": "done", DISABLE: "dry"}
    assert control.stopped == []
    assert disabled(service) == []
    assert "curl" in control.told[-1].detail["would"][0]


def test_nothing_happens_in_a_void_run(room, service) -> None:
    """Not even the load is stopped; the journal says why."""
    control = room()
    control.answer(control.fire("stop-load", "disable-endpoint emotion"), void=True)
    assert set(control.outcomes().values()) == {"skipped"}
    assert control.stopped == []
    assert disabled(service) == []


def test_nothing_happens_for_want_of_data(room, service) -> None:
    """An alert because of silence is no evidence against the target."""
    control = room()
    control.answer(control.fire("disable-endpoint emotion", because="no_data"))
    assert set(control.outcomes().values()) == {"skipped"}
    assert disabled(service) == []


def test_an_alert_is_answered_once(room, service) -> None:
    """However often it is handed over."""
    control = room()
    before = requests(service)
    change = control.fire("disable-endpoint emotion")
    control.answer(change)
    control.answer(change)
    control.answer()
    assert requests(service) - before == 1
    assert len(control.journal()) == 6


def test_the_evidence_is_what_was_known_before(room) -> None:
    """The alert and the readings of the last two minutes."""
    control = room()
    change = control.fire("stop-load")
    with WatchDesk(control.run.watch_database) as desk:
        desk.readings([Reading(59.0, "health", "up", 1.0, "", 0.01)])
    control.answer(change)
    content = orjson.loads((control.run.path / f"evidence-{change.id}.json").read_bytes())
    assert content["alert"]["rule"] == "spike"
    assert [row["reading"] for row in content["watch"]["readings"]] == ["up"]


def test_a_failed_action_is_loud_and_the_next_one_is_still_done(room, service) -> None:
    """The service does not know the first path; the second endpoint is disabled all the same."""
    control = room()
    control.answer(control.fire("disable-endpoint /nowhere", "disable-endpoint emotion"))
    assert control.outcomes()["disable-endpoint /nowhere"] == "failed"
    assert control.outcomes()[DISABLE] == "done"
    assert any("ACTION FAILED: disable-endpoint /nowhere" in error for error in control.errors)
    assert (
        len([row for row in control.journal() if row[0] == "disable-endpoint /nowhere"]) == 3
    )  # a 400 is final


def test_an_effect_that_does_not_show_is_a_failure(room, service) -> None:
    """An answer of 200 is a promise; only what the endpoint itself says counts."""
    control = room(off_text="something else", verify_within=0.1)
    control.answer(control.fire("disable-endpoint emotion"))
    assert control.outcomes()[DISABLE] == "failed"
    assert [stage for _, stage, _ in control.journal()].count(
        "result"
    ) == 1 + 3  # the evidence, three attempts
    assert any("not in force" in error for error in control.errors)


def test_a_service_that_is_down_is_tried_three_times(room, closed_port) -> None:
    """And then given up, aloud."""
    control = room(host=f"http://127.0.0.1:{closed_port}")
    control.answer(control.fire("disable-endpoint emotion"))
    results = [outcome for step, stage, outcome in control.journal() if (step, stage) == (DISABLE, "result")]
    assert results == ["failed"] * 3
    assert any("Connection refused" in error for error in control.errors)


def test_a_rate_limit_is_read_back_where_the_target_tells_it(room, service) -> None:
    """Elsewhere it counts as done and not verified."""
    control = room(limit_at={"http": "/_staging/settings", "value": "lowered.{service}"})
    control.answer(control.fire("rate-limit emotions 100"))
    assert control.told[-1].detail["verified"] is True
    assert service.control("GET", "settings")["lowered"] == {"emotions": 100.0}


def test_a_rate_limit_that_cannot_be_read_back_says_so(room, service) -> None:
    """It is in force, and nobody has seen it."""
    control = room()
    control.answer(control.fire("rate-limit emotions 100"))
    assert control.told[-1].detail["outcome"] == "done"
    assert control.told[-1].detail["verified"] is None


def test_a_revert_runs_its_commands_in_order_and_looks_whether_the_service_is_well(room, tmp_path) -> None:
    """The health path answers, so it is verified."""
    note = tmp_path / "note"
    script = f"import pathlib; pathlib.Path({str(note)!r}).open('a').write('x')"
    command = Command(run=(sys.executable, "-c", script))
    control = room(revert=(command, command))
    control.answer(control.fire("revert"))
    assert note.read_text() == "xx"
    assert control.told[-1].detail["verified"] is True


def test_a_command_that_fails_is_not_repeated_and_nothing_follows_it(room) -> None:
    """Its exit code and its last words are in the journal."""
    failing = Command(run=(sys.executable, "-c", "print('no such commit'); raise SystemExit(3)"))
    control = room(revert=(failing, Command(run=(sys.executable, "-c", ""))))
    control.answer(control.fire("revert"))
    assert list(control.outcomes().values()) == ["done", "failed", "skipped"]
    assert any("exit code 3: no such commit" in error for error in control.errors)


def test_a_command_that_hangs_is_ended_with_its_children(room, tmp_path, until) -> None:
    """Its limit is kept, and nothing of it is left."""
    pid = tmp_path / "pid"
    parent = (
        "import pathlib, subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); time.sleep(60)"
    )
    control = room(revert=(Command(run=(sys.executable, "-c", parent, str(pid)), timeout=2.0),))
    control.answer(control.fire("revert"))
    assert any("took more than 2 s" in error for error in control.errors)
    until(lambda: _is_dead(int(pid.read_text())))


def _is_dead(pid: int) -> bool:
    """Tell a process that nobody has waited for yet from one that lives."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_a_command_leaves_running_stays(room, tmp_path) -> None:
    """A script that restarts a service must not take it down with it; its output has a file to go to."""
    mark = tmp_path / "mark"
    child = f"import time, pathlib; time.sleep(0.5); print('up'); pathlib.Path({str(mark)!r}).write_text('x')"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); print('started')"
    control = room(revert=(Command(run=(sys.executable, "-c", parent)),))
    control.answer(control.fire("revert"))
    assert control.told[-1].detail["text"] == "exit code 0: started"
    waits = threading.Event()
    while not mark.exists():
        waits.wait(0.05)
    assert (control.run.logs / "rollback.log").read_text() == "started\nup\n"


def test_a_command_in_the_background_stays(room, tmp_path) -> None:
    """It is done once it has lived for a second; one that ends at once has failed."""
    write = "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))"
    script = f"import os, pathlib, sys, time; {write}; time.sleep(60)"
    pid = tmp_path / "pid"
    lasting = Command(run=(sys.executable, "-c", script, str(pid)), background=True)
    control = room(revert=(lasting, Command(run=("true",), background=True)))
    control.answer(control.fire("revert"))
    os.kill(int(pid.read_text()), signal.SIGKILL)  # raises when it is gone
    assert list(control.outcomes().values()) == ["done", "done", "failed"]
    assert "it ended at once, with exit code 0" in control.told[-1].detail["text"]


@pytest.mark.parametrize("moment", range(6, 12))
def test_killed_at_any_moment_the_endpoint_is_disabled_once(room, service, moment) -> None:
    """The five moments before are those of the evidence; the service counts one request to disable."""
    control = room()
    before = requests(service)
    control.fire("disable-endpoint emotion")
    where = control.killed_at(moment)
    assert where == ["before intent", "intent", "start", "acted", "done", "result"][moment - 6]
    control.answer()
    assert disabled(service) == [PATH]
    assert requests(service) - before == 1
    assert control.outcomes() == {"evidence": "done", DISABLE: "done"}
    assert not control.errors


@pytest.mark.parametrize("moment", [1, 3, 5])
def test_killed_while_the_evidence_is_kept_it_goes_on(room, service, moment) -> None:
    """Whatever comes before the action does not keep it from being done."""
    control = room()
    control.fire("disable-endpoint emotion")
    control.killed_at(moment)
    control.answer()
    assert control.outcomes() == {"evidence": "done", DISABLE: "done"}


@pytest.mark.parametrize(
    ("moment", "where", "runs", "outcome"),
    [
        (6, "before intent", 1, "done"),
        (7, "intent", 1, "done"),
        (8, "start", 0, "unknown"),
        (9, "acted", 1, "unknown"),
        (10, "done", 1, "unknown"),
        (11, "result", 1, "done"),
    ],
)
def test_killed_at_any_moment_a_command_runs_at_most_once(
    room, tmp_path, moment: int, where: str, runs: int, outcome: str
) -> None:
    """From its start on nobody can know, and it is reported as unknown, aloud."""
    note = tmp_path / "note"
    script = f"import pathlib; pathlib.Path({str(note)!r}).open('a').write('x')"
    control = room(revert=(Command(run=(sys.executable, "-c", script)),))
    control.fire("revert")
    assert control.killed_at(moment) == where
    control.answer()
    assert (note.read_text() if note.exists() else "") == "x" * runs
    assert list(control.outcomes().values()) == ["done", outcome]
    assert (outcome == "unknown") == any("ACTION UNKNOWN" in error for error in control.errors)


def test_an_unarmed_control_room_does_not_go_on_with_an_armed_one(room, service) -> None:
    """What was begun is reported as unknown."""
    control = room()
    control.fire("disable-endpoint emotion")
    control.killed_at(8)
    control.answer(arm=False)
    assert control.outcomes()[DISABLE] == "unknown"
    assert disabled(service) == []


def test_an_alert_that_ended_meanwhile_is_not_answered(room, service) -> None:
    """It was never begun, and there is no reason any more."""
    control = room()
    control.fire("disable-endpoint emotion")
    with WatchDesk(control.run.watch_database) as desk:
        desk.alert(AlertChange(90.0, "spike", "critical", "resolved", 0.1, {}))
    control.answer()
    assert control.journal() == []
    assert disabled(service) == []


class Refusing:
    """A journal that cannot be written."""

    def alert(self, change: AlertChange) -> int:
        """Refuse."""
        raise StoreError("the disk is full")

    action = notice = alert


def test_without_a_journal_the_load_is_stopped_and_the_target_left_alone(room, service) -> None:
    """To stop a load twice does no harm; anything else might."""
    control = room()
    change = control.fire("stop-load", "disable-endpoint emotion")
    with Responder(
        control.plan, control.run, Refusing(), True, control.stopped.append, lambda: 61.0, environ={}
    ) as responder:
        responder.handle(change, void=False)
    assert control.stopped == ["too slow"]
    assert disabled(service) == []
    assert any("the disk is full" in error for error in responder.errors)


def test_a_missing_secret_is_told_before_the_load(room) -> None:
    """A responder that could not act would be worse than none."""
    control = room(headers={"X-Admin": "env:ADMIN_TOKEN"})
    with pytest.raises(PlanError, match="ADMIN_TOKEN"):
        Responder(control.plan, control.run, Refusing(), True, print, lambda: 0.0, environ={})


def test_a_hanging_target_does_not_hold_up_the_end(room, service) -> None:
    """`close` takes no longer than it was told."""
    control = room(timeout=30.0)
    service.add_fault("hang", endpoint="disable")
    change = control.fire("disable-endpoint emotion")
    with WatchDesk(control.run.watch_database) as desk:
        responder = Responder(control.plan, control.run, desk, True, print, lambda: 61.0, environ={}).start()
        responder.handle(change, void=False)
        waits = threading.Event()
        while not any(stage == "start" for step, stage, _ in control.journal() if step == DISABLE):
            waits.wait(0.05)
        assert responder.close(0.2) is False
    assert "did not end within 0.2 s" in responder.errors[-1]
