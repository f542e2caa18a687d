"""The fleet and the generator's own health over time, by the parts of a frame.

What is kept of a part is what a reader looks for in it: the worst lag, the most CPU, the fewest workers that
reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from loadgate.measure.delta import FleetRow
from loadgate.report.html.frame import Frame, frame_of
from loadgate.report.html.timeline import MOST_SPANS, Span, joined
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.reader import RunReader

SHORTEST_SILENCE: Final = 3
"""Seconds without a report of any worker that are a silence."""


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
    told: list[Span] = field(default_factory=list)
    expected_until: int = 0
    """The end of the last second in which the master expected some worker."""
    workers: set[str] = field(default_factory=set)

    def part(self, second: int) -> FleetPart:
        return self.parts.setdefault(self.frame.part_of(second), FleetPart())

    def fleet(self, rows: Iterable[FleetRow]) -> None:
        flying, second = 0, None
        for row in rows:
            if row.second != second:
                flying, second = 0, row.second
            flying += row.in_flight
            self._tell(row)
            self.workers.add(row.worker)
            part = self.part(row.second)
            part.rows += 1
            part.cpu_sum += row.cpu
            part.cpu_max = max(part.cpu_max, row.cpu)
            part.start_lag = max(part.start_lag, row.start_lag_p99_us)
            part.loop_lag = max(part.loop_lag, row.loop_lag_max_us)
            part.rss = max(part.rss, row.rss)
            part.in_flight = max(part.in_flight, flying)

    def _tell(self, row: FleetRow) -> None:
        """Note the seconds that a row tells of, in few stretches: rows come in order of time."""
        for span in told_spans(row):
            last = self.told[-1] if self.told else None
            if last is not None and last.start <= span.start <= last.end:
                self.told[-1] = Span(last.start, max(last.end, span.end))
            else:
                self.told.append(span)

    def ledger(self, rows: Iterable[LedgerRow]) -> None:
        for row in rows:
            part = self.part(row.second)
            part.reporting = row.reporting if part.reporting is None else min(part.reporting, row.reporting)
            part.expected = max(part.expected or 0, row.expected)
            part.late = max(part.late, row.late)
            part.lost = max(part.lost, row.lost)
            part.unoffered += row.unoffered
            if row.expected:
                self.expected_until = max(self.expected_until, row.second + row.span)


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
        silences(building.told, max(frame.end, building.expected_until))[:MOST_SPANS],
        len(building.workers),
    )


def told_spans(row: FleetRow) -> Iterator[Span]:
    """Give the seconds that a row tells of: one, or those of a merged row that had a report."""
    start = None
    for place in range(row.span + 1):
        if row.told >> place & 1 and place < row.span:
            start = place if start is None else start
        elif start is not None:
            yield Span(row.second + start, row.second + place)
            start = None


def silences(told: Collection[Span], end: int) -> tuple[Span, ...]:
    """Return the stretches in which nobody reported, between the seconds that were told of and up to `end`.

    A worker whose loop is busy may leave out a second or two; that is none yet.
    """
    known = joined(told)
    following = [*(span.start for span in known[1:]), end]
    return tuple(
        Span(span.end, after)
        for span, after in zip(known, following, strict=False)
        if after - span.end >= SHORTEST_SILENCE
    )
