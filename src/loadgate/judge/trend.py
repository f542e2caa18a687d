"""The slope of a long series: robust, within restarts, with an interval that knows how alike readings are.

The slope is that of Theil and Sen (P. K. Sen, JASA 63, 1968): the median of the slopes of all pairs of
points, here of buckets, and only of pairs that no restart parts, so that a restart which resets a leak does
not hide it. Its interval is a block bootstrap of what the slope leaves over (H. R. Künsch, Annals of
Statistics 17, 1989): blocks of at least the correlation length, the deviation of the resampled slopes widened
by what reaches from one block into the next, times Student's t for as many blocks as there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loadgate.judge.correlation import Correlation, Floats, correlation_of
from loadgate.judge.distributions import t_quantile
from loadgate.judge.slots import Interval
from loadgate.judge.trend_shapes import (
    DAY,
    FINE,
    Cycles,
    Points,
    Step,
    bucketed,
    cycles_of,
    daily_cycle,
    levelling_in,
    step_in,
)

DOUBT: Final = 0.005
"""One minus the confidence of each bound of a slope: the two of them are an interval of 99 %."""
RESAMPLES: Final = 240
POINTS_NEEDED: Final = 12
"""Points from which a slope has an interval; six troughs do, since each sums up a whole cycle."""
_AT_ONCE: Final = 40
"""Resampled series whose pairs are in memory together."""
_CONSTANTS: Final = 4
"""Time constants after which a growth that levels off has done all but 2 % of it."""
_MOST_STEPS: Final = 3
_UNSURE: Final = 5.0
"""Deviations of the correlation length that are added to it; set by `benchmarks/drift.py`."""
_FOR_GAIN: Final = 8
"""Points of a last part from which its two ends tell more than its noise."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope per second with its one-sided bounds; `alike` is the correlation length in seconds."""

    value: float
    low: float
    high: float
    alike: float = 0.0

    @property
    def half(self) -> float:
        """Return half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series does over its time; times in seconds of run time, values as they came, slopes per second.

    `level` is where it stands at its end, by the slope: the worse end of a sawtooth, or of a daily cycle
    (`daily` is how far that swings). `first` and `last` are the medians of its first and last day (quarter,
    where it has less than two days), and `gain` is how far the end of its last part, that after a restart
    or a step, lies over the beginning of it. `covered` is the share that lies in parts long enough for a
    slope. `falls` counts the sudden falls of cycles that are too few to follow their troughs. `to_come` is
    how much of a growth that levels off is still ahead, None where it does not, or is done with it.
    """

    slope: Slope
    start: float
    end: float
    level: float
    first: float
    last: float
    readings: int
    points: int
    parts: int = 1
    cycles: Cycles | None = None
    gain: float = 0.0
    covered: float = 1.0
    falls: int = 0
    steps: tuple[Step, ...] = ()
    daily: float = 0.0
    levelled_at: float | None = None
    to_come: float | None = None
    doubt: float = DOUBT

    @property
    def seconds(self) -> float:
        """Return the time that the trend is about."""
        return self.end - self.start

    @property
    def change(self) -> float:
        """Return what the slope makes of the whole time."""
        return self.slope.value * self.seconds


@dataclass(frozen=True, slots=True)
class TooLittle:
    """Why a series has no trend; `needs` says what it takes."""

    reason: str
    needs: str


def trend(
    times: ArrayLike,
    values: ArrayLike,
    *,
    cuts: Sequence[float] = (),
    excluded: Sequence[Interval] = (),
    settle: float = 0.0,
    rising_is_worse: bool = True,
    doubt: float = DOUBT,
    seed: int = 1,
) -> Trend | TooLittle:
    """Return the trend of a series: times in seconds, in any order; values that are not finite are no data.

    `cuts` are moments (restarts, deployments) that no pair of points may span; `settle` seconds after the
    start and after each cut are left out, as are the `excluded` intervals. The same input gives the same
    answer: `seed` starts the resampling. ValueError for series of different lengths.
    """
    points = _cleaned(times, values, cuts, excluded, settle)
    return _trend_of(points, rising_is_worse, doubt, seed)


