"""Leases on their way: told until they are heard, and what nobody heard of is counted once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.swarm.messages import Lease
from loadgate.swarm.roster import State, Worker
from loadgate.swarm.sharing import AGAIN_AFTER, MOST_OPEN, Sharing
from loadgate.traffic.arrivals import ArrivalSchedule
from loadgate.traffic.grants import SLOTS, unpack_slots

KINDS = ("emotion",)
TIMELINE = Timeline.of_traffic(
    Traffic(users=1, mix={"a": 1.0}, stages=(Stage(rate=10.0, hold=30.0),)), timeout=5.0
)
SCHEDULE = ArrivalSchedule(TIMELINE, process="constant", seed=1, weights=[1])
"""10 arrivals a second for 30 s; arrival n has slot n."""


def sharing_of(schedule: ArrivalSchedule | None = SCHEDULE) -> Sharing:
    return Sharing(TIMELINE, schedule, KINDS)


def workers_of(number: int) -> list[Worker]:
    return [Worker(f"worker-{n + 1}", n, f"client-{n}", heard=0.0, ready=True) for n in range(number)]


def held(lease: Lease) -> int:
    return int(np.count_nonzero(unpack_slots(lease.slots)))


# -- telling ------------------------------------------------------------------------------------


def test_each_worker_is_told_its_share_its_rank_and_a_number() -> None:
    """At run time 0: three seconds each, of 512 slots, numbered from 1."""
    sharing, workers = sharing_of(), workers_of(2)
    told = sharing.tick(0.0, workers, [0, 1])
    assert [(client, lease.number, lease.second) for client, lease in told] == [
        (client, number, number - 1) for client in ("client-0", "client-1") for number in (1, 2, 3)
    ]
    assert {held(lease) for _, lease in told} == {512}
    assert {(client, lease.rank, lease.workers) for client, lease in told} == {
        ("client-0", 0, 2),
        ("client-1", 1, 2),
    }


def test_a_worker_that_is_silent_is_told_nothing() -> None:
    """It is here, and not among those that were heard of; its rank is kept for it."""
    sharing, workers = sharing_of(), workers_of(2)
    told = sharing.tick(0.0, workers, [1])
    assert {(client, lease.rank, lease.workers) for client, lease in told} == {("client-1", 1, 2)}


def test_a_worker_without_a_slot_still_hears_that_it_may_go_on() -> None:
    """A newcomer's share may come slot by slot: an empty share of the newest second lengthens its lease."""
    ramp = Timeline.of_traffic(
        Traffic(users=1, mix={"a": 1.0}, stages=(Stage(rate=10.0, ramp=600.0),)), timeout=5.0
    )
    sharing, workers = Sharing(ramp, None, KINDS), workers_of(3)
    sharing.tick(0.0, workers[:2], [0, 1])
    told = [lease for client, lease in sharing.tick(1.0, workers, [0, 1, 2]) if client == "client-2"]
    assert [lease.second for lease in told] == [3]
    assert held(told[0]) <= 2


def test_what_is_not_confirmed_comes_again() -> None:
    """Sent at 0 and 1, and never confirmed: again 2 s later, unchanged."""
    sharing, workers = sharing_of(), workers_of(1)
    first = sharing.tick(0.0, workers, [0])
    second = sharing.tick(1.0, workers, [0])
    third = sharing.tick(2.0, workers, [0])
    assert third[1:] == first
    assert sharing.tick(3.0, workers, [0])[1:] == second
    assert AGAIN_AFTER == 2.0


def test_what_is_confirmed_does_not_come_again() -> None:
    """Up to number 2 of 3: only the third comes again."""
    sharing, workers = sharing_of(), workers_of(1)
    sharing.tick(0.0, workers, [0])
    sharing.confirmed("client-0", 2, 0.5)
    told = sharing.tick(2.5, workers, [0])
    assert [lease.number for _, lease in told] == [4, 5, 3]


