"""Which seconds are merged together when a run grows old: pure arithmetic on run time.

Windows of a second stay for an hour, those of ten seconds for a day, those of a minute for ever. They are
cut from the beginning of each steady interval on, not from run time 0, so that every minute of the steady
phase is one row and any `every` of whole minutes can be judged at any later time. No row lies across an end
of a steady interval.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from loadgate.measure.slots import boundary

MIDDLE: Final = 10
"""Seconds of a row once it is older than `Horizon.full`."""
COARSE: Final = 60
"""Seconds of a row once it is older than `Horizon.middle`."""
TOTAL: Final = 600
"""Seconds of a total that is kept beside the rows (`store.totals`): a whole number of the longest rows."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long rows stay as they are, in seconds: of one second, and then of ten."""

    full: int = 3600
    middle: int = 86_400

    def earlier(self, level: int) -> Horizon:
        """Return the horizon at a level of need: each level halves both; a minute and ten stay at least."""
        return Horizon(max(LEAST.full, self.full >> level), max(LEAST.middle, self.middle >> level))


AS_PLANNED: Final = Horizon()
LEAST: Final = Horizon(60, 600)
"""The shortest horizon: workers' reports of the last minute are still coming in."""
MOST_LEVEL: Final = 7
"""The level from which nothing gets shorter."""


class Block(NamedTuple):
    """The seconds first <= second < end that become one row."""

    first: int
    end: int


class Blocks:
    """The blocks of a run with certain steady intervals (start and end in seconds of run time)."""

    def __init__(self, steady: Iterable[tuple[float, float]] = (), origin: int = 0) -> None:
        anchors, edges = {origin}, set[int]()
        for start, end in steady:
            for at in (start, end):
                if math.isfinite(at):
                    anchors.add(boundary(at))
                    edges.update((math.floor(at), math.ceil(at)))
        self._anchors: Sequence[int] = sorted(anchors)
        self._edges: Sequence[int] = sorted(edges | anchors)

    def block(self, second: int, span: int) -> Block:
        """Return the block of `span` seconds, or less at an edge, that a second is in."""
        place = bisect_right(self._anchors, second) - 1
        anchor = self._anchors[max(place, 0)]
        first = anchor + (second - anchor) // span * span
        end = first + span
        place = bisect_right(self._edges, second)
        if place:
            first = max(first, self._edges[place - 1])
        if place < len(self._edges):
            end = min(end, self._edges[place])
        return Block(first, end)

    def holds(self, second: int, end: int, span: int) -> Block | None:
        """Return the block that all of second..end (excluded) is in; None where it lies across two."""
        found = self.block(second, span)
        return found if end <= found.end else None
