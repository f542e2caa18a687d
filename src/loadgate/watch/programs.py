"""Run a program without a shell and within a time limit, from any thread; or start one that stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from loadgate.watch.parse import clean

KEPT: Final = 4096
"""Bytes of a program's output that are kept: the last ones."""
_GRACE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL."""
_DRAINED_WITHIN: Final = 1.0
"""Seconds in which the output of a program that has ended is read; a child of it may hold it open."""


class Ended(NamedTuple):
    """How a program ended: its exit code (negative: the signal), the end of its output, all on one line.

    `fault` says why there is no exit code of its own: it could not be started, or took too long.
    """

    code: int | None
    said: str
    fault: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether it ended by itself with exit code 0."""
        return self.code == 0 and not self.fault

    @property
    def text(self) -> str:
        """Say how it ended, with what it said."""
        how = self.fault or (
            f"exit code {self.code}" if (self.code or 0) >= 0 else f"signal {-(self.code or 0)}"
        )
        return f"{how}: {self.said}" if self.said else how


async def run_program(
    words: Sequence[str],
    limit: float,
    *,
    given: bytes = b"",
    folder: Path | None = None,
    log: Path | None = None,
) -> Ended:
    """Run a program with `given` on its standard input, for at most `limit` seconds.

    It is started in a session of its own, and when it takes too long its whole process group is ended; what
    it leaves running when it ends by itself stays. Its output is appended to `log`, which what stays may go
    on to write, or else is read from a pipe. Never raises for what the program does.
    """
    with contextlib.ExitStack() as opened:
        try:
            output = opened.enter_context(log.open("ab")) if log is not None else asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            )
        except (OSError, ValueError) as error:
            return Ended(None, "", f"it cannot be run: {getattr(error, 'strerror', None) or error}")
        begins = output.tell() if not isinstance(output, int) else 0
    tail = bytearray()
    reading = asyncio.create_task(_read(process, tail))
    fault = ""
    try:
        async with asyncio.timeout(limit):
            await _give(process, given)
            await process.wait()
    except TimeoutError:
        fault = f"it took more than {limit:g} s and was ended"
    finally:
        if process.returncode is None:
            await _end(process)
    await asyncio.wait([reading], timeout=_DRAINED_WITHIN)
    reading.cancel()
    said = tail if log is None else _end_of(log, begins)
    return Ended(process.returncode, clean(said.decode("utf-8", "replace")), fault)


def start_program(words: Sequence[str], log: Path, folder: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a program that outlives this process, its output appended to `log`; OSError when it cannot."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )


async def _give(process: asyncio.subprocess.Process, given: bytes) -> None:
    """Write the input and close it; a program that does not read it is its own affair."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(given)
        await process.stdin.drain()
    process.stdin.close()


async def _read(process: asyncio.subprocess.Process, tail: bytearray) -> None:
    while process.stdout is not None and (piece := await process.stdout.read(KEPT)):
        tail += piece
        del tail[:-KEPT]


def _end_of(log: Path, begins: int) -> bytes:
    """Return the last bytes of a log from where this program's output begins."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(begins, file.seek(0, os.SEEK_END) - KEPT))
        return file.read()
    return b""


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
                return