def test_the_wait_for_a_confirmation_doubles_up_to_half_a_minute() -> None:
    """A master that has too much to do repeats itself ever less: after 2, 4, 8, 16 and 32 s."""
    sharing, workers = sharing_of(), workers_of(1)
    first, *_ = sharing.tick(0.0, workers, [0])
    told_at = [now for now in range(1, 130) if first in sharing.tick(float(now), workers, [0])]
    assert told_at == [2, 6, 14, 30, 62, 94, 126]


def test_few_leases_are_repeated_at_a_time() -> None:
    """Four, the oldest first: a worker that confirms the fourth has confirmed the others."""
    sharing, workers = sharing_of(), workers_of(1)
    for now in (0.0, 1.0, 1.5, 1.75):
        sharing.tick(now, workers, [0])
    again = sharing.tick(20.0, workers, [0])
    assert [lease.number for _, lease in again if lease.second < 20] == [1, 2, 3, 4]


def test_a_worker_that_confirms_nothing_is_given_no_more() -> None:
    """After 60 leases (a minute) it counts as one that is not heard of; a confirmation mends that."""
    sharing, workers = sharing_of(), workers_of(1)
    told = [lease for now in range(200) for _, lease in sharing.tick(float(now), workers, [0])]
    assert max(lease.number for lease in told) == MOST_OPEN + 1
    sharing.confirmed("client-0", MOST_OPEN + 1, 200.0)
    assert sharing.tick(200.0, workers, [0])


def test_a_confirmation_of_another_masters_leases_confirms_nothing() -> None:
    """A beat that was under way says 57, and this master has told 3."""
    sharing, workers = sharing_of(), workers_of(1)
    first = sharing.tick(0.0, workers, [0])
    sharing.confirmed("client-0", 57, 0.5)
    sharing.confirmed("client-9", 1, 0.5)
    assert sharing.tick(2.5, workers, [0])[-3:] == first


def test_a_lost_worker_is_told_nothing_again() -> None:
    """Until it is back."""
    sharing, workers = sharing_of(), workers_of(2)
    sharing.tick(0.0, workers, [0, 1])
    assert {client for client, _ in sharing.tick(4.0, workers[1:], [1])} == {"client-1"}
    again = [lease for client, lease in sharing.tick(5.0, workers, [0, 1]) if client == "client-0"]
    assert {1, 2, 3} <= {lease.number for lease in again}


drops = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=20, max_size=20)


@given(drops)
def test_every_lease_is_heard_once_over_a_link_that_loses_messages(drops: list[tuple[bool, ...]]) -> None:
    """Each way loses whole seconds; a worker that drops what it heard by number does nothing twice.

    In the end, over a link that is mended, it has heard all that it was told, and nothing comes any more.
    """
    sharing, (worker,) = sharing_of(), workers_of(1)
    told: dict[int, Lease] = {}
    heard: dict[int, Lease] = {}
    granted: dict[int, list[int]] = defaultdict(list)
    out = []
    for second in range(60):
        there, back, twice = drops[second] if second < 20 else (True, True, False)
        out = sharing.tick(float(second), [worker], [0])
        for _, lease in out * (2 if twice else 1):
            assert told.setdefault(lease.number, lease) == lease
            if there and lease.number not in heard:
                heard[lease.number] = lease
                granted[lease.second] += np.flatnonzero(unpack_slots(lease.slots)).tolist()
        if back:
            up_to = next(number - 1 for number in range(1, 999) if number not in heard)
            sharing.confirmed("client-0", up_to, second + 0.5)
    assert heard == told
    assert [lease.number for _, lease in out] == [max(told)]
    for second, slots in granted.items():
        assert sorted(slots) == list(range(SLOTS)), second


# -- counting -----------------------------------------------------------------------------------


