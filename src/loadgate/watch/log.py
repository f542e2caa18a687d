"""Count the lines of a log that match, since the last reading: in a file, or in what a command prints.

What was searched is handed out by `take`, once, after a look that came through: lines that a look found
before it failed are part of the next reading. Where lines were passed over unsearched there is no reading,
and no total from then on: a 0 would say that there was no such line.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from loadgate.watch.command import Program
from loadgate.watch.parse import NoReading, Reason, clean
from loadgate.watch.probes import Value

MOST: Final = 16 * 1024 * 1024
"""Bytes that one look searches."""
LINE_MOST: Final = 1024 * 1024
"""Bytes of a line that are searched; the rest of it is passed over."""
_PIECE: Final = 256 * 1024
_KNOWN: Final = 64
"""Bytes before the place that was read up to, by which a file that was written anew is noticed."""


class Log(Protocol):
    """A source of lines."""

    def baseline(self) -> None:
        """Begin here: lines from now on count."""

    def look(self, limit: float) -> None:
        """Search what is new; NoReading when that cannot be done within `limit` seconds."""

    def take(self) -> tuple[Value, ...]:
        """Return the readings of all looks since the last call."""

    def stop(self) -> None:
        """Let a look that runs end soon; from any thread."""

    def close(self) -> None:
        """Let go of the source, once no look runs."""


class Tally:
    """What was counted, and whether lines were passed over. Pure."""

    def __init__(self, pattern: str) -> None:
        self.pattern = re.compile(pattern.encode())
        self.lines = 0
        self.matches = 0
        self.total = 0
        self.skipped = ""

    def take(self) -> tuple[Value, ...]:
        """Return the readings since the last call."""
        self.total += self.matches
        values = (
            Value("matches", float(self.matches)),
            Value("lines", float(self.lines)),
            Value("total", None if self.skipped else float(self.total), self.skipped),
        )
        self.matches = self.lines = 0
        return values


class Lines:
    """Cut one text into lines as its pieces come, and count them. Pure."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._rest = b""
        self._counted = False

    def add(self, piece: bytes) -> None:
        """Count the lines that a piece completes; its unfinished line waits for the next one."""
        *whole, rest = (self._rest + piece).split(b"\n")
        if any(len(line) > LINE_MOST for line in (*whole, rest)):
            self._tally.skipped = (
                f"{Reason.TOO_LARGE}: of a line longer than {LINE_MOST} bytes the rest is unsearched"
            )
        for line in whole:
            self._tally.lines += 1
            self._match(line)
            self._counted = False
        self._rest = rest[:LINE_MOST]

    def settle(self) -> None:
        """Count an unfinished last line that matches by now: whoever wrote it may have died in it."""
        if self._rest:
            self._match(self._rest)

    def end(self) -> None:
        """Take an unfinished line as finished: its text ends here."""
        if self._rest:
            self.add(b"\n")

    def _match(self, line: bytes) -> None:
        """Count a line that matches, once, however often it is looked at while it grows."""
        if not self._counted and self._tally.pattern.search(line[:LINE_MOST]):
            self._tally.matches += 1
            self._counted = True


class _Open:
    """One open file: how far it was read, and its unfinished line."""

    def __init__(self, path: Path, tally: Tally) -> None:
        """Open it; OSError, or NoReading NO_FILE when it is no regular file (a pipe would block)."""
        self.number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(self.number).st_mode):
            os.close(self.number)
            raise NoReading(Reason.NO_FILE, f"{path} is no regular file", hint="name a log file")
        self.lines = Lines(tally)
        self.place = 0
        self._known = b""

    @property
    def identity(self) -> tuple[int, int]:
        """Return what tells this file from others, whatever it is called."""
        found = os.fstat(self.number)
        return found.st_dev, found.st_ino

    def size(self) -> int:
        """Return its size; begin at its start again where it was truncated or written anew."""
        size = os.fstat(self.number).st_size
        begun = self.place - len(self._known)
        if size < self.place or os.pread(self.number, len(self._known), begun) != self._known:
            self.go_to(0)
        return size

    def go_to(self, place: int) -> None:
        """Go on from another place; an unfinished line ends."""
        self.lines.end()
        self.place = place
        self._known = os.pread(self.number, min(_KNOWN, place), max(0, place - _KNOWN))

    def read(self, most: int) -> bool:
        """Search the next piece, at most so many bytes; tell whether there was one."""
        piece = os.pread(self.number, min(_PIECE, most), self.place)
        self.lines.add(piece)
        self.place += len(piece)
        self._known = (self._known + piece)[-_KNOWN:]
        return bool(piece)

    def close(self) -> None:
        """Close it, once; its unfinished line ends."""
        self.lines.end()
        os.close(self.number)


