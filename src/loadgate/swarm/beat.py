"""The heartbeat of a worker, from a native thread with a connection of its own.

A worker whose event loop is busy, because a check parses a huge answer or a user's code computes, cannot send
anything from it, and is alive all the same. The thread goes on beating as long as the process runs at
all; it stops with the process, and only then does the worker's share go to others.

A report shows as well that its worker lives, so it puts the next beat off: in a large fleet that saves the
master a third of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from gevent import monkey

from loadgate.swarm import messages, pace


class Link(Protocol):
    """A connection to the master that a native thread may use."""

    def connect(self) -> None:
        """Begin to connect; never waits."""

    def send(self, kind: str, data: dict[str, Any]) -> object:
        """Send a message when the connection stands; drop it otherwise."""

    def poll(self, timeout: float) -> object:
        """Take in what comes, for up to `timeout` seconds."""

    def close(self) -> None:
        """Give the connection up."""


class Beating:
    """Beat until stopped. `link()` and `tell()` are called in the thread, so they touch no gevent object."""

    def __init__(self, link: Callable[[], Link], tell: Callable[[], messages.Beat]) -> None:
        self._make_link = link
        self._tell = tell
        self._stopped = False
        self._every = pace.interval(pace.BEAT, 1)
        self._said = float("-inf")

    def pace(self, workers: int) -> None:
        """Beat as often as one of so many workers does, from the next beat on; for any thread."""
        self._every = pace.interval(pace.BEAT, workers)

    def said(self, now: float) -> None:
        """Note that the worker said something else at `now` (CLOCK_MONOTONIC); for any thread."""
        self._said = now

    def start(self) -> None:
        """Start the thread; after a fork it must be started in the child."""
        monkey.get_original("_thread", "start_new_thread")(self._run, ())

    def stop(self) -> None:
        """Let the thread end at its next beat."""
        self._stopped = True

    def _run(self) -> None:
        link = self._make_link()
        link.connect()
        try:
            while not self._stopped:
                beat = time.monotonic()
                link.send(messages.BEAT, asdict(self._tell()))
                while (left := self._next_after(beat) - time.monotonic()) > 0 and not self._stopped:
                    link.poll(left)
        finally:
            link.close()

    def _next_after(self, beat: float) -> float:
        return pace.next_beat(beat, self._said, self._every)
