"""Simulate how often the bounds of percentiles and error rates hold.

    python benchmarks/intervals.py [--runs N] [--level SD] [--seed N]

The noise model: second by second a Poisson number of requests with lognormal service times (sigma 0.5), whose
level (log of the median) is an AR(1) process with standard deviation `--level` and coefficient phi. The
correlation length of the level is (1 + phi) / (1 - phi) s. The true percentile is known, so a bound covers it
if and only if the run does not show the percentile to be below, or above, the true one; that is asked of the
functions that judge (`loadgate.judge.intervals`), with the numbers of requests over the true percentile and
over the run's own one, drawn together.

Beside it stand a plain block bootstrap of the percentile (blocks of twice the cube root of the run) and plain
batch means with Student's t (20 batches).

`upper` and `lower` are the coverage of the two one-sided 95 % bounds among runs that are not too short to
estimate their noise; `short` is the share that is, in which a row is INCONCLUSIVE unless its worst reading
decides. `pass` is the share of all runs, short ones too, that would PASS at a limit that is exactly the true
percentile: 5 % is what a 95 % bound allows.

`--looks` asks something else: how often a run that is looked at again and again, as `stop_when_certain` does,
is judged wrongly when the limit is exactly the true value, so that neither PASS nor FAIL is right. It ends at
the first look that shows either, with its noise known or every second on that side. `early` is the share that
ends before its time, `once` what comes of the same runs without looks, `whole` what would come of looks with
5 % each from 20 s on. Bursts come twice a minute; the first half of a minute often has none, so that case is
not judged. Exits 1 when `pass` or `fail` is over 5 %, and over that of `once`, by more than the simulation's
own error.

Exits 1 when for runs of at least 20 correlation lengths the coverage of a percentile leaves 93..97 % by more
than the simulation's own error (two standard deviations), or when that of an error rate is under 93 % for
runs of at least 100: how alike neighbouring seconds are in their errors is not estimated, and bursts come in
a few seconds only, so they need longer. Error rates are conservative (over 97 %) where errors come singly:
the exact binomial bound rules, or the wider one of two cuts into batches.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from loadgate.judge.correlation import Floats, correlation_of
from loadgate.judge.distributions import t_quantile
from loadgate.judge.intervals import LENGTHS_NEEDED, Samples
from loadgate.plan.looks import Look, looks
from loadgate.plan.samples import DOUBT
from machine import machine, met

SIGMA = 0.5
RATES = (100, 1100)
PERCENTILES = (0.95, 0.99)
PHIS = (0.0, 0.5, 0.7, 0.9)
SECONDS = (20, 60, 120, 600, 3600)
LOW, HIGH = 0.93, 0.97
ERROR_LENGTHS = 100
RESAMPLES = 200


@dataclass
class Tally:
    """How often something held, of how many."""

    held: int = 0
    of: int = 0

    def add(self, held: bool) -> None:
        """Count one."""
        self.held += held
        self.of += 1

    @property
    def share(self) -> float:
        """Return how often it held; NaN of none."""
        return self.held / self.of if self.of else math.nan

    def text(self) -> str:
        """Write it as a percentage."""
        return f"{100 * self.share:5.1f}" if self.of else "    -"

    def within(self, low: float, high: float) -> bool:
        """Tell whether it lies within two standard deviations of the simulation of low..high."""
        slack = 2 * math.sqrt(DOUBT * (1 - DOUBT) / self.of) if self.of else math.inf
        return not self.of or low - slack <= self.share <= high + slack


def ar1(rng: np.random.Generator, seconds: int, phi: float) -> Floats:
    """Return an AR(1) series with standard deviation 1."""
    noise = rng.standard_normal(seconds)
    noise[1:] *= math.sqrt(1 - phi * phi)
    level = np.empty(seconds)
    state = 0.0
    for index, step in enumerate(noise.tolist()):
        state = phi * state + step if index else step
        level[index] = state
    return level


class Shares:
    """The share of lognormal service times over a threshold, by level; interpolated in a table."""

    def __init__(self) -> None:
        normal = NormalDist()
        self._z = np.linspace(-9, 9, 4001)
        self._tail = np.array([1 - normal.cdf(z) for z in self._z])

    def over(self, threshold: float, level: Floats) -> Floats:
        """Return the share over a threshold (logs) at each level."""
        return np.interp((threshold - level) / SIGMA, self._z, self._tail)


@dataclass(frozen=True)
class Run:
    """By second: requests, those over the true percentile, those over the run's own."""

    n: Floats
    over: Floats
    own: Floats


