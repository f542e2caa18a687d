"""What the users of one process share during one run: the recorder, the pool and the schedule.

An engine is made when a run starts and is thrown away when it ends. The swarm room makes it;
users find it through their Locust environment.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gevent
import numpy as np

from loadgate.errors import UsageError
from loadgate.traffic.arrivals import ArrivalSchedule, Trace
from loadgate.traffic.dispatcher import Dispatcher
from loadgate.traffic.grants import Grants, Slots
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.job import Job, corpora_of
from loadgate.traffic.pool import Pool
from loadgate.traffic.tasks import Kind, kinds_of

if TYPE_CHECKING:
    from loadgate.measure.recorder import Recorder
    from loadgate.plan.plan import Plan

ENGINE_ATTRIBUTE = "loadgate_engine"
"""Where the engine of the current run hangs on a Locust environment."""
_DRAIN_POLL = 0.01
"""Seconds between two looks at whether every user has finished."""


@dataclass(frozen=True)
class Place:
    """Say which worker of a run this process is: number `index` of those that ever joined."""

    run: str
    worker: str
    index: int = 0


@dataclass
class Rank:
    """Say which of the workers that are here this one is: number `rank` (from 0) of `workers`."""

    rank: int = 0
    workers: int = 1


@dataclass
class Engine:
    """Hold one run's shared state in one process. Times are CLOCK_MONOTONIC seconds."""

    place: Place
    recorder: Recorder
    user_classes: Sequence[type[Any]]
    settings: ClientSettings | None
    plan: Plan | None = None
    grants: Grants = field(default_factory=Grants.everything)
    rank: Rank = field(default_factory=Rank)
    listeners: Sequence[Callable[..., None]] = ()
    clock: Callable[[], float] = time.monotonic

    jobs: tuple[Job, ...] = ()
    pool: Pool = field(default_factory=Pool)
    anchor: float | None = None
    finishing: bool = False
    lender: Any = None
    _bound: list[Job] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _dispatcher: Dispatcher | None = None
    _places_made: int = 0
    _places_left: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        seed = self.plan.scenario.traffic.seed if self.plan else 1
        mix = self.plan.scenario.traffic.mix if self.plan else None
        bound: set[int] = set()
        for corpus in (c for cls in self.user_classes for c in corpora_of(cls)):
            if id(corpus) not in bound:
                bound.add(id(corpus))
                corpus.bind(seed, self.place.index, self.place.run)
        self.jobs = tuple(self.job(kind) for kind in kinds_of(self.user_classes, mix))
        if self.user_classes and not self.jobs:
            raise UsageError("the mix leaves nothing to send", hint="name at least one endpoint in it")
        if self.plan is not None and not self.jobs:
            raise UsageError(
                "the plan wants traffic, and the locustfile has no user class derived from LoadUser",
                hint="stock Locust users follow no plan: run them with locust alone, or derive from LoadUser",
            )

    @cached_property
    def is_open(self) -> bool:
        """Tell whether arrivals come from a schedule."""
        return self.plan is not None and self.plan.scenario.traffic.model == "open"

    def job(self, kind: Kind) -> Job:
        """Bind a kind to this run's recorder."""
        channel = self.recorder.channel(kind.name)
        job = Job(
            kind=kind,
            function=kind.function,
            is_flow=kind.is_flow,
            arrive=channel.due,
            done=channel.done,
            corpora=corpora_of(kind.user_class),
        )
        self._bound.append(job)
        return job

    def methods(self) -> dict[str, str]:
        """Return the HTTP method seen of each endpoint."""
        return {job.kind.name: job.method for job in self._bound if job.method}

    def first_time(self, what: str) -> bool:
        """Tell whether something is seen for the first time in this run, so that it is logged once."""
        if what in self._seen:
            return False
        self._seen.add(what)
        return True

    def jobs_of(self, user_class: type[Any]) -> list[Job]:
        """List what a user of one class does in the closed model."""
        return [job for job in self.jobs if job.kind.user_class is user_class]

    def take_place(self) -> int:
        """Give a new user the lowest place (from 0) that no other user of this process has."""
        if self._places_left:
            return heapq.heappop(self._places_left)
        self._places_made += 1
        return self._places_made - 1

    def leave_place(self, place: int) -> None:
        """Take back the place of a user that ended."""
        heapq.heappush(self._places_left, place)

    def number_of(self, place: int) -> int:
        """Number a user by its place: unique over all workers, and counted up evenly over them.

        It changes when workers come and go, so that the users of all workers together are always
        numbered from 0 without a hole, as far as their numbers differ by no more than one.
        """
        return self.rank.rank + self.rank.workers * place

    def source_address(self, user: int) -> str | None:
        """Return the local address that a user sends from, or None for the system's choice."""
        addresses = self.plan.scenario.traffic.source_addresses if self.plan else ()
        return addresses[user % len(addresses)] if addresses else None

    def begin(self, anchor: float) -> None:
        """Start the run's clock: run time 0 is at `anchor`. In the open model, arrivals follow."""
        self.anchor = anchor
        if self.plan is None or not self.is_open:
            return
        schedule = schedule_of(self.plan, [job.kind for job in self.jobs])
        self._dispatcher = Dispatcher(
            schedule,
            self.jobs,
            self.pool,
            anchor=anchor,
            end=self.plan.timeline.end,
            grants=self.grants,
            missed=self._miss,
            lapsed=self._drop_waiting,
            clock=self.clock,
        )
        self._dispatcher.start()

    def grant(self, second: int, slots: Slots) -> None:
        """Take in what this process may offer of one run second, which lengthens its lease."""
        if self._dispatcher is not None:
            self._dispatcher.grant(second, slots)
        else:
            self.grants.add(second, slots)

    def correct_anchor(self, anchor: float) -> None:
        """Let run time 0 be at `anchor`, a better estimate, for all that is scheduled from now on."""
        self.anchor = anchor
        if self._dispatcher is not None:
            self._dispatcher.move_anchor(anchor)

    def lease_left(self) -> float:
        """Return the seconds for which this process may start requests; 0 or less when it may not."""
        if self.anchor is None:
            return math.inf
        return self.anchor + self.grants.until - self.clock()

    def finish(self, timeout: float, *, drop_waiting: bool) -> None:
        """Start nothing more, and give what is under way up to `timeout` seconds to end.

        Arrivals that wait for a user are served until then, or dropped at once; what is left
        counts as unsent. Finishing twice is harmless.
        """
        if self.finishing:
            return
        self.finishing = True
        now = self.clock()
        if self._dispatcher is not None:
            for job, due in self._dispatcher.stop():
                self._miss(job, due)
        if drop_waiting:
            self._drop_waiting()
        deadline = now + timeout
        while (self.pool.busy or self.pool.waiting) and self.clock() < deadline:
            gevent.sleep(_DRAIN_POLL)
        self._drop_waiting()

    def _miss(self, job: Job, due: float) -> None:
        """Count an arrival that this process could not start, by no fault of the target."""
        job.arrive(due)
        self.recorder.unsent(job.kind.name, due, "generator", self.clock())

    def _drop_waiting(self) -> None:
        now = self.clock()
        for job, due in self.pool.drop_waiting():
            if job.is_flow:
                job.arrive(due)
            self.recorder.unsent(job.kind.name, due, "pool", now)


