"""The live view of a run on standard error: a screen on a terminal, plain lines everywhere else.

Standard output stays free for data.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from loadgate.plan.plan import Plan
from loadgate.report.lines import ended_line, start_line, status_line
from loadgate.report.screen import screen
from loadgate.report.snapshot import Snapshot
from loadgate.report.text import clean, console_for, is_terminal, symbols_for
from loadgate.store.folder import RunFolder

LINE_EVERY: Final = 5
"""Seconds of run time between two plain lines."""


class View(Protocol):
    """What shows a run while it goes on."""

    def show(self, snapshot: Snapshot) -> None:
        """Show how the run stands."""

    def note(self, text: str) -> None:
        """Say at once what happened; the same text twice in a row is said once."""


@contextmanager
def open_view(plan: Plan, folder: RunFolder) -> Iterator[View]:
    """Open the live view on stderr; the terminal is as it was when the block is left, however that is."""
    stream = sys.stderr
    console = console_for(stream)
    if not is_terminal(stream):
        plain = PlainView(console, plan, folder)
        yield plain
        plain.end()
        return
    live = Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        vertical_overflow="crop",
    )
    with live:
        yield ScreenView(live, plan, folder, stream)


class PlainView:
    """Lines for logs: one at the start, one every five seconds of run time, notes at once."""

    def __init__(self, console: Console, plan: Plan, folder: RunFolder) -> None:
        self._console = console
        self._next = float(LINE_EVERY)
        self._note = ""
        self._last: Snapshot | None = None
        self._print(start_line(plan, folder))

    def show(self, snapshot: Snapshot) -> None:
        """Print a line when the next one is due."""
        self._last = snapshot
        if snapshot.begun and snapshot.now >= self._next:
            self._next = (math.floor(snapshot.now / LINE_EVERY) + 1) * float(LINE_EVERY)
            self._print(status_line(snapshot))

    def note(self, text: str) -> None:
        """Print a note, unless it is the one before."""
        if text != self._note:
            self._note = text
            self._print(f"note: {clean(text)}")

    def end(self) -> None:
        """Print what the run came to, for a run that had begun."""
        if self._last is not None and self._last.begun:
            self._print(ended_line(self._last))

    def _print(self, line: str) -> None:
        self._console.print(Text(line))


class ScreenView:
    """A screen that is drawn anew in its place; notes stay above it."""

    def __init__(self, live: Live, plan: Plan, folder: RunFolder, stream: TextIO) -> None:
        self._live = live
        self._plan = plan
        self._folder = folder
        self._symbols = symbols_for(stream)
        self._note = ""

    def show(self, snapshot: Snapshot) -> None:
        """Draw the screen."""
        size = self._live.console.size
        drawn = screen(snapshot, self._plan, self._folder, size.width, size.height - 1, self._symbols)
        self._live.update(drawn, refresh=True)

    def note(self, text: str) -> None:
        """Print a note above the screen, unless it is the one before."""
        if text != self._note:
            self._note = text
            self._live.console.print(Text(f"note: {clean(text)}", style="yellow"))
