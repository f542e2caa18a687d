"""Windows on the wire: their histograms as a few byte strings that numpy reads without copying.

All histograms of a delta share their arrays, so that a master checks a whole delta with a dozen numpy
calls instead of a dozen for each histogram. All arrays are little-endian:

    windows   one list for each: second, span, endpoint, phase, {count: n}, [series], {over key: n}
    lengths   uint16 for each histogram, in the order of `windows` and their series: counters in use
    indices   uint16 for each counter in use, increasing within a histogram
    width     1, 2, 4 or 8: bytes of each unsigned count
    counts    a count for each index
    exact     int64 total, minimum, maximum, high and low part of the sum, overflow, for each histogram
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from loadgate.errors import MeasureError
from loadgate.measure import checks
from loadgate.measure.histogram import Histogram, Part, Sparse
from loadgate.measure.layout import TOP_INDEX, Int64s, Ints
from loadgate.measure.window import TIMED_SERIES, Count, Series, Window, series_of

MOST_WINDOWS = 20_000
"""Windows of the largest delta."""
MOST_COUNTERS = 2**22
"""Counters in use of the largest delta: 42 MB at their widest."""
MOST_OVER = 2_000
"""Over-counts of one window."""
LARGEST_COUNT = 2**40
"""A single counter; with MOST_COUNTERS no sum of them leaves 63 bits."""

_ENTRIES = {"windows", "lengths", "indices", "width", "counts", "exact"}
_WINDOW_FIELDS = ("second", "span", "endpoint", "phase", "counts", "series", "over")
_EXACT_FIELDS = 6
_LOW_BITS = 60
_COUNTS = {str(count) for count in Count}
_SERIES = {str(series) for series in Series}
_TIMED = {str(series) for series in TIMED_SERIES}
_THRESHOLD = re.compile(r"[0-9]{1,16}", re.ASCII)
_WIDTHS = (1, 2, 4, 8)


def pack_windows(windows: Sequence[Window]) -> dict[str, Any]:
    """Return windows in the form above; empty histograms are left out.

    Raise MeasureError when they are more than a delta may hold.
    """
    rows: list[list[Any]] = []
    sparse: list[Sparse] = []
    exact: list[tuple[int, ...]] = []
    for window in windows:
        used = [(series, one) for series, one in window.histograms.items() if one.total]
        rows.append(_row_of(window, [str(series) for series, _ in used]))
        for _, histogram in used:
            sparse.append(histogram.to_sparse())
            exact.append(_exact_of(histogram))
    indices = np.concatenate([one.indices for one in sparse]) if sparse else np.zeros(0, np.int32)
    counts = np.concatenate([one.counts for one in sparse]) if sparse else np.zeros(0, np.int64)
    largest = int(counts.max()) if counts.size else 0
    if len(rows) > MOST_WINDOWS or counts.size > MOST_COUNTERS or largest > LARGEST_COUNT:
        raise MeasureError("a delta has become too large to send", hint="Merge its windows into longer ones.")
    width = next(width for width in _WIDTHS if largest < 1 << (8 * width))
    return {
        "windows": rows,
        "lengths": np.array([one.indices.size for one in sparse], "<u2").tobytes(),
        "indices": indices.astype("<u2").tobytes(),
        "width": width,
        "counts": counts.astype(f"<u{width}").tobytes(),
        "exact": np.array(exact, "<i8").tobytes(),
    }


def unpack_windows(obj: object) -> list[Window]:
    """Return the windows that `pack_windows` made `obj` of. Raise MeasureError for anything else."""
    wire = checks.entries(obj, _ENTRIES, "the windows of a delta")
    histograms = _histograms(wire)
    windows = checks.each(wire["windows"], MOST_WINDOWS, "windows", lambda one: _window_of(one, histograms))
    if next(histograms, None) is not None:
        raise MeasureError("a delta has more histograms than its windows name")
    return windows


def _row_of(window: Window, series: list[str]) -> list[Any]:
    return [
        int(window.second),
        int(window.span),
        checks.plain(window.endpoint),
        checks.plain(window.phase),
        {str(name): int(n) for name, n in window.counts.items() if n},
        series,
        {str(key): int(n) for key, n in window.over.items()},
    ]


def _exact_of(histogram: Histogram) -> tuple[int, ...]:
    """Return the exact numbers; the sum in two parts, since it may need more than 63 bits."""
    assert histogram.minimum is not None
    assert histogram.maximum is not None
    high, low = histogram.sum >> _LOW_BITS, histogram.sum & ((1 << _LOW_BITS) - 1)
    return histogram.total, histogram.minimum, histogram.maximum, high, low, histogram.overflow


def _histograms(wire: Mapping[str, Any]) -> Iterator[Histogram]:
    """Return the histograms in order, after all checks that concern them together."""
    width = checks.whole(wire["width"], "width")
    if width not in _WIDTHS:
        raise MeasureError(f"the counts of a delta are {width} bytes wide")
    lengths = _array(wire["lengths"], "<u2", "lengths").astype(np.int64)
    indices = _array(wire["indices"], "<u2", "indices")
    wide = _array(wire["counts"], f"<u{width}", "counts")
    exact = _array(wire["exact"], "<i8", "exact")
    if exact.size != lengths.size * _EXACT_FIELDS:
        raise MeasureError("a delta has not as many exact numbers as histograms")
    if int(lengths.sum()) != indices.size or indices.size != wide.size:
        raise MeasureError("a delta has not as many counts as indices")
    if not lengths.size:
        return iter(())
    if int(wide.min(initial=1)) < 1 or int(wide.max(initial=1)) > LARGEST_COUNT:
        raise MeasureError(f"a delta has a count that is not in 1..{LARGEST_COUNT}")
    counts = wide.astype(np.int64)
    ends = np.concatenate(([0], lengths.cumsum()))
    totals = _checked_totals(lengths, indices, counts, ends)
    rows = exact.reshape(-1, _EXACT_FIELDS).tolist()
    return _each_histogram(indices, counts, ends.tolist(), totals, rows)


def _checked_totals(lengths: Int64s, indices: Ints, counts: Int64s, ends: Int64s) -> list[int]:
    """Return the sum of each histogram's counts; raise MeasureError for indices that are out of order."""
    if int(lengths.min()) < 1 or int(indices.max()) > TOP_INDEX:
        raise MeasureError("a delta has a histogram without counters, or a counter over the range")
    increases = indices[1:] > indices[:-1]
    increases[ends[1:-1] - 1] = True
    if not increases.all():
        raise MeasureError("a delta has a histogram whose indices do not increase")
    totals: list[int] = np.add.reduceat(counts, ends[:-1]).tolist()
    return totals


