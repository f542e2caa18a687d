"""The slope of a long series, and what only looks like one."""

from __future__ import annotations

from itertools import combinations
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.judge.slots import Interval
from loadgate.judge.trend import Slope, TooLittle, Trend, slope_of, theil_sen, trend
from loadgate.judge.trend_shapes import Points, bucketed

HOUR = 3600.0
WEEK = np.arange(10_080) / 60.0
"""The hours of a week, minute by minute."""

values = st.lists(st.integers(-1000, 1000), min_size=2, max_size=20)


def known(found: Trend | TooLittle) -> Trend:
    """Return a trend that must be there."""
    assert isinstance(found, Trend), found
    return found


def of_week(shape: np.ndarray, noise: float = 1.0, seed: int = 3, **more: object) -> Trend:
    """Return the trend of a week of readings with even noise."""
    random = np.random.default_rng(seed)
    return known(trend(WEEK * HOUR, shape + noise * random.uniform(-1, 1, len(WEEK)), **more))  # type: ignore[arg-type]


def per_hour(slope: Slope) -> tuple[float, float, float]:
    """Return a slope and its bounds per hour."""
    return slope.value * HOUR, slope.low * HOUR, slope.high * HOUR


def points(times: list[float], levels: list[float], parts: list[int] | None = None) -> Points:
    """Return points by hand."""
    return Points(np.array(times, float), np.array(levels, float), np.array(parts or [0] * len(times)))


# ---- the slope


def test_slope_is_the_median_of_all_pairs() -> None:
    """Of 0, 1, 5 at 0, 1, 2 s the pairs have slopes 1, 2.5 and 4: the median is 2.5."""
    assert theil_sen(points([0, 1, 2], [0, 1, 5])) == 2.5


def test_no_pair_spans_two_parts() -> None:
    """0, 1 and 0, 1 in two parts have the slope 1 in each, though they end where they began."""
    assert theil_sen(points([0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1])) == 1.0


@given(values)
def test_slope_equals_that_of_all_pairs_one_by_one(levels: list[int]) -> None:
    """The slope is the median over all pairs, as a loop finds it."""
    pairs = combinations(range(len(levels)), 2)
    expected = median((levels[b] - levels[a]) / (b - a) for a, b in pairs)
    found = theil_sen(points([float(at) for at in range(len(levels))], [float(one) for one in levels]))
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_straight_line_has_its_slope_and_no_noise() -> None:
    """2 an hour for a week, without noise: 2 [2, 2], from 100 to 436."""
    found = known(trend(WEEK * HOUR, 100 + 2 * WEEK))
    assert per_hour(found.slope) == pytest.approx((2, 2, 2), abs=1e-6)
    assert found.level == pytest.approx(100 + 2 * 168, abs=2)
    assert found.first == pytest.approx(100 + 24, abs=2)
    assert found.last == pytest.approx(436 - 24, abs=2)


def test_a_constant_has_no_slope() -> None:
    """A value that never changes has the slope 0, for sure."""
    found = known(trend(WEEK * HOUR, np.full(len(WEEK), 7.0)))
    assert (found.slope.value, found.slope.low, found.slope.high) == (0, 0, 0)
    assert found.steps == ()
    assert found.cycles is None
    assert found.level == 7


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 10**6), st.floats(0.01, 1000), st.floats(-1000, 1000), st.floats(0, 1e7))
def test_a_slope_follows_its_units(seed: int, factor: float, shift: float, later: float) -> None:
    """Values times a factor have the slope and bounds times it; a shift, or a later start, changes none."""
    random = np.random.default_rng(seed)
    times, levels = np.arange(60.0) * 10, random.normal(size=60)
    one = slope_of(Points(times, levels, np.zeros(60, np.int64)))
    two = slope_of(Points(times + later, factor * levels + shift, np.zeros(60, np.int64)))
    found = (two.value / factor, two.low / factor, two.high / factor)
    assert found == pytest.approx((one.value, one.low, one.high), rel=1e-4, abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 10**6))
