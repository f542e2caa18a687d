"""A distributed run as people start it: the target, a master and workers, each on a host of its own.

Everything is started by stock commands. The oracle is the target's own books, which count what reached it
by address, and never what Loadgate says of it.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hosts_net import Host, Net, end

from loadgate.measure.window import Window
from loadgate.store.database import Event, RunReader
from loadgate.store.folder import RunFolder, find_run

ROOT = Path(__file__).parents[2]
STAGING = ROOT / "locustfiles" / "staging.py"
SHIFTED_CLOCK = Path(__file__).parent / "shifted_clock"
PORT = 3000
WORKERS = 3
SENT = ("ok", "failed", "timeout", "unfinished")
"""The endings of arrivals that were sent. No connection fails here, so all of them reached the target."""
_LOOK_EVERY = 0.05

_SCENARIO = """
name       = "hosts"
locustfile = "{locustfile}"
sla        = "sla.toml"
host       = "http://{target}:{port}"

[traffic]
model    = "open"
arrivals = "{arrivals}"
users    = {users}
mix      = {{ emotion = 5, creative = 2, reasoning = 3 }}

[[traffic.stages]]
rate = "{rate}/s"
hold = "{seconds}s"

[http]
timeout = "{timeout}s"

[generator]
on_worker_loss = "{on_worker_loss}"
"""

_SLA = """
[[objective]]
metric = "response_time"
target = "< 5s"
every  = "30s"

[[objective]]
metric = "error_rate"
target = "< 10%"
every  = "30s"
"""


@dataclass(frozen=True)
class Load:
    """What a run does: one steady stage. Request timeouts outlast every cut, so that TCP can mend it."""

    rate: int = 90
    seconds: int = 15
    users: int = 24
    arrivals: str = "constant"
    timeout: int = 20
    on_worker_loss: str = "continue"

    def scenario(self, target: str) -> str:
        """Return the scenario file of this load against a target's address."""
        return _SCENARIO.format(locustfile=STAGING, target=target, port=PORT, **vars(self))


@dataclass
class Books:
    """What the target counted: by endpoint what it received and answered, by address what reached it."""

    received: dict[str, int]
    answered: dict[str, int]
    sources: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.received.values())


