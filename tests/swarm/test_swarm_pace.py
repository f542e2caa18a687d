"""How often a worker speaks: the bounds, and what the promises about a dead worker need of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.swarm.leases import SILENT_AFTER
from loadgate.swarm.messages import Lease
from loadgate.swarm.pace import BEAT, HEARTBEAT, PINGS, STATISTICS, death_within, interval, next_beat

fleets = st.integers(min_value=1, max_value=20_000)


@pytest.mark.parametrize("bounds", [BEAT, HEARTBEAT, PINGS, STATISTICS])
def test_an_interval_grows_from_300_workers_to_1000(bounds: tuple[float, float]) -> None:
    """The least one up to 300, the greatest from 1000 on, and half way at 650."""
    least, greatest = bounds
    assert [interval(bounds, workers) for workers in (1, 300, 1000, 5000)] == [
        least,
        least,
        greatest,
        greatest,
    ]
    assert interval(bounds, 650) == pytest.approx((least + greatest) / 2)


@given(fleets)
def test_a_worker_that_lives_is_never_taken_for_silent(workers: int) -> None:
    """Two beats fit in the time after which it is not counted on, so that one may be late."""
    assert 2 * interval(BEAT, workers) <= SILENT_AFTER


@given(fleets)
def test_at_most_two_seconds_of_a_dead_workers_rate_are_in_doubt(workers: int) -> None:
    """Its last report is a second and a twentieth old at most, and it is dead soon after its last word."""
    assert 1.05 + death_within(workers) <= 2.0
    assert death_within(workers) > interval(BEAT, workers)


@given(st.floats(0.0, 1000.0), st.floats(0.0, 3.0), st.floats(0.05, 1.0))
def test_the_next_word_comes_within_an_interval_of_the_last(beat: float, after: float, every: float) -> None:
    """Whatever a worker said after its beat, the next beat comes an interval after that at the latest."""
    due = next_beat(beat, beat + after, every)
    assert due <= beat + after + every + 1e-9
    assert due >= beat + every - 1e-9


@given(fleets, st.floats(0.0, 3.0))
def test_a_beat_that_was_put_off_still_comes_in_time(workers: int, after: float) -> None:
    """Though nothing else of the worker arrives, it is not taken for silent."""
    assert next_beat(0.0, after, interval(BEAT, workers)) + 0.25 <= SILENT_AFTER


def test_a_worker_of_a_large_fleet_beats_as_often_as_it_reports() -> None:
    """Reports at 0.2, 1.2 and 2.2 s put the beats from 0.7, 1.4 and 2.1 s off to 0.9, 1.9 and 2.9 s."""
    beats = [0.0]
    while beats[-1] < 2.5:
        due = next_beat(beats[-1], float("-inf"), 0.7)
        said = max((report for report in (0.2, 1.2, 2.2) if report <= due), default=0.0)
        beats.append(next_beat(beats[-1], said, 0.7))
    assert beats[1:] == pytest.approx([0.9, 1.9, 2.9])


def test_acknowledgements_may_travel_with_a_lease() -> None:
    """The lease itself is the same; without any there is no word of them."""
    lease = Lease(7, 12, b"\0" * 128, 0, 400)
    ack = {"run": "r", "incarnation": 1, "sequences": [3, 4]}
    alone, along = lease.to_wire("r"), lease.to_wire("r", [ack])
    assert "acks" not in alone
    assert along.pop("acks") == [ack]
    assert along == alone
