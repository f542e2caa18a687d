"""The master's fleet, second by second: who is there, who offers what, and what is missing.

Everything here is a function of what came in and of the times passed in; what is to be sent and to be written
down is returned. Times are the master's CLOCK_MONOTONIC seconds unless they say run time.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from loadgate.measure.delta import Delta
from loadgate.measure.window import Count, Window
from loadgate.plan.timeline import Timeline
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.swarm.doubts import Doubt, Merged, by_second
from loadgate.swarm.leases import LEASE
from loadgate.swarm.losses import Loss, loss_of
from loadgate.swarm.messages import Lease
from loadgate.swarm.pace import death_within
from loadgate.swarm.roster import LOST_AFTER, REPORT_WITHIN, Roster, State, Worker, count_arrivals
from loadgate.swarm.sharing import Sharing
from loadgate.traffic.arrivals import ArrivalSchedule

GONE_AFTER, GONE_AFTER_HERE = 20.0, 5.0
"""Seconds without a word from any worker after which a run ends: a cut cable may be mended before. On one
machine there is no cable."""
LOST_NAME = "(lost)"
"""The worker under whose name the master writes down what is gone with others."""
_STOP_WITHIN = 0.02
"""Seconds by which a worker's clock may be behind when it is asked to stop."""


@dataclass
class Orders:
    """What is to be done after a look at the fleet."""

    leases: list[tuple[str, Lease]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)


@dataclass(frozen=True)
class Left:
    """What masters before left open: seconds in doubt, and arrivals without an end.

    By second, `offered` is how many arrivals are on record and `unoffered` how many are known to be offered
    by nobody; `merged` says where only sums are on record. By endpoint and phase, `open_books` are the
    arrivals on record less their ends. `workers` are those that were lost, and `stopped` is the last moment
    at which any that did not come back may have sent something (-inf: all came back). Nobody had a lease for
    arrivals after `leased_until`. `lost` is by name what a worker that was lost before may have done since,
    should it come back. `lost_deltas` is the number of the last delta of losses on record that a process with
    this one's pid made.
    """

    doubts: tuple[Doubt, ...] = ()
    offered: Mapping[int, int] = field(default_factory=dict)
    unoffered: Mapping[int, int] = field(default_factory=dict)
    open_books: Mapping[tuple[str, str], int] = field(default_factory=dict)
    workers: tuple[str, ...] = ()
    stopped: float = -math.inf
    leased_until: float = -math.inf
    lost: Mapping[str, Doubt] = field(default_factory=dict)
    merged: tuple[Merged, ...] = ()
    lost_deltas: int = 0


@dataclass
class Gap:
    """Seconds of a run that had no master: what was offered in them is known only from later reports."""

    first: int
    end: int
    left: Left
    offered: Counter[int] = field(default_factory=Counter)

    @property
    def own(self) -> Doubt:
        """Return the seconds between the last master and this one."""
        return Doubt(self.first, self.end, self.left.stopped)

    def merged(self) -> list[Merged]:
        """Return the seconds that are on record together only, with what was reported of them since."""
        found = []
        for one in self.left.merged:
            seconds = range(one.first, one.end)
            since = sum(self.offered[second] - self.left.offered.get(second, 0) for second in seconds)
            found.append(replace(one, offered=one.offered + since))
        return found

    def stopped(self, more: Sequence[Doubt] = ()) -> dict[int, float]:
        """Return all open seconds, each with the last moment at which something may have been sent.

        `more` are those of workers that came back, and were lost before they had told of them.
        """
        return by_second((*self.left.doubts, self.own, *more), self.end)


