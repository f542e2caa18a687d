"""Student's t against printed tables, the binomial bounds against sums of binomial terms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge.distributions import (
    at_most,
    fewest_above,
    lower_share,
    most_below,
    t_quantile,
    upper_share,
)

SHARES = st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99, 1.0])


def tail(k: int, n: int, p: float) -> float:
    """Return P(at most k of n) as the sum of its terms."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize(
    ("df", "quantile"),
    [(1, 6.3138), (2, 2.9200), (5, 2.0150), (10, 1.8125), (19, 1.7291), (30, 1.6973), (120, 1.6577)],
)
def test_the_quantiles_of_t_are_those_of_the_tables(df: int, quantile: float) -> None:
    """One-sided 95 %, as any table of Student's t prints it."""
    assert t_quantile(0.95, df) == pytest.approx(quantile, abs=5e-5)


@given(st.integers(1, 60), st.data(), SHARES)
def test_a_binomial_tail_is_the_sum_of_its_terms(n: int, data: st.DataObject, p: float) -> None:
    """The incomplete beta function gives what adding the terms does."""
    k = data.draw(st.integers(-1, n))
    assert at_most(k, n, p) == pytest.approx(tail(k, n, p), abs=1e-11)


@given(st.integers(7_000, 40_000), st.floats(0.2, 0.8), st.floats(-6.0, 6.0))
def test_a_tail_of_thousands_is_the_sum_of_its_terms(n: int, p: float, deviations: float) -> None:
    """From 3000 of each kind on it is an integral: right to a millionth of the smaller side."""
    k = min(max(round(n * p + deviations * math.sqrt(n * p * (1 - p))), 0), n - 1)

    def term(i: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        return math.exp(ways + i * math.log(p) + (n - i) * math.log1p(-p))

    if deviations < 0:
        below = math.fsum(term(i) for i in range(max(k - 3000, 0), k + 1))
        assert at_most(k, n, p) == pytest.approx(below, rel=1e-6, abs=1e-15)
    else:
        above = math.fsum(term(i) for i in range(k + 1, min(k + 3000, n) + 1))
        assert 1 - at_most(k, n, p) == pytest.approx(above, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("n", [10**6, 6 * 10**8])
def test_a_week_of_requests_has_the_bounds_of_the_normal_distribution(n: int) -> None:
    """10 % of n: the exact bound is 1.645 standard deviations above, to a hundredth of one."""
    deviation = math.sqrt(0.1 * 0.9 / n)
    assert upper_share(n // 10, n, 0.05) == pytest.approx(0.1 + 1.6449 * deviation, abs=0.01 * deviation)


@given(st.integers(1, 80), SHARES)
def test_the_most_that_is_still_rare(n: int, p: float) -> None:
    """That many or fewer of n have a chance of at most 5 %, one more has a greater one."""
    k = most_below(n, p, 0.05)
    assert k == -1 or tail(k, n, p) <= 0.05 + 1e-11
    assert k == n or tail(k + 1, n, p) > 0.05 - 1e-11


@given(st.integers(1, 80), SHARES)
def test_bad_and_good_ones_mirror_each_other(n: int, p: float) -> None:
    """k or more bad ones with p are n - k or fewer good ones with 1 - p."""
    k = fewest_above(n, p, 0.05)
    assert k == n + 1 or 1 - tail(k - 1, n, p) <= 0.05 + 1e-9
    assert k == 0 or 1 - tail(k - 2, n, p) > 0.05 - 1e-9


@pytest.mark.parametrize(("n", "share"), [(59, 0.05), (299, 0.01), (2995, 0.001)])
def test_without_a_bad_one_it_takes_as_many_as_the_plan_says(n: int, share: float) -> None:
    """0.95^59, 0.99^299 and 0.999^2995 are the first powers under 0.05."""
    assert (most_below(n - 1, share, 0.05), most_below(n, share, 0.05)) == (-1, 0)


@pytest.mark.parametrize(
    ("k", "n", "upper"), [(0, 59, 0.0495), (1, 10, 0.3942), (5, 100, 0.1023), (10, 10, 1.0)]
)
def test_the_upper_bound_of_clopper_and_pearson(k: int, n: int, upper: float) -> None:
    """1 - 0.05^(1/59) = 0.0495; 1 of 10 and 5 of 100 are in the tables of Clopper and Pearson (1934)."""
    assert upper_share(k, n, 0.05) == pytest.approx(upper, abs=1e-4)
    assert lower_share(n - k, n, 0.05) == pytest.approx(1 - upper, abs=1e-4)


@given(st.integers(1, 2000), st.data())
def test_bounds_and_counts_say_the_same(n: int, data: st.DataObject) -> None:
    """k of n is rare with p exactly when p is over the upper bound."""
    k = data.draw(st.integers(0, n - 1))
    upper = upper_share(k, n, 0.05)
    assert at_most(k, n, upper) <= 0.05 + 1e-6
    assert most_below(n, min(1.0, upper * 1.0001), 0.05) >= k
    assert most_below(n, upper * 0.9999, 0.05) < k or k == 0


def test_a_week_of_requests_is_no_trouble() -> None:
    """10^8 requests: about p·n less 1.645 standard deviations, as the normal distribution has it."""
    n, p = 100_000_000, 0.05
    assert most_below(n, p, 0.05) == pytest.approx(n * p - 1.645 * math.sqrt(n * p * (1 - p)), abs=3)
