"""Effects: by how much a candidate is worse than its baseline, and how sure that is, statistic by statistic.

Latencies and throughputs are compared by the logarithm of their ratio, error rates by their difference. The
sign is turned so that more is always worse. How sure: from the spread between like runs, never from one
run's inside alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from typing import Final

from loadgate.judge.distributions import t_quantile, t_tail
from loadgate.judge.figures import LATENCIES, NEEDED, STATISTICS, Figure, RunFigures
from loadgate.judge.noise import FEWEST_RUNS, Noise
from loadgate.judge.results import Grade

FEWEST_PAIRS: Final = 3
"""Pairs of interleaved runs from which their spread is estimated."""
INSIDE_DF: Final = 10
"""Degrees of freedom that noise inside runs is taken to be known with: as if from ten independent batches."""
REQUESTS: Final = "requests"
"""The statistic of a row that says that an endpoint is not there."""

NoiseTable = Mapping[str, Mapping[str, Noise]]


@dataclass(frozen=True, slots=True)
class Floors:
    """What counts as a change at all: a share of the value, seconds of a latency, a share of requests.

    A latency must be beyond both `relative` and `seconds`, an error rate beyond both `relative` and
    `errors`; a throughput beyond `relative`.
    """

    relative: float = 0.05
    seconds: float = 0.001
    errors: float = 0.001


@dataclass(frozen=True, slots=True)
class Spread:
    """One estimate of an effect's standard error, with its degrees of freedom and where it is from."""

    error: float
    df: float
    source: str


@dataclass(frozen=True, slots=True)
class Effect:
    """A candidate against its baseline in one statistic of one endpoint.

    `worsening` and `floor` are log ratios, for an error rate differences of shares; the worsening may be
    infinite. `baseline` and `candidate` are typical values (geometric means over runs) in SI. `n` is the
    fewest requests of a run. A row that cannot be judged has a `problem`, and its grade.
    """

    endpoint: str
    statistic: str
    baseline: float | None = None
    candidate: float | None = None
    worsening: float = 0.0
    floor: float = 0.0
    floor_by: str = "practical"
    spreads: tuple[Spread, ...] = ()
    n: int = 0
    problem: str = ""
    problem_grade: Grade = Grade.INCONCLUSIVE

    @property
    def key(self) -> tuple[str, str]:
        """Tell which row it is."""
        return self.endpoint, self.statistic

    @property
    def beyond(self) -> bool:
        """Tell whether it looks worse: the estimate itself is beyond the floor."""
        return not self.problem and self.worsening > self.floor

    @property
    def testable(self) -> bool:
        """Tell whether there is a spread to hold it against."""
        return not self.problem and bool(self.spreads)

    def p_worse(self) -> float:
        """Return the p-value of "it is worse by no more than the floor"; the most careful spread's."""
        return max(_tail(self.worsening - self.floor, spread) for spread in self.spreads)

    def p_better(self) -> float:
        """Return the p-value of "it is better by no more than the floor"."""
        return max(_tail(-self.worsening - self.floor, spread) for spread in self.spreads)

    def lower(self, level: float) -> float:
        """Return the one-sided lower bound of the worsening at confidence 1 - level."""
        return min(
            self.worsening - t_quantile(1 - level, spread.df) * spread.error for spread in self.spreads
        )

    def upper(self, level: float) -> float:
        """Return the one-sided upper bound of the worsening at confidence 1 - level."""
        return max(
            self.worsening + t_quantile(1 - level, spread.df) * spread.error for spread in self.spreads
        )


def is_share(statistic: str) -> bool:
    """Tell whether a statistic is compared by its difference, not by its ratio."""
    return statistic == "error_rate"


def effects_of_runs(
    baseline: Sequence[RunFigures],
    candidate: Sequence[RunFigures],
    *,
    floors: Floors | None = None,
    noise: NoiseTable | None = None,
    statistics: Collection[str] | None = None,
) -> tuple[Effect, ...]:
    """Compare stored runs, at least one on each side.

    The spread is pooled over the runs of both sides once one side has `FEWEST_RUNS`; `noise` (of a
    calibration) gives another, and the more careful of both rules each bound. Without either the effects
    have none.
    `statistics` are judged whatever their evidence is; None: all that the baseline's runs can support.
    """
    found = []
    for endpoint, statistic, problem in _rows(baseline, candidate, statistics):
        if problem is not None:
            found.append(problem)
            continue
        one, other = _figures(baseline, endpoint, statistic), _figures(candidate, endpoint, statistic)
        known = (noise or {}).get(endpoint, {}).get(statistic)
        effect = _estimated(endpoint, statistic, one, other, floors or Floors(), known)
        if not effect.problem:
            effect = replace(effect, spreads=tuple(_spreads_of_runs(statistic, one, other, known)))
        found.append(effect)
    return tuple(found)


