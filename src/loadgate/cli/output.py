"""What holds when the places that output goes to are closed, full, or read by nobody any more."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click


class _Unread(io.FileIO):
    """Write to a file descriptor; from a broken pipe on, to nowhere."""

    def write(self, data: Any) -> int:
        """Write bytes."""
        try:
            return super().write(data)
        except BrokenPipeError:
            discard(self.fileno())
            return memoryview(data).nbytes


def keep_going() -> None:
    """Let this process outlive whoever reads its output.

    `loadgate run ... 2>&1 | head -1` is then a run that goes on, and its exit code the verdict's: click and
    Rich would end the process where it stands, with a code that means nothing. A process that was started
    with closed streams gets some that lead nowhere.
    """
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def _lasting(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Unread(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=number == 2 or stream.line_buffering,
        write_through=stream.write_through,
    )


def discard(number: int) -> None:
    """Send what is still to be written to a file descriptor nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


@contextmanager
def printed(path: Path) -> Iterator[None]:
    """Print a verdict that is stored at `path`: a full disk never hides its exit code."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout.fileno())
        click.echo(
            f"the verdict cannot be printed: {error.strerror or error}; it is stored in {path}", err=True
        )
