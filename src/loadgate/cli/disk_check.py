"""The disk of a run: checked before it begins, and looked at while it goes on.

A run never stops for its disk: it stores less finely instead. What is refused here is a run that could not be
stored at all; what is told is that it comes to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from loadgate.errors import UsageError
from loadgate.plan.disk_budget import TOLD_FROM, about, disk_budget, estimate_disk
from loadgate.plan.plan import Plan
from loadgate.plan.units import format_bytes, format_duration, format_number
from loadgate.store.disk import free_bytes, used_bytes
from loadgate.store.watch_bounds import MOST_POINTS, MOST_READINGS

SPARE: Final = 2.0
"""Times its estimate that should be free: less is told, and under once it is refused."""
READINGS_TOLD_FROM: Final = 500_000
READING_IN_MEMORY: Final = 210.0
"""Bytes that a reading takes while a run is judged, measured over a week of thirteen probes."""
LOW: Final = 200_000_000
"""Free bytes below which a run that goes on says so."""
LOOK_EVERY: Final = 60.0
"""Seconds between two looks at the disk."""

Say = Callable[[str], None]


def check_disk(
    plan: Plan,
    root: Path,
    say: Say = lambda text: click.echo(text, err=True),
    *,
    stored: int = 0,
    free: Callable[[Path], int | None] = free_bytes,
) -> None:
    """Say what the run will store, and refuse one for which there is no room; UsageError says how much it is.

    `root` is the results root; it need not exist yet. With a budget in the plan the budget is what has to be
    free, and one that no merging could keep to is refused. `stored` are the bytes that a run which is gone on
    with takes already.
    """
    estimate, stated = estimate_disk(plan), plan.scenario.results.budget
    _check_series(plan, estimate.length)
    readings = sum(len(one.readings) / one.every for one in plan.scenario.probes) * estimate.length
    if readings > READINGS_TOLD_FROM:
        say(
            f"probes: about {format_number(float(f'{readings:.2g}'))} readings in all, and judging the run "
            f"takes about {about(readings * READING_IN_MEMORY)} of memory for them: read less often for less"
        )
    if stated is not None and stated < estimate.least:
        raise UsageError(
            f"a budget of {format_bytes(stated)} does not hold {format_duration(estimate.length)} "
            f"of this plan: merged to minutes it still takes about {about(estimate.least)}",
            hint="raise [results] budget, probe less often, or run for a shorter time",
        )
    needed, there = max(disk_budget(plan) - stored, 0), free(root)
    room = "how much is free there is not known" if there is None else f"{about(there)} free"
    if estimate.length >= TOLD_FROM or stated is not None:
        kept = f", kept within its budget of {format_bytes(stated)}" if stated is not None else ""
        has = f", and takes {about(stored)} by now" if stored else ""
        say(f"disk: needs {estimate.text}{kept}{has}; {room} at {root}")
    if there is None:
        return
    if there < needed:
        raise UsageError(
            f"the run needs about {about(needed)} {'more ' if stored else ''}of disk, and {room} at {root}",
            hint="free some space, choose another folder with --results, or set [results] budget",
        )
    if there < SPARE * needed:
        say(f"disk: less than {SPARE:g} times what the run needs is free: see that nobody else fills it")


def _check_series(plan: Plan, length: float) -> None:
    """Refuse a plan whose probes or rules give more than is kept; UsageError says how often is fine."""
    for probe in plan.scenario.probes:
        number = len(probe.readings) * length / probe.every
        if number > MOST_READINGS:
            raise UsageError(
                f"probe {probe.name} takes {number:.0f} readings in {format_duration(length)}, and at most "
                f"{MOST_READINGS} of one probe are kept",
                hint=f"read it every {_seconds(probe.every * number / MOST_READINGS)}, or run for less long",
            )
    for rule in plan.alerts:
        number = length / rule.every
        if number > MOST_POINTS:
            raise UsageError(
                f"alert rule {rule.name} has {number:.0f} windows in {format_duration(length)}, and at most "
                f"{MOST_POINTS} of one rule are kept",
                hint=f"look at it every {_seconds(rule.every * number / MOST_POINTS)}",
            )


def _seconds(length: float) -> str:
    return format_duration(float(math.ceil(length)))


@dataclass(frozen=True, slots=True)
class Room:
    """What a look at the disk found: bytes that the run takes, and that are free (None: not known)."""

    used: int
    free: int | None


class DiskWatch:
    """Tell when a run takes more than its budget, or its disk runs full, once each time.

    `stated` says that the budget is the plan's own, and not what was estimated.
    """

    def __init__(self, budget: int, low: int = LOW, *, stated: bool = True) -> None:
        self._budget, self._low, self._stated = budget, low, stated
        self._over = self._short = False

    def look(self, room: Room) -> list[str]:
        """Return what is new to tell; what was told comes again only once it was better by a tenth."""
        found: list[str] = []
        if not self._over and room.used > self._budget:
            self._over = True
            what = "its budget of" if self._stated else "the estimated"
            found.append(f"disk: the run takes {about(room.used)}, over {what} {about(self._budget)}")
        elif room.used < 0.9 * self._budget:
            self._over = False
        if room.free is None:
            return found
        if not self._short and room.free < self._low:
            self._short = True
            found.append(
                f"disk: only {about(room.free)} free where the run is stored: make room; the run goes on"
            )
        elif room.free > 1.1 * self._low:
            self._short = False
        return found


def look_at(folder: Path) -> Room:
    """Look at the disk of a run's folder."""
    return Room(used_bytes(folder), free_bytes(folder))
