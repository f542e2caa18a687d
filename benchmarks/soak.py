"""Whether a soak stays as it began: memory of each process, and CPU per request.

    python benchmarks/soak.py [--minutes 30] [--judged 15] [--rate 1000] [--every 5]

A real `loadgate soak` against the reference staging service, both on this machine. Every `--every` seconds
the resident memory and the CPU seconds (user and system) of each process are read, and the service's own
count of requests. Judged are the last 15 minutes: a control room fills what it keeps (the last five minutes
for charts, SQLite's caches) until about the eleventh, and is level then. CPU per request: the CPU seconds of
each of their minutes over the requests that the service counted in it. Both are judged by how much the
medians of the first and of the last fifth of these differ: what creeps, differs there.

A CPU second is not always worth the same: a virtual machine shares its cores with others, whose work takes
clock rate and caches away. So a fixed piece of work is done at each sample; a minute's cost is divided by
what that work cost in it, over its mean. `raw` is the change without that, `spread` (greatest - smallest) /
mean of the minutes, of which the service, which nobody suspects, shows how much of it is the machine's.
Processes that use less than 1% of a core are not judged by their CPU: a request's part is in the noise.

Budget: memory of each process flat within 2 MB, CPU per request flat within 5 %. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadgate.staging.server import StagingService
from loadgate.store.folder import list_runs
from loadgate.swarm.living import living_of
from machine import machine, met

BUDGET_MB, BUDGET_SHARE = 2.0, 0.05
_LEAST_CPU = 0.01
ROOT = Path(__file__).parents[1]

SCENARIO = """
name       = "soak-benchmark"
locustfile = "{locustfile}"
sla        = "{sla}"
host       = "{host}"

[traffic]
users = 400
mix   = {{ emotion = 5, creative = 2, reasoning = 3 }}

[[traffic.stages]]
rate = "{rate}/s"
hold = "{seconds}s"

[verdict]
leave_out = ["throughput"]

[generator]
on_worker_loss = "continue"
preflight      = "warn"

[[probes]]
name  = "health"
http  = "/health"
every = "30s"

