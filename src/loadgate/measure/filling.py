"""Put batches of records into windows: split by second, phase and outcome, then record in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgate.measure.histogram import Histogram, Part, part_of_indices
from loadgate.measure.layout import HIGHEST_US, Floats, Int64s
from loadgate.measure.records import MISSING_US, RETRY_SHIFT, Batch, Flag, Outcome, Row
from loadgate.measure.window import Count, Series, Window, over_key

_OUTCOMES = 4
_PHASES = 256
_COUNTS = {
    Outcome.OK: Count.OK,
    Outcome.FAILED: Count.FAILED,
    Outcome.TIMEOUT: Count.TIMEOUT,
    Outcome.UNFINISHED: Count.UNFINISHED,
}
_TIMED = {
    Outcome.OK: (Series.RESPONSE_OK, Series.SERVICE_OK),
    Outcome.FAILED: (Series.RESPONSE_FAILED, Series.SERVICE_FAILED),
    Outcome.TIMEOUT: (Series.RESPONSE_TIMEOUT, Series.SERVICE_TIMEOUT),
}


class Segment(NamedTuple):
    """Records of one second, phase (its code) and outcome."""

    second: int
    phase: int
    outcome: Outcome
    latencies: Int64s
    indices: Int64s
    flags: Int64s
    size: Floats


def segments_of(batch: Batch, phases: NDArray[np.int8]) -> Iterator[Segment]:
    """Split a batch by the second it ended in, the phase it was due in, and the outcome."""
    keys = np.floor(batch.ended).astype(np.int64)
    keys *= _PHASES
    keys += phases
    keys *= _OUTCOMES
    keys += batch.flags & (_OUTCOMES - 1)
    starts = [0]
    _, _, latencies, indices, flags, size = batch
    changes = keys[1:] != keys[:-1]
    if changes.any():
        if (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys, kind="stable")
            keys, flags, size = keys[order], flags[order], size[order]
            latencies, indices = latencies[:, order], indices[:, order]
            changes = keys[1:] != keys[:-1]
        starts += (changes.nonzero()[0] + 1).tolist()
    for start, end in pairwise([*starts, keys.size]):
        group, outcome = divmod(int(keys[start]), _OUTCOMES)
        yield Segment(
            *divmod(group, _PHASES),
            Outcome(outcome),
            latencies[:, start:end],
            indices[:, start:end],
            flags[start:end],
            size[start:end],
        )


def fill(window: Window, segment: Segment, thresholds: Sequence[int], lags: Histogram) -> bool:
    """Add a segment to its window, and its start lags to `lags`; say whether it had latencies.

    `thresholds` are whole µs: the values of each response and service series over each are counted.
    """
    window.add(_COUNTS[segment.outcome], segment.flags.size)
    window.add(Count.BYTES_RECEIVED, int(segment.size.sum()))
    flagged = int(segment.flags.max()) >= _OUTCOMES
    if flagged:
        _fill_flags(window, segment)
    if segment.outcome is Outcome.UNFINISHED:
        return False
    response, service = _TIMED[segment.outcome]
    rows = _Rows(segment.latencies, segment.indices)
    rows.record(window, response, Row.RESPONSE, thresholds)
    rows.record(window, Series.POOL_WAIT, Row.POOL_WAIT)
    rows.record(window, Series.START_LAG, Row.START_LAG)
    rows.record_into(lags, Row.START_LAG)
    if rows.smallest[Row.SERVICE] < 0:
        sent = segment.latencies[Row.SERVICE] != MISSING_US
        if not sent.any():
            return True
        rows = _Rows(segment.latencies[:, sent], segment.indices[:, sent])
    rows.record(window, service, Row.SERVICE, thresholds)
    rows.record(window, Series.CONNECT, Row.CONNECT)
    if flagged and segment.outcome is Outcome.OK:
        _fill_cache(window, segment, thresholds)
    return True


class _Rows:
    """Latencies of at least one record, with what all rows need worked out in one pass."""

    def __init__(self, latencies: Int64s, indices: Int64s) -> None:
        self.smallest: list[int] = latencies.min(axis=1).tolist()
        self._latencies = latencies
        self._indices = indices
        self._largest: list[int] = latencies.max(axis=1).tolist()
        self._sums: list[int] = latencies.sum(axis=1).tolist()
        self._parts: dict[int, Part] = {}

    def record(self, window: Window, series: Series, row: int, thresholds: Sequence[int] = ()) -> None:
        """Record a row in a series of a window."""
        histogram = window.histograms.get(series)
        if histogram is None:
            histogram = window.histograms[str(series)] = Histogram()
        self.record_into(histogram, row)
        for threshold in thresholds:
            over = self._over(row, threshold)
            key = over_key(series, threshold)
            window.over[key] = window.over.get(key, 0) + over

    def record_into(self, histogram: Histogram, row: int) -> None:
        """Record a row in a histogram."""
        part = self._parts.get(row)
        if part is None:
            part = self._parts[row] = part_of_indices(self._indices[row])
        n = self._latencies.shape[1]
        overflow = self._over(row, HIGHEST_US)
        histogram.record_part(part, n, self.smallest[row], self._largest[row], self._sums[row], overflow)

    def _over(self, row: int, threshold: int) -> int:
        if self._largest[row] <= threshold:
            return 0
        return int(np.count_nonzero(self._latencies[row] > threshold))


def _fill_flags(window: Window, segment: Segment) -> None:
    """Count retries and what the answers said of the rate limit."""
    flags = segment.flags
    window.add(Count.RETRIES, int((flags >> RETRY_SHIFT).sum()))
    window.add(Count.RATE_LIMITED, int(np.count_nonzero(flags & Flag.RATE_LIMITED)))
    window.add(Count.RATE_LIMIT_EXHAUSTED, int(np.count_nonzero(flags & Flag.RATE_LIMIT_EXHAUSTED)))


def _fill_cache(window: Window, segment: Segment, thresholds: Sequence[int]) -> None:
    """Split acceptable answers by cache hit and miss; one that claims both counts as a miss."""
    flags = segment.flags
    miss = (flags & Flag.MISS) != 0
    hit = ((flags & Flag.HIT) != 0) & ~miss
    repeat = (flags & Flag.REPEAT) != 0
    for chosen, series, every, repeated in (
        (hit, Series.RESPONSE_HIT, Count.HITS, Count.REPEAT_HITS),
        (miss, Series.RESPONSE_MISS, Count.MISSES, Count.REPEAT_MISSES),
    ):
        n = int(np.count_nonzero(chosen))
        if not n:
            continue
        window.add(every, n)
        window.add(repeated, int(np.count_nonzero(chosen & repeat)))
        rows = _Rows(segment.latencies[: Row.SERVICE, chosen], segment.indices[: Row.SERVICE, chosen])
        rows.record(window, series, Row.RESPONSE, thresholds)
