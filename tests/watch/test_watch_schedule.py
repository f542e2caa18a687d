"""When probes are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.watch.schedule import grace, next_slot, time_limit


@pytest.mark.parametrize(
    ("now", "every", "after", "slot"),
    [
        (-3.0, 5.0, -1, 0),  # before run time 0: the first slot is at 0
        (0.0, 5.0, -1, 0),
        (0.02, 5.0, 0, 1),  # a quick attempt: the next slot
        (4.9, 5.0, 0, 1),
        (5.2, 5.0, 0, 1),  # took 5.2 s: slot 1 is 0.2 s late, within its grace of 0.25 s
        (5.3, 5.0, 0, 2),  # past the grace: slot 1 is skipped
        (17.0, 5.0, 0, 4),  # slots 1 to 3 are skipped and not made up for
        (1234.0, 60.0, -1, 21),  # a start in the middle of a run
    ],
)
def test_the_next_slot_is_the_first_that_is_not_over(now, every, after, slot):
    """Slots are at whole multiples of the interval; those that passed are skipped."""
    assert next_slot(now, every, after) == slot


@pytest.mark.parametrize(("every", "seconds"), [(1.0, 0.1), (0.1, 0.01), (300.0, 0.25)])
def test_the_grace_is_a_tenth_of_the_interval_and_never_long(every, seconds):
    """At most 250 ms."""
    assert grace(every) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("now", "every", "slot", "timeout", "limit"),
    [
        (10.0, 5.0, 2, 5.0, 5.0),  # on time: the whole timeout
        (10.1, 5.0, 2, 5.0, 4.9),  # a little late: ends with the interval
        (10.1, 5.0, 2, 1.0, 1.0),  # a short timeout is never cut
        (13.0, 5.0, 2, 5.0, 5.0),  # very late: a fair chance, at the price of a slot
    ],
)
def test_an_attempt_ends_with_its_interval(now, every, slot, timeout, limit):
    """The limit is the timeout, unless it would cost the next slot."""
    assert time_limit(now, every, slot, timeout) == pytest.approx(limit)


@given(st.floats(0.1, 300), st.integers(1, 50))
def test_a_target_that_hangs_costs_no_slot(every, slots):
    """Attempts that all time out after the whole interval, 1 ms late each, still fill every slot."""
    now, slot = 0.0, 0
    for _ in range(slots):
        now = max(now, slot * every) + 0.001
        now += time_limit(now, every, slot, every)
        following = next_slot(now + 0.001, every, slot)
        assert following == slot + 1
        slot = following


@given(st.floats(0, 1e6), st.floats(0.01, 1000), st.integers(-1, 1000))
def test_the_next_slot_is_never_one_that_was_taken(now, every, after):
    """And it is not earlier than its grace allows."""
    slot = next_slot(now, every, after)
    assert slot > after
    assert slot == after + 1 or slot * every >= now - grace(every) - 1e-6
