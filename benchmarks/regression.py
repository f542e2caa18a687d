"""Simulate comparisons, and hold their false alarms and their misses against the budgets.

    nice python benchmarks/regression.py [--comparisons 1000] [--detections 300] [--seed 1]

The noise model. Every request is drawn: a lognormal service time (sigma 0.5, median 20 ms) times the level
of its second. The level is the product of an AR(1) over the seconds of a run (coefficient 0.7, stationary
standard deviation 10 %: within-run noise), of one draw per run (4 %: noise between runs, drawn anew at
every start of either host), and of a slow drift of the machine, which both hosts share (a random walk of
1 % a run). Three endpoints of 100 requests a second each; their levels are independent, which is the worst
case for looking at many rows.

What is simulated is Loadgate's own decision (`judge.effects`, `judge.comparison`, `judge.calibration`) on
these draws:

1. interleaved A-A comparisons, with the default 4 blocks of 20 s and 18 rows each, and the confirming rerun
   where anything looks worse: at most 1 % may FAIL;
2. A-A comparisons of stored runs of 20 s, a baseline of 5 with one candidate and its rerun: at most 1 %;
3. calibrations of 6 runs of 60 s, the comparison that each recommends, and a true +20 % in the p95 of one
   endpoint: at least 95 % must FAIL, the confirming rerun included.

Prints the shares, with the lengths that were recommended, and exits with 1 when a budget is missed. The
practical floor is the default of 5 % and 1 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgate.judge.calibration import RECOMMENDED_FOR, noise_of, recommend
from loadgate.judge.comparison import Row, confirm, decide
from loadgate.judge.effects import Floors, effects_of_pairs, effects_of_runs
from loadgate.judge.figures import Figure, RunFigures
from loadgate.judge.noise import Interleaving, Noise
from loadgate.judge.results import Grade
from machine import machine, met

Floats = NDArray[np.float64]

ENDPOINTS = ("a", "b", "c")
RATE = 100
MEDIAN_S = 0.020
SIGMA = 0.5
RHO = 0.7
WITHIN = 0.10
BETWEEN = 0.04
DRIFT = 0.01
SLOWER = 1.2
ROWS = 18
BLOCKS, BLOCK_S = 4, 20
BASELINE_RUNS = 5
CALIBRATING_RUNS, CALIBRATING_S = 6, 60
MOST_FALSE, LEAST_CAUGHT = 0.01, 0.95
_ORDER = (0, 1, 1, 0)
_PERCENTILES = {"p50": 5000, "p95": 9500, "p99": 9900}


@dataclass(frozen=True)
class Batch:
    """The statistics of many simulated runs of one length, and their variances from inside the runs."""

    values: dict[str, Floats]
    within: dict[str, Floats]


def main() -> int:
    """Run both simulations; return 1 when a budget is missed."""
    options = _options()
    print(f"machine    {machine()}")
    print(
        f"noise      within a run {WITHIN:.0%} (AR(1), {RHO}), between runs {BETWEEN:.0%}, "
        f"drift {DRIFT:.0%} a run; {len(ENDPOINTS)} endpoints of {RATE}/s, lognormal {SIGMA}"
    )
    draw = np.random.default_rng(options.seed)
    started = time.monotonic()
    false, looked = false_alarms(draw, options.comparisons)
    share = false / options.comparisons
    print(
        f"A-A        {options.comparisons} interleaved comparisons ({BLOCKS} blocks of {BLOCK_S} s): "
        f"{looked} looked worse at first, {false} FAIL = {share:.2%}; budget {MOST_FALSE:.0%}, "
        f"{met(share <= MOST_FALSE)}"
    )
    stored, seen = false_alarms_of_stored(draw, options.comparisons)
    stored_share = stored / options.comparisons
    print(
        f"A-A stored {options.comparisons} comparisons with {BASELINE_RUNS} baseline runs of {BLOCK_S} s: "
        f"{seen} looked worse at first, {stored} FAIL = {stored_share:.2%}; budget {MOST_FALSE:.0%}, "
        f"{met(stored_share <= MOST_FALSE)}"
    )
    caught, plans, none = detections(draw, options.detections)
    found = caught / options.detections
    print(
        f"+20% p95   {options.detections} calibrations ({CALIBRATING_RUNS} runs of {CALIBRATING_S} s), "
        f"each with the comparison it recommends: {found:.1%} FAIL; "
        f"budget {LEAST_CAUGHT:.0%}, {met(found >= LEAST_CAUGHT)}"
    )
    _print_plans(plans, none)
    print(f"took       {time.monotonic() - started:.0f} s")
    return 0 if max(share, stored_share) <= MOST_FALSE and found >= LEAST_CAUGHT else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=1000, help="A-A comparisons (default 1000)")
    parser.add_argument("--detections", type=int, default=300, help="comparisons with +20%% (default 300)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _print_plans(plans: list[Interleaving], none: int) -> None:
    if plans:
        totals = sorted(plan.total for plan in plans)
        middle = statistics.median(totals)
        print(
            f"length     recommended load of a round: median {middle:.0f} s, "
            f"{totals[0]:.0f} to {totals[-1]:.0f} s"
        )
        for (blocks, seconds), times in Counter((p.blocks, p.seconds) for p in plans).most_common(5):
            print(f"             {blocks:3d} blocks of {seconds:3.0f} s: {times} times")
    if none:
        print(f"             {none} calibrations found no length (counted as not caught)")
    true = Noise(
        (BETWEEN**2 + _true_within(CALIBRATING_S)) ** 0.5,
        10_000,
        _true_within(CALIBRATING_S) ** 0.5,
        CALIBRATING_S,
        MEDIAN_S * 2.3,
    )
    exact = recommend(true, Floors(), ROWS).interleaving
    if exact is not None:
        print(f"             were the noise known exactly: {exact.blocks} blocks of {exact.seconds:.0f} s")


def _true_within(seconds: float) -> float:
    """Return about the variance of a run's log p95 from inside it: the AR(1) level alone."""
    return WITHIN**2 * (1 + RHO) / (1 - RHO) / seconds


