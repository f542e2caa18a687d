"""When a run that does not come to its end is ended by force, and that one that was begun late is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.cli import control_room
from loadgate.cli.control_room import ControlRoom, Request
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.overtime import Overtime
from loadgate.cli.run_end import is_kept
from loadgate.cli.supervisor import Supervisor
from loadgate.plan.soak import Soak
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder
from loadgate.swarm.launch import Generator

SECONDS = st.floats(0.0, 1e6)
DRAIN = 10.0

# -- the rule -----------------------------------------------------------------------------------


def test_a_run_has_a_minute_beyond_its_drain() -> None:
    """Begun at 5, planned to 100, 10 s of drain: 170."""
    assert Overtime(since=5.0, drain=DRAIN).ends(100.0, began=1.0) == 170.0


def test_what_is_taken_up_after_its_end_has_as_much_from_then_on() -> None:
    """Taken up at 500: 570, however long ago the end was."""
    assert Overtime(since=500.0, drain=DRAIN).ends(100.0, began=495.0) == 570.0


def test_a_master_that_is_started_again_gets_the_time_to_take_the_run_up() -> None:
    """Started at 165, 90 s to take the run up, 10 s of drain, 60 s: 325."""
    assert Overtime(since=5.0, drain=DRAIN).ends(100.0, began=165.0) == 325.0


def test_a_run_between_two_masters_has_an_hour() -> None:
    """The next one may be due in a while: 170 and 3600."""
    assert Overtime(since=5.0, drain=DRAIN).ends(100.0, began=None) == 3770.0


@given(since=SECONDS, planned=SECONDS, began=st.none() | SECONDS)
def test_the_end_is_neither_too_soon_nor_ever_too_far(
    since: float, planned: float, began: float | None
) -> None:
    """A minute and the drain after all that is due by then; an hour more at most, whoever follows whom."""
    ends, due = Overtime(since, DRAIN).ends(planned, began), max(since, planned)
    assert due + DRAIN + 60.0 <= ends <= due + DRAIN + 3660.0


# -- a control room that follows the rule -------------------------------------------------------


class Clock:
    """A clock that only goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class World:
    """A run past its end: its master needs `needs` seconds to write it down, or dies after `dies`."""

    clock: Clock
    needs: float
    dies: float = float("inf")
    kept: bool = True
    """Whether the newest master has taken the run up, or needs no worker for that."""
    masters: int = 0
    workers: int = 0
    ended: str | None = None
    notes: list[str] = field(default_factory=list)


class Master:
    """The newest master of a world."""

    pid = 1

    def __init__(self, world: World) -> None:
        self._world, self._began, self._code = world, world.clock.now, cast("int | None", None)
        world.masters += 1

    def poll(self) -> int | None:
        lived = self._world.clock.now - self._began
        if self._code is None and lived >= min(self._world.needs, self._world.dies):
            self._code = 1
            if self._world.needs <= self._world.dies:
                self._code, self._world.ended = 0, "planned"
        return self._code

    def wait(self, _timeout: float | None = None) -> int:
        return self._code or 0

    def kill(self) -> None:
        self._code = -9

    def send_signal(self, _number: int) -> None:
        """Take no notice."""


