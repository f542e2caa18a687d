"""The numbers of a run as Prometheus counts: cumulative counters and buckets that never go back.

Buckets come from the HDR counters. A counter belongs to the first bucket whose edge it does not reach beyond,
so no request is ever told as faster than it was. `exact_up_to` says for each edge what that counts exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import HIGHEST_EQUIVALENT
from loadgate.measure.recorder import OVERFLOW_ENDPOINT
from loadgate.measure.window import ENDINGS, Count, Window

EDGES_MS: Final = (
    1, 2, 5, 10, 20, 30, 50, 75, 100, 200, 300, 500, 750,
    1000, 2000, 3000, 5000, 10_000, 30_000, 60_000,
)  # fmt: skip
"""The edges of the buckets, in ms."""
EDGES: Final = tuple(f"{edge / 1000:.3f}".rstrip("0").removesuffix(".") for edge in EDGES_MS)
"""The same as the label `le` has them, in seconds, without "+Inf"."""
OUTCOMES: Final = ("ok", "failed", "timeout")
"""The outcomes of which response and service times are told."""
CLOCKS: Final = ("response", "service")
SERIES: Final = tuple(f"{clock}.{outcome}" for clock in CLOCKS for outcome in OUTCOMES)
"""The series whose histograms are needed."""
COUNTED: Final = (*ENDINGS, Count.ARRIVALS, Count.RETRIES, Count.BYTES_RECEIVED, Count.HITS, Count.MISSES,
                  Count.REPEAT_HITS, Count.REPEAT_MISSES, Count.RATE_LIMITED)  # fmt: skip
MOST_ENDPOINTS: Final = 100
"""Endpoints that are told apart; the others are one, under the name that the recorder has for such."""

_BELOW: Final = np.searchsorted(HIGHEST_EQUIVALENT, np.array(EDGES_MS, np.int64) * 1000, side="right")
"""For each edge, how many counters lie wholly at or below it."""


def exact_up_to(edge_ms: int) -> int:
    """Return the highest latency (µs) that a bucket with this edge counts: all up to it, no other."""
    below = int(np.searchsorted(HIGHEST_EQUIVALENT, edge_ms * 1000, side="right"))
    return int(HIGHEST_EQUIVALENT[below - 1])


@dataclass(frozen=True, slots=True)
class Distribution:
    """A classic histogram: cumulative counts by edge, the last for "+Inf", and the exact sum (µs)."""

    buckets: tuple[int, ...] = (0,) * (len(EDGES_MS) + 1)
    sum_us: int = 0

    @classmethod
    def of(cls, histogram: Histogram) -> Distribution:
        """Count a histogram's values into the buckets."""
        sparse = histogram.to_sparse()
        counted = np.concatenate(([0], sparse.counts.cumsum()))
        below = counted[np.searchsorted(sparse.indices, _BELOW, side="left")]
        return cls((*below.tolist(), histogram.total), histogram.sum)

    def reaches(self, other: Distribution) -> bool:
        """Tell whether no count and no sum is less than those of `other`."""
        return self.sum_us >= other.sum_us and all(
            mine >= theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was counted of one endpoint since the run began."""

    counts: Mapping[str, int]
    distributions: Mapping[str, Distribution]
    """By series."""

    def reaches(self, other: Numbers) -> bool:
        """Tell whether none of the numbers is less than its like in `other`."""
        return all(self.counts[name] >= number for name, number in other.counts.items()) and all(
            self.distributions[series].reaches(one) for series, one in other.distributions.items()
        )


class Counters:
    """The numbers of every endpoint, as they are told: none of them ever goes back.

    Endpoints keep the place that they got first, so that one beyond `MOST_ENDPOINTS` stays among the others.
    """

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._told: dict[str, Numbers] = {}

    def take(self, totals: Iterable[Window]) -> dict[str, Numbers]:
        """Return the numbers by endpoint from all windows so far (by endpoint, phase or any other split).

        An endpoint whose numbers are less than what was told of it, which may be while a run is read again,
        stays as it was told.
        """
        parts: dict[str, list[Window]] = {}
        for window in totals:
            parts.setdefault(self._place(window.endpoint), []).append(window)
        for endpoint, windows in parts.items():
            found = _numbers(windows)
            if endpoint not in self._told or found.reaches(self._told[endpoint]):
                self._told[endpoint] = found
        return dict(sorted(self._told.items()))

    def _place(self, endpoint: str) -> str:
        if endpoint not in self._places:
            full = sum(place != OVERFLOW_ENDPOINT for place in self._places.values()) >= MOST_ENDPOINTS
            self._places[endpoint] = OVERFLOW_ENDPOINT if full else endpoint
        return self._places[endpoint]


def _numbers(windows: list[Window]) -> Numbers:
    distributions = {}
    for series in SERIES:
        whole = Histogram()
        for window in windows:
            whole.merge(window.histogram(series))
        distributions[series] = Distribution.of(whole)
    counts = {str(name): sum(window.count(name) for window in windows) for name in COUNTED}
    return Numbers(counts, distributions)
