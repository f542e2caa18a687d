"""The master's fleet: no arrival twice, none forgotten, and a ledger row for each second, in any story.

The oracle is a pure model of workers and their links. It is told nothing of how the master decides: it hears
leases, offers what they hold, reports it once a second and beats, until it dies, leaves or is cut off.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.window import ENDINGS, Count, Window
from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import PHASES, Timeline
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.swarm.doubts import Doubt
from loadgate.swarm.messages import Lease
from loadgate.swarm.muster import GONE_AFTER, LOST_NAME, Left, Muster
from loadgate.swarm.roster import LOST_AFTER, State
from loadgate.traffic.arrivals import ArrivalSchedule
from loadgate.traffic.grants import unpack_slots

ANCHOR = 1000.0
"""The master's clock at run time 0."""
KINDS = ("emotion", "creative")
BEAT, REPORT, WAY, SERVICE = 0.25, 0.05, 0.003, 0.3
"""Seconds between beats; from the end of a second to its report; of a message's way; of a request."""
AGAIN = 3.0
"""Seconds after which a delta that was not acknowledged is sent again."""
Process = Literal["constant", "poisson"]


def timeline_of(end: float, rate: float = 40.0) -> Timeline:
    """Plan a ramp of two seconds and then a steady rate up to `end`."""
    stages = (Stage(rate=rate, ramp=2.0, hold=end - 2.0),)
    return Timeline.of_traffic(Traffic(users=1, mix={"a": 1.0}, stages=stages), timeout=5.0)


def schedule_of(timeline: Timeline, process: Process = "constant") -> ArrivalSchedule:
    return ArrivalSchedule(timeline, process=process, seed=7, weights=[2, 1])


@cache
def plan_of(end: float, process: Process, rate: float = 40.0) -> tuple[Timeline, ArrivalSchedule]:
    timeline = timeline_of(end, rate)
    return timeline, schedule_of(timeline, process)


@dataclass(frozen=True)
class Fate:
    """What becomes of one worker; all in seconds of run time."""

    joins: float = -1.0
    dies: float = math.inf
    leaves: float = math.inf
    drains: float = 0.5
    cuts: tuple[tuple[float, float], ...] = ()
    dropped: frozenset[int] = frozenset()
    """Numbers of the deltas whose first sending goes nowhere."""
    busy: bool = False
    """Whether its beats go on saying that it is ready while it drains."""

    def is_cut(self, now: float) -> bool:
        return any(start <= now < end for start, end in self.cuts)


@dataclass
class Model:
    """A worker as `Member` and `Dispatcher` are: hears leases, offers, reports, beats."""

    client: str
    fate: Fate
    schedule: ArrivalSchedule
    timeline: Timeline
    name: str = ""
    until: float = 0.0
    stopped: float = math.inf
    """When it stopped to offer."""
    numbers: set[int] = field(default_factory=set)
    slots: dict[int, np.ndarray] = field(default_factory=dict)
    due: list[tuple[float, float, int, int, int]] = field(default_factory=list)
    """When it starts, when it was due, second, place in the second, kind."""
    offered: list[tuple[int, int]] = field(default_factory=list)
    """Second and place of each arrival that it started."""
    missed: list[tuple[int, int]] = field(default_factory=list)
    """Second and place of each arrival that it heard of too late."""
    reported: set[tuple[int, int]] = field(default_factory=set)
    windows: dict[tuple[int, str, str], Window] = field(default_factory=dict)
    inside: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    fresh: list[tuple[int, int]] = field(default_factory=list)
    ends: list[tuple[float, int, float]] = field(default_factory=list)
    sent: dict[int, tuple[float, Delta, bool]] = field(default_factory=dict)
    sequence: int = 0
    row: int = -1
    ended: bool = False
    gone: bool = False

    @property
    def heard_all_to(self) -> int:
        return next(n for n in range(10**6) if n + 1 not in self.numbers)

    def alive(self, now: float) -> bool:
        return self.fate.joins <= now < self.fate.dies and not self.gone

    def hear(self, lease: Lease, now: float) -> None:
        """Take in a lease; one that was heard before says nothing."""
        if lease.number in self.numbers:
            return
        self.numbers.add(lease.number)
        self.until = max(self.until, lease.second + 1.0)
        if now >= self.stopped:
            return
        arrivals = self.schedule.second(lease.second)
        held = unpack_slots(lease.slots)[arrivals.slots]
        for place in np.flatnonzero(held).tolist():
            due, kind = float(arrivals.times[place]), int(arrivals.kinds[place])
            if lease.second + 1 <= now:
                self.miss(due, lease.second, place, kind, now)
            else:
                heapq.heappush(self.due, (max(due, now), due, lease.second, place, kind))

    def go_on(self, now: float) -> None:
        """Offer what was due up to now, and let requests end."""
        while self.due and self.due[0][0] <= min(now, self.stopped):
            start, due, second, place, kind = heapq.heappop(self.due)
            if due >= self.until:
                self.miss(due, second, place, kind, now)
                continue
            self.count(due, second, kind, Count.ARRIVALS)
            self.offered.append((second, place))
            self.fresh.append((second, place))
            heapq.heappush(self.ends, (start + SERVICE, kind, due))
        while self.ends and self.ends[0][0] <= now:
            ended, kind, due = heapq.heappop(self.ends)
            self.count(due, int(ended), kind, Count.OK)

    def miss(self, due: float, second: int, place: int, kind: int, now: float) -> None:
        self.missed.append((second, place))
        self.fresh.append((second, place))
        self.count(due, second, kind, Count.ARRIVALS)
        self.count(due, max(int(now), 0), kind, Count.UNSENT_GENERATOR)

    def count(self, due: float, second: int, kind: int, what: Count) -> None:
        phase = PHASES[int(self.timeline.phases_of(np.array([due]))[0])]
        key = (second, KINDS[kind], phase)
        self.windows.setdefault(key, Window(second, 1, *key[1:])).add(what, 1)

    def report(self, now: float, *, final: bool = False) -> None:
        """Close the windows of the seconds that are over."""
        limit = math.inf if final else math.floor(now)
        closed = [self.windows.pop(key) for key in sorted(self.windows) if key[0] < limit]
        self.row = max(int(now), self.row + 1) if final else int(now) - 1
        told = [one for one in self.fresh if one[0] < limit]
        self.fresh = [one for one in self.fresh if one[0] >= limit]
        self.sequence += 1
        self.inside[self.sequence] = told
        row = FleetRow(self.row, self.name, 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)
        delta = Delta("run", self.name, 1, self.sequence, closed, fleet=[row])
        self.sent[self.sequence] = (-math.inf, delta, final)


