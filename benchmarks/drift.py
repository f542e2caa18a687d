"""Simulate how often a leak is found, and how often something else is taken for one.

    python benchmarks/drift.py [--runs N] [--seed N] [--noise NAME ...]

A week of readings, one a minute, of a memory of about 300 MB, judged by the functions that judge
(`loadgate.judge.trend`, `loadgate.judge.drift`) with the usual rule for memory: it may grow by 5 % over the
run. To each shape is added noise of +-30 MB:

white      every reading by itself, evenly distributed between -30 and +30 MB
hour       AR(1), standard deviation 15 MB (so that +-30 are two of them), correlation length 1 h
day        the same, and a daily cycle of +-15 MB with a random beginning
six hours  AR(1), standard deviation 15 MB, correlation length 6 h

The shapes:

flat       nothing else
sawtooth   garbage collection: 150 MB slowly up, at once down; cycles of 40 min to 40 h, noise of a third
step       80 MB more from some moment on
leak       0.5 MB/h
leak gc    the same under a sawtooth of 5 h, with noise of a third
leak reset 3 MB/h, and a restart every 28 h that brings it back, without growth over the week
cache      200 MB that fill with a time constant of 12 h
stairs     0.5 MB/h in steps, one a day

`FAIL` and so on are shares of the runs. Exits 1 when a leak, in steps or not, FAILs in less than 95 % of the
runs, or anything else in more than 1 %, each by more than three standard deviations of the simulation, since
44 shares are looked at; or when a leak PASSes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadgate.judge.correlation import Floats
from loadgate.judge.drift import judge_trend
from loadgate.judge.results import Grade
from loadgate.judge.trend import trend
from loadgate.plan.drift import Drift
from machine import machine, met

MINUTES = 10_080
HOURS = np.arange(MINUTES) / 60.0
RULE = Drift(metric="memory")
MB = 1e6
FALSE, CAUGHT, SLACK = 0.01, 0.95, 3


@dataclass(frozen=True)
class Shape:
    """A series without its noise (MB), how strong the noise is, and what must be said of it."""

    make: Callable[[np.random.Generator], Floats]
    noise: float = 1.0
    leaks: bool = False
    cuts: tuple[float, ...] = ()


def sawtooth(hours: float) -> Callable[[np.random.Generator], Floats]:
    """Return a maker of sawtooths with cycles of so many hours."""
    return lambda random: 150 * ((HOURS / hours + random.uniform()) % 1)


SHAPES = {
    "flat": Shape(lambda _: 0 * HOURS),
    "sawtooth 40m": Shape(sawtooth(2 / 3), 1 / 3),
    "sawtooth 5h": Shape(sawtooth(5), 1 / 3),
    "sawtooth 14h": Shape(sawtooth(14), 1 / 3),
    "sawtooth 40h": Shape(sawtooth(40), 1 / 3),
    "step": Shape(lambda random: 80.0 * (random.uniform(20, 148) < HOURS)),
    "leak": Shape(lambda _: 0.5 * HOURS, leaks=True),
    "leak gc": Shape(lambda random: 0.5 * HOURS + sawtooth(5)(random), 1 / 3, leaks=True),
    "leak reset": Shape(lambda _: 3 * (HOURS % 28), leaks=True, cuts=(28, 56, 84, 112, 140)),
    "cache": Shape(lambda _: 200 * (1 - np.exp(-HOURS / 12))),
    "stairs": Shape(lambda _: 12 * np.floor(HOURS / 24), leaks=True),
}
NOISES = {"white": 0.0, "hour": 1.0, "day": 1.0, "six hours": 6.0}


def noises(random: np.random.Generator, name: str, runs: int) -> Floats:
    """Draw the noise (MB) of some runs."""
    if name == "white":
        return random.uniform(-30, 30, (runs, MINUTES))
    length = NOISES[name] * 60
    phi = (length - 1) / (length + 1)
    found = random.standard_normal((MINUTES, runs))
    found[1:] *= math.sqrt(1 - phi * phi)
    for minute in range(1, MINUTES):
        found[minute] += phi * found[minute - 1]
    found *= 15
    if name == "day":
        found += 15 * np.sin(2 * np.pi * (HOURS[:, None] / 24 + random.uniform(size=runs)))
    return np.ascontiguousarray(found.T)


def judged(shape: Shape, noise: Floats, random: np.random.Generator) -> Grade:
    """Judge one week."""
    values = (300 + shape.make(random) + shape.noise * noise) * MB
    found = trend(HOURS * 3600, values, cuts=[hour * 3600 for hour in shape.cuts])
    return judge_trend(RULE, found).verdict


def good(shape: Shape, counts: Counter[Grade], runs: int) -> bool:
    """Tell whether a shape was judged well enough."""
    failed = counts[Grade.FAIL] / runs
    if shape.leaks:
        slack = SLACK * math.sqrt(CAUGHT * (1 - CAUGHT) / runs)
        return failed >= CAUGHT - slack and not counts[Grade.PASS]
    return failed <= FALSE + SLACK * math.sqrt(FALSE * (1 - FALSE) / runs)


def main() -> int:
    """Run the simulation and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise", choices=list(NOISES), nargs="*", default=list(NOISES))
    options = parser.parse_args()
    print(machine())
    print(f"{options.runs} runs of each, shares in %")
    order = (Grade.FAIL, Grade.WARN, Grade.INCONCLUSIVE, Grade.PASS)
    print(f"{'noise':10}{'shape':14}" + "".join(f"{grade:>14}" for grade in order) + f"{'ms each':>10}")
    fine = True
    for number, name in enumerate(options.noise):
        random = np.random.default_rng((options.seed, number))
        drawn = noises(random, name, options.runs)
        for kind, shape in SHAPES.items():
            begun = time.perf_counter()
            counts = Counter(judged(shape, noise, random) for noise in drawn)
            each = 1000 * (time.perf_counter() - begun) / options.runs
            shares = "".join(f"{100 * counts[grade] / options.runs:14.1f}" for grade in order)
            well = good(shape, counts, options.runs)
            fine = fine and well
            print(f"{name:10}{kind:14}{shares}{each:10.0f}  {met(well)}", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
