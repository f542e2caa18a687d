"""Start the generator as processes of stock Locust: one master that aggregates, workers that load.

A process that died can be started again, and a control room that takes a run up finds what still lives of it
in `living.py`. The control room uses this module, so it must not import Locust or gevent.
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from loadgate.errors import GeneratorError
from loadgate.plan.disk_budget import database_budget
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.store.log_files import last_lines
from loadgate.swarm.inspect import generator_environment
from loadgate.swarm.living import PART, Handle, Living
from loadgate.swarm.secret import SECRET, SECRET_FILE

DECIDED = signal.SIGUSR1
"""The signal that tells a master that its run is decided."""
ABORTED = signal.SIGUSR2
"""The signal that tells a master that an alert ends its run."""
WEB = "LOADGATE_WEB"
"""The variable that tells a master to serve a web UI, and where."""
DISK_BUDGET = "LOADGATE_DISK_BUDGET"
"""The variable that tells a master how many bytes run.db may take, such as "400MB"."""
CAUSE = "LOADGATE_CAUSE"
"""The variable that tells a master why it takes a run up."""
SUPERVISED = "LOADGATE_SUPERVISED"
"""The variable that tells a master that somebody starts again what dies."""
_WORKERS_WITHIN = 60
"""Seconds in which every worker must have joined the master."""
PAUSED = signal.SIGHUP
"""The signal that tells a master to stop the load and to leave the run open, for another to go on with."""
_TAIL_LINES = 12


def is_supervised() -> bool:
    """Tell, in a process of the generator, whether what dies of its run is started again."""
    return bool(os.environ.get(SUPERVISED))


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
    recipe: Recipe
    master: Handle
    workers: list[Handle] = field(default_factory=list)

    @property
    def processes(self) -> list[Handle]:
        """All processes, the master first."""
        return [self.master, *self.workers]

    def ended(self) -> bool:
        """Tell whether the master has ended."""
        return self.master.poll() is not None

    def dead_workers(self) -> list[int]:
        """Return the numbers (from 1) of the workers that have ended."""
        return [n for n, worker in enumerate(self.workers, 1) if worker.poll() is not None]

    def restart_master(self, cause: str) -> None:
        """Start a master anew in place of one that ended, for the same run and workers."""
        assert self.ended()
        self.master = self.recipe.start_master(self.folder, cause)

    def restart_worker(self, number: int) -> None:
        """Start a worker (counted from 1) anew in place of one that ended."""
        assert self.workers[number - 1].poll() is not None
        self.workers[number - 1] = self.recipe.start_worker(self.folder, number)

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

    def pause(self) -> None:
        """Tell the master to stop the load, and to leave the run open; what is under way may finish."""
        if self.master.poll() is None:
            self.master.send_signal(PAUSED)

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


@dataclass(frozen=True)
class Recipe:
    """How each process of a run is started: its command and its environment, which holds the run's secret."""

    master: tuple[str, ...]
    worker: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    shown: Mapping[str, str] = field(default_factory=dict)
    """What only the master's environment has besides: where it serves a web UI."""

    def start_master(self, folder: RunFolder, cause: str = "") -> Handle:
        """Start the master; `cause` says why, where it takes up a run. GeneratorError when it cannot be."""
        told = {PART: "master"} | ({CAUSE: cause} if cause else {})
        return _start(
            self.master, folder, folder.logs / "master.log", {**self.environment, **self.shown, **told}
        )

    def start_worker(self, folder: RunFolder, number: int) -> Handle:
        """Start a worker, counted from 1. GeneratorError when it cannot be."""
        name = f"worker-{number}"
        return _start(self.worker, folder, folder.logs / f"{name}.log", {**self.environment, PART: name})


