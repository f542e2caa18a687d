"""What a fleet of workers costs its master: CPU, memory, and the wait for an acknowledgement.

    python benchmarks/master.py [--workers 100,300,1000] [--requests 30] [--seconds 30] [--rounds 3]

A real `locust --master` with the plugin and a plan (open model, 3 endpoints) on one core; a fleet of
simulated workers (`fleet.py`) on another, over real connections: each worker beats, answers and reports as
a real one does, and ships one delta a second. Both clocks, response and service time, are in it. Measured
over the steady seconds after a warm-up: CPU seconds of all threads of the master per second, its memory at
the start and the end, and the delay from a report to its acknowledgement, which comes after the commit.
Afterwards the run database must hold exactly what the fleet sent, no worker lost and none late.

The last round of the largest fleet begins to measure later, when a master holds all that it ever will; its
memory is the one that is judged.

Reports are spread evenly over the second; `--spread 0` sends all of them at once, just after the second, as
workers with idle cores do. Budget: 1000 workers under half a core, and no memory growing with time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from loadgate.measure.window import Count
from loadgate.store.database import RunReader
from loadgate.store.folder import find_run
from machine import machine, met
from mint import ENDPOINTS, templates
from throughput import unused_port

BUDGET_WORKERS, BUDGET_CORES = 1000, 0.5
BUDGET_GROWTH = 1.0
"""MB that the master's memory may grow by in a minute of the steady part (least squares)."""
_SETTLED, _SETTLED_SECONDS = 540, 120
"""Seconds of run time after which a master holds no more than before, and how long its memory is watched.
It remembers two minutes and a half of much. And ZeroMQ keeps two blocks of 256 places for messages in each
direction of a connection, which are the process's memory once each place was used: a worker of a thousand
beats 512 times in eight minutes and a half."""
_LATE_MS = 50.0
"""A fleet that is later than this was too slow itself: its figures say nothing of the master."""

LOCUSTFILE = """
from loadgate import Get, LoadUser, request

class Everybody(LoadUser):
    @request("emotion")
    def emotion(self):
        return Get("/emotion")

    @request("creative")
    def creative(self):
        return Get("/creative")

    @request("reasoning")
    def reasoning(self):
        return Get("/reasoning")
"""

SCENARIO = """
name       = "master"
locustfile = "locustfile.py"
host       = "http://127.0.0.1:9"

[traffic]
model = "open"
users = {users}

[[traffic.stages]]
rate = "{rate}/s"
hold = "{hold}s"

[http]
timeout = "5s"
"""


@dataclass(frozen=True)
class Sample:
    """The master at one moment: CPU seconds by thread, and memory in bytes."""

    at: float
    threads: dict[str, float]
    rss: int

    @property
    def cpu(self) -> float:
        """CPU seconds of all threads."""
        return sum(self.threads.values())


class Round(NamedTuple):
    """What one round showed; CPU in cores, times in ms, memory in MB, rates per second."""

    cores: float
    loop: float
    keeper: float
    network: float
    rss_start: float
    rss_end: float
    growth: float
    ack_p50: float
    ack_p99: float
    fleet_cores: float
    fleet_late: float
    bytes_up: float
    bytes_down: float
    messages: float
    whole: bool


def main() -> int:
    """Measure each size in turn and print the table; exit 1 when the budget is missed."""
    options = _options()
    sizes = [int(size) for size in options.workers.split(",")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8 * max(sizes) + 200)), hard))
    found: dict[int, list[Round]] = {size: [] for size in sizes}
    for number in range(options.rounds):
        for size in sizes:
            settled = number == options.rounds - 1 and size == max(sizes) and not options.unsettled
            with tempfile.TemporaryDirectory() as name:
                found[size].append(_measure(Path(name), size, _settled(options) if settled else options))
            print(f"round {number + 1}, {size} workers: {found[size][-1].cores:.3f} cores", file=sys.stderr)
    return _report(found, options)


