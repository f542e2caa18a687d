"""Keep one writer per database file: a lock that the kernel takes back when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from loadgate.errors import StoreError
from loadgate.store.faults import told_as_store_errors

# Somebody who only asks whether the lock is held holds it for an instant; that must not fail a writer.
_TRIES = 6
_PAUSE_S = 0.05


class WriterLock:
    """Hold `FILE.lock` for the life of a writer; raise StoreError when another process holds it.

    A second writer would merge into rows that the first one keeps in memory, so SQLite's own lock per
    transaction is not enough. The file stays when the lock is given back: removing it would be a race.
    """

    def __init__(self, database: Path) -> None:
        path = lock_path(database)
        with told_as_store_errors("lock", path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take(database, path)
        except BaseException:
            self.release()
            raise

    def _take(self, database: Path, path: Path) -> None:
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE_S)
            with told_as_store_errors("lock", path):
                if _try_lock(self._descriptor):
                    os.truncate(self._descriptor, 0)
                    os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
                    return
        owner = _owner(path)
        raise StoreError(
            f"cannot write {database}: {f'process {owner}' if owner else 'another process'} is writing it",
            hint="end the other writer of this run first, or start a run of your own",
        )

    def release(self) -> None:
        """Give the lock back; doing so again changes nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_path(database: Path) -> Path:
    """Name the lock file of a database file."""
    return database.with_name(f"{database.name}.lock")


def is_held(database: Path) -> bool:
    """Tell whether a process, this one included, is writing the database now."""
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(database: Path) -> int | None:
    """Return the process of this machine that is writing the database now, None where none can be told."""
    if not is_held(database):
        return None
    owner = _owner(lock_path(database))
    return int(owner) if owner.isdecimal() else None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="ascii").strip()
    return ""
