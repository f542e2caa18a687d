"""Records of finished requests: what users append, and the arrays they become.

A record is seven numbers, appended flat: due, pool_wait, begun, sent, ended, flags, size. Times are
CLOCK_MONOTONIC seconds, pool_wait seconds, size bytes received, flags a bit field. From them:

    response  = ended - due                 connect = sent - begun
    service   = ended - sent                start_lag = begun - due - pool_wait, not below 0

`sent` may be NaN in a failed or timed-out record when nothing was sent (the connection was refused): it
then has a response time but no service time and no connect time. An unfinished record needs only `due`
and `ended`.

Latencies are rounded up to whole microseconds, so that none is reported smaller than it was, and so that
"greater than a limit of whole microseconds" is decided as if they had not been rounded. Half a nanosecond
is taken off before: the clock counts nanoseconds, anything finer is noise of floating point.

Run time is a local time less the anchor that was in force at that local time (`Anchors`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgate.measure.layout import HIGHEST_US, Floats, Int64s, unchecked_indices

FIELDS = 7
BLOCK = 16_384
"""Records worked on at a time: it bounds the memory of a flush, and smaller blocks measured slower."""
_CHUNK = 2048 * FIELDS
"""Numbers unboxed and deleted at a time: Python copies them, and large copies need fresh pages each time."""
RETRY_SHIFT = 8
"""The number of retries starts at this bit of `flags`."""

EARLY_S = 1e-3
"""A timer may start an arrival this much before it was due; more is a broken record."""
ROUNDING_S = 1e-6
"""Differences this far below 0 are rounding, and count as 0; more is a broken record."""
EARLIEST_S = -60.0
"""Nothing happens earlier in run time: a time that was never set shows by this."""
LONGEST_S = 1e9
"""No run lasts longer, and no request."""
MISSING_US = -1
"""Stands for a latency that a record does not have."""
ANCHOR_KEPT_S = 3600.0
"""An anchor that was replaced longer ago than this is given up."""
MOST_ANCHORS = 4096
"""Anchors that are kept at a time: more than a worker's pings, four in 5 s, can correct in that time."""

_US_PER_S = 1e6
_NEVER_US = -(2**60)
_HALF_NANOSECOND_US = 5e-4
_FLAGS_END = 2.0**31
_SIZE_END = 2.0**53
_DUE, _ENDED, _FLAGS, _SIZE = 0, 4, 5, 6
"""Columns of a record."""


class Outcome(IntEnum):
    """Name the outcomes in the lowest two bits of `flags`."""

    OK = 0
    FAILED = 1
    TIMEOUT = 2
    UNFINISHED = 3


class Flag(IntFlag):
    """Name the bits of `flags` above the outcome; the number of retries follows from RETRY_SHIFT on."""

    HIT = 1 << 2
    MISS = 1 << 3
    REPEAT = 1 << 4
    RATE_LIMITED = 1 << 5
    RATE_LIMIT_EXHAUSTED = 1 << 6


class Row(IntEnum):
    """Name the rows of `Batch.latencies`."""

    RESPONSE = 0
    SERVICE = 1
    POOL_WAIT = 2
    START_LAG = 3
    CONNECT = 4


_LEAST_S = np.array([-EARLY_S, -ROUNDING_S, -ROUNDING_S, -EARLY_S, -ROUNDING_S])
"""The least value of each `Row`, in seconds, that a sound record can have."""


class Batch(NamedTuple):
    """Records that are sound, as columns; run times in seconds."""

    due: Floats
    ended: Floats
    latencies: Int64s
    """One row for each `Row`, whole µs; MISSING_US where there is none."""
    indices: Int64s
    """The counter of each latency; meaningless where there is none."""
    flags: Int64s
    size: Floats


