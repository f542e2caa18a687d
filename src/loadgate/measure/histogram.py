"""Exact, mergeable latency histograms in microseconds.

A histogram holds counters in the layout of `layout`, and beside them the exact number, minimum,
maximum and sum of what was recorded, which counters cannot give back. Counters are kept as sorted
(index, count) arrays while they are few and as one dense array when merging has made them many; an
empty histogram holds neither. Which form is in use never shows in a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import ArrayLike

from loadgate.errors import MeasureError
from loadgate.measure import codec
from loadgate.measure.layout import (
    COUNTERS,
    HIGHEST_EQUIVALENT,
    HIGHEST_US,
    LARGEST_EXACT_US,
    LOWEST_EQUIVALENT,
    TOP_INDEX,
    Int32s,
    Int64s,
    Ints,
    unchecked_indices,
)
from loadgate.measure.varint import append_varint, read_varint

RANKS_PER_WHOLE = 10_000
"""A percentile is given in hundredths of a percent: p99.9 is 9990."""

_DENSE_FROM = 4096
"""Pending (index, count) pairs from which a dense array is the smaller and the faster form."""
_LONGEST_QUEUE = 512
"""Pending parts from which they are put together whatever their size."""
_ROW = 128
"""Counters that a percentile query sums at a time; 128 measured fastest of 64 to 1024."""
STORED_VERSION = 1
"""The first byte of what `Histogram.encode` gives."""
PLAIN_VERSION = 2
"""The first byte of a histogram whose counters are not compressed; see `store.series_blob`."""
REST_VERSION = 3
"""The first byte of a histogram whose counters are those of one less those of another."""


class Sparse(NamedTuple):
    """The counters in use: strictly increasing indices, and a count of at least 1 for each."""

    indices: Int32s
    counts: Int64s


class Part(NamedTuple):
    """Counters in use, as `Sparse`, in whatever integer type they came. Never written to."""

    indices: Ints
    counts: Ints


def rank_of(percentile: int, samples: int) -> int:
    """Return the rank (1-based) of a percentile among `samples` values: ceil(p·n / 10000), at least 1.

    This is the one definition of a percentile; it is computed in integers, so that no rounding of a
    float decides which sample is meant.
    """
    if not 0 <= percentile <= RANKS_PER_WHOLE:
        raise MeasureError(f"a percentile is {percentile}, not in 0..{RANKS_PER_WHOLE} (p99.9 is 9990)")
    return max(1, -(-percentile * samples // RANKS_PER_WHOLE))


class Histogram:
    """Count values of 0 µs to 1 h; see the module for what is exact.

    A value over `HIGHEST_US` is counted in the top counter and in `overflow`; `maximum` and `sum` hold
    what it was. `minimum` and `maximum` are None while the histogram is empty.
    """

    __slots__ = ("_dense", "_parts", "_pending", "maximum", "minimum", "overflow", "sum", "total")

    def __init__(self) -> None:
        self.total = 0
        self.minimum: int | None = None
        self.maximum: int | None = None
        self.sum = 0
        self.overflow = 0
        self._dense: Int64s | None = None
        self._parts: list[Part] = []
        self._pending = 0

    # ---- recording

    def record(self, value_us: int, n: int = 1) -> None:
        """Count one value (µs) `n` times. Raise MeasureError for a negative value or a negative `n`."""
        if n < 0:
            raise MeasureError(f"a value cannot be recorded {n} times")
        if not 0 <= value_us <= LARGEST_EXACT_US:
            raise MeasureError(
                f"{value_us} us is not a latency", hint="A negative one means a clock went back."
            )
        if n == 0:
            return
        over = value_us > HIGHEST_US
        index = TOP_INDEX if over else int(unchecked_indices(np.array([value_us], np.int64))[0])
        part = Part(np.array([index], np.int64), np.array([n], np.int64))
        self._add(n, value_us, value_us, value_us * n, n if over else 0)
        self._queue(part)

    def record_many(self, values_us: ArrayLike) -> None:
        """Count an array of values (whole µs). Raise MeasureError when any is negative or no integer.

        Nothing is recorded when an error is raised.
        """
        values = np.asarray(values_us)
        if values.size == 0:
            return
        if values.dtype.kind not in "iu":
            raise MeasureError(f"values must be whole microseconds, not {values.dtype}")
        smallest, largest = int(values.min()), int(values.max())
        if smallest < 0 or largest > LARGEST_EXACT_US:
            odd = smallest if smallest < 0 else largest
            raise MeasureError(f"{odd} us is not a latency", hint="A negative one means a clock went back.")
        values = values.astype(np.int64, copy=False).ravel()
        overflow = 0
        if largest > HIGHEST_US:
            over = values > HIGHEST_US
            overflow = int(np.count_nonzero(over))
            beyond = sum(values[over].tolist()) - overflow * HIGHEST_US
            values = np.where(over, HIGHEST_US, values)
        else:
            beyond = 0
        self._add(values.size, smallest, largest, int(values.sum()) + beyond, overflow)
        self._queue(part_of_indices(unchecked_indices(values)))

    def record_part(
        self, part: Part, total: int, smallest: int, largest: int, total_us: int, overflow: int
    ) -> None:
        """Count values whose counters and exact numbers (µs) the caller has worked out, unchecked.

        The recorder works out several series in one pass; everyone else calls `record_many`.
        """
        self._add(total, smallest, largest, total_us, overflow)
        self._queue(part)

    def record_counters(
        self,
        indices: Ints,
        counts: Ints,
        *,
        total: int,
        smallest: int,
        largest: int,
        total_us: int,
        overflow: int,
    ) -> None:
        """Count as `record_part` does, of counters in any order that may be there several times."""
        # A dense array in between is faster than sorting: the counters come from up to a thousand workers.
        dense = np.zeros(int(indices.max()) + 1, np.int64)
        np.add.at(dense, indices.astype(np.int64, copy=False), counts.astype(np.int64, copy=False))
        used = (dense != 0).nonzero()[0]
        self.record_part(Part(used, dense[used]), total, smallest, largest, total_us, overflow)

    def _add(self, total: int, minimum: int, maximum: int, total_us: int, overflow: int) -> None:
        """Add to the exact numbers, for `total` > 0."""
        self.total += total
        if self.minimum is None or minimum < self.minimum:
            self.minimum = minimum
        if self.maximum is None or maximum > self.maximum:
            self.maximum = maximum
        self.sum += total_us
        self.overflow += overflow

    # ---- merging and forms

    def merge(self, other: Histogram) -> None:
        """Add all that `other` counted. Exact, in any order and grouping; `other` is not changed."""
        if other.minimum is None or other.maximum is None:
            return
        parts = tuple(other._parts)
        dense = other._dense
        self._add(other.total, other.minimum, other.maximum, other.sum, other.overflow)
        if dense is not None:
            if self._dense is None:
                self._dense = dense.copy()
            else:
                self._dense += dense
        for part in parts:
            self._queue(part)

    def _queue(self, part: Part) -> None:
        """Take a part in; put the parts together when they have become many."""
        self._parts.append(part)
        self._pending += part.indices.size
        if self._pending >= _DENSE_FROM or len(self._parts) >= _LONGEST_QUEUE:
            self._settle()

    def _settle(self) -> None:
        """Leave either the dense array alone, or at most one part alone."""
        if not self._parts or (self._dense is None and len(self._parts) == 1 and self._pending < _DENSE_FROM):
            return
        indices = np.concatenate([part.indices for part in self._parts])
        counts = np.concatenate([part.counts for part in self._parts])
        if self._dense is None and self._pending < _DENSE_FROM:
            used, inverse = np.unique(indices, return_inverse=True)
            summed = np.zeros(used.size, np.int64)
            np.add.at(summed, inverse, counts.astype(np.int64, copy=False))
            self._parts = [Part(used, summed)]
            self._pending = used.size
            return
        if self._dense is None:
            self._dense = np.zeros(COUNTERS, np.int64)
        np.add.at(self._dense, indices.astype(np.int64, copy=False), counts.astype(np.int64, copy=False))
        self._parts = []
        self._pending = 0

    def compact(self) -> None:
        """Give a dense array up where sorted arrays take less memory; the content stays the same."""
        self._settle()
        if self._dense is None:
            return
        used = np.flatnonzero(self._dense != 0)
        if used.size < _DENSE_FROM:
            part = Part(used.astype(np.int32), self._dense[used])
            self._dense, self._parts, self._pending = None, [part], used.size

    def copy(self) -> Histogram:
        """Return a histogram of the same content that shares nothing which is ever written to."""
        other = Histogram()
        other.merge(self)
        return other

    def to_sparse(self) -> Sparse:
        """Return the counters in use."""
        self._settle()
        if self._dense is not None:
            used = np.flatnonzero(self._dense != 0)
            return Sparse(used.astype(np.int32), self._dense[used])
        if not self._parts:
            return Sparse(np.zeros(0, np.int32), np.zeros(0, np.int64))
        part = self._parts[0]
        return Sparse(part.indices.astype(np.int32), part.counts.astype(np.int64))

    @classmethod
    def from_sparse(
        cls, sparse: Sparse, *, minimum: int | None, maximum: int | None, total_us: int, overflow: int = 0
    ) -> Histogram:
        """Return the histogram of these counters and exact numbers (µs; `total_us` is the sum).

        Raise MeasureError when the arrays are no `Sparse`, or the numbers cannot belong to them.
        """
        indices, counts = np.asarray(sparse.indices), np.asarray(sparse.counts)
        if indices.ndim != 1 or indices.shape != counts.shape:
            raise MeasureError("a sparse histogram needs as many counts as indices")
        if indices.dtype.kind not in "iu" or counts.dtype.kind not in "iu":
            raise MeasureError("a sparse histogram's indices and counts must be integers")
        if indices.size:
            if int(indices[0]) < 0 or int(indices[-1]) >= COUNTERS or not (indices[1:] > indices[:-1]).all():
                raise MeasureError(f"a sparse histogram's indices must increase within 0..{COUNTERS - 1}")
            if int(counts.min()) < 1:
                raise MeasureError("a sparse histogram's counts must be at least 1")
        part = Part(indices.astype(np.int32), counts.astype(np.int64))
        return cls.from_part(part, int(part.counts.sum()), minimum, maximum, total_us, overflow)

    @classmethod
    def from_part(
        cls, part: Part, total: int, minimum: int | None, maximum: int | None, total_us: int, overflow: int
    ) -> Histogram:
        """Return a histogram that holds `part`, whose counters the caller has checked.

        Raise MeasureError when the exact numbers cannot belong to the counters.
        """
        histogram = cls()
        if total == 0:
            if minimum is not None or maximum is not None or total_us or overflow:
                raise MeasureError("an empty histogram has a minimum, maximum, sum or overflow")
            return histogram
        if minimum is None or maximum is None:
            raise MeasureError("a histogram with values has no minimum or no maximum")
        _check_exact(part, total, minimum, maximum, total_us, overflow)
        histogram._add(total, minimum, maximum, total_us, overflow)
        histogram._queue(part)
        return histogram

    # ---- questions

    def percentiles(self, percentiles: Sequence[int], infinite: int = 0) -> list[float | None]:
        """Return the value (µs) of each percentile, given in hundredths of a percent (p99.9 is 9990).

        It is the highest value equivalent to the sample at rank ceil(p·n / 10000) of n values, of which
        `infinite` more than were recorded count as infinitely slow: math.inf where the rank falls among
        those, None for each when there is no value at all. Raise MeasureError outside 0..10000.
        """
        if infinite < 0:
            raise MeasureError(f"{infinite} values cannot be infinitely slow")
        samples = self.total + infinite
        ranks = [rank_of(percentile, samples) for percentile in percentiles]
        if samples == 0:
            return [None] * len(ranks)
        return [*self.at_ranks(ranks)]

    def at_ranks(self, ranks: Sequence[int]) -> list[float]:
        """Return the value (µs) at each rank (1-based): math.inf past the recorded ones.

        It is what `percentiles` gives where a percentile falls on the rank. Raise MeasureError below 1.
        """
        if any(rank < 1 for rank in ranks):
            raise MeasureError("ranks are counted from 1")
        self._settle()
        finite = [rank for rank in ranks if rank <= self.total]
        if self._dense is None:
            found = self._find_sparse(finite)
        else:
            found = _find_dense(self._dense, finite)
        values = iter(HIGHEST_EQUIVALENT[found].tolist())
        return [float(next(values)) if rank <= self.total else math.inf for rank in ranks]

    def percentile(self, rank: int, infinite: int = 0) -> float | None:
        """Return one percentile (µs); `rank` is in hundredths of a percent. See `percentiles`."""
        return self.percentiles((rank,), infinite)[0]

    def _find_sparse(self, ranks: list[int]) -> list[int]:
        """Return the counter that each rank (1..total) falls into."""
        if not ranks:
            return []
        part = self._parts[0]
        cumulated = part.counts.cumsum(dtype=np.int64)
        found: list[int] = part.indices[cumulated.searchsorted(ranks)].tolist()
        return found

    @property
    def mean(self) -> float | None:
        """The exact sum over the number of values (µs), or None when there is none."""
        return self.sum / self.total if self.total else None

    def __eq__(self, other: object) -> bool:
        """Say whether both hold the same counters and the same exact numbers, in whatever form."""
        if not isinstance(other, Histogram):
            return NotImplemented
        if self._exact() != other._exact():
            return False
        mine, theirs = self.to_sparse(), other.to_sparse()
        return np.array_equal(mine.indices, theirs.indices) and np.array_equal(mine.counts, theirs.counts)

    __hash__ = None  # type: ignore[assignment]

    def _exact(self) -> tuple[int, int | None, int | None, int, int]:
        return self.total, self.minimum, self.maximum, self.sum, self.overflow

    def __repr__(self) -> str:
        return f"<Histogram of {self.total} values, {self.minimum}..{self.maximum} us>"

    # ---- codec

    def counts(self) -> Int64s:
        """Return all COUNTERS counts as a new array."""
        self._settle()
        if self._dense is not None:
            return self._dense.copy()
        dense = np.zeros(COUNTERS, np.int64)
        for part in self._parts:
            dense[part.indices] = part.counts
        return dense

    def to_hdr(self) -> HdrHistogram:
        """Return the `hdrhistogram` package's object; its `encode()` gives the text of an `.hlog` line."""
        return codec.hdr_histogram(self.counts())

    def encode(self) -> bytes:
        """Return a compact form of everything; `decode` gives an equal histogram back.

        One version byte; for a histogram that is not empty then the varints minimum, maximum - minimum,
        sum, overflow, and the compressed V2 payload of the `hdrhistogram` package.
        """
        if not self.total:
            return bytes([STORED_VERSION])
        return bytes([STORED_VERSION]) + self.encode_exact() + codec.compressed(self.encode_counters())

    def encode_counters(self) -> bytes:
        """Return the counters as they stand in a V2 payload after its header, not compressed."""
        return codec.encode_used(*self.to_sparse())

    def encode_exact(self) -> bytes:
        """Return the varints minimum, maximum - minimum, sum and overflow of a histogram with values."""
        assert self.minimum is not None
        assert self.maximum is not None
        out = bytearray()
        for number in (self.minimum, self.maximum - self.minimum, self.sum, self.overflow):
            append_varint(out, number)
        return bytes(out)

    @classmethod
    def decode(cls, blob: bytes) -> Histogram:
        """Return the histogram that `encode` made the blob of, or `store.series_blob` gives the parts of.

        Raise MeasureError when it is damaged.
        """
        if not blob or blob[0] not in (STORED_VERSION, PLAIN_VERSION, REST_VERSION):
            raise MeasureError("a stored histogram is empty or of an unknown version")
        if len(blob) == 1:
            return cls()
        minimum, at = read_varint(blob, 1)
        width, at = read_varint(blob, at)
        total_us, at = read_varint(blob, at)
        overflow, at = read_varint(blob, at)
        part, total = _part_of(_counts_in(blob, at))
        if total == 0:
            raise MeasureError("a stored histogram has a minimum but no values")
        return cls.from_part(part, total, minimum, minimum + width, total_us, overflow)

    @classmethod
    def from_hdr_text(cls, text: str | bytes) -> Histogram:
        """Return the histogram of a base64 V2 blob that another HDR tool wrote.

        Such a blob holds counters only: the minimum becomes the lowest and the maximum the highest
        value equivalent to what was recorded, and the sum takes the middle of each counter, rounded
        down. Raise MeasureError when it is damaged or has another range or precision.
        """
        part, total = _part_of(codec.decode_base64(text))
        if total == 0:
            return cls()
        lowest, highest = LOWEST_EQUIVALENT[part.indices], HIGHEST_EQUIVALENT[part.indices]
        weighed = zip(((lowest + highest) // 2).tolist(), part.counts.tolist(), strict=True)
        total_us = sum(middle * count for middle, count in weighed)
        beyond = part.indices > TOP_INDEX
        overflow = int(part.counts[beyond].sum())
        maximum = int(highest[-1]) if overflow else min(int(highest[-1]), HIGHEST_US)
        histogram = cls()
        histogram._add(total, int(lowest[0]), maximum, total_us, overflow)
        histogram._queue(Part(part.indices[~beyond], part.counts[~beyond]))
        if overflow:
            histogram._queue(Part(np.array([TOP_INDEX], np.int32), np.array([overflow], np.int64)))
        return histogram


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return one histogram of all that the given ones counted; none of them is changed."""
    whole = Histogram()
    for histogram in histograms:
        whole.merge(histogram)
    return whole


def part_of_indices(indices: Int64s) -> Part:
    """Return how often each counter occurs in an array of at least one index."""
    counts = np.bincount(indices)
    used = (counts != 0).nonzero()[0]
    return Part(used, counts[used])


def rest_of(blob: bytes, at: int) -> tuple[bytes, bytes]:
    """Return the counters that lie at offset `at` of a REST_VERSION histogram: of the whole, of the part."""
    length, at = read_varint(blob, at)
    if at + length > len(blob):
        raise MeasureError("a stored histogram is cut short")
    return blob[at : at + length], blob[at + length :]


def _counts_in(blob: bytes, at: int) -> Int64s:
    """Return the dense array of counts of a stored histogram whose counters begin at offset `at`."""
    if blob[0] == STORED_VERSION:
        return codec.decode_counts(blob[at:])
    if blob[0] == PLAIN_VERSION:
        return codec.decode_counters(blob[at:])
    whole, part = rest_of(blob, at)
    counts = codec.decode_counters(whole) - codec.decode_counters(part)
    if int(counts.min()) < 0:
        raise MeasureError("a histogram holds a negative count")
    return counts


def _part_of(counts: Int64s) -> tuple[Part, int]:
    """Return the counters in use of a dense array, and the sum of all."""
    used = np.flatnonzero(counts != 0)
    return Part(used.astype(np.int32), counts[used]), int(counts.sum())


def _find_dense(dense: Int64s, ranks: list[int]) -> list[int]:
    """Return the counter that each rank (1..total) falls into: rows first, then within one row."""
    rows = dense.reshape(-1, _ROW)
    cumulated = np.add.reduce(rows, axis=1).cumsum()
    found = []
    for rank in ranks:
        row = int(cumulated.searchsorted(rank))
        rest = rank - (int(cumulated[row - 1]) if row else 0)
        found.append(row * _ROW + int(rows[row].cumsum().searchsorted(rest)))
    return found


def _check_exact(part: Part, total: int, minimum: int, maximum: int, total_us: int, overflow: int) -> None:
    """Raise MeasureError when the exact numbers cannot belong to the counters of `part`.

    Values over the range sit in the top counter, so a maximum over the range means overflow there.
    """
    first, last = int(part.indices[0]), int(part.indices[-1])
    if last > TOP_INDEX:
        raise MeasureError("a histogram uses counters over its range")
    if not 0 <= minimum <= maximum <= LARGEST_EXACT_US:
        raise MeasureError(f"a histogram's minimum {minimum} and maximum {maximum} are out of order")
    lowest, highest = min(minimum, HIGHEST_US), min(maximum, HIGHEST_US)
    if not LOWEST_EQUIVALENT[first] <= lowest <= HIGHEST_EQUIVALENT[first]:
        raise MeasureError(f"a histogram's minimum {minimum} is not in its first counter")
    if not LOWEST_EQUIVALENT[last] <= highest <= HIGHEST_EQUIVALENT[last]:
        raise MeasureError(f"a histogram's maximum {maximum} is not in its last counter")
    if (overflow > 0) != (maximum > HIGHEST_US) or not 0 <= overflow <= int(part.counts[-1]):
        raise MeasureError(f"a histogram's overflow {overflow} does not fit its maximum {maximum}")
    if not minimum * total <= total_us <= maximum * total:
        raise MeasureError(f"a histogram's sum {total_us} does not fit its {total} values")
