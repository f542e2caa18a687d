"""The roster: which workers a run has, which of them are heard of, and what each has reported.

Times are seconds of the master's CLOCK_MONOTONIC and are passed in; nothing here looks at a clock. A worker
is *here* while it is heard of, *silent* when it was not for a while, *lost* after longer, and *left* when it
ended as it should. A worker whose event loop is busy still beats, from a thread of its own: busy is not
silent.

What a worker reported is kept in two forms: how far it goes without a hole, which is all that is needed as
long as everything comes in order; and, for the last two minutes, how many arrivals of each second, which
tells what is missing once it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from loadgate.measure.delta import Delta
from loadgate.measure.packed import Head
from loadgate.measure.window import Count, Window
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.ledger import Range, Ranges
from loadgate.swarm.leases import LEASE, SILENT_AFTER

LOST_AFTER = float(LEASE)
"""Seconds without a word after which a worker counts as lost: its lease has run out by then."""
REPORT_WITHIN = 2.5
"""Seconds after the end of a second by which a worker must have reported it, or it is late: long enough to
know of most workers that died in it, since the row of that second is written then."""
REMEMBERED = 120
"""Seconds for which it is remembered at least how many arrivals of each second a worker reported."""
_PRUNED = 30
"""Seconds that gather before those that are past remembering are forgotten."""
LONGEST_WINDOW = 600
"""Seconds of a window beyond which its arrivals are put to no second; a lost worker's then count as lost."""


class State(StrEnum):
    """Name what is known of a worker."""

    HERE = "here"
    LOST = "lost"
    LEFT = "left"


