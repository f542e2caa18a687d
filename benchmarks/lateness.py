"""How late arrivals are sent: the schedule's own moment against the first byte sent.

    python benchmarks/lateness.py [--seconds 10] [--rates 1000,5000] [--rounds 3]

One worker makes the load on a core of its own; its master and a minimal server share another. Lateness is
what the run records as start lag: from the intended start to the moment a free user takes the
request in hand; pool wait is not in it. Budget: p50 at most 0.2 ms and p99 at most 1 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import machine, met
from throughput import LOADGATE_FILE, nginx_on, unused_port

BUDGET_P50_MS, BUDGET_P99_MS = 0.2, 1.0

SCENARIO = """
name       = "lateness"
locustfile = "locustfile.py"
host       = "{url}"

[traffic]
model    = "open"
arrivals = "poisson"
users    = 100
seed     = {seed}

[[traffic.stages]]
rate  = "{rate}/s"
hold  = "2s"
phase = "warmup"

[[traffic.stages]]
rate = "{rate}/s"
hold = "{seconds}s"
"""


def main() -> int:
    """Measure each rate in turn and print the table; exit 1 when a budget is missed."""
    import json
    import shutil

    options = _options()
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if nginx is None:
        print("nginx is needed: apt-get install nginx-light", file=sys.stderr)
        return 2
    cores = sorted(os.sched_getaffinity(0))
    rates = [int(rate) for rate in options.rates.split(",")]
    found: dict[int, list[tuple[float, float, float, float]]] = {rate: [] for rate in rates}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = json.dumps({"text": "on time"})
        (folder / "locustfile.py").write_text(LOADGATE_FILE.replace("{body}", body), encoding="utf-8")
        with nginx_on(nginx, folder, cores[0]) as url:
            for seed in range(1, options.rounds + 1):
                for rate in rates:
                    found[rate].append(_measure(url, folder, cores, rate, seed, options.seconds))
    return _report(found, options)


def _measure(
    url: str, folder: Path, cores: list[int], rate: int, seed: int, seconds: int
) -> tuple[float, float, float, float]:
    from loadgate.measure.window import Series
    from loadgate.store.database import RunReader
    from loadgate.store.folder import find_run

    scenario = folder / "scenario.toml"
    scenario.write_text(SCENARIO.format(url=url, rate=rate, seed=seed, seconds=seconds), encoding="utf-8")
    results = folder / "results"
    environment = os.environ | {"LOADGATE_RESULTS": str(results), "GEVENT_TRACK_GREENLET_TREE": "0"}
    port = str(unused_port())
    locust = [sys.executable, "-m", "locust", "-f", str(folder / "locustfile.py"), "--loglevel", "ERROR"]
    master = [
        *["taskset", "-c", str(cores[0]), *locust, "--master", "--headless", "--only-summary"],
        *["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "1"],
        *["--users", "100", "--spawn-rate", "100", "--scenario", str(scenario), "--host", url],
    ]
    worker = [
        *["taskset", "-c", str(cores[-1]), *locust, "--worker"],
        *["--master-host", "127.0.0.1", "--master-port", port],
    ]
    options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, **options) for command in (master, worker)]
    try:
        for process in processes:
            if process.wait(180) != 0:
                raise SystemExit("the generator failed")
    finally:
        for process in processes:
            process.kill()
    with RunReader(find_run(results, "latest").database) as reader:
        lag = reader.total(phase="steady").histograms[Series.START_LAG]
        cpu = statistics.median(row.cpu for row in reader.fleet() if row.second >= 3)
    p50, p99 = (float(value or 0) / 1000 for value in lag.percentiles([5000, 9900]))
    return p50, p99, (lag.maximum or 0) / 1000, cpu


def _report(found: dict[int, list[tuple[float, float, float, float]]], options: argparse.Namespace) -> int:
    print(machine())
    print(f"open model, Poisson arrivals, {options.seconds} s a round, {options.rounds} rounds; medians\n")
    print(f"{'rate/s':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'CPU of the worker':>20}")
    good = True
    for rate, rounds in found.items():
        p50, p99, most, cpu = (statistics.median(values) for values in zip(*rounds, strict=True))
        good = good and p50 <= BUDGET_P50_MS and p99 <= BUDGET_P99_MS
        print(f"{rate:8}{p50:10.3f}{p99:10.3f}{most:10.2f}{cpu:19.1%}")
    print(f"\nbudget: p50 at most {BUDGET_P50_MS} ms, p99 at most {BUDGET_P99_MS:g} ms: {met(good)}")
    return 0 if good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="length of the measured part of a round")
    parser.add_argument("--rates", default="1000,5000", help="arrivals per second, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each rate")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
