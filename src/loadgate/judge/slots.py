"""The windows of an objective, which `measure.slots` cuts, and how long a breach lasts in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from loadgate.measure.slots import (
    TOLERANCE,
    Interval,
    clip,
    slot_of,
    slots,
    slots_of,
    total_length,
    without,
)

__all__ = [
    "TOLERANCE",
    "Breach",
    "Interval",
    "clip",
    "longest_breach",
    "slot_of",
    "slots",
    "slots_of",
    "total_length",
    "without",
]


@dataclass(frozen=True, slots=True)
class Breach:
    """Consecutive windows past a threshold; `seconds` leaves out the time between steady intervals."""

    start: float
    end: float
    seconds: float


def longest_breach(cut: Sequence[Interval], past: Iterable[bool | None]) -> Breach | None:
    """Return the longest run of windows that are past a threshold; None when no window is.

    `past` is None for a window without samples: that shows no recovery, so it does not end a breach,
    but it neither begins nor closes one.
    """
    best: Breach | None = None
    for first, last in _runs(past):
        breach = Breach(cut[first].start, cut[last].end, total_length(cut[first : last + 1]))
        if best is None or breach.seconds > best.seconds + TOLERANCE:
            best = breach
    return best


def _runs(past: Iterable[bool | None]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last window that are past, of each run that no recovery parts."""
    first: int | None = None
    last = 0
    for index, answer in enumerate(past):
        if answer:
            first, last = index if first is None else first, index
        elif answer is False and first is not None:
            yield first, last
            first = None
    if first is not None:
        yield first, last
