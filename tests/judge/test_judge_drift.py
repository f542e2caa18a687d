"""What a trend means for a drift rule, in a verdict and in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge.drift import DriftResult, attribute, judge_trend
from loadgate.judge.drift_text import short, spelled_slope, spelled_time
from loadgate.judge.results import Grade
from loadgate.judge.trend import Slope, TooLittle, Trend, trend
from loadgate.judge.trend_shapes import Step
from loadgate.plan.drift import Drift

HOUR, DAY, MB = 3600.0, 86_400.0, 1e6
MEMORY = Drift(metric="memory", growth="50MB")
LIMITED = Drift(metric="memory", growth="500MB", limit="< 1GB", within="10d")
P95 = Drift(metric="response_time", growth="5ms")


def of_memory(value: float, low: float, high: float, **changes: Any) -> Trend:
    """Return the trend of 100 h of memory, slopes in MB an hour, at 550 MB now."""
    slope = Slope(value * MB / HOUR, low * MB / HOUR, high * MB / HOUR)
    plain = Trend(slope, 0.0, 100 * HOUR, 550 * MB, 500 * MB, 550 * MB, 6000, 100)
    return replace(plain, **changes)


def of_latency(value: float, low: float, high: float) -> Trend:
    """Return the trend of 100 h of a latency, slopes in ms an hour."""
    slope = Slope(value / 1000 / HOUR, low / 1000 / HOUR, high / 1000 / HOUR)
    return Trend(slope, 0.0, 100 * HOUR, 0.06, 0.05, 0.06, 6000, 100)


def verdict(rule: Drift, found: Trend) -> Grade:
    """Return the verdict alone."""
    return judge_trend(rule, found).verdict


# ---- by growth, and by the limit


def test_a_shown_slope_that_grew_too_much_fails() -> None:
    """1 MB/h [0.8, 1.2] made 100 MB of 100 h, and 50 MB are allowed."""
    found = judge_trend(MEMORY, of_memory(1, 0.8, 1.2))
    assert found.verdict is Grade.FAIL
    assert found.reason == (
        "memory +1 MB/h [0.8, 1.2], +100 MB over 4.2 days, not less than the 50MB that it may"
    )


def test_a_slope_that_reaches_the_limit_within_the_horizon_fails() -> None:
    """450 MB are left and 3.1 MB/h take 145 h, which is 6 days, of the 10 that it must last."""
    found = judge_trend(LIMITED, of_memory(3.1, 2.6, 3.7))
    assert found.verdict is Grade.FAIL
    assert found.reason == "memory +3.1 MB/h [2.6, 3.7], reaches 1 GB in 6 days"
    assert found.reaches == pytest.approx(450 / 3.1 * HOUR)
    assert found.soonest == pytest.approx(450 / 3.7 * HOUR)
    assert found.latest == pytest.approx(450 / 2.6 * HOUR)


def test_a_slope_that_reaches_the_limit_later_passes() -> None:
    """At most 1.8 MB/h take 250 h, over ten days, and made less than 500 MB."""
    assert verdict(LIMITED, of_memory(1.5, 1.2, 1.8)) is Grade.PASS


def test_a_level_past_the_limit_fails() -> None:
    """What stands at its limit needs no slope."""
    found = judge_trend(LIMITED, of_memory(0, -0.1, 0.1, level=1001 * MB))
    assert found.verdict is Grade.FAIL
    assert "stands at 1 GB, past its limit 1 GB" in found.reason


def test_a_shown_slope_that_may_be_too_fast_warns() -> None:
    """0.4 MB/h [0.2, 0.6] made 40 MB, but may have made 60."""
    assert verdict(MEMORY, of_memory(0.4, 0.2, 0.6)) is Grade.WARN


def test_a_shown_slope_that_is_slow_for_sure_passes() -> None:
    """0.2 MB/h [0.1, 0.4] made 40 MB at most."""
    assert verdict(MEMORY, of_memory(0.2, 0.1, 0.4)) is Grade.PASS


def test_a_flat_series_passes() -> None:
    """[-0.1, 0.1] MB/h made 10 MB at most."""
    assert verdict(MEMORY, of_memory(0, -0.1, 0.1)) is Grade.PASS


def test_a_wide_interval_is_inconclusive_and_says_how_much_more() -> None:
    """0 [-1, 1] MB/h, half of which is allowed: twice as narrow takes 2^(2/3) times as long: 58.7 h more."""
    found = judge_trend(MEMORY, of_memory(0, -1, 1))
    assert found.verdict is Grade.INCONCLUSIVE
    assert found.more == pytest.approx(58.74 * HOUR, rel=1e-3)
    assert "about 2.4 days more would settle it" in found.reason


def test_a_falling_memory_passes() -> None:
    """What gets better is no drift."""
    assert verdict(MEMORY, of_memory(-3, -4, -2)) is Grade.PASS


def test_a_falling_throughput_fails() -> None:
    """Of throughput, down is worse: -1 req/s an hour of 1000, and 5 % is allowed."""
    slope = Slope(-1 / HOUR, -1.2 / HOUR, -0.8 / HOUR)
    found = judge_trend(
        Drift(metric="throughput"), Trend(slope, 0, 100 * HOUR, 900.0, 1000.0, 900.0, 600, 100)
    )
    assert found.verdict is Grade.FAIL
    assert found.reason.startswith("throughput -1 req/s per h [-1.2, -0.8], -100 req/s over 4.2 days")


def test_growth_in_percent_is_of_the_level() -> None:
    """5 % of 500 MB are 25 MB: 0.3 MB/h made 30, 0.2 made 20."""
    rule = Drift(metric="memory")
    assert verdict(rule, of_memory(0.3, 0.28, 0.32)) is Grade.FAIL
    assert verdict(rule, of_memory(0.2, 0.18, 0.22)) is Grade.PASS


def test_growth_of_a_share_is_in_points() -> None:
    """1 % more of cpu is one point, whatever the level: 0.02 points an hour made two."""
    rule = Drift(metric="cpu", growth="1%")
    slope = Slope(0.0002 / HOUR, 0.00019 / HOUR, 0.00021 / HOUR)
    found = judge_trend(rule, Trend(slope, 0, 100 * HOUR, 0.5, 0.48, 0.5, 600, 100))
    assert found.verdict is Grade.FAIL
    assert found.reason.startswith("cpu +0.02 % per h [0.019, 0.021]") or "+0.02 %/h" in found.reason


# ---- other shapes


def test_a_step_that_stayed_warns() -> None:
    """80 MB more from some moment on is no slope, and no PASS either where 50 are allowed."""
    found = judge_trend(MEMORY, of_memory(0, -0.1, 0.1, steps=(Step(7200.0, 80 * MB),)))
    assert found.verdict is Grade.WARN
    assert "a step of +80 MB at 2h stayed" in found.reason


def test_a_step_for_the_better_passes() -> None:
    """80 MB less harm nobody."""
    assert verdict(MEMORY, of_memory(0, -0.1, 0.1, steps=(Step(7200.0, -80 * MB),))) is Grade.PASS


def test_falls_without_known_restart_are_inconclusive() -> None:
    """Two falls: a collector with long cycles, or a leak with restarts that nobody noted."""
    found = judge_trend(MEMORY, of_memory(1, 0.8, 1.2, falls=2))
    assert found.verdict is Grade.INCONCLUSIVE
    assert "it fell back 2 times without a known restart" in found.reason


def test_a_growth_that_slows_down_warns() -> None:
    """What would level off 20 MB higher is told; it fails only if that is past the limit."""
    slowing = of_memory(1, 0.8, 1.2, to_come=20 * MB)
    assert verdict(MEMORY, slowing) is Grade.WARN
    assert "level off at about 570 MB" in judge_trend(MEMORY, slowing).reason
    near = Drift(metric="memory", growth="50MB", limit="< 560MB")
    assert verdict(near, slowing) is Grade.FAIL


def test_a_series_without_a_trend_is_inconclusive() -> None:
    """Too few readings say nothing, and say so."""
    found = judge_trend(MEMORY, TooLittle("3 readings", "it takes 12"))
    assert found.verdict is Grade.INCONCLUSIVE
    assert found.reason == "memory: 3 readings: it takes 12"


def test_a_last_part_that_gained_warns() -> None:
    """A series without a slope whose last part gained 60 MB, where 50 are allowed."""
    found = judge_trend(MEMORY, of_memory(0, -0.1, 0.1, gain=60 * MB))
    assert found.verdict is Grade.WARN
    assert "no steady slope, but +60 MB since the last restart or step" in found.reason


def test_a_series_that_is_mostly_too_short_stretches_never_passes() -> None:
    """40 % of the series say nothing of the rest."""
    assert verdict(MEMORY, of_memory(0, -0.1, 0.1, covered=0.4)) is Grade.INCONCLUSIVE


ORDER = (Grade.PASS, Grade.INCONCLUSIVE, Grade.WARN, Grade.FAIL)
rates = st.floats(-5, 5)


@given(rates, st.floats(0, 3), st.floats(0, 3), st.floats(0, 3))
def test_a_steeper_slope_is_never_better(value: float, below: float, above: float, more: float) -> None:
    """Moving the whole interval for the worse never improves a verdict."""
    one = verdict(LIMITED, of_memory(value, value - below, value + above))
    two = verdict(LIMITED, of_memory(value + more, value + more - below, value + more + above))
    assert ORDER.index(two) >= ORDER.index(one)


@given(rates, st.floats(0, 3), st.floats(0, 3), st.floats(0.1, 3))
def test_a_wider_interval_never_decides(value: float, below: float, above: float, wider: float) -> None:
    """With less known, an undecided series stays undecided: neither PASS nor FAIL comes of it."""
    one = verdict(MEMORY, of_memory(value, value - below, value + above))
    two = verdict(MEMORY, of_memory(value, value - below - wider, value + above + wider))
    if one in (Grade.INCONCLUSIVE, Grade.WARN):
        assert two in (Grade.INCONCLUSIVE, Grade.WARN)


# ---- whose drift


def latency(value: float, low: float, high: float) -> DriftResult:
    """Return what is said of a p95 that rises."""
    return judge_trend(P95, of_latency(value, low, high))


def test_a_flat_control_leaves_the_drift_to_the_target() -> None:
    """0.1 ms/h, of which the generator has at most 0.01."""
    found = attribute(latency(0.1, 0.08, 0.12), of_latency(0, -0.01, 0.01))
    assert (found.verdict, found.drifts) == (Grade.FAIL, "target")


def test_a_control_that_rises_as_well_voids_the_drift() -> None:
    """0.1 ms/h, of which the generator's own requests show 0.09: the target may be healthy."""
    found = attribute(latency(0.1, 0.08, 0.12), of_latency(0.09, 0.07, 0.11))
    assert (found.verdict, found.drifts) == (Grade.INVALID, "generator")
    assert "it is the generator that drifts" in found.reason