class Anchors:
    """Turn CLOCK_MONOTONIC times into run times, each by the anchor that was in force at that time.

    A correction holds from the moment it comes on, never backwards: an arrival and the end of its request
    carry the same due time, and so have the same phase, however late each is flushed. It begins EARLY_S
    ahead, since a due time may lie that far ahead of now and have been converted already.

    Anchors that were replaced over ANCHOR_KEPT_S ago, and those beyond MOST_ANCHORS, give way to the one
    that followed. That is safe: it concerns only requests that end more than an hour after they were due,
    and moves the phase of such an end only when it was due within the correction of the phase's limit. Then
    that phase lacks an end and another has one too many: the books show it, and nothing else changes.
    """

    def __init__(self, anchor: float) -> None:
        self.newest = anchor
        """The CLOCK_MONOTONIC time of run time 0, as it is known now."""
        self._anchors = np.array([anchor])
        self._starts = np.empty(0)
        """The times after which each anchor but the first holds; none before the one before."""
        self._newest_from = -math.inf

    def __len__(self) -> int:
        return self._anchors.size

    def correct(self, anchor: float, now: float) -> None:
        """Let another anchor hold for all times after `now` (CLOCK_MONOTONIC)."""
        if anchor == self.newest:
            return
        start = max(now + EARLY_S, self._newest_from)
        kept = int(self._starts.searchsorted(now - ANCHOR_KEPT_S))
        kept = max(kept, self._anchors.size + 1 - MOST_ANCHORS)
        starts, anchors = self._starts[kept:], self._anchors[kept:]
        self._starts, self._anchors = np.append(starts, start), np.append(anchors, anchor)
        self._newest_from, self.newest = start, anchor

    def convert(self, times: Floats) -> Floats:
        """Turn times into run times in place, and return them; NaN and infinite ones stay what they are."""
        if self._anchors.size == 1 or (times.size and times.min() > self._newest_from):
            times -= self.newest
        else:
            times -= self._anchors[self._starts.searchsorted(times)]
        return times

    def run_time(self, moment: float) -> float:
        """Return the run time of one moment."""
        return float(moment - self._anchors[self._starts.searchsorted(moment)])


