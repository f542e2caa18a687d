"""The processes of a run that still live, found by the run folder in their environment.

So a control room that takes a run up knows them whatever its predecessor had time to write down, on this
machine and of this user; the kernel's start time keeps a process that got the number of another apart. What
other machines do is told by the run's locks and its heartbeat instead (`store/control_lock.py`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import psutil

from loadgate.store.folder import RunFolder
from loadgate.swarm.secret import SECRET

PART: Final = "LOADGATE_PART"
"""The variable that names what a process of a run is: "master", "worker-1" and so on."""
GONE: Final = -1000
"""The exit code of a process that is no child of ours, which nobody can tell."""
_PORTS: Final = ("--master-bind-port", "--master-port")


class Handle(Protocol):
    """A process of a run, whoever started it; `subprocess.Popen` is one."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code, or None while it lives."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; subprocess.TimeoutExpired after `timeout` seconds."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still lives."""
        ...

    def kill(self) -> None:
        """End it at once, if it still lives."""
        ...


class Adopted:
    """A process that another control room started; None is one that had ended before."""

    def __init__(self, process: psutil.Process | None) -> None:
        self._process = process
        self.pid = process.pid if process is not None else 0

    def poll(self) -> int | None:
        """Return None while it lives, else `GONE`."""
        return None if self._process is not None and _lives(self._process) else GONE

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; subprocess.TimeoutExpired after `timeout` seconds."""
        if self._process is not None and self.poll() is None:
            with suppress(psutil.NoSuchProcess):
                try:
                    self._process.wait(timeout)
                except psutil.TimeoutExpired as error:
                    if _lives(self._process):
                        raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0) from error
        return GONE

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it still lives; psutil sees to it that a stranger is never hit."""
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.send_signal(sig)

    def kill(self) -> None:
        """End it at once, if it still lives."""
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.kill()


@dataclass(frozen=True)
class Found:
    """A living process of a run: what it speaks over, and the secret that its environment holds."""

    process: psutil.Process
    port: int | None
    secret: str = field(repr=False, default="")


@dataclass(frozen=True)
class Living:
    """What lives of a run on this machine, by part."""

    processes: dict[str, Found] = field(default_factory=dict)

    def handle(self, part: str) -> Adopted:
        """Return the process of a part; one that has ended where it does not live."""
        found = self.processes.get(part)
        return Adopted(found.process if found is not None else None)

    def kill(self) -> None:
        """End all of them at once, and wait until they are gone."""
        for part in self.processes:
            self.handle(part).kill()
        for part in self.processes:
            self.handle(part).wait()


def living_of(folder: RunFolder) -> Living:
    """Find the processes of a run that live on this machine and belong to this user."""
    wanted = folder.path.resolve()
    found: dict[str, Found] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            # Those that a worker started itself have its environment too, but lead no session.
            if os.getsid(process.pid) != process.pid or not _lives(process):
                continue
            environment = process.environ()
            part, run = environment.get(PART, ""), environment.get("LOADGATE_RUN", "")
            if part and run and Path(run) == wanted:
                found[part] = Found(process, _port_of(process.cmdline()), environment.get(SECRET, ""))
    return Living(found)


def _port_of(command: Sequence[str]) -> int | None:
    for option in _PORTS:
        if option in command[:-1]:
            text = command[command.index(option) + 1]
            return int(text) if text.isdecimal() else None
    return None


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
