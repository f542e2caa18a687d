"""CPU of a tree of processes that come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.usage import Look, Used, cores_used


def look(at: float, **processes: Used) -> Look:
    """Look at a tree at a time; the wall clock is 1000 s ahead."""
    return Look(at, 1000.0 + at, dict(processes))


def test_one_process():
    """0.6 CPU seconds in 2 s is 0.3 of a core."""
    assert cores_used(look(10, a=Used(4.0)), look(12, a=Used(4.6))) == pytest.approx(0.3)


def test_a_tree_is_added_up():
    """Two processes, each with a whole core."""
    assert cores_used(look(0, a=Used(1.0), b=Used(2.0)), look(2, a=Used(3.0), b=Used(4.0))) == 2.0


def test_a_process_that_started_counts_from_0():
    """It used 0.5 s since its start after the first look."""
    before, after = look(0, a=Used(1.0)), look(2, a=Used(1.0), new=Used(0.5, started=1001.0))
    assert cores_used(before, after) == pytest.approx(0.25)


def test_a_process_that_joined_has_no_baseline_yet():
    """It ran for long before it belonged to the tree: nothing of that may count."""
    before, after = look(100, a=Used(1.0)), look(102, a=Used(1.2), old=Used(500.0, started=1000.0))
    assert cores_used(before, after) == pytest.approx(0.1)


def test_a_child_that_ended_is_counted_once():
    """The child had used 1.0, used 0.4 more and ended; its parent waited for it, so it has 1.4 reaped.

    Of that 1.0 was seen before: 0.4 CPU seconds in 1 s.
    """
    before = look(0, parent=Used(5.0, reaped=2.0), child=Used(1.0))
    after = look(1, parent=Used(5.0, reaped=3.4))
    assert cores_used(before, after) == pytest.approx(0.4)


def test_a_child_that_came_and_went_between_looks_is_counted():
    """Nobody saw it, but its parent waited for it: 0.7 CPU seconds."""
    before, after = look(0, parent=Used(1.0, reaped=1.0)), look(1, parent=Used(1.0, reaped=1.7))
    assert cores_used(before, after) == pytest.approx(0.7)


def test_a_child_that_nobody_waited_for_never_makes_it_negative():
    """Its last use is lost; the rest of the tree still counts."""
    before, after = look(0, parent=Used(1.0), child=Used(9.0)), look(1, parent=Used(1.5))
    assert cores_used(before, after) == pytest.approx(0.5)


def test_an_idle_tree_has_used_nothing():
    """That is a reading of 0, since the process was there."""
    assert cores_used(look(0, a=Used(3.0)), look(1, a=Used(3.0))) == 0.0


def test_a_target_that_was_seen_to_be_gone_starts_from_0():
    """At the first look there was nothing, so the new process counts from its start."""
    assert cores_used(look(0), look(2, a=Used(1.0, started=1000.5))) == pytest.approx(0.5)


def test_a_span_of_less_than_50_ms_says_nothing():
    """The kernel counts in steps of 10 ms."""
    with pytest.raises(NoReading) as caught:
        cores_used(look(0, a=Used(1.0)), look(0.04, a=Used(1.01)))
    assert caught.value.reason is Reason.TOO_SOON


def test_only_strangers_is_no_baseline():
    """All processes are older than the first look and were not in it."""
    with pytest.raises(NoReading) as caught:
        cores_used(look(100, a=Used(1.0)), look(102, b=Used(7.0, started=900.0)))
    assert caught.value.reason is Reason.NO_BASELINE


used = st.builds(Used, st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
trees = st.dictionaries(st.sampled_from("abcdef"), used)


@given(trees, trees)
def test_cpu_is_never_negative(before, after):
    """Whatever happened to the processes between two looks."""
    try:
        cores = cores_used(look(0, **before), look(1, **after))
    except NoReading as failure:
        outcome: object = failure.reason
    else:
        outcome = cores >= 0
    assert outcome in (True, Reason.NO_BASELINE)
