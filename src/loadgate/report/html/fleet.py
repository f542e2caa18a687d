"""The fleet and the generator's own health over time, by the parts of a frame.

What is kept of a part is what a reader looks for in it: the worst lag, the most CPU, the fewest workers that
reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from loadgate.measure.delta import FleetRow
from loadgate.report.html.frame import Frame, frame_of
from loadgate.report.html.timeline import MOST_SPANS, Span
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.reader import RunReader

GAP_TIMES: Final = 3
"""A pause between reports this many times as long as those beside it is a gap."""


@dataclass(slots=True)
class FleetPart:
    """One part of the run: CPU in cores of one worker, lags in µs, the rest are numbers.

    `in_flight` is the most requests under way in a second, over all workers that reported it.
    """

    rows: int = 0
    cpu_sum: float = 0.0
    cpu_max: float = 0.0
    start_lag: float = 0.0
    loop_lag: float = 0.0
    rss: int = 0
    in_flight: int = 0
    reporting: int | None = None
    expected: int | None = None
    late: int = 0
    lost: int = 0
    unoffered: int = 0

    @property
    def cpu_mean(self) -> float | None:
        """The mean over workers and seconds; None without a report."""
        return self.cpu_sum / self.rows if self.rows else None


@dataclass(frozen=True)
class FleetParts:
    """The fleet over time, and the stretches in which no worker reported anything."""

    frame: Frame
    parts: tuple[FleetPart | None, ...]
    silent: tuple[Span, ...] = ()
    workers: int = 0


@dataclass
class _Building:
    frame: Frame
    parts: dict[int, FleetPart] = field(default_factory=dict)
    seconds: list[int] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)

    def part(self, second: int) -> FleetPart:
        return self.parts.setdefault(self.frame.part_of(second), FleetPart())

    def fleet(self, rows: Iterable[FleetRow]) -> None:
        flying = 0
        for row in rows:
            if not self.seconds or row.second != self.seconds[-1]:
                self.seconds.append(row.second)
                flying = 0
            flying += row.in_flight
            self.workers.add(row.worker)
            part = self.part(row.second)
            part.rows += 1
            part.cpu_sum += row.cpu
            part.cpu_max = max(part.cpu_max, row.cpu)
            part.start_lag = max(part.start_lag, row.start_lag_p99_us)
            part.loop_lag = max(part.loop_lag, row.loop_lag_max_us)
            part.rss = max(part.rss, row.rss)
            part.in_flight = max(part.in_flight, flying)

    def ledger(self, rows: Iterable[LedgerRow]) -> None:
        for row in rows:
            part = self.part(row.second)
            part.reporting = row.reporting if part.reporting is None else min(part.reporting, row.reporting)
            part.expected = max(part.expected or 0, row.expected)
            part.late = max(part.late, row.late)
            part.lost = max(part.lost, row.lost)
            part.unoffered += row.unoffered


def read_fleet(reader: RunReader, frame: Frame | None) -> FleetParts | None:
    """Read the fleet into the parts of a frame; None for a run whose workers never reported.

    Without a frame (nothing was measured) one is made of the reports themselves.
    """
    if frame is None:
        ends = [row.second for row in reader.ledger()] or [row.second for row in reader.fleet()]
        if not ends:
            return None
        frame = frame_of(min(ends), max(ends) + 1)
    building = _Building(frame)
    building.fleet(reader.fleet())
    building.ledger(reader.ledger())
    if not building.parts:
        return None
    return FleetParts(
        frame,
        tuple(building.parts.get(number) for number in range(frame.count)),
        silences(building.seconds)[:MOST_SPANS],
        len(building.workers),
    )


def silences(seconds: list[int]) -> tuple[Span, ...]:
    """Return the pauses in which nobody reported, of the run seconds that have a report, in order.

    Reports of an old part of a run may stand for 10 or 60 s, so a pause counts by those beside it: one
    that is more than `GAP_TIMES` as long as the longer of its neighbours.
    """
    steps = [after - before for before, after in pairwise(seconds)]
    found = []
    for number, step in enumerate(steps):
        beside = max([*steps[max(0, number - 1) : number], *steps[number + 1 : number + 2]], default=1)
        if step > GAP_TIMES * max(1, beside):
            found.append(Span(seconds[number] + 1, seconds[number + 1]))
    return tuple(found)
