"""What the run database holds over time, merged exactly into the parts of a frame, in bounded memory.

The run is read a stretch at a time. A part's windows are merged (`Window.merge` is exact), asked for what is
drawn of them, and dropped; only the merger of the whole steady phase is kept, for the percentile spectrum. A
stretch that cannot be read is left out and told, so that a damaged page of a week does not cost the rest of
it. Where the exact sum of ten minutes is kept, it is read in place of their rows: the points are the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, TypeAlias

import numpy as np

from loadgate.errors import LoadgateError, StoreError
from loadgate.measure.columns import Columns
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import HIGHEST_EQUIVALENT, Int64s
from loadgate.measure.window import ALL, Count, Series, Window
from loadgate.plan.units import format_duration
from loadgate.report.html.frame import Frame, frame_of
from loadgate.store.blocks import TOTAL
from loadgate.store.reader import RunReader

PERCENTILES: Final = (5000, 9500, 9900)
"""What is drawn of each part, in ten-thousandths."""
SERIES: Final = (
    Series.RESPONSE_OK,
    Series.SERVICE_OK,
    Series.RESPONSE_HIT,
    Series.RESPONSE_MISS,
    Series.POOL_WAIT,
    Series.START_LAG,
)
Extent: TypeAlias = tuple[int, int, int]
"""The first second, the end, and the longest span of windows, as `RunReader.extent` gives them."""
ROWS_AT_ONCE: Final = 1500
"""Windows that are decoded at a time: some megabytes."""
SUMS_AT_ONCE: Final = 48
"""Sums of ten minutes that are decoded at a time: each is as large as a histogram gets."""
MOST_ENDPOINTS: Final = 12
"""Endpoints that are drawn by themselves; all are in the sums and in the tables."""
MOST_SPANS: Final = 200
"""Stretches of lost load that are marked."""
MOST_FAULTS: Final = 5

BANDS_PER_OCTAVE: Final = 4
"""Rows of the heat map from one latency to its double."""
BAND_OF: Final[Int64s] = np.floor(
    np.log2(np.maximum(HIGHEST_EQUIVALENT, 1)) * BANDS_PER_OCTAVE + 1e-9
).astype(np.int64)
"""The row of the heat map that each counter belongs to."""
BANDS: Final = int(BAND_OF.max()) + 1


@dataclass(frozen=True, slots=True)
class Point:
    """What is drawn of one endpoint in one part of the run; latencies in µs, infinite ones as `math.inf`.

    `percentiles` are those of `PERCENTILES`, adjusted as the verdict has it: what failed, timed out or never
    ended counts as infinitely slow. `maximum` is the slowest acceptable answer. `bands` are counts by row.
    """

    counts: Mapping[str, int]
    percentiles: tuple[float | None, ...]
    maximum: int | None
    hit_p95: float | None
    miss_p95: float | None
    bands: Int64s | None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of run time, in seconds."""

    start: int
    end: int


@dataclass(frozen=True)
class Timeline:
    """A run over time: by endpoint (and `ALL`) the point of each part, None where nothing was recorded."""

    frame: Frame
    points: Mapping[str, tuple[Point | None, ...]]
    steady: Mapping[str, Window]
    """Everything of the steady phase, merged, by endpoint and `ALL`."""
    phases: Mapping[str, Span]
    """From the first to the last window of each phase."""
    losses: tuple[Span, ...]
    """Where a worker was lost, or arrivals were offered by nobody."""
    endpoints: int = 0
    """How many endpoints the run has; `points` may hold fewer."""
    faults: tuple[str, ...] = ()
    unreadable: tuple[Span, ...] = ()


