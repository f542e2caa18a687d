"""Windows by columns: the histograms of each series side by side, beside what was counted.

Judging asks for the same few things of thousands of windows: their sum, one percentile of each, all counters
of a series. An object for each histogram would cost more than the answers. So all of one series lie in a few
shared arrays, in the order of the windows, and a stretch of windows is a stretch of each array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from loadgate.errors import MeasureError
from loadgate.measure.bulk import Decoded, decode_many
from loadgate.measure.histogram import Histogram, Part, Sparse
from loadgate.measure.layout import Int64s, Ints
from loadgate.measure.packed import LOW_BITS, Exact, exact_of, record
from loadgate.measure.summing import exact_sum
from loadgate.measure.window import ALL, Window, series_of


@dataclass(slots=True)
class Tally:
    """A window without its histograms; see `Window` for what its fields mean."""

    second: int
    span: int
    endpoint: str
    phase: str
    counts: Mapping[str, int] = field(default_factory=dict)
    over: Mapping[str, int] = field(default_factory=dict)
    loss: bool = False

    @property
    def end(self) -> int:
        """The first second of run time after the window."""
        return self.second + self.span

    def count(self, name: str) -> int:
        """Return a count; 0 when nothing was counted."""
        return self.counts.get(name, 0)


@dataclass(frozen=True)
class Column:
    """The histograms of one series, none of them empty, in the order of the windows that have one.

    `windows` are the numbers of these windows, increasing; the rest is as in `PackedWindows`.
    """

    windows: Int64s
    lengths: Int64s
    indices: Ints
    counts: Ints
    exact: Int64s

    @cached_property
    def _limits(self) -> Int64s:
        """Return where the counters of each histogram begin, and where the last one's end."""
        return np.concatenate([[0], self.lengths.cumsum()])

    def part(self, first: int, end: int) -> Column:
        """Return the column of the windows first..end (end excluded), with their numbers as they are."""
        low, high = np.searchsorted(self.windows, (first, end))
        start, stop = self._limits[low], self._limits[high]
        return Column(
            self.windows[low:high],
            self.lengths[low:high],
            self.indices[start:stop],
            self.counts[start:stop],
            self.exact[low:high],
        )

    @property
    def totals(self) -> Int64s:
        """Return the number of values of each histogram."""
        return self.exact[:, Exact._fields.index("total")]

    @property
    def sums(self) -> list[int]:
        """Return the exact sum of the values (µs) of each histogram."""
        high, low = (self.exact[:, Exact._fields.index(name)].tolist() for name in ("sum_high", "sum_low"))
        return [one << LOW_BITS | other for one, other in zip(high, low, strict=True)]

    def add_to(self, histogram: Histogram) -> None:
        """Add all histograms to one."""
        if not self.lengths.size:
            return
        if self.lengths.size == 1:
            record(histogram, Part(self.indices, self.counts), Exact._make(self.exact[0].tolist()))
            return
        totals, minima, maxima, highs, lows, overflows = self.exact.T
        histogram.record_counters(
            self.indices,
            self.counts,
            total=exact_sum(totals),
            smallest=int(minima.min()),
            largest=int(maxima.max()),
            total_us=(exact_sum(highs) << LOW_BITS) + exact_sum(lows),
            overflow=exact_sum(overflows),
        )

    def unpack(self) -> dict[int, Histogram]:
        """Return the histograms by the number of their window; they share the arrays."""
        found = {}
        limits = self._limits.tolist()
        for place, number in enumerate(self.windows.tolist()):
            start, end = limits[place], limits[place + 1]
            histogram = found[number] = Histogram()
            part = Part(self.indices[start:end], self.counts[start:end])
            record(histogram, part, Exact._make(self.exact[place].tolist()))
        return found


class Counts:
    """The counts of some windows of many: each is an array, with a number for each window."""

    def __init__(self, tallies: Sequence[Tally]) -> None:
        self._tallies = tallies
        self._found: dict[str, Int64s] = {}

    def count(self, name: str) -> Int64s:
        """Return a count of each window; nobody writes to it."""
        found = self._found.get(name)
        if found is None:
            numbers = [one.counts.get(name, 0) for one in self._tallies]
            found = self._found[name] = np.array(numbers, np.int64)
        return found

    def chosen(self, numbers: Int64s) -> ChosenCounts:
        """Return the counts of the windows with these numbers."""
        return ChosenCounts(self, numbers)


