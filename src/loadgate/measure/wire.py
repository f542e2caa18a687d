"""Windows on the wire: their histograms as a few byte strings that numpy reads without copying.

All histograms of a delta share their arrays, so that a master checks a whole delta with some dozen numpy
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
from collections.abc import Mapping
from functools import lru_cache
from operator import gt
from typing import Any

import numpy as np

from loadgate.errors import MeasureError
from loadgate.measure import checks
from loadgate.measure.exact import check_exact
from loadgate.measure.layout import TOP_INDEX, Int64s, Ints
from loadgate.measure.packed import Exact, Head, PackedWindows, Shape
from loadgate.measure.window import TIMED_SERIES, Count, Series, series_of

MOST_WINDOWS = 20_000
"""Windows of the largest delta."""
MOST_COUNTERS = 2**22
"""Counters in use of the largest delta: 42 MB at their widest."""
MOST_OVER = 2_000
"""Over-counts of one window."""
LARGEST_COUNT = 2**40
"""A single counter; with MOST_COUNTERS no sum of them leaves 63 bits."""

_ENTRIES = {"windows", "lengths", "indices", "width", "counts", "exact"}
_WINDOW_FIELDS = 7
_COUNTS = {str(count) for count in Count}
_SERIES = {str(series) for series in Series}
_TIMED = {str(series) for series in TIMED_SERIES}
_THRESHOLD = re.compile(r"[0-9]{1,16}", re.ASCII)
_WIDTHS = (1, 2, 4, 8)
_STR = frozenset({str})
_INT = frozenset({int})


def to_wire(packed: PackedWindows) -> dict[str, Any]:
    """Return windows in the form above.

    Raise MeasureError when they are more than a delta may hold.
    """
    largest = int(packed.counts.max(initial=0))
    if len(packed.heads) > MOST_WINDOWS or packed.counts.size > MOST_COUNTERS or largest > LARGEST_COUNT:
        raise MeasureError("a delta has become too large to send", hint="Merge its windows into longer ones.")
    width = next(width for width in _WIDTHS if largest < 1 << (8 * width))
    return {
        "windows": [_row_of(head) for head in packed.heads],
        "lengths": packed.lengths.astype("<u2").tobytes(),
        "indices": packed.indices.astype("<u2").tobytes(),
        "width": width,
        "counts": packed.counts.astype(f"<u{width}").tobytes(),
        "exact": packed.exact.astype("<i8").tobytes(),
    }


def from_wire(obj: object) -> PackedWindows:
    """Return the windows that `to_wire` made `obj` of. Raise MeasureError for anything else."""
    wire = checks.entries(obj, _ENTRIES, "the windows of a delta")
    lengths, indices, counts, exact = _arrays(wire)
    if lengths.size:
        check_exact(exact, indices, counts, lengths)
    windows = wire["windows"]
    if not isinstance(windows, (list, tuple)) or len(windows) > MOST_WINDOWS:
        raise MeasureError(f"the windows of a delta are no list of at most {MOST_WINDOWS}")
    heads: list[Head] = []
    totals: list[int] = exact[:, 0].tolist()
    at = 0
    for one in windows:
        head = _head_of(one, totals, at)
        heads.append(head)
        at += len(head.shape.series)
    if at != len(totals):
        raise MeasureError("a delta has more histograms than its windows name")
    return PackedWindows(heads, lengths, indices, counts, exact)


def _row_of(head: Head) -> list[Any]:
    return [
        int(head.second),
        int(head.span),
        checks.plain(head.endpoint),
        checks.plain(head.phase),
        {str(name): int(n) for name, n in head.counts.items() if n},
        list(head.shape.series),
        {str(key): int(n) for key, n in zip(head.shape.over, head.over, strict=True)},
    ]


def _arrays(wire: Mapping[str, Any]) -> tuple[Int64s, Ints, Ints, Int64s]:
    """Return lengths, indices, counts and exact numbers, after all checks that need no exact numbers."""
    width = checks.whole(wire["width"], "width")
    if width not in _WIDTHS:
        raise MeasureError(f"the counts of a delta are {width} bytes wide")
    lengths = _array(wire["lengths"], "<u2", "lengths").astype(np.int64)
    indices = _array(wire["indices"], "<u2", "indices")
    counts = _array(wire["counts"], f"<u{width}", "counts")
    numbers = _array(wire["exact"], "<i8", "exact").astype(np.int64, copy=False)
    if numbers.size != lengths.size * len(Exact._fields):
        raise MeasureError("a delta has not as many exact numbers as histograms")
    if int(lengths.sum()) != indices.size or indices.size != counts.size:
        raise MeasureError("a delta has not as many counts as indices")
    exact = numbers.reshape(-1, len(Exact._fields))
    if not lengths.size:
        return lengths, indices, counts, exact
    # Counts and lengths are unsigned, so that 0 is the only one that is too small.
    if not counts.all() or (width == _WIDTHS[-1] and int(counts.max(initial=1)) > LARGEST_COUNT):
        raise MeasureError(f"a delta has a count that is not in 1..{LARGEST_COUNT}")
    if not lengths.all() or int(indices.max()) > TOP_INDEX:
        raise MeasureError("a delta has a histogram without counters, or a counter over the range")
    increases = indices[1:] > indices[:-1]
    increases[lengths.cumsum()[:-1] - 1] = True
    if not increases.all():
        raise MeasureError("a delta has a histogram whose indices do not increase")
    return lengths, indices, counts, exact


def _head_of(obj: object, totals: list[int], at: int) -> Head:
    """Return a window; the values that its histograms have are in `totals` from `at` on."""
    if not isinstance(obj, (list, tuple)) or len(obj) != _WINDOW_FIELDS:
        raise MeasureError(f"a window does not have {_WINDOW_FIELDS} values")
    second, span, endpoint, phase, counts, series, over = obj
    if not isinstance(counts, dict) or not _COUNTS.issuperset(counts):
        raise MeasureError("a window has counts that are no map of known names")
    if not isinstance(series, (list, tuple)) or not _STR.issuperset(map(type, series)):
        raise MeasureError("the series of a window are no list of names")
    if not isinstance(over, dict):
        raise MeasureError("the over-counts of a window are no map")
    shape = _checked_shape(tuple(series), tuple(over))
    limits = totals[at : at + len(series)]
    if len(limits) < len(series):
        raise MeasureError("a delta has fewer histograms than its windows name")
    _check_counts(counts)
    _check_over(over, shape, limits)
    return Head(
        checks.whole(second, "second", least=-checks.LARGEST_INT),
        checks.whole(span, "span", least=1),
        checks.text(endpoint, "endpoint", empty=False),
        checks.text(phase, "phase", empty=False),
        counts,
        shape,
        list(over.values()),
    )


def _check_counts(counts: Mapping[str, Any]) -> None:
    """Raise MeasureError unless all are whole numbers of 0..LARGEST_INT."""
    # Almost always they are, which is told in bulk; one by one they tell which of them is not.
    values = counts.values()
    if not values:
        return
    sound = _INT.issuperset(map(type, values))
    if not sound or min(values) < 0 or max(values) > checks.LARGEST_INT:
        for name, n in counts.items():
            checks.whole(n, name)


def _check_over(over: Mapping[str, Any], shape: Shape, limits: list[int]) -> None:
    """Raise MeasureError for an over-count that is greater than its series has values."""
    _check_counts(over)
    # The position -1 of a series without values finds the 0 that is put last.
    limit_of = [*limits, 0].__getitem__
    if any(map(gt, over.values(), map(limit_of, shape.positions))):
        raise MeasureError("a window has more values over a threshold than values")


# Names are checked once: the workers of a run send the same ones again and again.
@lru_cache(maxsize=512)
def _checked_shape(series: tuple[str, ...], over: tuple[str, ...]) -> Shape:
    """Return the shape of a window whose names are all known; raise MeasureError for others."""
    if len(set(series)) != len(series) or not _SERIES.issuperset(series):
        raise MeasureError(f"a window has unknown or repeated series: {[name[:80] for name in series[:20]]}")
    if len(over) > MOST_OVER:
        raise MeasureError(f"a window has over {MOST_OVER} over-counts")
    for key in over:
        if not isinstance(key, str):
            raise MeasureError("a window has an over-count without a name")
        if series_of(key) not in _TIMED or not _THRESHOLD.fullmatch(key.partition(">")[2]):
            raise MeasureError(f"a window has an over-count of {key[:80]!r}")
    return Shape.of(series, over)


def _array(value: object, dtype: str, what: str) -> Ints:
    """Return the array that a byte string holds."""
    size = np.dtype(dtype).itemsize
    if not isinstance(value, bytes) or len(value) % size or len(value) // size > MOST_COUNTERS:
        raise MeasureError(f"the {what} of a delta are no byte string of {size}-byte numbers")
    return np.frombuffer(value, dtype=dtype)
