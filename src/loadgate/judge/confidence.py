"""What a row's samples show of its limits: the interval of its value, and what would settle it.

The value of a row is known; what it is an estimate of is not. A limit is met for sure where the interval
lies on its good side, missed for sure where it lies on the other one, and open where it is in between.
The bounds themselves are in `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from loadgate.judge.correlation import INDEPENDENT, Floats
from loadgate.judge.distributions import fewest_above, lower_share, most_below, upper_share
from loadgate.judge.intervals import LENGTHS_NEEDED, Samples
from loadgate.judge.samples import Latencies
from loadgate.measure.histogram import RANKS_PER_WHOLE
from loadgate.measure.layout import HIGHEST_EQUIVALENT
from loadgate.measure.levels import edges
from loadgate.plan.samples import DOUBT
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration

FARTHEST: Final = 1000
"""Times the run's requests beyond which a projection says that no number of them would do."""

Ask = Callable[[Limit], tuple[Floats, float]]
"""Says of a limit how many requests are over it, by window, and which share of them may be."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the interval of a value (SI) shows; True: met for sure, False: missed for sure, None: neither.

    `past` is about the limit that fails the row: its alert threshold, or the target where it has none.
    `settled_by` says how much more of the same load would decide about that limit where it is open. `doubt`
    is one minus the confidence of each bound. What is shown is `settled` where the noise of the run is known,
    that of its failures too, or where every window is on the same side of each limit.
    """

    interval: tuple[float, float]
    target: bool | None
    past: bool | None
    settled_by: str = ""
    doubt: float = DOUBT
    settled: bool = True


def percentile_shown(
    objective: Objective, latencies: Latencies, rank: int, seconds: float, *, merged: bool = False
) -> Shown:
    """Return what is shown of a percentile; `rank` is in ten-thousandths, `seconds` the steady phase."""
    samples, share = latencies.of_percentile(rank), 1 - rank / RANKS_PER_WHOLE
    if merged:
        samples = replace(samples, merged=True, own=None, correlation=INDEPENDENT)

    def ask(limit: Limit) -> tuple[Floats, float]:
        strict, edge = edges(limit)
        over = latencies.over(strict)
        if over is None:
            over = latencies.over(edge)
        return (latencies.over_by_histogram(edge) if over is None else over), share

    return _shown(objective, samples, ask, _percentile_ends(samples, latencies, share), seconds)


def mean_shown(objective: Objective, latencies: Latencies, seconds: float) -> Shown:
    """Return what is shown of a mean: of finite latencies, or infinite with one that is."""
    if latencies.infinite.any():
        past = objective.alert.met(math.inf) if objective.alert else not objective.target.met(math.inf)
        return Shown((math.inf, math.inf), objective.target.met(math.inf), past)
    samples, sums = latencies.of_mean()
    mean = float(sums.sum() / samples.n.sum())
    low = _greatest(lambda limit: samples.above_by_windows(sums, limit), 0.0, mean)
    high = _least(lambda limit: samples.below_by_windows(sums, limit), mean, 1000 * mean)
    ends = (0.0 if low is None else low / 1e6), (math.inf if high is None else high / 1e6)
    return _shown(objective, samples, lambda limit: (sums, limit.value * 1e6), ends, seconds)


def share_shown(objective: Objective, samples: Samples, seconds: float, *, of_good: bool = False) -> Shown:
    """Return what is shown of a share of bad requests, or of the good ones that are the rest of them."""
    none = np.zeros(samples.windows)
    rate = samples.bad / samples.total
    low = _greatest(lambda share: samples.above_by_windows(none, share), 0.0, rate)
    high = _least(lambda share: samples.below_by_windows(none, share), rate, 1.0)
    lower = min(low or 0.0, lower_share(samples.bad, samples.total, samples.doubt))
    upper = max(1.0 if high is None else high, upper_share(samples.bad, samples.total, samples.doubt))
    ends = (1 - upper, 1 - lower) if of_good else (lower, upper)
    return _shown(
        objective,
        samples,
        lambda limit: (none, 1 - limit.value if of_good else limit.value),
        ends,
        seconds,
        of_good=of_good,
    )


