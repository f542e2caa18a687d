"""Offer the arrivals of an open-model run at the moments the schedule wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from loadgate.traffic.pacer import Pacer

if TYPE_CHECKING:
    from loadgate.traffic.arrivals import ArrivalSchedule
    from loadgate.traffic.job import Job
    from loadgate.traffic.pool import Pool

_QUIET_GAP = 0.002
"""Seconds to the next arrival that are enough to prepare a second of schedule in."""
_PREPARE_BY = 0.25
"""Fraction of a second before its start by which the next second is prepared at the latest."""


class Dispatcher:
    """Walk through the schedule and hand each due arrival to the pool.

    `anchor` is the CLOCK_MONOTONIC moment of run time 0 and `end` the run time at which offering
    stops. `slots` are the shares of the schedule that this process offers.
    """

    def __init__(
        self,
        schedule: ArrivalSchedule,
        jobs: Sequence[Job],
        pool: Pool,
        *,
        anchor: float,
        end: float,
        slots: Collection[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule = schedule
        self._jobs = jobs
        self._pool = pool
        self._anchor = anchor
        self._end = end
        self._slots = slots
        self._clock = clock
        self._second = -1
        self._times: list[float] = []
        self._kinds: list[int] = []
        self._next = 0
        self._prepared: tuple[list[float], list[int]] | None = None
        self._pacer: Pacer | None = None
        self.done = False

    def start(self) -> None:
        """Begin with second 0: whatever is due already, because the word came late, is offered at once."""
        self._advance()
        self._pacer = Pacer(self._wake)
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
            while position < count and times[position] <= now:
                job, due = jobs[kinds[position]], times[position]
                position += 1
                # Kept current because a user that is resumed here may stop the run.
                self._next = position
                if not job.is_flow:
                    job.arrive(due)
                pool.offer(job, due, now)
            if position < count or self._anchor + self._second + 1 > now:
                return
            self._advance()

    def _wake(self) -> None:
        self.offer_due(self._clock())
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
            self._pacer.arm(self._times[self._next])
        else:
            self._pacer.arm(self._anchor + self._second + 1)

    def _advance(self) -> None:
        self._second += 1
        if self._second >= self._end:
            self.done = True
            return
        self._times, self._kinds = self._prepared or self._load(self._second)
        self._prepared = None
        self._next = 0

    def _load(self, second: int) -> tuple[list[float], list[int]]:
        if second >= self._end:
            return [], []
        mine = self._schedule.second(second).share(self._slots)
        return (mine.times + self._anchor).tolist(), mine.kinds.tolist()
