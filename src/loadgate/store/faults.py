"""Tell in Loadgate's own words what the disk or SQLite refused, and what to do about it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadgate.errors import MeasureError, StoreError

_CORRUPT_HINT = (
    "the file is damaged or is no run database: use a copy of the run, or try `sqlite3 FILE .recover`; "
    "copy a run as its whole folder, since FILE-wal belongs to it"
)
_OS_FAULTS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: (
        "the disk is full",
        "free some space, or remove old runs, or choose another results folder",
    ),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another results folder"),
    errno.EACCES: ("permission denied", "choose a results folder that you may write to, with --results"),
    errno.EPERM: ("not permitted", "choose a results folder that you may write to, with --results"),
    errno.EROFS: ("the file system is read-only", "choose a results folder elsewhere, with --results"),
    errno.ENOTDIR: ("a part of the path is not a folder", "choose another results folder, with --results"),
    errno.EEXIST: (
        "a file is in the way",
        "move that file, or choose another results folder, with --results",
    ),
    errno.ENOENT: ("it cannot be made there", "choose another results folder, with --results"),
}
_SQLITE_FAULTS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space; whatever was acknowledged before is kept"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", _CORRUPT_HINT),
    sqlite3.SQLITE_NOTADB: ("it is not a database", _CORRUPT_HINT),
    sqlite3.SQLITE_BUSY: (
        "another process holds it",
        "end the other process that writes this file, then retry",
    ),
    sqlite3.SQLITE_READONLY: ("it cannot be written", "give this user the right to write the run's folder"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "check that the run's folder exists and may be read"),
    sqlite3.SQLITE_PERM: ("permission denied", "give this user the right to read the run's folder"),
    sqlite3.SQLITE_IOERR: ("the disk gave an error", "check the disk; run databases belong on a local disk"),
}


@contextmanager
def told_as_store_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn every expected fault of the block into a StoreError: "cannot `doing` `path`: reason".

    Misuse of a connection (closed, or used from another thread) is a defect of the caller and stays
    what it is.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        raise _of_sqlite(error, doing, path) from error
    except MeasureError as error:
        raise StoreError(f"cannot {doing} {path}: {error.message}", hint=_CORRUPT_HINT) from error
    except OverflowError as error:
        raise StoreError(
            f"cannot {doing} {path}: a number is too large ({error})", hint=_CORRUPT_HINT
        ) from error
    except OSError as error:
        raise _of_os(error, doing, path) from error


def _of_sqlite(error: sqlite3.Error, doing: str, path: Path) -> StoreError:
    # Extended result codes keep the primary code in the low byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason, hint = _SQLITE_FAULTS.get(code, ("", _CORRUPT_HINT))
    return StoreError(f"cannot {doing} {path}: {f'{reason} ({error})' if reason else error}", hint=hint)


def _of_os(error: OSError, doing: str, path: Path) -> StoreError:
    reason, hint = _OS_FAULTS.get(error.errno or 0, ("", "check the disk and the path"))
    text = error.strerror or str(error)
    return StoreError(f"cannot {doing} {path}: {f'{reason} ({text})' if reason else text}", hint=hint)
