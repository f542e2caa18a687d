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

_SAFE_PRODUCT = 2**LOW_BITS
"""Sums up to here have no high part, and products up to here stay within 64 bits."""


def check_exact(exact: Int64s, indices: Ints, counts: Ints, lengths: Int64s) -> None:
    """Raise MeasureError unless every row of `exact` can belong to its counters.

    The counters, `lengths` of them for each of at least one histogram, are known to be in order and in
    range, and their counts to be at least 1 and to sum up to less than 2**63.
    """
    ends = lengths.cumsum()
    starts = ends - lengths
    sound = np.add.reduceat(counts, starts, dtype=np.int64) == exact[:, 0]
    if sound.all() and _are_usual(exact, indices, starts, ends):
        return
    sound &= _in_counters(exact, indices[starts], indices[ends - 1], counts[ends - 1])
    sound &= _sums_fit(exact)
    if sound.all():
        return
    at = int(sound.argmin())
    start, end = int(starts[at]), int(ends[at])
    part = Part(indices[start:end], counts[start:end].astype(np.int64))
    _refuse(Exact._make(exact[at].tolist()), part)


def _are_usual(exact: Int64s, indices: Ints, starts: Int64s, ends: Int64s) -> bool:
    """Say whether all rows are sound and have no overflow and small sums, in as few calls as it takes.

    A report has a dozen histograms and a master a thousand reports a second, so that calls are what counts.
    That no minimum is over its maximum follows from the last two. False says nothing yet.
    """
    most_values, _, longest, highest_part, _, most_over = exact.max(axis=0).tolist()
    if most_over > 0 or highest_part > 0 or longest > HIGHEST_US or most_values * longest >= _SAFE_PRODUCT:
        return False
    if int(exact.min()) < 0:
        return False
    edges = indices[np.array((starts, ends - 1))]
    extremes = exact.T[1:3]
    if (LOWEST_EQUIVALENT[edges] > extremes).any() or (HIGHEST_EQUIVALENT[edges] < extremes).any():
        return False
    bounds = extremes * exact[:, 0]
    total_us = exact[:, 4]
    return not ((bounds[0] > total_us).any() or (bounds[1] < total_us).any())


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