class Muster:
    """Keep the fleet of one run.

    `schedule` and `kinds` are those of an open-model plan; without a plan (`timeline` None) no leases are
    given, and workers go on as Locust has them.
    """

    def __init__(
        self,
        run: str,
        timeline: Timeline | None = None,
        schedule: ArrivalSchedule | None = None,
        kinds: Sequence[str] = (),
        *,
        gone_after: float = GONE_AFTER,
    ) -> None:
        self.roster = Roster()
        self._gone_after = gone_after
        self.anchor: float | None = None
        self._run = run
        self._sharing = Sharing(timeline, schedule, kinds) if timeline is not None else None
        self._written = -1
        self._lost_deltas = 0
        self._gap: Gap | None = None
        self._looked = 0.0
        self._finished: float | None = None
        self._since: dict[int, int] = {}
        self._deserted: int | None = None

    @property
    def leased(self) -> bool:
        """Tell whether workers may start requests only where a lease lets them."""
        return self._sharing is not None

    def resume(self, now: float, last: int, *, written: int | None = None, left: Left | None = None) -> Gap:
        """Go on after another master of this run; return the seconds between the two.

        `last` is the last second (run time) that any worker reported to it, `written` the last one of which
        it wrote the ledger's row, and `left` what it left open.
        """
        assert self.anchor is not None
        left = left or Left()
        # Run time may have been set back since, by a wall clock; what was reported has been.
        first = max(math.floor(now - self.anchor), last + 1) + 1 + LEASE
        self._written = last if written is None else written
        # In a container each master has the same pid: a number that is on record would be no news.
        self._lost_deltas = left.lost_deltas
        self._gap = Gap(self._written + 1, first, left, Counter(left.offered))
        if self._sharing is not None:
            self._sharing.skip_to(first)
        return self._gap

    def delta(self, client: str, delta: Delta, now: float, *, final: bool) -> bool:
        """Take in a report, and tell whether it is new; `final` says that the worker makes no more."""
        self.roster.hear(client, now)
        new = self.roster.report(client, delta, final=final)
        if new and self._gap is not None:
            for head in delta.packed.heads:
                if head.second < self._gap.end:
                    count_arrivals(self._gap.offered, head)
        return new

    def beat(self, client: str, leases: int, *, ready: bool, now: float) -> None:
        """Take in a beat. One that is not `ready` after one that was takes part no more."""
        worker = self.roster.hear(client, now)
        if worker is not None:
            worker.ready = ready or (worker.ready and not worker.begun)
            worker.begun = worker.begun or ready
            if self._sharing is not None and self.anchor is not None:
                self._sharing.confirmed(client, leases, now - self.anchor)

    def left(self, client: str, now: float) -> None:
        """Note that a worker ended as it should; what it was granted from then on nobody offers."""
        worker = self.roster.get(client)
        if worker is None or worker.state is not State.HERE:
            return
        self.roster.leave(client)
        if self.anchor is None:
            return
        self._looked = max(self._looked, now - self.anchor)
        if self._sharing is not None:
            self._sharing.keep(worker)
            if worker.is_complete:
                worker.unoffered = self._sharing.untold(worker, math.inf, math.inf).total()

    def finish(self, now: float) -> None:
        """Note that the workers are asked to offer nothing more from now on."""
        if self._finished is None and self.anchor is not None:
            self._finished = now - self.anchor

    def tick(self, now: float) -> Orders:
        """Look at the fleet; call it at each second of run time, once run time has begun."""
        orders = Orders()
        for change in self.roster.look(now):
            worker = change.worker
            detail = {"worker": worker.name, "reported_until": worker.whole + 1}
            orders.events.append((change.kind, detail))
            if worker.state is State.LOST and self._sharing is not None:
                self._sharing.keep(worker)
                self._note_desertion(worker.reported + 1)
        if self.anchor is None:
            return orders
        self._looked = now - self.anchor
        if self._sharing is not None:
            live = self.roster.live(now)
            orders.leases = self._sharing.tick(self._looked, self.roster.here(), live)
            self._tell_desertion(orders)
        orders.ledger = self._rows(math.floor(self._looked - REPORT_WITHIN))
        return orders

    def _note_desertion(self, first: int) -> None:
        """Note the second from which on nobody had a share any more, after a worker that was lost."""
        if all(self._since.get(worker.number, first + 1) > first for worker in self.roster.here()):
            self._deserted = first if self._deserted is None else min(first, self._deserted)

    def _tell_desertion(self, orders: Orders) -> None:
        """Tell of the seconds in which nobody had a share, once somebody has one again."""
        for client, lease in orders.leases:
            worker = self.roster.get(client)
            if worker is not None:
                self._since.setdefault(worker.number, lease.second)
        ends = [self._since[one.number] for one in self.roster.here() if one.number in self._since]
        if self._deserted is not None and ends:
            first, self._deserted = self._deserted, None
            if first < min(ends):
                detail = {"from": first, "to": min(ends), "cause": "every worker was gone"}
                orders.events.append(("not_measured", detail))

    def is_silent(self, worker: Worker, now: float) -> bool:
        """Tell whether nothing was heard of a worker for so long that it counts as lost."""
        return now - worker.heard > LOST_AFTER

    def all_gone(self, now: float) -> bool:
        """Tell whether no worker was heard of for so long that the run has to end."""
        known = [worker for worker in self.roster if worker.state is not State.LEFT]
        return bool(known) and all(now - worker.heard > self._gone_after for worker in known)

    def close(self, until: float) -> tuple[list[Delta], Orders]:
        """Write off the workers that did not come back; return what is lost with them, and the last rows.

        `until` is the run time at which the run ended: no arrival that was due later is missed.
        """
        orders = Orders()
        deltas: list[Delta] = []
        if self.anchor is None:
            return deltas, orders
        # Without word of it, offering ended within a second of the last look, which comes each second.
        told = self._finished is not None
        ends = min(until, self._finished if self._finished is not None else self._looked + 1)
        sure = ends - _STOP_WITHIN if told else min(until, self._looked)
        changed: set[int] = set()
        for worker in self.roster:
            if not worker.is_complete:
                loss = self._loss_of(worker, ends)
                changed.update(window.second for window in loss.windows)
                orders.events.append(_written_off(worker, loss.arrivals, loss.unoffered.total()))
                if loss.windows:
                    self._lost_deltas += 1
                    deltas.append(Delta(self._run, LOST_NAME, os.getpid(), self._lost_deltas, loss.windows))
            elif (unoffered := self._unoffered_of(worker, ends, sure)) and worker.state is State.LEFT:
                orders.events.append(_written_off(worker, 0, unoffered))
        if self._gap is not None:
            self._close_gap(self._gap, ends, deltas, orders)
        orders.ledger = self._last_rows(ends, changed)
        return deltas, orders

    def _close_gap(self, gap: Gap, ends: float, deltas: list[Delta], orders: Orders) -> None:
        """Write down what is gone in the seconds that masters before left open, and missing ends."""
        windows: list[Window] = []
        unoffered = 0
        silent = self._untold_before(gap)
        if self._sharing is not None:
            stopped = gap.stopped([doubt for doubts in silent.values() for doubt in doubts])
            loss = self._sharing.open_seconds(stopped, gap.offered, gap.left.unoffered, ends, gap.merged())
            windows, unoffered = loss.windows, loss.unoffered.total()
        for (endpoint, phase), number in sorted(self._without_end(gap, deltas).items()):
            if number > 0:
                counts = {str(Count.LOST): number}
                windows.append(Window(max(gap.first - 1, 0), 1, endpoint, phase, counts))
        if windows:
            self._lost_deltas += 1
            deltas.append(Delta(self._run, LOST_NAME, os.getpid(), self._lost_deltas, windows))
        lost = sum(window.count(Count.LOST) for window in windows)
        if lost or unoffered:
            detail = {"workers": sorted({*gap.left.workers, *silent}), "lost": lost, "unoffered": unoffered}
            orders.events.append(("open_seconds_closed", detail))

    def _untold_before(self, gap: Gap) -> dict[str, list[Doubt]]:
        """Return what workers of masters before may have sent by their leases and never told this one."""
        assert self.anchor is not None
        found: dict[str, list[Doubt]] = {}
        for worker in self.roster:
            if not worker.was_before or worker.is_complete:
                continue
            first, died = worker.whole + 1, worker.heard + death_within(len(self.roster)) - self.anchor
            lost = gap.left.lost.get(worker.name)
            if lost is not None:
                if first < lost.end:
                    found.setdefault(worker.name, []).append(lost)
                # It had no lease after that, unless it was back a moment before that master died.
                first = max(first, gap.first)
            stopped = min(gap.left.leased_until, died)
            if first < stopped:
                found.setdefault(worker.name, []).append(Doubt(first, gap.end, stopped))
        return found

    def _without_end(self, gap: Gap, deltas: Sequence[Delta]) -> Counter[tuple[str, str]]:
        """Count the arrivals on record whose end nobody can report any more, by endpoint and phase.

        All that were open when this master came, and that came in since, less all ends that did.
        """
        found = Counter(gap.left.open_books)
        for worker in self.roster:
            for key, number in worker.open_books.items():
                found[key] += number
        for window in (window for delta in deltas for window in delta.windows):
            found[window.endpoint, window.phase] += window.imbalance
        return found

    def _loss_of(self, worker: Worker, ends: float) -> Loss:
        assert self.anchor is not None
        worker.state = State.LOST
        stopped = min(worker.heard + death_within(len(self.roster)) - self.anchor, ends)
        if self._sharing is None:
            return loss_of(worker, stopped, {})
        return self._sharing.loss_of(worker, stopped, ends)

    def _unoffered_of(self, worker: Worker, ends: float, sure: float) -> int:
        """Count what a worker that reported all it did was granted and did not offer."""
        if self._sharing is None or worker.unoffered is not None:
            return worker.unoffered or 0
        return self._sharing.untold(worker, ends, sure).total()

    def _last_rows(self, ends: float, changed: set[int]) -> list[LedgerRow]:
        """Return the rows up to the end, after those of earlier seconds of which more is known by now."""
        before = self._written
        if self._sharing is not None:
            self._sharing.close(ends)
            changed |= {second for second, number in self._sharing.unoffered.items() if number > 0}
        if self._gap is not None:
            changed |= set(range(self._gap.first, self._gap.end))
        again = [self._row(second) for second in sorted(changed) if 0 <= second <= before]
        return again + self._rows(math.ceil(ends))

    def _rows(self, until: int) -> list[LedgerRow]:
        """Return the rows of the seconds before `until` (run time) that were not written yet."""
        rows = [self._row(second) for second in range(self._written + 1, until)]
        self._written = max(self._written, until - 1)
        return rows

    def _row(self, second: int) -> LedgerRow:
        unoffered = self._sharing.unoffered[second] if self._sharing is not None else 0
        return self.roster.ledger(second, unoffered)


def _written_off(worker: Worker, lost: int, unoffered: int) -> tuple[str, dict[str, Any]]:
    return "worker_written_off", {"worker": worker.name, "lost": lost, "unoffered": unoffered}