@dataclass
class Story:
    """Play workers against a muster, event by event, and keep what the master got."""

    fates: list[Fate]
    end: float = 12.0
    process: Process = "constant"
    rate: float = 40.0
    late: dict[int, float] = field(default_factory=dict)
    """By second: how much later than it should the master looks at its fleet."""
    stops: float = math.inf
    """When the run is stopped before its plan ends."""
    closes_after: float = 12.0
    recorded: Counter[int] = field(default_factory=Counter)
    rows: list[LedgerRow] = field(default_factory=list)
    last_rows: list[LedgerRow] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)
    lost: list[Delta] = field(default_factory=list)
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    got: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.timeline, self.schedule = plan_of(self.end, self.process, self.rate)
        self.muster = Muster("run", self.timeline, self.schedule, KINDS)
        self.workers = [
            Model(f"client-{n}", fate, self.schedule, self.timeline) for n, fate in enumerate(self.fates)
        ]
        self.ends = min(self.end, self.stops)
        self.blocked = -math.inf
        self.waiting: list[Callable[[float], None]] = []
        self._queue: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0

    def at(self, moment: float, what: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, (moment, self._number, what))

    def play(self) -> Story:
        self.muster.anchor = ANCHOR
        for worker in self.workers:
            self.at(worker.fate.joins, lambda now, w=worker: self._join(w, now))
        self.at(-0.5, self._tick)
        self.at(self.ends + 0.001, self._finish)
        while self._queue:
            moment, _, what = heapq.heappop(self._queue)
            if moment >= self.ends + self.closes_after:
                break
            for worker in self.workers:
                if moment < worker.fate.dies:
                    worker.go_on(moment)
                elif worker.until > -1:
                    # It went on up to the moment of its death, and no further.
                    worker.go_on(math.nextafter(worker.fate.dies, -math.inf))
                    worker.until = -1
            what(moment)
        deltas, orders = self.muster.close(self.ends if self.stops >= self.end else self.ends + 6.0)
        self.lost = deltas
        self.last_rows = orders.ledger
        self.events += orders.events
        return self

    def _join(self, worker: Model, now: float) -> None:
        worker.name = self.muster.roster.join(worker.client, ANCHOR + now).name
        if worker.fate.joins < 0:
            self.muster.roster.get(worker.client).ready = True
        self.at(now + 0.25, lambda at: self._beat(worker, at))
        self.at(max(math.floor(now) + 1, 1) + REPORT, lambda at: self._report(worker, at))
        if worker.fate.leaves < math.inf:
            self.at(worker.fate.leaves, lambda at: self._leave(worker, at))

    def _to_master(self, worker: Model, now: float, what: Callable[[float], None]) -> None:
        """A message reaches the master, unless it is cut off; a master that stands still takes it later."""
        if worker.fate.is_cut(now):
            return

        def take(at: float) -> None:
            if at < self.blocked:
                self.at(self.blocked + WAY, take)
            else:
                what(at)

        self.at(now + WAY, take)

    def _beat(self, worker: Model, now: float) -> None:
        if not worker.alive(now):
            return
        ready = now < worker.stopped or worker.fate.busy
        heard = worker.heard_all_to
        self._to_master(
            worker, now, lambda at: self.muster.beat(worker.client, heard, ready=ready, now=ANCHOR + at)
        )
        self.at(now + BEAT, lambda at: self._beat(worker, at))

    def _report(self, worker: Model, now: float) -> None:
        if not worker.alive(now) or worker.ended:
            return
        worker.report(now)
        self._send(worker, now)
        self.at(math.floor(now) + 1 + REPORT, lambda at: self._report(worker, at))

    def _send(self, worker: Model, now: float) -> None:
        """Send what was never sent or not acknowledged for long."""
        for sequence, (sent, delta, final) in list(worker.sent.items()):
            if not worker.alive(now) or now - sent <= AGAIN:
                continue
            worker.sent[sequence] = (now, delta, final)
            if sequence in worker.fate.dropped and sent == -math.inf:
                continue

            def take(at: float, sequence: int = sequence, delta: Delta = delta, final: bool = final) -> None:
                if (worker.client, sequence) not in self.got:
                    self.got.add((worker.client, sequence))
                    self.deltas.append(delta)
                    worker.reported.update(worker.inside[sequence])
                self.muster.delta(worker.client, delta, ANCHOR + at, final=final)
                if not worker.fate.is_cut(at):
                    worker.sent.pop(sequence, None)

            self._to_master(worker, now, take)

    def _leave(self, worker: Model, now: float) -> None:
        """Stop, let requests end, report the last, say goodbye."""
        if worker.alive(now) and worker.stopped == math.inf:
            worker.stopped = now
            self.at(now + max(worker.fate.drains, SERVICE + 0.01), lambda at: self._end(worker, at))

    def _finish(self, now: float) -> None:
        self.muster.finish(ANCHOR + self.ends)
        for worker in self.workers:
            if worker.alive(now) and not worker.fate.is_cut(now) and worker.stopped == math.inf:
                worker.stopped = self.ends
                self.at(now + SERVICE + 0.01, lambda at, w=worker: self._end(w, at))
            elif worker.alive(now) and worker.stopped == math.inf:
                # It is cut off and hears nothing of the end: the engine stops by the plan or its lease.
                worker.stopped = self.end

    def _end(self, worker: Model, now: float) -> None:
        if not worker.alive(now):
            return
        worker.report(now, final=True)
        worker.ended = True
        self._deliver(worker, now)

    def _deliver(self, worker: Model, now: float) -> None:
        """Go on until all is acknowledged."""
        if not worker.alive(now):
            return
        self._send(worker, now)
        if worker.sent:
            self.at(now + 0.5, lambda at: self._deliver(worker, at))
        else:
            worker.gone = True

    def _tick(self, now: float) -> None:
        late = self.late.get(math.floor(now), 0.0)
        if late and now == math.floor(now):
            self.blocked = now + late
            self.at(now + late, self._look)
        else:
            self._look(now)

    def _look(self, now: float) -> None:
        if now >= self.ends:
            return
        for worker in self.workers:
            known = self.muster.roster.get(worker.client)
            if worker.gone and known is not None and known.state is State.HERE:
                self.muster.left(worker.client, ANCHOR + now)
        orders = self.muster.tick(ANCHOR + now)
        self.rows += orders.ledger
        self.events += orders.events
        for client, lease in orders.leases:
            worker = next(w for w in self.workers if w.client == client)
            if not worker.fate.is_cut(now):
                self.at(now + WAY, lambda at, w=worker, one=lease: w.hear(one, at) if w.alive(at) else None)
        self.at(math.floor(now) + 1.0, self._tick)

    # -- what is on record ----------------------------------------------------------------------

    def count(self, what: Count, deltas: list[Delta], second: int | None = None) -> int:
        return sum(
            window.count(what)
            for delta in deltas
            for window in delta.windows
            if second is None or window.second == second
        )

    def ledger(self) -> dict[int, LedgerRow]:
        """Read the ledger as the database keeps it: the last row of each second."""
        return {row.second: row for row in [*self.rows, *self.last_rows]}

    def account(self, second: int) -> tuple[int, int, int]:
        """Say what became of a second's arrivals: reported, lost, and offered by nobody."""
        row = self.ledger().get(second)
        return (
            self.count(Count.ARRIVALS, self.deltas, second),
            self.count(Count.ARRIVALS, self.lost, second),
            row.unoffered if row is not None else 0,
        )


