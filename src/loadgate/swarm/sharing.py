"""Share the schedule out to the workers: what each is told, and told again until it has heard.

A lease message that is lost with a broken connection would leave arrivals that no worker knows of and the
master believes to be given. So each message has a number of its own, a worker's beats say up to which number
it heard, and what is not confirmed is sent again: a worker that gets one late counts its arrivals as never
started, which keeps the books whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from loadgate.plan.timeline import Timeline
from loadgate.swarm.leases import NOBODY, Leases, Owners, moves_of
from loadgate.swarm.losses import Loss, loss_of, unoffered_by
from loadgate.swarm.messages import Lease
from loadgate.swarm.roster import State, Worker
from loadgate.traffic.arrivals import ArrivalSchedule
from loadgate.traffic.grants import pack_slots

AGAIN_AFTER = 2.0
"""Seconds after which a lease that was not confirmed is sent again."""


@dataclass
class _Told:
    """What one worker was told: numbered leases that it has not confirmed, with when they were sent."""

    last: int = 0
    open: dict[int, tuple[float, Lease]] = field(default_factory=dict)


class Sharing:
    """Decide leases for the workers of a roster. All times are run time in seconds.

    `schedule` is None in the closed model: leases then only say how long a worker may go on. `kinds` are
    the endpoints of the schedule's kinds.
    """

    def __init__(self, timeline: Timeline, schedule: ArrivalSchedule | None, kinds: Sequence[str]) -> None:
        self._timeline = timeline
        self._schedule = schedule
        self._kinds = kinds
        self._leases = Leases(most_moves=moves_of(timeline))
        self._told: dict[str, _Told] = {}
        self._settled = 0
        self.unoffered: Counter[int] = Counter()
        """By second: arrivals that nobody was to offer."""

    def skip_to(self, second: int) -> None:
        """Begin at a second: the ones before were another master's, who may have given them out."""
        self._leases.skip_to(second)
        self._settled = second

    def tick(self, now: float, here: Sequence[Worker], live: Collection[int]) -> list[tuple[str, Lease]]:
        """Return the leases to send now, each with Locust's id of the worker it is for.

        `here` are the workers that are neither lost nor gone, `live` the numbers of those heard of just now.
        """
        grants = self._leases.tick(now, live)
        out = []
        newest = max((grant.second for grant in grants), default=0)
        for rank, worker in enumerate(here):
            if worker.number not in live:
                continue
            told = self._told.setdefault(worker.client, _Told())
            for grant in grants:
                slots = grant.slots_of(worker.number)
                if grant.second < newest and not slots.any():
                    continue
                told.last += 1
                lease = Lease(told.last, grant.second, pack_slots(slots), rank, len(here))
                told.open[told.last] = (now, lease)
                out.append((worker.client, lease))
            out += self._again(worker, told, now)
        self._count_unheld(now)
        return out

    def confirmed(self, client: str, number: int) -> None:
        """Note that a worker heard all leases up to a number."""
        told = self._told.get(client)
        if told is not None:
            for known in [known for known in told.open if known <= number]:
                del told.open[known]

    def loss_of(self, worker: Worker, stopped: float) -> Loss:
        """Work out what is gone with a worker that is not heard of since `stopped`, and count it."""
        loss = loss_of(worker, stopped, self._leases.owners, self._schedule, self._kinds, self._timeline)
        self.unoffered.update(loss.unoffered)
        return loss

    def left(self, worker: Worker, stopped: float) -> None:
        """Count what nobody offers because a worker stopped, as it should, before its lease ended."""
        if self._schedule is not None:
            owners, schedule = self._leases.owners, self._schedule
            self.unoffered.update(unoffered_by(worker, stopped, owners, schedule, self._timeline))

    def _again(self, worker: Worker, told: _Told, now: float) -> list[tuple[str, Lease]]:
        out = []
        for number, (sent, lease) in list(told.open.items()):
            if now - sent >= AGAIN_AFTER and worker.state is State.HERE:
                told.open[number] = (now, lease)
                out.append((worker.client, lease))
        return out

    def _count_unheld(self, now: float) -> None:
        """Count the arrivals of the slots that ended as nobody's, of each second that has begun."""
        for second in range(self._settled, int(now) + 1):
            self._settled = second + 1
            owners: Owners | None = self._leases.owners(second)
            if self._schedule is None or owners is None or second >= self._timeline.end:
                continue
            unheld = owners == NOBODY
            if unheld.any():
                self.unoffered[second] += len(self._schedule.second(second).share(unheld))


def gap_arrivals(schedule: ArrivalSchedule, first: int, end: int) -> Counter[int]:
    """Count the scheduled arrivals of the seconds from `first` to `end`, the end excluded."""
    counted = {second: len(schedule.second(second)) for second in range(first, end)}
    return Counter({second: number for second, number in counted.items() if number})
