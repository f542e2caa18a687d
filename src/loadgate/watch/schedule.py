"""When a probe is due: slot k of a probe is due at run time k * every, however long the others took.

An attempt never starts while the one before it runs. A slot that passed meanwhile is skipped and stays
without a reading, so that a slow source shows as missing readings, and attempts never pile up.
"""

from __future__ import annotations

import math
from typing import Final

LATE_SHARE: Final = 0.1
LATE_MOST: Final = 0.25


def grace(every: float) -> float:
    """Return how many seconds after its time a slot may still start: a tenth of the interval, at most 250 ms.

    Without it an attempt that takes its whole interval, as with a target that hangs, would end a moment
    after the next slot's time and cost that slot too.
    """
    return min(LATE_SHARE * every, LATE_MOST)


def next_slot(now: float, every: float, after: int = -1) -> int:
    """Return the number of the next slot to start at run time `now`; later than `after`, never below 0."""
    return max(after + 1, 0, math.ceil((now - grace(every)) / every))


def time_limit(now: float, every: float, slot: int, timeout: float) -> float:
    """Return the seconds that an attempt of a slot has when it starts at run time `now`.

    It is the timeout, but where that is the whole interval an attempt that started a little late ends with
    the interval: so lateness does not add up from slot to slot.
    """
    late = now - slot * every
    if late > grace(every) or timeout > every:
        return timeout
    return min(timeout, every - max(0.0, late))
