"""Seconds of a run that masters before left open: what was offered in them nobody can add up but by counting.

A master counts what a lost worker took along, and what nobody offered, when the run ends. One that is killed
counts nothing. The next one finds the seconds that are open in the events of the run: those without a
master, and those around each worker that did not come back. At the end, what the schedule has in them
and no report tells of is put down as lost where it may have been sent, and as offered by nobody after that.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from loadgate.swarm.leases import LEASE
from loadgate.swarm.pace import death_within
from loadgate.swarm.roster import LOST_AFTER

LEASED_AHEAD = 2 + LEASE
"""Seconds after the last reported one for which a worker may hold leases of a master that died: a report
comes within two seconds, and leases go that far ahead."""


def leased_until(last_second: int, look: float) -> int:
    """Return the run second from which on nobody can have had a lease of a master that died.

    `last_second` is the last one that any worker reported (-1 without any), `look` the last moment at which
    that master is known to have gone on while nothing could be written (-inf without any).
    """
    ahead = last_second + 1 + LEASED_AHEAD
    return ahead if look == -math.inf else max(ahead, math.floor(look) + 1 + LEASE)


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
class Merged:
    """Run seconds `first` up to `end` whose arrivals are on record together only, as old rows are.

    `offered` are on record in all of them, and `unoffered` known to be offered by nobody.
    """

    first: int
    end: int
    offered: int
    unoffered: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that was lost, or left, and when; `back` says that it came back later."""

    worker: str
    at: float
    reported_until: int
    left: bool
    back: bool = False

    def doubt(self, workers: int) -> Doubt:
        """Return the seconds that its loss leaves open, in a run that had so many workers at once."""
        first = max(min(self.reported_until, math.floor(self.at)), 0)
        end = math.floor(self.at) + 1 + LEASE
        if self.back:
            # It was cut off and lived: it may have gone on for as long as it had a lease.
            return Doubt(first, end, float(end))
        stopped = -math.inf if self.left else self.at - LOST_AFTER + death_within(workers)
        return Doubt(first, end, stopped)


@dataclass
class Presence:
    """What the events say of who was there.

    `lost` are the workers that did not come back, by name; `back` the losses of those that did, in order;
    `since` is by name the run second in which a worker first came, or last came back.
    """

    lost: dict[str, Lost] = field(default_factory=dict)
    back: list[Lost] = field(default_factory=list)
    since: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Happened]) -> Presence:
        """Read the events of a run."""
        found = cls()
        for event in events:
            worker = str(event.detail.get("worker", ""))
            if event.kind == "worker_lost":
                until = int(event.detail.get("reported_until", math.floor(event.at) - 1))
                # Before it came it had nothing to report, or it is what its loss before that left open.
                until = max(until, found.since.get(worker, 0))
                left = bool(event.detail.get("left"))
                found.lost.setdefault(worker, Lost(worker, event.at, until, left))
            elif event.kind in ("worker_returned", "worker_joined"):
                lost = found.lost.pop(worker, None)
                if lost is not None:
                    found.back.append(replace(lost, back=True))
                if lost is not None or event.kind == "worker_joined":
                    found.since[worker] = max(math.floor(event.at), 0)
        return found


def lost_of(events: Iterable[Happened]) -> tuple[Lost, ...]:
    """Return the workers that the events say were lost, or left, and did not come back, each once."""
    return tuple(Presence.of(events).lost.values())


def doubts_of(
    events: Iterable[Happened], workers: int, reported: Mapping[str, int] | None = None
) -> tuple[Doubt, ...]:
    """Return the seconds that the events leave open; `workers` is how many the run had at once.

    `reported` is by a worker's name the last run second up to which nothing is missing among its reports: one
    that came back has to tell itself what it did before, and until then that is open.
    """
    events, reported = list(events), reported or {}
    found = [
        Doubt.of(event.detail["open"])
        for event in events
        if event.kind == "resumed" and isinstance(event.detail.get("open"), Mapping)
    ]
    for event in events:
        if event.kind == "paused":
            # All that was sent is on record; the rest of that second was offered by nobody.
            found.append(Doubt(max(math.floor(event.at), 0), math.floor(event.at) + 1 + LEASE))
    presence = Presence.of(events)
    found += [lost.doubt(workers) for lost in presence.lost.values()]
    untold = [(lost.worker, lost.doubt(workers)) for lost in presence.back]
    found += [doubt for worker, doubt in untold if reported.get(worker, -1) + 1 < doubt.end]
    return tuple(found)


def by_second(doubts: Iterable[Doubt], end: int) -> dict[int, float]:
    """Return the open seconds before `end`, each with the last moment at which something may be sent."""
    found: dict[int, float] = {}
    for doubt in doubts:
        for second in range(max(doubt.first, 0), min(doubt.end, end)):
            found[second] = max(found.get(second, -math.inf), doubt.stopped)
    return dict(sorted(found.items()))


def merged_of(
    offered: Mapping[tuple[int, int], int], unoffered: Mapping[int, int], is_open: Callable[[int], bool]
) -> tuple[Merged, ...]:
    """Return the seconds that rows of more than one second put together, where any of them is open.

    `offered` are the arrivals on record by first second and end of a row, `unoffered` those of nobody by
    second.
    """
    found: list[Merged] = []
    for first, end in sorted(key for key in offered if key[1] - key[0] > 1):
        if found and first < found[-1].end:
            found[-1] = replace(found[-1], end=max(found[-1].end, end))
        else:
            found.append(Merged(first, end, 0))
    found = [one for one in found if any(is_open(second) for second in range(one.first, one.end))]
    firsts = [one.first for one in found]
    for (first, _), number in offered.items():
        place = bisect_right(firsts, first) - 1
        if place >= 0 and first < found[place].end:
            found[place] = replace(found[place], offered=found[place].offered + number)
    return tuple(
        replace(one, unoffered=sum(unoffered.get(second, 0) for second in range(one.first, one.end)))
        for one in found
    )
