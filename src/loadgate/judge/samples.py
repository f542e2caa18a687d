"""The samples of a row, window by window: what its interval is made of.

A window is a second of the steady phase, or a longer one where seconds were compacted; only whole windows
are put together. A request that ended after its stage of the load belongs to the stage's last window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import add
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from loadgate.judge.correlation import Correlation, Floats, correlation_of
from loadgate.judge.evidence import Evidence
from loadgate.judge.intervals import Samples
from loadgate.judge.slots import Interval, slots, slots_of
from loadgate.measure.columns import Column, Tally
from loadgate.measure.histogram import RANKS_PER_WHOLE, rank_of
from loadgate.measure.layout import HIGHEST_EQUIVALENT, Ints
from loadgate.measure.parts import OUTCOMES, Slot
from loadgate.measure.window import INFINITE, Clock, LatencyOn, over_key

_PIECE: Final = 1 << 16
"""Counters that are added up at a time."""
_NOTHING: Ints = np.zeros(0, np.int8)


def cells_of(evidence: Evidence, endpoint: str | None) -> tuple[Interval, ...]:
    """Cut the steady phase of an endpoint (None: all) into windows as long as its longest one."""
    if evidence.digest is not None:
        return slots(evidence.steady, evidence.digest.cell)
    longest = max((window.span for window in evidence.of(endpoint)), default=1)
    return slots(evidence.steady, float(longest))


def summed(at: ArrayLike, values: ArrayLike, cells: int) -> Floats:
    """Add up values by the cell that each belongs to."""
    return np.bincount(np.asarray(at, np.int64), np.asarray(values, np.float64), cells).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Windows in order of time that lie side by side in the columns: those of one endpoint.

    `at` are the cells of the whole phase that they belong to, `columns` those of the series that count.
    """

    first: int
    tallies: tuple[Tally, ...]
    at: Ints
    columns: tuple[Column, ...]

    def by_window(self, column: Column, values: ArrayLike) -> Floats:
        """Spread a value for each histogram of a column over the windows; 0 where there is none."""
        found = np.zeros(len(self.tallies))
        found[column.windows - self.first] = values
        return found


