"""A soak whose processes are killed at random moments and taken up again, under wall clocks that jump.

The oracle is the reference service's own books. What is killed is found as anybody would find it: by the
run's folder in the environment of its processes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import HEAD, start_command
from loadgate.measure.window import Window
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs
from loadgate.swarm.living import living_of

ROOT = Path(__file__).parents[2]
SHIFTED_CLOCK = ROOT / "tests" / "hosts" / "shifted_clock"
RATE = 100
PARTS = ("control room", "master", "worker-1")
_BEGUN_WITHIN = 60.0
_BACK_WITHIN = 60.0
_LOOK_EVERY = 0.05

_STAGES = """
[[traffic.stages]]
rate = "{rate}/s"
hold = "{seconds}s"

[http]
timeout = "5s"

[generator]
on_worker_loss = "continue"
preflight      = "off"

[soak]
restarts     = 1000
backoff      = "100ms"
backoff_most = "500ms"
"""

_SLA = """
[[objective]]
metric = "response_time"
target = "< 5s"
every  = "30s"
"""


@dataclass
class Outcome:
    """A run that is over: its folder, what the service counted, what was killed, and the verdict."""

    run: RunFolder
    received: int
    answered: int
    killed: list[str] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)
    total: Window = field(default_factory=lambda: Window(0, 0, "*", "*"))
    unoffered: int = 0
    scheduled: int = 0
    kinds: list[str] = field(default_factory=list)
    lasted: float = 0.0
    said: str = ""

    @property
    def sent(self) -> int:
        """Count the requests that the run is sure to have sent."""
        return sum(self.total.count(end) for end in ("ok", "failed", "timeout", "unfinished", "retries"))


class Drill:
    """Carry out one soak under kills; `seed` decides what dies when, every `pause` (least, most) seconds."""

    def __init__(
        self, folder: Path, *, kills: int, seconds: int, pause: tuple[float, float], seed: int
    ) -> None:
        self._folder, self._seconds, self._pause = folder, seconds, pause
        draw = random.Random(seed)
        # Each part as often as the others, in a random order.
        order = [PARTS[number % len(PARTS)] for number in range(kills)]
        draw.shuffle(order)
        self._plan = [(draw.uniform(*pause), part) for part in order]
        self._log = folder / "said.log"
        self._clock = 0.0

    def carry_out(self) -> Outcome:
        """Run it to its end and return what came of it."""
        with StagingService() as service:
            write_scenario(self._folder, service.url, self._seconds)
            process = self._loadgate("soak", "kills.toml")
            run: RunFolder | None = None
            try:
                run = self._begun()
                for pause, part in self._plan:
                    time.sleep(pause)
                    process = self._kill(part, run, process)
                process.wait(self._seconds + 60)
            finally:
                process.kill()
                process.wait()
                if run is not None:
                    living_of(run).kill()
            return self._outcome(run, service)

    def _kill(self, part: str, run: RunFolder, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Kill a part with SIGKILL; the control room is resumed, the others are its affair."""
        assert process.poll() is None, f"the control room ended by itself\n{self._said()}"
        if part == "control room":
            process.kill()
            process.wait()
            return self._loadgate("resume", run.id, clock=self._next_clock())
        deadline = time.monotonic() + _BACK_WITHIN
        while (found := living_of(run).processes.get(part)) is None:
            assert time.monotonic() < deadline, f"{part} was not started again\n{self._said()}"
            time.sleep(_LOOK_EVERY)
        found.process.kill()
        return process

    def _outcome(self, run: RunFolder, service: StagingService) -> Outcome:
        counts = service.counts()
        routes = [counts["routes"][name] for name in ("emotion", "creative", "reasoning")]
        with RunReader(run.database) as reader:
            return Outcome(
                run,
                received=sum(route["received"] for route in routes),
                answered=sum(route["statuses"].get("200", 0) for route in routes),
                killed=[part for _, part in self._plan],
                verdict=json.loads(run.verdict_path().read_bytes()),
                total=reader.total(),
                unoffered=sum(row.unoffered for row in reader.ledger()),
                scheduled=self._seconds * RATE,
                lasted=reader.value("ended_at_run_time", 0.0),
                kinds=[event.kind for event in reader.events()],
                said=self._said(),
            )

    def _begun(self) -> RunFolder:
        deadline = time.monotonic() + _BEGUN_WITHIN
        while time.monotonic() < deadline:
            for run in list_runs(self._folder / "results"):
                with RunReader(run.database) as reader:
                    if reader.total(series=()).count("ok"):
                        return run
            time.sleep(_LOOK_EVERY)
        raise AssertionError(f"the load did not begin\n{self._said()}")

    def _next_clock(self) -> float:
        """Set the wall clock forward and back in turns, by a minute and a half from the true one."""
        self._clock = -90.0 if self._clock > 0 else 90.0
        return self._clock

    def _loadgate(self, *arguments: str, clock: float = 0.0) -> subprocess.Popen[bytes]:
        shift = self._folder / "wall.clock"
        shift.write_text(str(clock), encoding="ascii")
        path = os.pathsep.join(filter(None, [str(SHIFTED_CLOCK), os.environ.get("PYTHONPATH")]))
        environment = {"PYTHONPATH": path, "LOADGATE_TEST_WALL_SHIFT_FILE": str(shift)}
        with self._log.open("ab") as log:
            return start_command(
                *arguments,
                cwd=self._folder,
                results=self._folder / "results",
                environment=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


def write_scenario(folder: Path, host: str, seconds: int) -> None:
    """Write `kills.toml` and its SLA table: a constant load for so many seconds."""
    staging = ROOT / "locustfiles" / "staging.py"
    text = f"{HEAD}{_STAGES}".format(name="kills", host=host, locustfile=staging, rate=RATE, seconds=seconds)
    (folder / "kills.toml").write_text(text, encoding="utf-8")
    (folder / "sla.toml").write_text(_SLA, encoding="utf-8")


def assert_the_books_agree(outcome: Outcome) -> None:
    """Hold a run against the service's count, and against its schedule.

    Recorded + offered by nobody = the schedule, every arrival has one end, and the service received what was
    sent, and of what the run names as lost at most 2 s of the rate for each kill.
    """
    total, told = outcome.total, outcome.said
    assert outcome.verdict["ended"] == "planned", told
    assert total.imbalance == 0, (total.counts, told)
    assert total.count("arrivals") + outcome.unoffered == outcome.scheduled, (total.counts, outcome.unoffered)
    beyond = outcome.received - outcome.sent
    assert 0 <= beyond <= total.count("lost"), (outcome.received, total.counts, told)
    assert beyond <= 2 * RATE * len(outcome.killed), (beyond, outcome.killed, told)
    assert total.count("ok") <= outcome.answered
    assert outcome.verdict["fleet"]["lost_requests"] == total.count("lost")