def moments(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most).map(lambda t: round(t, 2))


@st.composite
def fates(draw: st.DrawFn, *, links: bool = True) -> Fate:
    ending = draw(st.sampled_from(["stays", "stays", "dies", "leaves"]))
    cuts = []
    for _ in range(draw(st.integers(0, 2)) if links else 0):
        start = draw(moments(0.0, 12.0))
        cuts.append((start, start + draw(moments(0.1, 9.0))))
    return Fate(
        joins=draw(st.sampled_from([-1.0, -1.0, 1.3, 4.0])),
        dies=draw(moments(0.5, 14.0)) if ending == "dies" else math.inf,
        leaves=draw(moments(0.5, 11.0)) if ending == "leaves" else math.inf,
        drains=draw(moments(0.4, 5.0)),
        cuts=tuple(cuts),
        dropped=frozenset(draw(st.sets(st.integers(1, 12), max_size=2))) if links else frozenset(),
        busy=draw(st.booleans()),
    )


lateness = st.dictionaries(st.integers(0, 11), st.sampled_from([0.05, 0.6, 0.95, 2.3, 5.5]), max_size=3)
stories = st.builds(
    Story,
    fates=st.lists(fates(), min_size=1, max_size=3),
    process=st.sampled_from(["constant", "poisson"]),
    late=lateness,
)


# -- the laws -----------------------------------------------------------------------------------


@example(
    # What was heard too late is in a later report, and that one goes missing.
    story=Story(
        [Fate(), Fate(), Fate(dies=9.0, cuts=((0.0, 4.0),), dropped=frozenset({8}))], late={0: 0.05, 5: 2.3}
    )
)
@example(story=Story([Fate(), Fate(leaves=6.0, drains=5.0, busy=True)]))
@given(story=stories)
@settings(max_examples=150)
def test_each_arrival_is_reported_or_lost_or_offered_by_nobody(story: Story) -> None:
    """Per second, whoever joins, dies, leaves or is cut off, and however late the master looks."""
    story.play()
    for second in range(12):
        account = story.account(second)
        assert sum(account) == len(story.schedule.second(second)), (second, account)


@given(story=stories)
@settings(max_examples=100)
def test_no_arrival_is_started_twice(story: Story) -> None:
    """By two workers or by one, and what a worker heard of too late it does not start."""
    story.play()
    started = [one for worker in story.workers for one in worker.offered + worker.missed]
    assert len(started) == len(set(started))


@given(story=stories)
@settings(max_examples=100)
def test_the_books_balance_over_any_story(story: Story) -> None:
    """Per endpoint and phase, of all that is written down: arrivals = the sum of all ends."""
    story.play()
    books: Counter[tuple[str, str]] = Counter()
    for delta in story.deltas + story.lost:
        for window in delta.windows:
            ends = sum(window.count(name) for name in ENDINGS)
            books[window.endpoint, window.phase] += window.count(Count.ARRIVALS) - ends
    assert set(books.values()) <= {0}


@given(story=stories)
@settings(max_examples=100)
def test_the_ledger_has_a_row_for_each_second_in_order(story: Story) -> None:
    """None missing, none twice while the run goes on, and each expected worker is one of three."""
    story.play()
    assert [row.second for row in story.rows] == list(range(len(story.rows)))
    seconds = [row.second for row in story.last_rows]
    assert seconds == sorted(set(seconds))
    assert sorted(story.ledger()) == list(range(12))
    for row in story.rows + story.last_rows:
        assert row.expected == row.reporting + row.late + row.lost


