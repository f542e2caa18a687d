"""Share the schedule out to the workers: what each is told, and told again until it has heard.

A lease message that is lost with a broken connection would leave arrivals that no worker knows of and the
master believes to be given. So each message has a number of its own, a worker's beats say up to which number
it heard, and what is not confirmed is sent again: a worker that gets one late counts its arrivals as never
started, which keeps the books whole.

Each arrival of the schedule is at the end one of two: reported by one worker, or counted here, once: as lost
with a dead worker or as offered by nobody.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from loadgate.plan.timeline import Timeline
from loadgate.swarm.doubts import Merged
from loadgate.swarm.leases import LEASE, NOBODY, Leases, moves_of
from loadgate.swarm.losses import Loss, before, beyond, loss_in, loss_of, missing_in, unoffered_of
from loadgate.swarm.messages import Lease
from loadgate.swarm.roster import State, Worker
from loadgate.traffic.arrivals import Arrivals, ArrivalSchedule
from loadgate.traffic.grants import SLOTS, Slots, pack_slots

AGAIN_AFTER, AGAIN_WITHIN = 2.0, 32.0
"""Seconds after which a lease that was not confirmed is sent again; twice as many each time, up to the other.
A master that has too much to do hears confirmations late, and must not do the more for that."""
MOST_AGAIN = 4
"""Leases of a worker that are sent again at a time, oldest first: to confirm one confirms all before it."""
MOST_OPEN = 60
"""Unconfirmed leases of a worker beyond which it is given no more, as if it were not heard of."""
_LOOK_BACK = 125
"""Seconds of which `Leases` may still know who held what."""
_KEPT_SECONDS = 16
"""Seconds of the schedule that are kept: workers that die together held the same ones."""


@dataclass
class _Open:
    """A lease that was not confirmed: sent last `waits` seconds before `again`."""

    lease: Lease
    again: float
    waits: float = AGAIN_AFTER


@dataclass
class _Told:
    """What one worker was told: numbered leases that it has not confirmed, with when to send each again."""

    last: int = 0
    open: dict[int, _Open] = field(default_factory=dict)
    late: dict[int, float] = field(default_factory=dict)
    """By second: when it confirmed a lease of that second after its end; a later report tells of it."""


class Sharing:
    """Decide leases for the workers of a roster. All times are run time in seconds.

    `schedule` is None in the closed model: leases then only say how long a worker may go on. `kinds` are
    the endpoints of the schedule's kinds.
    """

    def __init__(self, timeline: Timeline, schedule: ArrivalSchedule | None, kinds: Sequence[str]) -> None:
        self._timeline = timeline
        self._kinds = kinds
        self._arrivals = lru_cache(_KEPT_SECONDS)(schedule.second) if schedule is not None else None
        self._leases = Leases(most_moves=moves_of(timeline))
        self._told: dict[str, _Told] = {}
        self._held: dict[int, dict[int, Slots]] = {}
        self._settled = 0
        self._now = 0.0
        self.unoffered: Counter[int] = Counter()
        """By second: arrivals that nobody offered."""

    def skip_to(self, second: int) -> None:
        """Begin at a second: the ones before were another master's, who may have given them out."""
        self._leases.skip_to(second)
        self._settled = second

    # -- giving ---------------------------------------------------------------------------------

    def tick(self, now: float, here: Sequence[Worker], live: Collection[int]) -> list[tuple[str, Lease]]:
        """Return the leases to send now, each with Locust's id of the worker it is for.

        `here` are the workers that are neither lost nor gone, `live` the numbers of those heard of just now.
        """
        self._now = max(self._now, now)
        heard = set(live)
        live = {worker.number for worker in here if worker.number in heard and self._listens(worker)}
        # Before the new seconds: after a long pause the ones that were given before it are forgotten then.
        self._count_unheld(now, decided=True)
        grants = self._leases.tick(now, live)
        self._count_unheld(now)
        out = []
        newest = max((grant.second for grant in grants), default=0)
        for rank, worker in enumerate(here):
            if worker.number not in heard:
                continue
            told = self._told.setdefault(worker.client, _Told())
            for grant in grants if worker.number in live else ():
                slots = grant.slots_of(worker.number)
                if grant.second < newest and not slots.any():
                    continue
                told.last += 1
                lease = Lease(told.last, grant.second, pack_slots(slots), rank, len(here))
                told.open[told.last] = _Open(lease, now + AGAIN_AFTER)
                out.append((worker.client, lease))
            out += self._again(worker, told, now)
        return out

    def confirmed(self, client: str, number: int, now: float) -> None:
        """Note that a worker heard all leases up to a number.

        A number that it was never told is one of another master's: it says nothing of these.
        """
        told = self._told.get(client)
        if told is not None and number <= told.last:
            for known in [known for known in told.open if known <= number]:
                lease = told.open.pop(known).lease
                if lease.second + 1 <= now:
                    told.late[lease.second] = now

    def _listens(self, worker: Worker) -> bool:
        """Tell whether a worker confirms what it is told."""
        told = self._told.get(worker.client)
        return told is None or len(told.open) <= MOST_OPEN

    def _again(self, worker: Worker, told: _Told, now: float) -> list[tuple[str, Lease]]:
        if worker.state is not State.HERE:
            return []
        due = [known for known in told.open.values() if now >= known.again]
        for known in due[:MOST_AGAIN]:
            known.waits = min(2 * known.waits, AGAIN_WITHIN)
            known.again = now + known.waits
        return [(worker.client, known.lease) for known in due[:MOST_AGAIN]]

    # -- counting -------------------------------------------------------------------------------

    def keep(self, worker: Worker) -> None:
        """Remember what a worker held that it may not report, for as long as it takes to know."""
        seconds = self._known(worker) if worker.state is State.LEFT else self._in_doubt(worker)
        found = {second: self._slots_of(worker, second) for second in seconds}
        self._held[worker.number] = {
            s: slots for s, slots in found.items() if slots is not None and slots.any()
        }

    def loss_of(self, worker: Worker, stopped: float, ends: float) -> Loss:
        """Work out what is gone with a worker whose last report never came, and count it.

        `stopped` is its death, and `ends` the run time at which offering ended for all.
        """
        granted = self._granted(worker, self._in_doubt(worker), ends)
        loss = loss_of(worker, stopped, granted, self._kinds, self._timeline)
        self.unoffered.update(loss.unoffered)
        return loss

    def untold(self, worker: Worker, ends: float, sure: float) -> Counter[int]:
        """Count what nobody offered of a worker's share, though it reported all that it did.

        It stopped before its leases ended, as it should when it is asked to end, or it never heard of some of
        them. What was due from `sure` on is missed only of a worker that stopped before: the others were
        asked to at that time.
        """
        after, beyond = self._after_its_stop(worker, ends, sure)
        counted = unoffered_of(worker, after)
        for second in sorted(counted):
            covered = min(beyond, counted[second])
            beyond -= covered
            counted[second] -= covered
        unheard = self._granted(worker, (s for s in self._unheard(worker) if s not in after), ends)
        counted += unoffered_of(worker, unheard)
        self.unoffered.update(counted)
        return counted

    def _after_its_stop(self, worker: Worker, ends: float, sure: float) -> tuple[dict[int, Arrivals], int]:
        """Go back to the last second of which a worker reported all; return what it was granted after that.

        And how much more it reported than was due in that second: arrivals of the next one, since times are
        rounded on their way.
        """
        after: dict[int, Arrivals] = {}
        unjudged: dict[int, Arrivals] = {}
        for second in reversed(self._known(worker)):
            for mine in self._granted(worker, [second], ends).values():
                judged, reported = len(before(mine, sure)), worker.recorded[second]
                if not judged:
                    unjudged[second] = mine
                elif reported < judged:
                    after[second] = mine
                else:
                    return (after | unjudged if after else {}), max(reported - len(mine), 0)
        return (after | unjudged if after else {}), 0

    def close(self, ends: float) -> None:
        """Count what nobody was to offer in the seconds up to the end of offering."""
        for second in range(self._settled, math.ceil(ends)):
            self._settled = second + 1
            self._count_second(second, ends)

    def open_seconds(
        self,
        stopped: Mapping[int, float],
        offered: Mapping[int, int],
        known: Mapping[int, int],
        ends: float,
        merged: Iterable[Merged] = (),
    ) -> Loss:
        """Count what no report tells of in seconds that masters before left open (`doubts`).

        By second: `stopped` is the last moment at which something may have been sent, `offered` what was
        reported, and `known` what an earlier master knew to be offered by nobody. A report counts arrivals
        and does not name them; where it tells of a part, that is taken to be the first. Of `merged` seconds
        only the sum is known, so all that is due in them is set against all that is on record.
        """
        rest: dict[int, Arrivals] = {}
        together: set[int] = set()
        for one in merged:
            seconds = range(one.first, one.end)
            together.update(seconds)
            missing = sum(len(self._due(second, ends)) for second in seconds) - one.offered - one.unoffered
            due = {s: beyond(self._due(s, ends), known.get(s, 0)) for s in seconds if s in stopped}
            rest |= missing_in(max(missing, 0), due, stopped)
        for second in (second for second in stopped if second not in together):
            more = beyond(self._due(second, ends), offered.get(second, 0) + known.get(second, 0))
            if len(more):
                rest[second] = more
        loss = loss_in(rest, stopped, self._kinds, self._timeline)
        for second, number in loss.unoffered.items():
            # The ledger keeps the greater of what it has and what it is told.
            self.unoffered[second] += number + known.get(second, 0)
        return loss

    def _count_unheld(self, now: float, *, decided: bool = False) -> None:
        """Count the arrivals of the slots that ended as nobody's, of each second that is over.

        With `decided`, only up to the first second that nobody has decided yet.
        """
        for second in range(self._settled, math.floor(now)):
            if decided and self._leases.owners(second) is None:
                return
            self._settled = second + 1
            self._count_second(second)

    def _count_second(self, second: int, ends: float = math.inf) -> None:
        owners = self._leases.owners(second)
        # A second that was never decided, or so late that it is forgotten again, was nobody's.
        unheld = owners == NOBODY if owners is not None else np.ones(SLOTS, dtype=np.bool_)
        if unheld.any() and (number := len(self._due(second, ends).share(unheld))) > 0:
            self.unoffered[second] += number

    def _due(self, second: int, ends: float) -> Arrivals:
        """Return the arrivals of a second that are due before the end of offering, by the plan or earlier."""
        ends = min(ends, self._timeline.end)
        if self._arrivals is None or second >= ends:
            none = np.zeros(0, dtype=np.int64)
            return Arrivals(none.astype(np.float64), none, none)
        return before(self._arrivals(second), ends)

    def _granted(self, worker: Worker, seconds: Iterable[int], ends: float) -> dict[int, Arrivals]:
        """Return what a worker was granted of some seconds, where that is anything and is known."""
        found = {}
        for second in seconds:
            slots = self._slots_of(worker, second)
            if slots is not None and slots.any():
                mine = self._due(second, ends).share(slots)
                if len(mine):
                    found[second] = mine
        return found

    def _slots_of(self, worker: Worker, second: int) -> Slots | None:
        owners = self._leases.owners(second)
        if owners is None:
            return self._held.get(worker.number, {}).get(second)
        slots: Slots = owners == worker.number
        return slots

    def _known(self, worker: Worker) -> list[int]:
        """List the seconds of which it may be known what a worker was granted."""
        recent = range(max(int(self._now) - _LOOK_BACK, 0), int(self._now) + LEASE + 1)
        return sorted({*recent, *self._held.get(worker.number, ())})

    def _in_doubt(self, worker: Worker) -> list[int]:
        """List the seconds of which a worker may have been granted more than it reported."""
        after = (second for second in self._known(worker) if second > worker.whole)
        return sorted({*after, *self._unheard(worker)})

    def _unheard(self, worker: Worker) -> list[int]:
        """List the seconds of the leases that a worker has not confirmed, or of which it tells only later."""
        told = self._told.get(worker.client)
        if told is None:
            return []
        # What it heard by then is in all reports that it made from then on.
        told.late = {second: heard for second, heard in told.late.items() if worker.whole + 1 < heard}
        return sorted({*told.late, *(known.lease.second for known in told.open.values())})
