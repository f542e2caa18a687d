"""Measure what a worker carries: `python -m loadgate.swarm.calibrate FILE`, with the plan on standard input.

Users of the locustfile send, in the plan's mix, as fast as they can to a null server, over the same driver,
client, recorder and statistics as in a run. What counts is the CPU that this process spends on a request: its
inverse is what one full core carries. A busy neighbour changes that by little, and a user that pauses not at
all, where the rate that was reached would halve.

Checks are called and what they say is ignored, since the null server's answers are not the target's; a user's
code that fails on them cannot be measured, and that is said.

Prints a line with a JSON object: rate, cores, files, code, error.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
import orjson
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from loadgate.errors import GeneratorError, LoadgateError
from loadgate.measure.recorder import Recorder
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Http, Stage, Traffic
from loadgate.plan.timeline import PHASES
from loadgate.swarm.capacity import MARK
from loadgate.swarm.feed import Feed
from loadgate.swarm.fingerprint import fingerprint
from loadgate.swarm.limits import cores_allowed, cpu_groups
from loadgate.swarm.null_server import NullServer
from loadgate.swarm.thresholds import thresholds_of
from loadgate.traffic import driver
from loadgate.traffic.engine import ENGINE_ATTRIBUTE, Engine, Place
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.job import corpora_of
from loadgate.traffic.tasks import Check, judge_answer
from loadgate.traffic.user import LoadUser
from loadgate.traffic.values import Response

USERS: Final = 32
"""Users that send at a time: enough to fill a core, few enough to be started at once."""
WARM_UP: Final = 0.4
MEASURE: Final = 1.2
"""Seconds before and of the measurement; at 10,000 requests a second, 1.2 s tell it to about 1 %."""
_FLUSH_EVERY = 0.1
_LEAST: Final = 50
"""Turns below which nothing can be told."""
_MOST_FAILED: Final = 0.01


class Calibration:
    """One measurement: users, their engine, and what they did. The null server is the caller's."""

    def __init__(self, plan: Plan, user_classes: list[type[Any]], url: str) -> None:
        self.plan = _closed(plan)
        self.turns = 0
        self._environment = Environment(user_classes=user_classes, host=url)
        self._recorder = Recorder()
        self._failures: dict[str, int] = {}
        self._feed = Feed()
        self._engine = Engine(
            place=Place("calibration", "calibration"),
            recorder=self._recorder,
            user_classes=user_classes,
            settings=ClientSettings(url, timeout=5.0),
            plan=self.plan,
        )
        for job in self._engine.jobs:
            job.function = self._counted(job.function)
        setattr(self._environment, ENGINE_ATTRIBUTE, self._engine)
        self._user_class = user_classes[0]

    def run(self) -> float:
        """Return the turns for each second of CPU. GeneratorError where the users' code does not do them."""
        anchor = time.monotonic()
        timeline = self.plan.timeline
        self._recorder.start(
            anchor, timeline.phases_of, PHASES, thresholds_of(self.plan.objectives, self.plan.alerts)
        )
        self._engine.begin(anchor)
        users = [gevent.spawn(self._user_class(self._environment).run) for _ in range(USERS)]
        keeper = gevent.spawn(self._keep, anchor)
        gevent.sleep(WARM_UP)
        gc.collect()
        gc.freeze()
        turns, cpu = self.turns, time.process_time()
        gevent.sleep(MEASURE)
        turns, cpu = self.turns - turns, time.process_time() - cpu
        self._check(turns, users)
        gevent.killall([*users, keeper])
        return turns / max(cpu, 1e-6)

    def _counted(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Count the turns: a flow is one arrival of the plan's rate, however many requests it sends."""

        def counted(persona: Any) -> Any:
            self.turns += 1
            return function(persona)

        counted.__name__ = function.__name__
        return counted

    def _keep(self, anchor: float) -> None:
        """Do what a worker does with its records: it is part of what a request costs."""
        while True:
            for _ in range(10):
                gevent.sleep(_FLUSH_EVERY)
                for _ in self._recorder.flush_in_parts(1000):
                    gevent.sleep(0)
            self._note(anchor)

    def _note(self, anchor: float) -> None:
        for window in self._recorder.drain(time.monotonic() - anchor):
            self._feed.window(self._environment.stats, window, self._engine.methods(), 0.0)
        for failure in self._recorder.failures():
            what = f"{failure.kind}: {failure.message}" if failure.message else failure.kind
            self._failures[what] = self._failures.get(what, 0) + failure.count

    def _check(self, turns: int, users: list[gevent.Greenlet]) -> None:
        dead = next((user.exception for user in users if user.dead and user.exception is not None), None)
        if dead is not None:
            raise GeneratorError(f"a user ended with {type(dead).__name__}: {dead}")
        self._recorder.flush()
        self._note(self._engine.anchor or 0.0)
        if sum(self._failures.values()) > _MOST_FAILED * max(turns, 1):
            worst = max(self._failures, key=lambda what: self._failures[what])
            raise GeneratorError(f"its users' code does not work with the null server's answers: {worst}")
        if turns < _LEAST:
            raise GeneratorError(f"its users made only {turns} requests in {MEASURE:g} s")


def ignore_checks() -> None:
    """Let checks cost what they cost and decide nothing, in all of this process."""

    def lenient(check: Check | None, response: Response) -> None:
        judge_answer(check, response)

    vars(driver)["judge_answer"] = lenient


def _closed(plan: Plan) -> Plan:
    """Return the plan as a closed model of users without a wait: the mix stays, all else is in its way."""
    old = plan.scenario.traffic
    traffic = Traffic(
        model="closed", users=USERS, stages=(Stage(users=USERS, hold=3600.0),), mix=old.mix, seed=old.seed
    )
    # Headers may hold secrets, and nothing depends on them here.
    scenario = plan.scenario.model_copy(update={"traffic": traffic, "http": Http(timeout=5.0)})
    return plan.model_copy(update={"scenario": scenario})


def measure(file: Path, plan: Plan) -> dict[str, Any]:
    """Measure one locustfile with a plan's mix. LoadgateError where it cannot be."""
    classes = [cls for cls in load_locustfile(str(file))[0].values() if issubclass(cls, LoadUser)]
    if not classes:
        raise GeneratorError("it has no user class derived from LoadUser")
    print_of = fingerprint([file], extra=[c.path for cls in classes for c in corpora_of(cls) if c.path])
    ignore_checks()
    server = NullServer()
    try:
        rate = Calibration(plan, classes, server.url).run()
    finally:
        server.close()
    return {
        "rate": rate,
        "cores": cores_allowed(cpu_groups()),
        "files": print_of.files,
        "code": print_of.code,
        "error": "",
    }


def main() -> None:
    """Print what a worker carries of the locustfile named on the command line."""
    try:
        found = measure(Path(sys.argv[1]), Plan.from_json(sys.stdin.buffer.read()))
    except LoadgateError as error:
        found = {"error": error.message}
    sys.stdout.write(MARK + orjson.dumps(found).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