class ChosenCounts:
    """The counts of the windows that have certain numbers among many."""

    def __init__(self, whole: Counts, numbers: Int64s) -> None:
        self._whole = whole
        self._numbers = numbers

    def count(self, name: str) -> Int64s:
        """Return a count of each window."""
        return self._whole.count(name)[self._numbers]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Windows as they are stored: of each its series and their encoded histograms."""

    tallies: list[Tally] = field(default_factory=list)
    histograms: list[list[tuple[str, bytes]]] = field(default_factory=list)


class Columns:
    """Windows, numbered in order, and a column for each series that has values; nobody writes to them."""

    def __init__(self, tallies: Sequence[Tally], columns: Mapping[str, Column]) -> None:
        self.tallies = tuple(tallies)
        self.counts = Counts(self.tallies)
        self._columns = dict(columns)

    @classmethod
    def of(cls, windows: Iterable[Window]) -> Columns:
        """Return the columns of some windows."""
        tallies: list[Tally] = []
        found: dict[str, list[tuple[int, Histogram]]] = {}
        for number, window in enumerate(windows):
            tallies.append(
                Tally(
                    window.second,
                    window.span,
                    window.endpoint,
                    window.phase,
                    window.counts,
                    window.over,
                    window.loss,
                )
            )
            for series, histogram in window.histograms.items():
                if histogram.total:
                    found.setdefault(str(series), []).append((number, histogram))
        return cls(tallies, {series: _column_of(parts) for series, parts in found.items()})

    @classmethod
    def decoded(cls, parts: Sequence[Encoded]) -> Columns:
        """Return the columns of stored windows, one part after the other.

        Raise MeasureError when one of the histograms is damaged.
        """
        tallies: list[Tally] = []
        found: dict[str, tuple[list[int], list[bytes]]] = {}
        for part in parts:
            for number, encoded in enumerate(part.histograms, len(tallies)):
                for series, blob in encoded:
                    if len(blob) > 1:  # an empty histogram is its version alone
                        own = found.get(series)
                        if own is None:
                            own = found[series] = ([], [])
                        own[0].append(number)
                        own[1].append(blob)
            tallies += part.tallies
        columns = {
            series: Column(np.array(numbers, np.int64), *decode_many(blobs))
            for series, (numbers, blobs) in found.items()
        }
        return cls(tallies, columns)

    @cached_property
    def seconds(self) -> Int64s:
        """Return the first second of each window."""
        return np.array([one.second for one in self.tallies], np.int64)

    @cached_property
    def spans(self) -> Int64s:
        """Return the length of each window, in seconds."""
        return np.array([one.span for one in self.tallies], np.int64)

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        """Tell which windows are of another endpoint than the one before them."""
        names = [one.endpoint for one in self.tallies]
        return np.array([True, *(one != other for one, other in pairwise(names))][: len(names)], np.bool_)

    @cached_property
    def stretches(self) -> Mapping[str, tuple[int, int]]:
        """Return where the windows of each endpoint begin and end.

        Raise MeasureError when those of an endpoint lie apart: some would be passed over.
        """
        edges = [*np.flatnonzero(self.begins).tolist(), len(self.tallies)]
        found = {self.tallies[first].endpoint: (first, end) for first, end in pairwise(edges)}
        if len(found) < len(edges) - 1:
            raise MeasureError("the windows of one endpoint do not lie side by side")
        return found

    def column(self, series: str, first: int = 0, end: int | None = None) -> Column:
        """Return the column of a series of the windows first..end (end excluded; None: to the last)."""
        found = self._columns.get(series)
        if found is None:
            return _EMPTY
        whole = first == 0 and end in (None, len(self.tallies))
        return found if whole else found.part(first, len(self.tallies) if end is None else end)

    def total(self, first: int = 0, end: int | None = None) -> Window:
        """Return what `windows_merged` does of the windows first..end (end excluded; None: to the last)."""
        chosen = self.tallies[first:end]
        if not chosen:
            return Window(0, 0, ALL, ALL)
        endpoints, phases = {one.endpoint for one in chosen}, {one.phase for one in chosen}
        second = min(one.second for one in chosen)
        whole = Window(
            second,
            max(one.end for one in chosen) - second,
            endpoints.pop() if len(endpoints) == 1 else ALL,
            phases.pop() if len(phases) == 1 else ALL,
            over=self._over(first, first + len(chosen)),
            loss=any(one.loss for one in chosen),
        )
        for name in set[str]().union(*(one.counts for one in chosen)):
            whole.add(name, int(self.counts.count(name)[first:end].sum()))
        for series in self._columns:
            histogram = Histogram()
            self.column(series, first, end).add_to(histogram)
            if histogram.total:
                whole.histograms[series] = histogram
        return whole

    def _over(self, first: int, end: int) -> dict[str, int]:
        """Sum the over-counts that every window tells which has values in their series."""
        found = {}
        for key in {key: None for over in _distinct(self.tallies[first:end]) for key in over}:
            counted = self.over(key, first, end)
            if counted is not None:
                found[key] = sum(counted)
        return found

    def over(self, key: str, first: int, end: int) -> list[int] | None:
        """Return an over-count of the windows first..end (end excluded), 0 where there is none.

        None when a window that has values in its series does not tell it.
        """
        chosen = self.tallies[first:end]
        # Most windows share what they tell, since over most thresholds there is nothing.
        told = {id(over): over.get(key) for over in _distinct(chosen)}
        if None in told.values():
            with_values = self.column(series_of(key), first, end).windows.tolist()
            if any(key not in self.tallies[number].over for number in with_values):
                return None
        return [told[id(one.over)] or 0 for one in chosen]

    def upto(self, end: int) -> Columns:
        """Return the first `end` windows."""
        return Columns(
            self.tallies[:end], {name: column.part(0, end) for name, column in self._columns.items()}
        )

    def followed_by(self, tallies: Sequence[Tally]) -> Columns:
        """Return these windows and more of them, which have no histograms."""
        return Columns([*self.tallies, *tallies], self._columns)

    def with_tallies(self, others: Mapping[int, Tally]) -> Columns:
        """Return these windows with some tallies, by their number, in the place of theirs."""
        tallies = [others.get(number, one) for number, one in enumerate(self.tallies)]
        return Columns(tallies, self._columns)

    def unpack(self) -> list[Window]:
        """Return the windows themselves; their histograms share the arrays."""
        windows = [
            Window(
                one.second,
                one.span,
                one.endpoint,
                one.phase,
                dict(one.counts),
                over=dict(one.over),
                loss=one.loss,
            )
            for one in self.tallies
        ]
        for series, column in self._columns.items():
            for number, histogram in column.unpack().items():
                windows[number].histograms[series] = histogram
        return windows


class ColumnWindows(Sequence[Window]):
    """The windows of some columns, which are unpacked when the first one is asked for."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    @cached_property
    def _windows(self) -> list[Window]:
        return self.columns.unpack()

    def __len__(self) -> int:
        return len(self.columns.tallies)

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Window]: ...

    def __getitem__(self, index: int | slice) -> Window | Sequence[Window]:
        return self._windows[index]


def _distinct(tallies: Sequence[Tally]) -> list[Mapping[str, int]]:
    """Return what windows tell of over-counts, once where they share it."""
    return list({id(one.over): one.over for one in tallies}.values())


def _column_of(parts: Sequence[tuple[int, Histogram]]) -> Column:
    sparse: list[Sparse] = [histogram.to_sparse() for _, histogram in parts]
    decoded = Decoded(
        np.array([one.indices.size for one in sparse], np.int64),
        np.concatenate([one.indices for one in sparse]),
        np.concatenate([one.counts for one in sparse]),
        np.array([exact_of(histogram) for _, histogram in parts], np.int64),
    )
    return Column(np.array([number for number, _ in parts], np.int64), *decoded)


_EMPTY = Column(np.zeros(0, np.int64), *decode_many([]))
