"""Windows of a growing run in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadgate.judge.slots import Interval
from loadgate.measure.window import Window
from loadgate.report.running import COMPACTED_S, KEPT_S, Running

Make = Callable[..., Any]
SERIES = ("response.ok",)


def _ignore(_window: Window) -> None:
    """Do nothing with a window."""


def test_the_number_of_windows_in_memory_does_not_grow(make_window: Make) -> None:
    """After 5000 seconds there are the newest 30 apart, and one total."""
    running = Running((Interval(0, 5000),), SERIES, _ignore)
    for second in range(5000):
        running.take([make_window(second, {5: 1})])
    assert len(running.between(-1, 1e9)) == KEPT_S
    assert len(running.totals()) == 1
    assert running.totals()[0].count("ok") == 5000


def test_totals_keep_what_was_measured_outside_of_the_steady_intervals_apart(make_window: Make) -> None:
    """Steady are 10..20 and 30..40: three totals of one endpoint, with 10 seconds each outside and inside."""
    running = Running((Interval(10, 20), Interval(30, 40)), SERIES, _ignore)
    running.take([make_window(second, {5: 1}) for second in range(50)])
    assert sorted(total.count("ok") for total in running.totals()) == [10, 10, 30]


def test_seconds_from_a_limit_on_can_be_left_out(make_window: Make) -> None:
    """What is asked before second 8 has the eight seconds 0..7."""
    running = Running((Interval(0, 50),), SERIES, _ignore)
    running.take([make_window(second, {5: 1}) for second in range(10)])
    assert [total.count("ok") for total in running.totals(8)] == [8]


def test_only_the_wanted_histograms_are_kept(make_window: Make) -> None:
    """A view that shows response times does not carry service times about."""
    running = Running((Interval(0, 50),), SERIES, _ignore)
    running.take([make_window(0, {5: 1})])
    assert set(running.totals()[0].histograms) == {"response.ok"}


def test_every_window_is_handed_on_once_when_it_is_merged_away(make_window: Make) -> None:
    """Of 100 seconds, the first 70 have been merged: the newest end is 100, and 30 are kept."""
    seen: list[int] = []
    running = Running((Interval(0, 100),), SERIES, lambda window: seen.append(window.second))
    for second in range(100):
        running.take([make_window(second, {5: 1})])
    assert seen == list(range(70))


def test_a_late_window_is_counted_and_left_out(make_window: Make) -> None:
    """Its old content cannot be taken out of the total again, so the new one is not put in."""
    running = Running((Interval(0, 100),), SERIES, _ignore)
    running.take([make_window(second, {5: 1}) for second in range(100)])
    running.take([make_window(3, {5: 7})])
    assert running.late == 1
    assert sum(total.count("ok") for total in running.totals()) == 100


def test_seconds_that_were_compacted_are_no_news(make_window: Make) -> None:
    """Ten seconds of an hour ago come back as one row of 10 s: the same requests in another form."""
    end = COMPACTED_S + 100
    running = Running((Interval(0, 1e6),), SERIES, _ignore)
    running.take([make_window(second, {5: 1}) for second in (*range(10), end)])
    compacted = make_window(0, {5: 10})
    compacted.span = 10
    running.take([compacted])
    assert running.late == 0
    assert running.totals()[0].count("ok") == 11
