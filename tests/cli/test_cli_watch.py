"""`loadgate watch`: probes, alerts and what they lead to, without a load or beside somebody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox import Inbox
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs
from loadgate.store.watch import WatchReader

RULES = """
[[alert]]
name     = "down"
when     = "health.up < 1"
every    = "1s"
for      = "2s"
severity = "critical"
on_fire  = ["disable-endpoint emotion"]

[[alert]]
name     = "slow"
when     = "emotion.response_time > 200ms"
every    = "2s"
severity = "high"
on_fire  = ["stop-load"]
"""
MORE = """
[notify]
contact = "somebody"

[[notify.receiver]]
name = "hook"
kind = "webhook"
url  = "env:HOOK"

[rollback]
endpoints = { emotion = "/api/v1/emotions/analyze" }
off_text  = "disabled"

[[probes]]
name    = "health"
http    = "/health"
every   = "1s"
timeout = "500ms"
"""
PROBE = MORE[MORE.index("[[probes]]") :]
UNWELL = {"endpoint": "health", "status": 503}


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A receiver of webhooks."""
    made = Inbox()
    yield made
    made.close()


def scenario_of(loadgate: Any, host: str, *, hold: str = "4s", more: str = MORE, rules: str = RULES) -> Path:
    path: Path = loadgate.scenario(host, rate=60, hold=hold, more=more)
    if rules:
        path.write_text(path.read_text().replace('"sla.toml"', '"sla.toml"\nalerts = "rules.toml"'))
        loadgate.write("rules.toml", rules)
    return path


def states_of(folder: RunFolder, rule: str) -> list[str]:
    if not folder.watch_database.exists():
        return []
    with WatchReader(folder.watch_database) as reader:
        return [change.state for change in reader.alerts(rule)]


def outcomes_of(folder: RunFolder) -> dict[str, str]:
    with WatchReader(folder.watch_database) as reader:
        return {s.step: s.detail["outcome"] for s in reader.actions() if s.stage == "result"}


def newest(running: Any) -> RunFolder | None:
    runs = list_runs(running.results)
    return runs[-1] if runs else None


def until_state(running: Any, rule: str, state: str) -> None:
    running.until(lambda: (run := newest(running)) and state in states_of(run, rule), f"{rule} {state}")


@pytest.mark.system
def test_a_watch_of_a_healthy_target_ends_well(loadgate: Any, service: StagingService, inbox: Inbox) -> None:
    """Nothing fires: exit 0, nobody is told, and the run is listed as one that ended as planned."""
    path = scenario_of(loadgate, service.url)
    running = loadgate.start("watch", path, "--for", "3s", env={"HOOK": inbox.url})
    running.wait().expect(0, out="no alert fired")
    with RunReader(running.folder_of_run().database) as reader:
        assert (reader.value("mode"), reader.value("ended")) == ("watch", "planned")
    assert inbox.mails == []


@pytest.mark.system
def test_a_watch_tells_of_a_target_that_goes_down(
    loadgate: Any, fresh_service: StagingService, inbox: Inbox
) -> None:
    """A critical alert: exit 20, one message when it fires, one when it is over; nothing is done unarmed."""
    path = scenario_of(loadgate, fresh_service.url)
    running = loadgate.start("watch", path, "--for", "14s", "--json", env={"HOOK": inbox.url})
    running.until(lambda: newest(running), "the run")
    time.sleep(1.0)
    fresh_service.add_fault("error", **UNWELL)
    until_state(running, "down", "firing")
    fresh_service.clear_faults()
    content = running.wait().expect(20).json
    (alert,) = content["alerts"]
    assert (alert["rule"], alert["state"], content["exit_code"]) == ("down", "resolved", 20)
    assert alert["fired_at"] - alert["since"] == 2.0
    entries = [entry for mail in inbox.mails for entry in mail.content["entries"]]
    assert [entry["state"] for entry in entries if entry["state"] != "action"] == ["firing", "resolved"]
    assert outcomes_of(running.folder_of_run())["disable-endpoint /api/v1/emotions/analyze"] == "dry"


@pytest.mark.system
def test_a_watch_that_was_killed_goes_on_where_it_was(
    loadgate: Any, fresh_service: StagingService, inbox: Inbox
) -> None:
    """Killed while the alert fires and started again, it fires once, and the endpoint is off."""
    path = scenario_of(loadgate, fresh_service.url)
    first = loadgate.start("watch", path, "--arm", env={"HOOK": inbox.url})
    first.until(lambda: newest(first), "the run")
    fresh_service.add_fault("error", **UNWELL)
    until_state(first, "down", "firing")
    first.process.kill()
    first.process.wait()
    run = first.folder_of_run()
    again = loadgate.start("watch", path, "--run", run.id, "--arm", "--for", "12s", env={"HOOK": inbox.url})
    again.wait().expect(20)
    assert list_runs(again.results) == [run]
    assert states_of(run, "down").count("firing") == 1
    assert outcomes_of(run)["disable-endpoint /api/v1/emotions/analyze"] == "done"
    told = [entry for mail in inbox.mails for entry in mail.content["entries"] if entry["state"] == "firing"]
    assert len({key for entry in told for key in entry["keys"]}) == 1


