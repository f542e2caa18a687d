"""What a dead worker takes with it: lost where it may have been sent, unoffered where it cannot have been."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.window import Count, Window
from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.swarm.losses import before, loss_of, unoffered_of, unreported
from loadgate.swarm.roster import Worker
from loadgate.traffic.arrivals import Arrivals

KINDS = ("emotion", "creative")
TIMELINE = Timeline.of_traffic(
    Traffic(users=1, mix={"a": 1.0}, stages=(Stage(rate=4.0, ramp=10.0, hold=10.0),)), timeout=5.0
)
"""A ramp up to 10, steady up to 20."""


def arrivals(*due: tuple[float, int]) -> Arrivals:
    """Make arrivals of (time, kind)."""
    return Arrivals(
        np.array([time for time, _ in due], dtype=np.float64),
        np.array([kind for _, kind in due], dtype=np.int64),
        np.zeros(len(due), dtype=np.int64),
    )


def worker_of(reported: int = -1, recorded: dict[int, int] | None = None, **books: int) -> Worker:
    worker = Worker("worker-1", 0, "x", heard=100.0, reported=reported)
    worker.recorded = Counter(recorded or {})
    worker.open_books = Counter({(name, "steady"): number for name, number in books.items()})
    return worker


def told(windows: list[Window]) -> list[tuple[int, str, str, int, int]]:
    """Second, endpoint, phase, arrivals and lost ones of each window."""
    return [(w.second, w.endpoint, w.phase, w.count(Count.ARRIVALS), w.count(Count.LOST)) for w in windows]


def test_what_was_due_before_the_death_is_lost_and_the_rest_is_unoffered() -> None:
    """Death at 12.5 of a worker that reported up to 11."""
    granted = {12: arrivals((12.1, 0), (12.5, 1), (12.6, 0)), 13: arrivals((13.0, 0), (13.5, 1))}
    loss = loss_of(worker_of(11), 12.5, granted, KINDS, TIMELINE)
    assert told(loss.windows) == [(12, "creative", "steady", 1, 1), (12, "emotion", "steady", 1, 1)]
    assert loss.arrivals == 2
    assert loss.unoffered == {12: 1, 13: 2}


def test_lost_arrivals_are_put_under_the_phase_in_which_they_were_due() -> None:
    """The ramp ends at 10.0, in the middle of the lost time."""
    granted = {9: arrivals((9.9, 0)), 10: arrivals((10.0, 0))}
    loss = loss_of(worker_of(8), 11.0, granted, KINDS, TIMELINE)
    assert told(loss.windows) == [(9, "emotion", "ramp", 1, 1), (10, "emotion", "steady", 1, 1)]


def test_what_was_under_way_at_the_last_report_is_lost_without_being_new() -> None:
    """5 open requests: they were arrivals of an earlier window already."""
    loss = loss_of(worker_of(11, emotion=5), 12.5, {}, KINDS, TIMELINE)
    assert told(loss.windows) == [(11, "emotion", "steady", 0, 5)]


def test_a_worker_that_never_reported_has_its_first_second_for_it() -> None:
    """There is no second -1."""
    loss = loss_of(worker_of(emotion=1), 0.5, {}, KINDS, TIMELINE)
    assert told(loss.windows) == [(0, "emotion", "steady", 0, 1)]


def test_only_what_no_report_tells_of_is_missing() -> None:
    """2 of 3 are reported: the third is lost."""
    granted = {12: arrivals((12.1, 0), (12.2, 0), (12.3, 1))}
    loss = loss_of(worker_of(12, {12: 2}), 13.0, granted, KINDS, TIMELINE)
    assert told(loss.windows) == [(12, "creative", "steady", 1, 1)]


def test_more_reported_than_granted_is_nothing_missing() -> None:
    """The later requests of a flow are arrivals too."""
    granted = {12: arrivals((12.1, 0))}
    assert loss_of(worker_of(12, {12: 4}), 13.0, granted, KINDS, TIMELINE).windows == []


def test_ends_that_were_told_ahead_of_their_arrivals_are_not_lost() -> None:
    """3 arrivals are in no report, and 2 ends too many: 3 more arrivals, 1 of them lost."""
    granted = {12: arrivals((12.1, 0), (12.2, 0)), 13: arrivals((13.2, 0))}
    loss = loss_of(worker_of(13, emotion=-2), 14.0, granted, KINDS, TIMELINE)
    assert told(loss.windows) == [(12, "emotion", "steady", 2, 0), (13, "emotion", "steady", 1, 1)]


def test_without_a_schedule_only_the_open_books_are_known() -> None:
    """In the closed model and without a plan."""
    loss = loss_of(worker_of(3, emotion=2, creative=0), 5.0, {})
    assert told(loss.windows) == [(3, "emotion", "steady", 0, 2)]
    assert not loss.unoffered


def test_a_worker_that_reported_all_it_did_never_offered_the_rest() -> None:
    """1 of 2, and 3 of 3."""
    granted = {
        12: arrivals((12.1, 0), (12.2, 0)),
        13: arrivals((13.1, 0), (13.2, 0), (13.3, 0)),
    }
    assert unoffered_of(worker_of(13, {12: 1, 13: 3}), granted) == {12: 1}


def test_arrivals_before_a_moment_leave_that_moment_out() -> None:
    """The end of a run is not part of it."""
    assert before(arrivals((1.0, 0), (1.5, 0), (2.0, 0)), 1.5).times.tolist() == [1.0]


due_times = st.lists(st.integers(0, 9999), max_size=40).map(sorted)


@given(due_times, st.integers(0, 40), st.floats(0.0, 20.0), st.integers(-9, 9), st.integers(-9, 9))
def test_all_that_was_granted_is_reported_lost_or_unoffered(
    due: list[int], known: int, stopped: float, emotion: int, creative: int
) -> None:
    """And after that each endpoint's books balance, unless more ends were told than there were arrivals."""
    mine = arrivals(*((10 + at / 10_000, at % 2) for at in due))
    worker = worker_of(10, {10: min(known, len(due))}, emotion=emotion, creative=creative)
    loss = loss_of(worker, stopped, {10: mine}, KINDS, TIMELINE)
    written = sum(window.count(Count.ARRIVALS) for window in loss.windows)
    assert worker.recorded[10] + written + loss.unoffered.total() == len(mine)
    for name, open_ in (("emotion", emotion), ("creative", creative)):
        own = [window for window in loss.windows if window.endpoint == name]
        more = sum(window.count(Count.ARRIVALS) for window in own)
        assert sum(window.count(Count.LOST) for window in own) == max(open_ + more, 0)


@given(due_times, st.integers(0, 60))
def test_the_unreported_are_the_last_ones(due: list[int], known: int) -> None:
    """As many as are missing, and never the first."""
    mine = arrivals(*((at / 10_000, 0) for at in due))
    rest = unreported(worker_of(0, {0: known}), 0, mine)
    assert rest.times.tolist() == mine.times.tolist()[known:]
