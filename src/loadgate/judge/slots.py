"""The windows of an objective, which `measure.slots` cuts, and how long a breach lasts in them."""

from __future__ import annotations

from collections.abc import Sequence
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


def longest_breach(cut: Sequence[Interval], past: Sequence[bool | None]) -> Breach | None:
    """Return the longest run of windows that are past a threshold; None when no window is.

    `past` is None for a window without samples: that shows no recovery, so it does not end a breach,
    but it neither begins nor closes one.
    """
    best: Breach | None = None
    first: int | None = None
    for index, answer in enumerate(past):
        if answer is False:
            first = None
        elif answer:
            first = index if first is None else first
            breach = Breach(cut[first].start, cut[index].end, total_length(cut[first : index + 1]))
            if best is None or breach.seconds > best.seconds + TOLERANCE:
                best = breach
    return best