@pytest.mark.system
@pytest.mark.timeout(240)
def test_a_watch_beside_stock_locust_ends_its_load(
    loadgate: Any, fresh_service: StagingService, inbox: Inbox
) -> None:
    """The alert ends Locust's run of a minute, which says that a rule aborted it."""
    path = scenario_of(loadgate, fresh_service.url, hold="60s")
    results = loadgate.folder / "results"
    # On a machine that is too busy the run is void, which ends no load and says so: then it is made again.
    assert any(ended_by_its_watch(loadgate, path, fresh_service, inbox) for _ in range(3))
    with RunReader(list_runs(results)[-1].database) as reader:
        assert reader.value("ended") == "aborted"


def ended_by_its_watch(loadgate: Any, path: Path, service: StagingService, inbox: Inbox) -> bool:
    """Run stock Locust with a watch beside it that ends it; False where the run is void before that."""
    service.clear_faults()
    results = loadgate.folder / "results"
    before = len(list_runs(results))
    locustfile = Path(__file__).parents[2] / "locustfiles" / "staging.py"
    command = [sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "--scenario", str(path)]
    command += ["-u", "20", "-r", "20", "--only-summary"]
    environment = os.environ | {"LOADGATE_RESULTS": str(results)}
    locust = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(run.database.exists() for run in list_runs(results)[before:]), "Locust's run")
        run = list_runs(results)[-1]
        watch = loadgate.start("watch", path, "--run", run.id, "--arm", env={"HOOK": inbox.url})
        wait_for(lambda: answered(results), "answers")
        early = states_of(run, "slow")
        service.add_fault("latency", endpoint="emotion", delay="400ms")
        wait_for(lambda: run.watch_database.exists() and "stop-load" in outcomes_of(run), "the action")
        if outcomes_of(run)["stop-load"] == "skipped":
            watch.process.send_signal(signal.SIGINT)
            watch.wait().expect(130, out="stop-load: skipped: the run is void")
            return False
        assert early == []
        watch.wait().expect(20, out="action stop-load: done")
        locust.wait(20)
        return True
    finally:
        locust.kill()
        locust.wait()


def answered(results: Path) -> bool:
    with RunReader(list_runs(results)[-1].database) as reader:
        return reader.total().counts.get("ok", 0) > 30


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.05)


@pytest.mark.system
def test_ctrl_c_ends_a_watch_gracefully(loadgate: Any, service: StagingService, inbox: Inbox) -> None:
    """Exit 130, and the run says that it was interrupted."""
    path = scenario_of(loadgate, service.url)
    running = loadgate.start("watch", path, env={"HOOK": inbox.url})
    running.until(lambda: (run := newest(running)) and run.watch_database.exists(), "the watch")
    running.process.send_signal(signal.SIGINT)
    running.wait().expect(130)
    with RunReader(running.folder_of_run().database) as reader:
        assert reader.value("ended") == "interrupted"


@pytest.mark.system
def test_a_watch_that_sees_nothing_is_not_green(loadgate: Any) -> None:
    """Nothing listens there, and the only probe has no value for that: exit 30."""
    more = '[[probes]]\nname = "cache"\nhttp = "/api/v1/cache/stats"\nevery = "1s"\n'
    path = scenario_of(loadgate, "http://127.0.0.1:9", more=more, rules="")
    loadgate.run("watch", path, "--for", "2s").expect(30, err="no probe got any reading")


@pytest.mark.system
def test_a_watch_with_one_silent_probe_is_not_green(loadgate: Any, service: StagingService) -> None:
    """Health is read, and a path that the target does not have gives nothing: exit 30, with its name."""
    dead = '[[probes]]\nname = "extra"\nkind = "json"\nhttp = "/none"\nevery = "1s"\nvalues = { a = "a" }\n'
    path = scenario_of(loadgate, service.url, more=MORE.split("[notify]")[0] + PROBE + dead, rules="")
    loadgate.run("watch", path, "--for", "3s").expect(30, err="no reading of extra")


def test_a_scenario_with_nothing_to_watch_is_refused(told: Any, loadgate: Any) -> None:
    """Neither probes nor alerts: exit 2, before a run is made."""
    path = scenario_of(loadgate, "http://127.0.0.1:9", more="", rules="")
    told("watch", path).expect(2, err="nothing to watch")


def test_a_run_that_has_ended_cannot_be_watched(
    told: Any, loadgate: Any, stored: Callable[..., RunFolder]
) -> None:
    """Exit 2, with how it ended."""
    path = scenario_of(loadgate, "http://127.0.0.1:9")
    run = stored()
    told("watch", path, "--run", run.id).expect(2, err=r"has ended \(planned\)")


def test_a_run_without_a_plan_cannot_be_watched(
    told: Any, loadgate: Any, stored: Callable[..., RunFolder]
) -> None:
    """Its phases are not known, so rules on requests could not tell what to look at: exit 2."""
    path = scenario_of(loadgate, "http://127.0.0.1:9")
    run = stored(ended=None)
    told("watch", path, "--run", run.id).expect(2, err="follows no plan")
