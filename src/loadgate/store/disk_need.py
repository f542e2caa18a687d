"""When a run has to take less disk than planned: a pure decision, so that it can be told and tested.

A run that grows past its budget, or fills its disk, merges its old rows earlier instead of stopping. Each
level halves how long rows of a second and of ten seconds stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgate.store.blocks import MOST_LEVEL

FROM: Final = 0.80
"""The share of the budget from which rows are merged earlier."""
STEP: Final = 0.05
"""The share of the budget that each further level takes."""
SHORT_OF_SPACE: Final = 2**30
"""Free bytes of the disk below which rows are merged earlier; each half of it is a level more."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The bytes that a run's database uses, that are free on its disk, and that it may use (None: any)."""

    used: int
    free: int
    budget: int | None = None


def level_of(disk: Disk) -> int:
    """Return how much earlier than planned rows are to be merged: 0 is as planned, `MOST_LEVEL` the most."""
    level = 0
    if disk.budget is not None:
        share = disk.used / max(disk.budget, 1)
        level = 0 if share < FROM else 1 + int((share - FROM) / STEP)
    short = SHORT_OF_SPACE
    while disk.free < short and level < MOST_LEVEL:
        level, short = level + 1, short // 2
    return min(level, MOST_LEVEL)
