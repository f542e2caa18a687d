"""The heartbeat of a worker, from a native thread with a connection of its own.

A worker whose event loop is busy, because a check parses a huge answer or a user's code computes, cannot send
anything from it, and is alive all the same. The thread goes on beating as long as the process runs at
all; it stops with the process, and only then does the worker's share go to others.
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

    def pace(self, workers: int) -> None:
        """Beat as often as one of so many workers does, from the next beat on; for any thread."""
        self._every = pace.interval(pace.BEAT, workers)

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
                until = time.monotonic() + self._every
                link.send(messages.BEAT, asdict(self._tell()))
                while (left := until - time.monotonic()) > 0 and not self._stopped:
                    link.poll(left)
        finally:
            link.close()
