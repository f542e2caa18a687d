"""Measure what recording costs, beside the `hdrhistogram` package, and hold it against the budgets.

    python benchmarks/recording.py [--rounds 15] [--requests 10000]

Prints nanoseconds per recorded value (append and bulk flush) and microseconds for four percentiles of a
full histogram: medians of rounds that alternate between the two, in CPU time, so that other processes
count as little as they can, and less the bare loop over the same numbers. One flush is what a worker of
10,000 requests per second does each second. Exits with 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from hdrh.histogram import HdrHistogram

from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import COUNTERS, HIGHEST_EQUIVALENT, HIGHEST_US, LOWEST_EQUIVALENT, TOP_INDEX
from loadgate.measure.recorder import Recorder

VALUES_PER_REQUEST = 5
"""response, service, pool_wait, start_lag and connect"""
PERCENTILES = (5000, 9500, 9900, 9990)
BUDGET_VALUE_NS = 100.0
BUDGET_PERCENTILES_US = 50.0
PHASES = ("warmup", "ramp", "steady", "drain")


def main() -> int:
    """Run the benchmark; return 1 when a budget is missed."""
    options = _options()
    print(f"cpu      {_cpu_model()}, {_cores()} cores")
    print(f"python   {platform.python_version()}, numpy {np.__version__}")
    print(f"rounds   {options.rounds}, {options.requests} requests a flush, medians")
    met = [_recording(options.rounds, options.requests), _percentiles(options.rounds)]
    return 0 if all(met) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each, alternating (default 15)")
    parser.add_argument("--requests", type=int, default=10_000, help="requests per flush (default 10000)")
    return parser.parse_args()


def _recording(rounds: int, requests: int) -> bool:
    """Compare a request's five values through the recorder with five calls of record_value."""
    records = _records(requests)
    latencies = _latencies_of(records)
    recorder = _started_recorder()
    append, flush, package = [], [], []
    for _ in range(rounds):
        appended, flushed = _through_recorder(recorder, records)
        append.append(appended)
        flush.append(flushed)
        package.append(_through_package(latencies))
    values = requests * VALUES_PER_REQUEST
    ours = statistics.median(a + f for a, f in zip(append, flush, strict=True)) / values
    theirs = statistics.median(package) / values
    print()
    print("recording, per value")
    print(f"  append        {statistics.median(append) / values * 1e9:8.1f} ns")
    print(f"  flush         {statistics.median(flush) / values * 1e9:8.1f} ns")
    return _result(ours * 1e9, theirs * 1e9, BUDGET_VALUE_NS, "ns", "HdrHistogram.record_value")


def _records(requests: int) -> list[tuple[float, ...]]:
    """Return the records of one second of requests with log-normal latencies around 5 ms."""
    draw = np.random.default_rng(1)
    due = np.sort(draw.random(requests)) * 0.9 + 1000.0
    waits = np.where(draw.random(requests) < 0.05, draw.exponential(1e-3, requests), 0.0)
    begun = due + waits + draw.exponential(1e-4, requests)
    sent = begun + draw.exponential(2e-5, requests)
    ended = sent + draw.lognormal(np.log(5e-3), 0.6, requests)
    order = np.argsort(ended)
    columns = (due, waits, begun, sent, ended, np.zeros(requests), np.full(requests, 119.0))
    return list(zip(*(column[order].tolist() for column in columns), strict=True))


def _latencies_of(records: list[tuple[float, ...]]) -> list[tuple[int, ...]]:
    """Return the same five values of each request as whole microseconds, ready for the package."""
    due, wait, begun, sent, ended, _, _ = np.array(records).T
    series = (ended - due, ended - sent, wait, np.maximum(begun - due - wait, 0), sent - begun)
    return list(zip(*(np.ceil(one * 1e6).astype(int).tolist() for one in series), strict=True))


def _started_recorder() -> Recorder:
    """Return a recorder that is all in the steady phase and counts over two thresholds."""
    recorder = Recorder()
    recorder.start(1000.0, lambda times: np.full(times.shape, 2, np.int8), PHASES, {None: (50_000, 200_000)})
    return recorder


def _through_recorder(recorder: Recorder, records: list[tuple[float, ...]]) -> tuple[float, float]:
    """Return the seconds that appending took, and those that the flush took."""
    channel = recorder.channel("emotion")
    bare = time.process_time()
    for _due, _wait, _begun, _sent, _ended, _flags, _size in records:
        pass
    start = time.process_time()
    for due, wait, begun, sent, ended, flags, size in records:
        channel.done((due, wait, begun, sent, ended, flags, size))
    appended = time.process_time()
    recorder.drain(None)
    flushed = time.process_time()
    return (appended - start) - (start - bare), flushed - appended


def _through_package(latencies: list[tuple[int, ...]]) -> float:
    """Return the seconds that record_value took for the same values."""
    histograms = [HdrHistogram(1, HIGHEST_US, 3) for _ in range(VALUES_PER_REQUEST)]
    one, two, three, four, five = (histogram.record_value for histogram in histograms)
    bare = time.process_time()
    for _response, _service, _wait, _lag, _connect in latencies:
        pass
    start = time.process_time()
    for response, service, wait, lag, connect in latencies:
        one(response)
        two(service)
        three(wait)
        four(lag)
        five(connect)
    return (time.process_time() - start) - (start - bare)


def _percentiles(rounds: int) -> bool:
    """Compare four percentiles of a histogram that has values in every counter."""
    histogram = Histogram()
    counts = np.random.default_rng(2).integers(1, 1000, COUNTERS)
    middle = (LOWEST_EQUIVALENT + HIGHEST_EQUIVALENT) // 2
    histogram.record_many(np.repeat(middle[: TOP_INDEX + 1], counts[: TOP_INDEX + 1]))
    package = histogram.to_hdr()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_each(lambda: histogram.percentiles(PERCENTILES), 100))
        theirs.append(_each(lambda: [package.get_value_at_percentile(p / 100) for p in PERCENTILES], 1))
    print()
    print("four percentiles of a full histogram")
    mine, other = statistics.median(ours) * 1e6, statistics.median(theirs) * 1e6
    return _result(mine, other, BUDGET_PERCENTILES_US, "us", "get_value_at_percentile, four times")


def _each(work: Callable[[], object], times: int) -> float:
    """Return the seconds of one call, over `times` calls."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def _result(ours: float, theirs: float, budget: float, unit: str, name: str) -> bool:
    met = ours <= budget
    print(f"  loadgate      {ours:8.1f} {unit}")
    print(f"  hdrhistogram  {theirs:8.1f} {unit}  ({name})")
    print(f"  ratio         {theirs / ours:8.1f}")
    print(f"  budget        {budget:8.1f} {unit}  {'met' if met else 'NOT MET'}")
    return met


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(psutil.Process().cpu_affinity())


if __name__ == "__main__":
    sys.exit(main())