def effects_of_pairs(
    pairs: Sequence[tuple[RunFigures, RunFigures]],
    *,
    floors: Floors | None = None,
    noise: NoiseTable | None = None,
    statistics: Collection[str] | None = None,
) -> tuple[Effect, ...]:
    """Compare interleaved runs, made in pairs one after the other on one machine, by their differences.

    What both of a pair share (the hour, a neighbour's load) drops out. `noise` only raises the floor.
    """
    sides = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = []
    for endpoint, statistic, problem in _rows(*sides, statistics):
        if problem is not None:
            found.append(problem)
            continue
        one, other = _figures(sides[0], endpoint, statistic), _figures(sides[1], endpoint, statistic)
        known = (noise or {}).get(endpoint, {}).get(statistic)
        effect = _estimated(endpoint, statistic, one, other, floors or Floors(), known)
        if not effect.problem and len(pairs) < FEWEST_PAIRS:
            few = f"{len(pairs)} pairs of runs are whole, and it takes {FEWEST_PAIRS}"
            effect = replace(effect, problem=few)
        if not effect.problem:
            effect = replace(effect, spreads=_spreads_of_pairs(statistic, one, other))
        found.append(effect)
    return tuple(found)


# ---- which rows there are


def _rows(
    baseline: Sequence[RunFigures], candidate: Sequence[RunFigures], statistics: Collection[str] | None
) -> list[tuple[str, str, Effect | None]]:
    """List endpoint and statistic of each row, with the effect where nothing can be compared."""
    rows: list[tuple[str, str, Effect | None]] = []
    for endpoint in sorted({name for run in (*baseline, *candidate) for name in run.endpoints}):
        problem = _absent(endpoint, baseline, candidate)
        if problem:
            effect = Effect(endpoint, REQUESTS, problem=problem, problem_grade=Grade.INVALID)
            rows.append((endpoint, REQUESTS, effect))
            continue
        for statistic in STATISTICS:
            have = min(run.endpoints[endpoint][statistic].n for run in baseline)
            if statistics is None and have < NEEDED[statistic]:
                continue
            if statistics is None or statistic in statistics:
                rows.append((endpoint, statistic, None))
        if not any(row[0] == endpoint for row in rows):
            effect = Effect(endpoint, REQUESTS, problem="there are too few requests for any statistic")
            rows.append((endpoint, REQUESTS, effect))
    return rows


def left_out(baseline: Sequence[RunFigures]) -> tuple[str, ...]:
    """Say which statistics the runs of a baseline cannot support, so that they are not compared."""
    said = []
    for endpoint in sorted({name for run in baseline for name in run.endpoints}):
        for statistic in STATISTICS:
            have = min(
                run.endpoints[endpoint][statistic].n if endpoint in run.endpoints else 0 for run in baseline
            )
            if have < NEEDED[statistic]:
                said.append(
                    f"{endpoint} {statistic} is not compared: it takes {NEEDED[statistic]} requests a run, "
                    f"and the baseline has {have}"
                )
    return tuple(said)


def _absent(endpoint: str, baseline: Sequence[RunFigures], candidate: Sequence[RunFigures]) -> str:
    """Say of an endpoint that runs lack where; empty when all have it."""
    lacking = [
        f"{sum(endpoint not in run.endpoints for run in runs)} of {len(runs)} {side} runs"
        for side, runs in (("baseline", baseline), ("candidate", candidate))
        if any(endpoint not in run.endpoints for run in runs)
    ]
    if not lacking:
        return ""
    return f"{endpoint} had no request in {' and '.join(lacking)}, so there is nothing to compare"


def _figures(runs: Sequence[RunFigures], endpoint: str, statistic: str) -> list[Figure]:
    return [run.endpoints[endpoint][statistic] for run in runs]


# ---- the estimate


def _estimated(
    endpoint: str,
    statistic: str,
    baseline: Sequence[Figure],
    candidate: Sequence[Figure],
    floors: Floors,
    noise: Noise | None,
) -> Effect:
    """Estimate the effect and its floor; the spread comes later."""
    n = min(figure.n for figure in (*baseline, *candidate))
    one, other = _typical(statistic, baseline), _typical(statistic, candidate)
    problem = _problem(statistic, baseline, candidate, n)
    if problem:
        return Effect(endpoint, statistic, one, other, n=n, problem=problem)
    assert one is not None
    assert other is not None
    floor, by = _practical(statistic, one, other, floors), "practical"
    known = noise.floor(len(baseline), len(candidate)) if noise is not None else 0.0
    if known > floor:
        floor, by = known, "noise"
    change = fmean(_scaled(statistic, candidate)) - fmean(_scaled(statistic, baseline))
    sign = -1 if statistic == "throughput" else 1
    return Effect(endpoint, statistic, one, other, sign * change, floor, by, n=n)


