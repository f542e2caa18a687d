"""How another terminal reaches a run: who writes it, and the request that it should end.

A request is a file in the run's folder, addressed to one process by its number and the moment of its start.
So it needs no signal, which could hit a stranger that got the number of a process that died, and a request
that was never taken means nothing to a process that comes later.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder
from loadgate.store.lock import holder, is_held, lock_path

_NAME: Final = "stop.json"
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine: its number, and when it began, in the kernel's ticks since the boot.

    `began` is None where the kernel does not tell, and the number alone has to do.
    """

    pid: int
    began: int | None

    @property
    def lives(self) -> bool:
        """Tell whether it still does, and is the same one."""
        return _is_there(self.pid) and _began(self.pid) == self.began


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes a database: whether its lock is held, and by which process of this machine.

    Held by nobody that can be seen here means a process of another machine or container.
    """

    held: bool
    process: Process | None = None
    pid: int | None = None
    """The number that the lock file names, wherever that process is."""


def process_of(pid: int) -> Process:
    """Return the process that has a number now."""
    return Process(pid, _began(pid))


def holder_of(database: Path) -> Holder:
    """Find out who writes a database now. StoreError when its lock file cannot be read."""
    with told_as_store_errors("read", lock_path(database)):
        if not is_held(database):
            return Holder(held=False)
        pid = holder(database)
        if pid is None or not _is_there(pid) or not _may_have_open(pid, lock_path(database)):
            return Holder(held=True, pid=pid)
        return Holder(held=True, process=process_of(pid), pid=pid)


def ask_to_stop(run: RunFolder, process: Process, asked_at: str) -> None:
    """Ask a process that writes a run to end it; it looks about once a second. StoreError when that fails."""
    path = run.path / _NAME
    draft = run.path / f".stop-{os.getpid()}-{secrets.token_hex(4)}"
    content = {"pid": process.pid, "began": process.began, "asked_at": asked_at}
    with told_as_store_errors("write", path):
        try:
            draft.write_bytes(orjson.dumps(content))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def is_asked_to_stop(run: RunFolder, pid: int | None = None) -> bool:
    """Tell whether a process, by default this one, is asked to end the run.

    A request that is for another process, damaged, or cannot be read asks nothing.
    """
    try:
        with (run.path / _NAME).open("rb") as file:
            content: Any = orjson.loads(file.read(_LONGEST))
    except (OSError, orjson.JSONDecodeError):
        return False
    asked = process_of(os.getpid() if pid is None else pid)
    return isinstance(content, dict) and (content.get("pid"), content.get("began")) == (
        asked.pid,
        asked.began,
    )


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _began(pid: int) -> int | None:
    """Read the 22nd field of /proc/PID/stat; the second one, a name in brackets, may hold anything.

    A process that has ended, and that its parent has not asked for yet, is none any more.
    """
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) if fields[0] not in (b"Z", b"X") else None
    return None


def _may_have_open(pid: int, path: Path) -> bool:
    """Tell whether a process has a file open; where that may not be looked at, it may have."""
    try:
        wanted = path.stat()
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    found = os.stat(entry.path)
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    except OSError:
        return True
    return False
