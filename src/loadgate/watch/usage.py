"""CPU of a process tree between two looks at it, while processes come and go."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from loadgate.watch.parse import NoReading, Reason

SHORTEST: Final = 0.05
"""Seconds; the kernel counts CPU in steps of 10 ms, so a shorter span says nothing."""
SLACK: Final = 2.0
"""Seconds by which a process's start is uncertain: boot time is kept in whole seconds."""


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of one process so far: its own, and those of its ended children that it waited for."""

    own: float
    reaped: float = 0.0
    started: float = 0.0
    """Wall-clock second of its start."""


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a tree: when (monotonic and wall-clock seconds), and what each process has used."""

    at: float
    wall: float
    processes: Mapping[Hashable, Used]


def cores_used(before: Look, after: Look) -> float:
    """Return the CPU seconds of the tree per second between two looks; 1.0 is one core. Never negative.

    Per process only increases count, and a process that started since counts from 0. One that ended took
    what it used last with it, except where its parent, in the tree, waited for it: the parent's sum of
    reaped children then grew by all it ever used, of which what had been seen before is taken off.
    A process that joined the tree though it is older than the first look has no baseline and counts from
    the next look on. NoReading TOO_SOON when the span is under 50 ms, NO_BASELINE when that holds for all.
    """
    span = after.at - before.at
    if span < SHORTEST:
        raise NoReading(Reason.TOO_SOON, f"only {1000 * span:.0f} ms since the last reading")
    own = reaped = 0.0
    known = 0
    for key, now in after.processes.items():
        then = before.processes.get(key)
        if then is None:
            if now.started < before.wall - SLACK:
                continue
            then = Used(0.0)
        known += 1
        own += max(0.0, now.own - then.own)
        reaped += max(0.0, now.reaped - then.reaped)
    if after.processes and not known:
        raise NoReading(Reason.NO_BASELINE, "the process was not seen before")
    seen = sum(used.own + used.reaped for key, used in before.processes.items() if key not in after.processes)
    return (own + max(0.0, reaped - seen)) / span
