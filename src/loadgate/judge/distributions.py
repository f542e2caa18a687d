"""The distributions behind intervals: Student's t and the binomial, both from the incomplete beta function.

A statistics library would bring tens of megabytes for these three functions. The tests hold them against
printed tables and against sums of binomial terms.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np

_TINY: Final = 1e-300
_ENOUGH: Final = 1e-14
_MOST_TERMS: Final = 20_000
"""More than the fraction takes: about the square root of the smaller of a and b, up to `_LARGE`."""
_LARGE: Final = 3000
"""a and b from which the density is smooth enough to be integrated, in the same time for any number."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) for a, b > 0 (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if min(a, b) >= _LARGE:
        return _integrated(x, a, b)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    below = x < (a + 1) / (a + b + 2)
    if front == 0:  # a tail that no number can hold
        return float(not below)
    # The fraction converges fast below the mean; the function's symmetry leads there from above it.
    if below:
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _integrated(x: float, a: float, b: float) -> float:
    """Return I_x(a, b) for large a and b by Gauss and Legendre's quadrature of the tail beyond x.

    After Press, Teukolsky, Vetterling and Flannery, Numerical Recipes (2007), 6.4.2: from x to ten standard
    deviations beyond the mean, or five beyond x, away from the mean. What lies behind is under 10^-9 of it.
    """
    mean = a / (a + b)
    deviation = math.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
    above = x > mean
    way = 1 if above else -1
    far = min(max(10 * deviation + way * (mean - x), 5 * deviation), 1 - x if above else x)
    at = x + way * far * (_NODES + 1) / 2
    heights = np.exp((a - 1) * np.log(at / mean) + (b - 1) * np.log((1 - at) / (1 - mean)))
    top = (a - 1) * math.log(mean) + (b - 1) * math.log1p(-mean)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + top)
    tail = float(_WEIGHTS @ heights) / 2 * far * front
    return 1 - tail if above else tail


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function by Lentz's method."""
    d = 1 / _not_zero(1 - (a + b) * x / (a + 1))
    c, value = 1.0, d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


@lru_cache(maxsize=512)
def t_quantile(p: float, df: float) -> float:
    """Return the value below which Student's t with `df` degrees of freedom lies with probability p.

    `p` is 0.5..1 (1 excluded), `df` any number over 0. P(T > t) is half of I(df / (df + t²); df/2, 1/2).
    """
    low, high = 0.0, 2.0
    while t_tail(high, df) > 1 - p:
        low, high = high, high * 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > 1 - p else (low, middle)
    return high


@lru_cache(maxsize=512)
def t_tail(t: float, df: float) -> float:
    """Return P(T > t) of Student's t with `df` degrees of freedom, more than 0; `t` may be infinite."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    tail = incomplete_beta(df / (df + t * t), df / 2, 0.5) / 2
    return tail if t >= 0 else 1 - tail


def at_most(k: int, n: int, p: float) -> float:
    """Return the probability of at most k of n when each comes with probability p (0..1)."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return incomplete_beta(1 - p, n - k, k + 1)


@lru_cache(maxsize=512)
def most_below(n: int, p: float, doubt: float) -> int:
    """Return the greatest k for which at most k of n are a rare thing, of probability `doubt` or less.

    Then k of n shows, with confidence 1 - doubt, that the true share is at most p: the exact upper bound of
    Clopper and Pearson (1934) is there. -1 when not even 0 of n shows it.
    """
    # The normal approximation tells about where it is, which saves most of the steps for large n.
    spread = math.sqrt(n * p * (1 - p))
    low = min(max(math.floor(n * p - 1.7 * spread), 0), n - 1)
    high, step = low + 1, max(1, round(spread / 20))
    while low >= 0 and at_most(low, n, p) > doubt:
        low, high, step = max(low - step, -1), low, 2 * step
    while high < n and at_most(high, n, p) <= doubt:
        low, high, step = high, min(high + step, n), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at_most(middle, n, p) <= doubt else (low, middle)
    return low


def fewest_above(n: int, p: float, doubt: float) -> int:
    """Return the least k for which k or more of n are a rare thing; n + 1 when not even n of n is.

    Then k of n shows that the true share is at least p, by the exact lower bound of Clopper and Pearson.
    """
    # k or more of n with p are n - k or fewer with 1 - p.
    return n - most_below(n, 1 - p, doubt)


def upper_share(k: int, n: int, doubt: float) -> float:
    """Return the exact one-sided upper bound of a share, k of n, after Clopper and Pearson; 1 for k = n."""
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    spread = 4 * math.sqrt((k + 4) / n / n) if n > 100 else 1.0
    near = min(1.0, low + spread)
    if at_most(k, n, near) <= doubt:
        high = near
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(k, n, middle) > doubt else (low, middle)
    return high


def lower_share(k: int, n: int, doubt: float) -> float:
    """Return the exact one-sided lower bound of a share, k of n, after Clopper and Pearson; 0 for k = 0."""
    return 1 - upper_share(n - k, n, doubt) if k else 0.0
