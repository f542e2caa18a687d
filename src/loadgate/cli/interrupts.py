"""Signals that ask a command to end: counted, and held while something is half started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Count the signals that ask us to end."""

    def __init__(self) -> None:
        self.count = 0
        self.first: int | None = None
        self._counts_only = False

    def count_only(self) -> None:
        """Let a signal end nothing from now on: whoever looks at `count` does."""
        self._counts_only = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait for the end of the block: what it starts must not be half started."""
        counts_only, before = self._counts_only, self.count
        self._counts_only = True
        try:
            yield
        finally:
            self._counts_only = counts_only
        if self.count > before and not counts_only:
            raise KeyboardInterrupt

    @contextmanager
    def caught(self) -> Iterator[Interrupts]:
        """Catch SIGINT and SIGTERM for a while; both raise KeyboardInterrupt until `count_only`."""

        def note(number: int, _frame: FrameType | None) -> None:
            self.count += 1
            self.first = self.first or number
            if not self._counts_only:
                raise KeyboardInterrupt

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
