"""What a supervisor does about the processes of a generator; time is passed in."""

from __future__ import annotations

import signal
from pathlib import Path

from loadgate.cli.supervisor import Supervisor
from loadgate.errors import GeneratorError
from loadgate.plan.soak import Soak
from loadgate.store.folder import RunFolder
from loadgate.swarm.launch import Generator, Recipe

SOAK = Soak(restarts=2, backoff=1.0, backoff_most=8.0)


class Process:
    """A process that ends when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 1
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def wait(self, _timeout: float | None = None) -> int:
        return self.code or 0

    def send_signal(self, sig: int) -> None:
        self.code = -sig

    def kill(self) -> None:
        self.code = -signal.SIGKILL


class Starts(Recipe):
    """A recipe that starts nothing, and tells what it was asked to start."""

    def __init__(self) -> None:
        super().__init__((), (), {})
        self.__dict__.update(started=[], fails=False)

    def start_master(self, _folder: RunFolder, cause: str = "") -> Process:
        self._note(f"master: {cause}")
        return Process("master")

    def start_worker(self, _folder: RunFolder, number: int) -> Process:
        self._note(f"worker-{number}")
        return Process(f"worker-{number}")

    def _note(self, what: str) -> None:
        if self.__dict__["fails"]:
            raise GeneratorError("there is no memory")
        self.__dict__["started"].append(what)


def scene() -> tuple[Generator, Supervisor, list[str], list[str]]:
    """A master and two workers that live, watched from 0; what is started, and what is said."""
    recipe, said = Starts(), list[str]()
    generator = Generator(
        RunFolder(Path("run")), recipe, Process("master"), [Process("worker-1"), Process("worker-2")]
    )
    return generator, Supervisor(generator, SOAK, 0.0, said.append), recipe.__dict__["started"], said


def test_what_lives_is_left_alone() -> None:
    """Nothing is started, nothing is said."""
    _, supervisor, started, said = scene()
    supervisor.look(100.0)
    assert (started, said, supervisor.gave_up) == ([], [], "")


def test_a_dead_worker_is_started_again_after_its_pause() -> None:
    """1 s after its death was seen, and once."""
    generator, supervisor, started, said = scene()
    generator.workers[1].kill()
    supervisor.look(10.0)
    supervisor.look(10.9)
    assert started == []
    supervisor.look(11.0)
    supervisor.look(11.5)
    assert started == ["worker-2"]
    assert said == ["worker 2 was killed by signal 9; it is started again in 1s"]


def test_a_dead_master_is_told_why_it_takes_the_run_up() -> None:
    """The cause goes to the new master, which writes it into the run."""
    generator, supervisor, started, _ = scene()
    generator.master.send_signal(signal.SIGSEGV)
    supervisor.look(10.0)
    supervisor.look(11.0)
    assert started == ["master: the master was killed by signal 11"]


def test_what_ends_with_the_run_is_left_alone() -> None:
    """Workers leave before their master; the caller says when that is so."""
    generator, supervisor, started, said = scene()
    generator.workers[0].kill()
    supervisor.look(10.0, workers=False)
    supervisor.look(20.0, workers=False)
    assert (started, said) == ([], [])


def test_too_many_deaths_are_given_up_with_the_reason() -> None:
    """Two restarts are allowed; at the third death the reason names the process and the key."""
    generator, supervisor, started, _ = scene()
    for at in (10.0, 20.0, 30.0):
        generator.workers[0].kill()
        supervisor.look(at)
        supervisor.look(at + 5.0)
    assert started == ["worker-1", "worker-1"]
    assert supervisor.gave_up.startswith("worker 1 was killed by signal 9, after 2 restarts within 1h")
    assert "[soak] restarts" in supervisor.gave_up


def test_each_process_has_its_own_restarts() -> None:
    """Two deaths of each are no third of any."""
    generator, supervisor, started, _ = scene()
    for at in (10.0, 20.0):
        for process in generator.processes:
            process.kill()
        supervisor.look(at)
        supervisor.look(at + 5.0)
    assert len(started) == 6
    assert supervisor.gave_up == ""


def test_a_start_that_fails_is_one_more_death() -> None:
    """The old process is still dead at the next look, which has its pause and its limit."""
    generator, supervisor, started, said = scene()
    generator.recipe.__dict__["fails"] = True
    generator.workers[0].kill()
    for at in (10.0, 11.0, 12.0, 14.0, 15.0):
        supervisor.look(at)
    assert started == []
    assert "there is no memory" in said
    assert supervisor.gave_up
