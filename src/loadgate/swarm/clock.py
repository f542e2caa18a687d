"""How far the master's clock is from a worker's, measured over and over by round trips.

The master read its clock somewhere between a ping's going and its answer's coming. Taking the middle, the
offset is wrong by at most half of the round trip, however that divides into the two ways (F. Cristian,
*Probabilistic clock synchronization*, 1989). Of the last minute's samples the best counts: the one with the
least such error, plus what the clocks may have drifted apart since then. That is the clock filter of NTP (RFC
5905, section 10), which takes the sample of least delay and lets its dispersion grow with its age.

Such a bound is a proof, so a sample that contradicts it means that a clock has jumped: a virtual machine was
paused. One contradiction could still be a faulty answer; two that agree are believed.

`ClockEstimate` is the arithmetic, with time passed in; `ClockSync` asks and listens.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent
from gevent.event import Event

from loadgate.errors import MeasureError
from loadgate.swarm import messages, pace

WINDOW_S = 60.0
"""How long a sample may be the best one."""
DRIFT = 100e-6
"""Seconds that two clocks may drift apart in a second: quartz keeps within 50 ppm, and there are two."""
LEAST_MOVE_S = 0.5e-3
"""An offset in use is kept while the estimate is no further from it than this, or than its own error."""

_FIRST_PINGS, _PINGS = 8, 4
_APART_S = 0.02
_MOST_ASKED = 64
"""Unanswered pings that are remembered; one that is older gets no answer any more."""
_log = logging.getLogger("loadgate.swarm")


class _Sample(NamedTuple):
    sent: float
    received: float
    offset: float
    half: float
    """Half of the round trip."""

    def bound(self, now: float) -> float:
        """Return how wrong the offset can be at a local time."""
        return self.half + DRIFT * max(now - self.sent, 0.0)


class ClockEstimate:
    """Estimate the offset to another clock, in seconds (the other one less the local one).

    `same_kernel` says that both processes seem to run under one kernel, and so to share one CLOCK_MONOTONIC.
    That alone proves nothing, since a time namespace shifts it; but as long as the samples allow it, the
    offset is then exactly 0.
    """

    def __init__(self, *, same_kernel: bool = False) -> None:
        self.samples = 0
        """How many round trips were taken into account."""
        self.steps = 0
        """How often a clock was seen to jump."""
        self.offset = 0.0
        """The estimate; 0 before the first sample."""
        self._same_kernel = same_kernel
        self._recent: list[_Sample] = []
        self._best: _Sample | None = None
        self._suspect: _Sample | None = None

    def error(self, now: float) -> float:
        """Return how wrong `offset` can be at a local time, in seconds; infinite before the first sample."""
        if self._best is None:
            return math.inf
        return abs(self._best.offset - self.offset) + self._best.bound(now)

    @property
    def round_trip(self) -> float:
        """The round trip of the best sample, in seconds; infinite before the first one."""
        return math.inf if self._best is None else 2 * self._best.half

    def take(self, sent: float, master: float, received: float) -> bool:
        """Take a round trip into account; tell whether it proves that a clock has jumped.

        `sent` and `received` are local times, `master` is the other clock's in between. Raise MeasureError
        for times that are no round trip; nothing is changed then.
        """
        if not (math.isfinite(master) and math.isfinite(received - sent) and received >= sent):
            raise MeasureError(f"a ping sent at {sent}, answered at {master} and received at {received}")
        half = (received - sent) / 2
        sample = _Sample(sent, received, master - (sent + half), half)
        self.samples += 1
        if self._best is None or _agree(sample, self._best, received):
            if self._suspect is not None and not _agree(sample, self._suspect, received):
                self._suspect = None
            self._choose(sample)
            return False
        if self._suspect is None or not _agree(sample, self._suspect, received):
            self._suspect = sample
            return False
        self._recent, self._suspect = [self._suspect], None
        self.steps += 1
        self._choose(sample)
        return True

    def _choose(self, sample: _Sample) -> None:
        """Add a sample, and let the best of those that are recent decide."""
        now = sample.received
        self._recent = [one for one in self._recent if one.received >= now - WINDOW_S] + [sample]
        self._best = best = min(self._recent, key=lambda one: one.bound(now))
        is_same = self._same_kernel and abs(best.offset) <= best.bound(now)
        self.offset = 0.0 if is_same else best.offset


def _agree(one: _Sample, other: _Sample, now: float) -> bool:
    """Tell whether two samples can both be right."""
    return abs(one.offset - other.offset) <= one.bound(now) + other.bound(now)


class ClockSync:
    """Keep the offset to the master's clock, in seconds (master less local), by pings over `send`.

    `offset` is the one in use. It follows the estimate only when that has moved by more than its own error
    and LEAST_MOVE_S, so that run time does not tremble; `on_change(offset, error)` is then called, from the
    event loop, possibly before the run has begun. `same_kernel` says that the boot ids are equal. Pings go
    out from the constructor on, until `close`.
    """

    def __init__(
        self,
        send: Callable[[str, dict[str, Any]], None],
        *,
        same_kernel: bool = False,
        on_change: Callable[[float, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self.offset = 0.0
        self.on_change = on_change
        self._send = send
        self._clock = clock
        self._pause = pause
        self._estimate = ClockEstimate(same_kernel=same_kernel)
        self._asked: dict[float, None] = {}
        self._first_burst_over = False
        self._first = Event()
        self._send_failed = False
        self._closed = False
        self._every = pace.interval(pace.PINGS, 1)
        gevent.spawn(self._keep_asking)

    @property
    def error(self) -> float:
        """How wrong `offset` can be now, in seconds; infinite before the first answer."""
        estimate = self._estimate
        return abs(estimate.offset - self.offset) + estimate.error(self._clock())

    @property
    def steps(self) -> int:
        """How often a clock was seen to jump."""
        return self._estimate.steps

    @property
    def round_trip(self) -> float:
        """The round trip behind the estimate, in seconds; infinite before the first answer."""
        return self._estimate.round_trip

    def to_local(self, master_time: float) -> float:
        """Convert a moment of the master's clock, by the offset in use."""
        return master_time - self.offset

    def wait_first(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the first pings' answers; tell whether there is an estimate."""
        self._first.wait(timeout)
        return self._estimate.samples > 0

    def answered(self, sent: float, master_time: float, now: float) -> None:
        """Take an answer: the ping's own time, the master's, and the local time now.

        What answers no ping of ours, or one that was answered before, is passed over.
        """
        if sent not in self._asked:
            return
        del self._asked[sent]
        try:
            stepped = self._estimate.take(sent, master_time, now)
        except (MeasureError, TypeError) as error:
            _log.warning("the master's answer to a ping makes no sense: %s", error)
            return
        if stepped:
            moved = self._estimate.offset - self.offset
            _log.warning("the clock of the master or of this machine jumped by %.4f s", moved)
        if self._first_burst_over:
            self._first.set()
        self._follow(now)

    def pace(self, workers: int) -> None:
        """Ask as often as one of so many workers does, from the next time on."""
        self._every = pace.interval(pace.PINGS, workers)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True

    def _follow(self, now: float) -> None:
        offset, error = self._estimate.offset, self._estimate.error(now)
        if abs(offset - self.offset) <= max(error, LEAST_MOVE_S):
            return
        self.offset = offset
        if self.on_change is not None:
            self.on_change(offset, error)

    def _keep_asking(self) -> None:
        self._burst(_FIRST_PINGS)
        self._first_burst_over = True
        if self._estimate.samples:
            self._first.set()
        while not self._closed:
            self._pause(self._every)
            self._burst(_PINGS)

    def _burst(self, pings: int) -> None:
        for _ in range(pings):
            if self._closed:
                return
            self._ask()
            self._pause(_APART_S)

    def _ask(self) -> None:
        sent = self._clock()
        self._asked[sent] = None
        while len(self._asked) > _MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        try:
            self._send(messages.PING, {"sent": sent})
        except Exception as error:  # noqa: BLE001 - a send that fails must not end the asking for good
            if not self._send_failed:
                _log.warning("the master could not be asked for its time (said once): %s", error)
            self._send_failed = True