def test_the_mirror_of_a_series_has_the_mirror_of_its_trend(seed: int) -> None:
    """What rises by some slope falls by it when its sign is turned, as does what is worse."""
    random = np.random.default_rng(seed)
    times, levels = np.arange(300.0), np.cumsum(random.normal(size=300))
    one, two = known(trend(times, levels)), known(trend(times, -levels, rising_is_worse=False))
    if one.cycles or two.cycles or one.falls or two.falls:
        return  # a sawtooth falls suddenly, its mirror rises suddenly
    assert two.slope.value == pytest.approx(-one.slope.value)
    # A bound may be near zero: what it may differ by is a part of the interval, not of the bound.
    width = one.slope.high - one.slope.low
    assert two.slope.low == pytest.approx(-one.slope.high, abs=0.005 * width)
    assert len(two.steps) == len(one.steps)


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_readings_means_nothing(shuffle: object) -> None:
    """Readings may come in any order."""
    times = list(range(200))
    order = list(times)
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    levels = np.random.default_rng(4).normal(size=200) + np.array(times) / 50
    assert trend(np.array(order, float), levels[order]) == trend(np.array(times, float), levels)


def test_a_reading_without_value_is_a_gap() -> None:
    """Values that are not finite are as if they were not there."""
    levels = 5 + 0.1 * WEEK
    spoiled = np.where((WEEK > 40) & (WEEK < 60), np.nan, levels)
    there = np.isfinite(spoiled)
    assert trend(WEEK * HOUR, spoiled) == trend(WEEK[there] * HOUR, levels[there])


def test_a_few_wild_readings_change_nothing() -> None:
    """One reading in fifty that is a thousand times too high leaves the slope where it is."""
    plain = of_week(300 + 0.5 * WEEK, 30)
    wild = 300 + 0.5 * WEEK
    wild[::50] *= 1000
    found = of_week(wild, 30)
    assert found.slope.value == pytest.approx(plain.slope.value, rel=0.05)
    assert found.slope.low > 0


def test_the_same_input_gives_the_same_answer() -> None:
    """Resampling is seeded."""
    assert of_week(300 + 0 * WEEK, 30) == of_week(300 + 0 * WEEK, 30)


@pytest.mark.parametrize("number", [0, 1, 11])
def test_few_readings_have_no_trend(number: int) -> None:
    """Under twelve points nothing is said."""
    found = trend(np.arange(float(number)), np.arange(float(number)))
    assert isinstance(found, TooLittle)
    assert f"{number} readings" in found.reason


def test_series_of_different_lengths_are_refused() -> None:
    """Times and values go together."""
    with pytest.raises(ValueError, match="3 times and 2 values"):
        trend([1, 2, 3], [1, 2])


def test_more_noise_makes_a_wider_interval() -> None:
    """Three times the noise leaves about three times the width."""
    one, three = of_week(300 + 0 * WEEK, 10), of_week(300 + 0 * WEEK, 30)
    assert three.slope.half == pytest.approx(3 * one.slope.half, rel=0.01)


def test_likeness_makes_a_wider_interval() -> None:
    """Noise that stays for hours tells less than noise of single minutes with the same spread."""
    random = np.random.default_rng(8)
    slow = np.repeat(random.uniform(-30, 30, 42), 240)
    found = known(trend(WEEK * HOUR, 300 + slow))
    assert found.slope.half > 3 * of_week(300 + 0 * WEEK, 30).slope.half
    assert found.slope.alike > 2 * HOUR


# ---- restarts, deployments, exclusions


def test_restarts_that_reset_a_leak_do_not_hide_it() -> None:
    """3 MB/h, brought back every 28 h: 3 MB/h, though the week ends where it began."""
    cuts = [hour * HOUR for hour in (28, 56, 84, 112, 140)]
    found = of_week(300 + 3 * (WEEK % 28), 10, cuts=cuts)
    value, low, high = per_hour(found.slope)
    assert low < 3 < high
    assert low > 2
    assert value == pytest.approx(3, rel=0.05)
    assert found.parts == 6