@dataclass
class Worker:
    """One worker of a run. `client` is Locust's id of it, `number` counts from 0 in order of joining."""

    name: str
    number: int
    client: str
    heard: float
    ready: bool = False
    """Whether it may be given a share: it has begun, and it has not said since that it ends."""
    begun: bool = False
    """Whether it said itself that it has begun."""
    state: State = State.HERE
    reported: int = -1
    """The last run second it reported."""
    whole: int = -1
    """The last run second up to which nothing is missing among its reports."""
    recorded: Counter[int] = field(default_factory=Counter)
    """By run second: arrivals that it reported, of the last two minutes up to `whole` and of all after it."""
    drained: bool = False
    last_report: tuple[int, int] | None = None
    """Incarnation and sequence number of its last report, once that has come."""
    unoffered: int | None = None
    """Of a worker that left: how many arrivals it was granted and did not offer, once that is known."""
    open_books: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By endpoint and phase: arrivals that it reported, less their endings."""
    seen: dict[int, Ranges] = field(default_factory=dict)
    """By incarnation: the sequence numbers of the reports that came."""
    was_before: bool = False
    """Whether a master before this one may have given it leases, of which it has yet to report."""

    @property
    def is_complete(self) -> bool:
        """Tell whether its last report has come, and all before it, which it may have overtaken."""
        if self.last_report is None:
            return False
        incarnation, last = self.last_report
        return self.seen[incarnation].ranges() == [Range(1, last)]

    def has_reported(self, second: int) -> bool:
        """Tell whether its report of a second has come; of a lost worker only what has no hole before it."""
        return second <= (self.whole if self.state is State.LOST else self.reported)

    def is_heard(self, now: float) -> bool:
        """Tell whether it may be counted on."""
        return self.state is State.HERE and now - self.heard <= SILENT_AFTER


@dataclass(frozen=True)
class Change:
    """A worker that was lost, or heard again."""

    kind: str
    worker: Worker


class Roster:
    """Keep the workers of one run by Locust's client id."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._names: set[str] = set()
        self._clients: dict[str, str] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def __contains__(self, client: str) -> bool:
        return client in self._workers

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, client: str) -> Worker | None:
        """Return a worker by Locust's id of it."""
        return self._workers.get(client)

    def name_of(self, client: str) -> str:
        """Return a worker's name; Locust's id of one that is none of ours."""
        worker = self._workers.get(client)
        return worker.name if worker is not None else client

    def client_of(self, name: str) -> str | None:
        """Return Locust's id of the worker of a name."""
        return self._clients.get(name)

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names from newcomers: workers of a master before had them, and their reports are on record."""
        self._names.update(names)

    def join(self, client: str, now: float, *, name: str | None = None, ready: bool = False) -> Worker:
        """Add a worker, under a name it had before or a new one; a known client is itself again."""
        known = self._workers.get(client)
        if known is not None:
            known.heard = max(known.heard, now)
            return known
        number = len(self._workers)
        if name is None:
            name = next(n for n in (f"worker-{k}" for k in range(number + 1, 10**9)) if n not in self._names)
        self._names.add(name)
        self._clients[name] = client
        worker = self._workers[client] = Worker(name, number, client, now, ready=ready)
        return worker

    def hear(self, client: str, now: float) -> Worker | None:
        """Note that something came from a worker."""
        worker = self._workers.get(client)
        if worker is not None:
            worker.heard = max(worker.heard, now)
        return worker

    def leave(self, client: str) -> None:
        """Note that a worker ended as it should: it is neither silent nor lost from now on."""
        worker = self._workers.get(client)
        if worker is not None and worker.state is State.HERE:
            worker.state = State.LEFT

    def look(self, now: float) -> list[Change]:
        """Tell which workers are lost now that were not, and which were heard again."""
        changes = []
        for worker in self._workers.values():
            silent = now - worker.heard > LOST_AFTER
            if worker.state is State.HERE and silent:
                worker.state = State.LOST
                changes.append(Change("worker_lost", worker))
            elif worker.state is State.LOST and not silent:
                worker.state = State.HERE
                changes.append(Change("worker_returned", worker))
        return changes

    def live(self, now: float) -> list[int]:
        """Return the numbers of the workers that may be given a share."""
        return [w.number for w in self._workers.values() if w.ready and w.is_heard(now)]

    def here(self) -> list[Worker]:
        """Return the workers that are neither lost nor gone, in order of joining."""
        return [w for w in self._workers.values() if w.state is State.HERE]

    def lost(self) -> list[Worker]:
        """Return the workers that were lost and not heard of again."""
        return [w for w in self._workers.values() if w.state is State.LOST]

    def report(self, client: str, delta: Delta, *, final: bool = False) -> bool:
        """Take in what a report says: up to where it goes, what it counted, and what is still open.

        Tell whether it is new: one that comes again says nothing, and a worker that is none of ours neither.
        """
        worker = self._workers.get(client)
        if worker is not None and final:
            worker.last_report = delta.incarnation, delta.sequence
        if worker is None:
            return False
        seen = worker.seen.get(delta.incarnation)
        if seen is None:
            seen = worker.seen[delta.incarnation] = Ranges()
        if not seen.add(delta.sequence):
            return False
        worker.reported = max([worker.reported, *(row.second for row in delta.fleet)])
        for head in delta.packed.heads:
            if (imbalance := head.imbalance) != 0:
                worker.open_books[head.endpoint, head.phase] += imbalance
            count_arrivals(worker.recorded, head)
        if not any(seen.gaps() for seen in worker.seen.values()):
            worker.whole = worker.reported
            if len(worker.recorded) > REMEMBERED + _PRUNED:
                worker.recorded = _recent(worker.recorded, worker.whole - REMEMBERED)
        return True

    def ledger(self, second: int, unoffered: int = 0) -> LedgerRow:
        """Return the ledger's row of a second that ended `REPORT_WITHIN` seconds ago, as far as is known."""
        workers = [w for w in self._workers.values() if w.state is not State.LEFT]
        reporting = sum(w.has_reported(second) for w in workers)
        lost = sum(w.state is State.LOST and not w.has_reported(second) for w in workers)
        return LedgerRow(
            second=second,
            expected=len(workers),
            reporting=reporting,
            late=len(workers) - reporting - lost,
            lost=lost,
            unoffered=unoffered,
        )


def _recent(counted: Counter[int], first: int) -> Counter[int]:
    """Return the counts from a second on, in as little memory as they take."""
    # Not made smaller in place: a dictionary keeps the size that it once had.
    return Counter({second: number for second, number in counted.items() if second >= first})


def count_arrivals(counted: Counter[int], window: Head | Window) -> None:
    """Count a window's arrivals by run second; those of a longer window as if they came evenly."""
    if window.span > LONGEST_WINDOW:
        return
    each, more = divmod(window.counts.get(Count.ARRIVALS, 0), window.span)
    for place in range(window.span if each else more):
        counted[window.second + place] += each + (place < more)
