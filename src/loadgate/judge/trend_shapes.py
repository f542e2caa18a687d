"""The shape of a long series: what is seen of it once it is put into buckets, and what is not a slope.

A week of readings is put into about a hundred buckets of equal length. Three shapes look like a leak to a
straight line and are none, or hide one: a sawtooth (garbage collection: slow rise, sudden fall), of which
only the troughs tell; a step that stays; and a growth that levels off, as a cache that fills. Each function
here is pure; what is made of the shapes is `trend`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgate.judge.correlation import Floats, correlation_of

Ids = NDArray[np.int64]

DAY: Final = 86_400.0
BUCKETS: Final = 100
"""Buckets that a series is put into: 4950 pairs of them are few enough to resample."""
FINE: Final = 1920
"""Buckets in which cycles are looked for: a week's are five minutes and a quarter."""
CYCLES_NEEDED: Final = 6
"""Troughs from which their slope can be told."""
_SUDDEN: Final = 3.0
"""Times that the rise of a cycle takes as long as its fall, from which it is a sawtooth."""
_CLEAR: Final = 5.0
"""Deviations from which a step, or that a growth levels off, is taken as seen."""
_BENT: Final = 3.5
"""Deviations by which a growth that levels off must do better than a straight line."""
_DAYS_NEEDED: Final = 3
_DAILY_SHARE: Final = 0.25
"""The part of what a slope leaves over from which a daily cycle is taken as one."""
_FEWEST: Final = 4
"""Buckets on each side of a step, and in a part that a slope is taken in."""


@dataclass(frozen=True, slots=True)
class Points:
    """Points of a series in order of time (s); `parts` numbers the stretches that no pair may span."""

    times: Floats
    values: Floats
    parts: Ids

    def __len__(self) -> int:
        return len(self.times)

    def where(self, kept: NDArray[np.bool_]) -> Points:
        """Return some of the points."""
        return Points(self.times[kept], self.values[kept], self.parts[kept])

    def long_enough(self) -> Points:
        """Return the points without those of parts that are too short for a slope."""
        sizes = np.bincount(self.parts) if len(self) else np.zeros(0, np.int64)
        return self.where(sizes[self.parts] >= _FEWEST)

    def cut_at(self, moments: Sequence[float]) -> Points:
        """Return the points with their parts cut at more moments."""
        if not len(self):
            return self
        edges = np.searchsorted(np.sort(np.asarray(moments, np.float64)), self.times, "right")
        changes = (np.diff(self.parts, prepend=self.parts[0]) != 0) | (np.diff(edges, prepend=edges[0]) != 0)
        return Points(self.times, self.values, np.cumsum(changes).astype(np.int64))


@dataclass(frozen=True, slots=True)
class Step:
    """A jump that stayed: when (s), and by how much."""

    at: float
    size: float


@dataclass(frozen=True, slots=True)
class Cycles:
    """The troughs of a sawtooth; `swing` is how far its peaks lie over them, `seconds` how long one takes."""

    troughs: Points
    swing: float
    seconds: float

    @property
    def enough(self) -> bool:
        """Tell whether there are troughs enough for a slope."""
        return len(self.troughs.long_enough()) >= CYCLES_NEEDED


