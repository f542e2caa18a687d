"""Send the daily summary of a run that goes on: a process of its own works it out, and nothing waits for it.

A week of windows takes seconds and memory to sum up, which the control room has better use for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Final, Protocol

import orjson

from loadgate.errors import LoadgateError, UsageError
from loadgate.plan.daily import Daily, parse_daily
from loadgate.plan.plan import Plan
from loadgate.plan.units import UnitError, format_duration
from loadgate.report.text import clean
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.watch.daily import Section, Summary, to_send

MADE_WITHIN: Final = 300.0
"""Seconds that a summary may take to be worked out."""
LOOK_EVERY: Final = 15.0
"""Seconds between two looks at the clock."""


class Told(Protocol):
    """What sends a summary and remembers it: the notifier."""

    def daily(self, day: str, summary: Summary) -> None:
        """Take the summary of a day for every receiver that has none of it yet."""
        ...

    def days_told(self) -> set[str]:
        """Return the days that need no summary any more."""
        ...


def command_of(folder: RunFolder) -> list[str]:
    """Return the command that works out a run's summary, after everything else that wants the CPU."""
    nice = shutil.which("nice")
    polite = [nice, "-n", "10"] if nice is not None else []
    made = [sys.executable, "-m", "loadgate", "notify", "daily", str(folder.path.absolute()), "--json"]
    return [*polite, *made]


def _parsed(text: str) -> Daily:
    try:
        return parse_daily(text)
    except UnitError as error:
        raise UsageError(f"[notify] daily: {error.message}", hint=error.hint) from error


class DailySummaries:
    """Send a summary once a day, at the plan's time; call `look` often, in one thread.

    A moment that passed while no control room was there is made up for, once; what was sent is remembered by
    the notifier, in the watch database. `wall` gives the time, which must know its zone. UsageError when this
    machine does not know the plan's time zone.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        notifier: Told,
        *,
        command: Sequence[str] | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        notify = plan.scenario.notify
        self._daily = _parsed(notify.daily) if notify.daily is not None and notify.receiver else None
        self._name = plan.scenario.name
        self._folder, self._notifier = folder, notifier
        self._command = list(command) if command is not None else command_of(folder)
        self._wall, self._clock = wall, clock
        self._began: datetime | None = None
        self._told: set[str] = set()
        self._looked_at = float("-inf")
        self._making: tuple[str, subprocess.Popen[bytes], IO[bytes], float] | None = None

    def begin(self) -> None:
        """Begin, once the notifier has: from when on summaries are due is the begin of the run."""
        self._told = set(self._notifier.days_told())
        self._began = self._wall()
        try:
            with RunReader(self._folder.database) as reader:
                anchor: Any = reader.value("anchor", None)
            self._began = datetime.fromtimestamp(float(anchor["wall"]), UTC)
        except (LoadgateError, KeyError, TypeError, ValueError):
            return  # without a known begin it is now: nothing is made up for

    def look(self) -> None:
        """Begin a summary that is due, and send one that is made; never waits."""
        if self._daily is None or self._began is None:
            return
        if self._making is not None:
            self._collect()
            return
        if self._clock() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = self._clock()
        day = to_send(self._daily, self._began, self._wall(), self._told)
        if day is not None:
            self._told.add(day)
            self._start(day)

    def close(self) -> None:
        """Give up what is being made: the end of the run says more."""
        if self._making is not None:
            _, process, output, _ = self._making
            process.kill()
            process.wait()
            output.close()
            self._making = None

    def _start(self, day: str) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            output.close()
            self._notifier.daily(day, self._failed(str(error.strerror or error)))
            return
        self._making = (day, process, output, self._clock())

    def _collect(self) -> None:
        assert self._making is not None
        day, process, output, since = self._making
        code = process.poll()
        late = code is None and self._clock() - since > MADE_WITHIN
        if code is None and not late:
            return
        if late:
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read()
        output.close()
        self._making = None
        self._notifier.daily(day, self._made(code, said))

    def _made(self, code: int | None, said: bytes) -> Summary:
        """Return the summary that a process printed, or one that says why there is none."""
        if code is None:
            return self._failed(f"it took more than {format_duration(MADE_WITHIN)}")
        try:
            return Summary.from_dict(orjson.loads(said))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
            return self._failed(f"exit code {code}{': ' + clean(last[0]) if last else ''}")

    def _failed(self, why: str) -> Summary:
        what = f"{self._name}: the daily summary could not be made (run {self._folder.id})"
        hint = f"the run goes on; see `loadgate status {self._folder.id}`"
        return Summary(what, (Section("Why", (why, hint)),))
