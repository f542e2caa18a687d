"""The bucket layout of every histogram: HDR, 1 µs to 1 h, 3 significant digits.

A value below 2048 µs has a counter of its own. Above that each power of two is cut into 1024
counters, so a counter is never wider than a thousandth of the values in it. The layout is the one of
HdrHistogram (http://hdrhistogram.org) with unit magnitude 0 and 2048 sub-buckets, so that other HDR
tools read what is stored.

The counters reach a little beyond one hour, to 2**32 - 1 µs; nothing recorded here lands there.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loadgate.errors import MeasureError

LOWEST_US = 1
HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
COUNTERS = 23_552

SUB_BUCKETS = 2048
HALF_SUB_BUCKETS = SUB_BUCKETS // 2
LARGEST_EXACT_US = 2**53
"""The largest value, in µs, that a histogram accepts (and clamps): 285 years, exact as a float."""

Int32s: TypeAlias = NDArray[np.int32]
Int64s: TypeAlias = NDArray[np.int64]
Ints: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.float64]

_MANTISSA_BITS = 52
_EXPONENT_OF_FIRST_BUCKET = 1023 + 10


def unchecked_indices(values_us: Int64s, out: Int64s | None = None, doubles: Floats | None = None) -> Int64s:
    """Return the counter of each value, for values that are known to lie in 0..2**32 - 1.

    The bucket is the exponent of the value as a double, read from its bits; `value | 2047` puts all
    values below 2048 into bucket 0. `out` and `doubles`, of the shape of the values, save allocations.
    """
    indices = np.empty_like(values_us) if out is None else out
    scratch = np.empty(values_us.shape) if doubles is None else doubles
    np.bitwise_or(values_us, SUB_BUCKETS - 1, out=indices)
    np.copyto(scratch, indices)
    bits = scratch.view(np.int64)
    bits >>= _MANTISSA_BITS
    bits -= _EXPONENT_OF_FIRST_BUCKET
    np.right_shift(values_us, bits, out=indices)
    bits *= HALF_SUB_BUCKETS
    indices += bits
    return indices


def indices_of(values_us: ArrayLike) -> Int32s:
    """Return the counter of each value (µs, whole numbers in 0..HIGHEST_US).

    Zero has the counter 0, which no other value shares. Raise MeasureError for a value out of range.
    """
    values = np.asarray(values_us)
    if values.size == 0:
        return np.zeros(values.shape, np.int32)
    if values.dtype.kind not in "iu":
        raise MeasureError(f"values must be whole microseconds, not {values.dtype}")
    if int(values.min()) < 0 or int(values.max()) > HIGHEST_US:
        raise MeasureError(f"values must lie in 0..{HIGHEST_US} us")
    return unchecked_indices(values.astype(np.int64)).astype(np.int32)


def _bounds() -> tuple[Int64s, Int64s]:
    """Return the lowest and the highest value of each counter, in µs."""
    index = np.arange(COUNTERS, dtype=np.int64)
    bucket = np.maximum(index // HALF_SUB_BUCKETS - 1, 0)
    lowest = (index - bucket * HALF_SUB_BUCKETS) << bucket
    highest = lowest + (np.int64(1) << bucket) - 1
    for bound in (lowest, highest):
        bound.setflags(write=False)
    return lowest, highest


LOWEST_EQUIVALENT, HIGHEST_EQUIVALENT = _bounds()
TOP_INDEX = int(indices_of([HIGHEST_US])[0])
"""The counter of HIGHEST_US: where values over it are clamped to."""