def test_a_control_that_may_rise_as_much_is_inconclusive() -> None:
    """0 [-0.1, 0.1] ms/h may be the whole of 0.1 ms/h."""
    found = attribute(latency(0.1, 0.08, 0.12), of_latency(0, -0.1, 0.1))
    assert (found.verdict, found.drifts) == (Grade.INCONCLUSIVE, "unclear")


def test_a_control_that_rises_a_little_excuses_nothing() -> None:
    """A tenth of the slope is no excuse."""
    found = attribute(latency(0.1, 0.08, 0.12), of_latency(0.01, 0.005, 0.015))
    assert (found.verdict, found.drifts) == (Grade.FAIL, "target")


@pytest.mark.parametrize("control", [None, TooLittle("0 readings", "it takes 12")])
def test_without_a_control_the_drift_stands(control: TooLittle | None) -> None:
    """A FAIL stays one; who drifts is unclear."""
    found = attribute(latency(0.1, 0.08, 0.12), control)
    assert (found.verdict, found.drifts) == (Grade.FAIL, "unclear")


def test_a_drifting_generator_makes_no_good_series_worse() -> None:
    """A PASS is left alone."""
    good = latency(0, -0.001, 0.001)
    good = replace(good, verdict=Grade.PASS)
    assert attribute(good, of_latency(0.09, 0.07, 0.11)) is good