def _cleaned(
    times: ArrayLike, values: ArrayLike, cuts: Sequence[float], excluded: Sequence[Interval], settle: float
) -> Points:
    """Return the points to look at, in order of time, in their parts."""
    at, what = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if at.shape != what.shape or at.ndim != 1:
        raise ValueError(f"{at.size} times and {what.size} values are no series")
    order = np.argsort(at, kind="stable")
    at, what = at[order], what[order]
    kept = np.isfinite(what) & np.isfinite(at)
    begins = [*([float(at[kept][0])] if kept.any() else []), *cuts]
    for part in (*excluded, *(Interval(moment, moment + settle) for moment in begins if settle > 0)):
        kept &= ~((at >= part.start) & (at < part.end))
    points = Points(at[kept], what[kept], np.zeros(int(kept.sum()), np.int64))
    # What an excluded interval does to a level stays after it: no pair spans it either.
    return points.cut_at([*cuts, *(part.start for part in excluded)])


def _trend_of(points: Points, rising_is_worse: bool, doubt: float, seed: int) -> Trend | TooLittle:
    coarse = bucketed(points).long_enough()
    if len(coarse) < POINTS_NEEDED or coarse.times[-1] <= coarse.times[0]:
        return TooLittle(
            f"{len(points)} readings between restarts and gaps",
            f"it takes {POINTS_NEEDED}, at least 4 between two restarts",
        )
    rough = theil_sen(coarse)
    cycles = cycles_of(bucketed(points, FINE), rough)
    if cycles is not None and cycles.enough:
        return _of_cycles(points, cycles, rising_is_worse, doubt, seed)
    found = _of_level(coarse, len(points), rising_is_worse, doubt, seed)
    falls = 0 if cycles is None or found.steps else len(cycles.troughs)
    return replace(found, falls=falls, covered=float(np.isin(points.parts, coarse.parts).mean()))


def _of_cycles(points: Points, cycles: Cycles, rising_is_worse: bool, doubt: float, seed: int) -> Trend:
    """Return the trend of a sawtooth: that of its troughs."""
    troughs = bucketed(cycles.troughs.long_enough())
    slope = slope_of(troughs, doubt, seed)
    base = _whole(troughs, slope, len(points), doubt)
    return replace(
        base,
        start=float(points.times[0]),
        end=float(points.times[-1]),
        level=base.level
        + slope.value * float(points.times[-1] - troughs.times[-1])
        + (cycles.swing if rising_is_worse else 0.0),
        cycles=cycles,
    )


def _of_level(points: Points, readings: int, rising_is_worse: bool, doubt: float, seed: int) -> Trend:
    """Return the trend of a series without cycles: what levels off, and steps, told apart from its slope."""
    levelling = levelling_in(points)
    if levelling is not None:
        constant, to_come = levelling
        length = points.times[-1] - points.times[0]
        done = points.times[0] + min(_CONSTANTS * constant, length / 2)
        rest = points.where(points.times >= done)
        if len(rest) >= POINTS_NEEDED:
            found = _of_steps(rest, readings, rising_is_worse, doubt, seed)
            slow = _CONSTANTS * constant > length / 2
            return replace(found, levelled_at=float(done), to_come=to_come if slow else None)
    return _of_steps(points, readings, rising_is_worse, doubt, seed)


def _of_steps(points: Points, readings: int, rising_is_worse: bool, doubt: float, seed: int) -> Trend:
    """Cut at steps, and take a daily cycle off, which may hide them or be hidden by them.

    Several steps for the worse are a staircase, which is a slope and not cut.
    """
    daily = daily_cycle(points)
    steps = _steps(points, daily, rising_is_worse)
    cut = points.cut_at([one.at for one in steps])
    if daily is None and steps and (daily := daily_cycle(cut)) is not None:
        steps = _steps(points, daily, rising_is_worse)
        cut = points.cut_at([one.at for one in steps])
    if daily is None:
        found = _whole(cut, slope_of(cut, doubt, seed), readings, doubt)
    else:
        cut = replace(cut, values=cut.values - daily)
        found = _whole(cut, slope_of(cut, doubt, seed), readings, doubt)
        swing = float(np.abs(daily).max())
        found = replace(found, daily=swing, level=found.level + (swing if rising_is_worse else -swing))
    return replace(found, steps=steps, parts=_parts(points))


