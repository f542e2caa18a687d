"""How a control room writes down the end of a run whose master could not, and when a run stays open."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgate.cli import control_room
from loadgate.cli.control_room import ControlRoom, Request
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.resume import ResumedRoom
from loadgate.cli.run_end import how_it_ended
from loadgate.errors import GeneratorError, StoreError
from loadgate.store.folder import RunFolder
from loadgate.swarm.launch import Generator

GENERATOR = cast("Generator", SimpleNamespace(tail=lambda: "its last words", ended=lambda: False))
SUPERVISED = Request(scenario=Path(), supervised=True)
Store = Callable[..., RunFolder]


def signals(*numbers: int) -> Interrupts:
    """Return what is known after these signals."""
    caught = Interrupts()
    caught.count, caught.first = len(numbers), numbers[0] if numbers else None
    return caught


@pytest.fixture
def settled(stored: Store) -> Callable[..., tuple[str | None, bool]]:
    """Let a room settle a run without an end: how it ended then, and whether it is paused."""
    run = stored(ended=None)

    def settle(room: ControlRoom, *numbers: int) -> tuple[str | None, bool]:
        room._settle(run, GENERATOR, signals(*numbers))
        return how_it_ended(run), room._is_paused

    return settle


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM)])
def test_sigterm_pauses_a_soak_that_is_being_taken_up(stored: Store, settled, numbers) -> None:
    """It began long ago: it stays open, and nothing is judged."""
    assert settled(ResumedRoom(stored(minute=1), SUPERVISED), *numbers) == (None, True)


def test_ctrl_c_ends_a_soak_that_is_being_taken_up(stored: Store, settled) -> None:
    """That is what it is for."""
    assert settled(ResumedRoom(stored(minute=1), SUPERVISED), signal.SIGINT) == ("interrupted", False)


def test_what_could_not_be_taken_up_stays_as_it_was(stored: Store, settled) -> None:
    """Neither ended nor paused: it can be tried again."""
    assert settled(ResumedRoom(stored(minute=1), SUPERVISED)) == (None, False)


def test_sigterm_pauses_a_soak_whose_master_is_being_restarted(settled) -> None:
    """There was no master to tell, and so nobody passed it on."""
    room = ControlRoom(SUPERVISED)
    room._has_begun = True
    assert settled(room, signal.SIGTERM) == (None, True)


def test_sigterm_ends_a_soak_that_never_began(settled) -> None:
    """Nobody could go on with it."""
    assert settled(ControlRoom(SUPERVISED), signal.SIGTERM) == ("interrupted", False)


def test_sigterm_ends_a_run_that_is_no_soak(settled) -> None:
    """It is told as what it was."""
    room = ControlRoom(Request(scenario=Path()))
    room._has_begun = True
    assert settled(room, signal.SIGTERM) == ("interrupted", False)


def test_a_run_that_an_alert_ended_is_told_so_though_its_master_died(settled) -> None:
    """The alert ended the load; how its master died after that is in its log."""
    room = ControlRoom(SUPERVISED)
    room._has_begun = room._is_ending = True
    room._aborts.append("latency is critical")
    assert settled(room) == ("aborted", False)


def test_an_end_that_cannot_be_written_is_told(
    stored: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By which name, why, and what to do."""

    def full(_: object) -> Any:
        raise StoreError("cannot write run.db: the disk is full", hint="free some space")

    monkeypatch.setattr(control_room, "open_writer", full)
    ControlRoom(Request(scenario=Path()))._settle(stored(ended=None), GENERATOR, signals())
    said = capsys.readouterr().err
    assert 'has ended ("died") is not on record: cannot write run.db: the disk is full' in said
    assert "free some space" in said


def test_the_wait_for_the_anchor_ends_with_a_signal(stored: Store) -> None:
    """Without a fault: whether it pauses or ends the run is told later."""
    run = stored(ended=None)
    room = ResumedRoom(run, SUPERVISED)
    assert room._wait_for_anchor(GENERATOR, run, signals(signal.SIGTERM)) is None


def test_the_wait_for_the_anchor_that_nobody_ended_is_a_fault(
    stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator gave up: it can be tried again."""
    run = stored(ended=None)
    room = ResumedRoom(run, SUPERVISED)
    monkeypatch.setattr(room, "_waits_on", lambda _: False)
    ended = cast("Generator", SimpleNamespace(tail=lambda: "", ended=lambda: True))
    with pytest.raises(GeneratorError, match="can be tried again"):
        room._wait_for_anchor(ended, run, signals())
