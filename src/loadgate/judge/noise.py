"""Noise: how much the same thing differs from run to run, and how long one has to look to see past that.

The model. A statistic of run i on the log scale (an error rate as it is) is mu + b_i + w_i. The b_i differ
from run to run with variance `between` (memory layout, placement, a neighbour's load); the w_i come from
within the run, an AR(1) process over its parts, and shrink with the run's length. The variance of runs of
one length is therefore between + within, and the sample variance over runs estimates that sum without
splitting it; only a forecast for another length needs the split, for which the within part is subtracted
(method of moments, not below 0).

Between-run variation is usually several times the within-run one, so more requests in one run do not help,
and an interval from one run alone is far too narrow: T. Kalibera and R. Jones, "Rigorous benchmarking in
reasonable time", ISMM 2013, from whom the model and the rule to repeat at the level that varies are taken.
The judge of Kayenta (Netflix and Google) is the counter-example: it runs a Mann-Whitney U test over the
time points of one run of each side as if they were independent, so it is ever more certain of what is only
noise between runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, variance
from typing import Final

from loadgate.judge.distributions import t_quantile

ALPHA: Final = 0.05
"""One minus the confidence of a bound; every bound is one-sided."""
FEWEST_RUNS: Final = 5
"""Runs from which the spread between runs is estimated at all."""
FEWEST_PARTS: Final = 8
"""Parts of a run from which its own correlation is estimated."""
CAUTION: Final = 0.3
"""The quantile of chi-square by which a noise that was estimated from few runs is enlarged in a forecast."""

_LARGEST_CORRELATION = 0.95


# ---- distributions


def chi_square_quantile(p: float, df: float) -> float:
    """Return about the p-quantile of chi-square (Wilson and Hilferty 1931; within 2 % for df >= 4)."""
    spread = 2 / (9 * df)
    root: float = 1 - spread + NormalDist().inv_cdf(p) * math.sqrt(spread)
    return df * max(root, 0.0) ** 3


# ---- inside one run


def correlation(values: Sequence[float]) -> float:
    """Return the AR(1) coefficient of a series, 0..0.95: lag-1 autocorrelation, less its bias.

    The bias of a short series, -(1 + 4 rho) / n, is added back (Marriott and Pope 1954). A constant series
    has none.
    """
    n, mean = len(values), fmean(values)
    offsets = [value - mean for value in values]
    whole = math.fsum(offset * offset for offset in offsets)
    if whole <= 0:
        return 0.0
    rho = math.fsum(a * b for a, b in pairwise(offsets)) / whole
    rho += (1 + 4 * rho) / n
    return min(max(rho, 0.0), _LARGEST_CORRELATION)


def variance_of_mean(values: Sequence[float]) -> float | None:
    """Return the variance of the mean of an AR(1) series: s²/n · (1 + rho) / (1 − rho).

    None for fewer than `FEWEST_PARTS` values, whose correlation nobody can tell.
    """
    if len(values) < FEWEST_PARTS:
        return None
    rho = correlation(values)
    return variance(values) / len(values) * (1 + rho) / (1 - rho)


# ---- between runs


@dataclass(frozen=True, slots=True)
class Noise:
    """What A-A runs of one length showed of a statistic: standard deviations, on the log scale.

    Those of an error rate are shares. `total` is over runs, with `df` degrees of freedom; `within` is the
    part of it that comes from inside a run (None: not known), `between` the rest. `seconds` is the steady
    length of the runs, `level` the statistic's typical value (SI).
    """

    total: float
    df: int
    within: float | None
    seconds: float
    level: float

    @property
    def between(self) -> float:
        """Return the standard deviation between runs: what a longer run would not reduce."""
        return math.sqrt(max(self.total**2 - (self.within or 0.0) ** 2, 0.0))

    def floor(self, baseline: int = 1, candidate: int = 1) -> float:
        """Return the noise floor: the standard deviation of the difference of so many like runs on each side.

        It is what a comparison of this size shows when nothing has changed; no threshold may be lower.
        """
        return self.total * math.sqrt(1 / baseline + 1 / candidate)

    def variance_at(self, seconds: float) -> float:
        """Forecast the variance of runs of another length, enlarged since the noise is only estimated.

        The within part scales with 1/length, also where it is more than the runs happened to differ by. Where
        the split is not known, all of it is within for a shorter run, and none for a longer one.
        """
        unsure = self.df / chi_square_quantile(CAUTION, self.df)
        ratio = self.seconds / seconds
        if self.within is None:
            return unsure * self.total**2 * max(ratio, 1.0)
        return unsure * (self.between**2 + self.within**2 * ratio)


def estimate(values: Sequence[float], within: Sequence[float | None], seconds: float, level: float) -> Noise:
    """Estimate the noise of a statistic from its values in like runs, and the variances inside them.

    `values` are logs (shares for an error rate), at least two.
    """
    known = [one for one in within if one is not None]
    inside = math.sqrt(fmean(known)) if len(known) == len(within) and known else None
    return Noise(math.sqrt(variance(values)), len(values) - 1, inside, seconds, level)


# ---- how long to look


@dataclass(frozen=True, slots=True)
class Interleaving:
    """So many A-B-B-A blocks of so many seconds a run detect what was asked for."""

    blocks: int
    seconds: float

    @property
    def total(self) -> float:
        """Return the seconds of load of the comparison, its confirming round left out."""
        return 4 * self.blocks * self.seconds


@dataclass(frozen=True, slots=True)
class Repetition:
    """So many baseline runs of so many steady seconds detect what was asked for in one candidate run."""

    runs: int
    seconds: float


_BLOCKS: Final = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
_SECONDS: Final = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
_RUNS: Final = (5, 6, 8, 10, 12, 16, 20)
_LENGTHS: Final = (1.0, 2.0, 4.0, 8.0)
_COST_OF_A_RUN: Final = 10.0
"""Seconds that a run takes beside its steady load; they decide between few long and many short ones."""


def interleaving_for(
    noise: Noise, floor: float, rows: int, effect: float, power: float = 0.95
) -> Interleaving | None:
    """Return the shortest interleaved comparison that detects `effect` (log) with probability `power`.

    `floor` is the practical floor (log), which the noise floor may raise; `rows` is the number of rows among
    which the error is controlled (the worst level of Holm's is taken). Each block gives two pairs of runs.
    "t_(1-alpha/rows) + t_(power) standard errors beyond the floor" is the usual approximation of the power
    of a t test. None when no number of blocks that anybody would wait for is enough.
    """
    good = [
        plan
        for plan in _interleavings()
        if _detects(
            noise.variance_at(plan.seconds) / plan.blocks,
            2 * plan.blocks - 1,
            effect - max(floor, noise.floor(2 * plan.blocks, 2 * plan.blocks)),
            rows,
            power,
        )
    ]
    return min(good, key=lambda plan: 4 * plan.blocks * (plan.seconds + _COST_OF_A_RUN), default=None)


def repetition_for(
    noise: Noise, floor: float, rows: int, effect: float, power: float = 0.95
) -> Repetition | None:
    """Return the cheapest baseline with which one candidate run shows `effect`; None when none does.

    As `interleaving_for`; the length is a multiple of that of the calibrating runs.
    """
    good = [
        plan
        for plan in (Repetition(runs, noise.seconds * times) for times in _LENGTHS for runs in _RUNS)
        if _detects(
            noise.variance_at(plan.seconds) * (1 + 1 / plan.runs),
            plan.runs - 1,
            effect - max(floor, noise.floor(plan.runs, 1)),
            rows,
            power,
        )
    ]
    return min(good, key=lambda plan: plan.runs * (plan.seconds + _COST_OF_A_RUN), default=None)


def _interleavings() -> Iterator[Interleaving]:
    for blocks in _BLOCKS:
        for seconds in _SECONDS:
            yield Interleaving(blocks, seconds)


def _detects(variance: float, df: int, room: float, rows: int, power: float) -> bool:
    """Tell whether an estimate of this variance shows an effect that is `room` beyond the floor."""
    needed = t_quantile(1 - ALPHA / max(rows, 1), df) + t_quantile(power, df)
    return room >= needed * math.sqrt(variance)
