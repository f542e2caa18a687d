"""Read CPU and memory of the target's process tree on this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Final

import psutil

from loadgate.watch.cores import cores_allowed
from loadgate.watch.listeners import PROC
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Value
from loadgate.watch.tree import TreeFinder, is_zombie, with_descendants
from loadgate.watch.usage import Look, Used, cores_used

_ANON: Final = re.compile(rb"^RssAnon:\s*(\d+) kB", re.MULTILINE)


class ProcessReader:
    """Read one process tree, again and again; `clock` is CLOCK_MONOTONIC seconds. For one thread.

    `which` and `host` are as in `TreeFinder`. `identity` holds the roots of the last look that found any.
    """

    def __init__(
        self, which: str, host: str, *, clock: Callable[[], float] = time.monotonic, proc: Path = PROC
    ) -> None:
        self._finder = TreeFinder(which, host, proc)
        self._clock = clock
        self._proc = proc
        self._last: Look | None = None
        self.identity: frozenset[Hashable] = frozenset()

    def baseline(self) -> None:
        """Take the look from which the first CPU reading counts; a target that does not run has used 0."""
        try:
            self._last, _ = self._look()
        except NoReading as failure:
            self._note_absence(failure)

    def read(self) -> tuple[Value, ...]:
        """Take a reading; NoReading when there is no such process, or it may not be looked at."""
        try:
            after, tree = self._look()
            memory = sum(_resident(process) for process in tree)
            if not memory:  # all of it ended while we looked; no memory is never a reading of 0
                raise self._finder.gone()
        except NoReading as failure:
            self._note_absence(failure)
            raise
        return (
            self._cpu(after),
            Value("memory", float(memory)),
            _valued("anon", lambda: self._anon(tree)),
            Value("processes", float(len(tree))),
            _valued("cores", lambda: cores_allowed(tree, self._proc)),
        )

    def _cpu(self, after: Look) -> Value:
        """Return the CPU since the last look; one that came too soon stays part of the next reading."""
        before = self._last
        try:
            if before is None:
                raise NoReading(Reason.NO_BASELINE, "this is the first look at the process")
            value = Value("cpu", cores_used(before, after))
        except NoReading as failure:
            if failure.reason is Reason.NO_BASELINE:
                self._last = after
            return Value("cpu", None, failure.text)
        self._last = after
        return value

    def _look(self) -> tuple[Look, list[psutil.Process]]:
        """Find the tree and read its CPU; a process that ends meanwhile is left out."""
        roots = self._finder.roots()
        at, wall = self._clock(), time.time()
        found: dict[Hashable, Used] = {}
        tree = []
        try:
            for process in with_descendants(roots):
                used = _used(process)
                if used is not None:
                    found[process] = used
                    tree.append(process)
        except psutil.AccessDenied as error:
            hint = "run as the target's user, or as root"
            raise NoReading(Reason.NO_PERMISSION, f"pid {error.pid}", hint=hint) from error
        if not found:
            raise self._finder.gone()
        self.identity = frozenset(roots)
        return Look(at, wall, found), tree

    def _note_absence(self, failure: NoReading) -> None:
        """Remember that the target was seen not to run: what comes next has used nothing yet."""
        if failure.reason is Reason.NO_PROCESS:
            self._last = Look(self._clock(), time.time(), {})

    def _anon(self, tree: Iterable[psutil.Process]) -> float:
        """Add up the anonymous memory; a process that ended meanwhile has none."""
        total = 0
        for process in tree:
            try:
                match = _ANON.search((self._proc / str(process.pid) / "status").read_bytes())
            except PermissionError as error:
                raise NoReading(Reason.NO_PERMISSION, f"the status of pid {process.pid}") from error
            except (FileNotFoundError, ProcessLookupError):
                match = None
            if match is not None:
                total += 1024 * int(match[1])
            elif not is_zombie(process):
                raise NoReading(Reason.NOT_OFFERED, f"RssAnon in {self._proc}/{process.pid}/status")
        return float(total)


def _valued(name: str, read: Callable[[], float]) -> Value:
    try:
        return Value(name, read())
    except NoReading as failure:
        return Value(name, None, failure.text)


def _used(process: psutil.Process) -> Used | None:
    """Return what a process has used; None when it has ended. A zombie still has its CPU."""
    try:
        if not process.is_running():
            return None
        times = process.cpu_times()
        reaped = times.children_user + times.children_system
        return Used(times.user + times.system, reaped, process.create_time())
    except psutil.NoSuchProcess:
        return None


def _resident(process: psutil.Process) -> int:
    """Return the resident bytes of a process; one that ended meanwhile has none."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
