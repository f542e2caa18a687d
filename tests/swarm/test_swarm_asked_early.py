"""What is asked of a master before its run has begun waits for that, and is not dropped."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgate.swarm import plugin
from loadgate.swarm.master import PAUSE, Master
from loadgate.swarm.plugin import Roles


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Master:
    """A master whose run has not begun: only what decides upon requests."""
    made = object.__new__(Master)
    made.ended, made._asked = None, None
    made._muster = cast("Any", SimpleNamespace(anchor=None))
    monkeypatch.setattr(made, "_event", lambda *_, **__: None, raising=False)
    monkeypatch.setattr(made, "_end", lambda: None, raising=False)
    return made


@pytest.mark.parametrize(("request_of", "ended"), [(Master.pause, PAUSE), (Master.aborted, "aborted")])
def test_a_request_before_run_time_zero_is_followed_once_it_has_begun(
    master: Master, request_of: Callable[[Master], None], ended: str
) -> None:
    """Not before: there is nothing to pause or to end. Run time 0 may lie ahead for a moment."""
    request_of(master)
    assert (master.ended, master._follows_request()) == (None, False)
    master._muster.anchor = time.monotonic() + 1000.0
    assert (master.ended, master._follows_request()) == (None, False)
    master._muster.anchor = time.monotonic() - 1.0
    assert (master._follows_request(), master.ended) == (True, ended)


def test_a_request_in_a_run_that_has_begun_is_followed_at_once(master: Master) -> None:
    """As ever; nothing is kept."""
    master._muster.anchor = time.monotonic() - 1.0
    master.pause()
    assert (master.ended, master._follows_request()) == (PAUSE, False)


def test_the_first_of_two_requests_is_followed(master: Master) -> None:
    """As in a run that has begun."""
    master.aborted()
    master.pause()
    master._muster.anchor = time.monotonic() - 1.0
    assert (master._follows_request(), master.ended) == (True, "aborted")


def test_a_run_that_was_interrupted_meanwhile_stays_so(master: Master) -> None:
    """Ctrl-C ends it before it has begun: what was asked before changes nothing any more."""
    master.pause()
    master.interrupted()
    master._muster.anchor = time.monotonic() - 1.0
    master._follows_request()
    assert master.ended == "interrupted"


@pytest.mark.parametrize(("said", "heard"), [("paused", "pause"), ("aborted", "aborted")])
def test_what_comes_while_workers_are_waited_for_is_kept_for_the_keeper(
    monkeypatch: pytest.MonkeyPatch, said: str, heard: str
) -> None:
    """A restarted master has no keeper until its workers are back; then it hears of it before it begins."""
    asked: list[str] = []

    class Keeper:
        def __init__(self, *_: object) -> None:
            self.finalise = None

        def pause(self) -> None:
            asked.append("pause")

        def aborted(self) -> None:
            asked.append("aborted")

        def begin(self) -> None:
            asked.append("begin")

    class Runner:
        pass

    monkeypatch.setattr(plugin, "Master", Keeper)
    monkeypatch.setattr(plugin, "MasterRunner", Runner)
    monkeypatch.setattr(plugin.passport, "folder_of_locustfile", lambda _: None)
    monkeypatch.setattr(Roles, "fingerprint", None)
    roles = Roles(SimpleNamespace(runner=Runner()))
    getattr(roles, said)()
    assert asked == []
    roles.test_start()
    roles.test_start()
    assert asked == [heard, "begin", "begin"]