# ---- the two simulations


def false_alarms(draw: np.random.Generator, comparisons: int) -> tuple[int, int]:
    """Return how many of some A-A comparisons FAIL, and how many looked worse at first."""
    false = looked = 0
    for start in range(0, comparisons, 50):
        number = min(50, comparisons - start)
        rounds = _rounds(draw, number, BLOCKS, BLOCK_S, slower=1.0)
        worse = [rows for rows in rounds if any(row.shown for row in rows)]
        looked += len(worse)
        if worse:
            again = _rounds(draw, len(worse), BLOCKS, BLOCK_S, slower=1.0)
            false += sum(_fails(confirm(*both)) for both in zip(worse, again, strict=True))
    return false, looked


def false_alarms_of_stored(draw: np.random.Generator, comparisons: int) -> tuple[int, int]:
    """Return how many A-A comparisons of stored runs FAIL, and how many looked worse at first.

    The runs were made on different days, so the drift is another between-run noise: each has its own.
    """
    false = looked = 0
    each = BASELINE_RUNS + 2
    for start in range(0, comparisons, 50):
        number = min(50, comparisons - start)
        levels = draw.normal(0, (BETWEEN**2 + DRIFT**2) ** 0.5, (number * each, len(ENDPOINTS)))
        runs = _runs(_batch(draw, number * each, BLOCK_S, levels), BLOCK_S)
        for first in range(0, len(runs), each):
            baseline = runs[first : first + BASELINE_RUNS]
            one, other = (
                decide(effects_of_runs(baseline, [run])) for run in runs[first + BASELINE_RUNS : first + each]
            )
            worse = any(row.shown for row in one)
            looked += worse
            false += worse and _fails(confirm(one, other))
    return false, looked


def detections(draw: np.random.Generator, number: int) -> tuple[int, list[Interleaving], int]:
    """Return how many of some true +20 % FAIL, the recommended lengths, and how often there was none."""
    plans: list[Interleaving] = []
    none = caught = 0
    for _ in range(number):
        runs = _runs(
            _batch(draw, CALIBRATING_RUNS, CALIBRATING_S, _levels(draw, CALIBRATING_RUNS)), CALIBRATING_S
        )
        table = noise_of(runs)
        noise = {endpoint: table[endpoint] for endpoint in ENDPOINTS}
        plan = recommend(noise["a"][RECOMMENDED_FOR], Floors(), ROWS).interleaving
        if plan is None:
            none += 1
            continue
        plans.append(plan)
        both = [
            _rounds(draw, 1, plan.blocks, int(plan.seconds), slower=SLOWER, noise=noise)[0] for _ in range(2)
        ]
        caught += any(row.effect.key == ("a", "p95") and row.verdict is Grade.FAIL for row in confirm(*both))
    return caught, plans, none


def _fails(rows: tuple[Row, ...]) -> bool:
    return any(row.verdict is Grade.FAIL for row in rows)


