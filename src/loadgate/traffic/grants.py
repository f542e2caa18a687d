"""Grants: which shares of which run seconds a process may offer.

The master decides every second of the schedule a few seconds before it begins, and decides it once: each
slot of a second belongs to one worker or to nobody, for good. A worker offers an arrival only where it
holds the arrival's slot in the arrival's second, so no arrival can be offered twice, whatever happens to
clocks and connections. The end of the last second that was granted is the end of the lease: from then on a
worker starts nothing, until it hears more.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

SLOTS = 1024
"""Number of fixed shares of a schedule; a worker holds some of them."""

GOOD_FOR = 3.0
"""Seconds after the beginning of its second in which a granted arrival may start: a worker that stood still
for longer starts none of what it missed, and puts no burst of it on the target."""

Slots = NDArray[np.bool_]
"""For each slot, whether it is held."""


class Grants:
    """Hold what this process was granted, by run second."""

    def __init__(self) -> None:
        self.until = 0.0
        """Run time at which the lease ends."""
        self._always: Slots | None = None
        self._held: dict[int, Slots] = {}

    @classmethod
    def everything(cls) -> Self:
        """Grant all of a schedule for ever: to a process that makes the load alone."""
        grants = cls()
        grants.until = math.inf
        grants._always = np.ones(SLOTS, dtype=np.bool_)
        return grants

    def add(self, second: int, slots: Slots) -> None:
        """Note slots held in one second, beside those that are; an empty share lengthens the lease too."""
        known = self._held.get(second)
        self._held[second] = slots if known is None else known | slots
        self.until = max(self.until, second + 1.0)

    def of(self, second: int) -> Slots | None:
        """Return the slots held in a second, None where nothing was heard of it."""
        return self._always if self._always is not None else self._held.get(second)

    def good_until(self, second: int) -> float:
        """Return the run time from which on no arrival of a second may start any more."""
        return self.until if self._always is not None else min(self.until, second + GOOD_FOR)

    def first(self) -> int:
        """Return the earliest second that is still known; 0 without any."""
        return min(self._held, default=0)

    def forget_before(self, second: int) -> None:
        """Drop what is known of earlier seconds."""
        for known in [known for known in self._held if known < second]:
            del self._held[known]


def pack_slots(slots: Slots) -> bytes:
    """Return slots as 128 bytes, one bit each."""
    return np.packbits(slots).tobytes()


def unpack_slots(packed: bytes) -> Slots:
    """Return the slots of `pack_slots`; ValueError for anything else."""
    if len(packed) != SLOTS // 8:
        raise ValueError(f"a share of the schedule has {SLOTS // 8} bytes, not {len(packed)}")
    return np.unpackbits(np.frombuffer(packed, np.uint8)).astype(np.bool_)
