"""Run the `loadgate` command as people and CI jobs do, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from commands import HEAD, start_command
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs

ROOT = Path(__file__).parents[2]
STAGING = ROOT / "locustfiles" / "staging.py"
STAGING_SLA = ROOT / "scenarios" / "sla" / "staging.toml"

STAGES = """
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
        self.process = start_command(
            *arguments,
            cwd=cwd or folder,
            results=self.results,
            environment=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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
    """Start commands, and write the plans that they read; whatever was started ends with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Running] = []

    def __enter__(self) -> Loadgate:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self.started:
            running.end()

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
        text = f"{HEAD}{STAGES}".format(
            name=name, host=host, rate=rate, hold=hold, timeout=timeout, locustfile=locustfile
        )
        return self.write(f"{name}.toml", text + textwrap.dedent(more))