[[probes]]
name    = "process"
process = "listening"
every   = "30s"
"""


@dataclass(frozen=True)
class Sample:
    """What one process had used at a moment, and how many requests the service had counted."""

    at: float
    rss: int
    cpu: float
    requests: int
    work: float
    """CPU seconds of the fixed piece of work at that moment."""


def fixed_work() -> float:
    """Do always the same, as unlike a tight loop as a request is; return the CPU seconds that it took."""
    begin = time.thread_time()
    for number in range(400):
        body = json.dumps({"text": "x" * 40, "scores": list(range(20)), "number": number})
        json.loads(body)["scores"].sort(reverse=True)
    return time.thread_time() - begin


def change(values: list[float]) -> float:
    """Return by how much the last fifth's median is above the first fifth's."""
    fifth = max(len(values) // 5, 1)
    return statistics.median(values[-fifth:]) - statistics.median(values[:fifth])


def cpu_per_request(samples: list[Sample], length: float = 60.0) -> list[tuple[float, float]]:
    """Return, of each whole minute, the CPU seconds per request, and those of the fixed work."""
    found: list[tuple[float, float]] = []
    begin, works = samples[0], [samples[0].work]
    for sample in samples[1:]:
        works.append(sample.work)
        if sample.at - begin.at >= length:
            requests = sample.requests - begin.requests
            if requests:
                found.append(((sample.cpu - begin.cpu) / requests, statistics.mean(works)))
            begin, works = sample, []
    return found


def corrected(costs: list[tuple[float, float]]) -> list[float]:
    """Return the CPU seconds per request as if the fixed work had always cost its mean."""
    usual = statistics.mean(work for _, work in costs) if costs else 1.0
    return [cost * usual / work for cost, work in costs]


def spread(values: list[float]) -> float:
    """Return (greatest - smallest) / mean; 0 for fewer than two values."""
    return (max(values) - min(values)) / statistics.mean(values) if len(values) > 1 else 0.0


def measure(minutes: float, rate: int, every: float) -> dict[str, list[Sample]]:
    """Run the soak and return the samples of each process; RuntimeError when it did not begin or not end."""
    with StagingService() as service, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = folder / "soak.toml"
        scenario.write_text(
            SCENARIO.format(
                locustfile=ROOT / "locustfiles" / "staging.py",
                sla=ROOT / "scenarios" / "sla" / "staging.toml",
                host=service.url,
                rate=rate,
                seconds=round(minutes * 60),
            ),
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "loadgate", "soak", str(scenario)]
        environment = os.environ | {"LOADGATE_RESULTS": str(folder / "results")}
        with (folder / "said.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            samples = _sampled(process, service, folder, every)
        finally:
            for run in list_runs(folder / "results"):
                living_of(run).kill()
            process.kill()
            process.wait()
        if not samples:
            raise RuntimeError((folder / "said.log").read_text("utf-8", "replace"))
        return samples


def _sampled(
    process: subprocess.Popen[bytes], service: StagingService, folder: Path, every: float
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    processes = {"control room": psutil.Process(process.pid), "service": psutil.Process(service.pid)}
    begun = False
    while process.poll() is None:
        for run in list_runs(folder / "results"):
            found = {part: one.process for part, one in living_of(run).processes.items()}
            # The load has ended where its processes have; the verdict that follows is no part of it.
            if begun and not found:
                process.wait()
                return samples
            processes |= found
        begun = begun or service.counts()["received"] > 0
        requests, work = service.counts()["received"], fixed_work()
        for name, one in processes.items():
            try:
                times = one.cpu_times()
                cpu = times.user + times.system
                sample = Sample(time.monotonic(), one.memory_info().rss, cpu, requests, work)
            except psutil.Error:
                continue
            if begun:
                samples.setdefault(name, []).append(sample)
        time.sleep(every)
    return samples


def main() -> None:
    """Measure, print both figures of each process, and say whether the budget is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--judged", type=float, default=15.0, help="minutes at the end that are judged")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--every", type=float, default=5.0)
    options = parser.parse_args()
    print(machine())
    print(f"{options.minutes:g} minutes at {options.rate}/s, the last {options.judged:g} judged")
    print(f"{'process':14} {'RSS MB':>8} {'growth MB':>10} {'CPU cores':>10}", end="")
    print(f" {'us/request':>11} {'change':>8} {'raw':>8} {'spread':>8}")
    all_met = True
    for name, samples in measure(options.minutes, options.rate, options.every).items():
        judged = [one for one in samples if one.at >= samples[-1].at - 60 * options.judged]
        grown = change([sample.rss / 1e6 for sample in judged])
        cores = (judged[-1].cpu - judged[0].cpu) / max(judged[-1].at - judged[0].at, 1e-9)
        minutes = cpu_per_request(judged)
        raw, costs = [cost for cost, _ in minutes], corrected(minutes)
        mean = statistics.mean(costs) if costs else math.nan
        changed, ours = change(costs) / mean if costs else math.nan, name != "service"
        print(
            f"{name:14} {judged[-1].rss / 1e6:8.1f} {grown:+10.2f} {cores:10.3f} {mean * 1e6:11.1f}", end=""
        )
        print(
            f" {changed:+8.1%} {change(raw) / mean if raw else math.nan:+8.1%} {spread(costs):8.1%}", end=""
        )
        print("" if ours else "  (not judged)")
        if ours:
            all_met &= abs(grown) <= BUDGET_MB and (cores < _LEAST_CPU or abs(changed) <= BUDGET_SHARE)
    print(f"budget: {BUDGET_MB:g} MB and {BUDGET_SHARE:.0%}: {met(all_met)}")


if __name__ == "__main__":
    main()