def test_a_second_without_any_worker_is_offered_by_nobody() -> None:
    """Counted once that second is over, and once only."""
    sharing, workers = sharing_of(), workers_of(1)
    for now in range(4):
        sharing.tick(float(now), workers, [])
    assert sharing.unoffered == {0: 10, 1: 10, 2: 10}
    sharing.tick(3.5, workers, [])
    sharing.tick(4.0, workers, [])
    assert sharing.unoffered == {0: 10, 1: 10, 2: 10, 3: 10}


def test_nothing_is_missed_after_the_end_of_the_plan() -> None:
    """It has 30 s, however long the master goes on looking."""
    sharing, workers = sharing_of(), workers_of(1)
    for now in range(28, 40):
        sharing.tick(float(now), workers, [])
    assert sharing.unoffered == dict.fromkeys(range(30), 10)


def test_a_run_that_ends_within_a_second_misses_only_what_was_due() -> None:
    """Arrivals are due in the middle of each tenth: up to 2.5 these are 5 of 10."""
    sharing, workers = sharing_of(), workers_of(1)
    for now in range(3):
        sharing.tick(float(now), workers, [])
    sharing.close(2.5)
    assert sharing.unoffered == {0: 10, 1: 10, 2: 5}


def test_seconds_that_were_never_decided_are_counted_at_the_end() -> None:
    """The master looked for the last time at 1, which gave up to 3; the run ended at 6."""
    sharing, workers = sharing_of(), workers_of(1)
    for now in range(2):
        sharing.tick(float(now), workers, [0])
    sharing.close(6.0)
    assert sharing.unoffered == {4: 10, 5: 10}


def test_without_a_schedule_nothing_can_be_missed() -> None:
    """The closed model has no arrivals that are due."""
    sharing, (worker,) = sharing_of(None), workers_of(1)
    for now in range(5):
        sharing.tick(float(now), [worker], [])
    worker.state = State.LOST
    sharing.keep(worker)
    loss = sharing.loss_of(worker, 2.0, 5.0)
    sharing.untold(worker, 5.0, 5.0)
    sharing.open_seconds(dict.fromkeys(range(5), -math.inf), {}, {}, 5.0)
    sharing.close(5.0)
    assert (loss.windows, sharing.unoffered.total()) == ([], 0)


def played(recorded: dict[int, int], *, ticks: int = 10, confirmed: int = 999) -> tuple[Sharing, Worker]:
    """Let one worker be told all there is, and report these arrivals by second."""
    sharing, (worker,) = sharing_of(), workers_of(1)
    for now in range(ticks):
        told = [lease.number for _, lease in sharing.tick(float(now), [worker], [0])]
        sharing.confirmed("client-0", min(max(told), confirmed), now + 0.3)
    worker.recorded = Counter(recorded)
    worker.reported = worker.whole = max(recorded, default=-1)
    return sharing, worker


def test_a_worker_that_offered_all_missed_nothing() -> None:
    """10 of 10 in each second up to the end of offering."""
    sharing, worker = played(dict.fromkeys(range(9), 10))
    assert sharing.untold(worker, 9.0, 9.0).total() == 0


def test_a_workers_stop_is_found_in_what_it_reported() -> None:
    """All of second 4, 6 of second 5, nothing after that; offering went on to 9.0."""
    sharing, worker = played(dict.fromkeys(range(5), 10) | {5: 6})
    assert +sharing.untold(worker, 9.0, 9.0) == {5: 4, 6: 10, 7: 10, 8: 10}


def test_the_last_moments_before_the_end_are_not_missed() -> None:
    """A worker's clock was 60 ms behind when it was asked to stop: it had not come to the last arrival."""
    sharing, worker = played(dict.fromkeys(range(8), 10) | {8: 9})
    assert +sharing.untold(worker, 9.0, 8.94) == {}