def bucketed(points: Points, buckets: int = BUCKETS) -> Points:
    """Return the medians of values in buckets of equal length; a bucket never spans two parts.

    An empty bucket has no point: a gap is no data.
    """
    if len(points) <= buckets:
        return points
    start, end = points.times[0], points.times[-1]
    at = np.minimum(((points.times - start) / (end - start) * buckets).astype(np.int64), buckets - 1)
    keys = points.parts * buckets + at
    order = np.lexsort((points.values, keys))
    keys, values = keys[order], points.values[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    sizes = np.diff(firsts, append=len(keys))
    low, high = values[firsts + (sizes - 1) // 2], values[firsts + sizes // 2]
    times = np.add.reduceat(points.times[order], firsts) / sizes
    return Points(times, (low + high) / 2, keys[firsts] // buckets)


def daily_cycle(points: Points) -> Floats | None:
    """Return the daily cycle of a series of three days and more, as a sine; None where there is none.

    It is fitted together with a slope, so that taking it off takes nothing of a slope.
    """
    if len(points) < 6 * _FEWEST or points.times[-1] - points.times[0] < _DAYS_NEEDED * DAY:
        return None
    turn = 2 * np.pi * points.times / DAY
    base = np.column_stack([_levels(points), _centred(points)])
    both = np.column_stack([base, np.cos(turn), np.sin(turn)])
    line, left = _left(base, points.values), _left(both, points.values)
    if line - left < _DAILY_SHARE * line or line <= 0:
        return None
    factors = np.linalg.lstsq(both, points.values, rcond=None)[0]
    return np.asarray(both[:, -2:] @ factors[-2:], np.float64)


# ---- sawtooth


def cycles_of(points: Points, slope: float) -> Cycles | None:
    """Find the cycles of a sawtooth that rises slowly and falls suddenly; None where there are none.

    `slope` (per second) is taken off before the turning points are looked for. The last rise, which has not
    ended, must not climb out of the cycles: then the falls have stopped, and troughs would not see it.
    """
    turns = [turn for part in np.unique(points.parts) for turn in _turns(points, slope, part)]
    falls = [(peak, trough) for _, peak, trough in turns]
    if not falls:
        return None
    rises = np.array([points.times[peak] - points.times[start] for start, peak, _ in turns])
    down = np.array([points.times[trough] - points.times[peak] for peak, trough in falls])
    if np.median(rises) < _SUDDEN * np.median(down):
        return None
    peaks, troughs = (np.array(found) for found in zip(*falls, strict=True))
    swing = float(np.median(points.values[peaks] - points.values[troughs]))
    level = points.values - slope * points.times
    open_end = level[troughs[-1] :].max(initial=-np.inf)
    if open_end > level[peaks].max() + swing / 2:
        return None
    seconds = float(np.median(rises + down))
    return Cycles(
        Points(points.times[troughs], points.values[troughs], points.parts[troughs]), swing, seconds
    )


def _turns(points: Points, slope: float, part: int) -> list[tuple[int, int, int]]:
    """Return where each rise begins, peaks and has fallen, in one part: swings of half the spread."""
    own = np.flatnonzero(points.parts == part)
    level = (points.values[own] - slope * points.times[own]).tolist()
    if len(own) < _FEWEST:
        return []
    low_end, high_end = np.quantile(level, (0.02, 0.98))
    least = (high_end - low_end) / 2
    if least <= 0:
        return []
    found = []
    start = trough = peak = 0
    rising = True
    for index, value in enumerate(level):
        if rising:
            if value > level[peak]:
                peak = index
            elif value < level[peak] - least:
                rising, trough = False, index
            elif peak == start and value < level[start]:
                start = peak = index
        elif value < level[trough]:
            trough = index
        elif value > level[trough] + least:
            found.append((int(own[start]), int(own[peak]), int(own[trough])))
            rising, start, peak = True, trough, index
    if not rising:
        found.append((int(own[start]), int(own[peak]), int(own[trough])))
    return [turn for turn in found if turn[1] > turn[0]]


# ---- steps, and growth that levels off


def step_in(points: Points) -> Step | None:
    """Find the clearest step beside a common slope; None where chance would do.

    Of all places, the one that explains most; its size must be clear against what is left of the noise, with
    neighbouring buckets as alike as they are.
    """
    places = [at for at in range(1, len(points)) if _both_sides(points, at)]
    if not places:
        return None
    number = np.arange(len(points))
    columns = np.array([(number >= at) & (points.parts == points.parts[at]) for at in places], np.float64).T
    best, size, deviations = _best(np.column_stack([_levels(points), _centred(points)]), columns, points)
    if deviations < _CLEAR:
        return None
    return Step(float(points.times[places[best]]), size)


def levelling_in(points: Points) -> tuple[float, float] | None:
    """Find whether growth levels off: its time constant (s), and how much of it is still to come (signed).

    The model is level - size·exp(-t/constant) with constants up to half the length; None where a straight
    line, or one with a step, does as well. Only series of one part are asked.
    """
    if len(points) < 3 * _FEWEST or points.parts[0] != points.parts[-1]:
        return None
    since = points.times - points.times[0]
    constants = since[-1] * np.geomspace(1 / 40, 1 / 2, 24)
    curves = np.exp(-since[:, None] / constants)
    best, size, deviations = _best(_levels(points), curves, points)
    if deviations < _CLEAR:
        return None
    left = _left(np.column_stack([_levels(points), curves[:, best]]), points.values)
    line = _left(np.column_stack([_levels(points), _centred(points)]), points.values)
    if not _better(left, line, points, curves[:, best]):
        return None
    step = step_in(points)
    if step is not None:
        jump = (points.times >= step.at).astype(np.float64)
        if _left(np.column_stack([_levels(points), _centred(points), jump]), points.values) < left:
            return None
    return float(constants[best]), -size * float(np.exp(-since[-1] / constants[best]))


def _better(left: float, line: float, points: Points, curve: Floats) -> bool:
    """Tell whether a curve leaves clearly less unexplained than a straight line does."""
    q, _ = np.linalg.qr(np.column_stack([_levels(points), curve]))
    rest = points.values - q @ (q.T @ points.values)
    variance = left / max(len(points) - 3, 1) * correlation_of(rest).length
    return line - left > _BENT**2 * variance


def _both_sides(points: Points, at: int) -> bool:
    """Tell whether there is room for a step: enough points of the same part before and after."""
    before, after = at - _FEWEST, at + _FEWEST - 1
    return before >= 0 and after < len(points) and bool(points.parts[before] == points.parts[after])


def _levels(points: Points) -> Floats:
    """Return one column for the level of each part."""
    ids = np.unique(points.parts)
    return np.asarray(points.parts[:, None] == ids, np.float64)


def _centred(points: Points) -> Floats:
    """Return the times as a column, in units of the whole length."""
    length = max(float(points.times[-1] - points.times[0]), 1e-9)
    return np.asarray((points.times - points.times[0]) / length, np.float64)


def _best(base: Floats, columns: Floats, points: Points) -> tuple[int, float, float]:
    """Return the column that explains most beside `base`: which, its factor, and how clear it is.

    Columns and values have their part along `base` taken off, after which each fits by itself.
    """
    q, _ = np.linalg.qr(base)
    rest = points.values - q @ (q.T @ points.values)
    own = columns - q @ (q.T @ columns)
    squares = np.einsum("ij,ij->j", own, own)
    usable = np.maximum(squares, 1e-12 * max(float(squares.max(initial=0.0)), 1e-300))
    factors = (own.T @ rest) / usable
    best = int(np.argmax(factors**2 * squares))
    left = rest - factors[best] * own[:, best]
    free = max(len(points) - base.shape[1] - 2, 1)
    variance = float(left @ left) / free * correlation_of(left).length
    scale = float(points.values @ points.values) * 1e-24
    clear = abs(factors[best]) * np.sqrt(squares[best] / max(variance, scale, 1e-300))
    return best, float(factors[best]), float(clear)


def _left(columns: Floats, values: Floats) -> float:
    """Return the sum of squares that some columns leave unexplained."""
    q, _ = np.linalg.qr(columns)
    rest = values - q @ (q.T @ values)
    return float(rest @ rest)
