"""The samples of a row, window by window: what its interval is made of.

A window is a second of the steady phase, or a longer one where seconds were compacted; only whole windows
are put together. A request that ended after its stage of the load belongs to the stage's last window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from loadgate.judge.correlation import Correlation, Floats, correlation_of
from loadgate.judge.evidence import Evidence
from loadgate.judge.intervals import Samples
from loadgate.judge.slots import Interval, slots, slots_of
from loadgate.measure.histogram import RANKS_PER_WHOLE, Histogram, rank_of
from loadgate.measure.layout import HIGHEST_EQUIVALENT, Ints
from loadgate.measure.window import INFINITE, Clock, LatencyOn, over_key

OUTCOMES: dict[LatencyOn, tuple[str, ...]] = {
    "adjusted": ("ok",),
    "ok": ("ok",),
    "all": ("ok", "failed", "timeout"),
}
"""The outcomes whose latencies count with their own value."""


def cells_of(evidence: Evidence, endpoint: str | None) -> tuple[Interval, ...]:
    """Cut the steady phase of an endpoint (None: all) into windows as long as its longest one."""
    longest = max((window.span for window in evidence.of(endpoint)), default=1)
    return slots(evidence.steady, float(longest))


def summed(at: ArrayLike, values: ArrayLike, cells: int) -> Floats:
    """Add up values by the cell that each belongs to."""
    return np.bincount(np.asarray(at, np.int64), np.asarray(values, np.float64), cells).astype(np.float64)


@dataclass(slots=True)
class Slot:
    """Latencies of some time: a histogram (µs), and how many more are infinite.

    `over` holds exact counts of the finite ones over the thresholds (µs) that were counted.
    """

    histogram: Histogram = field(default_factory=Histogram)
    infinite: int = 0
    over: dict[int, int] = field(default_factory=dict)


class Latencies:
    """The latencies of a row over the steady phase, by window; times are whole µs."""

    def __init__(self, evidence: Evidence, endpoint: str | None, latency_on: LatencyOn, clock: Clock) -> None:
        self._series = tuple(f"{clock}.{outcome}" for outcome in OUTCOMES[latency_on])
        self._cells = len(cells := cells_of(evidence, endpoint))
        self._windows = evidence.of(endpoint)
        self._at = slots_of(cells, self._windows)
        infinite = INFINITE if latency_on == "adjusted" else ()
        self._infinite = [sum(window.count(name) for name in infinite) for window in self._windows]
        self._histograms = [
            [window.histograms[name] for name in self._series if name in window.histograms]
            for window in self._windows
        ]
        self._counted: dict[int, list[int] | None] = {}
        self.infinite = summed(self._at, self._infinite, self._cells)
        self.n = self._by_histogram(lambda histogram: histogram.total)

    def _by_histogram(self, value: Callable[[Histogram], float]) -> Floats:
        found = [sum(map(value, histograms)) for histograms in self._histograms]
        return summed(self._at, found, self._cells)

    # ---- by the windows of an objective

    def by_slot(self, cut: Sequence[Interval], thresholds_us: Iterable[int]) -> list[Slot]:
        """Return what there is in each window of the objective, and over which threshold how many."""
        at = slots_of(cut, self._windows)
        slots_ = [Slot() for _ in cut]
        for index, histograms, infinite in zip(at, self._histograms, self._infinite, strict=True):
            slots_[index].infinite += infinite
            for histogram in histograms:
                slots_[index].histogram.merge(histogram)
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
        keys = [(series, over_key(series, threshold_us)) for series in self._series]
        numbers = []
        for window in self._windows:
            number = 0
            for series, key in keys:
                counted = window.over.get(key)
                if counted is None:
                    histogram = window.histograms.get(series)
                    if histogram is not None and histogram.total:
                        return None
                else:
                    number += counted
            numbers.append(number)
        return numbers

    def over_by_histogram(self, threshold_us: int) -> Floats:
        """Count them with the histograms: a counter counts as over when its highest value is."""
        return self.over_counter(int(np.searchsorted(HIGHEST_EQUIVALENT, threshold_us, "right")) - 1)

    def over_counter(self, counter: int) -> Floats:
        """Count the latencies in higher counters than this one (-1: all of them)."""
        counters, cells, counts = self._entries
        first = int(np.searchsorted(counters, counter, "right"))
        return summed(cells[first:], counts[first:], self._cells)

    @cached_property
    def counters(self) -> tuple[int, int]:
        """Return the lowest and the highest counter in use; there must be a latency."""
        counters, _, _ = self._entries
        return int(counters[0]), int(counters[-1])

    @cached_property
    def _entries(self) -> tuple[Ints, Ints, Floats]:
        """Return counter, window and count of every counter in use, in order of the counters."""
        counters, cells, counts = [], [], []
        for at, histograms in zip(self._at, self._histograms, strict=True):
            for histogram in histograms:
                if histogram.total:
                    sparse = histogram.to_sparse()
                    counters.append(sparse.indices)
                    cells.append(np.full(len(sparse.indices), at, np.int32))
                    counts.append(sparse.counts)
        if not counters:
            nothing = np.zeros(0, np.int16)
            return nothing, nothing, np.zeros(0)
        joined = np.concatenate(counters).astype(np.int16)  # 23,552 counters fit, and sort by radix
        order = np.argsort(joined, kind="stable")
        return joined[order], np.concatenate(cells)[order], np.concatenate(counts)[order].astype(np.float64)

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
        return Samples(self.n, self.infinite, own, correlation_of(own))

    def _over_own(self, rank: int) -> Floats:
        """Count the finite latencies over their own percentile by window: just the allowed share of all.

        Of those in the percentile's own counter, which may be many, the same part of each window counts.
        """
        counters, _, counts = self._entries
        upto = np.cumsum(counts)
        at = int(np.searchsorted(upto, rank_of(rank, int(upto[-1]))))
        over, from_it = self.over_counter(int(counters[at])), self.over_counter(int(counters[at]) - 1)
        allowed = (1 - rank / RANKS_PER_WHOLE) * float(upto[-1])
        part = (allowed - over.sum()) / (from_it.sum() - over.sum())
        mixed: Floats = over + part * (from_it - over)
        return mixed

    def of_mean(self) -> tuple[Samples, Floats]:
        """Return the samples of the mean, and the sum of the latencies (µs) by window; all are finite."""
        sums = self._by_histogram(lambda histogram: float(histogram.sum))
        own = sums - sums.sum() / max(self.n.sum(), 1.0) * self.n
        return Samples(self.n, self.infinite, own, correlation_of(own), counted=False), sums


def of_shares(good: Floats, bad: Floats, *, alike: bool) -> Samples:
    """Return the samples of a share of bad requests, of which every bad one counts as failed.

    `alike` asks how alike neighbouring windows are. An error rate does not: what its errors tell of that
    could change with one more of them, and make the row more certain.
    """
    total = good + bad
    share = bad.sum() / max(total.sum(), 1.0)
    alikeness = correlation_of(bad - share * total) if alike else Correlation(1.0)
    return Samples(good, bad, None, alikeness)
