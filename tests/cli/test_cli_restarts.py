"""When a dead process is started again, and when no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadgate.cli.restarts import Restarts


def test_pauses_double_up_to_the_longest() -> None:
    """1, 2, 4, 5, 5 s after deaths at 0, 10, 20, 30 and 40 of what lived only some seconds."""
    restarts = Restarts(most=10, first=1.0, longest=5.0)
    dues = [restarts.died(at, began=at - 5.0) for at in (0.0, 10.0, 20.0, 30.0, 40.0)]
    assert dues == [1.0, 12.0, 24.0, 35.0, 45.0]


def test_a_process_that_lived_long_begins_anew() -> None:
    """With 5 s as the longest pause, one that lived 50 s is not held responsible for what was before."""
    restarts = Restarts(most=10, first=1.0, longest=5.0)
    restarts.died(0.0, began=-1.0)
    restarts.died(2.0, began=1.0)
    assert restarts.died(54.0, began=4.0) == 55.0
    assert restarts.died(103.9, began=55.0) == 105.9


def test_one_death_more_than_allowed_is_the_last() -> None:
    """Two restarts within an hour are allowed; the third death has none."""
    restarts = Restarts(most=2, first=1.0, longest=5.0)
    assert restarts.died(0.0, began=-9.0) is not None
    assert restarts.died(1800.0, began=1.0) is not None
    assert restarts.died(3599.0, began=1801.0) is None


def test_deaths_of_more_than_an_hour_ago_do_not_count() -> None:
    """The first of two is 3600 s old, so there is one restart left."""
    restarts = Restarts(most=2, first=1.0, longest=5.0)
    restarts.died(0.0, began=-9.0)
    restarts.died(1800.0, began=1.0)
    assert restarts.died(3600.0, began=1801.0) is not None


def test_without_restarts_the_first_death_is_the_last() -> None:
    """`restarts = 0` is no supervision."""
    assert Restarts(most=0, first=1.0, longest=5.0).died(10.0, began=0.0) is None


def test_one_that_barely_lives_is_given_up_however_long_its_pauses_are() -> None:
    """Pauses of 60 s make some 58 deaths an hour: 100 restarts in a row are spent all the same."""
    restarts, now = Restarts(most=100, first=1.0, longest=60.0), 0.0
    granted = 0
    while (due := restarts.died(now + 2.0, began=now)) is not None:
        now, granted = due, granted + 1
    assert granted == 100
    assert restarts.spent == "100 restarts, none of which lived 1m30s"


def test_one_that_lived_is_not_counted_with_those_that_barely_did() -> None:
    """Every hundredth lives 90 s; so it goes on, 58 times an hour."""
    restarts, now = Restarts(most=100, first=1.0, longest=60.0), 0.0
    for number in range(1000):
        died = now + (90.0 if number % 100 == 99 else 2.0)
        due = restarts.died(died, began=now)
        assert due is not None
        now = due


@given(
    st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=60),
    st.integers(0, 10),
    st.floats(0.01, 100.0),
    st.floats(0.01, 100.0),
)
def test_no_hour_has_more_restarts_than_allowed(
    times: list[float], most: int, first: float, longest: float
) -> None:
    """And none comes before its death, or later than the longest pause."""
    restarts = Restarts(most, first, longest)
    granted = []
    for at in sorted(times):
        due = restarts.died(at, began=at)
        if due is not None:
            granted.append(at)
            assert at < due <= at + longest + 1e-9
    assert all(sum(start <= at < start + 3600 for at in granted) <= most for start in granted)