@given(
    dies=moments(1.0, 11.5),
    process=st.sampled_from(["constant", "poisson"]),
    others=st.integers(0, 2),
)
def test_what_a_killed_worker_had_started_is_lost(dies: float, process: Process, others: int) -> None:
    """Never less than it started and did not report, and at most what it was given of two seconds."""
    story = Story([Fate(dies=dies)] + [Fate()] * others, process=process).play()
    killed = story.workers[0]
    unreported = set(killed.offered) - killed.reported
    times = [float(story.schedule.second(second).times[place]) for second, place in unreported]
    lost = story.count(Count.ARRIVALS, story.lost)
    assert lost >= len(unreported)
    # All of two seconds, of which the unreported time before the death and half a second after it are part.
    most = sum(
        1
        for second in range(12)
        for due in story.schedule.second(second).times.tolist()
        if dies - 1.25 <= due <= dies + 0.75
    )
    assert lost <= most
    assert all(due > dies - 1.25 for due in times)


@given(story=stories)
@settings(max_examples=100)
def test_what_was_started_and_not_reported_is_never_forgotten(story: Story) -> None:
    """Of workers that were killed, over broken links too: as many lost as were started, at the least."""
    story.play()
    killed = [w for w in story.workers if w.fate.dies < math.inf and not w.fate.cuts]
    cut = any(worker.fate.cuts for worker in story.workers)
    if cut or any(late > 0.5 for late in story.late.values()):
        # A worker that is cut off may outlive what the master knows of it; that is unoffered, not lost.
        return
    lost = story.count(Count.ARRIVALS, story.lost)
    assert lost >= sum(len(set(worker.offered) - worker.reported) for worker in killed)


# -- stories by hand ----------------------------------------------------------------------------


def test_workers_that_stay_lose_nothing() -> None:
    """Ramp of 2 s to 40/s: 10 + 30 arrivals, then 40 a second, all reported, nothing to write off."""
    story = Story([Fate(), Fate()]).play()
    assert [story.account(second) for second in range(12)] == [(10, 0, 0), (30, 0, 0)] + [(40, 0, 0)] * 10
    assert story.lost == []
    assert story.events == []
    assert all((row.expected, row.late, row.lost) == (2, 0, 0) for row in story.rows[1:])


def test_a_killed_workers_seconds_are_marked_and_written_off() -> None:
    """Killed at 6.0 before it told of second 5: that is lost, with half a second more; then it is unoffered.

    Heard for the last time at 5.753, it counts at the ticks of 6 and 7 and holds up to second 9. The ramp of
    the plan moves half of all slots a second, so second 10 is whole again.
    """
    story = Story([Fate(dies=6.0), Fate()]).play()
    assert story.account(4) == (40, 0, 0)
    assert story.account(5) == (20, 20, 0)
    assert story.account(6) == (20, 5, 15)
    assert [story.account(second) for second in (7, 8, 9)] == [(20, 0, 20)] * 3
    assert story.account(10) == (40, 0, 0)
    assert [kind for kind, _ in story.events] == ["worker_lost", "worker_written_off"]
    # 20 + 5 with no report, and those under way at 5.0, whose ends were in no report: 0.3 s at 20 a second.
    assert story.events[1][1] == {"worker": "worker-1", "lost": 31, "unoffered": 75}
    assert all(story.ledger()[second].loss for second in (5, 6, 7, 8, 9))


def test_a_worker_that_was_lost_long_ago_is_written_off_in_full() -> None:
    """Who held what is forgotten after two minutes; what a dead worker held is kept until the end."""
    story = Story([Fate(dies=6.0), Fate()], end=200.0).play()
    assert [story.account(second) for second in (5, 6, 7)] == [(20, 20, 0), (20, 5, 15), (20, 0, 20)]


def test_a_worker_that_leaves_stops_before_the_master_knows() -> None:
    """It stops at 5.0 and says goodbye 3 s later; what it was given meanwhile is offered by nobody."""
    story = Story([Fate(leaves=5.0, drains=3.0), Fate()]).play()
    assert [story.account(second) for second in (4, 5, 6, 7)] == [(40, 0, 0)] + [(20, 0, 20)] * 3
    assert story.lost == []
    assert story.events == [("worker_written_off", {"worker": "worker-1", "lost": 0, "unoffered": 60})]


def test_a_worker_that_drains_is_given_nothing_more() -> None:
    """Its beats say so, so that its share goes to the others while it still drains for 6 s."""
    story = Story([Fate(leaves=3.0, drains=6.0), Fate()]).play()
    assert story.account(2) == (40, 0, 0)
    assert story.account(7) == (40, 0, 0)


def test_a_report_that_went_missing_before_the_death_is_lost() -> None:
    """Number 5 tells of second 4 and goes nowhere, 6 arrives; the worker dies before 5 comes again."""
    story = Story([Fate(dies=6.1, dropped=frozenset({5})), Fate()]).play()
    assert story.account(4) == (20, 20, 0)
    assert story.account(5) == (40, 0, 0)
    assert story.ledger()[4].loss


def test_a_lease_that_was_lost_at_the_very_end_is_offered_by_nobody() -> None:
    """Cut off from 8.9 to 11.95, it hears nothing of second 11; its last report comes all the same."""
    story = Story([Fate(cuts=((8.9, 11.95),)), Fate()]).play()
    reported, lost, unoffered = story.account(11)
    assert (reported + unoffered, lost) == (40, 0)
    assert story.muster.roster.get("client-0").is_complete


