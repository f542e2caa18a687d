"""Start again what dies of a generator, into the same run: with pauses, and only so often.

A master that is started again takes the run and its workers back; a worker that is started again joins as a
new one, and what its predecessor took along is counted as lost. What ends because the run ends is left alone,
as the caller says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadgate.cli.restarts import Restarts
from loadgate.errors import GeneratorError
from loadgate.plan.scenario import Soak
from loadgate.plan.units import format_duration
from loadgate.swarm.launch import Generator
from loadgate.swarm.living import GONE, Handle

MASTER = 0
"""The number of the master, where workers count from 1."""


@dataclass
class _Part:
    """One process: its restarts, when it was started, and when it will be again."""

    restarts: Restarts
    began: float
    due: float | None = None
    cause: str = ""


class Supervisor:
    """Watch the processes of one generator; times are seconds of a clock that does not go back.

    `say` tells people. `gave_up` says why the run has to end; it is empty as long as it need not.
    """

    def __init__(self, generator: Generator, soak: Soak, now: float, say: Callable[[str], None]) -> None:
        self._generator = generator
        self._soak = soak
        self._say = say
        self._parts = {
            number: _Part(Restarts(soak.restarts, soak.backoff, soak.backoff_most), now)
            for number in range(len(generator.workers) + 1)
        }
        self.gave_up = ""

    @property
    def master_began(self) -> float:
        """Return when the newest master was started."""
        return self._parts[MASTER].began

    def give_up(self, why: str) -> None:
        """Start nothing again from now on: the run has to end. The first reason stays."""
        self.gave_up = self.gave_up or why

    def look(self, now: float, *, master: bool = True, workers: bool = True) -> None:
        """Note what died, and start again what is due; only the master or the workers, where so told."""
        for number in self._parts:
            if (master if number == MASTER else workers) and not self.gave_up:
                self._look_at(number, now)

    def _look_at(self, number: int, now: float) -> None:
        part, process = self._parts[number], self._process(number)
        code = process.poll()
        if code is None:
            return
        if part.due is None:
            part.cause = f"{_name(number)} {_ended(code)}"
            part.due = part.restarts.died(now, part.began)
            if part.due is None:
                said = f"{part.cause}, after {part.restarts.spent}"
                self.give_up(f"{said}: see its log, and [soak] restarts in the scenario")
                return
            pause = format_duration(round(part.due - now, 3))
            self._say(f"{part.cause}; it is started again in {pause}")
        if now >= part.due:
            self._start(number, part, now)

    def _start(self, number: int, part: _Part, now: float) -> None:
        part.began, part.due = now, None
        try:
            if number == MASTER:
                self._generator.restart_master(part.cause)
            else:
                self._generator.restart_worker(number)
        except GeneratorError as error:
            # Memory or processes may be short for a moment; it counts as one more death.
            self._say(error.message)

    def _process(self, number: int) -> Handle:
        return self._generator.master if number == MASTER else self._generator.workers[number - 1]


def _name(number: int) -> str:
    return "the master" if number == MASTER else f"worker {number}"


def _ended(code: int) -> str:
    if code == GONE:
        return "died"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
