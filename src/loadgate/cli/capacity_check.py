"""The pre-flight: whether the workers can carry the plan, measured on this machine before any load.

A generator that is planned close to its limit measures itself. So a plan whose highest rate takes more than
70 % of what its workers carry is refused, with the figures and the number of workers that it takes. What a
worker carries is an upper bound (see `swarm/capacity.py`): passing this check proves nothing, and the run's
own witnesses still void it when the generator was short. Failing it is certain enough: a figure from the
cache never refuses, nor does a single measurement.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import orjson

from loadgate.errors import LoadgateError, UsageError
from loadgate.plan.plan import Plan
from loadgate.plan.units import format_number, format_share
from loadgate.swarm.capacity import Capacity, measure_capacity
from loadgate.swarm.fingerprint import fingerprint, sha256_of

SHARE: Final = 0.70
"""The share of its capacity that a worker may be planned to use: past it, arrivals queue for their turn."""
FLOOR: Final = 200.0
"""Arrivals per second and worker up to which nothing is measured: 3.5 ms of CPU are then left for each."""
KEPT_FOR: Final = 86_400.0
"""Seconds for which a measurement stands."""
CACHE: Final = ".capacity.json"
"""The file in the results root that keeps the measurements."""
_MOST_KEPT: Final = 50

Measure = Callable[[Plan], Capacity]
Say = Callable[[str], None]


def check_capacity(
    plan: Plan,
    root: Path,
    now: float,
    *,
    distributed: bool = False,
    measure: Measure = measure_capacity,
    say: Say = lambda text: click.echo(text, err=True),
) -> None:
    """Refuse a plan that its workers cannot carry with room to spare; UsageError says how many it takes.

    `root` is the results root, where a measurement is kept for a day; `now` is wall-clock seconds. What
    cannot be measured is said, and stops nothing. Nothing is measured for workers on other hosts, in the
    closed model (which plans no rate), or up to `FLOOR`.
    """
    generator = plan.scenario.generator
    rate = peak_rate(plan) / generator.workers
    if generator.preflight == "off" or rate <= FLOOR:
        return
    if distributed:
        say("pre-flight: skipped, the workers are on other hosts; the run tells whether they fall short")
        return
    try:
        capacity = _capacity(plan, root, now, rate, measure, say)
    except LoadgateError as error:
        detail = f" ({error.hint.splitlines()[-1]})" if error.hint else ""
        say(f"pre-flight: what a worker carries could not be measured: {error.message}{detail}")
        return
    if carries(capacity, plan, rate):
        return
    message, hint = refusal(capacity, peak_rate(plan), generator.workers)
    if generator.preflight == "warn":
        say(f"pre-flight: {message}: {hint}")
        return
    raise UsageError(message, hint=f"{hint}; to go on anyway: --set 'generator.preflight=\"warn\"'")


def peak_rate(plan: Plan) -> float:
    """Return the highest planned arrivals per second, over all workers; 0.0 in the closed model.

    Of a trace it is that of its busiest second.
    """
    if plan.scenario.traffic.model != "open":
        return 0.0
    timeline = plan.timeline
    if timeline.trace is not None:
        seconds = np.floor(timeline.trace.times).astype(np.int64)
        return float(np.unique(seconds, return_counts=True)[1].max(initial=0))
    return max((max(part.level_start, part.level_end) for part in timeline.segments), default=0.0)


def carries(capacity: Capacity, plan: Plan, rate: float) -> bool:
    """Tell whether a worker carries `rate` arrivals per second at no more than `SHARE` of its capacity."""
    return rate <= SHARE * capacity.of_worker(plan.scenario.generator.workers)


def refusal(capacity: Capacity, peak: float, workers: int) -> tuple[str, str]:
    """Say what is asked of each worker and what it carries, and how many workers it takes."""
    each, carried = peak / workers, capacity.of_worker(workers)
    message = (
        f"the plan asks each of its workers for up to {_rate(each)}, and one carries about {_rate(carried)} "
        f"on this machine with this traffic: more than {format_share(SHARE)} of it "
        f"({_rate(SHARE * carried)}) makes the generator late"
    )
    needed = capacity.workers_for(peak, SHARE)
    if needed is not None:
        return message, f"take {needed} workers (--workers {needed}), or lower the rate"
    elsewhere = max(math.ceil(peak / (SHARE * capacity.rate) - 1e-9), workers)
    cores = format_number(round(capacity.cores, 1))
    return message, (
        f"it takes {elsewhere} workers of a core each, and this machine has {cores} to use: "
        "start workers on other hosts (--distributed), or lower the rate"
    )


def _rate(per_second: float) -> str:
    return f"{format_number(float(f'{per_second:.3g}'))} requests/s"


def _capacity(plan: Plan, root: Path, now: float, rate: float, measure: Measure, say: Say) -> Capacity:
    """Return what a worker carries: as kept where that is enough, else the better of two measurements."""
    key = _key(plan)
    kept = _kept(root, key, plan, now)
    if kept is not None and carries(kept, plan, rate):
        return kept
    say("pre-flight: measuring what a worker carries on this machine (about 3s, once a day)")
    found = measure(plan)
    if not carries(found, plan, rate):
        again = measure(plan)
        found = max(found, again, key=lambda capacity: capacity.rate)
    _keep(root, key, found, now)
    return found


def _key(plan: Plan) -> str:
    """Name what a measurement depends on: machine, Python, locustfile and mix; files are looked at apart."""
    scenario = plan.scenario
    machine = [platform.node(), platform.machine(), len(os.sched_getaffinity(0)), platform.python_version()]
    mix = sorted(scenario.traffic.mix.items())
    return orjson.dumps([*machine, str(scenario.locustfile), mix]).decode()


def _kept(root: Path, key: str, plan: Plan, now: float) -> Capacity | None:
    """Return a measurement that was kept, if it is of today and of the very files and code that lie there."""
    try:
        entry = _read(root)[key]
        capacity = Capacity(float(entry["rate"]), float(entry["cores"]), dict(entry["files"]), entry["code"])
        locustfile = plan.scenario.locustfile
        same = (
            all(sha256_of(locustfile.parent / name) == sha for name, sha in capacity.files.items())
            and capacity.code == fingerprint([locustfile], modules=()).code
        )
        fresh = 0 <= now - float(entry["at"]) < KEPT_FOR
        return capacity if same and fresh and capacity.rate > 0 and capacity.cores > 0 else None
    except (OSError, KeyError, TypeError, ValueError, AttributeError, UsageError):
        return None  # there is none, or it is damaged: measured again


def _keep(root: Path, key: str, capacity: Capacity, now: float) -> None:
    """Keep a measurement. A root that cannot be written is told of by what needs it, right afterwards."""
    with suppress(OSError):
        try:
            entries = _read(root)
        except (OSError, ValueError):
            entries = {}
        entries.pop(key, None)
        entries[key] = {
            "rate": capacity.rate,
            "cores": capacity.cores,
            "files": capacity.files,
            "code": capacity.code,
            "at": now,
        }
        newest = dict(list(entries.items())[-_MOST_KEPT:])
        root.mkdir(parents=True, exist_ok=True)
        draft = root / f"{CACHE}-{os.getpid()}"
        draft.write_bytes(orjson.dumps(newest))
        draft.replace(root / CACHE)


def _read(root: Path) -> dict[str, Any]:
    """Read the kept measurements; OSError without the file, ValueError when it is damaged."""
    found = orjson.loads((root / CACHE).read_bytes())
    if not isinstance(found, dict):
        raise ValueError("not a table of measurements")
    return found