def _rounds(
    draw: np.random.Generator,
    number: int,
    blocks: int,
    seconds: int,
    *,
    slower: float,
    noise: dict[str, dict[str, Noise]] | None = None,
) -> list[tuple[Row, ...]]:
    """Simulate and judge some rounds of A-B-B-A blocks; B of endpoint "a" is `slower` times as slow."""
    order = np.tile(_ORDER, blocks)
    per_round = order.size
    levels = np.concatenate([_levels(draw, per_round) for _ in range(number)])
    batch = _batch(
        draw, number * per_round, seconds, levels, np.tile(np.where(order == 1, slower, 1.0), number)
    )
    runs = _runs(batch, seconds)
    found = []
    for start in range(0, len(runs), per_round):
        mine = runs[start : start + per_round]
        pairs = []
        for block in range(0, per_round, 4):
            pairs += [(mine[block], mine[block + 1]), (mine[block + 3], mine[block + 2])]
        found.append(decide(effects_of_pairs(pairs, noise=noise)))
    return found


# ---- draws


def _levels(draw: np.random.Generator, runs: int) -> Floats:
    """Return the log level of consecutive runs and endpoints: noise between runs, and a shared drift."""
    drift = np.cumsum(draw.normal(0, DRIFT, runs))
    return drift[:, None] + draw.normal(0, BETWEEN, (runs, len(ENDPOINTS)))


def _batch(
    draw: np.random.Generator, runs: int, seconds: int, levels: Floats, slower: Floats | None = None
) -> list[Batch]:
    """Draw every request of some runs, and return their statistics for each endpoint."""
    batches = []
    for index in range(len(ENDPOINTS)):
        level = levels[:, index] + (np.log(slower) if slower is not None and index == 0 else 0.0)
        log = _ar1(draw, runs, seconds)[:, :, None] + level[:, None, None]
        log = log + draw.standard_normal((runs, seconds, RATE), dtype=np.float32) * np.float32(SIGMA)
        batches.append(_statistics(MEDIAN_S * np.exp(log)))
    return batches


def _ar1(draw: np.random.Generator, runs: int, seconds: int) -> Floats:
    """Return AR(1) series with the stationary standard deviation `WITHIN`, from their stationary start."""
    steps = draw.normal(0, WITHIN * (1 - RHO**2) ** 0.5, (runs, seconds))
    series = np.empty((runs, seconds))
    series[:, 0] = draw.normal(0, WITHIN, runs)
    for second in range(1, seconds):
        series[:, second] = RHO * series[:, second - 1] + steps[:, second]
    return series


def _statistics(values: Floats) -> Batch:
    """Return each run's percentiles and mean over all requests, and their variances from its seconds."""
    runs, seconds, rate = values.shape
    whole = np.sort(values.reshape(runs, seconds * rate), axis=1)
    parts = np.sort(values, axis=2)
    found, within = {}, {}
    for name, rank in _PERCENTILES.items():
        found[name] = whole[:, -(-rank * seconds * rate // 10_000) - 1]
        within[name] = _variance_of_mean(np.log(parts[:, :, -(-rank * rate // 10_000) - 1]))
    found["mean"] = values.mean(axis=(1, 2))
    within["mean"] = _variance_of_mean(np.log(values.mean(axis=2)))
    return Batch(found, within)


def _variance_of_mean(series: Floats) -> Floats:
    """Work out `judge.noise.variance_of_mean` for many series at once."""
    n = series.shape[1]
    offsets = series - series.mean(axis=1, keepdims=True)
    whole = (offsets**2).sum(axis=1)
    rho = (offsets[:, 1:] * offsets[:, :-1]).sum(axis=1) / whole
    rho = np.clip(rho + (1 + 4 * rho) / n, 0.0, 0.95)
    variance: Floats = whole / (n - 1) / n * (1 + rho) / (1 - rho)
    return variance


def _runs(batches: list[Batch], seconds: int) -> list[RunFigures]:
    """Return the runs as the decision sees them; no errors, and all that was offered was answered."""
    runs = []
    n = RATE * seconds
    for index in range(batches[0].values["mean"].size):
        endpoints = {}
        for endpoint, batch in zip(ENDPOINTS, batches, strict=True):
            row = {
                name: Figure(float(batch.values[name][index]), n, float(batch.within[name][index]))
                for name in batch.values
            }
            row["error_rate"] = Figure(0.0, n, 0.0)
            row["throughput"] = Figure(float(RATE), n, 0.0)
            endpoints[endpoint] = row
        runs.append(RunFigures(str(index), float(seconds), endpoints))
    return runs


if __name__ == "__main__":
    sys.exit(main())
