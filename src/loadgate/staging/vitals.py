"""What the service knows of its own process, and what it can be made to suffer: leak and CPU burn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import psutil

_SPAN = 10.0  # seconds over which the CPU share is taken
BURN_PERIOD = 0.01  # seconds between slices of CPU burn


class Vitals:
    """Read memory and CPU of this process without blocking."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._process = psutil.Process()
        self._monotonic = monotonic
        self._samples: deque[tuple[float, float]] = deque()
        self.sample()

    def sample(self) -> None:
        """Note the CPU seconds used so far; call it about once a second."""
        now = self._monotonic()
        self._samples.append((now, self.cpu_seconds()))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _SPAN:
            self._samples.popleft()

    def cpu_seconds(self) -> float:
        """Return user and system CPU seconds of this process since its start."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def cpu_percent(self) -> float:
        """Return the CPU use of about the last 10 s; 100 = one core."""
        begun, used = self._samples[0]
        span = self._monotonic() - begun
        return round(100 * (self.cpu_seconds() - used) / span, 2) if span > 0 else 0.0

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return int(self._process.memory_info().rss)


class Leak:
    """Hold memory that is never used again; it is given back when the fault is cleared."""

    def __init__(self) -> None:
        self._held: list[bytearray] = []
        self._owed = 0.0

    def grow(self, rate: float, seconds: float) -> None:
        """Leak `rate` bytes per second for `seconds`; a rate of 0 gives everything back."""
        if rate <= 0:
            self._held.clear()
            self._owed = 0.0
            return
        self._owed += rate * seconds
        size = int(self._owed)
        if size:
            self._owed -= size
            self._held.append(bytearray(b"\x01") * size)  # written, so that the pages become resident

    @property
    def size(self) -> int:
        """Return the bytes that are held."""
        return sum(map(len, self._held))


def burn(share: float, clock: Callable[[], float] = time.perf_counter) -> None:
    """Keep this core busy for `share` of one burn period."""
    end = clock() + share * BURN_PERIOD
    while clock() < end:
        pass
