"""Run the `loadgate` command as people and CI jobs do, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadgate.cli.main import run_cli
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, create_run, list_runs

ROOT = Path(__file__).parents[2]
STAGING = ROOT / "locustfiles" / "staging.py"
STAGING_SLA = ROOT / "scenarios" / "sla" / "staging.toml"

SCENARIO = """
name       = "{name}"
locustfile = "{locustfile}"
sla        = "sla.toml"
host       = "{host}"

[traffic]
model    = "open"
arrivals = "constant"
users    = 20
mix      = {{ emotion = 5, creative = 2, reasoning = 3 }}

[[traffic.stages]]
rate = "{rate}/s"
hold = "{hold}"

[http]
timeout = "{timeout}"
"""

SLA = """
[[objective]]
metric   = "response_time"
endpoint = "emotion"
target   = "< 5s"
every    = "30s"

[[objective]]
metric = "error_rate"
target = "< 1%"
every  = "30s"
"""


@dataclass
class Done:
    """What a command that has ended said."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        said = f"--- stdout\n{self.out}\n--- stderr\n{self.err}"
        return f"loadgate {' '.join(self.arguments)}: exit {self.code}\n{said}"

    def expect(self, code: int, *, out: str | None = None, err: str | None = None) -> Done:
        """Hold the exit code and, as patterns, what was said ("" is nothing at all) against a rule."""
        assert self.code == code, f"expected exit {code}\n{self}"
        for text, pattern in ((self.out, out), (self.err, err)):
            if pattern == "":
                assert text == "", f"expected silence\n{self}"
            elif pattern is not None:
                assert re.search(pattern, text), f"expected {pattern!r}\n{self}"
        return self

    @property
    def json(self) -> Any:
        """Read standard output as one JSON document."""
        return json.loads(self.out)


class Running:
    """A `loadgate` command under way, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        cwd: Path | None = None,
    ) -> None:
        self.folder = folder
        self.arguments = arguments
        self.results = folder / "results"
        self._before = len(list_runs(self.results))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadgate", *arguments],
            cwd=cwd or folder,
            env=os.environ | {"LOADGATE_RESULTS": str(self.results)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait(self, timeout: float = 60.0) -> Done:
        """Wait for the end, which must come within `timeout` seconds."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.end()
            out, err = self.process.communicate()
            raise AssertionError(
                f"not ended after {timeout} s\n{Done(self.arguments, 0, out, err)}"
            ) from None
        return Done(self.arguments, self.process.returncode, out, err)

    def end(self) -> None:
        """End the command and whatever it started; for tests that went wrong."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self.left():
            process.kill()

    def left(self) -> list[psutil.Process]:
        """Find the generator's processes that still live, by the run folder in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                run = process.environ().get("LOADGATE_RUN", "")
                if Path(run).is_relative_to(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def part(self, word: str) -> psutil.Process:
        """Find the generator's process that was started with an argument such as "--worker"."""
        return next(process for process in self.left() if word in process.cmdline())

    def folder_of_run(self) -> RunFolder:
        """Return the newest run."""
        return list_runs(self.results)[-1]

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 30.0) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"ended before {what}\n{self.wait()}")
            if condition():
                return
            time.sleep(0.05)
        self.end()
        raise AssertionError(f"no sign of {what}\n{self.wait()}")

    def until_answered(self, count: int = 30) -> None:
        """Wait until the run database holds some answers."""

        def answered() -> bool:
            if len(list_runs(self.results)) == self._before:
                return False
            with RunReader(self.folder_of_run().database) as reader:
                return reader.total().counts.get("ok", 0) >= count

        self.until(answered, f"{count} answers")

    def verdict(self, number: int = 1) -> dict[str, Any]:
        """Read a stored verdict of the newest run."""
        content: dict[str, Any] = json.loads(self.folder_of_run().verdict_path(number).read_bytes())
        return content

    def events(self) -> list[str]:
        """List the kinds of the newest run's events."""
        with RunReader(self.folder_of_run().database) as reader:
            return [event.kind for event in reader.events()]


