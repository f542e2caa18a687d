"""The numbers that a merged window says: its latency, its errors, its cache misses; one formula for each.

The verdict and the alert rules take them from here, so that both always mean the same number. What
only counts takes one window, or many as arrays.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import overload

import numpy as np
from numpy.typing import NDArray

from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import HIGHEST_EQUIVALENT, Int64s
from loadgate.measure.window import ENDINGS, Count, Counting, N
from loadgate.plan.sla import Limit


def latency(histogram: Histogram, infinite: int, statistic: str | None, rank: int | None) -> float | None:
    """Return a statistic (s) of the latencies (µs) of a histogram and of `infinite` infinitely slow ones.

    A percentile (`rank` in ten-thousandths) is the highest value equivalent to the sample at rank ceil(p·n);
    without one `statistic` is "max" or "mean". Infinity where an infinitely slow one decides; None of none.
    """
    if histogram.total + infinite == 0:
        return None
    if rank is not None:
        micros = histogram.percentile(rank, infinite)
    elif infinite:
        return math.inf
    else:
        micros = histogram.maximum if statistic == "max" else histogram.mean
    return None if micros is None else micros / 1e6


def edges(limit: Limit) -> tuple[int, int]:
    """Return the threshold (µs) over which a latency misses "< T" (meets "> T"), and the next best one.

    Latencies are whole µs, so that "< T" is missed from T on: over T - 1 µs, where that was counted.
    """
    micros = round(limit.value * 1e6, 3)
    strictly_below = limit.op in ("<", ">=")
    return (math.ceil(micros) - 1 if strictly_below else math.floor(micros)), math.floor(micros)


@overload
def met_by_count(limit: Limit, over: int, allowed: int) -> bool: ...


@overload
def met_by_count(limit: Limit, over: Int64s, allowed: Int64s) -> NDArray[np.bool_]: ...


def met_by_count(limit: Limit, over: int | Int64s, allowed: int | Int64s) -> bool | NDArray[np.bool_]:
    """Tell whether a percentile meets a limit, by counting; of one window, or of each of many.

    `over` values lie over it, and `allowed` may: n - ceil(p·n). The percentile is at most T if and only if
    no more than those are over T.
    """
    return (over <= allowed) != limit.upward


def over_by_histogram(histogram: Histogram, threshold_us: int) -> int:
    """Count the values of counters whose highest value is over a threshold: near, where none was counted."""
    sparse = histogram.to_sparse()
    return int(sparse.counts[HIGHEST_EQUIVALENT[sparse.indices] > threshold_us].sum())


def errors(window: Counting[N]) -> tuple[N, N]:
    """Return the arrivals without an ok answer, and all of them: those that ended in the window."""
    bad: N = reduce(add, (window.count(name) for name in ENDINGS if name is not Count.OK))
    return bad, bad + window.count(Count.OK)


def known_errors(window: Counting[N]) -> tuple[N, N]:
    """Return the same without the arrivals whose end the generator cannot tell."""
    (bad, n), unknown = errors(window), window.count(Count.LOST) + window.count(Count.UNSENT_GENERATOR)
    return bad - unknown, n - unknown


def misses(window: Counting[N]) -> tuple[N, N]:
    """Return the ok answers to repeated texts that did not come from the cache, and all to repeated texts."""
    return window.count(Count.REPEAT_MISSES), repeats(window)


def repeats(window: Counting[N]) -> N:
    """Return the ok answers to texts that had been sent before."""
    return window.count(Count.REPEAT_HITS) + window.count(Count.REPEAT_MISSES)
