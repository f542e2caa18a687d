"""Which processes of a run still live, and what can be done about them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgate.store.folder import RunFolder
from loadgate.swarm.living import GONE, Adopted, living_of

pytestmark = pytest.mark.system

SLEEPER = "import sys, time; print(flush=True); time.sleep(60)"


def sleeper(run: Path, part: str, *arguments: str, session: bool = True) -> subprocess.Popen[bytes]:
    """Start what looks like a process of a run; it sleeps until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, *arguments],
        env=os.environ | {"LOADGATE_RUN": str(run), "LOADGATE_PART": part, "LOADGATE_SECRET": "of this run"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=session,
    )
    assert process.stdout is not None
    # Its environment and arguments are its own from here on.
    process.stdout.readline()
    return process


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A worker of the run, what a worker itself started, and a master of another run."""
    processes = [
        sleeper(tmp_path, "worker-1", "--worker", "--master-port", "5557"),
        sleeper(tmp_path, "worker-1", session=False),
        sleeper(tmp_path / "other", "master", "--master-bind-port", "6000"),
    ]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_the_processes_of_a_run_are_found(started: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """By its folder; with the port that they speak over, and the secret that is nowhere else."""
    living = living_of(RunFolder(tmp_path))
    assert set(living.processes) == {"worker-1"}
    found = living.processes["worker-1"]
    assert (found.process.pid, found.port, found.secret) == (started[0].pid, 5557, "of this run")
    assert "of this run" not in repr(living)


def test_they_can_be_ended_and_nobody_else_is(started: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """The other run's master lives on."""
    living = living_of(RunFolder(tmp_path))
    assert living.handle("worker-1").poll() is None
    living.kill()
    assert living.handle("worker-1").poll() == GONE
    assert started[2].poll() is None
    assert living_of(RunFolder(tmp_path)).processes == {}


def test_a_part_that_does_not_live_has_ended(tmp_path: Path) -> None:
    """Nothing is sent to anybody."""
    handle = living_of(RunFolder(tmp_path)).handle("master")
    handle.send_signal(9)
    handle.kill()
    assert handle.wait(0.1) == handle.poll() == GONE


def test_waiting_for_one_that_lives_has_an_end(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """As for a child: subprocess's own error, after that time."""
    handle = living_of(RunFolder(tmp_path)).handle("worker-1")
    assert isinstance(handle, Adopted)
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        handle.wait(0.05)
    assert time.monotonic() >= begun + 0.05
