"""Who offers what: a slot of a second is given once, and a lost share moves in time."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.swarm.leases import LEASE, NOBODY, SILENT_AFTER, Leases, adopt, balance, moves_of
from loadgate.traffic.grants import SLOTS

Held = dict[int, dict[int, list[int]]]
"""second -> slot -> the workers it was given to"""


def run(leases: Leases, ticks: list[tuple[float, set[int]]]) -> Held:
    """Tick at each moment with its live workers; collect all that was given."""
    held: Held = defaultdict(lambda: defaultdict(list))
    for now, live in ticks:
        for grant in leases.tick(now, live):
            for slot in np.flatnonzero(grant.owners >= 0).tolist():
                held[grant.second][slot].append(int(grant.owners[slot]))
    return held


def shares(held: Held, second: int) -> dict[int, int]:
    """Count the slots of each worker in one second."""
    counted: dict[int, int] = defaultdict(int)
    for owners in held[second].values():
        for owner in owners:
            counted[owner] += 1
    return dict(counted)


def test_the_first_seconds_are_shared_out_evenly_and_whole() -> None:
    """At run time 0 three seconds are given, each of 1024 slots over three workers: 342, 341, 341."""
    held = run(Leases(), [(0.0, {0, 1, 2})])
    assert sorted(held) == [0, 1, 2]
    for second in range(3):
        assert shares(held, second) == {0: 342, 1: 341, 2: 341}


def test_each_tick_gives_one_more_second() -> None:
    """A worker always holds what is left of this second and two more."""
    held = run(Leases(), [(float(now), {0}) for now in range(5)])
    assert sorted(held) == [0, 1, 2, 3, 4, 5, 6]


ticks_strategy = st.lists(
    st.tuples(st.floats(0.05, 3.0), st.sets(st.integers(0, 4), max_size=5)), min_size=1, max_size=30
)


@given(steps=ticks_strategy, moves=st.integers(1, SLOTS))
def test_no_slot_of_a_second_is_ever_given_twice(steps: list[tuple[float, set[int]]], moves: int) -> None:
    """Whoever comes and goes, and however late the master ticks."""
    now, ticks = 0.0, []
    for gap, live in steps:
        ticks.append((now, live))
        now += gap
    for second in run(Leases(most_moves=moves), ticks).values():
        assert all(len(owners) == 1 for owners in second.values())


@given(steps=ticks_strategy)
def test_nothing_is_given_to_a_worker_that_was_not_heard_of(steps: list[tuple[float, set[int]]]) -> None:
    """Each grant of a tick names only workers that are live at that tick."""
    leases, now = Leases(), 0.0
    for gap, live in steps:
        for grant in leases.tick(now, live):
            assert set(np.unique(grant.owners).tolist()) - {NOBODY} <= live
        now += gap


def test_a_dead_workers_share_is_the_others_from_the_end_of_its_lease_on() -> None:
    """Heard for the last time at 10.0, it counts at the ticks of 10 and 11: it holds 13, not 14."""
    dies = 10.0
    ticks = [(float(t), {0, 1} | ({2} if t - dies <= SILENT_AFTER else set())) for t in range(16)]
    held = run(Leases(), ticks)
    assert 2 in shares(held, 13)
    assert shares(held, 14) == {0: 512, 1: 512}
    assert 14 - dies <= 5


@given(death=st.floats(5.0, 6.0))
def test_a_dead_workers_share_is_taken_over_within_five_seconds(death: float) -> None:
    """Whenever between two ticks it dies, nobody's share is left at five seconds after."""
    ticks = [(float(t), {0, 1} | ({2} if t - death <= SILENT_AFTER else set())) for t in range(14)]
    held = run(Leases(), ticks)
    taken_over = min(s for s in range(5, 14) if set(shares(held, s)) == {0, 1})
    assert death < taken_over <= death + 5
    assert all(sum(shares(held, s).values()) == SLOTS for s in range(12))


def test_a_worker_that_is_late_for_one_tick_loses_nothing() -> None:
    """Silent at tick 5 and heard at 6, it gets the second that was left open for it."""
    held = run(Leases(), [(float(t), {0} if t == 5 else {0, 1}) for t in range(8)])
    assert all(shares(held, second) == {0: 512, 1: 512} for second in range(9))