def simulate(
    rng: np.random.Generator, shares: Shares, seconds: int, phi: float, rate: float, p: float, sd: float
) -> Run:
    """Draw one run."""
    level = sd * ar1(rng, seconds, phi)
    true = NormalDist().inv_cdf(p) * math.hypot(SIGMA, sd)
    low, high = true - 4 * sd - 0.5, true + 4 * sd + 0.5
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if shares.over(middle, level).mean() > 1 - p else (low, middle)
    at_true, at_own = shares.over(true, level), shares.over(high, level)
    n = rng.poisson(rate, seconds)
    # Who is over the higher threshold is over the lower one too.
    many = rng.binomial(n, np.maximum(at_true, at_own))
    few = rng.binomial(many, np.minimum(at_true, at_own) / np.maximum(at_true, at_own))
    over, own = (many, few) if high >= true else (few, many)
    return Run(n.astype(float), over.astype(float), own.astype(float))


def bootstrap(rng: np.random.Generator, run: Run, share: float) -> tuple[bool, bool]:
    """Tell whether a block bootstrap's two bounds of the percentile cover the true one."""
    seconds = len(run.n)
    block = max(1, round(2 * seconds ** (1 / 3)))
    blocks = math.ceil(seconds / block)
    d = np.concatenate([run.over - share * run.n] * 2)
    upto = np.concatenate([[0.0], np.cumsum(d)])
    starts = rng.integers(0, seconds, (RESAMPLES, blocks))
    slower = ((upto[starts + block] - upto[starts]).sum(axis=1) > 0).mean()
    return bool(slower >= DOUBT), bool(slower <= 1 - DOUBT)


