"""A master, workers and a target of their own, started by stock commands on loopback.

What each process prints goes into a file, so that it can be read while the process runs. The oracle is the
target's own count, and never what Loadgate says of it.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from loadgate.measure.window import Window
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, find_run

ROOT = Path(__file__).parents[2]
STAGING = ROOT / "locustfiles" / "staging.py"
SECRET = "the secret of this fleet"
RATE, USERS = 100, 20
ENDS = ("ok", "failed", "timeout", "unfinished")
"""The ends of arrivals that were sent. No connection fails here, so all of them reached the target."""

OPEN = """
name       = "fleet"
locustfile = "{locustfile}"
sla        = "sla.toml"
host       = "{url}"

[traffic]
model    = "open"
arrivals = "constant"
users    = 20
mix      = {{ emotion = 1 }}

[[traffic.stages]]
rate = "100/s"
hold = "{seconds}s"

[http]
timeout = "10s"
"""
SLA = """
[[objective]]
metric = "error_rate"
target = "< 10%"
every  = "5s"
"""


class Fleet:
    """The processes of one run, in a folder of their own; times are seconds of run time."""

    def __init__(self, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.target = StagingService().start()
        self.url = self.target.url
        self.port = unused_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.notes: dict[str, Any] = {}
        self._environment = {"LOADGATE_SECRET": SECRET, "LOADGATE_RESULTS": str(folder / "results")}
        self._environment |= environment
        (folder / "sla.toml").write_text(SLA, encoding="utf-8")

    # -- starting -------------------------------------------------------------------------------

    def write(
        self, text: str = OPEN, *, name: str = "scenario", locustfile: Path = STAGING, **values: object
    ) -> Path:
        """Write a scenario."""
        path = self.folder / f"{name}.toml"
        path.write_text(text.format(locustfile=locustfile, url=self.url, **values), encoding="utf-8")
        return path

    def master(
        self,
        scenario: Path,
        *,
        expect: int,
        users: int = USERS,
        locustfile: Path = STAGING,
        name: str = "master",
    ) -> None:
        """Start a headless master, which begins once `expect` workers are there."""
        command = ["--master", "--master-bind-port", str(self.port), "--headless", "--only-summary"]
        command += ["--csv", name, "--scenario", str(scenario), "--expect-workers", str(expect)]
        self.locust(name, *command, "-u", str(users), "-r", str(users), locustfile=locustfile)

    def worker(self, name: str, *, locustfile: Path = STAGING, **environment: str) -> None:
        """Start a worker."""
        command = ["--worker", "--master-host", "127.0.0.1", "--master-port", str(self.port)]
        self.locust(name, *command, locustfile=locustfile, **environment)

    def locust(self, name: str, *arguments: str, locustfile: Path = STAGING, **environment: str) -> None:
        """Start Locust; an empty variable is taken out of its environment."""
        command = [sys.executable, "-m", "locust", "-f", str(locustfile), *arguments]
        given = os.environ | self._environment | environment
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env={key: value for key, value in given.items() if value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    # -- watching -------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], timeout: float = 90.0) -> None:
        """Wait until a condition holds; what it raises meanwhile means not yet."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except Exception:  # noqa: BLE001 - the run folder or its tables are not there yet
                pass
            time.sleep(0.05)
        raise AssertionError(f"the condition did not come true within {timeout:g} s\n{self.logs()}")

    def at(self, moment: float) -> None:
        """Wait until a moment of run time; this process has the same monotonic clock as the master."""
        self.until(lambda: self.run_time() >= moment)

    def run_time(self) -> float:
        return time.monotonic() - float(self.value("anchor")["monotonic"])

    def ended(self, name: str, timeout: float = 90.0) -> int:
        """Wait until a process has ended by itself; return its exit code."""
        try:
            return self.processes[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end\n{self.logs()}") from None

    def stop(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        """End what still runs, with its children, and the target."""
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.target.stop()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def logs(self, lines: int = 15) -> str:
        """Return the end of what each process printed."""
        tails = ((name, self.log(name).splitlines()[-lines:]) for name in self.processes)
        return "\n".join("\n".join([f"--- {name}", *tail]) for name, tail in tails)

    # -- what the run holds ---------------------------------------------------------------------

    def folder_of_run(self) -> RunFolder:
        return find_run(self.folder / "results", "latest")

    def reader(self) -> RunReader:
        return RunReader(self.folder_of_run().database)

    def value(self, key: str) -> Any:
        with self.reader() as reader:
            return reader.value(key, None)

    def total(self, **which: Any) -> Window:
        with self.reader() as reader:
            return reader.total(**which)

    def counts(self) -> Counter[str]:
        return Counter(self.total().counts)

    def arrivals(self, second: int) -> int:
        """Count the arrivals that were due in one second."""
        return self.total(start=second, end=second + 1).count("arrivals")

    def events(self, *kinds: str) -> list[Any]:
        with self.reader() as reader:
            return [event for event in reader.events() if not kinds or event.kind in kinds]

    def offered(self, until: int | None = None) -> dict[str, int]:
        """Count what each worker offered, up to the end of a second or of the run."""
        with self.reader() as reader:
            return {row.worker: row.offered for row in reader.fleet() if until is None or row.second <= until}

    def ledger(self) -> list[Any]:
        with self.reader() as reader:
            return list(reader.ledger())

    def name_of(self, process: str) -> str:
        """Return what the run calls a worker's process."""
        pid = self.processes[process].pid
        with self.reader() as reader:
            (name,) = {source.worker for source in reader.sources() if source.incarnation == pid}
        return name

    def csv_rows(self, name: str = "master") -> dict[str, dict[str, str]]:
        with (self.folder / f"{name}_stats.csv").open(encoding="utf-8") as file:
            return {row["Name"]: row for row in csv.DictReader(file)}

    def verdict(self) -> tuple[int, dict[str, Any]]:
        """Judge the run by the command that people use: its exit code, and what it printed."""
        command = [sys.executable, "-m", "loadgate", "verdict", str(self.folder_of_run().path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout)

    def assert_books_agree(self) -> None:
        """The books balance, and what was sent is what the target received: to the request."""
        counts = self.counts()
        assert self.total().imbalance == 0, counts
        sent = sum(counts[end] for end in ENDS) + counts["retries"]
        assert sent == self.notes["received"], counts


Story = Callable[[Fleet], None]


def play(folder: Path, stories: dict[str, Story], *, at_once: int) -> dict[str, Future[Fleet]]:
    """Play stories, some at once, each with a fleet of its own, and return what came of each.

    A test takes the one it is about with `result()`, which raises what its story raised.
    """

    def played(name: str, story: Story) -> Fleet:
        fleet = Fleet(folder / name)
        try:
            story(fleet)
            fleet.notes["received"] = fleet.target.counts()["received"]
        finally:
            fleet.close()
        return fleet

    with ThreadPoolExecutor(at_once) as threads:
        return {name: threads.submit(played, name, story) for name, story in stories.items()}


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
