"""Deadlines on a simulated clock: who is rung, when the timer runs, and what costs nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadgate.traffic.http.deadlines import Alarm, Deadlines


class Sleeper:
    """Stands for a waiting greenlet and counts its wakings."""

    def __init__(self) -> None:
        self.woken = 0

    def switch(self) -> None:
        """Count a waking."""
        self.woken += 1


class World:
    """A clock, a timer and a run-soon list, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: tuple[float, Callable[[], None]] | None = None
        self.started = 0
        self.soon: list[Callable[[], None]] = []
        self.deadlines = Deadlines(self._start, self.soon.append, lambda: self.now)

    def _start(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timer = (self.now + seconds, callback)
        self.started += 1

    def until(self, moment: float) -> None:
        """Move the clock, firing the timer and running what it left to run."""
        while self.timer is not None and self.timer[0] <= moment:
            self.now, callback = self.timer
            self.timer = None
            callback()
            while self.soon:
                self.soon.pop(0)()
        self.now = moment

    def waiting(self, deadline: float) -> tuple[Alarm, Sleeper]:
        """Start an exchange that may last until the deadline."""
        alarm, sleeper = Alarm(self.deadlines), Sleeper()
        alarm.greenlet, alarm.deadline = sleeper, deadline
        alarm.queue()
        return alarm, sleeper


def test_alarm_rings_at_its_deadline_once() -> None:
    """A waiting exchange is woken when its time is over, not before and not again."""
    world = World()
    alarm, sleeper = world.waiting(5.0)
    world.until(4.9)
    assert (alarm.rang, sleeper.woken) == (False, 0)
    world.until(100.0)
    assert (alarm.rang, sleeper.woken) == (True, 1)


def test_exchanges_that_end_in_time_leave_the_queue_alone() -> None:
    """A thousand exchanges of one client in 10 s, limit 4 s, look at the queue three times."""
    world = World()
    alarm, sleeper = world.waiting(4.0)
    for step in range(1, 1001):
        world.until(step / 100)
        alarm.deadline = step / 100 + 4.0
        if alarm.deadline < alarm.check_at:
            alarm.queue()
    assert (alarm.rang, sleeper.woken) == (False, 0)
    # Checked at 4.0 (deadline then 7.99), and at 7.99 (11.98): one timer start for each and the first.
    assert world.started == 3


def test_idle_alarm_leaves_the_queue() -> None:
    """An alarm whose client is idle when it comes due is forgotten until it is queued again."""
    world = World()
    alarm, sleeper = world.waiting(1.0)
    alarm.greenlet = None
    world.until(50.0)
    assert (alarm.rang, sleeper.woken, alarm.check_at, world.timer) == (False, 0, float("inf"), None)


def test_shorter_deadline_moves_the_timer_forward() -> None:
    """Alarms ring in the order of their deadlines, whatever the order of queueing."""
    world = World()
    late, late_sleeper = world.waiting(9.0)
    _, early_sleeper = world.waiting(2.0)
    world.until(2.0)
    assert (late_sleeper.woken, early_sleeper.woken) == (0, 1)
    late.deadline = 3.0
    late.queue()
    world.until(3.0)
    assert late_sleeper.woken == 1
    world.until(20.0)
    assert late_sleeper.woken == 1


def test_ring_that_comes_too_late_wakes_nobody() -> None:
    """An exchange that ended between ringing and waking is over; the client's next one is left alone."""
    world = World()
    alarm, sleeper = world.waiting(1.0)
    world.now = 1.0
    world.deadlines.fire()
    alarm.rang = False  # the exchange ended and the next one began
    while world.soon:
        world.soon.pop(0)()
    assert sleeper.woken == 0


@pytest.mark.parametrize("count", [1, 50])
def test_all_that_are_due_ring_together(count: int) -> None:
    """One firing of the timer serves every alarm that is due."""
    world = World()
    sleepers = [world.waiting(1.0)[1] for _ in range(count)]
    world.until(1.0)
    assert [sleeper.woken for sleeper in sleepers] == [1] * count
    assert world.started == 1
