"""Run a command for a probe: no shell, a time limit, bounded output, and nothing left behind.

The command runs in a process group of its own, which is killed when the command has ended or must end, with
whatever it left running there. Its number cannot belong to anybody else meanwhile: the command itself is
reaped last. A process that it started in another group (a daemon) is not found.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

from loadgate.watch.parse import NoReading, Reason, clean
from loadgate.watch.probes import Ended

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of output that are read; a command that prints more gives no reading."""
ERRORS_KEPT: Final = 4096
"""Bytes kept of the end of what it writes to its standard error."""

_PIECE: Final = 64 * 1024
_LOOK: Final = 0.05
"""Seconds between two looks at whether it has ended."""
_REAPED_WITHIN: Final = 1.0


class Program:
    """Run one command, again and again, in one thread; `close` may be called from any other."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._closed = threading.Event()

    def close(self) -> None:
        """Give up the command that runs, and start no other; it is killed within 50 ms."""
        self._closed.set()

    def run(self, command: Sequence[str], limit: float, *, merged: bool = False) -> Ended:
        """Run a command to its end; `merged` puts its standard error among its output.

        NoReading CANNOT_RUN when it cannot be started, TIMEOUT when it runs for more than `limit` seconds,
        TOO_LARGE when it prints more than the bound; it is killed then.
        """
        ends = time.monotonic() + limit
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or str(error)
            hint = "name a program and its arguments; no shell reads them"
            raise NoReading(
                Reason.CANNOT_RUN, f"{clean(command[0])}: {clean(str(what))}", hint=hint
            ) from error
        try:
            return self._watch(process, ends, limit)
        finally:
            _end(process)

    def _watch(self, process: subprocess.Popen[bytes], ends: float, limit: float) -> Ended:
        out, err = bytearray(), bytearray()
        assert process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ, out)
            if process.stderr is not None:
                ready.register(process.stderr, selectors.EVENT_READ, err)
            while True:
                status = _status(process)
                # What it printed before it ended is in the pipes; what it left running may hold them open.
                wait = 0.0 if status is not None else max(0.0, min(_LOOK, ends - time.monotonic()))
                found = self._read(ready, wait, out, err)
                if status is not None and not found:
                    return Ended(status, bytes(out), bytes(err))
                if self._closed.is_set() or time.monotonic() >= ends:
                    raise NoReading(Reason.TIMEOUT, f"the command took more than {limit:.3g} s")

    def _read(self, ready: selectors.BaseSelector, wait: float, out: bytearray, err: bytearray) -> bool:
        """Take what the pipes hold; tell whether there was any."""
        if not ready.get_map():
            time.sleep(wait)
            return False
        found = False
        for key, _ in ready.select(wait):
            piece = os.read(key.fd, _PIECE)
            if not piece:
                ready.unregister(key.fileobj)
                continue
            found = True
            key.data.extend(piece)
        if len(out) > self._largest:
            raise NoReading(Reason.TOO_LARGE, f"the command printed more than {self._largest} bytes")
        del err[: max(0, len(err) - ERRORS_KEPT)]
        return found


def _status(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit status, below 0 for a signal, without reaping; None while it runs."""
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        # Whoever started Loadgate has children reaped at once; taking that for 0 would be a false good.
        raise NoReading(Reason.NOT_OFFERED, "exit statuses are lost: SIGCHLD is ignored here") from None
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group, close the pipes, and reap the command."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    pipes: list[IO[bytes] | None] = [process.stdout, process.stderr]
    for pipe in pipes:
        if pipe is not None:
            pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_REAPED_WITHIN)
