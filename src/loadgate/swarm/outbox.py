"""What a worker keeps until the master has committed it: what was sent, and what could not be sent yet.

What was sent is *in doubt* until it is acknowledged: it may be committed already, and only the
acknowledgement lost. So it comes again as it was, under its number, which the master knows; it is never
merged with anything and never numbered anew. What was not sent has no number yet. It is *pending*, and when
memory runs short its windows are merged into longer ones, which loses time resolution and nothing else.

A delta holds at most a small share of the memory. So what is in doubt, which cannot shrink, leaves at least
half of the bound to what can.

Pure: time is passed in, and sending is the caller's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from loadgate.errors import MeasureError
from loadgate.measure.delta import MOST_FAILURES, Delta, Failure, FleetRow
from loadgate.measure.layout import COUNTERS
from loadgate.measure.window import Window
from loadgate.measure.wire import MOST_COUNTERS, MOST_WINDOWS

SPANS = (1, 10, 60, 600, 6_000, 60_000, 600_000, 6_000_000)
"""Seconds that pending windows may be merged to; each is a multiple of the one before."""
MOST_BYTES = 64 * 2**20
MOST_DELTA_BYTES = 2**20
"""Memory of one delta at the most, so that packing it never holds the event loop up for long."""
WORST = (
    "cpu",
    "start_lag_p99_us",
    "loop_lag_p99_us",
    "loop_lag_max_us",
    "p99_us",
    "clock_error_us",
    "unacknowledged",
    "throttled_us",
    "fds",
    "ports",
    "gc_pause_max_us",
    "control_failures",
    "control_p50_us",
    "control_p99_us",
)
"""What a fleet row that stands for others has the greatest of; the rest is as it was last."""

# Measured with tracemalloc, rounded up: objects and dictionaries, and 8 bytes each for an index and a count.
_WINDOW_BYTES, _HISTOGRAM_BYTES, _OVER_BYTES = 1200, 900, 100
_ROW_BYTES, _FAILURE_BYTES = 800, 600
_COUNTER_BYTES, _DENSE_BYTES = 16, 8 * COUNTERS
_DENSE_FROM = 4096
"""Counters in use from which a histogram keeps all of them, as `Histogram.compact` has it."""
_SLACK = 256
"""Merging goes on until this part of the bound is free, so that not every second has to merge."""


class Outbox:
    """Number, keep and repeat the deltas of one incarnation of a worker in one run.

    `most_bytes` bounds the memory, as far as merging can: of each endpoint and phase one window stays, of
    each kind of failure one. Nothing is ever dropped. `in_doubt` deltas at the most are sent and not
    acknowledged; each comes again `again_after` seconds after its last sending. Raise MeasureError when
    `in_doubt` is not at least 1.
    """

    def __init__(
        self,
        run: str,
        worker: str,
        incarnation: int,
        *,
        most_bytes: int = MOST_BYTES,
        in_doubt: int = 8,
        again_after: float = 3.0,
    ) -> None:
        if in_doubt < 1:
            raise MeasureError(f"with {in_doubt} deltas in doubt nothing can be sent")
        self._run, self._worker, self._incarnation = run, worker, incarnation
        self._most_bytes = most_bytes
        self._most_in_doubt = in_doubt
        self._again_after = again_after
        self._delta_bytes = min(MOST_DELTA_BYTES, most_bytes // (2 * in_doubt))
        self._pending = _Pending()
        self._sent: dict[int, _Sent] = {}
        self._sent_bytes = 0
        self._sequence = 0
        self._finished = False
        self._final: int | None = None

    def put(self, windows: Iterable[Window], failures: Iterable[Failure], rows: Iterable[FleetRow]) -> None:
        """Take what a second has brought; the windows and failures belong to the outbox from now on.

        Raise MeasureError after `finish`, and for a window that is not of one second; nothing is taken then.
        """
        given = list(windows)
        if self._finished:
            raise MeasureError("an outbox takes nothing more after its last content")
        if any(window.span != 1 for window in given):
            raise MeasureError("an outbox takes windows of one second only; it makes longer ones itself")
        for window in given:
            self._pending.add_window(window)
        for failure in failures:
            self._pending.add_failure(failure)
        for row in rows:
            self._pending.add_row(row)
        if self.bytes > self._most_bytes:
            room = self._most_bytes - self._most_bytes // _SLACK
            self._pending.shrink(room - self._sent_bytes)

    def finish(self) -> None:
        """Say that the last content was put; the delta that will carry the end of it is the final one."""
        self._finished = True

    def next(self, now: float) -> list[Delta]:
        """Return the deltas to send now (seconds of any clock that does not go back), by number.

        Those that were sent too long ago come unchanged; then as much of what is pending as may be in
        doubt. After `finish` there is exactly one final delta, the one with the greatest number; it is empty
        when all content was sent before.
        """
        due = [sent for sent in self._sent.values() if now - sent.at > self._again_after]
        for sent in due:
            sent.at = now
        room = self._most_in_doubt - len(self._sent)
        new = [self._send(load, now) for load in islice(self._pending.loads(self._delta_bytes), max(room, 0))]
        if self._finished and self._final is None and not self._pending:
            if not new and room > 0:
                new.append(self._send(_Load(), now))
            if new:
                self._final = new[-1].sequence
        return [sent.delta for sent in due] + new

    def is_final(self, delta: Delta) -> bool:
        """Tell whether no other delta follows this one."""
        return delta.sequence == self._final

    def again(self) -> None:
        """Let everything in doubt be sent again at once: whoever took it may be gone."""
        for sent in self._sent.values():
            sent.at = -math.inf

    def acknowledged(self, sequences: Iterable[int]) -> None:
        """Forget deltas that are committed; those that were forgotten before are passed over."""
        for sequence in sequences:
            sent = self._sent.pop(sequence, None)
            if sent is not None:
                self._sent_bytes -= sent.bytes

    @property
    def empty(self) -> bool:
        """Whether all that was put is committed, and after `finish` the final delta too."""
        return not self._sent and not self._pending and (not self._finished or self._final is not None)

    @property
    def waiting(self) -> int:
        """The deltas in doubt and the seconds, or longer spans, that are pending."""
        return len(self._sent) + len(self._pending)

    @property
    def bytes(self) -> int:
        """The memory that all of it takes, estimated."""
        return self._sent_bytes + self._pending.bytes

    @property
    def merged(self) -> int:
        """How often a window was taken into a longer one to save memory."""
        return self._pending.merged

    def _send(self, load: _Load, now: float) -> Delta:
        self._sequence += 1
        delta = Delta(
            run=self._run,
            worker=self._worker,
            incarnation=self._incarnation,
            sequence=self._sequence,
            windows=load.windows,
            failures=load.failures,
            fleet=load.rows,
        )
        self._sent[self._sequence] = _Sent(delta, load.bytes, now)
        self._sent_bytes += load.bytes
        return delta


@dataclass(slots=True)
class _Sent:
    delta: Delta
    bytes: int
    at: float
    """When it was last sent."""


@dataclass(slots=True)
class _Load:
    """What one delta is to carry."""

    windows: list[Window] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rows: list[FleetRow] = field(default_factory=list)
    bytes: int = 0
    counters: int = 0

    def has_room(self, weight: _Weight, most_bytes: int) -> bool:
        """Tell whether one thing more may come in; the first one always may."""
        if not (self.windows or self.failures or self.rows):
            return True
        return (
            len(self.windows) < MOST_WINDOWS
            and len(self.failures) < MOST_FAILURES
            and len(self.rows) < MOST_FAILURES
            and self.counters + weight.counters <= MOST_COUNTERS
            and self.bytes + weight.bytes <= most_bytes
        )

    def add(self, weight: _Weight) -> None:
        self.bytes += weight.bytes
        self.counters += weight.counters


class _Weight(NamedTuple):
    bytes: int
    counters: int = 0


_ROW_WEIGHT = _Weight(_ROW_BYTES)
_NO_WEIGHT = _Weight(0)

_Moment = tuple[int, int]
"""A span's first second, and its length."""


