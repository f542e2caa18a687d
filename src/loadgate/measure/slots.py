"""Intervals of run time, and the windows of an objective.

Both who keeps an objective's windows (`store`) and who judges them cut the time here, so that both mean the
same windows.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, Protocol

import numpy as np

TOLERANCE: Final = 1e-6
"""Seconds below which two run times are the same; sums of stage lengths carry rounding."""


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A half-open stretch [start, end) of run time, in seconds."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Return the seconds of the interval."""
        return self.end - self.start

    def __contains__(self, at: float) -> bool:
        return self.start <= at < self.end


def clip(intervals: Iterable[Interval], end: float) -> tuple[Interval, ...]:
    """Return what of the intervals lies before `end`; what would be empty is left out."""
    clipped = (Interval(part.start, min(part.end, end)) for part in intervals)
    return tuple(part for part in clipped if part.length > TOLERANCE)


def without(intervals: Iterable[Interval], gaps: Iterable[tuple[float, float]]) -> tuple[Interval, ...]:
    """Return what of the intervals lies in none of the gaps, each (start, end)."""
    left = list(intervals)
    for start, end in gaps:
        cut = (
            piece
            for part in left
            for piece in (
                Interval(part.start, min(part.end, start)),
                Interval(max(part.start, end), part.end),
            )
        )
        left = [piece for piece in cut if piece.length > TOLERANCE] if end > start else left
    return tuple(left)


def total_length(intervals: Iterable[Interval]) -> float:
    """Return the seconds of all intervals together."""
    return math.fsum(part.length for part in intervals)


def slots(intervals: Iterable[Interval], every: float) -> tuple[Interval, ...]:
    """Cut each interval into windows of `every` seconds, from its start on.

    An interval shorter than `every` is one window. What is left at the end is a window of its own from
    half of `every` on; a shorter rest belongs to the window before it.
    """
    return _cut(tuple(intervals), every)


@lru_cache(maxsize=4)
def _cut(intervals: tuple[Interval, ...], every: float) -> tuple[Interval, ...]:
    """Cut as `slots` does: a week's 20,000 windows are asked for again and again, and held once."""
    cut: list[Interval] = []
    for part in intervals:
        whole = math.floor(part.length / every + TOLERANCE)
        if part.length - whole * every >= every / 2 - TOLERANCE or whole == 0:
            whole += 1
        edges = [part.start + index * every for index in range(whole)] + [part.end]
        cut.extend(Interval(*pair) for pair in pairwise(edges))
    return tuple(cut)


class Timed(Protocol):
    """Anything that was measured over a span of run time: a window of the run database."""

    @property
    def second(self) -> int:
        """The first second of run time."""

    @property
    def span(self) -> int:
        """The number of seconds."""


def boundary(at: float) -> int:
    """Return the first second whose middle does not lie before a run time: where a slot's seconds begin."""
    return math.ceil(at - 0.5)


def slot_of(cut: Sequence[Interval], item: Timed) -> int:
    """Return the index of the slot that a window belongs to, by the window's middle.

    What ended after a slot and before the next one (in a gap between steady intervals, or in the drain)
    belongs to the slot before: its requests were due there or earlier, and none may drop out.
    """
    return max(0, bisect_right(cut, item.second + item.span / 2, key=lambda slot: slot.start) - 1)


def slots_of(cut: Sequence[Interval], items: Sequence[Timed]) -> list[int]:
    """Return the slot of each of many windows, as `slot_of` gives it; there must be a slot."""
    middles = [item.second + item.span / 2 for item in items]
    found = np.searchsorted([slot.start for slot in cut], middles, "right") - 1
    answer: list[int] = np.maximum(found, 0).tolist()
    return answer