def _typical(statistic: str, figures: Sequence[Figure]) -> float | None:
    """Return the mean of shares, the geometric mean of anything else; None where a run has no value."""
    values = [figure.value for figure in figures]
    if any(value is None for value in values):
        return None
    mean = fmean(_scaled(statistic, figures))
    return mean if is_share(statistic) else math.exp(mean)


def _scaled(statistic: str, figures: Sequence[Figure]) -> list[float]:
    """Return the values on the scale on which they are compared."""
    return [float(figure.value or 0.0) if is_share(statistic) else figure.log for figure in figures]


def _problem(statistic: str, baseline: Sequence[Figure], candidate: Sequence[Figure], n: int) -> str:
    """Say why the two sides cannot be compared; empty where they can."""
    if n < NEEDED[statistic]:
        return f"a run has {n} requests, and the {statistic} takes {NEEDED[statistic]}"
    endless = []
    for side, figures in (("baseline", baseline), ("candidate", candidate)):
        if any(figure.value is None for figure in figures):
            return f"a {side} run has no value"
        # An infinite latency, or a throughput of 0.
        odd = 0 if is_share(statistic) else sum(not math.isfinite(figure.log) for figure in figures)
        if 0 < odd < len(figures):
            return f"in {odd} of {len(figures)} {side} runs it is {_endless(statistic)}"
        endless.append(odd > 0)
    return f"it is {_endless(statistic)} on both sides" if all(endless) else ""


def _endless(statistic: str) -> str:
    return "infinitely slow (failures)" if statistic in LATENCIES else "0"


def _practical(statistic: str, one: float, other: float, floors: Floors) -> float:
    """Return the practical floor; of the two values the smaller decides, so that it is the same both ways."""
    least = min(one, other)
    if is_share(statistic):
        return max(floors.errors, floors.relative * least)
    relative = math.log1p(floors.relative)
    if statistic in LATENCIES and math.isfinite(least):
        return max(relative, math.log1p(floors.seconds / least))
    return relative


# ---- the spread


def _spreads_of_runs(
    statistic: str, baseline: Sequence[Figure], candidate: Sequence[Figure], noise: Noise | None
) -> list[Spread]:
    """Estimate the standard error from the runs themselves, and from a calibration."""
    sides = len(baseline), len(candidate)
    runs = math.sqrt(1 / sides[0] + 1 / sides[1])
    spreads = []
    if max(sides) >= FEWEST_RUNS:
        df = sum(sides) - 2
        squares = sum(_squares(_finite(statistic, figures)) for figures in (baseline, candidate))
        spreads.append(Spread(math.sqrt(squares / df) * runs, df, "runs"))
    if noise is not None:
        spreads.append(Spread(noise.total * runs, noise.df, "calibration"))
    return [*spreads, _inside(statistic, baseline, candidate)] if spreads else []


def _spreads_of_pairs(
    statistic: str, baseline: Sequence[Figure], candidate: Sequence[Figure]
) -> tuple[Spread, ...]:
    """Estimate the standard error of the mean difference of pairs, at least two."""
    number = len(baseline)
    one, other = _finite(statistic, baseline), _finite(statistic, candidate)
    differences = [b - a for a, b in zip(one, other, strict=True)] if one and other else [0.0, 0.0]
    error = math.sqrt(variance(differences) / number)
    return Spread(error, number - 1, "pairs"), _inside(statistic, baseline, candidate)


def _finite(statistic: str, figures: Sequence[Figure]) -> list[float]:
    """Return the values on their scale; none where the side is endless, which has no spread."""
    return [value for value in _scaled(statistic, figures) if math.isfinite(value)]


def _squares(values: Sequence[float]) -> float:
    if not values:
        return 0.0
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _inside(statistic: str, baseline: Sequence[Figure], candidate: Sequence[Figure]) -> Spread:
    """Return the part of the standard error that comes from inside the runs, which the whole is never under.

    Runs that agree by chance, or a target without any error, must not look free of noise.
    """
    error = math.sqrt(_within(statistic, baseline) + _within(statistic, candidate))
    return Spread(error, INSIDE_DF, "inside")


def _within(statistic: str, figures: Sequence[Figure]) -> float:
    """Return the variance of a side's mean from inside its runs; 0 where they are too short to tell.

    That of an error rate is at least the binomial one of (x + 1) / (n + 2) over all its requests, which is
    not 0 where no error was seen.
    """
    known = fmean(figure.within or 0.0 for figure in figures) / len(figures)
    if not is_share(statistic):
        return known
    n = sum(figure.n for figure in figures)
    share = (sum((figure.value or 0.0) * figure.n for figure in figures) + 1) / (n + 2)
    return max(known, share * (1 - share) / n)


def _tail(distance: float, spread: Spread) -> float:
    """Return the probability of a distance at least this large, were there none."""
    if spread.error <= 0:
        return 0.0 if distance > 0 else 1.0
    return t_tail(distance / spread.error, spread.df)
