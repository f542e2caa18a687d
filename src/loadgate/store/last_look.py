"""A sign of how far a run went that needs no room on the disk: the time of an empty file.

A run goes on while its disk is full, and nothing of that is on record. Should its machine die then, whoever
takes the run up has to know until when load may have been made. The file is there from the run's start on;
while nothing can be written, its time of change follows the run.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import Final

from loadgate.store.folder import RunFolder

_NAME: Final = "last-look"


def prepare_looks(run: RunFolder) -> None:
    """Make the file, while there is room for it; one that is there stays as it is."""
    path = run.path / _NAME
    # Without it, what is on record has to do.
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.close(descriptor)
        os.utime(path, (0, 0))


def note_look(run: RunFolder, wall: float) -> None:
    """Note that the run goes on at a moment: its run time, and the wall clock of run time 0 added to it."""
    # A disk that refuses this as well leaves what is on record, as without the file.
    with suppress(OSError):
        os.utime(run.path / _NAME, (wall, wall))


def last_look(run: RunFolder, wall: float) -> float:
    """Return the run time of the last look that was noted; -inf without any.

    `wall` is the wall clock of run time 0.
    """
    with suppress(OSError):
        found = (run.path / _NAME).stat().st_mtime
        return found - wall if found >= wall else -math.inf
    return -math.inf
