"""Packed windows: all that one delta measured, its histograms side by side in a few shared arrays.

A master takes in tens of thousands of histograms a second. One object for each would cost more than all
the arithmetic on them, so what arrives stays in the arrays in which it came: checked, and later summed
(`summing`), over a whole delta or a whole commit at a time. `unpack` makes ordinary windows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from loadgate.measure.histogram import Histogram, Part, Sparse
from loadgate.measure.layout import Int64s, Ints
from loadgate.measure.window import ENDINGS, Count, Window, series_of

_ARRIVALS, _ENDINGS = str(Count.ARRIVALS), tuple(map(str, ENDINGS))
"""As plain text, which a dictionary finds faster than a member of an enumeration."""
LOW_BITS = 60
"""The sum of a histogram may need more than 63 bits: its lowest so many bits stand apart."""


class Exact(NamedTuple):
    """The columns of `PackedWindows.exact`: what counters cannot give back, in µs but for two numbers."""

    total: int
    minimum: int
    maximum: int
    sum_high: int
    sum_low: int
    overflow: int


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Which series of a window have values, and which over-counts it tells; compared by identity."""

    series: tuple[str, ...]
    over: tuple[str, ...]
    positions: tuple[int, ...]
    """Where in `series` the series of each over-count is; -1 where it has no values."""

    @classmethod
    def of(cls, series: tuple[str, ...], over: tuple[str, ...]) -> Shape:
        """Return the shape of a window; unchecked."""
        where = {name: position for position, name in enumerate(series)}
        return cls(series, over, tuple(where.get(series_of(key), -1) for key in over))


# A fleet whose workers run the same plan has a handful of shapes for each endpoint.
_shape_of = lru_cache(maxsize=1024)(Shape.of)


class Head(NamedTuple):
    """A window without its histograms."""

    second: int
    span: int
    endpoint: str
    phase: str
    counts: Mapping[str, int]
    shape: Shape
    over: Sequence[int]
    """The over-counts, in the order of `shape.over`."""

    @property
    def end(self) -> int:
        """The first second of run time after the window."""
        return self.second + self.span

    @property
    def imbalance(self) -> int:
        """Arrivals less all endings, as `Window.imbalance`."""
        count = self.counts.get
        left = count(_ARRIVALS, 0)
        for name in _ENDINGS:
            left -= count(name, 0)
        return left


@dataclass(frozen=True, slots=True, eq=False)
class PackedWindows:
    """Windows, and their histograms in shared arrays, in the order of the windows and their series.

    `lengths` has the number of counters in use of each histogram (at least 1), `indices` (increasing
    within a histogram) and `counts` those counters one histogram after the other, `exact` one row of
    `Exact` for each histogram. Nobody writes to any of it.
    """

    heads: Sequence[Head] = ()
    lengths: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    indices: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    exact: Int64s = field(default_factory=lambda: np.zeros((0, len(Exact._fields)), np.int64))

    @classmethod
    def of(cls, windows: Sequence[Window]) -> PackedWindows:
        """Return windows in packed form; histograms without values are left out."""
        heads: list[Head] = []
        sparse: list[Sparse] = []
        exact: list[Exact] = []
        for window in windows:
            used = [(str(series), one) for series, one in window.histograms.items() if one.total]
            heads.append(_head_of(window, tuple(series for series, _ in used)))
            for _, histogram in used:
                sparse.append(histogram.to_sparse())
                exact.append(exact_of(histogram))
        if not sparse:
            return cls(heads)
        return cls(
            heads,
            np.array([one.indices.size for one in sparse], np.int64),
            np.concatenate([one.indices for one in sparse]),
            np.concatenate([one.counts for one in sparse]),
            np.array(exact, np.int64),
        )

    def unpack(self) -> list[Window]:
        """Return the windows, each with its histograms; they share the arrays, which are never written to."""
        counts = self.counts.astype(np.int64, copy=False)
        limits = pairwise([0, *self.lengths.cumsum().tolist()])
        rows = map(Exact._make, self.exact.tolist())
        windows = []
        for head in self.heads:
            window = Window(head.second, head.span, head.endpoint, head.phase, dict(head.counts))
            for series in head.shape.series:
                start, end = next(limits)
                histogram = window.histograms[series] = Histogram()
                record(histogram, Part(self.indices[start:end], counts[start:end]), next(rows))
            window.over = dict(zip(head.shape.over, head.over, strict=True))
            windows.append(window)
        return windows


def _head_of(window: Window, series: tuple[str, ...]) -> Head:
    return Head(
        window.second,
        window.span,
        window.endpoint,
        window.phase,
        dict(window.counts),
        _shape_of(series, tuple(window.over)),
        tuple(window.over.values()),
    )


def exact_of(histogram: Histogram) -> Exact:
    """Return the exact numbers of a histogram that is not empty."""
    assert histogram.minimum is not None
    assert histogram.maximum is not None
    high, low = histogram.sum >> LOW_BITS, histogram.sum & ((1 << LOW_BITS) - 1)
    return Exact(histogram.total, histogram.minimum, histogram.maximum, high, low, histogram.overflow)


def record(histogram: Histogram, part: Part, exact: Exact) -> None:
    """Add one packed histogram to another histogram."""
    total_us = exact.sum_high << LOW_BITS | exact.sum_low
    histogram.record_part(part, exact.total, exact.minimum, exact.maximum, total_us, exact.overflow)