Follow = Callable[..., Supervisor]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Let a control room follow a world whose end was `late` seconds ago, until it is over."""

    def run(world: World, late: float, soak: Soak, interrupts: Interrupts | None = None) -> Supervisor:
        recipe: Any = SimpleNamespace(start_master=lambda *_: Master(world))
        recipe.start_worker = lambda *_: _begin_worker(world)
        gone: Any = SimpleNamespace(poll=lambda: 0, kill=lambda: None, wait=lambda: 0)
        generator = Generator(cast("RunFolder", None), recipe, Master(world), [gone])
        for name, value in {
            "time": world.clock,
            "how_it_ended": lambda _: world.ended,
            "is_kept": lambda _: world.kept,
            "passes_on_stop": lambda _: False,
            "Looking": lambda *_: SimpleNamespace(look=lambda _now: None),
            "Follower": lambda *_: SimpleNamespace(close=lambda: None),
        }.items():
            monkeypatch.setattr(control_room, name, value)

        @contextmanager
        def view(*_: Any) -> Iterator[Any]:
            yield SimpleNamespace(note=world.notes.append)

        room: Any = ControlRoom(Request(scenario=Path(), supervised=True))
        room._view, room._outlets = view, SimpleNamespace(series=())
        room._beat = room._now_and_then = room._show = lambda *_: None
        room._supervisor = Supervisor(generator, soak, world.clock.now, world.notes.append)
        plan = SimpleNamespace(
            timeline=SimpleNamespace(end=0.0), scenario=SimpleNamespace(http=SimpleNamespace(timeout=DRAIN))
        )
        watching = SimpleNamespace(look=lambda: _within_a_day(world.clock))
        room._follow(plan, None, generator, watching, interrupts or Interrupts(), world.clock.now - late)
        return cast("Supervisor", room._supervisor)

    return run


def _begin_worker(world: World) -> Any:
    """Start the worker that the master waited for."""
    world.workers, world.kept, world.needs = world.workers + 1, True, world.clock.now + 3.0
    return SimpleNamespace(poll=lambda: None, kill=lambda: None, wait=lambda: 0)


def _within_a_day(clock: Clock) -> None:
    assert clock.now < 86_400, "the run does not end"


@pytest.mark.parametrize("restarts", [0, 20, 100])
@pytest.mark.parametrize("late", [5.0, 68.0, 300.0, 86_400.0])
def test_a_run_that_is_taken_up_after_its_end_ends_as_planned(
    follow: Follow, late: float, restarts: int
) -> None:
    """Its master needs 3 s for that, and gets them however late it is."""
    world = World(Clock(), needs=3.0)
    supervisor = follow(world, late, Soak(restarts=restarts))
    assert (world.ended, world.masters, supervisor.gave_up) == ("planned", 1, "")
    # Workers leave before their master, as they should.
    assert world.workers == 0


def test_a_master_that_takes_the_run_up_after_the_end_gets_the_workers_for_that(follow: Follow) -> None:
    """They left with the master before it; without any nobody could take the run up."""
    world = World(Clock(), needs=float("inf"), kept=False)
    supervisor = follow(world, 5.0, Soak())
    assert (world.ended, world.workers, supervisor.gave_up) == ("planned", 1, "")


def test_a_master_that_is_started_again_after_the_end_ends_the_run_as_planned(follow: Follow) -> None:
    """The first one hung for 65 s and died; 70 s are what it had, and its successor needs 30 s."""
    world = World(Clock(), needs=1000.0, dies=65.0)

    class Healing(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if world.masters == 2:
                world.needs = 30.0

    world.clock = Healing()
    supervisor = follow(world, 0.0, Soak())
    assert (world.ended, world.masters, supervisor.gave_up) == ("planned", 2, "")


@pytest.mark.parametrize("restarts", [20, 1000])
def test_a_master_that_never_ends_is_ended_once(follow: Follow, restarts: int) -> None:
    """10 s of drain and 60 s after the end; nobody takes the run up after that."""
    world = World(Clock(), needs=float("inf"))
    supervisor = follow(world, 300.0, Soak(restarts=restarts))
    assert (world.ended, world.masters) == (None, 1)
    assert supervisor.gave_up == "the run did not come to its planned end"
    assert 70.0 <= world.clock.now < 72.0


@pytest.mark.parametrize("dies", [0.5, 60.0])
def test_masters_that_die_one_after_the_other_end_within_an_hour(follow: Follow, dies: float) -> None:
    """However many the plan allows: 10 s, 60 s and an hour after the end at the latest."""
    world = World(Clock(), needs=float("inf"), dies=dies)
    supervisor = follow(world, 300.0, Soak(restarts=1000))
    assert supervisor.gave_up
    assert 3000.0 < world.clock.now < 3675.0


def test_a_master_that_does_not_heed_ctrl_c_is_ended(follow: Follow) -> None:
    """The run was planned for another 10 000 s; 10 s and 60 s after Ctrl-C it is over, as interrupted."""
    world, interrupts = World(Clock(), needs=float("inf")), Interrupts()
    interrupts.count, interrupts.first = 1, 2
    supervisor = follow(world, -10_000.0, Soak(), interrupts)
    assert (world.masters, supervisor.gave_up) == (1, "")
    assert 70.0 <= world.clock.now < 72.0


# -- who keeps a run ----------------------------------------------------------------------------


@pytest.mark.parametrize(("pid", "kept"), [(4711, True), (4712, False)])
def test_a_run_is_kept_by_the_master_that_wrote_itself_down(
    stored: Callable[..., RunFolder], pid: int, kept: bool
) -> None:
    """One that was started again has not taken it up as long as its predecessor stands there."""
    run = stored(ended=None)
    with open_writer(run.database) as writer:
        writer.commit([], run_values={"pid": 4711})
    master: Any = SimpleNamespace(pid=pid)
    assert is_kept(Generator(run, cast("Any", None), master)) is kept
