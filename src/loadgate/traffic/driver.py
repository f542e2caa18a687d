"""What one user does, turn after turn: build a request, send it, check the answer, record it.

A request goes through four moments: *due* (the schedule wanted it), *begun* (a user took it in
hand), *sent* (the first byte left) and *ended* (the last byte came back). In the closed model
there is no schedule, so a request is due when it is sent, and response time equals service time.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent import GreenletExit, get_hub, getcurrent
from locust import User
from locust.exception import StopTest, StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

from loadgate.errors import UsageError
from loadgate.traffic.activation import next_active
from loadgate.traffic.engine import Engine
from loadgate.traffic.http.client import HttpClient
from loadgate.traffic.job import Job, draws_repeat
from loadgate.traffic.tasks import Check, judge_answer
from loadgate.traffic.user_code import kind_of_code
from loadgate.traffic.values import Request, Response

if TYPE_CHECKING:
    from loadgate.traffic.pool import Turn

_OK, _FAILED, _TIMEOUT, _UNFINISHED = 0, 1, 2, 3
_HIT, _MISS, _REPEATS, _LIMITED, _EXHAUSTED = 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6
_RETRIES_SHIFT = 8
_SAMPLE_CHARACTERS = 500
_PAUSE_AFTER_EXCEPTION = 0.01
_STAGE_LOOK = 1.0
"""Seconds at the most between two looks at whether the stages want this user."""
_LEASE_LOOK = 0.05
"""Seconds between two looks at whether this process may start requests again."""
_monotonic = time.monotonic
_log = logging.getLogger("loadgate.traffic")


class Driver:
    """Drive one user: one connection, over which it sends what its own class, or the pool, asks for.

    `user` is the Locust user; `personas` are the user objects whose task methods are called, by their
    class. In the open model one driver sends the requests of every class.
    """

    def __init__(self, engine: Engine, user: Any) -> None:
        if engine.settings is None:
            raise UsageError(
                "the target's address is missing",
                hint="give --host URL (-H for stock locust), or host in the scenario",
            )
        self.engine = engine
        self.user = user
        self._place = engine.take_place()
        self.http = HttpClient(engine.settings, engine.source_address(self.number))
        self.personas: dict[type[Any], Any] = {type(user): user}
        self.last_failed = False
        """Whether the last answer was not a good one."""

    @property
    def number(self) -> int:
        """This user's number over all workers, from 0; it changes when workers come and go."""
        return self.engine.number_of(self._place)

    def drive(self) -> None:
        """Serve turns of the pool, or loop through own tasks, until Locust ends this user."""
        pool, me = self.engine.pool, getcurrent()
        self.user._state = LOCUST_STATE_RUNNING
        pool.users += 1
        try:
            self._start_personas()
            if self.engine.is_open:
                self._serve()
            else:
                self._loop()
        except (GreenletExit, StopUser, StopTest):
            pass
        finally:
            pool.leave(me)
            self.engine.leave_place(self._place)
            for persona in self.personas.values():
                persona.on_stop()
            self.http.close()

    def perform(self, job: Job, due: float | None, pool_wait: float) -> None:
        """Carry out one turn: build the request, send it, check and record it.

        `due` is None in the closed model.
        """
        persona = self.personas[job.kind.user_class]
        if job.is_flow:
            persona.client.run(job, due, pool_wait)
            return
        try:
            value = job.function(persona)
            repeats = draws_repeat(job.corpora) if job.corpora else False
            if not isinstance(value, Request):
                raise TypeError(f"{job.function.__name__} returned {type(value).__name__}, not a request")
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            self.record_exception(job, due, pool_wait, error)
            return
        self.send(job, value, job.kind.check, due, pool_wait, repeats)

    def send(
        self,
        job: Job,
        value: Request,
        check: Check | None,
        due: float | None,
        pool_wait: float,
        repeats: bool,
    ) -> Response:
        """Exchange one request and record it; count it as unfinished if this user is ended meanwhile."""
        if not job.method:
            job.method = value.method
        begun = _monotonic()
        try:
            response = self.http.exchange(value)
        except GreenletExit:
            self._record_unfinished(job, due, pool_wait, begun)
            raise
        failure: str | None = response.failure
        if not failure:
            failure = judge_answer(check, response)
        self.last_failed = bool(failure)
        flags = 0 if not failure else self._record_failure(job, response, failure)
        cached = response.cached
        if cached is not None:
            flags |= _HIT if cached else _MISS
        if repeats:
            flags |= _REPEATS
        if response.rate_limit_exhausted:
            flags |= _EXHAUSTED
        if response.retries:
            flags |= response.retries << _RETRIES_SHIFT
        sent, ended = response.sent, response.ended
        if due is None:
            job.arrive(sent)
            job.done((sent, 0.0, sent, sent, ended, flags, response.size))
        else:
            job.done((due, pool_wait, begun, sent, ended, flags, response.size))
        if failure and not response.status:
            # A refused connection may not have paused this user; let the others have a turn.
            gevent.sleep(0)
        if self.engine.listeners:
            self._tell_listeners(job, value, response, failure)
        return response

    def record_exception(
        self, job: Job, due: float | None, pool_wait: float, error: Exception, *, told: str = ""
    ) -> None:
        """Count a turn whose own code raised: a failed arrival, with the exception, or `told`, as its kind.

        Locust's StopUser and StopTest go on after that; in the closed model they are no arrival.
        """
        stops = isinstance(error, (StopUser, StopTest))
        if stops and due is None:
            raise error
        now = _monotonic()
        kind = f"the user code stops: {type(error).__name__}" if stops else told or kind_of_code(error)
        if self.engine.first_time(f"{job.kind.name} {kind}"):
            _log.error("%s: %s (logged once)", job.kind.name, kind, exc_info=error)
        self.engine.recorder.failure(job.kind.name, "failed", kind, str(error)[:_SAMPLE_CHARACTERS])
        when = now if due is None else due
        if due is None or job.is_flow:
            job.arrive(when)
        job.done((when, pool_wait, now, now, now, _FAILED, 0))
        if stops:
            raise error
        if due is None:
            # Nothing else may have paused this user; without a pause the process would hang.
            gevent.sleep(_PAUSE_AFTER_EXCEPTION)

    def _start_personas(self) -> None:
        if self.engine.plan is not None:
            # One user is one connection, whichever class's request it sends.
            self.engine.lender = self
            try:
                for user_class in {job.kind.user_class for job in self.engine.jobs} - set(self.personas):
                    self.personas[user_class] = user_class(self.user.environment)
            finally:
                self.engine.lender = None
        for persona in self.personas.values():
            persona.on_start()

    def _serve(self) -> None:
        pool, me, pause = self.engine.pool, getcurrent(), get_hub().switch
        while self.user._state != LOCUST_STATE_STOPPING:
            turn: Turn | None = pool.next_waiting(_monotonic())
            if turn is None:
                self.user._state = LOCUST_STATE_WAITING
                pool.park(me)
                turn = pause()
                self.user._state = LOCUST_STATE_RUNNING
                assert turn is not None
            self.perform(turn.job, turn.due, turn.pool_wait)

    def _loop(self) -> None:
        engine = self.engine
        # A plan's mix is over all classes; without a plan, Locust's users of each class are the mix.
        jobs = list(engine.jobs) if engine.plan is not None else engine.jobs_of(type(self.user))
        pick = _picker(jobs, engine, self.number)
        wait = self._waiter()
        staged = engine.plan is not None
        perform = self.perform
        while self.user._state != LOCUST_STATE_STOPPING:
            if engine.finishing:
                self._rest_for_good()
            if staged:
                self._wait_for_stage()
            perform(pick(), None, 0.0)
            if wait is not None:
                self._rest(wait())

    def _wait_for_stage(self) -> None:
        """In a closed-model plan, pause until the stages want as many users as this one's number."""
        engine = self.engine
        while True:
            assert engine.plan is not None
            if engine.finishing:
                self._rest_for_good()
            if engine.anchor is None:
                self._rest(0.01)
                continue
            if engine.lease_left() <= 0:
                # Nothing is heard of the master; it may have given this worker's part to others.
                self._rest(_LEASE_LOOK)
                continue
            now = _monotonic() - engine.anchor
            at = next_active(engine.plan.timeline, self.number, now)
            if at is None:
                self._rest(_STAGE_LOOK)
            elif at <= now:
                return
            else:
                # Not in one go: the user's number changes when workers come and go.
                self._rest(min(at - now, _STAGE_LOOK))

    def _rest(self, seconds: float) -> None:
        pool, me = self.engine.pool, getcurrent()
        self.user._state = LOCUST_STATE_WAITING
        pool.park(me)
        gevent.sleep(seconds)
        pool.free.remove(me)
        self.user._state = LOCUST_STATE_RUNNING

    def _rest_for_good(self) -> None:
        self.user._state = LOCUST_STATE_WAITING
        self.engine.pool.park(getcurrent())
        get_hub().switch()

    def _waiter(self) -> Callable[[], float] | None:
        """Return what gives the seconds between two requests, or None for no wait at all."""
        plan = self.engine.plan
        if plan is not None:
            low, high = plan.scenario.traffic.wait
            if high <= 0:
                return None
            draw = random.Random(f"wait {plan.scenario.traffic.seed} {self.number}")
            return lambda: draw.uniform(low, high)
        if type(self.user).wait_time is User.wait_time:
            return None
        wait: Callable[[], float] = self.user.wait_time
        return wait

    def _record_unfinished(self, job: Job, due: float | None, pool_wait: float, begun: float) -> None:
        now = _monotonic()
        when = begun if due is None else due
        if due is None:
            job.arrive(when)
        job.done((when, pool_wait, begun, begun, now, _UNFINISHED, 0))

    def _record_failure(self, job: Job, response: Response, failure: str) -> int:
        outcome = "timeout" if response.timed_out else "failed"
        sample = response.detail or response.body[:_SAMPLE_CHARACTERS].decode("utf-8", "replace")
        message = f"HTTP {response.status}" if response.status else response.detail
        self.engine.recorder.failure(job.kind.name, outcome, failure, message, sample)
        flags = _TIMEOUT if response.timed_out else _FAILED
        return flags | _LIMITED if response.status == 429 else flags

    def _tell_listeners(self, job: Job, value: Request, response: Response, failure: str | None) -> None:
        """Fire Locust's request event for listeners that are not Locust's or Loadgate's own."""
        details = {
            "request_type": value.method,
            "name": job.kind.name,
            "response_time": (response.ended - response.sent) * 1000,
            "response_length": response.size,
            "response": response,
            "context": self.user.context(),
            "exception": RequestFailed(failure) if failure else None,
            "start_time": time.time() - (_monotonic() - response.sent),
            "url": value.path,
        }
        for listener in self.engine.listeners:
            try:
                listener(**details)
            except (StopUser, StopTest):
                raise
            except Exception:  # noqa: BLE001 - as Locust treats its listeners
                if self.engine.first_time(f"listener {listener!r}"):
                    _log.exception("a listener of the request event raised (logged once)")


class RequestFailed(Exception):
    """What listeners of Locust's request event see of a failed request: its kind."""


def _picker(jobs: list[Job], engine: Engine, number: int) -> Callable[[], Job]:
    if len(jobs) == 1:
        only = jobs[0]
        return lambda: only
    seed = engine.plan.scenario.traffic.seed if engine.plan else 1
    draw = random.Random(f"tasks {seed} {number}")
    weights = [job.kind.weight for job in jobs]
    return lambda: draw.choices(jobs, weights)[0]