def _shown(
    objective: Objective,
    samples: Samples,
    ask: Ask,
    interval: tuple[float, float],
    seconds: float,
    *,
    of_good: bool = False,
) -> Shown:
    target = _met(objective.target, samples, ask, of_good=of_good)
    if objective.alert:
        past = _met(objective.alert, samples, ask, of_good=of_good)
    else:
        past = None if target is None else not target
    settled_by = ""
    if past is None:
        over, share = ask(objective.alert or objective.target)
        settled_by = _settled_by(samples, requests_needed(samples, over, share), seconds)
    limits = [limit for limit in (objective.target, objective.alert) if limit is not None]
    settled = samples.tells_noise or all(samples.is_plain(*ask(limit)) for limit in limits)
    return Shown(interval, target, past, settled_by, samples.doubt, settled)


def _met(limit: Limit, samples: Samples, ask: Ask, *, of_good: bool) -> bool | None:
    """Tell whether a limit is met for sure, or missed for sure."""
    over, share = ask(limit)
    below, above = samples.below(over, share), samples.above(over, share)
    if below == above:
        return None
    return above if limit.upward != of_good else below


# ---- the ends of intervals


def _percentile_ends(samples: Samples, latencies: Latencies, share: float) -> tuple[float, float]:
    """Return the interval of a percentile in seconds, as fine as the histogram's counters."""
    if not latencies.n.sum():
        return math.inf, math.inf
    lowest, highest = latencies.counters

    def above(counter: int) -> bool:
        return samples.above(latencies.over_counter(counter), share)

    def below(counter: int) -> bool:
        return samples.below(latencies.over_counter(counter), share)

    low, high = lowest - 1, highest
    lower = upper = math.inf
    if not above(high):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if above(middle) else (low, middle)
        lower = _top(low) if low >= lowest or above(low) else 0.0
    low, high = lowest - 1, highest
    if below(high):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if below(middle) else (middle, high)
        upper = _top(high)
    return lower, upper


def _top(counter: int) -> float:
    return float(HIGHEST_EQUIVALENT[counter]) / 1e6 if counter >= 0 else 0.0


def _least(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """Return the least value in low..high that holds, where every greater one does; None when none does."""
    if not holds(high):
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _greatest(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """Return the greatest value in low..high that holds, where every smaller one does; None for none."""
    found = _least(lambda value: holds(-value), -high, -low)
    return None if found is None else -found


# ---- what would settle it


def requests_needed(samples: Samples, over: Floats, share: float) -> int | None:
    """Project how many requests of the same kind would show on which side of a limit the row is.

    Noise falls with the square root of their number. None when more than `FARTHEST` times as many as there
    are would not do, or when the row is at the limit.
    """
    total, count = samples.total, samples.count(over)
    under = count < share * total if samples.counted else bool(over.sum() < share * samples.n.sum())
    bound = samples.bound_below(over, share) if under else samples.bound_above(over, share)
    if bound.distance >= 0:
        return None
    times = max(
        (bound.noise / bound.distance) ** 2, LENGTHS_NEEDED * samples.correlation.length / samples.windows
    )
    needed = math.ceil(times * total) if samples.short or times > 1 else total
    if samples.counted:
        by_binomial = _by_binomial(count, total, share, samples.doubt, under=under)
        if by_binomial is None:
            return None
        # A short run without one request over the limit has only the binomial bound to meet.
        needed = by_binomial if count == 0 and samples.short else max(needed, by_binomial)
    needed = max(needed, total + 1)
    return needed if needed <= FARTHEST * total else None


def _by_binomial(count: int, total: int, share: float, doubt: float, *, under: bool) -> int | None:
    """Return the fewest requests, at the present share over the limit, that the binomial bound asks for."""

    def enough(n: int) -> bool:
        k = count * n / total
        return k <= most_below(n, share, doubt) if under else k >= fewest_above(n, share, doubt)

    low, high = total - 1, total
    while not enough(high):
        low, high = high, 2 * high
        if high > FARTHEST * total:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _settled_by(samples: Samples, needed: int | None, seconds: float) -> str:
    """Say what would decide the row."""
    length = samples.correlation.length
    short = ""
    if samples.short:
        alike = (
            f"{LENGTHS_NEEDED} times the {length:.3g} windows over which they are alike" if length > 1 else ""
        )
        short = f"the run has {samples.windows} windows, and its noise takes {alike or LENGTHS_NEEDED}; "
    if needed is None:
        return f"{short}no number of requests would settle it: the value is at the limit"
    more = needed - samples.total
    longer = format_duration(float(math.ceil(seconds * more / samples.total)))
    return f"{short}about {more} more requests would settle it, {longer} more at this rate"
