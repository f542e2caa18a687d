"""A soak's week in minutes: windows of a simulated clock through the real writer, compaction and verdict.

    python benchmarks/endurance.py [--days 7] [--endpoints 3] [--rate 1000] [--scale 1] [--dir DIR]

Requests are recorded once by the real recorder, some seconds of each hour of a day, with latencies that
rise and fall over the day. Each simulated second then sends one of these as a delta of its own (the same
histograms at another second) through `RunWriter.commit`, some seconds to a commit as a keeper that catches
up, and old rows are merged after it as the keeper does. In the middle of day 3 every answer fails for 30
minutes.

It prints, and exits 1 when a bound is missed: bytes on the disk (run.db and its log), resident memory of
the feeding process and its growth after the first simulated hour, and, in a process of its own, time and
memory of the verdict, which must find the outage. `--scale N` makes all of it N times shorter: days,
horizons, outage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.packed import PackedWindows
from loadgate.measure.recorder import Recorder
from loadgate.measure.records import Flag
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.blocks import AS_PLANNED, Horizon
from loadgate.store.database import Event, LedgerRow, open_writer
from loadgate.store.folder import RunFolder

DAY: Final = 86_400
OUTAGE: Final = 1800
RAMP: Final = 30
AT_ONCE: Final = 10
"""Simulated seconds to a commit."""
POOL: Final = 12
"""Seconds that are recorded for each hour of the day."""
MOST_BYTES: Final = 400e6
MOST_RSS: Final = 200e6
MOST_GROWTH: Final = 8e6
"""Bytes that resident memory may grow by from the end of the first simulated hour on."""
MOST_JUDGING: Final = 10.0


@dataclass
class Shape:
    """What is simulated: days, endpoints, requests a second over all, and how much shorter it all is."""

    days: float = 7.0
    endpoints: int = 3
    rate: int = 1000
    scale: int = 1
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [f"endpoint-{n}" for n in range(self.endpoints)]

    @property
    def day(self) -> int:
        """Return the simulated seconds of a day."""
        return DAY // self.scale

    @property
    def seconds(self) -> int:
        """Return the steady seconds."""
        return int(self.days * self.day)

    @property
    def outage(self) -> range:
        """Return the run seconds in which nothing answers: in day 3, or the middle of a shorter run."""
        start = RAMP + (int(2.5 * self.day) if self.days >= 3 else self.seconds // 2)
        return range(start, start + max(OUTAGE // self.scale, 90))

    @property
    def horizon(self) -> Horizon:
        """Return how long rows stay."""
        return Horizon(max(60, AS_PLANNED.full // self.scale), max(600, AS_PLANNED.middle // self.scale))

    def plan(self) -> Plan:
        """Return the plan of the run: an SLA table of two rows an endpoint, and two of all together."""
        scenario = Scenario.model_validate(
            {
                "name": "soak",
                "locustfile": "staging.py",
                "host": "http://127.0.0.1:3000",
                "traffic": {
                    "users": 400,
                    "arrivals": "constant",
                    "stages": [{"rate": float(self.rate), "ramp": float(RAMP), "hold": float(self.seconds)}],
                },
                "generator": {"control": False},
            }
        )
        rows: list[dict[str, Any]] = [{"metric": "error_rate", "target": "< 1%", "alert": "> 5%"}]
        rows.append(
            {"metric": "throughput", "target": f">= {0.5 * self.rate}/s", "alert": f"< {0.01 * self.rate}/s"}
        )
        for name in self.names:
            rows.append(
                {
                    "metric": "response_time",
                    "endpoint": name,
                    "statistic": "p99",
                    "target": "< 500ms",
                    "alert": "> 1s",
                }
            )
        objectives = [Objective.model_validate({**row, "every": 30.0}) for row in rows]
        return Plan(scenario=scenario, objectives=tuple(objectives))


class Feed:
    """Seconds of load, recorded once by the real recorder and sent again and again."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._chance = np.random.default_rng(1)
        self._counted = 0
        pool = max(2, POOL // shape.scale)
        self._hours = [[self._second(hour, ok=True) for _ in range(pool)] for hour in range(24)]
        self._down = [self._second(0, ok=False) for _ in range(4)]

    def _second(self, hour: int, *, ok: bool) -> PackedWindows:
        recorder = Recorder(clock=lambda: 101.0)
        thresholds = {None: [499_999, 500_000, 999_999, 1_000_000]}
        recorder.start(
            0.0, lambda times: np.full(len(times), 2, np.int8), ("warmup", "ramp", "steady"), thresholds
        )
        slower = 1 + 0.5 * np.sin(2 * np.pi * hour / 24)
        share = self._shape.rate // self._shape.endpoints
        for place, name in enumerate(self._shape.names):
            channel = recorder.channel(name)
            took = self._chance.lognormal(np.log(0.02 * slower * (1 + place % 3)), 0.5, share)
            for at, seconds in zip(np.sort(self._chance.random(share)), took, strict=True):
                due = 100.999 - seconds if at + seconds >= 1 else 100 + at
                lag, kind = self._chance.exponential(2e-4), int(self._chance.choice((Flag.HIT, Flag.MISS)))
                flags = (kind | Flag.REPEAT) if ok else 1
                channel.due(100.0 + at)
                channel.done(
                    (due, 0.0, due + lag, due + lag, due + lag + seconds * (0.9 if ok else 0.1), flags, 200)
                )
        recorder.flush()
        windows = [one for one in recorder.drain(None) if one.second == 100]
        for one in windows:  # what fell out of the second is of no interest, but its books must balance
            one.counts["arrivals"] = sum(one.counts.get(name, 0) for name in ("ok", "failed"))
        return PackedWindows.of(windows)

    def delta(self, run: str, second: int) -> Delta:
        """Return what one worker sends of a steady second; to be asked for each second once, in order."""
        hour = second * 24 // self._shape.day % 24
        pool = self._down if second in self._shape.outage else self._hours[hour]
        known = pool[int(self._chance.integers(len(pool)))]
        heads = [head._replace(second=second) for head in known.heads]
        packed = PackedWindows(heads, known.lengths, known.indices, known.counts, known.exact)
        # A request that fell out of its second when it was recorded is in no book at all.
        self._counted += sum(head.counts["arrivals"] for head in heads)
        total = self._counted
        row = FleetRow(
            second, "worker-1", total, total, total, 20, 400, 0.3, 60_000_000, 300.0, 900.0, 2000.0,
            cpu_allowed=1.0, p99_us=50_000.0, fds=420, fds_limit=65_536, clock_offset_us=3.0,
        )  # fmt: skip
        return Delta(run, "worker-1", 1, second - RAMP + 1, packed, [], [row])


def rss() -> int:
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def feed(shape: Shape, run: RunFolder) -> dict[str, Any]:
    """Write the run, and return how that went."""
    source, memory = Feed(shape), []
    largest, hour = 0, max(shape.day // 24, 1)
    begun = time.perf_counter()
    with open_writer(run.database) as writer:
        writer.commit(
            run_values={
                "id": run.id,
                "scenario": "soak",
                "plan": orjson.loads(shape.plan().to_json()),
                "anchor": {"monotonic": 0.0, "wall": 1_795_379_712.0, "boot_id": "simulated"},
                "mode": "distributed",
                "model": "open",
                "workers_expected": 1,
            }
        )
        for first in range(0, RAMP + shape.seconds, AT_ONCE):
            seconds = range(first, min(first + AT_ONCE, RAMP + shape.seconds))
            ledger = [LedgerRow(second, 1, 1, 0, 0, 0) for second in seconds]
            writer.commit([source.delta(run.id, one) for one in seconds if one >= RAMP], ledger=ledger)
            # A keeper commits at least once a second, and merges a step after each commit.
            for _ in seconds:
                if not writer.compact(writer.latest, shape.horizon):
                    break
            if first // hour != (first + AT_ONCE) // hour:
                memory.append(rss())
                largest = max(largest, on_disk(run))
        end = float(RAMP + shape.seconds)
        ends = {"ended": "planned", "ended_at_run_time": end + 1, "flushed": True}
        writer.commit(events=[Event(end, "draining", {})], run_values=ends)
    return {
        "seconds": shape.seconds,
        "wall": time.perf_counter() - begun,
        "bytes": max(largest, on_disk(run)),
        "rss": max(memory),
        "growth": max(memory[1:]) - memory[1] if len(memory) > 2 else 0,
    }


def on_disk(run: RunFolder) -> int:
    """Return the bytes that a run's folder takes."""
    return sum(one.stat().st_size for one in run.path.iterdir() if one.is_file())


def judged(run: RunFolder) -> dict[str, Any]:
    """Judge the run in a process of its own, and return what it said and took."""
    code = (
        "import json, resource, sys, time\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from loadgate.judge.gather import gather\n"
        "from loadgate.judge.verdict import judge\n"
        "from loadgate.store.folder import RunFolder\n"
        "begun = time.perf_counter()\n"
        "verdict = judge(gather(RunFolder(Path(sys.argv[1]))), now=datetime.now(UTC)).to_dict()\n"
        "took = time.perf_counter() - begun\n"
        "rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(json.dumps({'took': took, 'rss': rss, 'verdict': verdict}, default=str))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], check=True, capture_output=True, text=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def faults(shape: Shape, fed: dict[str, Any], verdict: dict[str, Any]) -> Iterator[str]:
    """Say which bounds were missed; that of the disk is for 3 endpoints and a whole week."""
    if shape.endpoints <= 3 and fed["bytes"] > MOST_BYTES:
        yield f"run.db takes {fed['bytes'] / 1e6:.0f} MB"
    if fed["rss"] > MOST_RSS:
        yield f"the writer takes {fed['rss'] / 1e6:.0f} MB of memory"
    if fed["growth"] > MOST_GROWTH:
        yield f"the writer grew by {fed['growth'] / 1e6:.1f} MB after the first hour"
    if verdict["took"] > MOST_JUDGING:
        yield f"the verdict takes {verdict['took']:.1f} s"
    if verdict["rss"] > MOST_RSS:
        yield f"the verdict takes {verdict['rss'] / 1e6:.0f} MB of memory"
    yield from _outage_faults(shape, verdict["verdict"])


def _outage_faults(shape: Shape, verdict: dict[str, Any]) -> Iterator[str]:
    rows = {row["name"]: row for row in verdict["objectives"]}
    errors, start, end = rows["error_rate"], shape.outage.start, shape.outage.stop
    if verdict["void"]:
        yield f"the run is void: {verdict['reasons']}"
    worst = errors["worst_window"]
    if errors["verdict"] != "FAIL" or not start - 30 <= worst["start"] <= worst["end"] <= end + 30:
        yield f"the outage at {start}..{end} was not found: {errors['reason']}; {worst}"
    if not (len(shape.outage) - 60 <= errors["longest_breach"] <= len(shape.outage) + 60):
        yield f"the outage lasted {len(shape.outage)} s, and the verdict says {errors['longest_breach']}"
    slow = [row for name, row in rows.items() if "response" in name and not (row["value"] or 501) <= 500]
    if shape.days >= 7 and slow:
        yield "a p99 of the week shows the outage, which is under 1 % of it"


def main() -> int:
    """Run it as the arguments say, and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--endpoints", type=int, default=3)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--dir", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    shape = Shape(given.days, given.endpoints, given.rate, given.scale)
    with tempfile.TemporaryDirectory(prefix="endurance-") as scratch:
        run = RunFolder((given.dir or Path(scratch)) / "soak-simulated")
        run.path.mkdir(parents=True)
        fed = feed(shape, run)
        verdict = judged(run)
    missed = list(faults(shape, fed, verdict))
    if given.json:
        print(json.dumps({"fed": fed, "verdict": verdict, "missed": missed}))
        return 1 if missed else 0
    print(
        f"{fed['seconds']} s of {shape.endpoints} endpoints in {fed['wall']:.0f} s: "
        f"{fed['bytes'] / 1e6:.0f} MB on the disk, {fed['rss'] / 1e6:.0f} MB resident, "
        f"{fed['growth'] / 1e6:+.1f} MB after the first hour; "
        f"verdict {verdict['verdict']['verdict']} in {verdict['took']:.1f} s "
        f"with {verdict['rss'] / 1e6:.0f} MB"
    )
    print("\n".join(f"MISSED: {one}" for one in missed) or "all bounds hold")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