class Latencies:
    """The latencies of a row over the steady phase, by window; times are whole µs."""

    def __init__(self, evidence: Evidence, endpoint: str | None, latency_on: LatencyOn, clock: Clock) -> None:
        self._doubt = evidence.doubt
        self._columns = evidence.columns
        self._series = tuple(f"{clock}.{outcome}" for outcome in OUTCOMES[latency_on])
        self._cells = len(cells := cells_of(evidence, endpoint))
        self._windows = evidence.of(endpoint)
        self._at = slots_of(cells, self._windows)
        infinite = INFINITE if latency_on == "adjusted" else ()
        counts = evidence.counts(endpoint)
        self._infinite = sum(
            (counts.count(name) for name in infinite), np.zeros(len(self._windows), np.int64)
        )
        self._stretches = list(self._cut(evidence, endpoint))
        self._counted: dict[int, list[int] | None] = {}
        self.infinite = summed(self._at, self._infinite, self._cells)
        self.n = self._by_histogram(lambda column: column.totals)

    def _cut(self, evidence: Evidence, endpoint: str | None) -> Iterator[_Stretch]:
        done = 0
        for first, end in evidence.stretches(endpoint):
            upto = done + end - first
            yield _Stretch(
                first,
                self._windows[done:upto],
                np.asarray(self._at[done:upto], np.int64),
                tuple(self._columns.column(name, first, end) for name in self._series),
            )
            done = upto

    def _by_histogram(self, value: Callable[[Column], ArrayLike]) -> Floats:
        """Sum something of each histogram by cell."""
        found = np.zeros(self._cells)
        for stretch in self._stretches:
            for column in stretch.columns:
                found += summed(stretch.at, stretch.by_window(column, value(column)), self._cells)
        return found

    # ---- by the windows of an objective

    def by_slot(self, cut: Sequence[Interval], thresholds_us: Iterable[int]) -> list[Slot]:
        """Return what there is in each window of the objective, and over which threshold how many."""
        at = slots_of(cut, self._windows)
        slots_ = [Slot(infinite=int(n)) for n in summed(at, self._infinite, len(cut))]
        done = 0
        for stretch in self._stretches:
            own = np.array(at[done : (done := done + len(stretch.tallies))])
            # Windows are in order of time, so that those of a slot lie side by side.
            edges = np.flatnonzero(np.diff(own, prepend=-1, append=len(cut))).tolist()
            for low, high in pairwise(edges):
                for column in stretch.columns:
                    part = column.part(stretch.first + low, stretch.first + high)
                    part.add_to(slots_[own[low]].histogram)
        for threshold_us in thresholds_us:
            counted = self._over(threshold_us)
            if counted is not None:
                for slot, number in zip(slots_, summed(at, counted, len(cut)), strict=True):
                    slot.over[threshold_us] = int(number)
        return slots_

    # ---- counting over a threshold

    def over(self, threshold_us: int) -> Floats | None:
        """Count the latencies over a threshold by window, exactly; None where they were not counted."""
        counted = self._over(threshold_us)
        return None if counted is None else summed(self._at, counted, self._cells)

    def _over(self, threshold_us: int) -> list[int] | None:
        if threshold_us not in self._counted:
            self._counted[threshold_us] = self._count_over(threshold_us)
        return self._counted[threshold_us]

    def _count_over(self, threshold_us: int) -> list[int] | None:
        found: list[int] = []
        for stretch in self._stretches:
            own = [0] * len(stretch.tallies)
            for series in self._series:
                key = over_key(series, threshold_us)
                counted = self._columns.over(key, stretch.first, stretch.first + len(own))
                if counted is None:
                    return None
                own = list(map(add, own, counted))
            found += own
        return found

    def over_by_histogram(self, threshold_us: int) -> Floats:
        """Count them with the histograms: a counter counts as over when its highest value is."""
        return self.over_counter(int(np.searchsorted(HIGHEST_EQUIVALENT, threshold_us, "right")) - 1)

    def over_counter(self, counter: int) -> Floats:
        """Count the latencies in higher counters than this one (-1: all of them)."""
        counters, cells, counts = self._entries
        first = int(counters.searchsorted(np.int16(counter), "right"))  # of the same type: nothing is copied
        found = np.zeros(self._cells)
        # Whole numbers: in pieces the sum is the same, and the wider copies of a long run stay small.
        for at in range(first, len(counts), _PIECE):
            found += summed(cells[at : at + _PIECE], counts[at : at + _PIECE], self._cells)
        return found

    @cached_property
    def counters(self) -> tuple[int, int]:
        """Return the lowest and the highest counter in use; there must be a latency."""
        counters, _, _ = self._entries
        return int(counters[0]), int(counters[-1])

    @cached_property
    def _entries(self) -> tuple[Ints, Ints, Ints]:
        """Return counter, window and count of every counter in use, in order of the counters."""
        counters, cells, counts = [_NOTHING], [_NOTHING], [_NOTHING]
        kind = np.int16 if self._cells < 2**15 else np.int64
        for stretch in self._stretches:
            at = stretch.at.astype(kind)
            for column in stretch.columns:
                counters.append(column.indices)
                cells.append(np.repeat(at[column.windows - stretch.first], column.lengths))
                counts.append(column.counts)
        joined = np.concatenate(counters, dtype=np.int16, casting="unsafe")  # 23,552 fit, and sort by radix
        order = np.argsort(joined, kind="stable")
        return joined[order], np.concatenate(cells)[order], np.concatenate(counts)[order]

    # ---- samples

    def of_percentile(self, rank: int) -> Samples:
        """Return the samples of a percentile (in ten-thousandths).

        The run's own percentile, and how alike neighbouring windows are in it, leave infinitely slow
        requests out: they have no part in it whatever they are.
        """
        share = 1 - rank / RANKS_PER_WHOLE
        own = np.zeros(self._cells)
        if self.n.sum() > 0:
            own = self._over_own(rank) - share * self.n
        return Samples(self.n, self.infinite, own, correlation_of(own), doubt=self._doubt)

    def _over_own(self, rank: int) -> Floats:
        """Count the finite latencies over their own percentile by window: just the allowed share of all.

        Of those in the percentile's own counter, which may be many, the same part of each window counts.
        """
        counters, _, counts = self._entries
        upto = np.cumsum(counts, dtype=np.int64)
        at = int(np.searchsorted(upto, rank_of(rank, int(upto[-1]))))
        over, from_it = self.over_counter(int(counters[at])), self.over_counter(int(counters[at]) - 1)
        allowed = (1 - rank / RANKS_PER_WHOLE) * float(upto[-1])
        part = (allowed - over.sum()) / (from_it.sum() - over.sum())
        mixed: Floats = over + part * (from_it - over)
        return mixed

    def of_mean(self) -> tuple[Samples, Floats]:
        """Return the samples of the mean, and the sum of the latencies (µs) by window; all are finite."""
        sums = self._by_histogram(lambda column: column.sums)
        own = sums - sums.sum() / max(self.n.sum(), 1.0) * self.n
        samples = Samples(self.n, self.infinite, own, correlation_of(own), counted=False, doubt=self._doubt)
        return samples, sums


def of_shares(good: Floats, bad: Floats, *, alike: bool) -> Samples:
    """Return the samples of a share of bad requests, of which every bad one counts as failed.

    `alike` asks how alike neighbouring windows are. An error rate does not: what its errors tell of that
    could change with one more of them, and make the row more certain.
    """
    total = good + bad
    share = bad.sum() / max(total.sum(), 1.0)
    alikeness = correlation_of(bad - share * total) if alike else Correlation(1.0)
    return Samples(good, bad, None, alikeness)
