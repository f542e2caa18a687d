"""Bounds worked out by hand, and the laws that make them safe."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge.confidence import requests_needed, share_shown
from loadgate.judge.correlation import Correlation, correlation_of
from loadgate.judge.intervals import Samples, steady_part
from loadgate.plan.sla import Objective

LENGTHS = st.sampled_from([1, 4, 5, 8, 19, 20, 25, 39, 40, 60])


def samples(n: list[float], failed: list[float] | None = None, **more: Any) -> Samples:
    """Return samples of windows with so many requests, and failed ones beside."""
    return Samples(np.array(n, float), np.array(failed or [0] * len(n), float), **more)


# ---- how alike neighbours are


def test_a_correlation_length_by_hand() -> None:
    """Four of 1, four of -1: lags 1..4 give 5/8, 2/8, -1/8, -4/8, each and 1/8 more.

    In pairs 1 + 0.75 and 0.375 + 0 are positive; lag 4 has no partner. 2·2.125 - 1 = 3.25.
    """
    assert correlation_of(np.array([1, 1, 1, 1, -1, -1, -1, -1.0])).length == pytest.approx(3.25)


@pytest.mark.parametrize("series", [[], [1.0], [3.0] * 30, [1.0, -1.0] * 15])
def test_what_shows_no_likeness_counts_as_independent(series: list[float]) -> None:
    """Nothing, a constant, and windows that take turns: the length is never under 1."""
    assert correlation_of(np.array(series)).length == 1


@pytest.mark.parametrize(("per_batch", "square"), [(1, 3.0), (2, 2.0), (1000, 1.00134)])
def test_batches_are_widened_by_what_they_hide(per_batch: int, square: float) -> None:
    """phi = 1/2 has length 3. A window shows 1 of 3 of the variance, two 3 - 1.5 of 3, a thousand 2.996."""
    assert Correlation(3.0).widening(per_batch) ** 2 == pytest.approx(square, abs=1e-5)


# ---- the bounds by hand


def test_the_bound_upward_by_hand() -> None:
    """0 and 2 of 100 over the limit in turn, 5 % may be: d is -5 and -3, its sum -80.

    Ten deviations of +1 stand for 2·20/19·10 = 21.05, whose root is 4.588. 0.4·19 = 7.6 degrees of freedom
    have a t between those of 7 and 8 in the tables: 1.8946 and 1.8595.
    """
    bound = samples([100] * 20).bound_below(np.array([0.0, 2.0] * 10), 0.05)
    assert bound.distance == pytest.approx(-80)
    assert 1.8595 * 4.588 < bound.noise < 1.8946 * 4.589


def test_the_own_percentile_counts_near_the_limit_only() -> None:
    """80 of 2000 over the limit are 4 of 5 of what may be, more than half: the own noise counts in full.

    With 20 of 2000, two fifths of the allowed 100·(1/2), it counts for 2·20/100 of itself.
    """
    own = np.array([10.0, -10.0] * 10)
    near = samples([100] * 20, own=own).bound_below(np.full(20, 4.0), 0.05)
    far = samples([100] * 20, own=own).bound_below(np.full(20, 1.0), 0.05)
    assert far.noise == pytest.approx(0.4 * near.noise)


@pytest.mark.parametrize(
    ("sums", "shown"),
    [([0, 2] * 10, 20 - 1.729 * 4.588), ([10, *[0] * 19], 0.0), ([3] * 20, 60.0), ([3] * 19 + [300], 60.0)],
)
def test_what_failures_show_by_hand(sums: list[float], shown: float) -> None:
    """In turn: less t·4.588. A single burst shows nothing, and takes nothing from what the others show."""
    assert steady_part(np.array(sums, float), 1.729) == pytest.approx(shown, abs=0.01)


def test_the_binomial_bound_is_never_undercut() -> None:
    """2 % over the limit in every window: no deviation at all, but 20 of 1000 are not shown under 2.5 %.

    P(at most 20 of 1000 with 2.5 %) is 18 % (Poisson with mean 25); with 3 % (mean 30) it is 3.5 %.
    """
    same = samples([50] * 20)
    assert not same.below(np.full(20, 1.0), 0.025)
    assert same.below(np.full(20, 1.0), 0.03)


def test_alike_seconds_count_less() -> None:
    """Half of 60 windows have 8 of 100, half none, 5.2 % may be: known if in turn, open if in halves."""
    mixed, blocks = np.array([8.0, 0.0] * 30), np.array([8.0] * 30 + [0.0] * 30)
    share = 0.052
    assert samples([100] * 60).below(mixed, share)
    assert not samples([100] * 60).below(blocks, share)


# ---- short runs


@pytest.mark.parametrize(
    ("over", "below"),
    [([0] * 8, True), ([4] * 8, True), ([4] * 7 + [6], False), ([0] * 7 + [6], False)],
)
def test_a_short_run_passes_only_by_its_worst_window(over: list[float], below: bool) -> None:
    """8 windows of 100 with 5 % allowed: one with 6 is on the wrong side, whatever the others are."""
    assert samples([100] * 8).below(np.array(over, float), 0.06 if over == [4] * 8 else 0.05) is below


@pytest.mark.parametrize(
    ("over", "above"), [([9] * 8, True), ([20] * 7 + [4], False), ([90] * 7 + [5], False)]
)
def test_a_short_run_fails_only_by_its_best_window(over: list[float], above: bool) -> None:
    """A window with 4 or 5 of 100 is not past 5 %."""
    assert samples([100] * 8).above(np.array(over, float), 0.05) is above


def test_twenty_times_what_may_be_is_over_however_alike_the_windows_are() -> None:
    """One of 8 windows with 160 of 800, the others with none: 20 % are 20 times 1 %. 159 are not."""
    burst = np.array([160.0, *[0] * 7])
    assert samples([160, *[640 / 7] * 7]).above(burst, 0.01)
    assert not samples([160, *[640 / 7] * 7]).above(burst - np.eye(8)[0], 0.01)


def test_below_five_windows_no_request_may_be_over() -> None:
    """Four windows say nothing of noise: 1 of 4000 is too many, none is enough."""
    four = samples([1000] * 4)
    assert four.below(np.zeros(4), 0.05)
    assert not four.below(np.array([1.0, 0, 0, 0]), 0.05)


def test_a_run_under_twenty_correlation_lengths_is_short() -> None:
    """60 windows with a length of 3 are just enough; with 3.1 they are not."""
    assert not samples([100] * 60, correlation=Correlation(3.0)).short
    assert samples([100] * 60, correlation=Correlation(3.1)).short


def test_merged_windows_leave_the_binomial_bound() -> None:
    """In the live view 30 s are one window: 1 of 1000 is shown to be under 5 % by its number alone."""
    one = samples([1000])
    assert not one.below(np.array([1.0]), 0.05)
    assert replace(one, merged=True).below(np.array([1.0]), 0.05)


# ---- laws


@st.composite
def rows(draw: st.DrawFn) -> tuple[Samples, Any, float]:
    """Draw the samples of a row, how many are over a limit, and which share may be."""
    windows = draw(LENGTHS)
    numbers = st.lists(st.integers(0, 40), min_size=windows, max_size=windows)
    n, over = np.array(draw(numbers), float), np.array(draw(numbers), float)
    failed = np.array(draw(numbers), float) * draw(st.sampled_from([0, 0, 1, 10]))
    own = draw(st.one_of(st.none(), numbers))
    length = draw(st.floats(1, max(1.0, windows / 20)))
    row = Samples(n, failed, None if own is None else np.array(own, float), Correlation(length))
    return row, np.minimum(over, n), draw(st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.5]))


@given(rows(), st.data(), st.integers(1, 300))
def test_one_more_failure_never_helps(drawn: Any, data: st.DataObject, number: int) -> None:
    """Wherever they come: what was not shown to be under stays so, what was shown to be over too."""
    row, over, share = drawn
    more = row.failed.copy()
    more[data.draw(st.integers(0, row.windows - 1))] += number
    worse = replace(row, failed=more)
    if row.total:
        assert row.below(over, share) or not worse.below(over, share)
        assert worse.above(over, share) or not row.above(over, share)


@given(rows(), st.data())
def test_one_more_slow_request_never_helps(drawn: Any, data: st.DataObject) -> None:
    """A request that is over the limit in place of one under it, with the run's own percentile as it was."""
    row, over, share = drawn
    at = data.draw(st.integers(0, row.windows - 1))
    if over[at] < row.n[at]:
        slower = over.copy()
        slower[at] += 1
        assert row.below(over, share) or not row.below(slower, share)
        assert row.above(slower, share) or not row.above(over, share)


