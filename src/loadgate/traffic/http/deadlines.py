"""Time limits for many exchanges at once, at almost no cost to an exchange that ends in time.

Each client owns one `Alarm`. Starting an exchange only stores its deadline there; the alarm is queued once
and looks at the newest deadline when it comes due, so a client at thousands of requests per second touches
the queue a few times per timeout. One event-loop timer, armed for the earliest alarm, serves them all.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from gevent import get_hub

_SLACK = 0.0005
"""Seconds before its deadline at which an alarm may ring: the loop's timers only know milliseconds."""


class Alarm:
    """Hold who waits and until when. `greenlet` is None while nothing is in flight."""

    __slots__ = ("_deadlines", "check_at", "deadline", "greenlet", "rang")

    def __init__(self, deadlines: Deadlines) -> None:
        self.greenlet: Any = None
        self.deadline = float("inf")
        self.check_at = float("inf")
        self.rang = False
        self._deadlines = deadlines

    def queue(self) -> None:
        """Have the alarm looked at when its present deadline comes."""
        self._deadlines.add(self)

    def wake(self) -> None:
        """Switch to the greenlet that waits, if it is still in the exchange for which the alarm rang.

        Only the event loop may call this.
        """
        if self.rang and self.greenlet is not None:
            self.greenlet.switch()


class Deadlines:
    """Ring the alarms of one event loop; `clock` and `start_timer` are parameters so that tests own time."""

    def __init__(
        self,
        start_timer: Callable[[float, Callable[[], None]], None],
        run_soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start_timer = start_timer
        self._run_soon = run_soon
        self._clock = clock
        self._queue: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._armed_for = float("inf")

    def add(self, alarm: Alarm) -> None:
        """Queue the alarm for its deadline; an older, later place in the queue is dropped when met."""
        alarm.check_at = alarm.deadline
        heapq.heappush(self._queue, (alarm.check_at, next(self._order), alarm))
        if alarm.check_at < self._armed_for:
            self._arm(self._clock())

    def _arm(self, now: float) -> None:
        self._armed_for = self._queue[0][0]
        self._start_timer(max(0.0, self._armed_for - now), self.fire)

    def fire(self) -> None:
        """Ring what is due, move on what has a newer deadline, and arm the timer for the next."""
        now = self._clock()
        self._armed_for = float("inf")
        queue = self._queue
        while queue and queue[0][0] <= now + _SLACK:
            due, _, alarm = heapq.heappop(queue)
            if due != alarm.check_at:
                continue
            alarm.check_at = float("inf")
            if alarm.greenlet is None:
                continue
            if alarm.deadline > now + _SLACK:
                alarm.check_at = alarm.deadline
                heapq.heappush(queue, (alarm.check_at, next(self._order), alarm))
                continue
            alarm.rang = True
            # Not switched to from here: the queue must be whole before anything else runs.
            self._run_soon(alarm.wake)
        if queue:
            self._arm(now)


_by_hub: WeakKeyDictionary[Any, Deadlines] = WeakKeyDictionary()


def new_alarm() -> Alarm:
    """Make an alarm on the present thread's event loop."""
    hub = get_hub()
    deadlines = _by_hub.get(hub)
    if deadlines is None:
        loop = hub.loop
        timer = loop.timer(0.0)

        def start_timer(seconds: float, callback: Callable[[], None]) -> None:
            # A fresh timer, because libev counts from the loop's own, possibly stale, idea of now.
            nonlocal timer
            timer.stop()
            timer.close()
            timer = loop.timer(seconds)
            timer.start(callback, update=True)

        deadlines = _by_hub[hub] = Deadlines(start_timer, loop.run_callback)
    return Alarm(deadlines)
