"""Student's t, correlation inside a run, noise between runs, and how long one has to look."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge.distributions import t_quantile, t_tail
from loadgate.judge.noise import (
    ALPHA,
    Interleaving,
    Noise,
    Repetition,
    chi_square_quantile,
    correlation,
    estimate,
    interleaving_for,
    repetition_for,
    variance_of_mean,
)


@given(st.floats(-1e6, 1e6))
def test_tails_of_t_are_the_closed_forms(t: float) -> None:
    """One degree of freedom is Cauchy's distribution, two have a closed form; near 0 to seven digits."""
    assert t_tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, abs=1e-7)
    assert t_tail(t, 2) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), abs=1e-7)


@given(st.floats(0.501, 0.999), st.integers(1, 200))
def test_the_quantile_is_where_the_tail_is(p: float, df: int) -> None:
    """They are inverse to each other."""
    assert t_tail(t_quantile(p, df), df) == pytest.approx(1 - p, abs=1e-9)


def test_what_is_infinitely_far_has_no_tail() -> None:
    """And what is infinitely low has all of it."""
    assert (t_tail(math.inf, 4), t_tail(-math.inf, 4)) == (0.0, 1.0)


@pytest.mark.parametrize(("p", "df", "expected"), [(0.05, 5, 1.145), (0.3, 5, 3.000), (0.5, 10, 9.342)])
def test_quantiles_of_chi_square_are_near_the_printed_tables(p: float, df: int, expected: float) -> None:
    """Within the 2 % that the approximation promises."""
    assert chi_square_quantile(p, df) == pytest.approx(expected, rel=0.02)


def test_an_alternating_series_has_no_correlation_to_pay_for() -> None:
    """1 3 1 3 2 2 2 2: lag-1 sum -3 over squares 4 is below 0, so its mean varies by s²/n = (4/7)/8."""
    series = [1.0, 3.0, 1.0, 3.0, 2.0, 2.0, 2.0, 2.0]
    assert correlation(series) == 0.0
    assert variance_of_mean(series) == pytest.approx(1 / 14)


def test_a_rising_series_is_as_correlated_as_can_be_told() -> None:
    """1..8: 26.25 / 42 = 0.625, and (1 + 4·0.625)/8 on top is over the limit of 0.95."""
    series = [float(n) for n in range(1, 9)]
    assert correlation(series) == 0.95
    assert variance_of_mean(series) == pytest.approx(42 / 7 / 8 * 1.95 / 0.05)


def test_the_bias_of_a_short_series_is_added_back() -> None:
    """2 2 0 0 2 2 0 0: lag-1 sum 1+1+1+1-1-1-1 = 1 over squares 8 is 1/8, plus (1 + 4/8)/8 = 3/16."""
    assert correlation([2.0, 2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]) == pytest.approx(1 / 8 + 3 / 16)


def test_a_constant_series_has_no_noise() -> None:
    """Nothing is divided by its variance of 0."""
    assert variance_of_mean([3.0] * 8) == 0.0


def test_seven_parts_are_too_few() -> None:
    """Nobody can tell how they hang together: unknown, which is not 0."""
    assert variance_of_mean([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]) is None


def test_noise_is_split_by_hand() -> None:
    """0, 0.1 and 0.2 deviate by 0.1; 0.06 of it inside leaves 0.08 between: 0.01 - 0.0036 = 0.0064."""
    noise = estimate([0.0, 0.1, 0.2], [0.0036] * 3, 60.0, 0.05)
    assert (noise.total, noise.df, noise.within) == (pytest.approx(0.1), 2, pytest.approx(0.06))
    assert noise.between == pytest.approx(0.08)


def test_a_run_without_its_inside_leaves_the_split_unknown() -> None:
    """One unknown is enough: a mean of the others would be a guess."""
    assert estimate([0.0, 0.1, 0.2], [0.0036, None, 0.0036], 60.0, 0.05).within is None


