"""The heartbeat: it goes on while the event loop is busy, and ends when it is told to."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from gevent import monkey

from loadgate.swarm import messages
from loadgate.swarm.beat import Beating
from loadgate.swarm.pace import BEAT

# The tests wait in the main thread for one that runs beside it, whether or not Locust has patched these.
Event = monkey.get_original("threading", "Event")
pause = monkey.get_original("time", "sleep")


class FakeLink:
    """A connection that takes everything down; waiting is waiting."""

    def __init__(self, beats_until_end: int = 0, breaks: bool = False) -> None:
        self.said: list[str] = []
        self.beats: list[tuple[float, str, dict[str, Any]]] = []
        self.closed = Event()
        self.enough = Event()
        self._until = beats_until_end
        self._breaks = breaks

    def connect(self) -> None:
        self.said.append("connect")

    def send(self, kind: str, data: dict[str, Any]) -> None:
        self.beats.append((time.monotonic(), kind, data))
        if len(self.beats) == self._until:
            self.enough.set()
        if self._breaks:
            raise OSError("no more descriptors")

    def poll(self, timeout: float) -> None:
        assert 0 < timeout <= BEAT[0]
        pause(min(timeout, 0.01))

    def close(self) -> None:
        self.said.append("close")
        self.closed.set()


def beat_of(number: int = 3) -> messages.Beat:
    return messages.Beat("run", number, ready=True, stuck=0.0)


def test_beats_go_on_while_the_main_thread_computes() -> None:
    """A second of pure computing, in which no event loop turns, holds three beats or more."""
    link = FakeLink()
    beating = Beating(lambda: link, beat_of)
    beating.start()
    begun = time.monotonic()
    number = 0
    while time.monotonic() < begun + 1.0:
        number += sum(range(100))
    ended = time.monotonic()
    beating.stop()
    assert link.closed.wait(5.0)
    during = [at for at, _, _ in link.beats if begun <= at <= ended]
    assert len(during) >= 3


def test_a_beat_says_what_the_worker_tells() -> None:
    """As a plain message of its kind."""
    link = FakeLink(beats_until_end=1)
    beating = Beating(lambda: link, lambda: messages.Beat("run-1", 5, ready=False, stuck=2.5))
    beating.start()
    assert link.enough.wait(5.0)
    beating.stop()
    assert link.closed.wait(5.0)
    assert link.beats[0][1:] == (
        messages.BEAT,
        {"run": "run-1", "leases": 5, "ready": False, "stuck": 2.5},
    )


def test_stopping_ends_the_thread_and_closes_its_connection() -> None:
    """Within the time of one beat, and nothing is sent after that."""
    link = FakeLink(beats_until_end=2)
    beating = Beating(lambda: link, beat_of)
    beating.start()
    assert link.enough.wait(5.0)
    beating.stop()
    assert link.closed.wait(5.0)
    assert link.said == ["connect", "close"]
    # The connection is closed last of all, so nothing can come after it.
    assert len(link.beats) in (2, 3)


def test_it_may_be_stopped_before_it_started() -> None:
    """It connects and closes, and never beats."""
    link = FakeLink()
    beating = Beating(lambda: link, beat_of)
    beating.stop()
    beating.start()
    assert link.closed.wait(5.0)
    assert link.beats == []


def test_a_connection_that_breaks_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread says why and ends, the worker falls silent, and its share goes to others."""
    told = Event()
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: told.set())
    link = FakeLink(breaks=True)
    Beating(lambda: link, beat_of).start()
    assert told.wait(5.0)
    assert link.closed.is_set()
    assert len(link.beats) == 1


def test_the_connection_is_made_in_the_thread() -> None:
    """So that it belongs to no event loop."""
    get_ident = monkey.get_original("_thread", "get_ident")
    made: list[int] = []
    link = FakeLink(beats_until_end=1)

    def make() -> FakeLink:
        made.append(get_ident())
        return link

    beating = Beating(make, beat_of)
    beating.start()
    assert link.enough.wait(5.0)
    beating.stop()
    assert link.closed.wait(5.0)
    assert made != [get_ident()]