def _steps(points: Points, daily: Floats | None, rising_is_worse: bool) -> tuple[Step, ...]:
    """Return the steps beside a daily cycle, in order of time; none where they are a staircase."""
    plain = points if daily is None else replace(points, values=points.values - daily)
    cut, steps = plain, list[Step]()
    while len(steps) < _MOST_STEPS and (step := step_in(cut)) is not None:
        steps.append(step)
        cut = plain.cut_at([one.at for one in steps])
    worse = [one for one in steps if (one.size > 0) == rising_is_worse]
    return () if len(worse) > 1 else tuple(sorted(steps, key=lambda one: one.at))


def _whole(points: Points, slope: Slope, readings: int, doubt: float) -> Trend:
    """Put the trend of some points together."""
    start, end = float(points.times[0]), float(points.times[-1])
    own = points.where(points.parts == points.parts[-1])
    level = float(np.median(own.values - slope.value * (own.times - end)))
    first, last = _ends(points)
    own_first, own_last = _ends(own) if len(own) >= _FOR_GAIN else (0.0, 0.0)
    return Trend(
        slope,
        start,
        end,
        level,
        first,
        last,
        readings,
        len(points),
        _parts(points),
        gain=own_last - own_first,
        doubt=doubt,
    )


def _ends(points: Points) -> tuple[float, float]:
    """Return the medians of the first and last day; of a quarter where there are less than two days."""
    start, end = points.times[0], points.times[-1]
    length = DAY if end - start >= 2 * DAY else (end - start) / 4
    before, after = points.times <= start + length, points.times >= end - length
    return float(np.median(points.values[before])), float(np.median(points.values[after]))


def _parts(points: Points) -> int:
    return len(np.unique(points.parts))


# ---- the slope and its interval


def theil_sen(points: Points) -> float:
    """Return the median of the slopes of all pairs of points of the same part; 0 without any pair."""
    first, second, apart = _pairs(points)
    if not len(first):
        return 0.0
    return float(np.median((points.values[second] - points.values[first]) / apart))


def slope_of(points: Points, doubt: float = DOUBT, seed: int = 1) -> Slope:
    """Return the slope of some points with a bound on each side, each of confidence 1 - doubt."""
    first, second, apart = _pairs(points)
    value = theil_sen(points)
    left = points.values - value * points.times
    for part in np.unique(points.parts):
        own = points.parts == part
        left[own] -= left[own].mean()
    n, length = len(points), correlation_of(left).length
    block = min(max(math.ceil(length), round(n ** (1 / 3))), n)
    # A slope and the levels of the parts were fitted to the same noise, which makes what is left of it look
    # smaller; and how alike neighbours are is itself an estimate, the less certain the more alike they are.
    fitted = 1 + 2 * (1 + _parts(points)) * length / n
    fitted *= 1 + _UNSURE * math.sqrt((length - 1) / n)
    slopes = _resampled(left, block, first, second, apart, seed)
    deviation = float(slopes.std()) * math.sqrt(fitted) * Correlation(length).widening(block)
    t = t_quantile(1 - doubt, max(n / block - 2, 1.0))
    spacing = float(np.median(np.diff(points.times))) if n > 1 else 0.0
    return Slope(value, value - t * deviation, value + t * deviation, length * spacing)


def _pairs(points: Points) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return all pairs of points of the same part that are some time apart, and the seconds between them."""
    first, second = np.triu_indices(len(points), 1)
    apart = points.times[second] - points.times[first]
    kept = (points.parts[first] == points.parts[second]) & (apart > 0)
    return first[kept], second[kept], apart[kept]


def _resampled(
    left: Floats,
    block: int,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    apart: Floats,
    seed: int,
) -> Floats:
    """Return the slopes of series made of random blocks of what the slope left over."""
    n = len(left)
    if not len(first):
        return np.full(1, math.inf)
    random = np.random.default_rng(seed)
    starts = random.integers(0, n, (RESAMPLES, math.ceil(n / block)))
    drawn = ((starts[:, :, None] + np.arange(block)) % n).reshape(RESAMPLES, -1)[:, :n]
    found = np.empty(RESAMPLES)
    for at in range(0, RESAMPLES, _AT_ONCE):
        some = left[drawn[at : at + _AT_ONCE]]
        slopes = (some[:, second] - some[:, first]) / apart
        slopes.partition(slopes.shape[1] // 2, axis=1)
        found[at : at + _AT_ONCE] = slopes[:, slopes.shape[1] // 2]
    return found