def _each_histogram(
    indices: Ints, counts: Int64s, ends: list[int], totals: list[int], rows: list[list[int]]
) -> Iterator[Histogram]:
    """Yield the histograms; raise MeasureError where the exact numbers do not fit the counters."""
    for (start, end), counted, row in zip(pairwise(ends), totals, rows, strict=True):
        total, minimum, maximum, high, low, overflow = row
        if total != counted:
            raise MeasureError(f"a histogram says it has {total} values, its counters have {counted}")
        if high < 0 or not 0 <= low < 1 << _LOW_BITS:
            raise MeasureError("a histogram's sum is malformed")
        part = Part(indices[start:end], counts[start:end])
        yield Histogram.from_part(part, total, minimum, maximum, high << _LOW_BITS | low, overflow)


def _window_of(obj: object, histograms: Iterator[Histogram]) -> Window:
    values = checks.row(obj, _WINDOW_FIELDS, "a window")
    series = checks.each(values["series"], len(_SERIES), "series", lambda one: checks.text(one, "series"))
    if len(set(series)) != len(series) or not _SERIES.issuperset(series):
        raise MeasureError(f"a window has unknown or repeated series: {series}")
    window = Window(
        second=checks.whole(values["second"], "second", least=-checks.LARGEST_INT),
        span=checks.whole(values["span"], "span", least=1),
        endpoint=checks.text(values["endpoint"], "endpoint", empty=False),
        phase=checks.text(values["phase"], "phase", empty=False),
        counts=_counts_of(values["counts"]),
    )
    for name in series:
        histogram = next(histograms, None)
        if histogram is None:
            raise MeasureError("a delta has fewer histograms than its windows name")
        window.histograms[name] = histogram
    window.over = _over_of(values["over"], window)
    return window


def _counts_of(obj: object) -> dict[str, int]:
    counts = checks.mapping(obj, "counts")
    if not _COUNTS.issuperset(counts):
        raise MeasureError(f"a window has unknown counts: {sorted(set(counts) - _COUNTS)[:5]}")
    return {name: checks.whole(n, name) for name, n in counts.items()}


def _over_of(obj: object, window: Window) -> dict[str, int]:
    """Return the over-counts; none can be greater than its series has values."""
    over = checks.mapping(obj, "over-counts")
    if len(over) > MOST_OVER:
        raise MeasureError(f"a window has over {MOST_OVER} over-counts")
    checked = {}
    for key, n in over.items():
        series, threshold = series_of(key), key.partition(">")[2]
        if series not in _TIMED or not _THRESHOLD.fullmatch(threshold):
            raise MeasureError(f"a window has an over-count of {key[:80]!r}")
        if checks.whole(n, key) > window.histogram(series).total:
            raise MeasureError(f"a window has more values over a threshold ({key}) than values")
        checked[key] = n
    return checked


def _array(value: object, dtype: str, what: str) -> Ints:
    """Return the array that a byte string holds."""
    size = np.dtype(dtype).itemsize
    if not isinstance(value, bytes) or len(value) % size or len(value) // size > MOST_COUNTERS:
        raise MeasureError(f"the {what} of a delta are no byte string of {size}-byte numbers")
    return np.frombuffer(value, dtype=dtype)
