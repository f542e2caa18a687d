"""`loadgate stop`: a run is ended from another terminal, judged, and exits by its verdict."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadgate.cli import stop
from loadgate.cli.run_end import passes_on_stop
from loadgate.staging.server import StagingService
from loadgate.store.annotations import annotations_of
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, list_runs
from loadgate.store.lock import lock_path
from loadgate.store.requests import ask_to_stop, is_asked_to_stop, process_of

STAGING = Path(__file__).parents[2] / "locustfiles" / "staging.py"
FAILING = """
[[objective]]
metric = "error_rate"
target = "< 1%"
alert  = "> 2%"
every  = "30s"
"""
HEALTH = """
[[probes]]
name    = "health"
http    = "/health"
every   = "1s"
timeout = "500ms"
"""


def ended_of(folder: RunFolder) -> Any:
    with RunReader(folder.database) as reader:
        return reader.value("ended")


@pytest.mark.system
def test_a_run_is_annotated_looked_at_stopped_and_judged(loadgate: Any, service: StagingService) -> None:
    """All from another terminal: the run and `stop --wait` exit by the verdict, which is no PASS.

    Every request was answered well, so there is nothing to fail; but a minute was planned.
    """
    running = loadgate.start("run", loadgate.scenario(service.url, hold="60s"))
    running.until_answered()
    loadgate.run("annotate", "latest", "deployed 1.4.2", "--kind", "deployment").expect(0)
    status = loadgate.run("status", "latest", "--json").expect(0).json
    assert (status["state"], status["verdict"]) == ("running", None)
    assert [hand["here"] for hand in status["writers"]] == [True, True]
    assert status["writers"][1]["pid"] == running.process.pid
    told = loadgate.run("stop", "latest", "--wait", "--json").expect(30)
    done = running.wait(30).expect(30)
    verdict = running.verdict()
    assert told.json == verdict
    assert (verdict["ended"], verdict["verdict"], verdict["exit_code"]) == ("stopped", "INVALID", done.code)
    with RunReader(running.folder_of_run().database) as reader:
        assert (reader.value("ended"), reader.total().imbalance) == ("stopped", 0)
    assert [note.text for note in annotations_of(running.folder_of_run())] == ["deployed 1.4.2"]
    assert running.left() == []
    assert not running.folder_of_run().verdict_path(2).exists()


@pytest.mark.system
def test_a_run_that_fails_is_still_a_failure_when_it_is_stopped(
    loadgate: Any, fresh_service: StagingService
) -> None:
    """Most requests fail: FAIL, exit 20, of `run` and of `stop --wait` alike."""
    fresh_service.add_fault("error", status=503)
    scenario = loadgate.scenario(fresh_service.url, rate=40, hold="60s", sla=FAILING)

    def attempt() -> Any:
        before = len(list_runs(loadgate.folder / "results"))
        running = loadgate.start("run", scenario)

        def failed() -> bool:
            if len(list_runs(running.results)) == before:
                return False
            with RunReader(running.folder_of_run().database) as reader:
                return reader.total().counts.get("failed", 0) >= 150

        running.until(failed, "failures")
        told = loadgate.run("stop", "latest", "--wait")
        assert running.wait(30).code == told.code
        return running, told

    running, told = loadgate.quiet(attempt)
    told.expect(20, out="^FAIL")
    assert running.verdict()["ended"] == "stopped"


@pytest.mark.system
def test_stop_returns_once_the_run_comes_to_its_end(loadgate: Any, service: StagingService) -> None:
    """Without --wait it is exit 0; the run's own command tells the verdict. A second stop is refused."""
    running = loadgate.start("run", loadgate.scenario(service.url, hold="60s"))
    running.until_answered()
    loadgate.run("stop", running.folder_of_run().id).expect(0, out="", err="is coming to its end")
    running.wait(30).expect(30)
    loadgate.run("stop", "latest").expect(2, err=r"has ended \(stopped\)")


