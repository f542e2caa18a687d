from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.traffic.arrivals import SLOTS, ArrivalSchedule
from loadgate.traffic.dispatcher import Dispatcher

ANCHOR = 1000.0


@dataclass
class FakeJob:
    """Notes the arrivals that are counted."""

    is_flow: bool = False
    arrived: list[float] = field(default_factory=list)

    def arrive(self, due: float) -> None:
        self.arrived.append(due)


class FakePool:
    """Notes what it is offered."""

    def __init__(self) -> None:
        self.offered: list[tuple[float, float]] = []

    def offer(self, job: Any, due: float, now: float) -> None:
        self.offered.append((round(due - ANCHOR, 6), round(now - ANCHOR, 6)))


def make(
    rate: float, hold: float, *, job: FakeJob | None = None, advance: bool = True
) -> tuple[Dispatcher, FakePool, list[float]]:
    timeline = Timeline.of_traffic(
        Traffic(users=1, mix={"a": 1.0}, stages=(Stage(rate=rate, hold=hold),)), timeout=1.0
    )
    schedule = ArrivalSchedule(timeline, process="constant", seed=1, weights=[1.0])
    pool, now = FakePool(), [ANCHOR]
    dispatcher = Dispatcher(
        schedule,
        [job or FakeJob()],
        pool,
        anchor=ANCHOR,
        end=timeline.end,
        slots=range(SLOTS),
        clock=lambda: now[0],
    )
    if advance:
        dispatcher._advance()
    return dispatcher, pool, now


def test_an_arrival_is_offered_when_it_is_due_and_not_before() -> None:
    """At 2/s the first arrival is due at 0.25 s."""
    dispatcher, pool, _ = make(2.0, 2.0)
    dispatcher.offer_due(ANCHOR + 0.2)
    assert pool.offered == []
    dispatcher.offer_due(ANCHOR + 0.25)
    assert pool.offered == [(0.25, 0.25)]


def test_a_late_wake_offers_everything_that_is_due_with_its_own_due_time() -> None:
    """Waking at 1.3 s after sleeping since the start, all three due arrivals keep their due times."""
    dispatcher, pool, _ = make(2.0, 2.0)
    dispatcher.offer_due(ANCHOR + 1.3)
    assert pool.offered == [(0.25, 1.3), (0.75, 1.3), (1.25, 1.3)]


def test_every_arrival_is_counted_when_it_is_due() -> None:
    """Arrivals are counted at their due moment, however late they are offered."""
    job = FakeJob()
    dispatcher, _, _ = make(2.0, 1.0, job=job)
    dispatcher.offer_due(ANCHOR + 9.0)
    assert [due - ANCHOR for due in job.arrived] == [0.25, 0.75]


def test_the_requests_of_a_flow_are_counted_by_the_flow() -> None:
    """A flow counts its requests itself, because only it knows how many there are."""
    job = FakeJob(is_flow=True)
    dispatcher, pool, _ = make(2.0, 1.0, job=job)
    dispatcher.offer_due(ANCHOR + 9.0)
    assert len(pool.offered) == 2
    assert job.arrived == []


def test_the_dispatcher_is_done_at_the_planned_end() -> None:
    """After the last second there is nothing more to offer."""
    dispatcher, pool, _ = make(2.0, 1.0)
    dispatcher.offer_due(ANCHOR + 1.0)
    assert dispatcher.done
    assert len(pool.offered) == 2


def test_stopping_returns_what_was_due_but_never_offered() -> None:
    """A generator that slept through 0.25 and 0.75 s and is stopped at 0.8 s missed exactly these two."""
    dispatcher, pool, now = make(2.0, 5.0)
    now[0] = ANCHOR + 0.8
    missed = dispatcher.stop()
    assert [due - ANCHOR for _, due in missed] == [0.25, 0.75]
    assert pool.offered == []


def test_stopping_in_time_misses_nothing() -> None:
    """What is not due yet at the stop never became an arrival."""
    dispatcher, pool, now = make(2.0, 5.0)
    dispatcher.offer_due(ANCHOR + 0.3)
    now[0] = ANCHOR + 0.3
    assert dispatcher.stop() == []
    assert len(pool.offered) == 1


class FakePacer:
    """Wakes nobody: the test is the event loop."""

    def __init__(self, wake: Any) -> None:
        self.wake = wake
        self.moment = 0.0

    def arm(self, moment: float) -> None:
        self.moment = moment

    def close(self) -> None:
        pass


def test_a_start_after_run_time_0_misses_no_arrival(monkeypatch) -> None:
    """Told 1.4 s late, the dispatcher offers what was due at 0.25, 0.75 and 1.25 s, as late as it is."""
    monkeypatch.setattr("loadgate.traffic.dispatcher.Pacer", FakePacer)
    dispatcher, pool, now = make(2.0, 2.0, advance=False)
    now[0] = ANCHOR + 1.4
    dispatcher.start()
    assert dispatcher._pacer.moment <= now[0]
    dispatcher._pacer.wake()
    assert pool.offered == [(0.25, 1.4), (0.75, 1.4), (1.25, 1.4)]
