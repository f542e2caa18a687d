"""Seconds of a run that masters before left open: what was offered in them nobody can add up but by counting.

A master counts what a lost worker took along, and what nobody offered, when the run ends. One that is killed
counts nothing. The next one finds the seconds that are open in the events of the run: those without a
master, and those around each worker that did not come back. At the end, what the schedule has in them
and no report tells of is put down as lost where it may have been sent, and as offered by nobody after that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from loadgate.swarm.leases import LEASE
from loadgate.swarm.pace import death_within
from loadgate.swarm.roster import LOST_AFTER

LEASED_AHEAD = 2 + LEASE
"""Seconds after the last reported one for which a worker may hold leases of a master that died: a report
comes within two seconds, and leases go that far ahead."""


class Happened(Protocol):
    """An event of the run database."""

    @property
    def at(self) -> float:
        """Run time."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def detail(self) -> Mapping[str, Any]:
        """Its particulars."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Run seconds `first` up to `end` that are open; arrivals due by `stopped` may have been sent."""

    first: int
    end: int
    stopped: float = -math.inf

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        stopped = self.stopped if math.isfinite(self.stopped) else None
        return {"first": self.first, "end": self.end, "stopped": stopped}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Doubt:
        """Read it back."""
        stopped = stored["stopped"]
        return cls(int(stored["first"]), int(stored["end"]), -math.inf if stopped is None else float(stopped))


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that was lost and did not come back, and when."""

    worker: str
    at: float
    reported_until: int
    left: bool


def lost_of(events: Iterable[Happened]) -> tuple[Lost, ...]:
    """Return the workers that the events say were lost, or left, and did not come back, each once."""
    found: dict[str, Lost] = {}
    joined: dict[str, int] = {}
    for event in events:
        worker = str(event.detail.get("worker", ""))
        if event.kind == "worker_lost":
            until = int(event.detail.get("reported_until", math.floor(event.at) - 1))
            # One that reported nothing had nothing to report before it first came.
            until = max(until, joined.get(worker, 0))
            found.setdefault(worker, Lost(worker, event.at, until, bool(event.detail.get("left"))))
        elif event.kind in ("worker_returned", "worker_joined"):
            # One that was lost before is back under another master, with what it has yet to report.
            if found.pop(worker, None) is None and event.kind == "worker_joined":
                joined.setdefault(worker, max(math.floor(event.at), 0))
    return tuple(found.values())


def doubts_of(events: Iterable[Happened], workers: int) -> tuple[Doubt, ...]:
    """Return the seconds that the events leave open; `workers` is how many the run had at once."""
    events = list(events)
    found = [
        Doubt.of(event.detail["open"])
        for event in events
        if event.kind == "resumed" and isinstance(event.detail.get("open"), Mapping)
    ]
    for event in events:
        if event.kind == "paused":
            # All that was sent is on record; the rest of that second was offered by nobody.
            found.append(Doubt(max(math.floor(event.at), 0), math.floor(event.at) + 1 + LEASE))
    for lost in lost_of(events):
        first = max(min(lost.reported_until, math.floor(lost.at)), 0)
        end = math.floor(lost.at) + 1 + LEASE
        stopped = -math.inf if lost.left else lost.at - LOST_AFTER + death_within(workers)
        found.append(Doubt(first, end, stopped))
    return tuple(found)


def by_second(doubts: Iterable[Doubt], end: int) -> dict[int, float]:
    """Return the open seconds before `end`, each with the last moment at which something may be sent."""
    found: dict[int, float] = {}
    for doubt in doubts:
        for second in range(max(doubt.first, 0), min(doubt.end, end)):
            found[second] = max(found.get(second, -math.inf), doubt.stopped)
    return dict(sorted(found.items()))
