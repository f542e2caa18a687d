"""End the service when the process that started it ends (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


class Lifeline:
    """Notice that the parent process has gone.

    The kernel sends the parent-death signal when the *thread* that started this process ends, which a
    living parent may well let happen; so the signal only makes us look, and a look compares parent pids.
    """

    def __init__(self, parent: Callable[[], int] = os.getppid) -> None:
        self._parent = parent
        self._first = parent()

    def arm(self, number: signal.Signals = signal.SIGUSR1) -> None:
        """Ask the kernel for signal `number` at the parent's death; raises OSError when it refuses."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")

    def orphaned(self) -> bool:
        """Say whether the parent is no longer the one we started with."""
        return self._parent() != self._first
