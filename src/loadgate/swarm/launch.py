"""Start the generator as processes of stock Locust: one master that aggregates, workers that load.

The control room uses this module, so it must not import Locust or gevent.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from loadgate.errors import GeneratorError
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.store.log_files import last_lines
from loadgate.swarm.inspect import generator_environment
from loadgate.swarm.secret import SECRET, SECRET_FILE

DECIDED = signal.SIGUSR1
"""The signal that tells a master that its run is decided."""
ABORTED = signal.SIGUSR2
"""The signal that tells a master that an alert ends its run."""
WEB = "LOADGATE_WEB"
"""The variable that tells a master to serve a web UI, and where."""
_WORKERS_WITHIN = 60
"""Seconds in which every worker must have joined the master."""
_TAIL_LINES = 12


@dataclass(frozen=True)
class Listen:
    """Where a master waits for workers of other hosts, and for how many seconds."""

    host: str
    port: int
    within: float


@dataclass(frozen=True)
class Web:
    """Where the master serves Locust's own web UI, and where the control room tells it what is so.

    `told` is the control room's address on loopback, `token` what it wants to be asked with.
    """

    host: str
    port: int
    told: str
    token: str
    login: bool = False

    def to_text(self) -> str:
        """Return it as the variable has it that the master is started with."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read it back."""
        return cls(**json.loads(text))


@dataclass
class Generator:
    """Hold the processes of one run. They run in sessions of their own, out of the terminal's Ctrl-C."""

    folder: RunFolder
    master: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """All processes, the master first."""
        return [self.master, *self.workers]

    def ended(self) -> bool:
        """Tell whether the master has ended."""
        return self.master.poll() is not None

    def dead_workers(self) -> list[int]:
        """Return the numbers (from 1) of the workers that have ended."""
        return [n for n, worker in enumerate(self.workers, 1) if worker.poll() is not None]

    def interrupt(self) -> None:
        """Ask the master to end the run gracefully."""
        if self.master.poll() is None:
            self.master.send_signal(signal.SIGINT)

    def decide(self) -> None:
        """Tell the master that every objective is decided, so that the run needs no more load."""
        if self.master.poll() is None:
            self.master.send_signal(DECIDED)

    def abort(self) -> None:
        """Tell the master that an alert ends the run; what is under way may finish."""
        if self.master.poll() is None:
            self.master.send_signal(ABORTED)

    def wait(self, timeout: float) -> bool:
        """Wait for every process to end; return whether all did."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                return False
        return True

    def kill(self) -> None:
        """End every process at once."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()

    def tail(self) -> str:
        """Return the last lines that the master and the workers logged."""
        texts = []
        for log in sorted(self.folder.logs.glob("*.log")):
            lines = last_lines(log, _TAIL_LINES)
            if lines:
                texts.append(f"{log}:\n" + "\n".join(f"  {line}" for line in lines))
        return "\n".join(texts)


def launch(
    plan: Plan, folder: RunFolder, *, workers: int, listen: Listen | None = None, web: Web | None = None
) -> Generator:
    """Start the master and its workers for a run folder that holds the plan's snapshot.

    With `listen` only the master is started, and waits there for as many workers of other hosts. With `web`
    the master serves Locust's web UI.
    """
    scenario = plan.scenario
    host, port = (listen.host, listen.port) if listen is not None else ("127.0.0.1", _free_port())
    within = listen.within if listen is not None else _WORKERS_WITHIN
    folder.logs.mkdir(exist_ok=True)
    environment = generator_environment() | {
        "LOADGATE_RUN": str(folder.path.resolve()),
        "LOADGATE_PLAN": str(folder.plan.resolve()),
        "LOADGATE_CONTROL_PID": str(os.getpid()),
    }
    if listen is None and SECRET not in environment and SECRET_FILE not in environment:
        # Of this run alone: no process that another run left behind can join it.
        environment[SECRET] = secrets.token_hex(32)
    locust = [sys.executable, "-m", "locust", "-f", str(scenario.locustfile), "--loglevel", "INFO"]
    users = str(max(scenario.traffic.users, workers))
    master = [
        *[*locust, "--master", "--headless", "--only-summary", "--host", scenario.host],
        *["--master-bind-host", host, "--master-bind-port", str(port)],
        *["--expect-workers", str(workers), "--expect-workers-max-wait", str(math.ceil(within))],
        *["--users", users, "--spawn-rate", users],
    ]
    worker = [*locust, "--worker", "--master-host", host, "--master-port", str(port)]
    shown = environment | ({WEB: web.to_text()} if web is not None else {})
    master += ["--web-login"] if web is not None and web.login else []
    generator = Generator(folder, _start(master, folder, folder.logs / "master.log", shown))
    try:
        for number in range(1, (workers if listen is None else 0) + 1):
            log = folder.logs / f"worker-{number}.log"
            generator.workers.append(_start(worker, folder, log, environment))
    except GeneratorError:
        generator.kill()
        raise
    return generator


def _start(
    command: list[str], folder: RunFolder, log: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    try:
        with log.open("ab") as file:
            # Run in the run's own folder: Locust reads locust.conf and pyproject.toml of the
            # current folder without being asked, which could change what the plan says.
            return subprocess.Popen(
                command,
                cwd=folder.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise GeneratorError(f"Locust could not be started: {error}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
