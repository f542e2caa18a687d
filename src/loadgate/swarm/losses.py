"""What a dead worker takes with it, worked out from what it was granted and what it last reported.

A worker that dies leaves three kinds of arrivals behind: those that it had reported and that were still
under way; those that fell due before its death and that no report tells of, which it may have sent; and those
that it was granted for later and cannot have sent. The first two are *lost*: the target may have seen
them, and nobody knows how they ended. The third were never offered.

What no report tells of is found by counting: what it was granted of a second, less what it reported of it. So
a report that went missing between two others, or a share that the worker never heard of, is found as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadgate.measure.window import Count, Window
from loadgate.plan.timeline import PHASES, Timeline
from loadgate.swarm.roster import Worker
from loadgate.traffic.arrivals import Arrivals

_Key = tuple[int, str, str]
"""Run second, endpoint and phase."""


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
    granted: Mapping[int, Arrivals],
    kinds: Sequence[str] = (),
    timeline: Timeline | None = None,
) -> Loss:
    """Work out the loss of a worker whose last report never came.

    `stopped` is the run time after which it cannot have offered anything: its death. `granted` are, by run
    second, all arrivals that it was to offer in the seconds of which it may have reported less; `kinds` are
    the endpoints of the schedule's kinds. Without a schedule (closed model, no plan) there are none, and only
    what it had reported is known.
    """
    loss = Loss()
    gone: Counter[_Key] = Counter()
    for second, mine in sorted(granted.items()):
        rest = unreported(worker, second, mine)
        sent = rest.times <= stopped
        if timeline is not None and sent.any():
            phases = timeline.phases_of(rest.times[sent]).tolist()
            for kind, phase in zip(rest.kinds[sent].tolist(), phases, strict=True):
                gone[second, kinds[kind], PHASES[phase]] += 1
        if (never := _number(~sent)) > 0:
            loss.unoffered[second] = never
    loss.windows = _windows(worker, gone)
    return loss


def loss_in(
    rest: Mapping[int, Arrivals], stopped: Mapping[int, float], kinds: Sequence[str], timeline: Timeline
) -> Loss:
    """Work out the loss of seconds that no master counted; `rest` are their arrivals without any report.

    Those due by `stopped` of their second may have been sent, and are lost; nobody offered the others.
    """
    loss = Loss()
    gone: Counter[_Key] = Counter()
    for second, arrivals in sorted(rest.items()):
        sent = arrivals.times <= stopped[second]
        phases = timeline.phases_of(arrivals.times[sent]).tolist()
        for kind, phase in zip(arrivals.kinds[sent].tolist(), phases, strict=True):
            gone[second, kinds[kind], PHASES[phase]] += 1
        if (never := _number(~sent)) > 0:
            loss.unoffered[second] = never
    for (second, endpoint, phase), number in sorted(gone.items()):
        counts = {str(Count.ARRIVALS): number, str(Count.LOST): number}
        loss.windows.append(Window(second, 1, endpoint, phase, counts))
    return loss


def missing_in(
    missing: int, due: Mapping[int, Arrivals], stopped: Mapping[int, float]
) -> dict[int, Arrivals]:
    """Choose by second which arrivals are `missing`, where it is known only how many are in all of `due`.

    Those that may have been sent (due by `stopped` of their second) come first: what the target may have seen
    is never said to be offered by nobody.
    """
    sent = {second: _number(arrivals.times <= stopped[second]) for second, arrivals in due.items()}
    taken = Counter[int]()
    for most in (sent, {second: len(arrivals) for second, arrivals in due.items()}):
        for second in sorted(due):
            more = min(most[second] - taken[second], missing)
            taken[second] += more
            missing -= more
    return {
        second: Arrivals(due[second].times[:number], due[second].kinds[:number], due[second].slots[:number])
        for second, number in taken.items()
        if number
    }


def unoffered_of(worker: Worker, granted: Mapping[int, Arrivals]) -> Counter[int]:
    """Count by second what a worker never offered that reported all it did; `granted` as in `loss_of`."""
    counted = {second: len(unreported(worker, second, mine)) for second, mine in granted.items()}
    return Counter({second: number for second, number in counted.items() if number > 0})


def unreported(worker: Worker, second: int, granted: Arrivals) -> Arrivals:
    """Return the arrivals of a second that no report of a worker tells of, out of all it was granted.

    A report counts arrivals and does not name them; where it tells of a part, that is taken to be the first.
    """
    return beyond(granted, worker.recorded[second])


def beyond(arrivals: Arrivals, number: int) -> Arrivals:
    """Return all arrivals but the first `number`."""
    return Arrivals(arrivals.times[number:], arrivals.kinds[number:], arrivals.slots[number:])


def before(arrivals: Arrivals, moment: float) -> Arrivals:
    """Return only the arrivals that are due before a run time."""
    number = int(np.searchsorted(arrivals.times, moment, side="left"))
    return Arrivals(arrivals.times[:number], arrivals.kinds[:number], arrivals.slots[:number])


def _windows(worker: Worker, gone: Counter[_Key]) -> list[Window]:
    """Write down the arrivals that are gone, and as many lost ones as then have no end.

    Ends whose arrivals were in a report that never came are told already, and are not lost.
    """
    windows = []
    ended = {key: -number for key, number in worker.open_books.items() if number < 0}
    for (second, endpoint, phase), number in sorted(gone.items()):
        told = min(ended.get((endpoint, phase), 0), number)
        ended[endpoint, phase] = ended.get((endpoint, phase), 0) - told
        counts = {str(Count.ARRIVALS): number}
        if number > told:
            counts[str(Count.LOST)] = number - told
        windows.append(Window(second, 1, endpoint, phase, counts))
    for (endpoint, phase), number in sorted(worker.open_books.items()):
        if number > 0:
            last = max(worker.reported, 0)
            windows.append(Window(last, 1, endpoint, phase, {str(Count.LOST): number}))
    return windows


def _number(chosen: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(chosen))
