"""Cut run time into equal parts that windows of any span fit into: few enough to draw, exact all the same.

A chart has a few hundred points however long the run was. Each is the exact merger of the windows of one
part, so its percentiles are those of every request in it: nothing is sampled, and nothing averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MOST_PARTS: Final = 400
"""Parts of a run: about as many points as a chart has pixels on a phone, half of them on a screen."""
ROUND_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""Lengths that people read off an axis, in seconds; beyond the last, whole hours."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Parts of `width` seconds from run time `start` on; the last one ends at or after `end`.

    The first one takes in what was recorded before `start` too.
    """

    start: int
    end: int
    width: int
    first: int = 0
    """The run second from which on anything was recorded; it lies in the first part, or before it."""

    @property
    def count(self) -> int:
        """Return the number of parts."""
        return max(0, -(-(self.end - self.start) // self.width))

    @property
    def starts(self) -> list[int]:
        """Return the run second in which each part begins."""
        return [self.start + number * self.width for number in range(self.count)]

    def part_of(self, at: float) -> int:
        """Return the number of the part that a run time lies in; times outside belong to the nearest part."""
        return min(max(int((at - self.start) // self.width), 0), max(self.count - 1, 0))

    def seconds(self, part: int) -> int:
        """Return how many seconds of the run a part covers: the first and the last may be cut short."""
        begun = self.start + part * self.width
        over = min(begun + self.width, self.end)
        return max(1, over - (max(begun, self.first) if part else self.first))

    def chunks(self, most_seconds: int) -> Iterator[tuple[int, int]]:
        """Give the run in stretches to read at a time, in order; none of them crosses a part's end twice.

        A stretch is several whole parts, or a piece of one where a part alone is longer than `most_seconds`.
        """
        whole = max(1, most_seconds // self.width) * self.width
        step = whole if self.width <= most_seconds else max(1, most_seconds)
        at = min(self.start, self.first)
        while at < self.end:
            part_end = self.start + (self.part_of(at) + 1) * self.width
            upto = at + step if step >= self.width else min(at + step, part_end)
            yield at, upto
            at = upto


def frame_of(
    first: int, end: int, longest: int = 1, most: int = MOST_PARTS, block: tuple[int, int] | None = None
) -> Frame:
    """Return the frame of windows from second `first` to `end`, none of them longer than `longest` s.

    Parts are a whole number of the longest windows long, so that none is cut, and begin at a multiple of
    their length, as windows of the run database do. Where `block`, the first second and the end of some rows
    that have a sum, goes into a part a whole number of times, parts begin where such blocks do.
    """
    length = max(1, end - first)
    needed = max(math.ceil(length / max(1, most)), longest, 1)
    width = next((size for size in ROUND_S if size >= needed and size % longest == 0), 0)
    if not width:
        unit = math.lcm(ROUND_S[-1], longest) if needed > ROUND_S[-1] else longest
        width = math.ceil(needed / unit) * unit
    if block is not None and width % (block[1] - block[0]) == 0:
        # Less than a block lies before the first part, which takes it in.
        start = first + (block[0] - first) % (block[1] - block[0])
        if start < end:
            return Frame(start, end, width, first)
    return Frame(first // width * width, end, width, first)
