"""Who controls a run, its heartbeat, and who may take a run up."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.store.control_lock import (
    ControlLock,
    Owner,
    control_gaps,
    doubt_left,
    owner_of,
    refuse_if_controlled,
)
from loadgate.store.folder import RunFolder
from loadgate.store.lock import WriterLock
from loadgate.store.run_clock import Now

NOW = Now(monotonic=1000.0, wall=1_700_000_000.0, boot_id="kernel-1")
OWNER = Owner("far-away", 42, "kernel-2", NOW.wall, at=60.0)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_an_owner_is_read_as_it_was_written(run: RunFolder) -> None:
    """With its gaps, and where its master waits for workers."""
    owner = replace(OWNER, gaps=((3.0, 7.5),), listen=("127.0.0.1", 5557, 60.0), supervised=True)
    ControlLock(run, owner).take(owner)
    assert owner_of(run) == owner


def test_a_run_that_nobody_controlled_has_no_owner(run: RunFolder) -> None:
    """And no gap; it can be taken up."""
    assert owner_of(run) is None
    assert control_gaps(run) == ()
    assert refuse_if_controlled(run, NOW) == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": "a"}', b"null"])
def test_what_is_damaged_is_never_taken_for_nobody(run: RunFolder, content: bytes) -> None:
    """It may be of a run that lives elsewhere: nobody takes it up, and the remedy is told."""
    (run.path / "control.json").write_bytes(content)
    for read in (owner_of, control_gaps, lambda folder: refuse_if_controlled(folder, NOW)):
        with pytest.raises(StoreError, match=r"control\.json is damaged") as caught:
            read(run)
        assert "whole copy" in caught.value.hint


def test_a_run_that_is_controlled_here_is_refused_as_such_though_its_file_is_damaged(run: RunFolder) -> None:
    """The kernel's lock knows enough; only the name is missing."""
    (run.path / "control.json").write_bytes(b"")
    lock = WriterLock(run.watch_database)
    try:
        with pytest.raises(StoreError, match="is still running: another process controls it"):
            refuse_if_controlled(run, NOW)
    finally:
        lock.release()