def test_a_run_that_is_stopped_misses_nothing_after_its_stop() -> None:
    """Killed at 4.0 in a run that is stopped at 6.5 and drains to 12.5: of second 6 half is due."""
    story = Story([Fate(dies=4.0), Fate()], stops=6.5).play()
    assert story.account(5) == (20, 0, 20)
    assert story.account(6) == (10, 0, 10)
    assert story.account(7) == (0, 0, 0)
    assert sorted(story.ledger()) == list(range(7))


def test_without_word_of_the_stop_the_last_look_bounds_it() -> None:
    """Workers were stopped within a second of the last tick, at 6.0, however late the run is closed."""
    timeline, schedule = plan_of(12.0, "constant")
    muster = Muster("run", timeline, schedule, KINDS)
    muster.anchor = ANCHOR
    muster.roster.join("a", ANCHOR, ready=True)
    for second in range(7):
        muster.beat("a", 99, ready=True, now=ANCHOR + second)
        muster.tick(ANCHOR + second)
    deltas, orders = muster.close(11.0)
    # Heard for the last time at 6.0, it is lost up to 6.5 and offers nothing of the rest of second 6.
    assert sum(window.count(Count.LOST) for delta in deltas for window in delta.windows) == 10 + 30 + 160 + 20
    assert {row.second: row.unoffered for row in orders.ledger if row.unoffered} == {6: 20}


def test_a_master_that_stood_still_for_minutes_forgets_no_second() -> None:
    """It looks at 3 and then at 303; 6 was the first second that nobody had decided."""
    timeline, schedule = plan_of(400.0, "constant")
    muster = Muster("run", timeline, schedule, KINDS)
    muster.anchor = ANCHOR
    muster.roster.join("a", ANCHOR, ready=True)
    for second in range(4):
        muster.beat("a", 0, ready=True, now=ANCHOR + second)
        muster.tick(ANCHOR + second)
    muster.beat("a", 0, ready=True, now=ANCHOR + 303)
    rows = {row.second: row.unoffered for row in muster.tick(ANCHOR + 303.0).ledger}
    assert [rows[second] for second in (4, 5, 6, 200, 299)] == [0, 0, 40, 40, 40]


def test_a_clock_that_jumps_back_writes_no_row_again() -> None:
    """Rows and leases go on where they were once time is there again."""
    muster = ticking(Muster("run", *plan_of(30.0, "constant"), KINDS))
    seen = []
    for moment in (0.0, 1.0, 5.0, 2.0, 3.0, 6.0, 7.0):
        muster.beat("a", 0, ready=True, now=ANCHOR + moment)
        orders = muster.tick(ANCHOR + moment)
        seen += [row.second for row in orders.ledger]
    assert seen == [0, 1, 2, 3]


def ticking(muster: Muster, client: str = "a") -> Muster:
    """Set run time 0, with one worker that is ready."""
    muster.anchor = ANCHOR
    muster.roster.join(client, ANCHOR, ready=True)
    return muster


# -- without leases -----------------------------------------------------------------------------


def report_of(
    name: str, sequence: int, second: int, counts: dict[str, int] | None = None, span: int = 1
) -> Delta:
    windows = [Window(second, span, "emotion", "steady", counts)] if counts else []
    row = FleetRow(second + span - 1, name, 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)
    return Delta("run", name, 1, sequence, windows, fleet=[row])


def test_without_a_plan_nothing_is_leased_and_open_requests_are_lost() -> None:
    """10 arrivals of which 7 ended: 3 were under way when the worker died."""
    muster = ticking(Muster("run"))
    assert not muster.leased
    muster.delta("a", report_of("worker-1", 1, 0, {"arrivals": 10, "ok": 7}), ANCHOR + 1.05, final=False)
    orders = muster.tick(ANCHOR + 6.0)
    assert orders.leases == []
    assert [(row.reporting, row.lost) for row in orders.ledger] == [(1, 0), (0, 1), (0, 1)]
    deltas, orders = muster.close(8.0)
    (window,) = deltas[0].windows
    assert (deltas[0].worker, window.key, window.counts) == (LOST_NAME, (0, "emotion", "steady"), {"lost": 3})
    assert orders.events == [("worker_written_off", {"worker": "worker-1", "lost": 3, "unoffered": 0})]


def test_in_the_closed_model_leases_are_given_and_nothing_is_unoffered() -> None:
    """There is no schedule to miss: a lease says only how long a worker may go on."""
    muster = ticking(Muster("run", timeline_of(20.0)))
    assert muster.leased
    assert [lease.second for _, lease in muster.tick(ANCHOR).leases] == [0, 1, 2]
    for second in range(1, 9):
        muster.tick(ANCHOR + second)
    _, orders = muster.close(9.0)
    assert all(row.unoffered == 0 for row in orders.ledger)


def test_before_run_time_0_nothing_is_written_and_nothing_is_lost() -> None:
    """A run that ends before its users exist has no seconds."""
    muster = Muster("run", *plan_of(12.0, "constant"), KINDS)
    muster.roster.join("a", ANCHOR)
    assert muster.tick(ANCHOR + 1).ledger == []
    assert muster.close(0.0) == ([], muster.tick(ANCHOR + 1))


def test_ends_that_were_told_without_their_arrivals_are_not_lost() -> None:
    """The report of second 0 went missing; the next tells that 4 of its 10 arrivals ended: 6 are lost."""
    muster = ticking(Muster("run", *plan_of(12.0, "constant"), KINDS))
    for second in range(6):
        muster.tick(ANCHOR + second)
    delta = Delta(
        "run",
        "worker-1",
        1,
        2,
        [Window(1, 1, endpoint, "ramp", {"ok": 2}) for endpoint in KINDS]
        + [Window(1, 1, "emotion", "ramp", {"arrivals": 30, "ok": 30})],
        fleet=[FleetRow(1, "worker-1", 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)],
    )
    muster.delta("a", delta, ANCHOR + 2.05, final=False)
    deltas, _ = muster.close(6.0)
    lost = sum(w.count(Count.LOST) for d in deltas for w in d.windows if w.second == 0)
    arrivals = sum(w.count(Count.ARRIVALS) for d in deltas for w in d.windows if w.second == 0)
    assert (arrivals, lost) == (10, 6)


