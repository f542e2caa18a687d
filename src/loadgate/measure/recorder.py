"""The recorder: users append numbers, and once in a while they become windows in bulk.

The hot path is one `list.append` for each arrival and one `list.extend` for each request. Everything else
happens in `flush` and `drain`, with numpy, over all that was appended since.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loadgate.errors import MeasureError
from loadgate.measure.delta import Failure
from loadgate.measure.failures import FailureLog
from loadgate.measure.filling import Segment, fill, segments_of
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import Floats
from loadgate.measure.records import EARLIEST_S, FIELDS, LONGEST_S, Anchors, Batch, Intake
from loadgate.measure.window import Count, Window

OVERFLOW_ENDPOINT = "(overflow)"
"""The endpoint of all requests whose own endpoint came after the limit was reached."""

_NO_THRESHOLDS: Mapping[str | None, Sequence[int]] = {}
_CAUSES = {"pool": (0.0, Count.UNSENT_POOL), "generator": (1.0, Count.UNSENT_GENERATOR)}
_UNSENT_FIELDS = 3


class Channel:
    """Take in what happens at one endpoint.

    `due(t)` counts an arrival that was due at `t`. `done((due, pool_wait, begun, sent, ended, flags,
    size))` records a request that ended; see `records` for the seven numbers. Both are bound methods of
    lists that live as long as the channel, so a user may keep them. Times are CLOCK_MONOTONIC seconds.
    """

    __slots__ = ("arrivals", "done", "due", "endpoint", "records", "unsent")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.records: list[float] = []
        self.arrivals: list[float] = []
        self.unsent: list[float] = []
        self.done: Callable[[Iterable[float]], None] = self.records.extend
        self.due: Callable[[float], None] = self.arrivals.append


@dataclass(slots=True)
class Counters:
    """What a recorder has seen since it was made, of all that was flushed.

    `started` counts requests whose record has come, unfinished ones too: those in flight are not in it.
    `finished` leaves the unfinished out. `malformed` counts numbers that made no sense; they are in no
    latency, and their arrivals are counted as lost.
    """

    offered: int = 0
    started: int = 0
    finished: int = 0
    unsent: int = 0
    malformed: int = 0


class Recorder:
    """Turn what users append into windows.

    Anchor, phases and thresholds may come late: until `start`, everything waits in the channels. Not
    made for several threads, but appending from one while another drains loses nothing.
    """

    def __init__(self, endpoint_limit: int = 100, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = Counters()
        self.start_lag = Histogram()
        """The start lags (µs) of the requests that the last `drain` took in."""
        self._limit = endpoint_limit
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._open: dict[tuple[int, str, str], Window] = {}
        self._failures = FailureLog()
        self._intake = Intake()
        self._recent_lag = Histogram()
        self._anchors: Anchors | None = None
        self._phases_of: Callable[[Floats], NDArray[np.int8]] = _no_phases
        self._phase_names: tuple[str, ...] = ()
        self._thresholds = _NO_THRESHOLDS

    # ---- taking in

    def channel(self, endpoint: str) -> Channel:
        """Return the channel of an endpoint: the same one each time.

        The endpoint that comes after the limit, and every new one from then on, gets the channel of
        OVERFLOW_ENDPOINT.
        """
        found = self._channels.get(endpoint)
        if found is not None:
            return found
        names = len(self._channels) - (OVERFLOW_ENDPOINT in self._channels)
        if names >= self._limit and endpoint != OVERFLOW_ENDPOINT:
            return self.channel(OVERFLOW_ENDPOINT)
        made = self._channels[endpoint] = Channel(endpoint)
        return made

    def unsent(self, endpoint: str, due: float, cause: Literal["pool", "generator"], now: float) -> None:
        """Count an arrival, due at `due`, that was given up at `now` and never started.

        The cause is "pool" when no user was free, "generator" when the generator failed. It is not an
        arrival by itself: `channel.due` counts that. Raise MeasureError for another cause.
        """
        known = _CAUSES.get(cause)
        if known is None:
            raise MeasureError(
                f"there is no cause {cause!r} of an unsent arrival", hint="Use pool or generator."
            )
        self.channel(endpoint).unsent.extend((due, known[0], now))

    def failure(self, endpoint: str, outcome: str, kind: str, message: str, sample: str = "") -> None:
        """Count one kind of failure, for people to read; the outcome itself is counted by its record."""
        self._failures.add(self.channel(endpoint).endpoint, outcome, kind, message, self._clock(), sample)

    # ---- giving out

    def start(
        self,
        anchor_monotonic: float,
        phases_of: Callable[[Floats], NDArray[np.int8]],
        phase_names: Sequence[str],
        thresholds: Mapping[str | None, Sequence[int]] = _NO_THRESHOLDS,
    ) -> None:
        """Set what run time is counted from, what phase each run time is in, and what to count exactly.

        `anchor_monotonic` is the CLOCK_MONOTONIC time of run time 0; `phases_of` maps run times to indices
        into `phase_names`; `thresholds` maps an endpoint, or None for all, to whole µs over which the
        values of each response and service series are counted. Raise MeasureError when called twice.
        """
        if self._anchors is not None:
            raise MeasureError("a recorder can only be started once", hint="Make a new one for each run.")
        if not math.isfinite(anchor_monotonic):
            raise MeasureError(f"the anchor of a run is {anchor_monotonic}")
        self._phases_of, self._phase_names = phases_of, tuple(phase_names)
        self._thresholds = {name: tuple(values) for name, values in thresholds.items()}
        self._anchors = Anchors(anchor_monotonic)

    def correct_anchor(self, anchor_monotonic: float) -> None:
        """Move run time 0, for all times from now on: a better estimate of the master's clock.

        Every time is counted from the anchor that was in force then, also when it is appended or flushed
        later, so that a request has one phase (see `Anchors`). Latencies are not touched. Raise
        MeasureError before `start` and for a time that is not finite.
        """
        if self._anchors is None or not math.isfinite(anchor_monotonic):
            raise MeasureError("the anchor can only be corrected after the start, by a finite time")
        self._anchors.correct(anchor_monotonic, self._clock())

    def run_time(self, moment: float) -> float:
        """Return the run time of a CLOCK_MONOTONIC moment. Raise MeasureError before `start`."""
        if self._anchors is None:
            raise MeasureError("there is no run time before the start of a recorder")
        return self._anchors.run_time(moment)

    def flush(self) -> None:
        """Move all that was appended into the open windows; does nothing before `start`."""
        for _ in self.flush_in_parts():
            pass

    def flush_in_parts(self, at_least: int = 1) -> Iterator[None]:
        """Flush channel by channel, and yield between them so that the caller can let others run.

        Channels with fewer than `at_least` requests to take in are passed over.
        """
        anchors = self._anchors
        if anchors is None:
            return
        for channel in tuple(self._channels.values()):
            if len(channel.records) < (at_least - 1) * FIELDS:
                continue
            if channel.arrivals:
                self._flush_arrivals(channel, anchors)
            if channel.records:
                self._flush_records(channel, anchors)
            if channel.unsent:
                self._flush_unsent(channel, anchors)
            yield

    def drain(self, until: float | None) -> list[Window]:
        """Flush, and return the windows of all seconds before floor(`until`) (run time); all for None.

        A window that was given out comes again, with what is new only, when something that belongs to its
        second is appended later.
        """
        self.flush()
        self.start_lag, self._recent_lag = self._recent_lag, Histogram()
        limit = math.inf if until is None else math.floor(until)
        closed = sorted(key for key in self._open if key[0] < limit)
        windows = [self._open.pop(key) for key in closed]
        for window in windows:
            window.compact()
        return windows

    def failures(self) -> list[Failure]:
        """Return the failures since the last call, in run time; none before `start`."""
        if self._anchors is None:
            return []
        taken = self._failures.take(0.0)
        for failure in taken:
            first, last = self._anchors.run_time(failure.first), self._anchors.run_time(failure.last)
            # A correction in between may have set run time back.
            failure.first, failure.last = min(first, last), max(first, last)
        return taken

    # ---- bulk

    def _flush_records(self, channel: Channel, anchors: Anchors) -> None:
        for batch, broken in self._intake.batches(channel.records, anchors):
            self._flush_block(channel, batch, broken, anchors)

    def _flush_block(self, channel: Channel, batch: Batch, broken: Floats, anchors: Anchors) -> None:
        if len(broken):
            self._give_up_records(channel, broken, anchors)
        if not batch.due.size:
            return
        thresholds = self._thresholds_of(channel.endpoint)
        for segment in segments_of(batch, self._phases_of(batch.due)):
            self._fill(channel.endpoint, segment, thresholds)

    def _fill(self, endpoint: str, segment: Segment, thresholds: Sequence[int]) -> None:
        window = self._window(segment.second, endpoint, segment.phase)
        self.counters.started += segment.flags.size
        if fill(window, segment, thresholds, self._recent_lag):
            self.counters.finished += segment.flags.size

    def _flush_arrivals(self, channel: Channel, anchors: Anchors) -> None:
        due = anchors.convert(self._intake.numbers(channel.arrivals))
        self.counters.offered += due.size
        sound = _in_run(due)
        if not sound.all():
            self._give_up(channel, due[~sound].tolist(), "an arrival's due time is no time of the run")
            self._window_of_now(channel.endpoint, anchors).add(Count.ARRIVALS, int(np.count_nonzero(~sound)))
            due = due[sound]
        for second, phase, n in self._groups(np.floor(due), due):
            self._window(second, channel.endpoint, phase).add(Count.ARRIVALS, n)

    def _flush_unsent(self, channel: Channel, anchors: Anchors) -> None:
        due, causes, now = self._intake.numbers(channel.unsent).reshape(-1, _UNSENT_FIELDS).T
        self.counters.unsent += due.size
        due, now = anchors.convert(due), anchors.convert(now)
        sound = _in_run(due) & _in_run(now)
        if not sound.all():
            self._give_up(channel, due[~sound].tolist(), "an unsent arrival's times are no times of the run")
        for code, count in _CAUSES.values():
            given_up = int(np.count_nonzero(~sound & (causes == code)))
            if given_up:
                self._window_of_now(channel.endpoint, anchors).add(count, given_up)
            chosen = sound & (causes == code)
            for second, phase, n in self._groups(np.floor(now[chosen]), due[chosen]):
                self._window(second, channel.endpoint, phase).add(count, n)

    def _groups(self, seconds: Floats, due: Floats) -> Iterable[tuple[int, int, int]]:
        """Yield each second and phase that occurs, with how often."""
        if not due.size:
            return
        phases = self._phases_of(due)
        for phase in np.unique(phases).tolist():
            found, numbers = np.unique(seconds[phases == phase], return_counts=True)
            for second, n in zip(found.tolist(), numbers.tolist(), strict=True):
                yield int(second), phase, n

    # ---- what made no sense

    def _give_up_records(self, channel: Channel, broken: Floats, anchors: Anchors) -> None:
        """Count broken records as lost now, under the phase of their due time where that can be told."""
        samples = [repr(tuple(record)) for record in broken[:3].tolist()]
        self._give_up(channel, samples, "a record's times are out of order or missing", len(broken))
        self.counters.started += len(broken)
        now = self._now(anchors)
        due = anchors.convert(broken[:, 0].copy())
        known = np.where(_in_run(due), due, now)
        for second, phase, n in self._groups(np.full(known.size, math.floor(now)), known):
            self._window(second, channel.endpoint, phase).add(Count.LOST, n)

    def _give_up(self, channel: Channel, samples: Sequence[object], message: str, count: int = 0) -> None:
        """Note numbers that make no sense as a failure that a report shows."""
        count = count or len(samples)
        self.counters.malformed += count
        sample = "; ".join(str(one) for one in samples[:3])
        self._failures.add(channel.endpoint, "lost", "MeasureError", message, self._clock(), sample, count)

    def _now(self, anchors: Anchors) -> float:
        """Return the run time now, the one time that what has no usable time of its own can be put under."""
        return min(max(anchors.run_time(self._clock()), EARLIEST_S), LONGEST_S)

    def _window_of_now(self, endpoint: str, anchors: Anchors) -> Window:
        now = self._now(anchors)
        return self._window(math.floor(now), endpoint, int(self._phases_of(np.array([now]))[0]))

    def _window(self, second: int, endpoint: str, phase_code: int) -> Window:
        key = (second, endpoint, self._phase_names[phase_code])
        window = self._open.get(key)
        if window is None:
            window = self._open[key] = Window(second, 1, endpoint, key[2])
        return window

    def _thresholds_of(self, endpoint: str) -> tuple[int, ...]:
        both = {*self._thresholds.get(None, ()), *self._thresholds.get(endpoint, ())}
        return tuple(sorted(both))


def _no_phases(_times: Floats) -> NDArray[np.int8]:
    raise MeasureError("the recorder has not been started")


def _in_run(times: Floats) -> NDArray[np.bool_]:
    """Say which run times are believable; NaN is not."""
    believable: NDArray[np.bool_] = (times >= EARLIEST_S) & (times < LONGEST_S)
    return believable
