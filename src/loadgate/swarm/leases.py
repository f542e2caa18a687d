"""Who offers what: the shares of each run second, decided once and a few seconds ahead.

Every slot of every run second is given to one worker, once, or to nobody. A worker that was just heard of
gets its slots of a second two seconds before that begins. For one that is silent the slots stay open until a
second before, in case it is heard again; then they go to the others. Nothing is ever taken back, so
there is no moment at which two workers hold the same slot of the same second: a worker that dies or is cut
off starts nothing later than `LEASE` seconds after the last tick that counted on it, and what comes after
belongs to others.

Shares move slot by slot, and only so many a second as the plan's steepest ramp would move: neither a loss nor
a newcomer puts a step on a worker, or on the target, that the plan itself would not.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgate.plan.timeline import Timeline
from loadgate.traffic.grants import SLOTS, Slots

LEASE = 3
"""Seconds up to which a worker may go on without a word from its master."""
SILENT_AFTER = 1.5
"""Seconds without a word after which a worker is not counted on. With `LEASE` and a tick a second, the
share of a dead worker begins to move at the latest 4.5 s after its death."""
_CLOSE_AHEAD = 1
"""Seconds before a second begins at which its open slots are given away."""
_LEAST_LEAD = 0.2
"""Seconds of lead without which a slot is nobody's: its arrivals would be late."""
_REMEMBERED = 120
"""Seconds for which it is remembered who held what."""
NOBODY = -1
_OPEN = -2

Owners = NDArray[np.int32]
"""For each slot the number of its worker; NOBODY where it has none."""


@dataclass(frozen=True)
class Grant:
    """Slots of one run second that were just given: `owners` names a worker where one was."""

    second: int
    owners: Owners

    def slots_of(self, worker: int) -> Slots:
        """Return what one worker was given."""
        held: Slots = self.owners == worker
        return held


class Leases:
    """Decide run seconds in order. `most_moves` bounds the slots that change hands in each of them."""

    def __init__(self, *, most_moves: int = SLOTS) -> None:
        self._most_moves = max(most_moves, 1)
        self._homes: Owners = np.full(SLOTS, NOBODY, dtype=np.int32)
        self._seconds: dict[int, Owners] = {}
        self._next_begin = 0
        self._next_close = 0

    def tick(self, now: float, live: Collection[int]) -> list[Grant]:
        """Give what can be given at `now` (run time), in order of seconds.

        `live` are the numbers of the workers that were heard of. Call it at least once a second.
        """
        grants = []
        for second in range(self._next_begin, math.floor(now) + LEASE):
            in_time = second >= now + _LEAST_LEAD or not self._seconds
            grants.append(self._begin(second, live if in_time else ()))
            self._next_begin = second + 1
        for second in range(self._next_close, min(math.floor(now) + _CLOSE_AHEAD + 1, self._next_begin)):
            grants.append(self._close(second, live, in_time=second >= now + _LEAST_LEAD))
            self._next_close = second + 1
        for old in [second for second in self._seconds if second < now - _REMEMBERED]:
            del self._seconds[old]
        return [grant for grant in grants if (grant.owners >= 0).any()]

    def skip_to(self, second: int) -> None:
        """Give nothing of the seconds before `second`: a master that came before may have given them out."""
        self._next_begin = max(self._next_begin, second)
        self._next_close = max(self._next_close, second)

    def owners(self, second: int) -> Owners | None:
        """Return who holds a second's slots so far; None for one that is not decided or long past."""
        found = self._seconds.get(second)
        return None if found is None else np.maximum(found, NOBODY)

    def share(self, worker: int) -> int:
        """Return how many slots are a worker's own at present."""
        return int(np.count_nonzero(self._homes == worker))

    def _begin(self, second: int, live: Collection[int]) -> Grant:
        """Give each heard worker its slots of a second; leave those of the others open."""
        if live and not self._seconds and (self._homes == NOBODY).all():
            self._homes = adopt(self._homes, live, most_moves=SLOTS)
        self._homes = balance(self._homes, live, most_moves=self._most_moves)
        heard = np.isin(self._homes, list(live))
        self._seconds[second] = np.where(heard, self._homes, _OPEN).astype(np.int32)
        return Grant(second, np.maximum(self._seconds[second], NOBODY))

    def _close(self, second: int, live: Collection[int], *, in_time: bool) -> Grant:
        """Give a second's open slots to their own workers if they were heard meanwhile, else to others."""
        given: Owners = np.full(SLOTS, NOBODY, dtype=np.int32)
        owners = self._seconds[second]
        open_slots = owners == _OPEN
        if open_slots.any():
            if in_time and live:
                self._homes = adopt(self._homes, live, most_moves=self._most_moves, among=open_slots)
                taken = open_slots & np.isin(self._homes, list(live))
                given[taken] = self._homes[taken]
            owners[open_slots] = given[open_slots]
        return Grant(second, given)