def batch_means(run: Run, share: float) -> tuple[bool, bool]:
    """Tell the same of plain batch means."""
    d = (run.over - share * run.n)[: len(run.n) // 20 * 20].reshape(20, -1).sum(axis=1)
    half = t_quantile(1 - DOUBT, 19) * math.sqrt(20) * float(d.std(ddof=1))
    return bool(d.sum() + half >= 0), bool(d.sum() - half <= 0)


@dataclass
class Row:
    """The tallies of one case."""

    upper: Tally
    lower: Tally
    short: Tally
    passes: Tally
    others: tuple[Tally, ...]

    @classmethod
    def empty(cls) -> Row:
        """Return a row without a run."""
        return cls(Tally(), Tally(), Tally(), Tally(), tuple(Tally() for _ in range(4)))

    def add(self, samples: Samples, over: Floats, share: float) -> None:
        """Ask the functions that judge."""
        below, above = samples.below(over, share), samples.above(over, share)
        self.short.add(samples.short)
        self.passes.add(below)
        if not samples.short:
            self.upper.add(not below)
            self.lower.add(not above)


def percentiles(options: argparse.Namespace) -> Iterator[bool]:
    """Print the table of percentiles; give for each case whether it is as it should be."""
    rng, shares = np.random.default_rng(options.seed), Shares()
    print(
        "percentile  rate/s  phi  seconds  lengths   upper  lower  short   pass   bootstrap      batch means"
    )
    for p in PERCENTILES:
        for rate in RATES:
            for phi in PHIS:
                for seconds in SECONDS:
                    row, share = Row.empty(), 1 - p
                    for _ in range(max(100, options.runs // (4 if seconds > 600 else 1))):
                        run = simulate(rng, shares, seconds, phi, rate, p, options.level)
                        own = run.own - share * run.n
                        samples = Samples(run.n, np.zeros(seconds), own, correlation_of(own))
                        row.add(samples, run.over, share)
                        told = (*bootstrap(rng, run, share), *batch_means(run, share))
                        for tally, held in zip(row.others, told, strict=True):
                            tally.add(held)
                    lengths = seconds * (1 - phi) / (1 + phi)
                    judged = lengths >= LENGTHS_NEEDED
                    good = row.upper.within(LOW, HIGH) and row.lower.within(LOW, HIGH)
                    boot, batch = (" ".join(t.text() for t in row.others[i : i + 2]) for i in (0, 2))
                    print(
                        f"p{100 * p:<9g}  {rate:6}  {phi:3}  {seconds:7}  {lengths:7.1f}   {row.upper.text()}"
                        f"  {row.lower.text()}  {row.short.text()}  {row.passes.text()}   {boot}    {batch}"
                        f"  {met(good) if judged else ''}",
                        flush=True,
                    )
                    yield good or not judged


def error_share(rng: np.random.Generator, kind: str, seconds: int) -> tuple[Floats, float]:
    """Return the chance of an error by second, and its true mean."""
    if kind == "independent":
        return np.full(seconds, 0.002), 0.002
    if kind == "AR(1) 0.7":
        # The mean of a lognormal with sigma 1 is exp(1/2).
        return 0.002 * np.exp(ar1(rng, seconds, 0.7) - 0.5), 0.002
    # Bursts of 3 s, one in 30 s on average, in which every tenth request fails; they may overlap.
    chance = np.zeros(seconds + 3)
    begun = rng.random(seconds + 3) < 1 / 30
    for offset in range(3):
        chance[offset:] += begun[: len(begun) - offset]
    return np.minimum(chance[3:] * 0.1, 1.0), 3 / 30 * 0.1


def error_rates(options: argparse.Namespace) -> Iterator[bool]:
    """Print the table of error rates; give for each case whether its upper bound holds."""
    rng = np.random.default_rng(options.seed)
    print("\nerrors         rate/s  seconds  expected   upper  lower  short   pass")
    for kind in ("independent", "AR(1) 0.7", "bursts"):
        for rate in RATES:
            for seconds in SECONDS:
                row = Row.empty()
                for _ in range(max(100, options.runs // (4 if seconds > 600 else 1))):
                    chance, true = error_share(rng, kind, seconds)
                    n = rng.poisson(rate, seconds)
                    bad = rng.binomial(n, chance).astype(float)
                    row.add(Samples(n - bad, bad), np.zeros(seconds), true)
                # How many independent things there are: errors, bursts, correlation lengths of 5.67 s.
                apart = {"independent": true * rate * seconds, "bursts": seconds / 30}
                judged = apart.get(kind, seconds / 5.67) >= ERROR_LENGTHS
                good = row.upper.within(LOW, 1.0) and row.lower.within(LOW, 1.0)
                print(
                    f"{kind:12}   {rate:6}  {seconds:7}  {true * rate * seconds:8.1f}   {row.upper.text()}"
                    f"  {row.lower.text()}  {row.short.text()}  {row.passes.text()}"
                    f"  {met(good) if judged else ''}",
                    flush=True,
                )
                yield good or not judged


# ---- looking again and again


LOOKED_AT = (60, 300, 1200)
"""Planned seconds of runs that are looked at before their end."""
LOOK_RATE = {"p95": 100, "errors": 1000}
CASES = (("p95", 0.0), ("p95", 0.5), ("p95", 0.7), ("independent", 0.0), ("AR(1) 0.7", 0.7), ("bursts", 0.0))


@dataclass(frozen=True)
class Drawn:
    """A run of which any first part can be looked at: `bad` by second, or `logs` of latencies, in seconds."""

    n: Floats
    bad: Floats | None
    logs: Floats
    at: Floats
    true: float

    @classmethod
    def of(cls, rng: np.random.Generator, kind: str, phi: float, seconds: int, sd: float) -> Drawn:
        """Draw a run."""
        if kind != "p95":
            chance, true = error_share(rng, kind, seconds)
            n = rng.poisson(LOOK_RATE["errors"], seconds)
            bad = rng.binomial(n, np.minimum(chance, 1.0)).astype(float)
            return cls(n.astype(float), bad, np.zeros(0), np.zeros(0), true)
        n = rng.poisson(LOOK_RATE["p95"], seconds)
        at = np.repeat(np.arange(seconds), n)
        logs = (sd * ar1(rng, seconds, phi))[at] + SIGMA * rng.standard_normal(n.sum())
        true = NormalDist().inv_cdf(0.95) * math.hypot(SIGMA, sd)
        return cls(n.astype(float), None, logs, at, true)

    def at_look(self, look: Look) -> tuple[Samples, Floats, float]:
        """Return the samples so far, what is over the true value by second, and the share that may be."""
        upto = int(look.after)
        n = self.n[:upto]
        if self.bad is not None:
            bad = self.bad[:upto]
            return Samples(n - bad, bad, doubt=look.doubt), np.zeros(upto), self.true
        many = int(n.sum())
        logs, at = self.logs[:many], self.at[:many]
        rank = math.ceil(0.95 * many) - 1
        own = np.bincount(at, logs > np.partition(logs, rank)[rank], upto) - 0.05 * n
        over = np.bincount(at, logs > self.true, upto).astype(float)
        return Samples(n, np.zeros(upto), own, correlation_of(own), doubt=look.doubt), over, 0.05


def end_of(drawn: Drawn, plan: Sequence[Look]) -> tuple[bool, bool, bool]:
    """Follow a run from look to look; tell whether it passes, fails, and ends before its time."""
    for look in plan:
        samples, over, share = drawn.at_look(look)
        last = look is plan[-1]
        if not last and not samples.tells_noise and not samples.is_plain(over, share):
            continue
        below, above = look.may_pass and samples.below(over, share), samples.above(over, share)
        if below or above:
            return below, above, not last
    return False, False, False


def repeated(options: argparse.Namespace) -> Iterator[bool]:
    """Print the table of runs that are looked at; give for each case whether it is as it should be."""
    rng = np.random.default_rng(options.seed)
    print("value        phi  seconds  looks    pass   fail  early    once: pass   fail    whole: pass   fail")
    for kind, phi in CASES:
        for seconds in LOOKED_AT:
            plan = looks(seconds)
            whole = [replace(look, doubt=DOUBT, may_pass=True) for look in plan]
            tallies = [Tally() for _ in range(9)]
            for _ in range(options.runs):
                drawn = Drawn.of(rng, kind, phi, seconds, options.level)
                ends = (end_of(drawn, looked) for looked in (plan, whole[-1:], whole))
                for tally, held in zip(tallies, (held for end in ends for held in end), strict=True):
                    tally.add(held)
            passes, fails, early, once, once_fails, _, often, often_fails, _ = tallies
            good = passes.within(0.0, max(DOUBT, once.share))
            good &= fails.within(0.0, max(DOUBT, once_fails.share))
            judged = kind != "bursts" or seconds >= ERROR_LENGTHS
            print(
                f"{kind:11}  {phi:3}  {seconds:7}  {len(plan):5}   {passes.text()}  {fails.text()}"
                f"  {early.text()}         {once.text()}  {once_fails.text()}           {often.text()}"
                f"  {often_fails.text()}  {met(good) if judged else ''}",
                flush=True,
            )
            yield good or not judged


def main() -> int:
    """Simulate, print and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=400, help="simulated runs of each case (default: 400)")
    parser.add_argument("--level", type=float, default=0.25, help="standard deviation of the log level")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--looks", action="store_true", help="simulate runs that are looked at instead")
    options = parser.parse_args()
    print(f"{machine()}; {options.runs} runs of each case, level {options.level:g}")
    if options.looks:
        good = list(repeated(options))
        wanted = f"wrong PASS and FAIL at most {100 * DOUBT:g} % each, or as often as when judged once"
        print(f"{wanted}: {met(all(good))}")
        return 0 if all(good) else 1
    good = [*percentiles(options), *error_rates(options)]
    wanted = f"coverage {100 * LOW:g}..{100 * HIGH:g} % from {LENGTHS_NEEDED} correlation lengths on"
    print(f"{wanted}: {met(all(good))}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
