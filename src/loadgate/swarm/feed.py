"""Feed Locust's own statistics from recorded windows, in bulk.

Its console, web UI, CSV, HTML, JSON and master/worker reports then show the same counts as the
run database and, within their own rounding, the same percentiles. What is fed is the response time, the
clock that objectives judge. Requests that never got an answer or an error of their own
(unsent, unfinished) are not requests to Locust.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from locust import stats as locust_stats
from locust.stats import RequestStats, StatsEntry, StatsError
from numpy.typing import NDArray

from loadgate.measure.delta import Failure
from loadgate.measure.histogram import Histogram, merged
from loadgate.measure.layout import HIGHEST_EQUIVALENT, LOWEST_EQUIVALENT
from loadgate.measure.window import Count, Series, Window

_ANSWERED = (Series.RESPONSE_OK, Series.RESPONSE_FAILED, Series.RESPONSE_TIMEOUT)


class Feed:
    """Add windows to Locust's statistics.

    Locust rounds each response time with a function that users may replace; its result for each of
    the histogram's counters is worked out once, at the first window of a run.
    """

    def __init__(self) -> None:
        self._buckets: NDArray[np.int64] | None = None

    def window(
        self, stats: RequestStats, window: Window, methods: dict[str, str], wall_anchor: float
    ) -> None:
        """Add one window.

        `methods` gives each endpoint's HTTP method, which is half of Locust's key; `wall_anchor` is
        the epoch second of run time 0.
        """
        answered = merged(window.histograms[name] for name in _ANSWERED if name in window.histograms)
        if answered.total:
            method = methods.get(window.endpoint, "")
            entry = _entry(stats, window, answered, method, wall_anchor)
            entry.response_times = self._response_times(answered)
            stats.get(entry.name, entry.method).extend(entry)
            stats.total.extend(entry)

    def _response_times(self, histogram: Histogram) -> dict[int, int]:
        if self._buckets is None:
            bucket_of: Any = locust_stats.bucket_response_time
            middles = (LOWEST_EQUIVALENT + HIGHEST_EQUIVALENT) / 2000.0
            self._buckets = np.array([bucket_of(middle) for middle in middles.tolist()])
        sparse = histogram.to_sparse()
        buckets, places = np.unique(self._buckets[sparse.indices], return_inverse=True)
        counts = np.bincount(places, weights=sparse.counts).astype(np.int64)
        return dict(zip(buckets.tolist(), counts.tolist(), strict=True))


def feed_failures(
    stats: RequestStats, failures: Iterable[Failure], methods: dict[str, str], wall_anchor: float
) -> None:
    """Add failures to Locust's error table; run times become epoch seconds."""
    for failure in failures:
        method = methods.get(failure.endpoint, "")
        text = failure.kind if not failure.message else f"{failure.kind} ({failure.message})"
        key = StatsError.create_key(method, failure.endpoint, text)
        error = stats.errors.setdefault(key, StatsError(method, failure.endpoint, text))
        error.occurrences += failure.count
        first, last = wall_anchor + failure.first, wall_anchor + failure.last
        error.first_seen = first if error.first_seen is None else min(error.first_seen, first)
        error.last_seen = last if error.last_seen is None else max(error.last_seen, last)


def _entry(
    stats: RequestStats, window: Window, answered: Histogram, method: str, wall_anchor: float
) -> StatsEntry:
    failed = window.counts.get(Count.FAILED, 0) + window.counts.get(Count.TIMEOUT, 0)
    second = int(wall_anchor) + window.second
    entry = StatsEntry(stats, window.endpoint, method)
    entry.num_requests, entry.num_failures, entry.num_none_requests = answered.total, failed, 0
    entry.total_response_time = answered.sum / 1000
    entry.min_response_time = (answered.minimum or 0) / 1000
    entry.max_response_time = (answered.maximum or 0) / 1000
    entry.total_content_length = window.counts.get(Count.BYTES_RECEIVED, 0)
    entry.num_reqs_per_sec = {second: answered.total}
    entry.num_fail_per_sec = {second: failed} if failed else {}
    entry.start_time = float(second)
    # Without a last timestamp Locust shows every rate as 0.
    entry.last_request_timestamp = second + 0.999
    return entry