def adopt(homes: Owners, live: Collection[int], *, most_moves: int, among: Slots | None = None) -> Owners:
    """Give slots whose worker is not live to the live ones, those with the smallest shares first.

    At most `most_moves` of them, and only those in `among`; the others keep the home they had.
    """
    lost = ~np.isin(homes, list(live))
    if among is not None:
        lost &= among
    slots = np.flatnonzero(lost)[:most_moves]
    if not slots.size or not live:
        return homes
    after = homes.copy()
    poorest = [(int(np.count_nonzero(homes == worker)), worker) for worker in live]
    heapq.heapify(poorest)
    for slot in slots.tolist():
        share, worker = poorest[0]
        after[slot] = worker
        heapq.heapreplace(poorest, (share + 1, worker))
    return after


def balance(homes: Owners, live: Collection[int], *, most_moves: int) -> Owners:
    """Bring the shares of the live workers closer to each other, with at most `most_moves` slots moved.

    Slots go from shares that are too large to those that are too small, until no two are 2 or more apart.
    Each worker gives slots that lie evenly among its own: a schedule of fixed spacing walks through the slots
    in order, and a block of them would be a burst for its new owner.
    """
    workers = sorted(live)
    if not workers:
        return homes
    counts = np.bincount(homes[homes >= 0], minlength=workers[-1] + 1)
    shares = {worker: int(counts[worker]) for worker in workers}
    if max(shares.values()) - min(shares.values()) < 2:
        return homes
    low, more = divmod(sum(shares.values()), len(workers))
    # Those that have most keep the odd ones, so that nothing moves for their sake.
    ordered = sorted(workers, key=lambda worker: (-shares[worker], worker))
    surplus = {worker: shares[worker] - low - (place < more) for place, worker in enumerate(ordered)}
    given = [
        slot for worker in ordered if surplus[worker] > 0 for slot in _spread(homes, worker, surplus[worker])
    ]
    takers = [worker for worker in ordered for _ in range(-surplus[worker])]
    after = homes.copy()
    moves = min(most_moves, len(given))
    # Evenly chosen again where not all may move now; the takers get turns.
    for place in range(moves):
        after[given[place * len(given) // moves]] = takers[place * len(takers) // moves]
    return after


def _spread(homes: Owners, worker: int, number: int) -> list[int]:
    """Choose slots of a worker that lie evenly among them."""
    own = np.flatnonzero(homes == worker)
    chosen: list[int] = own[(np.arange(number) * 2 + 1) * own.size // (2 * number)].tolist()
    return chosen


def moves_of(timeline: Timeline) -> int:
    """Return how many slots may change hands in a second: what the plan's steepest ramp moves.

    All of them when the plan has no ramp. A ramp from 0 to the highest level within d seconds moves 1/d of
    the load, and so of the slots, in one.
    """
    highest = max((max(part.level_start, part.level_end) for part in timeline.segments), default=0.0)
    slopes = [
        abs(part.level_end - part.level_start) / part.length
        for part in timeline.segments
        if part.length > 0 and part.level_end != part.level_start
    ]
    if not slopes or not math.isfinite(highest) or highest <= 0:
        return SLOTS
    return max(1, math.ceil(SLOTS * max(slopes) / highest))