def test_the_noise_floor_is_the_deviation_of_a_difference() -> None:
    """One run against one: √2 times that of a run; five against one: √1.2; eight pairs: one half."""
    noise = Noise(0.1, 5, 0.0, 60.0, 0.05)
    assert noise.floor() == pytest.approx(0.1 * math.sqrt(2))
    assert noise.floor(5, 1) == pytest.approx(0.1 * math.sqrt(1.2))
    assert noise.floor(8, 8) == pytest.approx(0.05)


def test_a_longer_run_sheds_only_what_is_inside_it() -> None:
    """0.01 in all, 0.0036 inside: four times as long is 0.0064 + 0.0009, enlarged alike."""
    noise = Noise(0.1, 5, 0.06, 60.0, 0.05)
    assert noise.variance_at(240.0) / noise.variance_at(60.0) == pytest.approx(0.0073 / 0.01)
    assert noise.variance_at(60.0) == pytest.approx(0.01 * 5 / 3.000, rel=0.02)


def test_runs_that_happened_to_agree_are_not_taken_at_their_word() -> None:
    """A deviation of 0.01 over runs that have 0.06 inside: the forecast is 0.0036, enlarged."""
    lucky = Noise(0.01, 5, 0.06, 60.0, 0.05)
    assert lucky.variance_at(60.0) == pytest.approx(0.0036 * 5 / 3.000, rel=0.02)


def test_where_the_split_is_unknown_a_forecast_hopes_for_nothing() -> None:
    """All of it grows in a shorter run, none of it shrinks in a longer one."""
    noise = Noise(0.1, 5, None, 60.0, 0.05)
    assert noise.variance_at(30.0) == pytest.approx(2 * noise.variance_at(60.0))
    assert noise.variance_at(600.0) == noise.variance_at(60.0)


NOISES = st.builds(
    Noise, st.floats(0.001, 0.15), st.integers(4, 20), st.floats(0.0, 0.15), st.just(60.0), st.just(0.05)
)


@given(NOISES, st.integers(1, 60))
def test_what_is_recommended_detects(noise: Noise, rows: int) -> None:
    """By the textbook rule: the room over the floor is t_(1-alpha/rows) + t_0.95 standard errors or more."""
    effect, floor = math.log(1.2), math.log(1.05)
    plan = interleaving_for(noise, floor, rows, effect)
    if plan is not None:
        pairs = 2 * plan.blocks
        error = math.sqrt(2 * noise.variance_at(plan.seconds) / pairs)
        room = effect - max(floor, noise.total * math.sqrt(2 / pairs))
        assert room >= (t_quantile(1 - ALPHA / rows, pairs - 1) + t_quantile(0.95, pairs - 1)) * error - 1e-12
    kept = repetition_for(noise, floor, rows, effect)
    if kept is not None:
        error = math.sqrt(noise.variance_at(kept.seconds) * (1 + 1 / kept.runs))
        room = effect - max(floor, noise.total * math.sqrt(1 + 1 / kept.runs))
        df = kept.runs - 1
        assert room >= (t_quantile(1 - ALPHA / rows, df) + t_quantile(0.95, df)) * error - 1e-12


def test_without_noise_the_shortest_comparison_is_enough() -> None:
    """Two blocks of five seconds, or five baseline runs of the calibrated length."""
    quiet = Noise(1e-6, 5, 1e-7, 20.0, 0.05)
    assert interleaving_for(quiet, math.log(1.05), 18, math.log(1.2)) == Interleaving(2, 5.0)
    assert repetition_for(quiet, math.log(1.05), 18, math.log(1.2)) == Repetition(5, 20.0)


def test_where_noise_is_larger_than_the_effect_nothing_is_recommended() -> None:
    """A machine whose like runs differ by half cannot show 20 %: no false hope."""
    loud = Noise(0.5, 5, 0.0, 60.0, 0.05)
    assert interleaving_for(loud, math.log(1.05), 18, math.log(1.2)) is None
    assert repetition_for(loud, math.log(1.05), 18, math.log(1.2)) is None