def launch(
    plan: Plan,
    folder: RunFolder,
    *,
    workers: int,
    listen: Listen | None = None,
    supervised: bool = False,
    cause: str = "",
    web: Web | None = None,
) -> Generator:
    """Start the master and its workers for a run folder that holds the plan's snapshot.

    With `listen` only the master is started, and waits there for as many workers of other hosts. `supervised`
    says that what dies is started again, `cause` why a run is taken up that another control room made.
    With `web` the master serves Locust's web UI.
    """
    environment = {}
    if listen is None and SECRET not in os.environ and SECRET_FILE not in os.environ:
        # Of this run alone: no process that another run left behind can join it.
        environment[SECRET] = secrets.token_hex(32)
    port = listen.port if listen is not None else _free_port()
    recipe = _recipe(plan, folder, environment, workers, port, listen, supervised=supervised, web=web)
    generator = Generator(folder, recipe, recipe.start_master(folder, cause))
    try:
        for number in range(1, (workers if listen is None else 0) + 1):
            generator.workers.append(recipe.start_worker(folder, number))
    except GeneratorError:
        generator.kill()
        raise
    return generator


def adopt(
    plan: Plan,
    folder: RunFolder,
    living: Living,
    *,
    workers: int,
    listen: Listen | None,
    cause: str,
    web: Web | None = None,
) -> Generator | None:
    """Take over the processes that another control room left; None where none of them can be gone on with.

    A master that lives goes on, and so do workers. Where only workers live, a new master takes them back: at
    the old one's port and with its secret, which only the processes' own environments hold. Where that cannot
    be read nothing can be gone on with.
    """
    known = next(iter(living.processes.values()), None)
    if known is None or known.port is None:
        return None
    environment = {}
    if known.secret:
        environment[SECRET] = known.secret
    elif listen is None and SECRET not in os.environ and SECRET_FILE not in os.environ:
        return None
    recipe = _recipe(plan, folder, environment, workers, known.port, listen, supervised=True, web=web)
    names = [f"worker-{number}" for number in range(1, (workers if listen is None else 0) + 1)]
    handles: list[Handle] = [living.handle(name) for name in names]
    master: Handle = living.handle("master")
    if master.poll() is not None:
        master = recipe.start_master(folder, cause)
    return Generator(folder, recipe, master, handles)


def _recipe(
    plan: Plan,
    folder: RunFolder,
    environment: Mapping[str, str],
    workers: int,
    port: int,
    listen: Listen | None,
    *,
    supervised: bool,
    web: Web | None = None,
) -> Recipe:
    scenario = plan.scenario
    host = listen.host if listen is not None else "127.0.0.1"
    within = listen.within if listen is not None else _WORKERS_WITHIN
    folder.logs.mkdir(exist_ok=True)
    whole = generator_environment() | {
        "LOADGATE_RUN": str(folder.path.resolve()),
        "LOADGATE_PLAN": str(folder.plan.resolve()),
        "LOADGATE_CONTROL_PID": str(os.getpid()),
        **({SUPERVISED: "1"} if supervised else {}),
        **({DISK_BUDGET: f"{budget}B"} if (budget := database_budget(plan)) is not None else {}),
        **environment,
    }
    locust = [sys.executable, "-m", "locust", "-f", str(scenario.locustfile), "--loglevel", "INFO"]
    users = str(max(scenario.traffic.users, workers))
    master = [
        *[*locust, "--master", "--headless", "--only-summary", "--host", scenario.host],
        *["--master-bind-host", host, "--master-bind-port", str(port)],
        *["--expect-workers", str(workers), "--expect-workers-max-wait", str(math.ceil(within))],
        *["--users", users, "--spawn-rate", users],
    ]
    worker = [*locust, "--worker", "--master-host", host, "--master-port", str(port)]
    shown = {WEB: web.to_text()} if web is not None else {}
    master += ["--web-login"] if web is not None and web.login else []
    return Recipe(tuple(master), tuple(worker), whole, shown)


def _start(
    command: Sequence[str], folder: RunFolder, log: Path, environment: Mapping[str, str]
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
