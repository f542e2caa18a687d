"""Start a service with a command, wait until it answers, and end it again with everything that it started.

The command runs without a shell, in a session of its own: a Ctrl-C at the terminal is for Loadgate, which
ends the service itself. Only the processes of its group, and descendants of the command, are ever signalled.
While the group may be signalled its leader is not reaped, so that its number cannot belong to anybody else.
A process that leaves both the group and its parents (a daemon) is not found: the command must stay in the
foreground.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import psutil

from loadgate.errors import TargetUnreachable, UsageError
from loadgate.plan.headers import resolve_headers
from loadgate.plan.scenario import Scenario
from loadgate.plan.units import format_duration
from loadgate.report.text import clean
from loadgate.watch.web import USER_AGENT, address_of, same_origin, tls_context, why

PATIENCE: Final = 10.0
"""Seconds that a service gets between SIGTERM and SIGKILL."""
LOG: Final = "service.log"
"""The service's output, in the log folder of the run."""

_KILLED_WITHIN = 5.0
"""Seconds in which what was sent SIGKILL is gone, unless the kernel itself holds it."""
_PAUSE = 0.2
_LOOK = 0.05
_ATTEMPT = 5.0
"""Seconds that one answer may take: a service that warms up may let the first ones hang."""
_TAIL_LINES = 12
_TAIL_BYTES = 64 * 2**10


class Service:
    """A service that a command started; its output goes to `log`, a temporary file until `keep_log`."""

    def __init__(self, command: str) -> None:
        """Start it; UsageError when the command cannot be run."""
        words = split(command)
        # Some CI runners ignore SIGCHLD, and pass that on: children would be reaped behind our back.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        number, name = tempfile.mkstemp(prefix="loadgate-service-", suffix=".log")
        self.log = Path(name)
        self.name = clean(Path(words[0]).name)
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=number,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self.log.unlink()
            raise UsageError(
                f"--start: {clean(words[0])} cannot be run: {getattr(error, 'strerror', None) or error}",
                hint="name a program and its arguments; no shell reads them (for one: sh -c '...')",
            ) from error
        finally:
            os.close(number)

    @property
    def pid(self) -> int:
        """Return the process id of the command, which is that of its group as well."""
        return self._process.pid

    def ended(self) -> str:
        """Say how the command ended; "" while it runs."""
        if self._process.returncode is not None:
            code = self._process.returncode
            return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        # Left unreaped, so that its number stays its own as long as its group may be signalled.
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return ""
        how = "exit code" if found.si_code == os.CLD_EXITED else "killed by signal"
        return f"{how} {found.si_status}"

    def tail(self) -> str:
        """Return the last lines of its output, each behind a bar that no CI system takes for a command."""
        with self.log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        said = "\n".join(f"| {clean(line)}" for line in lines)
        return f"it said last ({self.log}):\n{said}" if said else f"it said nothing ({self.log})"

    def stop(self, hurried: Callable[[], bool] = lambda: False, patience: float = PATIENCE) -> list[int]:
        """End the service: SIGTERM to all of it, and SIGKILL after `patience` seconds or when `hurried`.

        Returns the ids of processes that could not be ended: those that the kernel holds, or that run as
        another user. May be called twice.
        """
        if self._process.returncode is not None:
            return []
        others = self._descendants()
        self._signal(signal.SIGTERM, others)
        ends = time.monotonic() + patience
        while (left := self._left(others)) and time.monotonic() < ends and not hurried():
            time.sleep(_LOOK)
        ends = time.monotonic() + _KILLED_WITHIN
        while left and time.monotonic() < ends:
            self._signal(signal.SIGKILL, left)
            time.sleep(_LOOK)
            left = self._left(others)
        if not left:
            self._process.wait()
        return [process.pid for process in left]

    def keep_log(self, folder: Path | None) -> None:
        """Move the log into a run's log folder; without one, drop it."""
        if folder is None:
            self.log.unlink(missing_ok=True)
            return
        with suppress(OSError):
            self.log = Path(shutil.move(self.log, folder / LOG))

    def _descendants(self) -> list[psutil.Process]:
        """List what descends from the command, in groups of their own as well."""
        with suppress(psutil.Error):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def _left(self, others: list[psutil.Process]) -> list[psutil.Process]:
        """List the living processes of the group, and those of `others` that live on."""
        members = {process.pid: process for process in others}
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                if os.getpgid(pid) == self.pid:
                    members.setdefault(pid, psutil.Process(pid))
        return [process for process in members.values() if _lives(process)]

    def _signal(self, number: signal.Signals, processes: list[psutil.Process]) -> None:
        """Signal the group, which the unreaped leader keeps from being another's, and single processes."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for process in processes:
            # psutil refuses where the number has passed to another process meanwhile.
            with suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) != self.pid:
                    process.send_signal(number)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def split(command: str) -> list[str]:
    """Split a command into its words as a shell would, without one; UsageError when there are none."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--start: {error}", hint="close the quotes; no shell reads the command") from error
    if not words:
        raise UsageError("--start: there is no command", hint='for example --start "python -m myservice"')
    return words


class Door:
    """Where a target answers: the path of its health probe, or the host itself where there is none."""

    def __init__(self, scenario: Scenario, environ: Mapping[str, str]) -> None:
        """Work out what to ask; PlanError when a header's secret is missing, UsageError for a bad `ca`."""
        health = next((probe.http for probe in scenario.probes if probe.kind == "health" and probe.http), "/")
        self.url = address_of(scenario.host, health)
        headers = resolve_headers(scenario.http, environ) if same_origin(self.url, scenario.host) else {}
        self._headers = {"User-Agent": USER_AGENT} | headers
        self._verify = tls_context(scenario.http) if self.url.startswith("https:") else False
        self._connect = scenario.http.connect_timeout

    def knock(self, limit: float = _ATTEMPT) -> str:
        """Ask once; return "" for an answer with a status below 500, else what came instead."""
        try:
            timeout = httpx.Timeout(limit, connect=min(self._connect, limit))
            with (
                httpx.Client(verify=self._verify, trust_env=False, timeout=timeout) as client,
                client.stream("GET", self.url, headers=self._headers) as response,
            ):
                return "" if response.status_code < 500 else f"it answered with status {response.status_code}"
        except httpx.TimeoutException:
            return f"no answer within {format_duration(round(limit, 3))}"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return why(error)


def refuse_a_stranger(door: Door) -> None:
    """Make sure that nothing answers yet: it would be measured in place of the service to be started.

    UsageError when something does.
    """
    if not door.knock():
        raise UsageError(
            f"--start: something answers at {door.url} already, and would be measured in its place",
            hint="stop it, or choose another port; to measure what runs there leave --start out",
        )


def wait_for(door: Door, within: float, service: Service | None = None) -> float:
    """Wait until the target answers, at most `within` seconds; return how many it took.

    TargetUnreachable when it does not, or as soon as `service`, which should, has ended.
    """
    began = time.monotonic()
    while True:
        left = began + within - time.monotonic()
        said = door.knock(min(_ATTEMPT, max(left, _LOOK)))
        if service is not None and service.ended():
            raise TargetUnreachable(
                f"the service ended before it answered at {door.url} ({service.ended()})",
                hint=f"{service.tail()}\nthe command must stay in the foreground for as long as it serves",
            )
        if not said:
            return time.monotonic() - began
        if time.monotonic() - began + _PAUSE > within:
            hint = service.tail() if service is not None else "see its own log, or give it longer with --wait"
            told = f"{door.url} did not answer within {format_duration(within)}: {said}"
            raise TargetUnreachable(told, hint=hint)
        time.sleep(_PAUSE)
