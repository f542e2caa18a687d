"""Confidence: whether requests over a limit are shown to be fewer, or more, than may be.

All bounds are one-sided, with 95 % confidence each: an interval reaches from the lower 95 % bound to the
upper 95 % bound.

A percentile lies under a limit when at most a share of the requests is over it, an error rate when at most a
share of them is bad. So everything here is about d = over - share·n, summed over the run: less than 0 is
under the limit. How much that sum is noise is read off batches of whole windows, since neighbouring seconds
are alike: the deviations of 20 to 39 batch sums from their mean, times a quantile of Student's t (batch
means: B. Schmeiser, "Batch size effects in the analysis of simulation output", Operations Research 30, 1982),
widened for what still reaches from one batch into the next (`correlation`).

1. **Shown to be under.** Twice the squares of the upper deviations only stand for the variance: the number of
   requests over a limit is skewed to the right, and a run that was lucky shows little of that. For normal
   batches it has 2/5 as many degrees of freedom (the variance of 2·max(z, 0)² is 5, that of z² is 2). With
   this, more requests over the limit never make a row more certain, whatever batch they are in: one more
   adds 1 to the sum and takes at most t·sqrt(2/(B-1)) < 1 from the noise, for B batches.
   The noise of the run's own percentile counts too, where more than half of the allowed share is over the
   limit: the number over a fixed limit and its spread are small together, the number over the run's own
   percentile is what it is (R. Woodruff, "Confidence intervals for medians and other position measures",
   JASA 47, 1952). A rate has no such percentile. How alike its windows are is not asked either, since a
   failure could change the answer in its favour; instead its batches are cut a second time, into 12 to 23,
   and the wider bound counts.
2. **Shown to be over.** The noise of the run's own percentile decides, and for failed requests that of their
   own batches, each batch's failures cut down to the level that shows most: a burst proves nothing, and more
   failures never prove less.
3. **Never narrower than the exact binomial bound** (C. Clopper and E. Pearson, Biometrika 26, 1934), which is
   what independent requests would allow.
4. **A short run**, of fewer than 20 windows or 20 correlation lengths, shows only what even its worst reading
   shows: that every single window with a request in it is on one side, and the binomial bound with it. Below
   five windows none may be over the limit. And a share of 20 times what may be is shown to be over however
   the windows hang together: it comes by chance once in 20 times at most (Markov's inequality).

Nothing here sees what did not happen: errors that come in bursts fewer than about three times a run may be
missed by any method. `benchmarks/intervals.py` simulates how often the bounds hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from loadgate.judge.correlation import INDEPENDENT, Correlation, Floats, correlation_of
from loadgate.judge.distributions import fewest_above, most_below, t_quantile
from loadgate.plan.samples import DOUBT, WINDOWS_NEEDED

LENGTHS_NEEDED: Final = WINDOWS_NEEDED
"""Correlation lengths, and windows, from which the noise of a run is estimated."""
WORST_NEEDED: Final = 5
"""Windows from which a short run may show that it is under a limit that some requests were over."""
UPPER_DF: Final = 0.4
"""Degrees of freedom of a batch in the deviation upward: 2·max(z, 0)² has mean 1 and variance 5, z² has 2."""
_BATCHES: Final = 20
"""The least number of batches that a run of 20 windows or more is cut into; the most is 39."""
_FEW: Final = 12
"""The same, 23 at most, of longer batches: the fewest for which one more bad request never helps."""


class Bound(NamedTuple):
    """How far the sum of d is from showing something: it does where `distance` + `noise` < 0."""

    distance: float
    noise: float


@dataclass(frozen=True)
class Samples:
    """The requests of a row by window: `n` that did not fail, and the `failed`, bad whatever the limit is.

    `own` is, by window, how many of the n are over the run's own percentile, beyond the allowed share of
    them; a rate has none. `correlation` must not depend on the failed ones, or a failure could make a row
    more certain. Of a mean, `over` is the sum of the values, `share` the limit, and nothing is `counted`.
    Where windows were `merged`, as in the live view, only the binomial bound is left. `doubt` is one minus
    the confidence of a bound.
    """

    n: Floats
    failed: Floats
    own: Floats | None = None
    correlation: Correlation = INDEPENDENT
    counted: bool = True
    merged: bool = False
    doubt: float = DOUBT

    @property
    def windows(self) -> int:
        """Return the number of windows, empty ones too."""
        return len(self.n)

    @property
    def short(self) -> bool:
        """Tell whether the run is too short to estimate its noise."""
        return self.windows < LENGTHS_NEEDED * self.correlation.length

    @cached_property
    def tells_noise(self) -> bool:
        """Tell whether the run is long enough to estimate its noise, also that of its failed requests.

        How alike neighbouring windows are in these may not narrow or widen a bound, but it may say that a
        look at a run is too early to end it.
        """
        share = self.bad / max(self.total, 1)
        failed = correlation_of(self.failed - share * (self.n + self.failed))
        return self.windows >= LENGTHS_NEEDED * max(self.correlation.length, failed.length)

    def is_plain(self, over: Floats, share: float) -> bool:
        """Tell whether every window with a request in it is on the same side of a limit; needs no noise."""
        d = self._excess(over, share)[self.n + self.failed > 0]
        return bool(d.size) and bool((d <= 0).all() or (d > 0).all())

    @cached_property
    def bad(self) -> int:
        """Return the number of failed requests."""
        return round(float(self.failed.sum()))

    @cached_property
    def total(self) -> int:
        """Return the number of requests, failed ones too."""
        return round(float(self.n.sum())) + self.bad

    def count(self, over: Floats) -> int:
        """Return how many requests are over a limit, failed ones too; `over` leaves these out."""
        return round(float(over.sum())) + self.bad

    # ---- what is shown

    def below(self, over: Floats, share: float) -> bool:
        """Tell whether the share of requests over a limit is shown to be at most `share` (0..1).

        `over` counts those over it by window, without the failed ones.
        """
        if self.counted and self.count(over) > most_below(self.total, share, self.doubt):
            return False
        return self.below_by_windows(over, share)

    def above(self, over: Floats, share: float) -> bool:
        """Tell whether the share of requests over a limit is shown to be at least `share` (0..1)."""
        if self.counted and self.count(over) < fewest_above(self.total, share, self.doubt):
            return False
        return self.above_by_windows(over, share)

    def below_by_windows(self, over: Floats, share: float) -> bool:
        """Tell it as `below` does, without the binomial bound."""
        if self.merged:
            return True
        if not self.short:
            bound = self.bound_below(over, share)
            return bound.distance + bound.noise < 0
        if self.windows < WORST_NEEDED:
            return self.counted and self.count(over) == 0
        return bool((self._excess(over, share) <= 0).all())

    def above_by_windows(self, over: Floats, share: float) -> bool:
        """Tell it as `above` does, without the binomial bound."""
        if self.merged:
            return True
        if not self.short:
            bound = self.bound_above(over, share)
            return bound.distance + bound.noise < 0
        if self.count(over) * self.doubt >= share * self.total > 0:
            return True
        d = self._excess(over, share)[self.n + self.failed > 0]
        return bool(d.size) and bool((d > 0).all())

    # ---- the bounds of a run that is long enough

    def bound_below(self, over: Floats, share: float) -> Bound:
        """Return the sum of d, and its noise upward."""
        d = self._excess(over, share)
        noise = _upward(self._batched(d))
        allowed = share * self.total
        if self.own is not None and allowed > 0:
            # Far under the limit the run's own percentile says little about it.
            noise = max(noise, min(1.0, 2 * self.count(over) / allowed) * self._own_upward)
        noise *= self._half(_BATCHES)
        if self.own is None:
            noise = max(noise, self._half(_FEW) * _upward(self._batched(d, _FEW)))
        return Bound(float(d.sum()), noise)

    def bound_above(self, over: Floats, share: float) -> Bound:
        """Return minus the sum of d, and its noise downward."""
        others = float((over - share * self.n).sum())
        shown = others - self._half(_BATCHES) * self._own_deviation
        distance = others
        if self.bad:
            batches = len(self._batched(self.failed))
            t = self.correlation.widening(self._per_batch()) * t_quantile(1 - self.doubt, max(batches - 1, 1))
            shown += (1 - share) * steady_part(self._batched(self.failed), t)
            distance += (1 - share) * self.bad
        return Bound(-distance, distance - shown)

    def _excess(self, over: Floats, share: float) -> Floats:
        return over + self.failed - share * (self.n + self.failed)

    @cached_property
    def _own_upward(self) -> float:
        return _upward(self._batched(self.own)) if self.own is not None else 0.0

    @cached_property
    def _own_deviation(self) -> float:
        return _deviation(self._batched(self.own)) if self.own is not None else 0.0

    # ---- batches

    def _per_batch(self, least: int = _BATCHES) -> int:
        return max(1, self.windows // least)

    def _batched(self, series: Floats, least: int = _BATCHES) -> Floats:
        """Sum a series over batches of whole windows; the last batch takes what is left over."""
        per_batch = self._per_batch(least)
        return np.add.reduceat(series, np.arange(self.windows // per_batch) * per_batch)

    def _half(self, least: int) -> float:
        """Return how many deviations half an interval takes."""
        per_batch = self._per_batch(least)
        df = UPPER_DF * max(self.windows // per_batch - 1, 1)
        return self.correlation.widening(per_batch) * t_quantile(1 - self.doubt, round(df, 6))


def _deviation(sums: Floats) -> float:
    """Return the standard deviation of the total of some independent batch sums."""
    off = sums - sums.mean()
    return math.sqrt(len(sums) / max(len(sums) - 1, 1) * float(off @ off))


def _upward(sums: Floats) -> float:
    """Return the same, from the deviations upward alone."""
    off = np.maximum(sums - sums.mean(), 0.0)
    return math.sqrt(2 * len(sums) / max(len(sums) - 1, 1) * float(off @ off))


def steady_part(sums: Floats, t: float) -> float:
    """Return the lower bound of the total of batch sums, at least 0, with the highest ones cut down.

    Cutting to any level gives a lower bound, since what is cut off only adds; the level that shows most is
    taken, so that adding to a batch never lowers the bound: it is concave in the sums, and where it falls
    with one of them it is better to cut that one down.
    """
    best = 0.0
    for level in np.unique(sums):
        cut = np.minimum(sums, level)
        best = max(best, float(cut.sum()) - t * _deviation(cut))
    return best