def test_a_level_that_a_restart_changed_is_no_slope() -> None:
    """300 before a deployment and 400 after it is flat on both sides."""
    found = of_week(np.where(WEEK < 80, 300.0, 400.0), 10, cuts=[80 * HOUR])
    assert found.slope.low < 0 < found.slope.high
    assert found.steps == ()


def test_what_is_excluded_does_not_count() -> None:
    """A fault that was made on purpose for ten hours at the end leaves no slope."""
    levels = np.where((WEEK > 150) & (WEEK < 160), 900.0, 300.0)
    found = of_week(levels, 10, excluded=[Interval(150 * HOUR, 160.1 * HOUR)])
    assert found.slope.high * HOUR < 0.1
    assert found.steps == ()


def test_a_start_is_given_time_to_settle() -> None:
    """An hour of warming up after each of many restarts is no leak when it is left out."""
    levels = 300 + 50 * np.minimum(WEEK % 12, 1)
    cuts = [hour * HOUR for hour in range(12, 168, 12)]
    found = of_week(levels, 1, cuts=cuts, settle=HOUR)
    assert found.slope.low < 0 < found.slope.high
    assert of_week(levels, 1, cuts=cuts).slope.value > abs(found.slope.value)


# ---- shapes


@pytest.mark.parametrize("hours", [1, 5, 12])
def test_a_sawtooth_is_judged_by_its_troughs(hours: int) -> None:
    """A garbage collection with level troughs is flat; the level is that of its peaks, 450."""
    found = of_week(300 + 150 * (WEEK / hours % 1), 5)
    assert found.cycles is not None
    assert found.cycles.seconds == pytest.approx(hours * HOUR, rel=0.1)
    assert found.cycles.swing == pytest.approx(150, rel=0.15)
    assert found.slope.low <= 0 <= found.slope.high
    assert found.level == pytest.approx(450, rel=0.05)


def test_a_leak_shows_under_a_sawtooth() -> None:
    """0.5 MB/h under cycles of 5 h and 150 MB."""
    found = of_week(300 + 0.5 * WEEK + 150 * (WEEK / 5 % 1), 5)
    value, low, _ = per_hour(found.slope)
    assert value == pytest.approx(0.5, rel=0.1)
    assert low > 0


def test_peaks_that_grow_over_level_troughs_are_no_leak() -> None:
    """A collector that waits longer each time still frees all of it."""
    found = of_week(300 + (100 + 0.3 * WEEK) * (WEEK / 6 % 1), 3)
    assert found.cycles is not None
    assert found.slope.high * HOUR < 0.1


def test_falls_that_stopped_are_seen() -> None:
    """Troughs are level for five days; then it climbs and falls no more: the series is no sawtooth."""
    found = of_week(np.where(WEEK < 120, 300 + 100 * (WEEK / 5 % 1), 300 + 20 * (WEEK - 120)), 3)
    assert found.cycles is None
    assert found.last > found.first + 300


def test_few_long_cycles_are_told() -> None:
    """Four falls in a week are too few to follow their troughs."""
    found = of_week(300 + 150 * (WEEK / 40 % 1), 5)
    assert found.cycles is None
    assert found.falls == 4


def test_a_step_is_told_from_a_slope() -> None:
    """80 MB more from 60 h on is a step of 80 MB, and flat on both sides."""
    found = of_week(300 + 80.0 * (WEEK > 60), 30)
    assert [round(step.at / HOUR) for step in found.steps] == [60] or abs(found.steps[0].at / HOUR - 60) < 3
    assert found.steps[0].size == pytest.approx(80, rel=0.1)
    assert found.slope.low < 0 < found.slope.high


