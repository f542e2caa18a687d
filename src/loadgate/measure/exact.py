"""Check the exact numbers of many histograms against their counters, all at once.

It accepts exactly what `Histogram.from_part` accepts one by one, and leaves to it to say what is wrong.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from loadgate.errors import MeasureError
from loadgate.measure.histogram import Histogram, Part
from loadgate.measure.layout import (
    HIGHEST_EQUIVALENT,
    HIGHEST_US,
    LARGEST_EXACT_US,
    LOWEST_EQUIVALENT,
    Int64s,
    Ints,
)
from loadgate.measure.packed import LOW_BITS, Exact

Bools: TypeAlias = NDArray[np.bool_]

_FEW = 64
"""Histograms up to which they are looked at one by one."""
_LOWEST: list[int] = LOWEST_EQUIVALENT.tolist()
_HIGHEST: list[int] = HIGHEST_EQUIVALENT.tolist()
_SAFE_PRODUCT = 2**LOW_BITS
"""Sums up to here have no high part, and products up to here stay within 64 bits."""


def check_exact(exact: Int64s, indices: Ints, counts: Ints, lengths: Int64s) -> None:
    """Raise MeasureError unless every row of `exact` can belong to its counters.

    The counters, `lengths` of them for each of at least one histogram, are known to be in order and in
    range, and their counts to be at least 1 and to sum up to less than 2**63.
    """
    ends = lengths.cumsum()
    starts = ends - lengths
    counted = np.add.reduceat(counts, starts, dtype=np.int64)
    first, last = indices[starts], indices[ends - 1]
    if len(exact) <= _FEW and _are_usual(exact.tolist(), counted.tolist(), first.tolist(), last.tolist()):
        return
    sound = counted == exact[:, 0]
    sound &= _in_counters(exact, first, last, counts[ends - 1])
    sound &= _sums_fit(exact)
    if sound.all():
        return
    at = int(sound.argmin())
    start, end = int(starts[at]), int(ends[at])
    part = Part(indices[start:end], counts[start:end].astype(np.int64))
    _refuse(Exact._make(exact[at].tolist()), part)


def _are_usual(rows: list[list[int]], counted: list[int], first: list[int], last: list[int]) -> bool:
    """Say whether all rows are sound and have no overflow and small sums; False says nothing yet.

    A report has a dozen histograms and a master a thousand reports a second: for so few a loop is faster than
    numpy, whose calls have a price each. That no minimum is over its maximum follows from the counters.
    """
    for (total, minimum, maximum, high, low, overflow), number, begin, end in zip(
        rows, counted, first, last, strict=True
    ):
        if high or overflow or total != number or maximum > HIGHEST_US or low >= 1 << LOW_BITS:
            return False
        if not (_LOWEST[begin] <= minimum <= _HIGHEST[begin] and _LOWEST[end] <= maximum <= _HIGHEST[end]):
            return False
        if not minimum * total <= low <= maximum * total:
            return False
    return True


def _in_counters(exact: Int64s, first: Ints, last: Ints, last_counts: Ints) -> Bools:
    """Say for each row whether minimum, maximum and overflow can be of its first and last counter."""
    _, minimum, maximum, _, _, overflow = exact.T
    lowest, highest = np.minimum(exact[:, 1:3], HIGHEST_US).T
    sound: Bools = (minimum >= 0) & (minimum <= maximum) & (maximum <= LARGEST_EXACT_US)
    sound &= (LOWEST_EQUIVALENT[first] <= lowest) & (lowest <= HIGHEST_EQUIVALENT[first])
    sound &= (LOWEST_EQUIVALENT[last] <= highest) & (highest <= HIGHEST_EQUIVALENT[last])
    sound &= (overflow > 0) == (maximum > HIGHEST_US)
    sound &= (overflow >= 0) & (overflow <= last_counts.astype(np.int64))
    return sound


def _sums_fit(exact: Int64s) -> Bools:
    """Say for each row whether its sum lies between total times minimum and total times maximum."""
    total, minimum, maximum, high, low, _ = exact.T
    largest = exact.max(axis=0).tolist()
    if largest[0] * largest[2] < _SAFE_PRODUCT and not high.any() and int(exact.min()) >= 0:
        fit: Bools = (minimum * total <= low) & (low <= maximum * total)
        return fit
    fits = [_sum_fits(Exact._make(row)) for row in exact.tolist()]
    return np.array(fits, np.bool_)


def _sum_fits(row: Exact) -> bool:
    if row.sum_high < 0 or not 0 <= row.sum_low < 1 << LOW_BITS:
        return False
    return row.minimum * row.total <= _sum_of(row) <= row.maximum * row.total


def _sum_of(row: Exact) -> int:
    return row.sum_high << LOW_BITS | row.sum_low


def _refuse(row: Exact, part: Part) -> None:
    """Say what is wrong with one histogram."""
    counted = int(part.counts.sum())
    if row.total != counted:
        raise MeasureError(f"a histogram says it has {row.total} values, its counters have {counted}")
    if row.sum_high < 0 or not 0 <= row.sum_low < 1 << LOW_BITS:
        raise MeasureError("a histogram's sum is malformed")
    Histogram.from_part(part, row.total, row.minimum, row.maximum, _sum_of(row), row.overflow)
    # The two checks are held equal by a test; should they ever differ, the stricter one counts.
    raise MeasureError("a histogram's exact numbers do not fit its counters")