class Loadgate:
    """Start commands, and write the plans that they read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Running] = []

    def start(
        self, *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> Running:
        """Start a command, in the test's folder unless told otherwise."""
        running = Running(self.folder, tuple(map(str, arguments)), env or {}, cwd)
        self.started.append(running)
        return running

    def run(self, *arguments: object, env: dict[str, str] | None = None, timeout: float = 60.0) -> Done:
        """Run a command to its end."""
        return self.start(*arguments, env=env).wait(timeout)

    def quiet(self, attempt: Callable[[], tuple[Running, Done]]) -> tuple[Running, Done]:
        """Run something again, at most twice, where the machine was too busy to make the load in time.

        Such a run is void and says so, which is right; it is not what the tests of this room are about.
        """
        for _ in range(2):
            running, done = attempt()
            verdict = running.verdict()
            if not any("generator was saturated" in reason for reason in verdict["reasons"]):
                return running, done
        return attempt()

    def write(self, name: str, text: str) -> Path:
        """Write a file into the test's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def scenario(
        self,
        host: str,
        *,
        name: str = "short",
        rate: int = 100,
        hold: str = "4s",
        timeout: str = "2s",
        locustfile: Path = STAGING,
        sla: str = SLA,
        more: str = "",
    ) -> Path:
        """Write a scenario of one steady stage, and its SLA table beside it."""
        self.write("sla.toml", sla)
        text = SCENARIO.format(
            name=name, host=host, rate=rate, hold=hold, timeout=timeout, locustfile=locustfile
        )
        return self.write(f"{name}.toml", text + textwrap.dedent(more))


@pytest.fixture
def loadgate(tmp_path: Path) -> Iterator[Loadgate]:
    """Commands in the test's own folder; whatever they started ends with the test."""
    made = Loadgate(tmp_path)
    yield made
    for running in made.started:
        running.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loadgate]:
    """A folder that the tests of one file share."""
    made = Loadgate(tmp_path_factory.mktemp("shared"))
    yield made
    for running in made.started:
        running.end()


@pytest.fixture(scope="module")
def service() -> Iterator[StagingService]:
    """A service that the tests of one file share, and leave whole."""
    with StagingService() as running:
        yield running


@pytest.fixture
def fresh_service() -> Iterator[StagingService]:
    """A service that a test may break."""
    with StagingService() as running:
        yield running


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run a command that starts no load in this process, which saves the start of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOADGATE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("LOADGATE_SCENARIO", raising=False)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        words = tuple(map(str, arguments))
        code = run_cli(list(words))
        sys.stdout.flush()
        said = capfd.readouterr()
        return Done(words, int(code), said.out, said.err)

    return run


def _second(second: int) -> tuple[Window, FleetRow]:
    """Return one second of 100 emotion requests, each answered well after 1 ms."""
    took, lag = Histogram(), Histogram()
    took.record(1_000, 100)
    lag.record(100, 100)
    series = {"response.ok": took, "service.ok": took.copy(), "start_lag": lag}
    window = Window(second, 1, "emotion", "steady", {"arrivals": 100, "ok": 100}, series, {})
    return window, FleetRow(second, "local", 100, 100, 100, 0, 10, 0.1, 60_000_000, 100.0, 100.0, 500.0)


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., RunFolder]:
    """Store a run of ten seconds without a plan: 1000 emotion requests of 1 ms, all of them good."""

    def make(minute: int = 0, ended: str | None = "planned") -> RunFolder:
        moment = datetime(2026, 1, 5, 8, minute, tzinfo=UTC)
        run = create_run(tmp_path / "results", "load", moment)
        rows = [_second(second) for second in range(10)]
        values = {
            "id": run.id,
            "scenario": "load",
            "plan": None,
            "host": "http://127.0.0.1:3000",
            "anchor": {"monotonic": 100.0, "wall": moment.timestamp(), "boot_id": "0"},
            "started_at": moment.isoformat(),
            "ended": ended,
            "ended_at_run_time": 10.0,
            "mode": "standalone",
            "model": "closed",
            "flushed": True,
            "versions": {},
            "workers_expected": 1,
        }
        delta = Delta(run.id, "local", 0, 1, [row[0] for row in rows], [], [row[1] for row in rows])
        with open_writer(run.database) as writer:
            writer.commit([delta], run_values=values)
        return run

    return make