def schedule_of(plan: Plan, kinds: Sequence[Kind]) -> ArrivalSchedule:
    """Make the arrival schedule of a plan over kinds of requests: the same one in every process of a run.

    UsageError when the plan's trace names what is not among the kinds.
    """
    traffic = plan.scenario.traffic
    return ArrivalSchedule(
        plan.timeline,
        process=traffic.arrivals,
        seed=traffic.seed,
        weights=[kind.weight for kind in kinds],
        trace=_trace_of(plan, [kind.name for kind in kinds]),
    )


def _trace_of(plan: Plan, names: Sequence[str]) -> Trace | None:
    recorded = plan.timeline.trace
    if recorded is None:
        return None
    if unknown := sorted(set(recorded.endpoints or ()) - set(names)):
        raise UsageError(
            f"the trace names {', '.join(map(repr, unknown))}, which the traffic does not have",
            hint=f"the mix has: {', '.join(names)}",
        )
    indices = [names.index(name) for name in recorded.endpoints or ()]
    if not indices:
        indices = [-1] * len(recorded.times)
    return Trace(recorded.times, np.asarray(indices, dtype=np.int64))


def engine_of(environment: Any) -> Engine:
    """Return the engine of a Locust environment's current run.

    UsageError when there is none, which means that the plugin was not loaded.
    """
    engine = getattr(environment, ENGINE_ATTRIBUTE, None)
    if engine is None:
        raise UsageError(
            "a LoadUser was started outside a run",
            hint="import LoadUser from loadgate, which brings the Locust plugin with it",
        )
    assert isinstance(engine, Engine)
    return engine
