"""The master's fleet, second by second: who is there, who offers what, and what is missing.

Everything here is a function of what came in and of the times passed in; what is to be sent and to be written
down is returned. Times are the master's CLOCK_MONOTONIC seconds unless they say run time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loadgate.measure.delta import Delta
from loadgate.measure.window import Count, Window
from loadgate.plan.timeline import Timeline
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.swarm.leases import LEASE
from loadgate.swarm.losses import DEATH_WITHIN
from loadgate.swarm.messages import Lease
from loadgate.swarm.roster import LOST_AFTER, REPORT_WITHIN, Roster, State, Worker
from loadgate.swarm.sharing import Sharing
from loadgate.traffic.arrivals import ArrivalSchedule

GONE_AFTER, GONE_AFTER_HERE = 20.0, 5.0
"""Seconds without a word from any worker after which a run ends: a cut cable may be mended before. On one
machine there is no cable."""
LOST_NAME = "(lost)"
"""The worker under whose name the master writes down what is gone with others."""
_SETTLED_AFTER = 1 + REPORT_WITHIN


@dataclass
class Orders:
    """What is to be done after a look at the fleet."""

    leases: list[tuple[str, Lease]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)


@dataclass
class Gap:
    """Seconds of a run that had no master: what was offered in them is known only from later reports."""

    first: int
    end: int
    offered: Counter[int] = field(default_factory=Counter)


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
        self._schedule = schedule
        self._sharing = Sharing(timeline, schedule, kinds) if timeline is not None else None
        self._written = -1
        self._lost_deltas = 0
        self._gap: Gap | None = None

    @property
    def leased(self) -> bool:
        """Tell whether workers may start requests only where a lease lets them."""
        return self._sharing is not None

    def resume(self, now: float, last: int) -> None:
        """Go on after another master of this run: `last` is the last second (run time) that it knew of."""
        assert self.anchor is not None
        first = int(now - self.anchor) + 1 + LEASE
        self._gap = Gap(last + 1, first)
        self._written = last
        if self._sharing is not None:
            self._sharing.skip_to(first)

    def delta(self, client: str, delta: Delta, now: float, *, final: bool) -> None:
        """Take in a report; `final` says that the worker makes no more."""
        self.roster.hear(client, now)
        self.roster.report(client, delta, final=final)
        if self._gap is not None:
            for head in delta.packed.heads:
                if self._gap.first <= head.second < self._gap.end:
                    self._gap.offered[head.second] += head.counts.get(Count.ARRIVALS, 0)

    def beat(self, client: str, leases: int, *, ready: bool, now: float) -> None:
        """Take in a beat."""
        worker = self.roster.hear(client, now)
        if worker is not None:
            worker.ready = worker.ready or ready
            if self._sharing is not None:
                self._sharing.confirmed(client, leases)

    def left(self, client: str, now: float) -> None:
        """Note that a worker ended as it should; what it was granted from now on nobody offers."""
        worker = self.roster.get(client)
        if worker is None or worker.state is not State.HERE:
            return
        self.roster.leave(client)
        if self._sharing is not None and self.anchor is not None:
            self._sharing.left(worker, now - self.anchor)

    def tick(self, now: float) -> Orders:
        """Look at the fleet; call it at each second of run time, once run time has begun."""
        orders = Orders()
        for change in self.roster.look(now):
            worker = change.worker
            detail = {"worker": worker.name, "reported_until": worker.reported + 1}
            orders.events.append((change.kind, detail))
        if self.anchor is None:
            return orders
        if self._sharing is not None:
            live = self.roster.live(now)
            orders.leases = self._sharing.tick(now - self.anchor, self.roster.here(), live)
        orders.ledger = self._rows(int(now - self.anchor - _SETTLED_AFTER))
        return orders

    def is_silent(self, worker: Worker, now: float) -> bool:
        """Tell whether nothing was heard of a worker for so long that it counts as lost."""
        return now - worker.heard > LOST_AFTER

    def all_gone(self, now: float) -> bool:
        """Tell whether no worker was heard of for so long that the run has to end."""
        known = [worker for worker in self.roster if worker.state is not State.LEFT]
        return bool(known) and all(now - worker.heard > self._gone_after for worker in known)

    def close(self, until: float) -> tuple[list[Delta], Orders]:
        """Write off the workers that did not come back; return what is lost with them, and the last rows.

        `until` is the run time at which the run ended.
        """
        orders = Orders()
        deltas: list[Delta] = []
        for worker in self.roster:
            if worker.is_complete or self.anchor is None:
                continue
            stopped = min(worker.heard + DEATH_WITHIN - self.anchor, until)
            lost, unoffered = self._lost_with(worker, stopped, deltas)
            detail = {"worker": worker.name, "lost": lost, "unoffered": unoffered}
            orders.events.append(("worker_written_off", detail))
        if self.anchor is not None:
            self._settle_gap(until)
            orders.ledger = self._rows(int(until)) + self._unoffered_rows()
        return deltas, orders

    def _lost_with(self, worker: Worker, stopped: float, deltas: list[Delta]) -> tuple[int, int]:
        if self._sharing is None:
            windows = [
                Window(max(worker.reported, 0), 1, endpoint, phase, {Count.LOST: number})
                for (endpoint, phase), number in sorted(worker.open_books.items())
                if number > 0
            ]
            unoffered = 0
        else:
            loss = self._sharing.loss_of(worker, stopped)
            windows, unoffered = loss.windows, loss.unoffered.total()
        if windows:
            self._lost_deltas += 1
            deltas.append(Delta(self._run, LOST_NAME, os.getpid(), self._lost_deltas, windows))
        return sum(window.count(Count.LOST) for window in windows), unoffered

    def _settle_gap(self, until: float) -> None:
        """Count what nobody offered while there was no master: what was due, less what was reported."""
        gap, schedule = self._gap, self._schedule
        if gap is None or schedule is None or self._sharing is None:
            return
        for second in range(gap.first, min(gap.end, int(until) + 1)):
            missing = len(schedule.second(second)) - gap.offered[second]
            if missing > 0:
                self._sharing.unoffered[second] += missing

    def _rows(self, until: int) -> list[LedgerRow]:
        """Return the rows of the seconds before `until` (run time) that were not written yet."""
        rows = [self._row(second) for second in range(self._written + 1, until)]
        self._written = max(self._written, until - 1)
        return rows

    def _row(self, second: int) -> LedgerRow:
        unoffered = self._sharing.unoffered[second] if self._sharing is not None else 0
        return self.roster.ledger(second, unoffered)

    def _unoffered_rows(self) -> list[LedgerRow]:
        """Return again the rows of the seconds in which something was found to be offered by nobody."""
        if self._sharing is None:
            return []
        return [self._row(second) for second, n in sorted(self._sharing.unoffered.items()) if n > 0]
