"""When a process that died is started again: after a pause that doubles, and only so often."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from loadgate.plan.units import format_duration

WITHIN: Final = 3600.0
"""Seconds in which restarts are counted."""
BARELY: Final = 90.0
"""Seconds of life below which a process did nothing but start."""
_LIVED: Final = 10.0
"""Times the longest pause that a process must have lived for its pauses to begin anew."""


@dataclass
class Restarts:
    """The restarts of one process. All times are seconds of a clock that does not go back, passed in.

    At most `most` within an hour, and of processes that barely lived at most `most` in a row, however long
    their pauses are; pauses of `first`, twice that, and so on, up to `longest` seconds.
    """

    most: int
    first: float
    longest: float
    _died: deque[float] = field(default_factory=deque)
    _in_a_row: int = 0
    _barely: int = 0

    def died(self, now: float, began: float) -> float | None:
        """Note a death at `now` of what began at `began`; return when to start it again, None for never."""
        while self._died and now - self._died[0] >= WITHIN:
            self._died.popleft()
        self._barely = self._barely + 1 if now - began < BARELY else 0
        if len(self._died) >= self.most or self._barely > self.most:
            return None
        if now - began >= _LIVED * self.longest:
            self._in_a_row = 0
        self._died.append(now)
        self._in_a_row += 1
        # Bounded before it is raised: a power of thousands is no float.
        return now + min(self.first * 2.0 ** min(self._in_a_row - 1, 60), self.longest)

    @property
    def spent(self) -> str:
        """Say, after a death that was the last, what there were too many of."""
        if len(self._died) >= self.most:
            return f"{self.most} restarts within {format_duration(WITHIN)}"
        return f"{self.most} restarts, none of which lived {format_duration(BARELY)}"
