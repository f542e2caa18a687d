from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.traffic.arrivals import ArrivalSchedule
from loadgate.traffic.dispatcher import Dispatcher
from loadgate.traffic.grants import SLOTS, Grants, pack_slots, unpack_slots

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
    rate: float,
    hold: float,
    *,
    job: FakeJob | None = None,
    advance: bool = True,
    grants: Grants | None = None,
    missed: list[float] | None = None,
    lapsed: list[str] | None = None,
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
        grants=grants or Grants.everything(),
        missed=lambda _, due: (missed if missed is not None else []).append(round(due - ANCHOR, 6)),
        lapsed=lambda: (lapsed if lapsed is not None else []).append("lapsed"),
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


ALL, NONE = np.ones(SLOTS, dtype=bool), np.zeros(SLOTS, dtype=bool)


def granted(*seconds: int) -> Grants:
    grants = Grants()
    for second in seconds:
        grants.add(second, ALL)
    return grants


def test_only_granted_seconds_are_offered() -> None:
    """At 2/s with seconds 0 and 2 granted, nothing of second 1 is offered, or counted, here."""
    grants = granted(0, 2)
    job = FakeJob()
    dispatcher, pool, _ = make(2.0, 3.0, grants=grants, job=job)
    dispatcher.offer_due(ANCHOR + 0.9)
    dispatcher.offer_due(ANCHOR + 2.9)
    assert pool.offered == [(0.25, 0.9), (0.75, 0.9), (2.25, 2.9), (2.75, 2.9)]
    assert len(job.arrived) == 4


def test_nothing_starts_after_the_lease_has_run_out() -> None:
    """Woken at 5.0 with a lease until 3.0, the dispatcher starts none of the six arrivals; each is missed."""
    missed: list[float] = []
    dispatcher, pool, _ = make(2.0, 9.0, grants=granted(0, 1, 2), missed=missed)
    dispatcher.offer_due(ANCHOR + 5.0)
    assert pool.offered == []
    assert missed == [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]


def test_nothing_starts_three_seconds_after_its_second_began() -> None:
    """Woken at 5.0 with a lease until 8.0, it starts what is due from 3.0 on, late; the rest is missed.

    The lease alone would let a process that stood still put all that it missed on the target at once.
    """
    missed: list[float] = []
    dispatcher, pool, _ = make(2.0, 9.0, grants=granted(*range(8)), missed=missed)
    dispatcher.offer_due(ANCHOR + 5.0)
    assert missed == [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]
    assert [due for due, _ in pool.offered] == [3.25, 3.75, 4.25, 4.75]


def test_a_process_that_makes_the_load_alone_starts_all_however_late() -> None:
    """It has no lease: woken at 5.0 it offers all ten arrivals, and their start lag tells."""
    dispatcher, pool, _ = make(2.0, 9.0)
    dispatcher.offer_due(ANCHOR + 5.0)
    assert len(pool.offered) == 10


def test_the_end_of_the_lease_is_told_once(monkeypatch) -> None:
    """At 1.0 the only granted second ends; more grants begin a new lease, whose end is told again."""
    monkeypatch.setattr("loadgate.traffic.dispatcher.Pacer", FakePacer)
    lapsed: list[str] = []
    dispatcher, _, now = make(2.0, 9.0, advance=False, grants=granted(0), lapsed=lapsed)
    dispatcher.start()
    for moment in (0.9, 1.0, 1.5):
        now[0] = ANCHOR + moment
        dispatcher._pacer.wake()
    assert lapsed == ["lapsed"]
    dispatcher.grant(2, ALL)
    now[0] = ANCHOR + 3.0
    dispatcher._pacer.wake()
    assert lapsed == ["lapsed", "lapsed"]


def test_a_grant_of_the_second_under_way_is_offered_from_its_beginning() -> None:
    """Told at 1.5 of second 1, the dispatcher offers 1.25 late and 1.75 in time."""
    dispatcher, pool, _ = make(2.0, 9.0, grants=granted(0))
    dispatcher.offer_due(ANCHOR + 0.9)
    dispatcher.offer_due(ANCHOR + 1.5)
    dispatcher.grant(1, ALL)
    dispatcher.offer_due(ANCHOR + 1.5)
    dispatcher.offer_due(ANCHOR + 1.8)
    assert pool.offered[2:] == [(1.25, 1.5), (1.75, 1.8)]


def test_a_grant_of_a_second_that_is_over_is_counted_as_missed() -> None:
    """Told at 3.1 of second 1: its two arrivals were this worker's, and never started."""
    missed: list[float] = []
    dispatcher, pool, _ = make(2.0, 9.0, grants=granted(0, 3), missed=missed)
    dispatcher.offer_due(ANCHOR + 0.9)
    dispatcher.offer_due(ANCHOR + 3.1)
    dispatcher.grant(1, ALL)
    assert missed == [1.25, 1.75]
    assert len(pool.offered) == 2


def test_more_slots_of_a_second_add_to_those_that_are_held() -> None:
    """The even slots of second 1 and then the odd ones are together the whole second."""
    grants, even = granted(0), NONE.copy()
    even[::2] = True
    dispatcher, pool, _ = make(4.0, 9.0, grants=grants)
    dispatcher.grant(1, even)
    dispatcher.grant(1, ~even)
    dispatcher.offer_due(ANCHOR + 1.99)
    assert [due for due, _ in pool.offered[4:]] == [1.125, 1.375, 1.625, 1.875]


@given(
    owners=st.lists(st.lists(st.integers(0, 3), min_size=16, max_size=16), min_size=4, max_size=4),
    rate=st.sampled_from([7.0, 64.0, 250.0]),
)
def test_the_arrivals_of_all_workers_together_are_the_schedule(owners: list[list[int]], rate: float) -> None:
    """However each second's slots are given to three workers or nobody: merged, sorted, nothing twice."""
    offered: list[float] = []
    expected: list[float] = []
    for worker in (0, 1, 2):
        grants = Grants()
        for second, homes in enumerate(owners):
            grants.add(second, np.tile(np.array(homes) == worker, SLOTS // 16))
        dispatcher, pool, _ = make(rate, 4.0, grants=grants)
        for quarter in range(16):
            dispatcher.offer_due(ANCHOR + quarter / 4 + 0.249)
        offered += [due for due, _ in pool.offered]
    timeline = Timeline.of_traffic(
        Traffic(users=1, mix={"a": 1.0}, stages=(Stage(rate=rate, hold=4.0),)), timeout=1.0
    )
    for second, homes in enumerate(owners):
        whole = ArrivalSchedule(timeline, process="constant", seed=1, weights=[1.0]).second(second)
        held = [homes[slot % 16] != 3 for slot in whole.slots.tolist()]
        expected += [round(t, 6) for t, mine in zip(whole.times.tolist(), held, strict=True) if mine]
    assert sorted(offered) == expected


@given(st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS))
def test_a_share_survives_the_wire(held: list[bool]) -> None:
    """1024 slots travel as 128 bytes."""
    packed = pack_slots(np.array(held))
    assert len(packed) == 128
    assert unpack_slots(packed).tolist() == held