@dataclass(slots=True)
class _Content:
    """The windows of one span, by endpoint and phase, and its fleet rows, by worker."""

    windows: dict[tuple[str, str], tuple[Window, _Weight]] = field(default_factory=dict)
    rows: dict[str, FleetRow] = field(default_factory=dict)


class _Pending:
    """What has no number yet. Whatever has the same key is one."""

    def __init__(self) -> None:
        self.bytes = 0
        self.merged = 0
        self._spans: dict[_Moment, _Content] = {}
        self._failures: dict[str, tuple[Failure, _Weight]] = {}

    def __len__(self) -> int:
        return len(self._spans) or bool(self._failures)

    def add_window(self, window: Window) -> None:
        self._put_window(self._at((window.second, window.span)), window)

    def add_row(self, row: FleetRow) -> None:
        self._put_row(self._at((row.second, 1)), row)

    def add_failure(self, failure: Failure) -> None:
        known, weight = self._failures.pop(failure.fingerprint, (None, _NO_WEIGHT))
        if known is not None:
            known.merge(failure)
            failure = known
        new = _weight_of_failure(failure)
        self._failures[failure.fingerprint] = failure, new
        self.bytes += new.bytes - weight.bytes

    def loads(self, most_bytes: int) -> Iterator[_Load]:
        """Take content out, oldest first, in loads of at most so many bytes, and of one thing at least.

        What a load holds is taken out when that load is asked for.
        """
        moments = sorted(self._spans, reverse=True)
        while moments or self._failures:
            load = _Load()
            while moments and self._unload(self._spans[moments[-1]], load, most_bytes):
                del self._spans[moments.pop()]
            if not moments:
                self._unload_failures(load, most_bytes)
            self.bytes -= load.bytes
            yield load

    def shrink(self, most_bytes: int) -> None:
        """Merge into longer spans until no more than so many bytes are left, or nothing more can be merged.

        No window becomes longer while a shorter one can still be merged, the oldest come first, and no more
        are merged than it takes: the load waits meanwhile.
        """
        for span in SPANS[1:]:
            groups: dict[int, list[_Moment]] = {}
            for moment in sorted(self._spans):
                if moment[1] <= span:
                    groups.setdefault(moment[0] // span * span, []).append(moment)
            for second, moments in groups.items():
                if self.bytes <= most_bytes:
                    return
                if len(moments) > 1:
                    self._join((second, span), moments, most_bytes)

    def _at(self, moment: _Moment) -> _Content:
        content = self._spans.get(moment)
        if content is None:
            content = self._spans[moment] = _Content()
        return content

    def _join(self, whole: _Moment, moments: list[_Moment], most_bytes: int) -> None:
        """Merge what some spans have in common into a span which holds them all, until it is enough."""
        windows: dict[tuple[str, str], list[_Moment]] = {}
        rows: dict[str, list[_Moment]] = {}
        for moment in moments:
            for key in self._spans[moment].windows:
                windows.setdefault(key, []).append(moment)
            for worker in self._spans[moment].rows:
                rows.setdefault(worker, []).append(moment)
        for worker, held in rows.items():
            if len(held) > 1:
                self._join_rows(whole, worker, held)
        for key, held in windows.items():
            if len(held) > 1 and self.bytes > most_bytes:
                self._join_windows(whole, key, held)
        for moment in moments:
            content = self._spans[moment]
            if not content.windows and not content.rows:
                del self._spans[moment]

    def _join_rows(self, whole: _Moment, worker: str, moments: list[_Moment]) -> None:
        found = [self._spans[moment].rows.pop(worker) for moment in moments]
        self.bytes -= _ROW_BYTES * len(found)
        for row in found:
            self._put_row(self._at(whole), row)

    def _join_windows(self, whole: _Moment, key: tuple[str, str], moments: list[_Moment]) -> None:
        found = [self._spans[moment].windows.pop(key) for moment in moments]
        self.bytes -= sum(weight.bytes for _, weight in found)
        self.merged += len(moments) - (whole in moments)
        together = found[0][0]
        for window, _ in found[1:]:
            together.merge(window)
        together.second, together.span = whole
        self._put_window(self._at(whole), together)

    def _put_window(self, content: _Content, window: Window) -> None:
        """Add a window to a content of its own span."""
        key = (window.endpoint, window.phase)
        known, weight = content.windows.get(key, (None, _NO_WEIGHT))
        if known is not None:
            known.merge(window)
            window = known
        window.compact()
        new = _weight_of_window(window)
        content.windows[key] = window, new
        self.bytes += new.bytes - weight.bytes

    def _put_row(self, content: _Content, row: FleetRow) -> None:
        known = content.rows.get(row.worker)
        if known is None:
            self.bytes += _ROW_BYTES
        else:
            last = known if known.second > row.second else row
            row = replace(last, **{name: max(getattr(known, name), getattr(row, name)) for name in WORST})
        content.rows[row.worker] = row

    @staticmethod
    def _unload(content: _Content, load: _Load, most_bytes: int) -> bool:
        """Move what fits into a load; tell whether that was all."""
        for key, (window, weight) in tuple(content.windows.items()):
            if not load.has_room(weight, most_bytes):
                return False
            load.windows.append(window)
            load.add(weight)
            del content.windows[key]
        for worker, row in tuple(content.rows.items()):
            if not load.has_room(_ROW_WEIGHT, most_bytes):
                return False
            load.rows.append(row)
            load.add(_ROW_WEIGHT)
            del content.rows[worker]
        return True

    def _unload_failures(self, load: _Load, most_bytes: int) -> None:
        for fingerprint, (failure, weight) in tuple(self._failures.items()):
            if not load.has_room(weight, most_bytes):
                return
            load.failures.append(failure)
            load.add(weight)
            del self._failures[fingerprint]


def _weight_of_window(window: Window) -> _Weight:
    counters = size = 0
    for histogram in window.histograms.values():
        used = histogram.to_sparse().indices.size
        counters += used
        size += _HISTOGRAM_BYTES + (_DENSE_BYTES if used >= _DENSE_FROM else used * _COUNTER_BYTES)
    return _Weight(_WINDOW_BYTES + size + len(window.over) * _OVER_BYTES, counters)


def _weight_of_failure(failure: Failure) -> _Weight:
    texts = (failure.fingerprint, failure.kind, failure.message, *failure.samples)
    return _Weight(_FAILURE_BYTES + sum(sys.getsizeof(text) for text in texts))