def _settled(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options of a round whose memory says something: it begins when all has been filled."""
    longer = {"warmup": max(options.warmup, _SETTLED), "seconds": max(options.seconds, _SETTLED_SECONDS)}
    return argparse.Namespace(**vars(options) | longer)


def _measure(folder: Path, workers: int, options: argparse.Namespace) -> Round:
    """Run one master with its fleet, from joining to the end."""
    hold = options.warmup + options.seconds + 4
    rate = options.requests * len(ENDPOINTS) * workers
    (folder / "locustfile.py").write_text(LOCUSTFILE, encoding="utf-8")
    scenario = SCENARIO.format(users=workers, rate=rate, hold=hold)
    (folder / "scenario.toml").write_text(scenario, encoding="utf-8")
    cores = sorted(os.sched_getaffinity(0))
    port = unused_port()
    with (folder / "master.log").open("w+") as log:
        common: dict[str, Any] = {"cwd": folder, "env": os.environ | {"LOADGATE_RESULTS": str(folder / "r")}}
        master = subprocess.Popen(_master(folder, workers, port, cores[0]), stdout=log, stderr=log, **common)
        fleet = subprocess.Popen(
            _fleet(folder, workers, port, cores[-1], options), stdout=subprocess.PIPE, text=True, **common
        )
        try:
            samples, account = _watch(master, fleet, options)
            if master.wait(60) != 0:
                log.seek(0)
                raise SystemExit(f"the master failed:\n{log.read()[-2000:]}")
        finally:
            for process in (master, fleet):
                process.kill()
                process.wait()
    if fault := _fault_of(folder, workers, account, options):
        print(f"the run of {workers} workers is not whole: {fault}", file=sys.stderr)
    return _round(samples, account, whole=not fault)


def _master(folder: Path, workers: int, port: int, core: int) -> list[str]:
    return [
        *["taskset", "-c", str(core), sys.executable, "-m", "locust", "-f", str(folder / "locustfile.py")],
        *["--master", "--headless", "--only-summary", "--loglevel", "WARNING"],
        *["--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)],
        *["--expect-workers", str(workers), "--users", str(workers), "--spawn-rate", str(workers)],
        *["--scenario", str(folder / "scenario.toml"), "--host", "http://127.0.0.1:9"],
    ]


def _fleet(folder: Path, workers: int, port: int, core: int, options: argparse.Namespace) -> list[str]:
    command = [
        *["taskset", "-c", str(core), sys.executable, str(Path(__file__).with_name("fleet.py"))],
        *["--port", str(port), "--workers", str(workers), "--locustfile", str(folder / "locustfile.py")],
        *["--requests", str(options.requests), "--spread", str(options.spread)],
        *["--warmup", str(options.warmup), "--seconds", str(options.seconds)],
    ]
    return command + (["--beat-every", str(options.beat_every)] if options.beat_every else [])


def _watch(
    master: subprocess.Popen[bytes], fleet: subprocess.Popen[str], options: argparse.Namespace
) -> tuple[list[Sample], dict[str, Any]]:
    """Look at the master once a second of the measured part, and return that with the fleet's own account."""
    assert fleet.stdout is not None
    first = fleet.stdout.readline()
    if not first:
        raise SystemExit(f"the fleet ended before run time 0 (exit code {fleet.wait()})")
    begin = float(json.loads(first)["anchor"]) + options.warmup
    process = psutil.Process(master.pid)
    samples: list[Sample] = []
    for second in range(options.seconds + 1):
        time.sleep(max(begin + second - time.monotonic(), 0.0))
        samples.append(_sample(process))
    last = fleet.stdout.readline()
    if not last:
        raise SystemExit(f"the fleet ended without an account (exit code {fleet.wait()})")
    return samples, json.loads(last)


def _sample(process: psutil.Process) -> Sample:
    threads: dict[str, float] = {"loop": 0.0, "keeper": 0.0, "network": 0.0}
    for thread in process.threads():
        name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text().strip()
        is_network = name.startswith("ZMQ")
        role = "loop" if thread.id == process.pid else "network" if is_network else "keeper"
        threads[role] += thread.user_time + thread.system_time
    return Sample(time.monotonic(), threads, process.memory_info().rss)


def _round(samples: list[Sample], account: dict[str, Any], *, whole: bool) -> Round:
    first, last = samples[0], samples[-1]
    seconds = last.at - first.at
    times = [sample.at - first.at for sample in samples]
    growth = statistics.linear_regression(times, [sample.rss for sample in samples]).slope
    by_thread = {role: (last.threads[role] - first.threads[role]) / seconds for role in first.threads}
    return Round(
        cores=(last.cpu - first.cpu) / seconds,
        loop=by_thread["loop"],
        keeper=by_thread["keeper"],
        network=by_thread["network"],
        rss_start=first.rss / 1e6,
        rss_end=last.rss / 1e6,
        growth=growth * 60 / 1e6,
        ack_p50=account["ack_p50"] * 1000,
        ack_p99=account["ack_p99"] * 1000,
        fleet_cores=account["cpu"] / seconds,
        fleet_late=account["late_p99"] * 1000,
        bytes_up=account["sent_bytes"] / seconds,
        bytes_down=account["received_bytes"] / seconds,
        messages=(account["sent"] + account["received"]) / seconds,
        whole=whole,
    )


def _fault_of(folder: Path, workers: int, account: dict[str, Any], options: argparse.Namespace) -> str:
    """Say why a run is not whole: the database lacks what the fleet sent, or a worker was lost or late."""
    with RunReader(find_run(folder / "r", "latest").database) as reader:
        kept = reader.total().count(Count.ARRIVALS)
        kinds = {event.kind for event in reader.events()}
        begin, end = options.warmup, options.warmup + options.seconds
        rows = [row for row in reader.ledger() if begin <= row.second < end]
    bad = kinds & {"worker_lost", "worker_written_off", "gap", "unreadable_delta", "stranger"}
    lost, late = sum(row.lost for row in rows), sum(row.late for row in rows)
    reporting = min((row.reporting for row in rows), default=0)
    said = f"{kept} of {account['reported']} requests, {lost} lost and {late} late, {reporting} reporting"
    if kept == account["reported"] and not (lost or late or bad) and reporting == workers:
        return ""
    return f"{said}, {account['undelivered']} never acknowledged, {sorted(bad)}"


def _report(found: dict[int, list[Round]], options: argparse.Namespace) -> int:
    print(machine())
    spread = f"spread over {options.spread:g} s" if options.spread else "all at once"
    print(
        f"{len(ENDPOINTS)} endpoints, {options.requests} requests each a second and worker, "
        f"{_histograms(options.requests)} histograms a report, reports {spread}; "
        f"{options.seconds} s a round, {options.rounds} rounds; medians\n"
    )
    print(
        f"{'workers':>8}{'cores':>8}{'loop':>7}{'keeper':>8}{'network':>9}{'us/report':>11}"
        f"{'RSS MB':>16}{'MB/min':>8}{'ack p50 ms':>12}{'p99':>7}{'fleet':>7}{'late ms':>9}"
    )
    medians = {
        size: Round(*map(statistics.median, zip(*rounds, strict=True))) for size, rounds in found.items()
    }
    for size, row in medians.items():
        rss = f"{row.rss_start:.0f} to {row.rss_end:.0f}"
        print(
            f"{size:8}{row.cores:8.3f}{row.loop:7.3f}{row.keeper:8.3f}{row.network:9.3f}"
            f"{row.cores / size * 1e6:11.0f}{rss:>16}{row.growth:8.2f}{row.ack_p50:12.0f}{row.ack_p99:7.0f}"
            f"{row.fleet_cores:7.2f}{row.fleet_late:9.1f}"
        )
    for size, rounds in found.items():
        print(f"{size:8} each round: {'  '.join(f'{r.cores:.3f}' for r in rounds)}")
    return _judge(medians, found[max(found)][-1])


def _median_of(rounds: list[Round]) -> Round:
    """Return the medians; whole only where every round was."""
    middle = Round(*map(statistics.median, zip(*rounds, strict=True)))
    return middle._replace(whole=all(one.whole for one in rounds))


def _judge(medians: dict[int, Round], settled: Round) -> int:
    largest = max(medians)
    row = medians[largest]
    print(
        f"\nnetwork at {largest} workers, each a second: {row.bytes_up / largest / 1000:.1f} kB up, "
        f"{row.bytes_down / largest / 1000:.1f} kB down, {row.messages / largest:.1f} messages "
        "(without TCP's own and ZeroMQ's pings)"
    )
    if len(medians) > 1:
        slope, base = statistics.linear_regression(list(medians), [one.cores for one in medians.values()])
        print(
            f"by extrapolation from the slope ({slope * 1e6:.0f} us a worker and second, {base:.3f} cores "
            f"without any): one core carries {(1 - base) / slope:,.0f} workers"
        )
    if row.fleet_late > _LATE_MS:
        print(f"the fleet was {row.fleet_late:.0f} ms late itself: see that its core is idle")
    if not all(one.whole for one in medians.values()):
        print("not every run was whole (see above): what was measured is an overload, and no budget is met")
        return 1
    if largest < BUDGET_WORKERS:
        print(f"no budget for fewer than {BUDGET_WORKERS} workers")
        return 0
    flat = settled.growth <= BUDGET_GROWTH
    good = row.cores <= BUDGET_CORES * largest / BUDGET_WORKERS
    print(f"budget: {BUDGET_WORKERS} workers under {BUDGET_CORES} core: {met(good)}")
    print(
        f"budget: memory grows by at most {BUDGET_GROWTH:g} MB a minute, once settled: "
        f"{settled.growth:.2f} at {settled.rss_end:.0f} MB: {met(flat)}"
    )
    return 0 if good and flat else 1


def _histograms(requests: int) -> int:
    return sum(len(window[5]) for window in templates(requests, 1)[0].windows["windows"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", default="100,300,1000", help="fleet sizes, separated by commas")
    parser.add_argument("--requests", type=int, default=30, help="requests per endpoint, second and worker")
    parser.add_argument("--warmup", type=int, default=10, help="seconds before measuring")
    parser.add_argument("--seconds", type=int, default=30, help="length of the measured part of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each size")
    parser.add_argument("--spread", type=float, default=1.0, help="seconds over which reports are spread")
    parser.add_argument("--unsettled", action="store_true", help="leave out the long last round")
    parser.add_argument("--beat-every", type=float, help="seconds between beats, instead of Loadgate's own")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