@given(rows())
def test_nothing_is_shown_to_be_both(drawn: Any) -> None:
    """Under a limit and over it exclude each other, and each agrees with the number itself."""
    row, over, share = drawn
    if row.total:
        below, above = row.below(over, share), row.above(over, share)
        assert not (below and above)
        assert not below or row.count(over) <= share * row.total
        assert not above or row.count(over) >= share * row.total


@given(rows())
def test_a_wider_limit_is_shown_sooner(drawn: Any) -> None:
    """What is under 1 % is under 2 %, what is over 2 % is over 1 %."""
    row, over, share = drawn
    if row.total:
        assert row.below(over, 2 * share) or not row.below(over, share)
        assert row.above(over, share) or not row.above(over, 2 * share)


@given(rows())
def test_the_interval_holds_the_value_and_the_binomial_interval(drawn: Any) -> None:
    """A share lies in its interval, which is never narrower than that of Clopper and Pearson."""
    row, _, _ = drawn
    row = replace(row, own=None)
    if not row.total:
        return
    low, high = share_shown(_objective(), row, 30.0).interval
    assert low <= row.bad / row.total <= high
    # Exact binomial tails at the ends, where they are inside 0..1.
    if low > 0:
        assert 1 - _tail(row.bad - 1, row.total, low) <= 0.05 + 1e-5
    if high < 1:
        assert _tail(row.bad, row.total, high) <= 0.05 + 1e-5


def _objective() -> Objective:
    return Objective.model_validate({"metric": "error_rate", "target": "< 1%", "every": 10.0})


def _tail(k: int, n: int, p: float) -> float:
    """Return P(at most k of n), from logarithms of the terms."""
    if k < 0:
        return 0.0
    return math.fsum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(i + 1)
            - math.lgamma(n - i + 1)
            + i * math.log(p)
            + (n - i) * math.log1p(-p)
        )
        for i in range(k + 1)
    )


# ---- what would settle it


def test_how_many_more_a_spotless_run_needs() -> None:
    """58 of a p95 are one too few."""
    assert requests_needed(samples([58]), np.zeros(1), 0.05) == 59


def test_noise_falls_with_the_root_of_the_requests() -> None:
    """d sums to -20 with noise 2·20/19·... as 0, 8 in turn: four times the deviations of 0, 2 are 4·8.59.

    (34.4 / 20)² = 2.95 times 2000 requests, between (4·1.8595·4.588/20)² and (4·1.8946·4.589/20)².
    """
    needed = requests_needed(samples([100] * 20), np.array([0.0, 8.0] * 10), 0.05)
    assert needed is not None
    assert 5820 < needed < 6060


def test_at_the_limit_no_number_is_enough() -> None:
    """5 of 100 in every window where 5 % may be."""
    assert requests_needed(samples([100] * 20), np.full(20, 5.0), 0.05) is None
