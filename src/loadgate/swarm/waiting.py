"""Wait for the workers of a headless master: those that are expected, or those of a run that is taken up.

Locust's own wait ends with exit code 1 and no word of how many came, and it never ends for workers that make
load already.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent
from locust.runners import STATE_INIT

from loadgate.exit_codes import ExitCode
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.swarm.past import Past, past_of, write_fault

_LOOK_EVERY = 0.1
_BACK_WITHIN = 60.0
"""Seconds in which a worker of a run that is taken up must come back."""
_OTHERS_WITHIN = 10.0
"""Seconds that the other workers get to come back, after the first one."""


def will_resume() -> Past | None:
    """Return what there is of the run that `LOADGATE_RUN` names, if it can be taken up."""
    given = os.environ.get("LOADGATE_RUN")
    return past_of(RunFolder(Path(given))) if given else None


class Waiting:
    """Watch a headless master until its workers are there."""

    def __init__(self, environment: Any, plan: Plan | None, resume: Past | None) -> None:
        self._environment = environment
        self._plan = plan
        self._resume = resume

    def start(self) -> None:
        """Begin to wait, in place of Locust."""
        options = self._environment.parsed_options
        if self._resume is not None:
            # Those that make load are never "ready", so Locust must not wait for them.
            expected, options.expect_workers = options.expect_workers or 0, 0
            gevent.spawn(self._until_back, self._resume, expected)
        elif options.expect_workers_max_wait:
            within, options.expect_workers_max_wait = float(options.expect_workers_max_wait), 0
            gevent.spawn(self._until_there, options.expect_workers, within)

    def _until_there(self, expected: int, within: float) -> None:
        runner = self._environment.runner
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if runner.state != STATE_INIT or len(runner.clients.ready) >= expected:
                return
            gevent.sleep(_LOOK_EVERY)
        came = len(runner.clients.ready)
        self._give_up(f"{came} of {expected} expected workers came within {within:g} s")

    def _until_back(self, past: Past, expected: int) -> None:
        """Wait for the run's workers, or for as many as are expected: new ones may stand in for dead ones."""
        options, runner = self._environment.parsed_options, self._environment.runner
        wanted = set() if past.paused else set(past.workers)
        deadline = time.monotonic() + _BACK_WITHIN
        while not (here := set(runner.clients)) or not (wanted <= here or 0 < expected <= len(here)):
            if time.monotonic() >= deadline:
                break
            if here:
                deadline = min(deadline, time.monotonic() + _OTHERS_WITHIN)
            gevent.sleep(_LOOK_EVERY)
        if not runner.clients:
            self._give_up(
                f"none of the run's {len(wanted) or expected} workers came back within {_BACK_WITHIN:g} s"
            )
            return
        runner.start(options.num_users or 1, options.spawn_rate or 1)

    def _give_up(self, message: str) -> None:
        hint = "see the workers' logs, that they reach this address, and that they have the same secret"
        write_fault(self._plan, message, hint, int(ExitCode.INVALID))
        self._environment.runner.quit()
        # Locust's main greenlet is asleep in its own wait.
        gevent.get_hub().handle_system_error(SystemExit, SystemExit(int(ExitCode.INVALID)))
