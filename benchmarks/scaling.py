"""What another worker adds: CPU seconds per million requests of one, two and four workers.

    python benchmarks/scaling.py [--runs 1x4000,2x4000,4x4000,2x8000,1x16000] [--seconds 10] [--rounds 3]

A run is workers x requests a second in all: open model, constant arrivals, real checks, against nginx on
loopback. nginx and the master share one core, the workers another. What is compared is CPU time, which does
not depend on how many cores there are: where a request costs two workers as much as one, two workers on two
idle cores do twice as much as one. Two figures follow for the second worker:

- at the same rate for each worker: what it adds to the throughput, as a share of a first worker's;
- at the same rate in all: what the same load costs when it is shared, the master included.

Budget: the second worker adds at least 90 % of a worker's throughput. And at 70 % of a core, the limit that
docs/distributed.md plans with: how many requests a second one worker carries.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from loadgate.measure.window import Count
from loadgate.store.database import RunReader
from loadgate.store.folder import find_run
from machine import machine, met
from throughput import BODY, LOADGATE_FILE, nginx_on, unused_port

BUDGET_ADDED = 0.9
PLANNED_CPU = 0.7
_WARMUP = 3
_JOIN_WITHIN = 60.0

SCENARIO = """
name       = "scaling"
locustfile = "locustfile.py"
host       = "{url}"

[traffic]
model    = "open"
arrivals = "constant"
users    = {users}

