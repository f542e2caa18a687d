"""Read a long run piece by piece, so that a verdict of a week takes little memory.

A run of at most an hour is read as it is. Of a longer one every row is looked at once, in order of time: it
goes into the exact total of its endpoint, into the objectives' windows that were not kept when old rows were
merged, and into a cell, of which there are some hundred. Cells show how much the phase varies: batch means
with longer batches are sound.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from loadgate.judge.evidence import JUDGED_SERIES, STEADY, Digest
from loadgate.judge.slots import TOLERANCE, Interval, slots, total_length
from loadgate.measure.columns import Column, Columns, ColumnWindows, Tally
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import Int64s, Ints
from loadgate.measure.packed import Exact, exact_of
from loadgate.measure.parts import Parts, definition, is_of_requests, ok_by_slot, series_of_row
from loadgate.measure.slots import boundary
from loadgate.measure.window import Window, series_of
from loadgate.plan.drift import Drift
from loadgate.plan.sla import Objective
from loadgate.store.blocks import COARSE, TOTAL
from loadgate.store.database import RunReader

MOST_ROWS: Final = 50_000
"""Rows up to which a run that was not merged is read as it is."""
MOST_CELLS: Final = 504
LEAST_CELLS: Final = 240
"""Cells of an endpoint: as many as fit into `_ALL_CELLS` over all endpoints that are judged, within these."""
_LEAST_OF_TOTALS: Final = 120
"""Cells that are enough where each is made of totals."""
_ALL_CELLS: Final = 2400
_ROWS, _ROWS_OF_EACH, _MOST_ROWS_AT_ONCE = 96, 32, 2000
"""Rows that are read at once: at least, of each endpoint, and at most."""


@dataclass(frozen=True)
class Wanted:
    """What a verdict asks of the rows: its objectives of requests, and the series of latencies by endpoint.

    None as an endpoint is all of them.
    """

    objectives: tuple[Objective, ...]
    series: dict[str | None, frozenset[str]]

    @classmethod
    def of(cls, objectives: Iterable[Objective], drift: Iterable[Drift]) -> Wanted:
        """Collect what some rows of an SLA table and some rules of drift ask for."""
        rows = tuple(row for row in objectives if is_of_requests(row))
        series: dict[str | None, frozenset[str]] = {}
        for row in (*rows, *(rule.objective for rule in drift)):
            if names := series_of_row(row):
                series[row.endpoint] = series.get(row.endpoint, frozenset()).union(names)
        return cls(rows, series)

    def series_of(self, endpoint: str) -> frozenset[str]:
        """Return the series of an endpoint whose cells are wanted."""
        none = frozenset[str]()
        return self.series.get(None, none) | self.series.get(endpoint, none)


def is_long(reader: RunReader) -> bool:
    """Tell whether a run must be read piece by piece: some rows were merged, or they are too many to hold."""
    return reader.value("compacted", None) is not None or reader.rows() > MOST_ROWS


def digested(
    reader: RunReader, wanted: Wanted, steady: Sequence[Interval], until: float | None = None
) -> tuple[ColumnWindows, Digest]:
    """Read the windows of a long run: merged into cells, and what had to be evaluated before that."""
    rows = [_parts(reader, row, steady) for row in _distinct(wanted.objectives)]
    cell = _cell(reader, wanted, steady)
    within: dict[str, list[int]] = defaultdict(lambda: [0] * len(steady))
    others = _Others(cell)
    for piece in reader.pieces(but=STEADY, end=until, series=()):
        others.add(piece.tallies)
        _count_within(within, steady, piece.tallies)
        for parts in rows:
            if parts.objective.metric == "throughput":
                parts.add(_NO_ROWS, piece.tallies)
    cells = _Cells(slots(steady, cell), wanted)
    totals = _totals(reader, steady, until, rows, cell)
    # What is done for each endpoint of a piece costs the less the more of its rows are in it.
    most = min(max(_ROWS, _ROWS_OF_EACH * len(reader.endpoints())), _MOST_ROWS_AT_ONCE)
    for piece in reader.pieces(STEADY, end=until, series=JUDGED_SERIES, totals=totals, rows=most):
        newest = int(piece.seconds.max())
        _count_within(within, steady, piece.tallies)
        for parts in rows:
            parts.add(piece)
            parts.close(parts.slot_at(newest))
        cells.add(piece, newest)
    for parts in rows:
        parts.close()
    digest = Digest(
        cell=cell,
        parts={definition(one.objective): one.all() for one in rows if not one.coarse},
        coarse={definition(one.objective): one.coarse for one in rows if one.coarse},
        within={name: tuple(counts) for name, counts in within.items()},
        totals=cells.totals,
    )
    return ColumnWindows(cells.columns().followed_by(others.tallies())), digest


def _totals(
    reader: RunReader, steady: Sequence[Interval], until: float | None, rows: Sequence[Parts], cell: float
) -> list[tuple[int, int]]:
    """Return the blocks whose total says all that is asked of their rows."""
    starts = [slot.start for slot in slots(steady, cell)]
    found = []
    for first, end in reader.totals():
        inside = any(math.floor(part.start) <= first and end <= part.end for part in steady)
        one_cell = bisect_right(starts, first + 0.5) == bisect_right(starts, end - 0.5)
        if (
            inside
            and one_cell
            and (until is None or end <= until)
            and all(one.takes(first, end) for one in rows)
        ):
            found.append((first, end))
    return found


def _distinct(objectives: Iterable[Objective]) -> list[Objective]:
    return list({definition(row): row for row in objectives}.values())


def _cell(reader: RunReader, wanted: Wanted, steady: Sequence[Interval]) -> float:
    """Return the seconds of a cell: whole minutes, where they are longer than one."""
    endpoints = [name for name in reader.endpoints() if wanted.series_of(name)]
    most = max(LEAST_CELLS, min(MOST_CELLS, _ALL_CELLS // max(len(endpoints), 1)))
    extent = reader.extent(STEADY)
    length = max(1, extent[2] if extent else 1, math.ceil(total_length(steady) / most))
    if length <= COARSE:
        return float(length)
    # A cell of whole totals is read from these, which is worth some of the cells.
    whole = math.ceil(length / TOTAL) * TOTAL
    if total_length(steady) >= whole * _LEAST_OF_TOTALS and reader.totals():
        return float(whole)
    return float(math.ceil(length / COARSE) * COARSE)


def _parts(reader: RunReader, objective: Objective, steady: Sequence[Interval]) -> Parts:
    """Return the windows of an objective, with those that were kept in their places."""
    cut = slots(steady, objective.every)
    kept = reader.kept(definition(objective))
    if not kept.starts.size:
        return Parts(objective, cut)
    asked = cut[: kept.evaluated]
    starts = np.array([slot.start for slot in asked], np.float64)
    lengths = np.array([slot.length for slot in asked], np.float64)
    places = np.minimum(np.searchsorted(kept.starts, starts), kept.starts.size - 1)
    same = (kept.starts[places] == starts) & (np.abs(kept.spans[places] - lengths) <= TOLERANCE)
    return Parts(objective, cut, np.flatnonzero(same), kept.parts.chosen(places[same]))


def _count_within(within: dict[str, list[int]], steady: Sequence[Interval], tallies: Iterable[Tally]) -> None:
    """Add the ok answers that arrived in each steady interval."""
    groups: dict[str, list[Tally]] = defaultdict(list)
    for one in tallies:
        groups[one.endpoint].append(one)
    for name, found in groups.items():
        for place, number in enumerate(ok_by_slot(steady, found)):
            within[name][place] += number


class _Others:
    """The windows of all phases but the steady one, merged by cells counted from run time 0."""

    def __init__(self, cell: float) -> None:
        self._cell = round(cell)
        self._found: dict[tuple[str, str, int], Tally] = {}

    def add(self, tallies: Iterable[Tally]) -> None:
        """Take in some windows."""
        for one in tallies:
            key = one.endpoint, one.phase, one.second // self._cell
            whole = self._found.get(key)
            if whole is None:
                whole = self._found[key] = Tally(one.second, one.span, one.endpoint, one.phase, {}, {})
            counts = dict(whole.counts)
            for name, number in one.counts.items():
                counts[name] = counts.get(name, 0) + number
            whole.counts, whole.loss = counts, whole.loss or one.loss
            end = max(whole.end, one.end)
            whole.second = min(whole.second, one.second)
            whole.span = end - whole.second

    def tallies(self) -> list[Tally]:
        """Return the merged windows."""
        return list(self._found.values())


@dataclass(slots=True)
class _Series:
    """The histograms of one series that are finished, as in a `Column`, in small types."""

    windows: list[int] = field(default_factory=list)
    indices: list[Ints] = field(default_factory=list)
    counts: list[Ints] = field(default_factory=list)
    exact: list[Exact] = field(default_factory=list)

    def put(self, number: int, histogram: Histogram) -> None:
        sparse = histogram.to_sparse()
        self.windows.append(number)
        self.indices.append(sparse.indices.astype(np.int16))
        small = not sparse.counts.size or int(sparse.counts.max()) < 2**31
        self.counts.append(sparse.counts.astype(np.int32 if small else np.int64))
        self.exact.append(exact_of(histogram))

    def column(self, places: Int64s) -> Column:
        """Return the column of histograms whose window has the number `places[windows]`."""
        numbers = places[np.array(self.windows, np.int64)]
        order = np.argsort(numbers, kind="stable").tolist()
        lengths = np.array([self.indices[at].size for at in order], np.int64)
        # What was put together is let go of at once: all of it twice is a good part of the memory.
        indices = np.concatenate([self.indices[at] for at in order])
        self.indices.clear()
        counts = np.concatenate([self.counts[at] for at in order])
        self.counts.clear()
        exact = np.array([self.exact[at] for at in order], np.int64)
        return Column(numbers[order], lengths, indices, counts, exact)


class _Cells:
    """The steady windows merged by endpoint and cell, and each endpoint's exact total."""

    def __init__(self, cut: Sequence[Interval], wanted: Wanted) -> None:
        self.totals: dict[str, Window] = {}
        self._cut = cut
        self._wanted = wanted
        self._starts = [slot.start for slot in cut]
        self._edges = np.array(self._starts, np.float64)
        self._open: dict[tuple[str, int], Window] = {}
        self._done: list[Tally] = []
        self._series: dict[str, _Series] = {}
        self._closed = 0
        """The cells before this one are finished."""

    def add(self, rows: Columns, newest: int) -> None:
        """Take in rows in order of endpoint, then of time; later ones begin at `newest` or after it."""
        if not self._cut:
            return
        at = np.searchsorted(self._edges, rows.seconds + rows.spans / 2, "right") - 1
        at = np.maximum(at, self._closed)
        changes = np.flatnonzero((np.diff(at, prepend=-1) != 0) | rows.begins)
        for first, end in pairwise([*changes.tolist(), len(at)]):
            self._add(rows.tallies[first].endpoint, int(at[first]), rows.total(first, end))
        self._close(max(0, bisect_right(self._starts, newest + 0.5) - 1))

    def _add(self, endpoint: str, cell: int, window: Window) -> None:
        total = self.totals.get(endpoint)
        if total is None:
            total = self.totals[endpoint] = Window(window.second, window.span, endpoint, STEADY)
        total.merge(window)
        wanted = self._wanted.series_of(endpoint)
        window.histograms = {name: one for name, one in window.histograms.items() if name in wanted}
        window.over = {key: number for key, number in window.over.items() if series_of(key) in wanted}
        whole = self._open.get((endpoint, cell))
        if whole is None:
            self._open[endpoint, cell] = window
        else:
            whole.merge(window)

    def _close(self, upto: int) -> None:
        for key in [key for key in self._open if key[1] < upto]:
            self._finish(key[1], self._open.pop(key))
        self._closed = max(self._closed, upto)

    def _finish(self, cell: int, window: Window) -> None:
        first, number = boundary(self._cut[cell].start), len(self._done)
        span = max(1, boundary(self._cut[cell].end) - first)
        self._done.append(
            Tally(first, span, window.endpoint, STEADY, window.counts, window.over, window.loss)
        )
        for name, histogram in window.histograms.items():
            if histogram.total:
                self._series.setdefault(str(name), _Series()).put(number, histogram)

    def columns(self) -> Columns:
        """Return the cells by columns, in order of endpoint, then of time."""
        self._close(len(self._cut))
        order = sorted(
            range(len(self._done)), key=lambda at: (self._done[at].endpoint, self._done[at].second)
        )
        places = np.zeros(len(order), np.int64)
        places[order] = np.arange(len(order))
        columns = {}
        for name in sorted(self._series):
            columns[name] = self._series.pop(name).column(places)
        return Columns([self._done[at] for at in order], columns)


_NO_ROWS: Final = Columns([], {})