# -- comings and goings -------------------------------------------------------------------------


def test_a_worker_that_comes_back_is_itself_again() -> None:
    """Lost at 4 and heard at 6, under the same client id: two events, one worker, and a share again."""
    muster = ticking(Muster("run", *plan_of(12.0, "constant"), KINDS))
    events = []
    for second in range(9):
        if second in (0, 1, 6, 7, 8):
            muster.beat("a", 99, ready=True, now=ANCHOR + second)
        events += [(second, kind) for kind, _ in muster.tick(ANCHOR + second).events]
    assert events == [(5, "worker_lost"), (6, "worker_returned")]
    assert len(muster.roster) == 1


def test_a_run_ends_only_when_nobody_was_heard_of_for_long() -> None:
    """20 s after the last word of the last worker; a worker that left is not waited for."""
    muster = ticking(Muster("run"))
    muster.roster.join("b", ANCHOR + 5.0)
    assert not muster.all_gone(ANCHOR + 5.0 + GONE_AFTER)
    assert muster.all_gone(ANCHOR + 5.1 + GONE_AFTER)
    muster.left("b", ANCHOR + 6.0)
    assert muster.all_gone(ANCHOR + 0.1 + GONE_AFTER)
    muster.left("a", ANCHOR + 6.0)
    assert not muster.all_gone(ANCHOR + 100.0)


def test_a_worker_is_silent_after_three_seconds() -> None:
    """Not at 3.0 s, but after."""
    muster = ticking(Muster("run"))
    worker = muster.roster.get("a")
    assert not muster.is_silent(worker, ANCHOR + LOST_AFTER)
    assert muster.is_silent(worker, ANCHOR + LOST_AFTER + 0.1)


def test_strangers_change_nothing() -> None:
    """A delta, a beat or a goodbye of a client that never joined."""
    muster = Muster("run", *plan_of(12.0, "constant"), KINDS)
    muster.anchor = ANCHOR
    muster.delta("x", report_of("worker-9", 1, 0, {"arrivals": 5}), ANCHOR, final=True)
    muster.beat("x", 3, ready=True, now=ANCHOR)
    muster.left("x", ANCHOR)
    assert len(muster.roster) == 0
    assert muster.close(2.0)[0] == []


def test_a_worker_that_left_without_its_last_report_is_counted_once() -> None:
    """It said goodbye at 5.0, and reported up to second 3: the rest is lost or unoffered, never both."""
    muster = ticking(Muster("run", *plan_of(12.0, "constant"), KINDS))
    for second in range(5):
        muster.beat("a", 99, ready=True, now=ANCHOR + second)
        muster.tick(ANCHOR + second)
        due = len(plan_of(12.0, "constant")[1].second(second))
        if second < 4:
            counts = {"arrivals": due, "ok": due}
            muster.delta("a", report_of("worker-1", second + 1, second, counts), ANCHOR + second, final=False)
    muster.left("a", ANCHOR + 5.0)
    for second in range(5, 12):
        muster.tick(ANCHOR + second)
    deltas, orders = muster.close(12.0)
    lost = sum(window.count(Count.LOST) for delta in deltas for window in delta.windows)
    unoffered = {row.second: row.unoffered for row in orders.ledger if row.unoffered}
    # Heard for the last time at 4.0: half of second 4 may have been offered.
    assert lost == 20
    assert unoffered == {4: 20} | dict.fromkeys(range(5, 12), 40)


# -- another master -----------------------------------------------------------------------------


@given(now=st.floats(3.0, 60.0), last=st.integers(-1, 58), beats=st.integers(1, 8))
def test_a_resumed_muster_gives_nothing_that_its_predecessor_may_have_given(
    now: float, last: int, beats: int
) -> None:
    """A tick at t gives what begins before floor(t) + 3; both masters' seconds must not meet."""
    last = min(last, math.floor(now) - 1)
    plan = plan_of(100.0, "constant")
    before = ticking(Muster("run", *plan, KINDS))
    given_before = [lease.second for _, lease in before.tick(ANCHOR + now).leases]
    muster = ticking(Muster("run", *plan, KINDS))
    muster.resume(ANCHOR + now, last)
    seconds = []
    for tick in range(beats):
        muster.beat("a", 0, ready=True, now=ANCHOR + now + tick)
        seconds += [lease.second for _, lease in muster.tick(ANCHOR + now + tick).leases]
    assert not set(given_before) & set(seconds)
    assert all(second > math.floor(now) + 3 for second in seconds)


def test_a_resumed_run_goes_on_after_what_was_reported_even_if_the_clock_went_back() -> None:
    """Reported up to second 50, at run time 20 by a clock that was set back: nothing before second 55.

    The master before looked at 51 at the least, and so gave up to 53; one second more is for the clock.
    """
    muster = ticking(Muster("run", *plan_of(100.0, "constant"), KINDS))
    muster.resume(ANCHOR + 20.0, 50)
    seconds = []
    for now in range(20, 60):
        muster.beat("a", 0, ready=True, now=ANCHOR + now)
        seconds += [lease.second for _, lease in muster.tick(ANCHOR + now).leases]
    assert min(seconds) == 55


