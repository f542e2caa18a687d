"""Sparklines, and the seconds behind them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgate.report.follow import Follower
from loadgate.report.snapshot import Moment
from loadgate.report.sparks import lately, spark
from loadgate.report.text import ASCII_SYMBOLS, SYMBOLS

Make = Callable[..., Any]


def test_a_sparkline_goes_from_nothing_to_the_largest() -> None:
    """Eight steps: 0 is the first, the largest the last; half of it the fifth; gaps and infinity show."""
    assert spark([0.0, 4.0, 8.0, None, math.inf], SYMBOLS["spark"]) == "▁▅█ !"
    assert spark([0.0, 4.0, 8.0], ASCII_SYMBOLS["spark"]) == "_=#"


def test_without_a_finite_value_there_is_no_scale() -> None:
    """All zero is flat, all infinite is marked, nothing is blank."""
    assert spark([0.0, 0.0], "ab") == "aa"
    assert spark([math.inf, None], "ab") == "! "
    assert spark([], "ab") == ""


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=40))
def test_a_sparkline_has_a_character_for_each_value(values: list[float | None]) -> None:
    """Law: and a larger value never has a lower step."""
    steps = "01234567"
    drawn = spark(values, steps)
    assert len(drawn) == len(values)
    known = sorted((value, step) for value, step in zip(values, drawn, strict=True) if value is not None)
    assert [step for _, step in known] == sorted(step for _, step in known)


def test_each_part_shows_its_worst_second() -> None:
    """Seconds 4..9 in parts of two; second 7 has nothing; the part that is not over yet is left out."""
    trend = [Moment(second, 1, p95=float(value)) for second, value in ((4, 1), (5, 9), (6, 3), (10, 99))]
    assert lately(trend, until=11.0, width=3) == [9.0, 3.0, None]


def test_the_trend_of_a_run_has_its_seconds(run: Any, make_plan: Make, make_window: Make) -> None:
    """By endpoint and together: second 6 has 10 ms and 30 ms, second 7 a failure, infinitely slow."""
    follower = Follower(run.folder, make_plan())
    run.second(6, "w1", make_window(6, {10: 1}), make_window(6, {30: 3}, "creative"))
    run.second(7, "w1", make_window(7, {10: 1}, failed=1))
    snapshot = follower.refresh({}, 8.5)
    creative, emotion = snapshot.endpoints
    # 10,000 µs lies in a counter of 8 µs, 30,000 µs in one of 16 µs.
    assert [(one.second, one.ok, one.p50) for one in creative.trend] == [(6, 3, 30_015.0)]
    assert [(one.second, one.ok, one.p50, one.p95) for one in emotion.trend] == [
        (6, 1, 10_007.0, 10_007.0),
        (7, 1, 10_007.0, math.inf),
    ]
    assert [(one.second, one.ok) for one in snapshot.total.trend] == [(6, 4), (7, 1)]


def test_a_second_that_is_written_again_is_worked_out_again(
    run: Any, make_plan: Make, make_window: Make
) -> None:
    """The second worker's part of a second belongs to it as well."""
    follower = Follower(run.folder, make_plan())
    run.second(6, "w1", make_window(6, {10: 1}))
    follower.refresh({}, 8.0)
    run.second(6, "w2", make_window(6, {20: 1}))
    (moment,) = follower.refresh({}, 8.0).total.trend
    assert (moment.ok, moment.p95) == (2, 20_015.0)


def test_the_trend_keeps_five_minutes(run: Any, make_plan: Make, make_window: Make) -> None:
    """Of 400 seconds the last 300 are there."""
    follower = Follower(run.folder, make_plan())
    for start in range(0, 400, 20):
        for second in range(start, start + 20):
            run.ship(make_window(second, {10: 1}))
        follower.refresh({}, float(start + 20))
    trend = follower.refresh({}, 400.0).total.trend
    assert (trend[0].second, trend[-1].second, len(trend)) == (100, 399, 300)