def test_a_lone_worker_gets_all_of_its_share_back_at_once() -> None:
    """Nobody else was there to take it, so its return is no step that the ramp must limit."""
    held = run(Leases(most_moves=10), [(float(t), set() if t in (5, 6, 7) else {0}) for t in range(12)])
    assert sorted(second for second in range(13) if held[second] == {}) == [7, 8]
    assert shares(held, 9) == {0: SLOTS}


def test_a_share_moves_no_faster_than_the_ramp() -> None:
    """With 100 slots a second, a lost half of 512 takes six seconds; what has not moved yet is nobody's."""
    held = run(Leases(most_moves=100), [(float(t), {0, 1} if t < 5 else {0}) for t in range(16)])
    counted = [shares(held, second).get(0) for second in range(6, 14)]
    assert counted == [512, 612, 712, 812, 912, 1012, 1024, 1024]


def test_a_newcomer_gets_its_share_slot_by_slot() -> None:
    """Half of 1024 slots at 200 a second: 200, 400, then 512; the sum stays whole."""
    held = run(Leases(most_moves=200), [(float(t), {0} if t < 3 else {0, 1}) for t in range(8)])
    assert [shares(held, second).get(1, 0) for second in range(4, 9)] == [0, 200, 400, 512, 512]
    assert all(sum(shares(held, second).values()) == SLOTS for second in range(9))


def test_only_the_newcomers_part_moves() -> None:
    """When a third worker joins two, no slot passes between the two."""
    homes = adopt(np.full(SLOTS, NOBODY, dtype=np.int32), {0, 1}, most_moves=SLOTS)
    after = balance(homes, {0, 1, 2}, most_moves=SLOTS)
    moved = homes != after
    assert set(after[moved].tolist()) == {2}
    assert np.bincount(after).tolist() == [342, 341, 341]


def test_a_second_that_was_decided_too_late_is_nobodys() -> None:
    """A master that stood still from 3 to 6.7 gives nothing of second 6, which began without it."""
    leases = Leases()
    run(leases, [(float(t), {0}) for t in range(4)])
    held = run(leases, [(6.7, {0})])
    assert sorted(second for second in held if second < 9) == [7, 8]
    assert shares(held, 7) == {0: SLOTS}


def test_after_a_masters_restart_nothing_is_given_that_its_predecessor_may_have_given() -> None:
    """The old master's last second is at most LEASE seconds away."""
    leases = Leases()
    leases.skip_to(20 + LEASE)
    assert sorted(run(leases, [(20.0, {0}), (21.0, {0})])) == [23]


def test_the_steepest_ramp_of_the_plan_bounds_the_moves() -> None:
    """A ramp to the full rate in 4 s moves a quarter of the slots a second; no ramp moves all at once."""

    def timeline(*stages: Stage) -> Timeline:
        return Timeline.of_traffic(Traffic(users=1, mix={"a": 1.0}, stages=stages), timeout=1.0)

    assert moves_of(timeline(Stage(rate=100.0, ramp=4.0, hold=10.0))) == 256
    assert moves_of(timeline(Stage(rate=100.0, hold=10.0))) == SLOTS


def test_a_newcomers_slots_lie_evenly_among_all() -> None:
    """At fixed spacing arrivals take the slots in order: of each 9 in a row a third worker has 2 to 4."""
    homes = adopt(np.full(SLOTS, NOBODY, dtype=np.int32), {0, 1}, most_moves=SLOTS)
    mine = balance(homes, {0, 1, 2}, most_moves=SLOTS) == 2
    runs = [int(mine[start : start + 9].sum()) for start in range(SLOTS - 9)]
    assert (min(runs), max(runs)) >= (2, 3)
    assert max(runs) <= 4


@given(homes=st.lists(st.integers(-1, 5), min_size=SLOTS, max_size=SLOTS), moves=st.integers(1, SLOTS))
def test_balancing_ends_with_equal_shares(homes: list[int], moves: int) -> None:
    """Step by step, and never more moves in one than are allowed; then nothing moves any more."""
    live = {0, 2, 3}
    owners = np.array(homes, dtype=np.int32)
    for _ in range(SLOTS):
        after = balance(owners, live, most_moves=moves)
        assert int(np.count_nonzero(after != owners)) <= moves
        if (after == owners).all():
            break
        owners = after
    counted = [int(np.count_nonzero(owners == worker)) for worker in live]
    assert max(counted) - min(counted) < 2
    assert sum(counted) == sum(home in live for home in homes)