def resumed(deltas: list[tuple[float, Delta]], offered: dict[int, int] | None = None) -> dict[int, LedgerRow]:
    """Resume at 20.5 a run whose ledger goes to second 14 and whose reports go to 16; close it at 26."""
    muster = ticking(Muster("run", *plan_of(100.0, "constant"), KINDS))
    muster.resume(ANCHOR + 20.5, 16, written=14, left=Left(offered=offered or {}))
    rows: dict[int, LedgerRow] = {}
    for second in range(21, 26):
        for moment, delta in deltas:
            if second <= moment < second + 1:
                muster.delta("a", delta, ANCHOR + moment, final=False)
        muster.beat("a", 99, ready=True, now=ANCHOR + second)
        rows |= {row.second: row for row in muster.tick(ANCHOR + second).ledger}
    rows |= {row.second: row for row in muster.close(26.0)[1].ledger}
    return rows


def test_the_gap_between_two_masters_counts_what_nobody_reported() -> None:
    """40 were due in each second; 15 to 17 are on record, 18 comes later, 19 to 23 nobody offered."""
    late = report_of("worker-1", 1, 18, {"arrivals": 40, "ok": 40})
    rows = resumed([(21.5, late)], offered={15: 40, 16: 40, 17: 30})
    assert [rows[second].unoffered for second in range(15, 24)] == [0, 0, 10, 0, 40, 40, 40, 40, 40]


def test_a_report_of_the_gap_that_comes_again_counts_once() -> None:
    """Its acknowledgement was lost: the same delta twice still leaves 20 of 40 missing."""
    late = report_of("worker-1", 1, 18, {"arrivals": 20, "ok": 20})
    rows = resumed([(21.5, late), (24.5, late)])
    assert rows[18].unoffered == 20


def test_a_longer_window_of_the_gap_is_put_to_all_of_its_seconds() -> None:
    """A worker that was short of memory tells of 15 to 19 at once: 200 arrivals, 40 for each."""
    late = report_of("worker-1", 1, 15, {"arrivals": 200, "ok": 200}, span=5)
    rows = resumed([(21.5, late)])
    assert [rows[second].unoffered for second in range(15, 21)] == [0, 0, 0, 0, 0, 40]


def test_a_resumed_ledger_has_no_hole() -> None:
    """The master before wrote its rows up to second 14; the next row is that of 15."""
    assert sorted(resumed([])) == list(range(15, 26))


def test_reports_that_are_on_record_say_nothing_new() -> None:
    """The master before had committed number 1: when it comes again, only that it is late."""
    muster = ticking(Muster("run", *plan_of(100.0, "constant"), KINDS))
    muster.delta("a", report_of("worker-1", 1, 3, {"arrivals": 9}), ANCHOR, final=False)
    books = Counter(muster.roster.get("a").open_books)
    muster.delta("a", report_of("worker-1", 1, 3, {"arrivals": 9}), ANCHOR, final=False)
    assert muster.roster.get("a").open_books == books == {("emotion", "steady"): 9}


@pytest.mark.parametrize("late", [0.0, 0.4, 0.99])
def test_rows_come_once_their_second_may_be_reported(late: float) -> None:
    """A second's row is made at the first look that is 2.5 s or more after its end."""
    muster = ticking(Muster("run"))
    for second in range(6):
        for row in muster.tick(ANCHOR + second + late).ledger:
            assert 2.5 <= second + late - (row.second + 1) < 3.5


@example(story=Story([Fate(joins=1.3), Fate(joins=4.0)]))
@given(story=stories)
@settings(max_examples=30)
def test_leases_of_a_worker_are_numbered_without_a_hole(story: Story) -> None:
    """So that a worker can say up to which it heard them all."""
    sent: dict[str, list[int]] = {}
    tick = story.muster.tick

    def watch(now: float):
        orders = tick(now)
        for client, lease in orders.leases:
            sent.setdefault(client, []).append(lease.number)
        return orders

    story.muster.tick = watch
    story.play()
    for numbers in sent.values():
        fresh = sorted(set(numbers))
        assert fresh == list(range(1, len(fresh) + 1))
        assert all(b <= max(numbers[: n + 1]) + 1 for n, (_, b) in enumerate(pairwise(numbers)))


# -- what masters before left open --------------------------------------------------------------


def taken_up(
    left: Left, offered: int = 40
) -> tuple[list[Window], dict[int, LedgerRow], list[tuple[str, Any]]]:
    """Resume at 20.5 with a worker that reports `offered` of second 24 and 25; close at 26."""
    muster = ticking(Muster("run", *plan_of(26.0, "constant"), KINDS))
    muster.resume(ANCHOR + 20.5, 16, written=14, left=left)
    rows: dict[int, LedgerRow] = {}
    for second in range(21, 26):
        muster.beat("a", 99, ready=True, now=ANCHOR + second)
        rows |= {row.second: row for row in muster.tick(ANCHOR + second).ledger}
    for second in (24, 25):
        counts = {"arrivals": offered, "ok": offered}
        muster.delta("a", report_of("worker-1", second, second, counts), ANCHOR + 26.0, final=second == 25)
    deltas, orders = muster.close(26.0)
    rows |= {row.second: row for row in orders.ledger}
    return [window for delta in deltas for window in delta.windows], rows, orders.events


def test_what_a_dead_worker_may_have_sent_before_the_next_master_is_lost() -> None:
    """Seconds 15 and 16 are on record; it may have sent until 18.0, and nobody offered 18 to 23."""
    windows, rows, events = taken_up(Left(offered={15: 40, 16: 40}, workers=("worker-9",), stopped=17.999))
    assert sum(window.count(Count.LOST) for window in windows) == 40
    assert {window.second for window in windows} == {17}
    assert [rows[second].unoffered for second in range(15, 24)] == [0, 0, 0, 40, 40, 40, 40, 40, 40]
    detail = {"workers": ["worker-9"], "lost": 40, "unoffered": 240}
    assert ("open_seconds_closed", detail) in events


