from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.recorder import Recorder
from loadgate.traffic.engine import Engine, Place, Rank


def engine(rank: int = 0, workers: int = 1) -> Engine:
    return Engine(Place("run", "w"), Recorder(), (), None, rank=Rank(rank, workers))


@given(workers=st.integers(1, 64), users=st.integers(1, 20))
def test_the_users_of_all_workers_are_numbered_without_a_hole(workers: int, users: int) -> None:
    """With as many users on each, the numbers are 0 to workers x users - 1, each once."""
    numbers = []
    for rank in range(workers):
        one = engine(rank, workers)
        numbers += [one.number_of(one.take_place()) for _ in range(users)]
    assert sorted(numbers) == list(range(workers * users))


def test_the_place_of_a_user_that_ended_is_given_again() -> None:
    """Of the places 0, 1, 2 the middle one is left; the next user gets it, the one after that 3."""
    one = engine()
    places = [one.take_place() for _ in range(3)]
    one.leave_place(1)
    assert places == [0, 1, 2]
    assert [one.take_place(), one.take_place()] == [1, 3]


def test_users_are_numbered_anew_when_a_worker_is_lost() -> None:
    """Second of three workers, then first of two: the user at place 1 was number 4 and becomes 2."""
    one = engine(1, 3)
    before = one.number_of(1)
    one.rank = Rank(0, 2)
    assert (before, one.number_of(1)) == (4, 2)


def test_a_process_that_is_alone_may_always_start_requests() -> None:
    """Its lease never ends."""
    one = engine()
    one.anchor = 0.0
    assert one.lease_left() > 0