def test_a_beat_is_on_the_disk_before_it_takes_the_place_of_the_last(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut right after the renaming of an unsynced file would leave an empty one."""
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("sync"), sync(file)))
    monkeypatch.setattr(Path, "replace", lambda one, to: (steps.append("rename"), rename(one, to)))
    ControlLock(run, OWNER).beat(NOW, 10.0)
    assert steps == ["sync", "rename"]


def test_a_beat_tells_when_and_where_the_run_is(run: RunFolder) -> None:
    """Wall time and run time; not more often than every 2 s."""
    lock = ControlLock(run, OWNER)
    lock.beat(NOW, 10.0)
    lock.beat(Now(1001.9, NOW.wall + 1.9, "kernel-1"), 11.9)
    found = owner_of(run)
    assert found is not None
    assert (found.beat, found.at) == (NOW.wall, 10.0)
    lock.beat(Now(1002.0, NOW.wall + 2.0, "kernel-1"), 12.0)
    found = owner_of(run)
    assert found is not None
    assert (found.beat, found.at) == (NOW.wall + 2.0, 12.0)


def test_a_beat_that_cannot_be_written_is_told_and_no_more(tmp_path: Path) -> None:
    """A full disk ends no run."""
    lock = ControlLock(RunFolder(tmp_path / "gone"), OWNER)
    lock.beat(NOW, 10.0)
    assert "heartbeat cannot be written" in lock.fault


def test_what_could_not_be_written_is_not_remembered_as_written(tmp_path: Path) -> None:
    """The last beat on the disk was at 60 s; one at 500 s that failed moves nothing but the fault."""
    run = RunFolder(tmp_path / "run")
    lock = ControlLock(run, OWNER)
    lock.beat(NOW, 500.0)
    assert (lock.owner, bool(lock.fault)) == (OWNER, True)
    run.path.mkdir()
    lock.beat(Now(1002.0, NOW.wall + 2.0, "kernel-1"), 502.0)
    assert (lock.owner.at, lock.fault) == (502.0, "")


def test_a_successor_knows_how_long_nobody_watched() -> None:
    """The last beat was at 60 s of run time, the successor watches from 75 on."""
    owner = Owner.here(NOW).following(OWNER).watching(75.0)
    assert owner.gaps == ((60.0, 75.0),)
    assert owner.at == 75.0


def test_a_first_owner_has_no_gap() -> None:
    """Before it there was nobody, and nothing to watch."""
    assert Owner.here(NOW).following(None).watching(0.5).gaps == ()


@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 50.0)), max_size=20))
def test_gaps_are_in_order_and_apart(steps: list[tuple[float, float]]) -> None:
    """However often a run is taken up: each gap begins where an owner's last beat was."""
    owner, at = Owner.here(NOW), 0.0
    owner = owner.watching(at)
    for lived, absent in steps:
        beaten = replace(owner, at=at + lived)
        at += lived + absent
        owner = Owner.here(NOW).following(beaten).watching(at)
    assert all(start < end for start, end in owner.gaps)
    assert all(one[1] <= two[0] for one, two in zip(owner.gaps, owner.gaps[1:], strict=False))


def test_a_run_that_is_controlled_here_is_refused(run: RunFolder) -> None:
    """The kernel's lock tells, whatever the file says."""
    lock = WriterLock(run.watch_database)
    try:
        with pytest.raises(StoreError, match="is still running") as caught:
            refuse_if_controlled(run, NOW)
        assert "loadgate status" in caught.value.hint
    finally:
        lock.release()
    assert refuse_if_controlled(run, NOW) == ""


@pytest.mark.parametrize("age", [-30.0, 0.0, 89.0])
def test_a_run_that_beats_on_another_machine_is_refused(run: RunFolder, age: float) -> None:
    """Host, process and age are named; a beat from the future is a clock that is ahead, and fresh."""
    ControlLock(run, OWNER).take(replace(OWNER, beat=NOW.wall - age))
    with pytest.raises(StoreError, match=f"process 42 on far-away .* {max(age, 0):.0f} s ago"):
        refuse_if_controlled(run, NOW)


def test_a_lock_that_is_stale_is_told_with_its_age(run: RunFolder) -> None:
    """A generator ends within 60 s after its control room, so after 90 s nothing of it can live."""
    ControlLock(run, OWNER).take(replace(OWNER, beat=NOW.wall - 600.0))
    said = refuse_if_controlled(run, NOW)
    assert "process 42 on far-away" in said
    assert "600 s" in said


def test_the_machine_that_controlled_it_takes_its_own_run_up_at_once(run: RunFolder) -> None:
    """By name and by start of the kernel, whose lock is free."""
    owner = replace(OWNER, host=platform.node(), boot_id="kernel-1", beat=NOW.wall - 5.0)
    ControlLock(run, OWNER).take(owner)
    assert refuse_if_controlled(run, NOW) == ""
    assert doubt_left(owner, NOW) == 0.0


@pytest.mark.parametrize("boot_id", ["kernel-2", ""])
def test_a_machine_of_the_same_name_is_not_the_same_machine(run: RunFolder, boot_id: str) -> None:
    """It may be this one before a restart, or another: 5 s after its beat 85 s of doubt are left of 90."""
    owner = replace(OWNER, host=platform.node(), boot_id=boot_id, beat=NOW.wall - 5.0)
    ControlLock(run, OWNER).take(owner)
    with pytest.raises(StoreError, match="still running elsewhere"):
        refuse_if_controlled(run, NOW)
    assert doubt_left(owner, NOW) == 85.0


def test_there_is_no_doubt_about_a_machine_of_another_name_or_an_old_beat() -> None:
    """The first is refused at once, and the second is gone."""
    assert doubt_left(None, NOW) == doubt_left(OWNER, NOW) == 0.0
    assert doubt_left(replace(OWNER, host=platform.node(), beat=NOW.wall - 90.0), NOW) == 0.0