def gone_before_it_told(
    whole: int, heard: float, seconds: tuple[int, ...] = ()
) -> tuple[dict[int, int], dict[int, int]]:
    """Resume at 20.5 with a worker of before that reports `seconds` and dies; lost and unoffered by second.

    The ledger goes to second 14, reports to 16, 40 are due a second and its leases went to 22.0 at the most.
    """
    muster = ticking(Muster("run", *plan_of(26.0, "constant"), KINDS))
    worker = muster.roster.get("a")
    worker.reported, worker.whole, worker.was_before = whole, whole, True
    left = Left(offered=dict.fromkeys(range(whole + 1)[-2:], 40), leased_until=22.0)
    muster.resume(ANCHOR + 20.5, 16, written=14, left=left)
    for number, second in enumerate(seconds, 1):
        report = report_of("worker-1", number, second, {"arrivals": 40, "ok": 40})
        muster.delta("a", report, ANCHOR + heard, final=False)
    muster.roster.hear("a", ANCHOR + heard)
    for second in range(21, 26):
        muster.tick(ANCHOR + second)
    deltas, orders = muster.close(24.0)
    lost = Counter[int]()
    for window in (window for delta in deltas for window in delta.windows):
        lost[window.second] += window.count(Count.LOST)
    return dict(lost), {row.second: row.unoffered for row in orders.ledger if row.unoffered}


def test_what_a_worker_may_have_sent_between_two_masters_is_lost_if_it_dies_before_it_told() -> None:
    """It came back at 20.5 and reported nothing of 17 to 21, for which it may have had leases."""
    lost, unoffered = gone_before_it_told(16, 20.6)
    # Heard for the last time at 20.6, it may have gone on for half a second, up to 21.1.
    assert {second: lost[second] for second in (17, 18, 19, 20)} == dict.fromkeys((17, 18, 19, 20), 40)
    assert lost[21] + unoffered[21] == 40
    assert 0 < lost[21] < 10
    assert unoffered[22] == unoffered[23] == 40


def test_what_a_worker_of_before_told_until_it_died_is_not_lost() -> None:
    """17 and 18 came; of 19 to 21 nothing is known."""
    lost, _ = gone_before_it_told(16, 22.5, (17, 18))
    assert lost == dict.fromkeys((19, 20, 21), 40)


def test_a_worker_that_told_of_all_its_leases_of_before_takes_nothing_of_them_along() -> None:
    """17 to 21 came; that it dies in 22 is for the leases of this master."""
    lost, _ = gone_before_it_told(16, 22.5, (17, 18, 19, 20, 21))
    assert lost == {}


def test_a_second_that_the_ledger_has_is_open_where_a_worker_was_late_and_died() -> None:
    """The row of 14 was written without what this one did in it: it had reported up to 13."""
    lost, _ = gone_before_it_told(13, 22.5)
    assert lost[14] == 40


def test_seconds_that_an_earlier_master_left_open_are_closed_too() -> None:
    """Of second 5, 30 of 40 are on record and 4 are known to be nobody's: the last 6 may have been sent."""
    gone = dict.fromkeys(range(15, 24), 40)
    left = Left((Doubt(5, 6, 5.999),), {5: 30, **gone}, {5: 4})
    windows, rows, _ = taken_up(left)
    assert sum(window.count(Count.LOST) for window in windows) == 6
    assert {window.second for window in windows} == {5}
    assert all(row.unoffered == 0 for row in rows.values())


def test_what_was_never_offered_adds_to_what_was_known() -> None:
    """Of second 5, 30 are on record, 4 were known to be nobody's, and nothing was sent: 10 in all."""
    gone = dict.fromkeys(range(15, 24), 40)
    _, rows, _ = taken_up(Left((Doubt(5, 6),), {5: 30, **gone}, {5: 4}))
    assert rows[5].unoffered == 10


def test_arrivals_on_record_whose_end_cannot_come_are_lost() -> None:
    """Three of emotion were open when this master came, and one end of them came since."""
    gone = dict.fromkeys(range(15, 24), 40)
    left = Left(offered=gone, open_books={("emotion", "steady"): 3})
    muster = ticking(Muster("run", *plan_of(26.0, "constant"), KINDS))
    muster.resume(ANCHOR + 20.5, 16, written=14, left=left)
    for second in range(21, 26):
        muster.beat("a", 99, ready=True, now=ANCHOR + second)
        muster.tick(ANCHOR + second)
    muster.delta("a", report_of("worker-1", 1, 24, {"arrivals": 40, "ok": 41}), ANCHOR + 26.0, final=True)
    deltas, _ = muster.close(26.0)
    lost = {
        (window.endpoint, window.phase): window.count(Count.LOST)
        for delta in deltas
        for window in delta.windows
        if window.count(Count.LOST)
    }
    assert lost == {("emotion", "steady"): 2}


def test_seconds_without_any_worker_are_told_once_somebody_has_a_share() -> None:
    """The only worker reported 0 and was silent from 1.0 on; another one comes at 6.0."""
    muster = ticking(Muster("run", *plan_of(20.0, "constant"), KINDS))
    told = []
    for second in range(10):
        if second < 2:
            muster.beat("a", 99, ready=True, now=ANCHOR + second)
        if second == 1:
            muster.delta(
                "a", report_of("worker-1", 1, 0, {"arrivals": 40, "ok": 40}), ANCHOR + 1.0, final=False
            )
        if second == 6:
            muster.roster.join("b", ANCHOR + 6.0)
        if second >= 6:
            muster.beat("b", 99, ready=True, now=ANCHOR + second)
        told += [
            (second, detail) for kind, detail in muster.tick(ANCHOR + second).events if kind == "not_measured"
        ]
    ((when, detail),) = told
    assert when >= 6
    assert detail["from"] == 1
    assert 7 <= detail["to"] <= 10
    assert detail["cause"] == "every worker was gone"
