"""Ask what one worker can carry on this machine, before a run, with the run's own traffic.

The measurement imports the locustfile, which imports Locust and patches the process; the control room asks a
process of its own (`loadgate.swarm.calibrate`), and must not import Locust or gevent here.
"""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Final

import orjson

from loadgate.errors import GeneratorError
from loadgate.plan.plan import Plan
from loadgate.swarm.inspect import generator_environment

MARK: Final = "loadgate-calibrate:"
"""What the answer's line begins with; a locustfile may print lines of its own."""
WITHIN: Final = 60.0
"""Seconds that a measurement may take, the import of the locustfile included."""


@dataclass(frozen=True)
class Capacity:
    """What a worker carries: `rate` arrivals for each second of its CPU, on a machine with `cores` to use.

    It is an upper bound: the null server answers at once, in few bytes and in the clear. `files` are the
    SHA-256 of what made the traffic, by path relative to the locustfile's folder; `code` is Loadgate's own.
    """

    rate: float
    cores: float
    files: dict[str, str] = field(default_factory=dict)
    code: str = ""

    def of_worker(self, workers: int) -> float:
        """Return the arrivals per second that each of some workers on this machine carries at most."""
        return self.rate * min(1.0, self.cores / workers)

    def workers_for(self, rate: float, share: float) -> int | None:
        """Return how many workers carry a rate at `share` of their capacity; None where the cores do not."""
        workers = max(1, math.ceil(rate / (share * self.rate) - 1e-9))
        return workers if workers <= self.cores else None


def measure_capacity(plan: Plan) -> Capacity:
    """Measure the capacity of a worker for a plan's locustfile and mix; it takes about three seconds.

    GeneratorError with the reason when it cannot be told.
    """
    command = [sys.executable, "-m", "loadgate.swarm.calibrate", str(plan.scenario.locustfile)]
    try:
        done = subprocess.run(
            command,
            input=plan.to_json(),
            capture_output=True,
            timeout=WITHIN,
            check=False,
            env=generator_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GeneratorError(f"the measurement did not come to its end: {error}") from error
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    line = next((line for line in lines if line.startswith(MARK)), None)
    if line is None:
        tail = "\n".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-8:])
        raise GeneratorError(f"the measurement ended with exit code {done.returncode}", hint=tail)
    found = orjson.loads(line.removeprefix(MARK))
    if found["error"]:
        raise GeneratorError(found["error"])
    return Capacity(found["rate"], found["cores"], found["files"], found["code"])