def test_stairs_are_a_slope() -> None:
    """12 MB more each day is 0.5 MB/h, and no series of harmless steps."""
    found = of_week(300 + 12 * np.floor(WEEK / 24), 3)
    assert found.steps == ()
    assert found.slope.low > 0
    assert found.slope.value * HOUR == pytest.approx(0.5, rel=0.1)


def test_a_cache_that_filled_is_judged_from_then_on() -> None:
    """200 MB that fill with a time constant of 12 h: flat after some two days."""
    found = of_week(300 + 200 * (1 - np.exp(-WEEK / 12)), 10)
    assert found.levelled_at is not None
    assert 30 * HOUR < found.levelled_at < 80 * HOUR
    assert found.slope.high * HOUR < 0.1
    assert found.to_come is None
    assert found.level == pytest.approx(500, rel=0.02)


def test_a_cache_that_still_fills_says_how_much_is_to_come() -> None:
    """With a time constant of 60 h, 200·exp(-168/60) = 12 MB are still to come after a week."""
    found = of_week(300 + 200 * (1 - np.exp(-WEEK / 60)), 10)
    assert found.to_come == pytest.approx(12.2, abs=6)


def test_a_leak_after_a_warm_up_is_still_a_leak() -> None:
    """100 MB within hours, then 0.5 MB/h."""
    found = of_week(300 + 100 * (1 - np.exp(-WEEK / 3)) + 0.5 * WEEK, 30)
    assert found.to_come is None
    assert found.slope.low > 0
    assert found.slope.value * HOUR == pytest.approx(0.5, rel=0.15)


def test_a_daily_cycle_is_taken_off() -> None:
    """A swing of 30 MB a day makes no wide interval; the level is that of its worse end."""
    found = of_week(300 + 30 * np.sin(2 * np.pi * WEEK / 24), 10)
    assert found.daily == pytest.approx(30, rel=0.05)
    assert found.slope.high * HOUR < 0.05
    assert found.level == pytest.approx(330, rel=0.02)


def test_a_daily_cycle_takes_nothing_of_a_slope() -> None:
    """0.5 MB/h under a daily swing stays 0.5 MB/h."""
    found = of_week(300 + 0.5 * WEEK + 30 * np.sin(2 * np.pi * WEEK / 24), 10)
    assert found.slope.value * HOUR == pytest.approx(0.5, rel=0.05)
    assert found.slope.low > 0


def test_what_begins_late_is_seen() -> None:
    """Flat for five days, then 1 MB/h: half of all pairs are flat, but the last part gained 48 MB."""
    found = of_week(300 + np.maximum(WEEK - 120, 0), 3)
    assert found.gain > 20 or found.slope.low > 0


def test_stretches_that_are_too_short_are_told() -> None:
    """A restart every three hours up to hour 84 leaves half of the week without a slope of its own."""
    found = of_week(300 + 0 * WEEK, 3, cuts=[hour * HOUR for hour in range(3, 85, 3)])
    assert found.covered == pytest.approx(0.5, abs=0.05)


# ---- buckets


@given(st.lists(st.integers(0, 1), min_size=101, max_size=400), st.integers(2, 50))
def test_buckets_hold_medians_and_span_no_parts(marks: list[int], buckets: int) -> None:
    """Each bucket is the median of readings of one part in its stretch of time."""
    parts = np.cumsum(marks).astype(np.int64)
    times = np.arange(float(len(marks)))
    levels = np.random.default_rng(1).integers(0, 100, len(marks)).astype(float)
    found = bucketed(Points(times, levels, parts), buckets)
    groups: dict[tuple[int, int], list[float]] = {}
    for time, level, part in zip(times.tolist(), levels.tolist(), parts.tolist(), strict=True):
        groups.setdefault((part, min(int(time / times[-1] * buckets), buckets - 1)), []).append(level)
    if len(marks) > buckets:
        assert found.values.tolist() == [median(group) for group in groups.values()]
        assert found.parts.tolist() == [part for part, _ in groups]
