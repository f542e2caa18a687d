"""Which seconds of a run masters before left open, from its events."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from loadgate.store.database import Event
from loadgate.swarm.doubts import Doubt, by_second, doubts_of, lost_of

LOST = Event(12.0, "worker_lost", {"worker": "worker-1", "reported_until": 8})


def test_a_worker_that_was_lost_leaves_its_seconds_open() -> None:
    """Reported up to 8, lost at 12.0: silent since 9.0, dead by 9.5, with leases up to 15 at the latest."""
    assert doubts_of([LOST], workers=1) == (Doubt(8, 16, 9.5),)


def test_a_worker_that_came_back_leaves_nothing_open() -> None:
    """It reports itself what it did."""
    back = Event(14.0, "worker_returned", {"worker": "worker-1"})
    assert doubts_of([LOST, back], workers=1, reported={"worker-1": 15}) == ()
    assert lost_of([LOST, back]) == ()


def test_a_worker_that_came_back_under_another_master_still_has_to_report_what_came_before() -> None:
    """Missing at 30.0 with reports up to 13, back at 31.0, dead by 37.5: what it did from 13 on is open.

    That it came back says that it lived on for as long as it had a lease, up to 34.0 at the latest.
    """
    events = [
        Event(30.0, "worker_lost", {"worker": "worker-2", "reported_until": 13}),
        Event(31.0, "worker_joined", {"worker": "worker-2"}),
        Event(40.0, "worker_lost", {"worker": "worker-2", "reported_until": 13}),
    ]
    found = by_second(doubts_of(events, workers=2, reported={"worker-2": 12}), 100)
    assert found == {second: 34.0 if second < 31 else 37.5 for second in range(13, 44)}


def test_what_a_worker_did_before_it_was_lost_is_open_until_it_has_told() -> None:
    """Cut off at 27.0 and lost at 30.0, it is back at 5000.0; leases went to 34.0 at the latest.

    With reports up to 33 there is nothing left to tell; the hours without it are never open.
    """
    events = [
        Event(30.0, "worker_lost", {"worker": "worker-2", "reported_until": 27}),
        Event(5000.0, "worker_returned", {"worker": "worker-2"}),
    ]
    assert doubts_of(events, 2, {"worker-2": 26}) == (Doubt(27, 34, 34.0),)
    assert doubts_of(events, 2, {"worker-2": 32}) == (Doubt(27, 34, 34.0),)
    assert doubts_of(events, 2, {"worker-2": 33}) == ()
    gone = Event(5010.0, "worker_lost", {"worker": "worker-2", "reported_until": 27})
    assert doubts_of([*events, gone], 2, {"worker-2": 26}) == (
        Doubt(5000, 5014, 5007.5),
        Doubt(27, 34, 34.0),
    )


def test_a_worker_that_had_nothing_to_report_yet_leaves_nothing_open_from_before_it_came() -> None:
    """It first came at 31.0 and was lost at 40.0 without a report."""
    events = [
        Event(31.0, "worker_joined", {"worker": "worker-3"}),
        Event(40.0, "worker_lost", {"worker": "worker-3", "reported_until": 0}),
    ]
    assert doubts_of(events, workers=2) == (Doubt(31, 44, 37.5),)


def test_a_worker_that_left_may_have_sent_nothing_more() -> None:
    """It said goodbye, so what it did is on record."""
    left = Event(12.2, "worker_lost", {"worker": "worker-1", "left": True})
    assert doubts_of([left], workers=1) == (Doubt(11, 16, -math.inf),)


def test_a_pause_leaves_the_rest_of_its_second_open() -> None:
    """Paused at 6.01: what of second 6 was not offered, and what was leased up to 9."""
    assert doubts_of([Event(6.01, "paused", {})], workers=1) == (Doubt(6, 10),)


def test_the_gap_before_a_master_is_open_for_the_next_one() -> None:
    """It died before it had counted; its event says what it would have counted."""
    gap = Doubt(11, 22, 24.0)
    resumed = Event(18.4, "resumed", {"measured_until": 14, "open": gap.to_dict()})
    assert doubts_of([resumed], workers=1) == (gap,)


def test_a_run_of_an_earlier_form_tells_of_no_gap() -> None:
    """Its events have no such word."""
    assert doubts_of([Event(18.4, "resumed", {"measured_until": 14})], workers=1) == ()


def test_a_second_of_two_doubts_is_open_for_the_longer_of_them() -> None:
    """Seconds 8 to 15 of a lost worker and 11 to 21 without a master; only those before 20 are asked for."""
    found = by_second([Doubt(8, 16, 9.5), Doubt(11, 22)], 20)
    assert list(found) == list(range(8, 20))
    assert found[10] == found[15] == 9.5
    assert found[16] == -math.inf


@given(st.integers(-5, 100), st.integers(0, 50), st.one_of(st.just(-math.inf), st.floats(0.0, 200.0)))
def test_a_doubt_is_read_as_it_was_written(first: int, length: int, stopped: float) -> None:
    """Through plain values, as the run database has them."""
    doubt = Doubt(first, first + length, stopped)
    assert Doubt.of(doubt.to_dict()) == doubt