[[traffic.stages]]
rate  = "{rate}/s"
hold  = "{hold}s"
"""


class Load(NamedTuple):
    """A run: so many workers, and so many requests a second in all."""

    workers: int
    rate: int


class Cost(NamedTuple):
    """CPU seconds of one run per million requests: of the master and of all workers; and the start lag."""

    master: float
    workers: float
    lag_p99_ms: float

    @property
    def all(self) -> float:
        """Of all generator processes."""
        return self.master + self.workers


def main() -> int:
    """Run each load in turn and print the table; exit 1 when the budget is missed, 2 without nginx."""
    options = _options()
    loads = [Load(*map(int, run.split("x"))) for run in options.runs.split(",")]
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if nginx is None:
        print("nginx is needed: apt-get install nginx-light", file=sys.stderr)
        return 2
    cores = sorted(os.sched_getaffinity(0))
    found: dict[Load, list[Cost]] = {load: [] for load in loads}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = LOADGATE_FILE.replace("{body}", json.dumps(BODY))
        (folder / "locustfile.py").write_text(text, encoding="utf-8")
        with nginx_on(nginx, folder, cores[0]) as url:
            for _ in range(options.rounds):
                for load in loads:
                    found[load].append(_measure(url, folder, cores, load, options))
    return _report(found, options)


def _measure(url: str, folder: Path, cores: list[int], load: Load, options: argparse.Namespace) -> Cost:
    """Run one load, and compare the CPU time of its steady seconds with the requests of the same seconds."""
    scenario = folder / "scenario.toml"
    hold = _WARMUP + options.seconds + 2
    text = SCENARIO.format(url=url, users=options.users, rate=load.rate, hold=hold)
    scenario.write_text(text, encoding="utf-8")
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    common: dict[str, Any] = {
        "cwd": folder,
        "env": os.environ | {"LOADGATE_RESULTS": str(results), "GEVENT_TRACK_GREENLET_TREE": "0"},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    commands = _commands(url, folder, cores, load, options.users)
    processes = [subprocess.Popen(command, **common) for command in commands]
    try:
        begin = _anchor(results) + _WARMUP
        before = _used_at(processes, begin)
        after = _used_at(processes, begin + options.seconds)
        for process in processes:
            if process.wait(120) != 0:
                raise SystemExit("the generator failed")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    used = [end - start for start, end in zip(before, after, strict=True)]
    return _cost(results, load, used, options.seconds)


def _commands(url: str, folder: Path, cores: list[int], load: Load, users: int) -> list[list[str]]:
    """Return the command of the master, and of each worker."""
    port = str(unused_port())
    locust = [sys.executable, "-m", "locust", "-f", str(folder / "locustfile.py"), "--loglevel", "ERROR"]
    master = [
        *["taskset", "-c", str(cores[0]), *locust, "--master", "--headless", "--only-summary"],
        *["--master-bind-host", "127.0.0.1", "--master-bind-port", port],
        *["--expect-workers", str(load.workers), "--users", str(users), "--spawn-rate", str(users)],
        *["--scenario", str(folder / "scenario.toml"), "--host", url],
    ]
    worker = [
        *["taskset", "-c", str(cores[-1]), *locust, "--worker"],
        *["--master-host", "127.0.0.1", "--master-port", port],
    ]
    return [master, *([worker] * load.workers)]


def _anchor(results: Path) -> float:
    """Wait for run time 0, and return its CLOCK_MONOTONIC time."""
    deadline = time.monotonic() + _JOIN_WITHIN
    while time.monotonic() < deadline:
        time.sleep(0.2)
        for database in results.glob("*/run.db"):
            with RunReader(database) as reader:
                anchor = reader.value("anchor")
            if anchor is not None:
                return float(anchor["monotonic"])
    raise SystemExit(f"the run did not begin within {_JOIN_WITHIN:g} s")


def _used_at(processes: list[subprocess.Popen[bytes]], moment: float) -> list[float]:
    """Return the CPU seconds that each process has used at a moment to come."""
    time.sleep(max(moment - time.monotonic(), 0.0))
    times = [psutil.Process(process.pid).cpu_times() for process in processes]
    return [one.user + one.system for one in times]


def _cost(results: Path, load: Load, used: list[float], seconds: int) -> Cost:
    with RunReader(find_run(results, "latest").database) as reader:
        whole = reader.total(start=_WARMUP, end=_WARMUP + seconds)
        lag = [row.start_lag_p99_us for row in reader.fleet() if _WARMUP <= row.second < _WARMUP + seconds]
    ok = whole.count(Count.OK)
    if abs(ok - load.rate * seconds) > 0.01 * load.rate * seconds:
        raise SystemExit(f"{ok} answers of {load.rate * seconds}: the generator or nginx was at its limit")
    millions = ok / 1e6
    return Cost(used[0] / millions, sum(used[1:]) / millions, statistics.median(lag) / 1000)


def _report(found: dict[Load, list[Cost]], options: argparse.Namespace) -> int:
    print(machine())
    print(
        f"open model, {options.users} users, {options.seconds} s a round, {options.rounds} rounds in turn; "
        "medians\n"
    )
    print(
        f"{'':17}{'CPU seconds per million requests':^48}{'start lag':>11}{'a worker at':>13}\n"
        f"{'workers':>8}{'rate/s':>9}{'workers':>9}  {'each round':21}{'master':>8}{'all':>8}"
        f"{'p99 ms':>11}{'70 % of a core':>16}"
    )
    for load, costs in found.items():
        workers, master, every, lag = _medians(costs)
        rounds = " ".join(f"{cost.workers:.1f}" for cost in costs)
        print(
            f"{load.workers:8}{load.rate:9}{workers:9.1f}  {rounds:21}{master:8.1f}{every:8.1f}"
            f"{lag:11.2f}{PLANNED_CPU / workers * 1e6:14,.0f}/s"
        )
    return _judge(found)


def _medians(costs: list[Cost]) -> tuple[float, float, float, float]:
    return (
        statistics.median(cost.workers for cost in costs),
        statistics.median(cost.master for cost in costs),
        statistics.median(cost.all for cost in costs),
        statistics.median(cost.lag_p99_ms for cost in costs),
    )


def _judge(found: dict[Load, list[Cost]]) -> int:
    """Say what the second worker adds, round by round, and what sharing a load costs."""
    singles = [load for load in found if load.workers == 1]
    good, compared = True, False
    for single in singles:
        double = Load(2, 2 * single.rate)
        if double in found:
            compared = True
            # One does 1/a requests in a CPU second; two on a core each do 2/b.
            pairs = [2 * a.workers / b.workers - 1 for a, b in zip(found[single], found[double], strict=True)]
            added = statistics.median(pairs)
            good = good and added >= BUDGET_ADDED
            each = "  ".join(f"{pair:.0%}" for pair in pairs)
            print(f"\n{single.rate}/s each: the second worker adds {added:.0%} of a first (rounds: {each})")
            print(f"budget: at least {BUDGET_ADDED:.0%}: {met(added >= BUDGET_ADDED)}")
        for shared in (load for load in found if load.rate == single.rate and load.workers > 1):
            ratio = statistics.median(
                b.all / a.all for a, b in zip(found[single], found[shared], strict=True)
            )
            print(
                f"{single.rate}/s shared by {shared.workers} cost {ratio:.2f} times as much, master included"
            )
    if not compared:
        print("\nnothing to judge: the budget takes a run of one worker, and one of two at twice the rate")
    return 0 if good and compared else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    runs = "1x4000,2x4000,4x4000,2x8000,1x16000"
    parser.add_argument("--runs", default=runs, help="workers x rate of each run, separated by commas")
    parser.add_argument("--seconds", type=int, default=10, help="length of the measured part of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each")
    parser.add_argument("--users", type=int, default=200, help="pool of users, over all workers")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
