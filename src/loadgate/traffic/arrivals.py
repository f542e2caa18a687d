"""The arrival schedule: which request is due when, as a pure function of the plan and its seed.

The schedule is cut into seconds of run time, and each second is drawn from its own random
stream, seeded by (seed, second). Any process can therefore make any second without the
seconds before it, and all processes of a run make the same one. A worker takes the arrivals
whose slot is leased to it, so the union over the workers *is* the one schedule: its spacing and
its distribution do not depend on how many workers share it.

A Poisson process is drawn by the conditional-uniformity theorem: given N ~ Poisson(m) arrivals
in an interval of expected count m, their positions in operational time are independent and
uniform (Çinlar, *Introduction to Stochastic Processes*, 4.5). Operational time is mapped to run
time by the inverse of the timeline's cumulative rate, which also makes ramps exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from loadgate.traffic.grants import SLOTS, Slots

if TYPE_CHECKING:
    from loadgate.plan.timeline import Timeline


@dataclass(frozen=True)
class Arrivals:
    """Hold the arrivals of one second, sorted by time.

    `times` is run time in seconds, `kinds` the index of each arrival's request kind, and `slots`
    the share (0 to `SLOTS` - 1) it belongs to.
    """

    times: NDArray[np.float64]
    kinds: NDArray[np.int64]
    slots: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)

    def share(self, slots: Slots) -> Arrivals:
        """Return only the arrivals of the slots that are held."""
        keep = slots[self.slots]
        return Arrivals(self.times[keep], self.kinds[keep], self.slots[keep])


@dataclass(frozen=True)
class Trace:
    """Hold recorded arrivals: sorted run times, and a kind index each (-1: drawn from the mix)."""

    times: NDArray[np.float64]
    kinds: NDArray[np.int64]


class ArrivalSchedule:
    """Make the arrivals of any second of a run.

    `weights` are the mix over request kinds and need not add up to one. `process` says how the
    arrivals are spaced; a `trace` is needed for, and only for, "trace".
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        process: Literal["poisson", "constant", "trace"],
        seed: int,
        weights: Sequence[float],
        trace: Trace | None = None,
    ) -> None:
        if not weights or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"a mix needs at least one positive weight, got {list(weights)}")
        if (process == "trace") != (trace is not None):
            raise ValueError("a trace goes with, and only with, the process 'trace'")
        self._timeline = timeline
        self._process = process
        self._seed = seed
        self._trace = trace
        shares = np.asarray(weights, dtype=np.float64)
        self._edges = np.cumsum(shares / shares.sum())
        self._edges[-1] = 1.0

    def second(self, second: int) -> Arrivals:
        """Return every arrival due in [second, second + 1) of run time."""
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self._seed, second))))
        if self._trace is not None:
            return self._traced(second, random, self._trace)
        low, high = (float(n) for n in self._timeline.cumulative(np.array([second, second + 1.0])))
        if self._process == "constant":
            # Arrival k stands in the middle of its unit of operational time, so the first one is
            # half a gap after the start, however short the gap.
            first, last = int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5))
            order = np.arange(first, last)
            times = self._timeline.inverse(order + 0.5)
            slots = order % SLOTS
        else:
            count = int(random.poisson(high - low))
            times = self._timeline.inverse(np.sort(random.uniform(low, high, count)))
            slots = random.integers(0, SLOTS, count)
        return Arrivals(times, self._draw_kinds(len(times), random), slots.astype(np.int64))

    def _traced(self, second: int, random: np.random.Generator, trace: Trace) -> Arrivals:
        first, last = np.searchsorted(trace.times, [second, second + 1.0], side="left")
        drawn = self._draw_kinds(int(last - first), random)
        named = trace.kinds[first:last]
        order = np.arange(first, last)
        return Arrivals(trace.times[first:last], np.where(named >= 0, named, drawn), order % SLOTS)

    def _draw_kinds(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        return np.searchsorted(self._edges, random.random(count), side="right").astype(np.int64)