# ---- words and plain values


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "1.5 minutes"), (6.2 * DAY, "6.2 days"), (30 * HOUR, "30 hours"), (400 * DAY, "400 days")],
)
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    """Two digits, in the largest unit of which there are two."""
    assert spelled_time(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (3.14159, "3.14"), (-0.00012345, "-0.000123"), (98765, "98800")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    """Three significant digits, no exponent."""
    assert short(value) == text


def test_a_slope_and_its_bounds_have_one_unit() -> None:
    """The unit is that of the largest of the three."""
    slope = Slope(0.0005 * MB / HOUR, -0.002 * MB / HOUR, 0.003 * MB / HOUR)
    assert spelled_slope(MEMORY, slope) == "+0.5 kB/h [-2, 3]"


def test_plain_values_hold_the_trend() -> None:
    """What a file keeps: the slope per hour in SI, the interval and its confidence."""
    plain = judge_trend(LIMITED, of_memory(3.1, 2.6, 3.7)).to_dict()
    assert plain["verdict"] == "FAIL"
    assert plain["slope_per_hour"] == pytest.approx(3.1e6)
    assert plain["interval_per_hour"] == pytest.approx([2.6e6, 3.7e6])
    assert plain["confidence"] == 0.995
    assert plain["limit"] == "< 1GB"


# ---- the test set, in short


WEEK = np.arange(10_080) / 60.0
SHAPES = {
    "flat": (0 * WEEK, 30),
    "sawtooth": (150 * (WEEK / 5 % 1), 10),
    "step": (80.0 * (WEEK > 70), 30),
    "cache": (200 * (1 - np.exp(-WEEK / 12)), 30),
}


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize("seed", range(5))
def test_what_is_no_leak_does_not_fail(kind: str, seed: int) -> None:
    """A week of flat, sawtooth, step and saturating cache in noise, minute by minute."""
    shape, noise = SHAPES[kind]
    random = np.random.default_rng(seed)
    levels = (300 + shape + noise * random.uniform(-1, 1, len(WEEK))) * MB
    assert judge_trend(Drift(metric="memory"), trend(WEEK * HOUR, levels)).verdict is not Grade.FAIL


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_leak_is_caught(seed: int) -> None:
    """0.5 MB/h in +-30 MB of noise over a week."""
    random = np.random.default_rng(seed)
    levels = (300 + 0.5 * WEEK + random.uniform(-30, 30, len(WEEK))) * MB
    found = judge_trend(Drift(metric="memory", limit="< 1GB"), trend(WEEK * HOUR, levels))
    assert found.verdict is Grade.FAIL
    assert found.trend is not None
    assert found.trend.slope.low * HOUR / MB < 0.5 < found.trend.slope.high * HOUR / MB
