"""Bound what the processes of a run print: a log that has grown past its limit moves to `NAME.1`.

A log is held open by the process that prints, for appending, so that it cannot be renamed away from under it.
Its end is copied, and then it is cut to nothing; what is printed between the two (microseconds) is lost. So a
run of any length has at most twice the limit of each log, and a moment's growth.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

LIMIT: Final = 10_000_000
"""Bytes from which a log is rotated, and that are kept of it."""
BESIDE: Final = ".1"
"""What follows the name of a log in the name of its part before."""
_PIECE: Final = 2**20
_TAIL_BYTES: Final = 2**16


def to_rotate(sizes: Mapping[str, int], limit: int = LIMIT) -> tuple[str, ...]:
    """Return the names of the logs that are to be rotated, by their sizes in bytes, sorted."""
    return tuple(sorted(name for name, size in sizes.items() if size > limit))


def rotate_logs(folder: Path, limit: int = LIMIT) -> list[str]:
    """Rotate the logs of a run's log folder that are over `limit` bytes; return what went wrong.

    The last `limit` bytes of each are kept beside it, in place of what was there. Where these cannot be
    written (a full disk), the log is left alone up to twice the limit, and then cut without a copy: a log
    must never fill the disk on which the numbers are.
    """
    faults: list[str] = []
    sizes: dict[str, int] = {}
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith(".log") and entry.is_file(follow_symlinks=False):
                sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        return [f"the logs cannot be looked at: {error.strerror or error}"]
    for name in to_rotate(sizes, limit):
        fault = _rotate(folder / name, limit)
        if fault:
            faults.append(f"{name}: {fault}")
    return faults


def last_lines(log: Path, number: int) -> list[str]:
    """Return the last lines of a log, from its part before too where it was rotated just now.

    At most 64 kB are read of each. A log that cannot be read has none.
    """
    lines = _lines_of(log)
    if len(lines) < number:
        lines = [*_lines_of(log.with_name(log.name + BESIDE)), *lines]
    return lines[-number:] if number > 0 else []


def _lines_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _rotate(log: Path, limit: int) -> str:
    """Rotate one log; return what went wrong, or nothing."""
    beside = log.with_name(log.name + BESIDE)
    draft = beside.with_name(beside.name + ".new")
    try:
        number = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot be rotated: {error.strerror or error}"
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return "is not a file"
        try:
            _copy_end(number, draft, limit)
            os.replace(draft, beside)
        except OSError as error:
            _remove([draft])
            if os.fstat(number).st_size <= 2 * limit:
                return f"cannot be rotated: {error.strerror or error}"
            # The part before would only take the room that is missing.
            _remove([beside])
            os.ftruncate(number, 0)
            return f"was cut without a copy: {error.strerror or error}"
        os.ftruncate(number, 0)
    except OSError as error:
        return f"cannot be rotated: {error.strerror or error}"
    finally:
        os.close(number)
    return ""


def _copy_end(number: int, to: Path, limit: int) -> None:
    """Copy the last bytes of an open file, and what it grows by meanwhile."""
    os.lseek(number, -min(limit, os.fstat(number).st_size), os.SEEK_END)
    with to.open("wb") as file:
        while piece := os.read(number, _PIECE):
            file.write(piece)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
