"""Windows of an objective, worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge.slots import Interval, clip, longest_breach, slot_of, slots, total_length, without
from loadgate.measure.window import Window


@pytest.mark.parametrize(
    ("interval", "every", "edges"),
    [
        ((10, 40), 10, [10, 20, 30, 40]),
        ((10, 40), 30, [10, 40]),
        ((10, 40), 60, [10, 40]),
        ((0, 34), 10, [0, 10, 20, 34]),
        ((0, 35), 10, [0, 10, 20, 30, 35]),
        ((0, 39), 10, [0, 10, 20, 30, 39]),
        ((0, 4), 10, [0, 4]),
        ((0.5, 20.5), 10, [0.5, 10.5, 20.5]),
    ],
)
def test_an_interval_is_cut_from_its_start_and_a_short_rest_joins_the_last_window(
    interval: tuple[float, float], every: float, edges: list[float]
) -> None:
    """A phase shorter than `every` is one window; a rest under half of `every` belongs to the one before."""
    assert slots([Interval(*interval)], every) == tuple(map(Interval, edges, edges[1:]))


@given(
    st.floats(0, 1e4, allow_nan=False),
    st.floats(0.01, 1e3, allow_nan=False),
    st.floats(0.1, 100, allow_nan=False),
)
def test_windows_cover_the_interval_once(start: float, length: float, every: float) -> None:
    """No second of a phase is in no window or in two, and none is longer than one and a half `every`."""
    part = Interval(start, start + length)
    cut = slots([part], every)
    assert cut[0].start == part.start
    assert cut[-1].end == part.end
    assert all(before.end == after.start for before, after in pairwise(cut))
    assert all(slot.length < 1.5 * every + 1e-3 for slot in cut)


def test_each_steady_interval_is_cut_by_itself() -> None:
    """The ramp between two steady stages is in no window."""
    cut = slots([Interval(0, 20), Interval(30, 45)], 10)
    assert cut == (Interval(0, 10), Interval(10, 20), Interval(30, 40), Interval(40, 45))
    assert total_length(cut) == 35


@pytest.mark.parametrize(
    ("second", "index"), [(0, 0), (9, 0), (10, 1), (20, 1), (29, 1), (30, 2), (39, 2), (70, 2)]
)
def test_what_ended_late_belongs_to_the_window_before(second: int, index: int) -> None:
    """A request that ended in the ramp after its phase, or in the drain, is judged with its own phase."""
    cut = (Interval(0, 10), Interval(10, 20), Interval(30, 40))
    assert slot_of(cut, Window(second, 1, "emotion", "steady")) == index


@pytest.mark.parametrize(
    ("past", "seconds", "start"),
    [
        ([False, False, False, False], None, None),
        ([False, True, False, False], 10, 10),
        ([True, False, True, True], 20, 20),
        ([True, None, True, False], 30, 0),
        ([True, None, None, None], 10, 0),
        ([None, True, False, True], 10, 10),
        ([True, True, True, True], 40, 0),
    ],
)
def test_a_breach_is_windows_on_end(
    past: list[bool | None], seconds: float | None, start: float | None
) -> None:
    """A window without samples neither begins nor ends a breach; a good one ends it."""
    breach = longest_breach(slots([Interval(0, 40)], 10), past)
    assert (breach and breach.seconds, breach and breach.start) == (seconds, start)


def test_a_breach_goes_on_in_the_next_steady_interval_without_the_time_between() -> None:
    """Twenty seconds past the threshold, with a ramp of ten between them, are twenty seconds."""
    cut = slots([Interval(0, 10), Interval(20, 30)], 10)
    breach = longest_breach(cut, [True, True])
    assert breach is not None
    assert (breach.start, breach.end, breach.seconds) == (0, 30, 20)


def test_a_run_that_stopped_early_has_only_the_steady_time_that_it_ran() -> None:
    """Intervals are clipped at the end of the run; those after it are gone."""
    assert clip([Interval(0, 10), Interval(20, 30), Interval(40, 50)], 25) == (
        Interval(0, 10),
        Interval(20, 25),
    )


def test_gaps_are_cut_out_of_intervals() -> None:
    """0 to 10 and 20 to 30, without 5 to 8, 9 to 22 and 40 to 50: 0 to 5, 8 to 9, 22 to 30."""
    intervals = (Interval(0.0, 10.0), Interval(20.0, 30.0))
    assert without(intervals, [(5.0, 8.0), (9.0, 22.0), (40.0, 50.0)]) == (
        Interval(0.0, 5.0),
        Interval(8.0, 9.0),
        Interval(22.0, 30.0),
    )


def test_a_gap_without_length_cuts_nothing() -> None:
    """Nor does one that ends before it begins."""
    assert without((Interval(0.0, 10.0),), [(4.0, 4.0), (6.0, 5.0)]) == (Interval(0.0, 10.0),)
