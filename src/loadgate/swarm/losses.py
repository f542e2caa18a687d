"""What a dead worker takes with it, worked out from what it was granted and what it last reported.

A worker that dies leaves three kinds of arrivals behind: those that it had reported and that were still
under way; those that fell due after its last report and before its death, which it may have sent; and those
that it was granted for later and cannot have sent. The first two are *lost*: the target may have seen
them, and nobody knows how they ended. The third were never offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from loadgate.measure.window import Count, Window
from loadgate.plan.timeline import PHASES, Timeline
from loadgate.swarm.leases import Owners
from loadgate.swarm.roster import Worker
from loadgate.traffic.arrivals import Arrivals, ArrivalSchedule

DEATH_WITHIN = 0.5
"""Seconds after its last word in which a worker may have gone on: two beats and the way of one."""
_GRANTED_AHEAD = 4
"""Seconds after its last word for which a worker can have been granted anything."""


@dataclass
class Loss:
    """What is gone with a worker: windows that say so, and how many arrivals nobody offered, by second."""

    windows: list[Window] = field(default_factory=list)
    unoffered: Counter[int] = field(default_factory=Counter)

    @property
    def arrivals(self) -> int:
        """Return how many arrivals are counted as lost."""
        return sum(window.count(Count.LOST) for window in self.windows)


def loss_of(
    worker: Worker,
    stopped: float,
    owners: Callable[[int], Owners | None],
    schedule: ArrivalSchedule | None,
    kinds: Sequence[str],
    timeline: Timeline,
) -> Loss:
    """Work out the loss of a worker that was never heard of again.

    `stopped` is the run time after which it cannot have offered anything: its death. `owners(second)` gives
    who was granted a second's slots, `kinds` the endpoint of each kind of the schedule. Without a schedule
    (closed model, no plan) only what it had reported is known.
    """
    loss = Loss()
    for (endpoint, phase), number in sorted(worker.open_books.items()):
        if number > 0:
            loss.windows.append(Window(max(worker.reported, 0), 1, endpoint, phase, {Count.LOST: number}))
    if schedule is None:
        return loss
    for second in range(max(worker.reported + 1, 0), int(stopped) + _GRANTED_AHEAD + 1):
        mine = _granted(worker, second, owners, schedule, timeline)
        if mine is None:
            continue
        sent = mine.times <= stopped
        phases = timeline.phases_of(mine.times)
        for kind, phase in sorted(set(zip(mine.kinds[sent].tolist(), phases[sent].tolist(), strict=True))):
            number = int(np.count_nonzero((mine.kinds == kind) & (phases == phase) & sent))
            counts = {str(Count.ARRIVALS): number, str(Count.LOST): number}
            loss.windows.append(Window(second, 1, kinds[kind], PHASES[phase], counts))
    loss.unoffered = unoffered_by(worker, stopped, owners, schedule, timeline)
    return loss


def unoffered_by(
    worker: Worker,
    stopped: float,
    owners: Callable[[int], Owners | None],
    schedule: ArrivalSchedule,
    timeline: Timeline,
) -> Counter[int]:
    """Count by second the arrivals that a worker was granted for after it had `stopped` (run time)."""
    counted: Counter[int] = Counter()
    for second in range(max(int(stopped), 0), int(stopped) + _GRANTED_AHEAD + 1):
        mine = _granted(worker, second, owners, schedule, timeline)
        if mine is not None and (number := int(np.count_nonzero(mine.times > stopped))):
            counted[second] = number
    return counted


def _granted(
    worker: Worker,
    second: int,
    owners: Callable[[int], Owners | None],
    schedule: ArrivalSchedule,
    timeline: Timeline,
) -> Arrivals | None:
    """Return the arrivals of a second that a worker was granted; None where that is not known."""
    held = owners(second)
    if held is None or second >= timeline.end:
        return None
    return schedule.second(second).share(held == worker.number)
