"""Who writes a run, and the request that it should end: it reaches that process and no other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.store.folder import RunFolder
from loadgate.store.lock import WriterLock, lock_path
from loadgate.store.requests import Process, ask_to_stop, holder_of, is_asked_to_stop, process_of
from loadgate.store.run_clock import Anchor, Now

WHEN = "2026-11-24T10:15:00.000+00:00"


def test_who_is_asked_is_asked(tmp_path: Path) -> None:
    """The request says this process, and this process reads that."""
    run = RunFolder(tmp_path)
    assert not is_asked_to_stop(run)
    ask_to_stop(run, process_of(os.getpid()), WHEN)
    assert is_asked_to_stop(run)
    assert [entry.name for entry in tmp_path.iterdir()] == ["stop.json"]


def test_another_process_is_not_asked(tmp_path: Path) -> None:
    """A request for the parent means nothing here."""
    run = RunFolder(tmp_path)
    ask_to_stop(run, process_of(os.getppid()), WHEN)
    assert not is_asked_to_stop(run)
    assert is_asked_to_stop(run, os.getppid())


def test_a_process_that_got_the_number_of_a_dead_one_is_not_asked(tmp_path: Path) -> None:
    """The same number with another start is another process."""
    run, me = RunFolder(tmp_path), process_of(os.getpid())
    assert me.began is not None
    earlier = Process(me.pid, me.began - 1)
    ask_to_stop(run, earlier, WHEN)
    assert not is_asked_to_stop(run)
    assert me.lives
    assert not earlier.lives


@pytest.mark.system
def test_a_process_that_nobody_asked_for_yet_does_not_live() -> None:
    """It has ended, so nobody waits for what it would have done."""
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    process = process_of(child.pid)
    assert process.lives
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.lives
    child.wait()
    assert not process.lives


@given(raw=st.binary(max_size=64) | st.sampled_from([b"", b"[]", b"null", b'{"pid": null}', b"{}"]))
def test_a_damaged_request_asks_nothing(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Whatever the file holds, a run is ended only by a whole request."""
    run = RunFolder(tmp_path_factory.mktemp("run"))
    (run.path / "stop.json").write_bytes(raw)
    assert not is_asked_to_stop(run)


def test_the_holder_is_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    """Named while it holds it, and nobody after that."""
    database = tmp_path / "run.db"
    assert not holder_of(database).held
    lock = WriterLock(database)
    assert holder_of(database).process == process_of(os.getpid())
    lock.release()
    assert not holder_of(database).held


@pytest.mark.parametrize("pid", [os.getppid(), 2**22 + 1], ids=["a stranger", "nobody"])
def test_a_process_that_does_not_hold_the_lock_is_not_its_holder(tmp_path: Path, pid: int) -> None:
    """A lock whose holder names a process of another machine names a stranger here, or nobody."""
    database = tmp_path / "run.db"
    lock = WriterLock(database)
    lock_path(database).write_text(f"{pid}\n")
    found = holder_of(database)
    assert (found.held, found.process, found.pid) == (True, None, pid)
    lock.release()


@given(step=st.floats(-1e6, 1e6), after=st.floats(0, 1e6))
def test_a_step_of_the_wall_clock_changes_no_run_time(step: float, after: float) -> None:
    """On the machine of the run, run time is what the monotonic clock says."""
    anchor = Anchor(1000.0, 5000.0, "boot")
    now = Now(1000.0 + after, 5000.0 + after + step, "boot")
    assert anchor.run_time(now) == pytest.approx(after)


@pytest.mark.parametrize("boot", ["another", ""])
def test_elsewhere_the_wall_clock_tells_the_run_time(boot: str) -> None:
    """Another start of the machine, or another machine, shares nothing but the wall clock."""
    assert Anchor(1000.0, 5000.0, "boot").run_time(Now(3.0, 5042.0, boot)) == 42.0


@pytest.mark.parametrize(
    "stored", [None, {}, {"monotonic": "x", "wall": 1}, {"monotonic": 1, "wall": float("nan")}, 7]
)
def test_a_damaged_anchor_is_none(stored: object) -> None:
    """No run time is better than a wrong one."""
    assert Anchor.of(stored) is None