@pytest.mark.system
def test_a_run_that_waits_for_its_workers_is_stopped(loadgate: Any, service: StagingService) -> None:
    """No master writes yet, so its control room is asked; nothing was measured: exit 30."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ("--distributed", "--expect-workers", "1", "--bind", f"127.0.0.1:{port}")
    running = loadgate.start("run", loadgate.scenario(service.url), *where)
    running.until(lambda: any(run.watch_database.exists() for run in list_runs(running.results)), "the run")
    loadgate.run("stop", "latest", "--wait").expect(30)
    running.wait(30).expect(30)
    assert (running.verdict()["ended"], running.left()) == ("stopped", [])


@pytest.fixture
def locust(loadgate: Any, service: StagingService) -> Iterator[subprocess.Popen[bytes]]:
    """A run of stock Locust without a plan, in one process."""
    command = [sys.executable, "-m", "locust", "-f", str(STAGING), "--headless", "--only-summary"]
    command += ["-u", "5", "-r", "5", "-t", "120s", "-H", service.url]
    process = subprocess.Popen(
        command,
        cwd=loadgate.folder,
        env=os.environ | {"LOADGATE_RESULTS": str(loadgate.folder / "results")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()


def answered(loadgate: Any) -> bool:
    runs = list_runs(loadgate.folder / "results")
    if not runs or not runs[-1].database.exists():
        return False
    with RunReader(runs[-1].database) as reader:
        return reader.total().counts.get("ok", 0) > 30


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.05)


@pytest.mark.system
def test_a_run_of_stock_locust_is_stopped_and_judged(loadgate: Any, locust: subprocess.Popen[bytes]) -> None:
    """It has no control room, so `stop --wait` judges it; without an SLA table that is INVALID, exit 30."""
    wait_for(lambda: answered(loadgate), "answers")
    loadgate.run("stop", "latest", "--wait").expect(30, out="there are no objectives")
    locust.wait(20)
    run = list_runs(loadgate.folder / "results")[-1]
    assert ended_of(run) == "stopped"
    assert json.loads(run.verdict_path().read_bytes())["exit_code"] == 30


@pytest.mark.system
def test_a_master_that_does_not_answer_is_told(
    loadgate: Any, told: Any, locust: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held still by the kernel, so it never looks: exit 2 with its number, and it is not touched."""
    monkeypatch.setattr(stop, "_HEARD_WITHIN", 1.5)
    wait_for(lambda: answered(loadgate), "answers")
    locust.send_signal(signal.SIGSTOP)
    told("stop", "latest").expect(2, err=rf"process {locust.pid}[\s\S]*kill -INT {locust.pid}")
    assert locust.poll() is None
    locust.send_signal(signal.SIGCONT)
    # The request still stands, and is taken now.
    locust.wait(20)
    assert ended_of(list_runs(loadgate.folder / "results")[-1]) == "stopped"


@pytest.mark.system
def test_a_watch_is_stopped(loadgate: Any, service: StagingService) -> None:
    """It exits as after `--for`: 0, when nothing fired; `stop --wait` says the same."""
    path = loadgate.scenario(service.url, more=HEALTH)
    running = loadgate.start("watch", path)

    def read() -> bool:
        runs = list_runs(running.results)
        return bool(runs) and loadgate.run("status", "latest", "--json").json["readings"] != []

    running.until(read, "a reading")
    loadgate.run("stop", "latest", "--wait").expect(0, out="no alert fired")
    running.wait(20).expect(0)
    assert ended_of(running.folder_of_run()) == "stopped"


def test_a_control_room_passes_on_what_it_was_asked(tmp_path: Path) -> None:
    """It was asked while it had no master that writes: the master that it has now is asked in its place."""
    generator: Any = SimpleNamespace(folder=RunFolder(tmp_path), master=SimpleNamespace(pid=os.getppid()))
    assert not passes_on_stop(generator)
    ask_to_stop(generator.folder, process_of(os.getpid()), "2026-11-24T10:15:00+00:00")
    assert passes_on_stop(generator)
    assert is_asked_to_stop(generator.folder, os.getppid())
    assert not is_asked_to_stop(generator.folder)


# -- refusals -----------------------------------------------------------------------------------


def test_a_run_that_has_ended_is_refused(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Exit 2 with how it ended."""
    told("stop", stored().id).expect(2, out="", err=r"has ended \(planned\)[\s\S]*loadgate status")


def test_a_run_that_died_is_refused(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Nobody wrote it for an hour: exit 2, and it can be judged."""
    run = stored(ended=None)
    for path in run.path.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    told("stop", run.id).expect(2, out="", err=r"died[\s\S]*loadgate verdict")


def test_a_run_that_may_be_written_elsewhere_is_refused(told: Any, stored: Callable[..., RunFolder]) -> None:
    """It changed just now, and no process here holds it: exit 2."""
    run = stored(ended=None)
    told("stop", run.id).expect(2, out="", err=r"another machine[\s\S]*stop it where it runs")


def test_a_lock_of_another_machine_hits_no_stranger(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Its number belongs to a process here that does not hold the lock: exit 2, and nobody is asked."""
    run = stored(ended=None)
    with open_writer(run.database):
        lock_path(run.database).write_text(f"{os.getppid()}\n")
        told("stop", run.id).expect(2, err=rf"process {os.getppid()} of another machine[\s\S]*there")
    assert not (run.path / "stop.json").exists()


def test_a_run_of_a_newer_version_is_refused(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Exit 2, before anybody is asked."""
    run = stored(ended=None)
    with sqlite3.connect(run.database) as connection:
        connection.execute("INSERT INTO schema_version (version, name) VALUES (99, 'later')")
    connection.close()
    told("stop", run.id).expect(2, err=r"schema version 99[\s\S]*upgrade")
    assert not (run.path / "stop.json").exists()
