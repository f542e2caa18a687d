"""Offer the arrivals of an open-model run at the moments the schedule wants them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from loadgate.traffic.grants import Grants, Slots
from loadgate.traffic.pacer import Pacer

if TYPE_CHECKING:
    from loadgate.traffic.arrivals import ArrivalSchedule
    from loadgate.traffic.job import Job
    from loadgate.traffic.pool import Pool

_QUIET_GAP = 0.002
"""Seconds to the next arrival that are enough to prepare a second of schedule in."""
_PREPARE_BY = 0.25
"""Fraction of a second before its start by which the next second is prepared at the latest."""

Missed = Callable[["Job", float], None]
"""Takes an arrival that will not be offered: its job and its due moment."""


class Dispatcher:
    """Walk through the schedule and hand each due arrival that this process was granted to the pool.

    `anchor` is the CLOCK_MONOTONIC moment of run time 0 and `end` the run time at which offering stops.
    `missed` takes each arrival that was granted and cannot be offered any more, because the lease has run
    out, or its second began too long ago, or the grant came after its second. `lapsed` is called once each
    time that the lease runs out.
    """

    def __init__(
        self,
        schedule: ArrivalSchedule,
        jobs: Sequence[Job],
        pool: Pool,
        *,
        anchor: float,
        end: float,
        grants: Grants,
        missed: Missed,
        lapsed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule = schedule
        self._jobs = jobs
        self._pool = pool
        self._anchor = anchor
        self._end = end
        self._grants = grants
        self._missed = missed
        self._lapsed = lapsed
        self._clock = clock
        self._held = True
        self._second = grants.first() - 1
        self._times: list[float] = []
        self._kinds: list[int] = []
        self._next = 0
        self._prepared: tuple[list[float], list[int]] | None = None
        self._pacer: Pacer | None = None
        self.done = False

    def start(self) -> None:
        """Begin with the first granted second: what is due already is offered at once."""
        self._advance()
        self._pacer = Pacer(self._wake)
        self._arm()

    def move_anchor(self, anchor: float) -> None:
        """Let run time 0 be at another moment, for all seconds that are not loaded yet."""
        self._anchor = anchor
        self._prepared = None

    def grant(self, second: int, slots: Slots) -> None:
        """Take in slots of one more second, or more slots of one that is known.

        Arrivals of a second that is over are missed; those of the second under way are offered, late
        where they are due already.
        """
        self._grants.add(second, slots)
        self._held = True
        if second == self._second + 1:
            self._prepared = None
        elif second <= self._second and not self.done:
            self._take_late(second, slots)
        if self._pacer is not None:
            self._arm()

    def stop(self) -> list[tuple[Job, float]]:
        """Offer nothing more; return the arrivals that were already due but not offered.

        Such arrivals exist only when the generator itself was late.
        """
        if self._pacer is not None:
            self._pacer.close()
            self._pacer = None
        now, missed = self._clock(), []
        while not self.done:
            while self._next < len(self._times) and self._times[self._next] <= now:
                missed.append((self._jobs[self._kinds[self._next]], self._times[self._next]))
                self._next += 1
            if self._next < len(self._times) or self._anchor + self._second + 1 > now:
                break
            self._advance()
        self.done = True
        return missed

    def offer_due(self, now: float) -> None:
        """Hand every arrival that is due at `now` to the pool, counting each in its due second."""
        while not self.done:
            times, kinds, jobs, pool = self._times, self._kinds, self._jobs, self._pool
            position, count = self._next, len(self._times)
            holds = now < self._anchor + self._grants.good_until(self._second)
            while position < count and times[position] <= now:
                job, due = jobs[kinds[position]], times[position]
                position += 1
                # Kept current because a user that is resumed here may stop the run.
                self._next = position
                if not holds:
                    self._missed(job, due)
                    continue
                if not job.is_flow:
                    job.arrive(due)
                pool.offer(job, due, now)
            if position < count or self._anchor + self._second + 1 > now:
                return
            self._advance()

    def _wake(self) -> None:
        now = self._clock()
        if self._held and now >= self._anchor + self._grants.until:
            self._held = False
            self._lapsed()
        self.offer_due(now)
        if self._prepared is None and not self.done:
            now = self._clock()
            quiet = self._next >= len(self._times) or self._times[self._next] - now > _QUIET_GAP
            if quiet or now - self._anchor > self._second + 1 - _PREPARE_BY:
                self._prepared = self._load(self._second + 1)
        self._arm()

    def _arm(self) -> None:
        if self.done or self._pacer is None:
            return
        if self._next < len(self._times):
            moment = self._times[self._next]
        else:
            moment = self._anchor + self._second + 1
        if self._held and self._grants.until < math.inf:
            moment = min(moment, self._anchor + self._grants.until)
        self._pacer.arm(moment)

    def _advance(self) -> None:
        self._second += 1
        if self._second >= self._end:
            self.done = True
            return
        self._times, self._kinds = self._prepared or self._load(self._second)
        self._prepared = None
        self._next = 0
        self._grants.forget_before(self._second)

    def _load(self, second: int) -> tuple[list[float], list[int]]:
        slots = self._grants.of(second)
        if slots is None or second >= self._end:
            return [], []
        return self._arrivals(second, slots)

    def _arrivals(self, second: int, slots: Slots) -> tuple[list[float], list[int]]:
        mine = self._schedule.second(second).share(slots)
        return (mine.times + self._anchor).tolist(), mine.kinds.tolist()

    def _take_late(self, second: int, slots: Slots) -> None:
        times, kinds = self._arrivals(second, slots)
        if second < self._second:
            for due, kind in zip(times, kinds, strict=True):
                self._missed(self._jobs[kind], due)
            return
        left_times, left_kinds = self._times[self._next :] + times, self._kinds[self._next :] + kinds
        order = np.argsort(left_times, kind="stable").tolist()
        self._times, self._kinds = [left_times[n] for n in order], [left_kinds[n] for n in order]
        self._next = 0
