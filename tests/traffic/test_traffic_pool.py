from __future__ import annotations

from typing import Any

from loadgate.traffic.pool import Pool, Turn


class FakeUser:
    """A paused greenlet that notes what it is resumed with."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def switch(self, *args: Any) -> None:
        self.turns.append(args[0])


def test_a_free_user_gets_an_arrival_at_once() -> None:
    """With a free user there is no pool wait."""
    pool, user = Pool(), FakeUser()
    pool.users = 1
    pool.park(user)
    pool.offer("job", due=10.0, now=10.002)
    assert user.turns == [Turn("job", 10.0, 0.0)]
    assert pool.busy == 1


def test_users_take_turns() -> None:
    """The user that has been free longest goes first, so all share the work."""
    pool, first, second = Pool(), FakeUser(), FakeUser()
    pool.park(first)
    pool.park(second)
    pool.offer("a", 1.0, 1.0)
    pool.park(first)
    pool.offer("b", 2.0, 2.0)
    assert [t.job for t in first.turns] == ["a"]
    assert [t.job for t in second.turns] == ["b"]


def test_an_arrival_waits_for_a_user_and_the_wait_counts() -> None:
    """Offered at 10.002 with nobody free and taken at 12.0, it waited 1.998 s; it was due at 10.0."""
    pool = Pool()
    pool.offer("job", due=10.0, now=10.002)
    turn = pool.next_waiting(12.0)
    assert turn is not None
    assert turn.due == 10.0
    assert abs(turn.pool_wait - 1.998) < 1e-9


def test_the_longest_waiting_arrival_goes_first() -> None:
    """Arrivals are served in the order in which they were offered."""
    pool = Pool()
    for n in range(3):
        pool.offer(n, float(n), float(n))
    taken = [pool.next_waiting(5.0) for _ in range(3)]
    assert [t.job for t in taken if t is not None] == [0, 1, 2]
    assert pool.next_waiting(5.0) is None


def test_what_waits_can_be_dropped_and_is_returned() -> None:
    """Dropped arrivals are handed back to be counted, with their due times."""
    pool = Pool()
    pool.offer("a", 1.0, 1.5)
    pool.offer("b", 2.0, 2.5)
    assert pool.drop_waiting() == [("a", 1.0), ("b", 2.0)]
    assert not pool.waiting


def test_a_user_that_leaves_is_given_nothing_more() -> None:
    """A free user that ends is forgotten; the next arrival waits."""
    pool, user = Pool(), FakeUser()
    pool.users = 1
    pool.park(user)
    pool.leave(user)
    pool.offer("job", 1.0, 1.0)
    assert user.turns == []
    assert pool.users == 0
    assert len(pool.waiting) == 1