class Intake:
    """Take numbers out of the lists that users append to, and work out what they mean.

    A list stays the same object, so that a user may keep its bound `append` or `extend`. What is not a
    number becomes NaN. The large arrays are kept and used again, since fresh ones cost more than the work
    on them: what is returned is valid until the next use.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0)
        self._columns = np.empty((FIELDS, 0))
        self._latencies = np.empty((len(Row), 0))
        self._whole = np.empty((len(Row), 0), np.int64)
        self._indices = np.empty((len(Row), 0), np.int64)

    def numbers(self, appended: list[float]) -> Floats:
        """Remove and return all items."""
        return self._take(appended, len(appended))

    def batches(self, appended: list[float], anchors: Anchors) -> Iterator[tuple[Batch, Floats]]:
        """Remove all whole records in place; yield by the block those that are sound, and those that are not.

        The rows that are not sound stay as they were.
        """
        whole = len(appended) // FIELDS
        for start in range(0, whole, BLOCK):
            rows = self._take(appended, min(BLOCK, whole - start) * FIELDS).reshape(-1, FIELDS)
            yield self._batch_of(rows, anchors)

    def _take(self, appended: list[float], length: int) -> Floats:
        if self._buffer.size < length:
            self._buffer = np.empty(length)
        starts = range(0, length, _CHUNK)
        for start in starts:
            _unbox(appended[start : min(start + _CHUNK, length)], self._buffer[start:])
        for start in reversed(starts):
            del appended[start : min(start + _CHUNK, length)]
        return self._buffer[:length]

    def _batch_of(self, records: Floats, anchors: Anchors) -> tuple[Batch, Floats]:
        """Return the sound records, in run time, and the rows that are not sound."""
        n = len(records)
        if self._columns.shape[1] < n:
            self._columns, self._latencies = np.empty((FIELDS, n)), np.empty((len(Row), n))
            self._whole = np.empty((len(Row), n), np.int64)
            self._indices = np.empty((len(Row), n), np.int64)
        columns = self._columns[:, :n]
        columns[:] = records.T
        broken = records[:0]
        complete = True
        with np.errstate(invalid="ignore", over="ignore"):
            latencies = _latencies(columns, self._latencies[:, :n])
            anchors.convert(columns[_DUE])
            anchors.convert(columns[_ENDED])
            if not _all_sound(columns, latencies):
                complete = False
                sound = _sound(columns, latencies)
                broken = records[~sound]
                columns, latencies = columns[:, sound], latencies[:, sound]
        n = columns.shape[1]
        whole = _whole_us(latencies, self._whole[:, :n], complete=complete)
        indices = _indices(whole, self._indices[:, :n], latencies)
        flags = columns[_FLAGS].astype(np.int64)
        return Batch(columns[_DUE], columns[_ENDED], whole, indices, flags, columns[_SIZE]), broken


def _unbox(items: list[float], out: Floats) -> None:
    """Write items to the start of an array; struct reads a list of floats three times as fast as numpy."""
    try:
        struct.pack_into(f"{len(items)}d", out.data, 0, *items)
    except (struct.error, TypeError, OverflowError):
        out[: len(items)] = [_number(item) for item in items]


def _number(item: Any) -> float:
    """Return an item as a float, NaN when it is none."""
    try:
        return float(item)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _latencies(columns: Floats, latencies: Floats) -> Floats:
    """Return the latencies in seconds, one row for each `Row`, in the array given for them."""
    due, pool_wait, begun, sent, ended, _, _ = columns
    np.subtract(ended, due, out=latencies[Row.RESPONSE])
    np.subtract(ended, sent, out=latencies[Row.SERVICE])
    latencies[Row.POOL_WAIT] = pool_wait
    lag = np.subtract(begun, due, out=latencies[Row.START_LAG])
    lag -= pool_wait
    np.subtract(sent, begun, out=latencies[Row.CONNECT])
    return latencies


def _all_sound(columns: Floats, latencies: Floats) -> bool:
    """Say whether every record is sound and complete, by the extremes alone; NaN passes no comparison."""
    if not latencies.size:
        return True
    low, high = columns.min(axis=1), columns.max(axis=1)
    return bool(
        low[_DUE] >= EARLIEST_S
        and high[_DUE] < LONGEST_S
        and (latencies.min(axis=1) >= _LEAST_S).all()
        and latencies[Row.RESPONSE].max() < LONGEST_S
        and low[_FLAGS] >= 0
        and high[_FLAGS] < _FLAGS_END
        and low[_SIZE] >= 0
        and high[_SIZE] < _SIZE_END
    )


def _sound(columns: Floats, latencies: Floats) -> NDArray[np.bool_]:
    """Say which records are sound, the two kinds included that need not have all times.

    Leave NaN, and nothing else that is no latency, in what those lack.
    """
    due, _, _, sent, _, flags, size = columns
    plausible = (due >= EARLIEST_S) & (due < LONGEST_S)
    plausible &= (flags >= 0) & (flags < _FLAGS_END)
    plausible &= (size >= 0) & (size < _SIZE_END)
    plausible &= (latencies[Row.RESPONSE] >= -EARLY_S) & (latencies[Row.RESPONSE] < LONGEST_S)
    complete = (latencies >= _LEAST_S[:, np.newaxis]).all(axis=0)
    outcome = np.where(plausible, flags, 0).astype(np.int64) & 3
    unfinished = outcome == Outcome.UNFINISHED
    never_sent = np.isnan(sent) & ((outcome == Outcome.FAILED) | (outcome == Outcome.TIMEOUT))
    for row in (Row.POOL_WAIT, Row.START_LAG):
        never_sent &= latencies[row] >= _LEAST_S[row]
    # `ended` is in run time by now and `begun` is not, so the two are compared through the latencies
    never_sent &= latencies[Row.RESPONSE] - latencies[Row.START_LAG] - latencies[Row.POOL_WAIT] >= -ROUNDING_S
    latencies[:, unfinished & ~complete] = np.nan
    sound: NDArray[np.bool_] = plausible & (complete | unfinished | never_sent)
    return sound


def _whole_us(latencies: Floats, whole: Int64s, *, complete: bool) -> Int64s:
    """Return latencies (seconds) rounded up to whole µs, none below 0; MISSING_US for NaN.

    The result is in `whole`; `latencies` are overwritten.
    """
    latencies *= _US_PER_S
    latencies -= _HALF_NANOSECOND_US
    np.ceil(latencies, out=latencies)
    if not complete:
        np.nan_to_num(latencies, copy=False, nan=_NEVER_US)
    np.copyto(whole, latencies, casting="unsafe")
    if whole.size and int(whole.min()) < 0:
        missing = whole == _NEVER_US
        np.maximum(whole, 0, out=whole)
        whole[missing] = MISSING_US
    return whole


def _indices(whole_us: Int64s, out: Int64s, doubles: Floats) -> Int64s:
    """Return the counter of each latency in `out`; those over the range have the top counter."""
    if whole_us.size and (int(whole_us.min()) < 0 or int(whole_us.max()) > HIGHEST_US):
        whole_us = whole_us.clip(0, HIGHEST_US)
    return unchecked_indices(whole_us, out, doubles)
