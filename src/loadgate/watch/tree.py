"""Find the target's processes on this machine: who listens on its port, or who was named, and descendants."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil

from loadgate.watch.listeners import PROC, REMEDY, Address, holders, local_addresses, read_listeners, serving
from loadgate.watch.parse import NoReading, Reason

FORWARDERS: Final = frozenset(
    {"docker-proxy", "rootlesskit", "rootlessport", "slirp4netns", "pasta", "ssh", "sshd", "kubectl", "socat"}
)
"""Programs that hold a port for a service that runs elsewhere; measuring them would be measuring nothing."""


class TreeFinder:
    """Find the roots of a process tree, again and again.

    `which` is "listening" (the processes that listen on the host's port), "pid:N" or "pidfile:PATH".
    """

    def __init__(self, which: str, host: str, proc: Path = PROC) -> None:
        self._which = which
        self._host = host
        self._proc = proc
        self._addresses: tuple[Address, ...] = ()
        self._inodes: frozenset[int] = frozenset()
        self._listeners: tuple[psutil.Process, ...] = ()

    def roots(self) -> tuple[psutil.Process, ...]:
        """Return the topmost processes; NoReading when there are none, or they may not be looked at."""
        kind, _, value = self._which.partition(":")
        if kind == "listening":
            found = self._listening()
        else:
            found = _named(read_pidfile(Path(value)) if kind == "pidfile" else int(value))
        if not found or all(is_zombie(process) for process in found):
            raise self.gone()
        return found

    def gone(self) -> NoReading:
        """Return the fault that says that the target does not run."""
        if self._which == "listening":
            hint = 'start it; one that runs in a container needs "pid:N" or "pidfile:PATH"'
            return NoReading(Reason.NO_PROCESS, f"nothing listens on {self._host}", hint=hint)
        return NoReading(
            Reason.NO_PROCESS, f"{self._which} does not run", hint="see that the target runs here"
        )

    def _listening(self) -> tuple[psutil.Process, ...]:
        """Find who listens on the host's port; asked anew only when the sockets or the processes changed."""
        parts = urlsplit(self._host)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._addresses = self._addresses or local_addresses(parts.hostname or "")
        inodes = serving(read_listeners(self._proc), self._addresses, port)
        if not inodes:
            return ()
        if inodes != self._inodes or not all(process.is_running() for process in self._listeners):
            self._listeners = topmost(holders(inodes, self._proc))
            self._inodes = inodes if self._listeners else frozenset()
        return self._listeners


def with_descendants(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the roots and all their descendants, each once."""
    found: dict[psutil.Process, None] = {}
    for root in roots:
        found[root] = None
        try:
            found.update(dict.fromkeys(root.children(recursive=True)))
        except psutil.NoSuchProcess:
            continue
    return list(found)


def topmost(pids: Iterable[int]) -> tuple[psutil.Process, ...]:
    """Return the processes none of whose ancestors is among them.

    NoReading FORWARDED when all of them only hold the port for a service that runs elsewhere.
    """
    found = {process.pid: process for pid in pids for process in _named(pid)}
    # The init process may hold a socket for the service that it starts; its tree is the whole machine.
    served = {pid: process for pid, process in found.items() if pid != 1}
    if found and not served:
        raise NoReading(Reason.FORWARDED, "only the init process holds the port", hint='use "pid:N"')
    names = {_name(process) for process in served.values()}
    if names and names <= FORWARDERS:
        hint = f'name the service itself with "pid:N" or "pidfile:PATH", or {REMEDY}'
        shown = ", ".join(sorted(names))
        raise NoReading(Reason.FORWARDED, f"{shown} holds the port for a service elsewhere", hint=hint)
    return tuple(item for _, item in sorted(served.items()) if not _ancestors(item) & served.keys())


def is_zombie(process: psutil.Process) -> bool:
    """Tell whether a process has ended; its parent may not have noticed yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def read_pidfile(path: Path) -> int:
    """Return the process id that a file holds; NoReading NO_PROCESS when it holds none."""
    hint = "see that the target writes its process id there"
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        shown = error.strerror if isinstance(error, OSError) else "it is not text"
        raise NoReading(Reason.NO_PROCESS, f"{path}: {shown}", hint=hint) from error
    if not re.fullmatch(r"[1-9]\d{0,9}", text):
        raise NoReading(Reason.NO_PROCESS, f"{path} does not hold one number", hint=hint)
    return int(text)


def _named(pid: int) -> tuple[psutil.Process, ...]:
    try:
        return (psutil.Process(pid),)
    except psutil.NoSuchProcess:
        return ()


def _ancestors(process: psutil.Process) -> set[int]:
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.Error:
        return set()


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