class LogFile:
    """Follow a file through growth, rotation, truncation and absence. For one thread, but for `stop`.

    A file that was renamed is read to its end once more a look later, since its writer goes on with it until
    it opens the new one. Of a file that is truncated in place, what was written since the last look is lost,
    as it is for any reader. `clock` is CLOCK_MONOTONIC seconds.
    """

    def __init__(
        self,
        path: Path,
        pattern: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST,
    ) -> None:
        self._path = path
        self._clock = clock
        self._most = most
        self._tally = Tally(pattern)
        self._files: list[_Open] = []
        """The open files, oldest first; all but the last were renamed or removed."""
        self._stopped = threading.Event()

    def baseline(self) -> None:
        """Begin at the end of the file; one that is not there yet counts from its start."""
        with suppress(NoReading, OSError):
            file = _Open(self._path, self._tally)
            self._files.append(file)
            file.go_to(file.size())

    def look(self, limit: float) -> None:
        """Search what is new; NoReading NO_FILE, NO_PERMISSION, TOO_LARGE or TIMEOUT."""
        ends = self._clock() + limit
        try:
            for file in self._files:
                self._go_on(file, ends)
            for file in self._files[:-1]:
                file.close()
            del self._files[:-1]
            there = self._path.stat()
            if not self._files or (there.st_dev, there.st_ino) != self._files[-1].identity:
                self._files.append(_Open(self._path, self._tally))
                self._go_on(self._files[-1], ends)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        for file in self._files:
            file.lines.settle()

    def take(self) -> tuple[Value, ...]:
        """Return the readings of all looks since the last call."""
        return self._tally.take()

    def stop(self) -> None:
        """Let a look that runs end soon."""
        self._stopped.set()

    def close(self) -> None:
        """Close the file."""
        for file in self._files:
            file.close()
        self._files.clear()

    def _go_on(self, file: _Open, ends: float) -> None:
        """Search an open file from where it was left to its end."""
        size = file.size()
        new = size - file.place
        if new > self._most:
            why = f"{new} bytes of {self._path.name} were new at once, and {self._most} are searched"
            file.go_to(size)
            self._tally.skipped = f"{Reason.TOO_LARGE}: {why}"
            raise NoReading(Reason.TOO_LARGE, why, hint="read it more often")
        while file.place < size:
            if self._clock() > ends or self._stopped.is_set():
                raise NoReading(Reason.TIMEOUT, f"searching {self._path.name} takes longer; it goes on later")
            if not file.read(size - file.place):
                break


class LogCommand:
    """Search what a command prints, errors included. For one thread, but for `close`.

    {since} in its words stands for the moment from which lines are wanted in ISO 8601 (UTC), {epoch} for the
    same in seconds since 1970, both in whole seconds, rounded down: a line of the second in which two looks
    meet may be counted twice, and none is missed. `wall` is the wall clock.
    """

    def __init__(
        self,
        command: Sequence[str],
        pattern: str,
        *,
        wall: Callable[[], float] = time.time,
        most: int = MOST,
    ) -> None:
        self._command = tuple(command)
        self._wall = wall
        self._program = Program(most)
        self._tally = Tally(pattern)
        self._since = wall()

    def baseline(self) -> None:
        """Begin here: lines from now on count."""
        self._since = self._wall()

    def look(self, limit: float) -> None:
        """Run the command and search its output; NoReading when it fails, and the next look spans both."""
        begun = self._wall()
        try:
            ended = self._program.run(self._words(), limit, merged=True)
        except NoReading as failure:
            if failure.reason is Reason.TOO_LARGE:
                self._tally.skipped = failure.text
                self._since = begun
            raise
        if ended.status:
            said = ended.out.decode("utf-8", "replace").strip().splitlines()
            how = f"signal {-ended.status}" if ended.status < 0 else f"exit status {ended.status}"
            raise NoReading(Reason.ENDED, f"{how}: {clean(said[-1])}" if said else how)
        lines = Lines(self._tally)
        lines.add(ended.out)
        lines.end()
        self._since = begun

    def take(self) -> tuple[Value, ...]:
        """Return the readings of all looks since the last call."""
        return self._tally.take()

    def stop(self) -> None:
        """Give up the command that runs."""
        self._program.close()

    def close(self) -> None:
        """Nothing is held between two looks."""

    def _words(self) -> list[str]:
        second = int(self._since)
        iso = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return [word.replace("{since}", iso).replace("{epoch}", str(second)) for word in self._command]


def _unreadable(path: Path, error: OSError) -> NoReading:
    """Say why a file cannot be read."""
    if isinstance(error, PermissionError):
        return NoReading(Reason.NO_PERMISSION, str(path), hint="run as a user who may read it")
    return NoReading(
        Reason.NO_FILE, f"{path}: {error.strerror or error}", hint="see that the target writes it"
    )
