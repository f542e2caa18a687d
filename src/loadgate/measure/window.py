"""Windows: what was measured for one endpoint and phase in a span of run time.

`docs/measurement.md` lists every series and count with its unit and meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias, TypeVar

from loadgate.errors import MeasureError
from loadgate.measure.histogram import Histogram, merged
from loadgate.measure.layout import Int64s

ALL = "*"
"""The endpoint or phase of a window that was merged over several."""

N = TypeVar("N", int, Int64s, covariant=True)
"""A number, or one for each of many windows."""

LatencyOn: TypeAlias = Literal["adjusted", "ok", "all"]
Clock: TypeAlias = Literal["response", "service"]


class Series(StrEnum):
    """Name each recorded series; all are latencies in µs."""

    RESPONSE_OK = "response.ok"
    RESPONSE_FAILED = "response.failed"
    RESPONSE_TIMEOUT = "response.timeout"
    SERVICE_OK = "service.ok"
    SERVICE_FAILED = "service.failed"
    SERVICE_TIMEOUT = "service.timeout"
    RESPONSE_HIT = "response.hit"
    RESPONSE_MISS = "response.miss"
    POOL_WAIT = "pool_wait"
    START_LAG = "start_lag"
    CONNECT = "connect"


class Count(StrEnum):
    """Name each count of a window."""

    ARRIVALS = "arrivals"
    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNSENT_POOL = "unsent_pool"
    UNSENT_GENERATOR = "unsent_generator"
    UNFINISHED = "unfinished"
    LOST = "lost"
    RETRIES = "retries"
    BYTES_RECEIVED = "bytes_received"
    HITS = "hits"
    MISSES = "misses"
    REPEAT_HITS = "repeat_hits"
    REPEAT_MISSES = "repeat_misses"
    RATE_LIMITED = "rate_limited"
    RATE_LIMIT_EXHAUSTED = "rate_limit_exhausted"


TIMED_SERIES = tuple(series for series in Series if series.startswith(("response.", "service.")))
"""The series whose values over each planned threshold are counted exactly."""

ENDINGS = (
    Count.OK,
    Count.FAILED,
    Count.TIMEOUT,
    Count.UNSENT_POOL,
    Count.UNSENT_GENERATOR,
    Count.UNFINISHED,
    Count.LOST,
)
"""The counts of which each arrival ends in exactly one."""

INFINITE = (Count.FAILED, Count.TIMEOUT, Count.UNFINISHED, Count.UNSENT_POOL)
"""The endings that `latency_on = "adjusted"` takes as infinitely slow."""


def over_key(series: str, threshold_us: int) -> str:
    """Return the key in `Window.over` of the values of a series that are greater than a threshold."""
    return f"{series}>{threshold_us}"


def series_of(key: str) -> str:
    """Return the series that a key of `Window.over` counts."""
    return key.partition(">")[0]


class Counting(Protocol[N]):
    """Anything that has the counts of a window, or of many as arrays."""

    def count(self, name: str) -> N:
        """Return a count; 0 when nothing was counted."""


@dataclass(slots=True)
class Window:
    """What was measured from run time `second` on, for `span` seconds.

    A request counts in the second in which it ended, an arrival in the second in which it was due, both
    under the phase in which it was due. A missing count is 0 and a missing histogram is empty. A missing
    key of `over` is *not* 0 when its series has values: it was not counted. `loss` says that a worker was
    lost, or its share of the load not yet taken over, in that time: the run database tells it, from its
    ledger; a worker does not know it, and it is not on the wire.
    """

    second: int
    span: int
    endpoint: str
    phase: str
    counts: dict[str, int] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    over: dict[str, int] = field(default_factory=dict)
    loss: bool = False

    @property
    def key(self) -> tuple[int, str, str]:
        """What tells the windows of one span apart."""
        return self.second, self.endpoint, self.phase

    @property
    def end(self) -> int:
        """The first second of run time after the window."""
        return self.second + self.span

    def count(self, name: str) -> int:
        """Return a count; 0 when nothing was counted."""
        return self.counts.get(name, 0)

    def histogram(self, series: str) -> Histogram:
        """Return the histogram of a series to read from; an empty one when nothing was recorded."""
        found = self.histograms.get(series)
        return Histogram() if found is None else found

    def add(self, name: str, n: int) -> None:
        """Add `n` to a count."""
        if n:
            self.counts[str(name)] = self.counts.get(name, 0) + n

    def merge(self, other: Window) -> None:
        """Add all of `other`: exact, in any order and grouping; the span then covers both.

        Raise MeasureError when the endpoint or phase differs and is not ALL here. An over-count is kept
        only when it is known for every value that is now in its series.
        """
        if self.endpoint not in (other.endpoint, ALL) or self.phase not in (other.phase, ALL):
            raise MeasureError(
                f"a window of {other.endpoint!r} in {other.phase!r} cannot be merged into one of "
                f"{self.endpoint!r} in {self.phase!r}"
            )
        self.over = _merged_over(self, other)
        for name, n in tuple(other.counts.items()):
            self.add(name, n)
        for series, histogram in tuple(other.histograms.items()):
            mine = self.histograms.get(series)
            if mine is None:
                mine = self.histograms[series] = Histogram()
            mine.merge(histogram)
        self.loss = self.loss or other.loss
        end = max(self.end, other.end)
        self.second = min(self.second, other.second)
        self.span = end - self.second

    def copy(self) -> Window:
        """Return a window of the same content that shares nothing which is ever written to."""
        histograms = {series: histogram.copy() for series, histogram in self.histograms.items()}
        return Window(
            self.second,
            self.span,
            self.endpoint,
            self.phase,
            dict(self.counts),
            histograms,
            dict(self.over),
            self.loss,
        )

    def compact(self) -> None:
        """Let each histogram take its smaller form; the content stays the same."""
        for histogram in self.histograms.values():
            histogram.compact()

    def response(self, latency_on: LatencyOn, clock: Clock = "response") -> tuple[Histogram, int]:
        """Return the latencies to judge (µs), and how many more count as infinitely slow.

        "ok": those of acceptable answers. "all": those of acceptable, failed and timed-out ones.
        "adjusted": those of acceptable answers, and every failed, timed-out, unfinished and pool-caused
        unsent request as infinitely slow. The histogram is to be read only.
        """
        if latency_on == "all":
            return merged(self.histogram(series) for series in _all_series(clock)), 0
        histogram = self.histogram(f"{clock}.ok")
        if latency_on == "ok":
            return histogram, 0
        if latency_on == "adjusted":
            return histogram, sum(self.count(name) for name in INFINITE)
        raise MeasureError(f"latency_on is {latency_on!r}", hint='Use "adjusted", "ok" or "all".')

    def response_over(
        self, threshold_us: int, latency_on: LatencyOn, clock: Clock = "response"
    ) -> int | None:
        """Return how many of the latencies of `response` are greater than a threshold, infinite ones too.

        The number is exact. None when the threshold was not among those counted while recording.
        """
        series = _all_series(clock) if latency_on == "all" else (f"{clock}.ok",)
        _, infinite = self.response(latency_on, clock)
        number = infinite
        for name in series:
            counted = self.over_count(name, threshold_us)
            if counted is None:
                return None
            number += counted
        return number

    def over_count(self, series: str, threshold_us: int) -> int | None:
        """Return the exact count of values of a series over a threshold; None when it was not counted."""
        counted = self.over.get(over_key(series, threshold_us))
        if counted is None and not self.histogram(series).total:
            return 0
        return counted

    @property
    def unsent(self) -> int:
        """The arrivals that never started, whoever caused it."""
        return self.count(Count.UNSENT_POOL) + self.count(Count.UNSENT_GENERATOR)

    @property
    def sent(self) -> int:
        """The arrivals that ended as an answer, a failure, a timeout, or in flight."""
        return sum(self.count(name) for name in (Count.OK, Count.FAILED, Count.TIMEOUT, Count.UNFINISHED))

    @property
    def imbalance(self) -> int:
        """Arrivals less all endings: 0 for a whole run, per endpoint and phase, when the books balance."""
        return self.count(Count.ARRIVALS) - sum(self.count(name) for name in ENDINGS)


def windows_merged(windows: Iterable[Window]) -> Window:
    """Return one window of all that the given ones measured; none of them is changed.

    Its endpoint and phase are those of the windows, or ALL where they differ or there are none. It covers
    the time from the first to the last; without windows it is empty, with a span of 0.
    """
    given = list(windows)
    if not given:
        return Window(0, 0, ALL, ALL)
    endpoints, phases = {window.endpoint for window in given}, {window.phase for window in given}
    whole = Window(
        given[0].second,
        given[0].span,
        endpoints.pop() if len(endpoints) == 1 else ALL,
        phases.pop() if len(phases) == 1 else ALL,
    )
    for window in given:
        whole.merge(window)
    return whole


def sum_windows(
    windows: Iterable[Window],
    start: int,
    end: int,
    endpoint: str | None = None,
    phases: Sequence[str] | None = None,
) -> Window:
    """Return the total over the run seconds start..end (end excluded), and of one endpoint or of all.

    Raise MeasureError for a window that is only partly in that time: it cannot be split.
    """
    chosen = []
    for window in windows:
        if endpoint not in (None, window.endpoint) or (phases is not None and window.phase not in phases):
            continue
        if window.end <= start or window.second >= end:
            continue
        if window.second < start or window.end > end:
            raise MeasureError(
                f"a window of seconds {window.second}..{window.end} is only partly in {start}..{end}",
                hint=f"Ask for limits that are multiples of {window.span} s.",
            )
        chosen.append(window)
    total = windows_merged(chosen)
    total.second, total.span = start, end - start
    if endpoint is not None:
        total.endpoint = endpoint
    return total


def _all_series(clock: str) -> tuple[str, str, str]:
    """Return the series of one clock over the outcomes of requests that ended."""
    return f"{clock}.ok", f"{clock}.failed", f"{clock}.timeout"


def _merged_over(one: Window, other: Window) -> dict[str, int]:
    """Return the over-counts of both, without those that one side has values for but did not count."""
    merged_counts = {}
    for key in (*one.over, *other.over):
        if key in merged_counts:
            continue
        series = series_of(key)
        total = 0
        for window in (one, other):
            counted = window.over.get(key)
            if counted is None:
                if window.histogram(series).total:
                    break
                counted = 0
            total += counted
        else:
            merged_counts[key] = total
    return merged_counts
