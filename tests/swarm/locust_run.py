"""One run of the stock `locust` command with Loadgate's plugin, in a folder of its own."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadgate.measure.window import Window
from loadgate.store.database import RunReader
from loadgate.store.folder import find_run

ROOT = Path(__file__).parents[2]
STAGING = ROOT / "locustfiles" / "staging.py"


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class LocustRun:
    """One run of the `locust` command in a folder of its own."""

    folder: Path
    url: str
    returncode: int | None = None
    stdout: str = ""
    stderr: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def start(self, *arguments: str, locustfile: Path | None = None) -> LocustRun:
        command = [sys.executable, "-m", "locust", "-f", str(locustfile or STAGING), "--headless"]
        if "--processes" in arguments:
            # Forked workers connect to --master-port, whatever the master binds to.
            port = str(unused_port())
            command += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]
        self.process = subprocess.Popen(
            [*command, "--host", self.url, "--only-summary", "--csv", "stats", *arguments],
            cwd=self.folder,
            env=os.environ | {"LOADGATE_RESULTS": str(self.folder / "results")} | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def wait(self, timeout: float = 90.0) -> LocustRun:
        assert self.process is not None
        try:
            self.stdout, self.stderr = self.process.communicate(timeout=timeout)
        finally:
            self.end()
        self.returncode = self.process.returncode
        return self

    def run(self, *arguments: str, locustfile: Path | None = None) -> LocustRun:
        return self.start(*arguments, locustfile=locustfile).wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def until(self, condition: Any, timeout: float = 30.0) -> None:
        """Wait until a condition on the run database holds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                self.wait()
                raise AssertionError(f"locust ended early:\n{self.stderr}")
            try:
                if condition(self):
                    return
            except Exception:  # noqa: BLE001 - the run database is not there yet
                pass
            time.sleep(0.05)
        raise AssertionError("the condition did not come true")

    def until_answered(self, count: int) -> None:
        self.until(lambda run: run.total().counts.get("ok", 0) >= count)

    def end(self) -> None:
        """End it if it still runs, with all that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def reader(self) -> RunReader:
        return RunReader(find_run(self.folder / "results", "latest").database)

    def value(self, key: str) -> Any:
        with self.reader() as reader:
            return reader.value(key, None)

    def total(self, endpoint: str | None = None, phase: str | None = None) -> Window:
        with self.reader() as reader:
            return reader.total(endpoint=endpoint, phase=phase)

    def events(self) -> list[str]:
        with self.reader() as reader:
            return [event.kind for event in reader.events()]

    def csv_rows(self) -> dict[str, dict[str, str]]:
        with (self.folder / "stats_stats.csv").open(encoding="utf-8") as file:
            return {row["Name"]: row for row in csv.DictReader(file)}

    def json_rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.stdout)}