def test_the_last_moments_are_missed_of_a_worker_that_had_stopped_before() -> None:
    """It stopped in second 7: of second 8 nothing was offered, to the very end."""
    sharing, worker = played(dict.fromkeys(range(7), 10) | {7: 3})
    assert +sharing.untold(worker, 9.0, 8.94) == {7: 7, 8: 10}
    sharing, worker = played(dict.fromkeys(range(7), 10) | {7: 3})
    assert +sharing.untold(worker, 9.0, 8.0) == {7: 7, 8: 10}


def test_an_arrival_that_was_rounded_into_the_second_before_is_not_missed() -> None:
    """11 of 10 in second 7, and 9 of 10 in second 8."""
    sharing, worker = played(dict.fromkeys(range(7), 10) | {7: 11, 8: 9})
    assert +sharing.untold(worker, 9.0, 9.0) == {}


def test_a_lease_that_was_never_confirmed_and_never_offered_is_missed() -> None:
    """Numbers 5 and later were not confirmed, seconds 4 to 6 not reported, and all the others were."""
    sharing, worker = played(dict.fromkeys(range(4), 10) | {7: 10, 8: 10}, confirmed=4)
    assert +sharing.untold(worker, 9.0, 9.0) == {4: 10, 5: 10, 6: 10}


def test_a_lease_that_was_offered_and_only_not_confirmed_is_not_missed() -> None:
    """The confirmation was lost, not the lease."""
    sharing, worker = played(dict.fromkeys(range(9), 10), confirmed=4)
    assert +sharing.untold(worker, 9.0, 9.0) == {}


def test_a_lease_that_was_heard_too_late_is_in_doubt_until_a_later_report() -> None:
    """Of second 0 it heard at 2.3. The reports up to second 1 were made before 2.3, that of 2 after it."""
    for whole, lost in ((0, 10), (1, 10), (2, 0)):
        sharing, (worker,) = sharing_of(), workers_of(1)
        for now in range(3):
            sharing.tick(float(now), [worker], [0])
        sharing.confirmed("client-0", 5, 2.3)
        worker.reported = worker.whole = whole
        worker.recorded = Counter(dict.fromkeys(range(1, whole + 1), 10))
        worker.state = State.LOST
        loss = sharing.loss_of(worker, whole + 1.0, whole + 1.0)
        assert loss.arrivals == lost, whole


def test_what_a_lost_worker_held_is_kept_when_it_is_forgotten_otherwise() -> None:
    """After two minutes nobody remembers who held second 5 but for the one that is lost."""
    end = 400.0
    timeline = Timeline.of_traffic(
        Traffic(users=1, mix={"a": 1.0}, stages=(Stage(rate=10.0, hold=end),)), timeout=5.0
    )
    schedule = ArrivalSchedule(timeline, process="constant", seed=1, weights=[1])
    for kept, lost in ((True, 5), (False, 0)):
        sharing, workers = Sharing(timeline, schedule, KINDS), workers_of(2)
        for now in range(6):
            sharing.tick(float(now), workers, [0, 1])
            sharing.confirmed("client-1", now + 3, now + 0.3)
        worker = workers[1]
        worker.reported = worker.whole = 4
        worker.state = State.LOST
        if kept:
            sharing.keep(worker)
        for now in range(6, 300):
            sharing.tick(float(now), workers[:1], [0])
        loss = sharing.loss_of(worker, 6.0, 300.0)
        assert loss.arrivals == lost
        assert loss.unoffered == ({6: 5, 7: 5} if kept else {})


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_gap_counts_what_is_not_on_record(first: int, offered: int) -> None:
    """Of 10 in each second, up to the end of offering."""
    sharing = sharing_of()
    never = dict.fromkeys(range(first, 12), -math.inf)
    sharing.open_seconds(never, dict.fromkeys(range(12), offered), {}, 10.5)
    expected = dict.fromkeys(range(first, 10), 10 - offered)
    assert sharing.unoffered == {**expected, **({10: 5 - offered} if offered < 5 else {})}