@dataclass
class Outcome:
    """A run that is over: its folder, the target's last books, and what the story noted on its way."""

    run: RunFolder
    books: Books
    master: str
    notes: dict[str, Any] = field(default_factory=dict)

    def reader(self) -> RunReader:
        return RunReader(self.run.database)

    def value(self, key: str) -> Any:
        with self.reader() as reader:
            return reader.value(key, None)

    def total(self, endpoint: str | None = None) -> Window:
        with self.reader() as reader:
            return reader.total(endpoint=endpoint)

    def endpoints(self) -> list[str]:
        with self.reader() as reader:
            return reader.endpoints()

    def events(self, *kinds: str) -> list[Event]:
        with self.reader() as reader:
            return [event for event in reader.events() if not kinds or event.kind in kinds]

    def arrivals_by_second(self) -> dict[int, int]:
        """Count what the run says was due in each second of run time."""
        found: Counter[int] = Counter()
        with self.reader() as reader:
            for window in reader.windows(series=()):
                assert window.span == 1
                found[window.second] += window.count("arrivals")
        return {second: n for second, n in sorted(found.items()) if n}

    def assert_books_agree(self) -> None:
        """Hold the run against the target's books: each endpoint balances, and what was sent was received.

        Received by the target = everything that was sent, whatever became of it, + retries; and beyond that
        at most what the run itself names as lost, of which nobody knows whether it was sent.
        """
        for endpoint in sorted({*self.endpoints(), *self.books.received}):
            total, received = self.total(endpoint), self.books.received.get(endpoint, 0)
            assert total.imbalance == 0, (endpoint, total.counts)
            sent = sum(total.count(ending) for ending in SENT) + total.count("retries")
            assert sent <= received <= sent + total.count("lost"), (endpoint, total.counts, received)
            assert total.count("ok") <= self.books.answered.get(endpoint, 0), (endpoint, total.counts)

    def assert_offered_as_scheduled(self, load: Load, gap: tuple[float, float] = (0, 0)) -> None:
        """Hold the arrivals against a constant schedule, second by second.

        Never one more than the schedule has; never one less either, but for seconds that a gap touches.
        """
        found = self.arrivals_by_second()
        assert found.keys() <= set(range(load.seconds)), found
        for second in range(load.seconds):
            assert found.get(second, 0) <= load.rate, (second, found)
            if not gap[0] - 1 < second < gap[1]:
                assert found.get(second, 0) == load.rate, (second, found)

    def workers_of(self, *kinds: str) -> set[str]:
        """Name the workers that events of these kinds are about."""
        return {event.detail["worker"] for event in self.events(*kinds)}

    def last_rows(self) -> dict[str, Any]:
        """Return each worker's last fleet row."""
        with self.reader() as reader:
            return {row.worker: row for row in reader.fleet()}

    def verdict(self) -> dict[str, Any]:
        """Judge the run by the command that people use, and return what it printed."""
        command = [sys.executable, "-m", "loadgate", "verdict", str(self.run.path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        verdict = json.loads(done.stdout)
        assert verdict["exit_code"] == done.returncode, done.stderr
        assert isinstance(verdict, dict)
        return verdict


class WallClock:
    """The wall clock of one process: what it is ahead of the true one, which can be changed at any time."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self.set(seconds)

    def set(self, seconds: float) -> None:
        """Step the clock."""
        new = self._path.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self._path)

    def environment(self) -> dict[str, str]:
        """Return what a Python process has to be started with to have this clock."""
        path = os.pathsep.join(filter(None, [str(SHIFTED_CLOCK), os.environ.get("PYTHONPATH")]))
        return {"PYTHONPATH": path, "LOADGATE_TEST_WALL_SHIFT_FILE": str(self._path)}


class Cluster:
    """The hosts and processes of one run. Times are seconds of its run time, from `at`."""

    def __init__(self, net: Net, folder: Path, load: Load, *, own_boot_ids: bool = True) -> None:
        self.net, self.folder, self.load = net, folder, load
        self.target = net.host("target", own_boot_id=own_boot_ids)
        self.master_host = net.host("master", own_boot_id=own_boot_ids)
        self.master: subprocess.Popen[Any] | None = None
        self.workers: dict[str, subprocess.Popen[Any]] = {}
        self.notes: dict[str, Any] = {}
        self._anchor: float | None = None
        self._environment = {
            "LOADGATE_SECRET": secrets.token_hex(32),
            "LOADGATE_RESULTS": str(folder / "results"),
        }
        self._scenario = folder / "scenario.toml"
        self._scenario.write_text(load.scenario(self.target.address), encoding="utf-8")
        (folder / "sla.toml").write_text(_SLA, encoding="utf-8")

    # -- starting -------------------------------------------------------------------------------

    def start(self, *workers: Host, clock: WallClock | None = None, expect: int | None = None) -> None:
        """Start the target, the master (with a clock of its own, if given) and these workers.

        The run begins once `expect` workers have joined, which are these unless more will be added.
        """
        command = [sys.executable, "-m", "loadgate", "staging", "serve"]
        # Idle connections outlive a cut, so that no request meets one that the target has closed.
        command += ["--host", "0.0.0.0", "--port", str(PORT), "--keep-alive", "60s"]
        self._popen(self.target, command, {})
        self.start_master(expect=expect or len(workers), clock=clock)
        for host in workers:
            self.add_worker(host)

    def start_master(
        self, *, expect: int, run: RunFolder | None = None, clock: WallClock | None = None
    ) -> None:
        """Start the master; with `run` it takes up the run of a master that died."""
        users = str(self.load.users)
        command = ["--master", "--master-bind-host", self.master_host.address, "--headless", "--only-summary"]
        command += ["--scenario", str(self._scenario), "--expect-workers", str(expect)]
        command += ["-u", users, "-r", users]
        given = {"LOADGATE_RUN": str(run.path)} if run is not None else {}
        self.master = self._locust(self.master_host, command, given | _of(clock))

    def add_worker(self, host: Host, clock: WallClock | None = None) -> None:
        """Start a worker on a host."""
        command = ["--worker", "--master-host", self.master_host.address]
        self.workers[host.name] = self._locust(host, command, _of(clock))

    def clock(self, name: str, seconds: float = 0.0) -> WallClock:
        """Make a wall clock that can be stepped, for one process."""
        return WallClock(self.folder / f"{name}.clock", seconds)

    # -- watching -------------------------------------------------------------------------------

    def at(self, moment: float, timeout: float = 30.0) -> None:
        """Wait until a moment of run time; the run must begin within `timeout` seconds."""
        if self._anchor is None:
            self._until(self._begun, "the run's begin", timeout)
            assert self._anchor is not None
        time.sleep(max(self._anchor + moment - time.monotonic(), 0))

    def run_time(self) -> float:
        """Return the run time by the clock of this process, which every master here shares."""
        assert self._anchor is not None
        return time.monotonic() - self._anchor

    def run(self) -> RunFolder:
        return find_run(self.folder / "results", "latest")

    def books(self) -> Books:
        """Read the target's own books, from its loopback."""
        counts = self.target.get_json(PORT, "/_staging/counts")
        routes = counts["routes"]
        return Books(
            received={name: route["received"] for name, route in routes.items()},
            answered={name: route["statuses"].get("200", 0) for name, route in routes.items()},
            sources=counts["sources"],
        )

    def finish(self, timeout: float = 40.0) -> Outcome:
        """Wait until the master and the workers have ended by themselves, and close the books."""
        assert self.master is not None
        deadline = time.monotonic() + timeout
        for name, process in (("master", self.master), *self.workers.items()):
            try:
                process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{name} did not end\n{self.logs()}") from None
        return self.leave()

    def leave(self) -> Outcome:
        """Close the books now, whoever still runs, and end everything."""
        books = self.books()
        for process in self.workers.values():
            end(process)
        if self.master is not None:
            end(self.master)
        return Outcome(self.run(), books, self.log("master"), self.notes)

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def logs(self, lines: int = 15) -> str:
        """Return the end of what each process printed."""
        tails = [
            (path.stem, path.read_text("utf-8", "replace")) for path in sorted(self.folder.glob("*.log"))
        ]
        return "\n".join(f"--- {name}\n" + "\n".join(text.splitlines()[-lines:]) for name, text in tails)

    def _begun(self) -> bool:
        with RunReader(self.run().database) as reader:
            anchor = reader.value("anchor", None)
        if anchor is not None:
            self._anchor = float(anchor["monotonic"])
        return anchor is not None

    def _until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.master is not None
            if self.master.poll() is not None:
                raise AssertionError(f"the master ended before {what}\n{self.logs()}")
            try:
                if condition():
                    return
            except Exception:  # noqa: BLE001 - the run folder or its tables are not there yet
                pass
            time.sleep(_LOOK_EVERY)
        raise AssertionError(f"no sign of {what} within {timeout:g} s\n{self.logs()}")

    def _locust(self, host: Host, arguments: Sequence[str], env: dict[str, str]) -> subprocess.Popen[Any]:
        command = [sys.executable, "-m", "locust", "-f", str(STAGING), *arguments]
        return self._popen(host, command, self._environment | env)

    def _popen(self, host: Host, command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[Any]:
        with (self.folder / f"{host.name}.log").open("ab") as log:
            return host.popen(command, env, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)


def _of(clock: WallClock | None) -> dict[str, str]:
    return clock.environment() if clock is not None else {}


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process as the kernel's out-of-memory killer would."""
    process.send_signal(signal.SIGKILL)
    process.wait()


Story = Callable[[Net, Path], Outcome]


def play(folder: Path, **stories: Story) -> dict[str, Future[Outcome]]:
    """Play stories side by side, each on a net of its own, and return what came of each.

    A test takes the one it is about with `result()`, which raises what its story raised.
    """

    def played(name: str, story: Story) -> Outcome:
        own = folder / name
        own.mkdir()
        with Net() as net:
            return story(net, own)

    with ThreadPoolExecutor(len(stories)) as threads:
        return {name: threads.submit(played, name, story) for name, story in stories.items()}
