"""Readings are kept, whatever the database says."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from loadgate.errors import StoreError
from loadgate.store.watch import Reading, WatchReader, WatchWriter
from loadgate.watch import journal as journal_module
from loadgate.watch.journal import Journal
from loadgate.watch.restarts import Restart


def reading(at: float, value: float | None = 1.0, name: str = "up") -> Reading:
    """Return a reading of a health probe."""
    return Reading(at, "health", name, value, "" if value is not None else "no answer", 0.01)


class Disk:
    """A database that can be full, and remembers what it took and in which threads."""

    def __init__(self) -> None:
        self.full = False
        self.taken: list[Reading] = []
        self.threads: set[str] = set()
        self.closed = 0

    def open(self, path: Path) -> WatchWriter:
        """Stand in for the writer."""
        return self  # type: ignore[return-value]

    def readings(self, readings) -> None:
        """Take readings, or refuse."""
        self.threads.add(threading.current_thread().name)
        if self.full:
            raise StoreError("the disk is full")
        self.taken += readings

    def close(self) -> None:
        """Count the closing."""
        self.closed += 1


@pytest.fixture
def disk() -> Disk:
    """Give a disk with room."""
    return Disk()


def test_readings_are_in_the_database_after_closing(tmp_path):
    """All of them, good and bad, in order."""
    journal = Journal(tmp_path / "watch.db")
    journal.open()
    journal.add([reading(0.0), reading(0.0, None, "uptime")])
    journal.add([reading(1.0)])
    journal.close()
    with WatchReader(tmp_path / "watch.db") as reader:
        assert reader.readings() == [reading(0.0), reading(0.0, None, "uptime"), reading(1.0)]
    assert journal.errors == ()


def test_a_database_that_cannot_be_written_is_an_error_before_the_load(tmp_path):
    """Opening fails, and no thread is left."""
    before = threading.active_count()
    with pytest.raises(StoreError):
        Journal(tmp_path / "nowhere" / "watch.db").open()
    for thread in threading.enumerate():
        if thread.name.startswith("loadgate-probe-writer"):
            thread.join(5)
    assert threading.active_count() == before


def test_the_live_view_sees_the_last_reading_of_each(disk):
    """Whether or not the disk took it."""
    disk.full = True
    journal = Journal(Path("unused"), disk.open)
    journal.open()
    journal.add([reading(0.0), reading(0.0, 5.0, "uptime")])
    journal.add([reading(1.0, 0.0)])
    assert journal.latest() == {
        ("health", "up"): reading(1.0, 0.0),
        ("health", "uptime"): reading(0.0, 5.0, "uptime"),
    }
    journal.close()


def test_what_a_full_disk_refused_is_written_when_it_has_room_again(disk, until):
    """Nothing is lost in between, and the fault is told."""
    journal = Journal(Path("unused"), disk.open)
    journal.open()
    disk.full = True
    journal.add([reading(0.0)])
    until(lambda: journal.errors)
    disk.full = False
    journal.add([reading(1.0)])
    journal.close()
    assert disk.taken == [reading(0.0), reading(1.0)]
    assert journal.errors == ("the disk is full",)
    assert disk.closed == 1


def test_what_could_not_be_written_to_the_end_is_told(disk):
    """The last word is how many readings are missing from the database."""
    journal = Journal(Path("unused"), disk.open)
    journal.open()
    disk.full = True
    journal.add([reading(0.0), reading(1.0)])
    journal.close()
    assert journal.errors[-1] == "2 readings of the probes could not be written"
    assert disk.closed == 1


def test_memory_is_bounded_while_the_disk_is_full(disk, monkeypatch):
    """The oldest readings go first, and the loss is counted."""
    monkeypatch.setattr(journal_module, "UNSAVED_MOST", 2)
    journal = Journal(Path("unused"), disk.open)
    journal.open()
    disk.full = True
    journal.add([reading(0.0), reading(1.0), reading(2.0)])
    journal.close()
    assert "1 readings of the probes are lost: the database refused them for too long" in journal.errors
    assert journal.errors[-1] == "2 readings of the probes could not be written"


def test_one_thread_writes(disk):
    """The writer belongs to the thread that opened it, which is not the probes' own."""
    journal = Journal(Path("unused"), disk.open)
    journal.open()
    for at in range(5):
        journal.add([reading(float(at))])
    journal.close()
    assert len(disk.threads) == 1
    assert threading.current_thread().name not in disk.threads


def test_closing_twice_is_fine(disk):
    """The second time there is nothing to do."""
    journal = Journal(Path("unused"), disk.open)
    journal.open()
    journal.close()
    journal.close()
    assert disk.closed == 1


def test_restarts_are_kept_in_order(disk):
    """As they were seen."""
    journal = Journal(Path("unused"), disk.open)
    journal.add_restart(Restart(1.0, "health", "a"))
    journal.add_restart(Restart(2.0, "cache", "b"))
    assert [item.at for item in journal.restarts] == [1.0, 2.0]
