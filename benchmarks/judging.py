"""Time the judging of a stored run of an hour, against the budget of 1 s.

    python benchmarks/judging.py [--seconds N] [--rate N] [--repeat N]

Three endpoints, windows of one second, nine objectives (those of the staging checklist), all of it written by
the store's own writer into a temporary folder: about 1100 requests a second, whose latencies rise and fall
together from second to second. Reading the run database and judging are timed apart; the medians count.
Beside them stand their parts: reading without histograms, judging the rows alone, and what is left. Exits 1
when both together miss the budget.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import orjson

from loadgate.judge.gather import gather
from loadgate.judge.objectives import evaluate_all
from loadgate.judge.verdict import judge
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.plan import load_plan
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.watch import Reading, WatchWriter
from machine import machine, met

BUDGET_S = 1.0
ROOT = Path(__file__).parents[1]
LIMITS_MS = {"emotion": (50, 200), "creative": (200, 500), "reasoning": (100, 300)}
"""Targets and alert thresholds of the checklist's latencies."""
SHAPES = {"emotion": (0.5, 5.0), "creative": (0.2, 30.0), "reasoning": (0.3, 12.0)}
"""Share of the traffic, and median latency in ms."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def windows_of(second: int, rate: float, level: float, rng: np.random.Generator) -> Iterator[Window]:
    """Make one second of each endpoint, with every series that a healthy run records."""
    for endpoint, (share, middle) in SHAPES.items():
        n = int(rng.poisson(rate * share))
        service = rng.lognormal(np.log(middle * 1000) + level, 0.5, n).astype(np.int64)
        lag = rng.integers(20, 400, n)
        series = {
            "response.ok": service + lag,
            "service.ok": service,
            "response.hit": (service + lag)[: n // 2],
            "response.miss": (service + lag)[n // 2 :],
            "start_lag": lag,
            "pool_wait": rng.integers(0, 3, n),
        }
        histograms, over = {}, {}
        for name, values in series.items():
            histograms[name] = Histogram()
            histograms[name].record_many(values)
            if name.endswith(".ok"):
                for limit in LIMITS_MS[endpoint]:
                    for edge in (limit * 1000 - 1, limit * 1000):
                        over[f"{name}>{edge}"] = int((values > edge).sum())
        counts = {"arrivals": n, "ok": n, "repeat_hits": n // 2, "repeat_misses": n // 8}
        yield Window(second, 1, endpoint, "steady", counts, histograms, over)


def write_run(root: Path, seconds: int, rate: float) -> RunFolder:
    """Write a run of so many steady seconds."""
    plan = load_plan(
        ROOT / "scenarios" / "load.toml",
        overrides=[f'traffic.stages=[{{rate="{rate}/s",hold="{seconds}s"}}]'],
    )
    run, rng, level, finished = create_run(root, "load", NOW), np.random.default_rng(1), 0.0, 0
    values = {
        "id": run.id,
        "scenario": "load",
        "plan": orjson.loads(plan.to_json()),
        "anchor": {"monotonic": 0.0, "wall": NOW.timestamp(), "boot_id": "b"},
        "ended": "planned",
        "ended_at_run_time": float(seconds),
        "mode": "distributed",
        "model": "open",
        "flushed": True,
        "workers_expected": 1,
    }
    with open_writer(run.database) as writer:
        writer.commit([], run_values=values)
        for second in range(seconds):
            level = 0.7 * level + 0.1 * float(rng.standard_normal())
            windows = list(windows_of(second, rate, level, rng))
            finished += sum(window.counts["ok"] for window in windows)
            row = FleetRow(
                second, "w1", finished, finished, finished, 5, 400, 0.2, 60_000_000, 300.0, 900.0, 900.0
            )
            writer.commit([Delta(run.id, "w1", 1, second, windows, [], [row])])
    with WatchWriter(run.watch_database) as watch:
        watch.readings(_readings(seconds))
    return run


def _readings(seconds: int) -> list[Reading]:
    found = []
    for at in range(0, seconds, 30):
        found.append(Reading(at + 0.5, "health", "up", 1.0, "", 0.01))
        if at % 60 == 0:
            found.append(Reading(at + 0.5, "process", "cpu", 0.3, "", 0.01))
            found.append(Reading(at + 0.5, "process", "memory", 3e8, "", 0.01))
    return found


def once(run: RunFolder) -> Iterator[tuple[str, float]]:
    """Time reading and judging, and parts of both: the name and the seconds of each."""
    start = time.perf_counter()
    evidence = gather(run)
    read = time.perf_counter()
    judge(evidence, now=NOW).to_dict()
    yield "judge", time.perf_counter() - read
    yield "read", read - start
    with RunReader(run.database) as reader:
        start = time.perf_counter()
        reader.columns(series=())
        yield "bare", time.perf_counter() - start
    evidence = gather(run)
    start = time.perf_counter()
    evaluate_all(evidence)
    yield "rows", time.perf_counter() - start


def main() -> int:
    """Write the run, read and judge it, and compare with the budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--rate", type=float, default=1100.0)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), options.seconds, options.rate)
        size = run.database.stat().st_size / 1e6
        print(f"{options.seconds} s at {options.rate:g}/s, run.db {size:.0f} MB")
        spent: dict[str, list[float]] = {}
        for _ in range(options.repeat):
            for part, seconds in once(run):
                spent.setdefault(part, []).append(seconds)
        content = judge(gather(run), now=NOW).to_dict()
    for row in content["objectives"]:
        print(f"  {row['verdict']:12} {row['name']:24} {row['value_text']:>12} {row['interval']}")
    found = {part: median(times) for part, times in spent.items()}
    whole = found["read"] + found["judge"]
    rows, bare = found["rows"], found["bare"]
    rest = found["read"] - bare
    print(f"read    {found['read']:8.3f} s: windows {bare:.3f} s, histograms and the rest {rest:.3f} s")
    print(f"judge   {found['judge']:8.3f} s: rows {rows:.3f} s, the rest {found['judge'] - rows:.3f} s")
    print(f"both    {whole:8.3f} s, budget {BUDGET_S:g} s: {met(whole < BUDGET_S)}")
    return 0 if whole < BUDGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