@dataclass
class _Building:
    """The parts that are being merged, and what is finished."""

    frame: Frame
    drawn: frozenset[str]
    sums: Sequence[tuple[int, int]] = ()
    """The blocks whose steady rows are read as their sum."""
    steady_extent: Extent | None = None
    open: dict[int, dict[str, Window]] = field(default_factory=dict)
    points: dict[str, list[Point | None]] = field(default_factory=dict)
    steady: dict[str, Window] = field(default_factory=dict)
    phases: dict[str, Span] = field(default_factory=dict)
    losses: list[Span] = field(default_factory=list)
    broken: list[Span] = field(default_factory=list)
    why: str = ""

    def take(self, columns: Columns) -> None:
        """Merge the windows of a stretch into their parts."""
        tallies = columns.tallies

        def key(number: int) -> tuple[str, int, str]:
            one = tallies[number]
            return one.endpoint, self.frame.part_of(one.second), one.phase

        for (endpoint, part, phase), group in groupby(range(len(tallies)), key):
            numbers = list(group)
            first, end = numbers[0], numbers[-1] + 1
            window = columns.total(first, end)
            self._mark(columns, first, end, phase)
            for name in (ALL, *([endpoint] if endpoint in self.drawn else [])):
                _merge(self.open.setdefault(part, {}), name, window)
                if phase == "steady":
                    _merge(self.steady, name, window)

    def _mark(self, columns: Columns, first: int, end: int, phase: str) -> None:
        chosen = columns.tallies[first:end]
        known = self.phases.get(phase)
        begun, over = min(one.second for one in chosen), max(one.end for one in chosen)
        if phase == "steady" and self.steady_extent is not None:
            # A sum covers its whole block, the first and the last row perhaps not.
            begun, over = max(begun, self.steady_extent[0]), min(over, self.steady_extent[1])
        self.phases[phase] = Span(
            min(begun, known.start if known else begun), max(over, known.end if known else over)
        )
        for one in chosen:
            if one.loss:
                self.losses.append(Span(one.second, one.end))

    def finish(self, before: float) -> None:
        """Turn the parts that end at or before a run time into points."""
        for part in sorted(self.open):
            if self.frame.start + (part + 1) * self.frame.width <= before:
                for name, window in self.open.pop(part).items():
                    row = self.points.setdefault(name, [None] * self.frame.count)
                    row[part] = point_of(window)

    def read(self, reader: RunReader, start: int, end: int) -> None:
        """Read a stretch; where that fails, each part of it alone, so that only what is damaged lacks."""
        sums = [one for one in self.sums if start <= one[0] < end]
        try:
            columns = reader.columns(start=start, end=end, series=SERIES, totals=sums)
            if sums and _lacks_hits(columns):
                raise StoreError("sums of ten minutes lack the hits and misses of a cache")
            self.take(columns)
        except LoadgateError as error:
            if sums:
                # It may be a sum that is damaged or was made without some series, and not its rows.
                self.sums = [one for one in self.sums if one not in sums]
                self.read(reader, start, end)
                return
            if end - start <= self.frame.width:
                self.broken.append(Span(start, end))
                self.why = self.why or error.message
                return
            for at in range(start, end, self.frame.width):
                self.read(reader, at, min(at + self.frame.width, end))

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        spans = joined(self.broken)
        told = [
            f"{format_duration(float(one.start))} to {format_duration(float(one.end))}"
            for one in spans[:MOST_FAULTS]
        ]
        more = f" and {len(spans) - MOST_FAULTS} more stretches" if len(spans) > MOST_FAULTS else ""
        if not told:
            return ()
        return (f"what was measured from {', '.join(told)}{more} cannot be read: {self.why}",)


def read_timeline(
    reader: RunReader,
    most_drawn: Sequence[str] | None = None,
    wanted: Extent | None = None,
) -> Timeline | None:
    """Read a run over time; None for a run without any window.

    `most_drawn` names the endpoints that matter most, in order; without it they come by name. `wanted` is
    an extent to cut into parts in place of the run's own. Raises StoreError when the database cannot be read.
    """
    with reader.snapshot():
        return _timeline(reader, most_drawn, wanted)


