"""Wake the event loop at a given moment, to within tens of microseconds.

Timers of the event loop are rounded up to a whole millisecond, which alone would make every
arrival half a millisecond late. A Linux timer descriptor (timerfd_create(2)) is readable at its
deadline with the kernel's own precision, and the event loop watches it like a socket.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable

from gevent import get_hub

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_READABLE = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class Pacer:
    """Call `wake` in the event loop when the armed moment has come. One deadline at a time.

    Times are CLOCK_MONOTONIC seconds, as `time.monotonic()` gives them. `wake` runs in the
    event loop itself, so it must not block.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"timerfd_create: {os.strerror(code)}")
        self._spec = _TimerSpec()
        self._spec_ref = ctypes.byref(self._spec)
        self._wake = wake
        self._watcher = get_hub().loop.io(self._fd, _READABLE)
        self._watcher.start(self._due)

    def arm(self, moment: float) -> None:
        """Wake at `moment`; a moment in the past wakes at the next turn of the event loop."""
        fraction, whole = math.modf(max(moment, 0.0))
        value = self._spec.value
        value.seconds = int(whole)
        # An all-zero value would disarm the timer instead of firing at once.
        value.nanoseconds = max(int(fraction * 1e9), 1)
        if self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_ref, None) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"timerfd_settime: {os.strerror(code)}")

    def close(self) -> None:
        """Stop waking and release the descriptor. Closing twice is harmless."""
        if self._fd >= 0:
            self._watcher.stop()
            self._watcher.close()
            os.close(self._fd)
            self._fd = -1

    def _due(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._wake()
