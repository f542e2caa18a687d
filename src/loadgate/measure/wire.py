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
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import gt
from typing import Any, TypeAlias

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
_U2, _I8 = np.dtype("<u2"), np.dtype("<i8")
_ARRAYS = ("lengths", "indices", "counts", "exact")
_EXACT_BYTES = len(Exact._fields) * _I8.itemsize
Arrays: TypeAlias = tuple[Int64s, Ints, Ints, Int64s]
"""Lengths, indices, counts and exact numbers of some histograms."""
_UNSIGNED = {width: np.dtype(f"<u{width}") for width in _WIDTHS}
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
    return _packed(wire["windows"], _checked(*_arrays(wire)))


def all_from_wire(objs: Sequence[object]) -> list[PackedWindows | MeasureError]:
    """Return for each what `from_wire` returns or raises.

    The arrays of all whose counts are equally wide are checked at once, for the price of one or two alone.
    """
    found: dict[int, PackedWindows | MeasureError] = {}
    groups: dict[int, list[int]] = {}
    for place, obj in enumerate(objs):
        groups.setdefault(_width_of(obj), []).append(place)
    for width, places in groups.items():
        if width == 0 or len(places) == 1:
            found.update((place, _alone(objs[place])) for place in places)
            continue
        try:
            arrays = _arrays_together([objs[place] for place in places], width)
        except MeasureError:
            # At least one is not sound; each by itself tells which, and what is wrong with it.
            found.update((place, _alone(objs[place])) for place in places)
        else:
            found.update(zip(places, map(_packed_or_not, (objs[p] for p in places), arrays), strict=True))
    return [found[place] for place in range(len(objs))]


def _alone(obj: object) -> PackedWindows | MeasureError:
    try:
        return from_wire(obj)
    except MeasureError as error:
        return error


def _packed_or_not(wire: Any, arrays: Arrays) -> PackedWindows | MeasureError:
    try:
        return _packed(wire["windows"], arrays)
    except MeasureError as error:
        return error


def _packed(windows: object, arrays: Arrays) -> PackedWindows:
    """Return windows whose arrays are checked."""
    lengths, indices, counts, exact = arrays
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


def _width_of(obj: object) -> int:
    """Return the width of the counts, and 0 for what is not sound."""
    width = obj.get("width") if type(obj) is dict and obj.keys() == _ENTRIES else 0
    return width if type(width) is int and width in _WIDTHS else 0


def _arrays_together(wires: Sequence[Any], width: int) -> list[Arrays]:
    """Return the checked arrays of each of several. Raise MeasureError when those of any are not sound."""
    ends_of_histograms, ends_of_counters = [0], [0]
    for wire in wires:
        lengths, indices, counts, exact = (wire[name] for name in _ARRAYS)
        if not type(lengths) is type(indices) is type(counts) is type(exact) is bytes:
            raise MeasureError("the arrays of a delta are no byte strings")
        number, used = len(lengths) // _U2.itemsize, len(indices) // _U2.itemsize
        sizes = number * _U2.itemsize, used * _U2.itemsize, used * width, number * _EXACT_BYTES
        if sizes != (len(lengths), len(indices), len(counts), len(exact)) or used > MOST_COUNTERS:
            raise MeasureError("the arrays of a delta do not fit each other")
        ends_of_histograms.append(ends_of_histograms[-1] + number)
        ends_of_counters.append(ends_of_counters[-1] + used)
    joined = {name: b"".join([wire[name] for wire in wires]) for name in _ARRAYS}
    arrays = _checked(*_arrays({**joined, "width": width}, most=len(wires) * MOST_COUNTERS))
    # None may lend counters to the one after it.
    if not _meet(arrays[0], ends_of_histograms, ends_of_counters):
        raise MeasureError("a delta has not as many counts as indices")
    return [
        (arrays[0][h:next_h], arrays[1][c:next_c], arrays[2][c:next_c], arrays[3][h:next_h])
        for (h, next_h), (c, next_c) in zip(
            pairwise(ends_of_histograms), pairwise(ends_of_counters), strict=True
        )
    ]


def _meet(lengths: Int64s, ends_of_histograms: list[int], ends_of_counters: list[int]) -> bool:
    """Say whether the histograms of each delta have just its counters."""
    ends = np.concatenate(([0], lengths.cumsum()))
    return bool(ends[ends_of_histograms].tolist() == ends_of_counters)


def _checked(lengths: Int64s, indices: Ints, counts: Ints, exact: Int64s) -> Arrays:
    if lengths.size:
        check_exact(exact, indices, counts, lengths)
    return lengths, indices, counts, exact


def _arrays(wire: Mapping[str, Any], most: int = MOST_COUNTERS) -> Arrays:
    """Return lengths, indices, counts and exact numbers, after all checks that need no exact numbers."""
    width = checks.whole(wire["width"], "width")
    if width not in _WIDTHS:
        raise MeasureError(f"the counts of a delta are {width} bytes wide")
    lengths = _array(wire["lengths"], _U2, "lengths", most).astype(np.int64)
    indices = _array(wire["indices"], _U2, "indices", most)
    counts = _array(wire["counts"], _UNSIGNED[width], "counts", most)
    numbers = _array(wire["exact"], _I8, "exact", most).astype(np.int64, copy=False)
    if numbers.size != lengths.size * len(Exact._fields):
        raise MeasureError("a delta has not as many exact numbers as histograms")
    if int(lengths.sum()) != indices.size or indices.size != counts.size:
        raise MeasureError("a delta has not as many counts as indices")
    exact = numbers.reshape(-1, len(Exact._fields))
    if not lengths.size:
        return lengths, indices, counts, exact
    # Counts and lengths are unsigned, so that 0 is the only one that is too small. To count what is not 0
    # takes a fifth of the time of `all()`.
    too_large = width == _WIDTHS[-1] and int(counts.max(initial=1)) > LARGEST_COUNT
    if np.count_nonzero(counts) < counts.size or too_large:
        raise MeasureError(f"a delta has a count that is not in 1..{LARGEST_COUNT}")
    if np.count_nonzero(lengths) < lengths.size or int(indices.max()) > TOP_INDEX:
        raise MeasureError("a delta has a histogram without counters, or a counter over the range")
    increases = indices[1:] > indices[:-1]
    increases[lengths.cumsum()[:-1] - 1] = True
    if np.count_nonzero(increases) < increases.size:
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


def _array(value: object, dtype: np.dtype[Any], what: str, most: int) -> Ints:
    """Return the array that a byte string holds."""
    size = dtype.itemsize
    if not isinstance(value, bytes) or len(value) % size or len(value) // size > most:
        raise MeasureError(f"the {what} of a delta are no byte string of {size}-byte numbers")
    return np.frombuffer(value, dtype=dtype)