def _timeline(reader: RunReader, most_drawn: Sequence[str] | None, wanted: Extent | None) -> Timeline | None:
    extent = reader.extent()
    if extent is None:
        return None
    names = reader.endpoints()
    known = set(names)
    ordered = [name for name in most_drawn or () if name in known]
    ordered += [name for name in names if name not in set(ordered)]
    sums = reader.totals(but_losses=True)
    block = next((one for one in sums if one[1] - one[0] == TOTAL), None)
    frame = frame_of(*wanted) if wanted else frame_of(*extent, block=block)
    sums = [one for one in sums if frame.part_of(one[0]) == frame.part_of(one[1] - 1)]
    stretches = list(_stretches(frame, sums, max(1, len(names))))
    sums = [one for one in sums if any(start <= one[0] and one[1] <= end for start, end in stretches)]
    building = _Building(frame, frozenset(ordered[:MOST_ENDPOINTS]), sums, reader.extent("steady"))
    for start, end in stretches:
        building.read(reader, start, min(end, frame.end))
        building.finish(end)
    building.finish(math.inf)
    order = (ALL, *ordered)
    return Timeline(
        frame,
        {name: tuple(building.points[name]) for name in order if name in building.points},
        {name: building.steady[name] for name in order if name in building.steady},
        dict(sorted(building.phases.items(), key=lambda item: item[1].start)),
        joined(building.losses)[:MOST_SPANS],
        len(names),
        building.faults,
        joined(building.broken)[:MOST_SPANS],
    )


def _stretches(frame: Frame, sums: Sequence[tuple[int, int]], endpoints: int) -> Iterator[tuple[int, int]]:
    """Give what is read at a time: so many rows of a second, or more of the run where these have sums."""
    most = SUMS_AT_ONCE // endpoints * TOTAL
    covered, firsts = joined([Span(*one) for one in sums]), {first for first, _ in sums}
    held: tuple[int, int] | None = None
    for start, end in frame.chunks(max(1, ROWS_AT_ONCE // endpoints)):
        if held is not None and end - held[0] > most and start in firsts:
            yield held
            held = None
        if any(one.start <= start and end <= one.end for one in covered):
            held = (held[0] if held is not None else start), end
            continue
        if held is not None:
            yield held
            held = None
        yield start, end
    if held is not None:
        yield held


def _lacks_hits(columns: Columns) -> bool:
    """Tell whether answers told of a cache and no latency of a hit or a miss is there."""
    if not any(one.counts.get(Count.HITS, 0) + one.counts.get(Count.MISSES, 0) for one in columns.tallies):
        return False
    return not any(columns.column(name).totals.sum() for name in (Series.RESPONSE_HIT, Series.RESPONSE_MISS))


def point_of(window: Window) -> Point:
    """Return what is drawn of the merged windows of a part."""
    histogram, infinite = window.response("adjusted")
    return Point(
        dict(window.counts),
        tuple(histogram.percentiles(PERCENTILES, infinite)),
        histogram.maximum,
        window.histogram(Series.RESPONSE_HIT).percentile(9500),
        window.histogram(Series.RESPONSE_MISS).percentile(9500),
        bands_of(histogram),
    )


def bands_of(histogram: Histogram) -> Int64s | None:
    """Count the latencies of a histogram by row of the heat map; None when it is empty."""
    if not histogram.total:
        return None
    sparse = histogram.to_sparse()
    counted = np.zeros(BANDS, np.int64)
    np.add.at(counted, BAND_OF[sparse.indices], sparse.counts)
    return counted


def band_limits(band: int) -> tuple[float, float]:
    """Return the latencies (µs) from which on and up to which a row of the heat map counts."""
    return 2 ** (band / BANDS_PER_OCTAVE), 2 ** ((band + 1) / BANDS_PER_OCTAVE)


def joined(spans: Collection[Span]) -> tuple[Span, ...]:
    """Put stretches together that touch or overlap."""
    return tuple(_joined(sorted(spans, key=lambda span: (span.start, span.end))))


def _joined(spans: Sequence[Span]) -> Iterator[Span]:
    open_: Span | None = None
    for span in spans:
        if open_ is not None and span.start <= open_.end:
            open_ = Span(open_.start, max(open_.end, span.end))
            continue
        if open_ is not None:
            yield open_
        open_ = span
    if open_ is not None:
        yield open_


def _merge(into: dict[str, Window], name: str, window: Window) -> None:
    whole = into.get(name)
    if whole is None:
        whole = into[name] = Window(window.second, window.span, ALL, ALL)
    whole.merge(window)
