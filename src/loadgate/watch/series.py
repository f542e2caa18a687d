"""From windows and readings to the values that alert rules compare: one sample for each window of a rule.

A rule's windows are [k * every, (k + 1) * every) of run time. Only what lies in its phases and outside of its
exclusions counts. A sampler keeps the windows that are still open and nothing else, so that a week takes no
more memory than a minute; what comes for a window that is closed is counted as late and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from loadgate.measure.histogram import rank_of
from loadgate.measure.levels import (
    edges,
    known_errors,
    latency,
    met_by_count,
    misses,
    over_by_histogram,
)
from loadgate.measure.window import ALL, Clock, Count, Window, series_of
from loadgate.plan.alerts import AlertRule
from loadgate.plan.burn import BurnPair
from loadgate.plan.sla import Limit
from loadgate.plan.timeline import Timeline

TOLERANCE: Final = 1e-6

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one window of a rule says: `value` in SI over `n` requests or readings; None without data.

    `seconds` is how much of the window counts, `past` whether the rule is violated, `clear` whether it is
    clear; both are None without data. A burn rate has its pair, and the burn over its short window.
    """

    start: float
    end: float
    seconds: float
    value: float | None = None
    n: int = 0
    past: bool | None = None
    clear: bool | None = None
    pair: BurnPair | None = None
    short: float = 0.0
    bad: int = 0
    of: int = 0
    """Of a burn rate: the bad requests of this window alone, and all of them."""
    unread: bool = False
    """The window cannot be told from merged rows: it says nothing, and that is no silence of the target."""


class Sampler(Protocol):
    """What turns one rule's series into its samples."""

    position: float
    """The end of the last window that was closed; nothing before it is asked again."""

    def close(self, until: float) -> Iterator[Sample]:
        """Yield the samples of the windows that end by `until`, up to which the series is complete."""
        ...

    def rest(self, end: float) -> Sample | None:
        """Return the sample of the last window of a run that ended at `end`, where it is long enough."""
        ...

    def state(self) -> Any:
        """Return what is to be kept of closed windows, as plain values."""
        ...

    def restore(self, position: float, state: Any) -> None:
        """Go on from a window's end with what `state` gave there."""
        ...

    def resume(self, samples: Sequence[Sample]) -> None:
        """Go on from the end of the last of these samples, all that there were before."""
        ...


def stretches(rule: AlertRule, timeline: Timeline) -> tuple[Stretch, ...]:
    """Return the run time that a rule looks at, in order: its phases without what it excludes."""
    found: list[Stretch] = [(0.0, math.inf)]
    if rule.phases:
        drain = [(timeline.end, timeline.drain_end)] if "drain" in rule.phases else []
        found = [(part.start, part.end) for part in timeline.segments if part.phase in rule.phases] + drain
    for low, high in rule.excluded:
        cut = [(start, min(end, low)) for start, end in found] + [
            (max(start, high), end) for start, end in found
        ]
        found = [piece for piece in cut if piece[1] > piece[0]]
    joined: list[Stretch] = []
    for start, end in sorted(found):
        if joined and start <= joined[-1][1] + TOLERANCE:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def overlap(parts: Sequence[Stretch], start: float, end: float) -> float:
    """Return how many seconds of [start, end) lie in some stretches that do not overlap."""
    return math.fsum(max(0.0, min(high, end) - max(low, start)) for low, high in parts)


class WindowSampler:
    """What all samplers share: whose turn it is, and the window that a run's end cuts short."""

    def __init__(self, rule: AlertRule, timeline: Timeline) -> None:
        self.rule = rule
        self.parts = stretches(rule, timeline)
        self.position = 0.0
        self.late = 0
        self._any = False

    def close(self, until: float) -> Iterator[Sample]:
        """Yield the samples of the windows that end by `until`."""
        every = self.rule.every
        while self.position + every <= until + TOLERANCE:
            start, end = self.position, self.position + every
            self.position = end
            sample = self.sample(start, end)
            self._any = self._any or sample.seconds > 0
            yield sample

    def rest(self, end: float) -> Sample | None:
        """Return the window that a run's end cut short: from half of `every` on, or if it is the only one."""
        seconds = overlap(self.parts, self.position, end)
        if seconds <= TOLERANCE or (self._any and seconds < self.rule.every / 2 - TOLERANCE):
            return None
        start, self.position = self.position, math.inf
        return self.sample(start, end)

    def state(self) -> Any:
        """Return what is to be kept of closed windows: nothing but whether there was any."""
        return {"any": self._any}

    def restore(self, position: float, state: Any) -> None:
        """Go on from a window's end."""
        self.position, self._any = position, bool(state["any"])

    def resume(self, samples: Sequence[Sample]) -> None:
        """Go on from the end of the last of these samples; one that is cut short was the last of its run."""
        last = samples[-1]
        whole = last.end - last.start >= self.rule.every - TOLERANCE
        self.position = last.end if whole else math.inf
        self._any = any(sample.seconds > 0 for sample in samples)

    def sample(self, start: float, end: float) -> Sample:
        """Return the sample of one window, and forget what it was made of."""
        raise NotImplementedError

    def counting(self, start: float, end: float) -> float:
        """Return how many seconds of a window count."""
        return overlap(self.parts, start, end)

    def compared(self, sample: Sample, past: bool | None = None, clear: bool | None = None) -> Sample:
        """Compare a value with the rule's limits, where counting did not."""
        limit, clear_at = self.rule.limit, self.rule.clear
        assert limit is not None
        assert clear_at is not None
        assert sample.value is not None
        past = limit.met(sample.value) if past is None else past
        clear = clear_at.met(sample.value) if clear is None else clear
        return replace(sample, past=past, clear=clear and not past)


@dataclass
class _Bucket:
    """What lies in one open window of a rule: all of it merged, and the seconds it is from."""

    window: Window
    seconds: set[int] = field(default_factory=set)
    ok: int = 0


class RequestSampler(WindowSampler):
    """The samples of a rule on requests, from the windows of a run."""

    def __init__(self, rule: AlertRule, timeline: Timeline) -> None:
        super().__init__(rule, timeline)
        self._buckets: dict[int, _Bucket] = {}
        self._reported: set[int] = set()
        self._unread: set[int] = set()
        self._burns: list[tuple[float, int, int, float]] = []
        subject = rule.subject
        self.series = series_needed(rule)
        self._rate = subject.metric == "throughput"
        self._clock: Clock = "service" if subject.metric == "service_time" else "response"

    def take(self, window: Window) -> None:
        """Take in a window of the run.

        One that is too long to be cut makes the rule's own windows that it reaches into unreadable.
        """
        subject, rule = self.rule.subject, self.rule
        if subject.endpoint not in (None, window.endpoint):
            return
        if window.end <= self.position + TOLERANCE:
            self.late += 1
            return
        index = int(window.second // rule.every)
        if self._is_uncuttable(window, index):
            self.cannot_tell(window.second, window.end)
            return
        if self._rate:
            self._reported.update(range(window.second, window.end))
            if overlap(self.parts, window.second, window.end) >= window.span - TOLERANCE:
                self._bucket(index, window).ok += window.count(Count.OK)
            return
        if rule.phases and window.phase not in rule.phases:
            return
        if any(low <= window.second < high for low, high in rule.excluded):
            return
        bucket = self._bucket(index, window)
        bucket.window.merge(_slim(window, self.series))
        bucket.seconds.update(range(window.second, window.end))

    def report(self, seconds: Iterable[int]) -> None:
        """Take in the seconds of which some worker has told what it did, be it nothing."""
        if self._rate:
            self._reported.update(second for second in seconds if second >= self.position)

    def cannot_tell(self, start: float, end: float) -> None:
        """Note that the windows of the rule that reach into some time cannot be told from what is stored."""
        every = self.rule.every
        first = max(int(start // every), 0 if math.isinf(self.position) else int(self.position // every))
        self._unread.update(range(first, math.ceil((end - TOLERANCE) / every)))

    def _is_uncuttable(self, window: Window, index: int) -> bool:
        """Tell whether a window lies in more than one of the rule's own, or partly where it does not look."""
        if (
            window.second < self.position - TOLERANCE
            or window.end > (index + 1) * self.rule.every + TOLERANCE
        ):
            return True
        if window.span == 1:
            return False
        if self._rate:
            return TOLERANCE < overlap(self.parts, window.second, window.end) < window.span - TOLERANCE
        return any(
            low < window.end and window.second < high and not (low <= window.second and window.end <= high)
            for low, high in self.rule.excluded
        )

    def _bucket(self, index: int, window: Window) -> _Bucket:
        found = self._buckets.get(index)
        if found is None:
            found = self._buckets[index] = _Bucket(Window(window.second, window.span, ALL, ALL))
        return found

    def sample(self, start: float, end: float) -> Sample:
        """Return the sample of one window from all that was merged into it."""
        index = int(start // self.rule.every)
        bucket = self._buckets.pop(index, None)
        if index in self._unread:
            self._unread.discard(index)
            self._reported = {second for second in self._reported if second >= end}
            return Sample(start, end, 0.0, unread=True)
        seconds = overlap(self.parts, start, end)
        empty = Sample(start, end, seconds)
        if self._rate:
            return self._throughput(empty, bucket)
        if bucket is None:
            return self._burn(empty, (0, 0)) if self.rule.burn is not None else empty
        if seconds <= TOLERANCE:
            # What was due in the phase and ended after it still says something.
            empty = replace(empty, seconds=float(len(bucket.seconds)))
        window, metric = bucket.window, self.rule.subject.metric
        if self.rule.burn is not None:
            return self._burn(empty, self._bad(window))
        if metric == "error_rate":
            bad, n = known_errors(window)
            return self._share(empty, bad, n)
        if metric == "cache_hit_rate":
            bad, n = misses(window)
            return self._share(empty, n - bad, n)
        return self._latency(empty, window)

    def _share(self, empty: Sample, number: int, n: int) -> Sample:
        if n < max(1, self.rule.at_least):
            return empty
        return self.compared(replace(empty, value=number / n, n=n))

    def _throughput(self, empty: Sample, bucket: _Bucket | None) -> Sample:
        """Return ok answers per second of the seconds that were told of and lie in the phases as a whole."""
        first, last = math.floor(empty.start), math.ceil(empty.end)
        told = {second for second in self._reported if first <= second < last}
        self._reported = {second for second in self._reported if second >= last}
        told = {second for second in told if overlap(self.parts, second, second + 1) >= 1 - TOLERANCE}
        ok = bucket.ok if bucket is not None else 0
        if not told:
            return empty
        return self.compared(replace(empty, value=ok / len(told), n=ok))

    def _latency(self, empty: Sample, window: Window) -> Sample:
        subject = self.rule.subject
        histogram, infinite = window.response(subject.latency_on, self._clock)
        n = histogram.total + infinite
        value = latency(histogram, infinite, subject.statistic, subject.rank)
        if value is None or n < self.rule.at_least:
            return empty
        past = clear = None
        if subject.rank is not None and self.rule.limit is not None and self.rule.clear is not None:
            past = self._counted(self.rule.limit, window, n, subject.rank)
            clear = self._counted(self.rule.clear, window, n, subject.rank)
        return self.compared(replace(empty, value=value, n=n), past, clear)

    def _counted(self, limit: Limit, window: Window, n: int, rank: int) -> bool | None:
        """Compare a percentile with a limit by exact counts; None where they were not taken."""
        over = self._over(limit, window)
        return None if over is None else met_by_count(limit, over, n - rank_of(rank, n))

    def _over(self, limit: Limit, window: Window) -> int | None:
        subject = self.rule.subject
        for edge in edges(limit):
            over = window.response_over(edge, subject.latency_on, self._clock)
            if over is not None:
                return over
        return None

    # ---- burn rates

    def _bad(self, window: Window) -> tuple[int, int]:
        """Return the bad requests of a burn rule, and all of them."""
        subject, burn = self.rule.subject, self.rule.burn
        assert burn is not None
        if burn.over is None:
            return known_errors(window) if subject.metric == "error_rate" else misses(window)
        histogram, infinite = window.response(subject.latency_on, self._clock)
        over = self._over(burn.over, window)
        if over is None:
            over = over_by_histogram(histogram, edges(burn.over)[1]) + infinite
        return over, histogram.total + infinite

    def _burn(self, empty: Sample, counted: tuple[int, int]) -> Sample:
        """Return the burn rate of the pair that burns most beyond its factor, or of the first that burns.

        A part of a window without data counts as time in which nothing burnt: so the burn over the long
        window is always the share of the whole run's budget that it used up.
        """
        burn = self.rule.burn
        assert burn is not None
        bad, n = counted
        if n == 0:
            return empty
        self._burns.append((empty.start, bad, n, empty.seconds))
        longest = max(pair.long for pair in burn.pairs)
        self._burns = [item for item in self._burns if item[0] >= self._from(empty.end, longest)]
        found = []
        for pair in burn.pairs:
            long, count = self._rate_over(empty.end, pair.long)
            short, _ = self._rate_over(empty.end, pair.short)
            reached = min(long, short) >= pair.factor * (1 - TOLERANCE)
            burns = count >= self.rule.at_least and reached
            found.append((burns, min(long, short) / pair.factor, long, short, count, pair))
        chosen = next((item for item in found if item[0]), max(found, key=lambda item: item[1]))
        burns, _, long, short, count, pair = chosen
        return replace(
            empty, value=long, n=count, past=burns, clear=not burns, pair=pair, short=short, bad=bad, of=n
        )

    def _from(self, end: float, length: float) -> float:
        return end - length - self.rule.every / 2

    def _rate_over(self, end: float, length: float) -> tuple[float, int]:
        """Return how many times as fast as allowed the budget burnt over some time, and the requests."""
        assert self.rule.burn is not None
        inside = [item for item in self._burns if item[0] >= self._from(end, length)]
        bad, n = sum(item[1] for item in inside), sum(item[2] for item in inside)
        covered = min(1.0, math.fsum(item[3] for item in inside) / length)
        return (bad / n * covered / self.rule.burn.budget if n else 0.0), n

    def state(self) -> Any:
        """Return the counts of burn rates beside."""
        return {**super().state(), "burns": [list(item) for item in self._burns]}

    def restore(self, position: float, state: Any) -> None:
        """Go on from a window's end."""
        super().restore(position, state)
        self._burns = [(float(a), int(b), int(c), float(d)) for a, b, c, d in state["burns"]]

    def resume(self, samples: Sequence[Sample]) -> None:
        """Go on from the end of the last of these samples, with what its burn rates are made of."""
        super().resume(samples)
        if self.rule.burn is not None:
            since = self._from(samples[-1].end, max(pair.long for pair in self.rule.burn.pairs))
            found = [(one.start, one.bad, one.of, one.seconds) for one in samples if one.of]
            self._burns = [item for item in found if item[0] >= since]


def series_needed(rule: AlertRule) -> frozenset[str]:
    """Return the histograms that a rule needs; none for counts and readings."""
    subject = rule.subject
    if subject.statistic is None:
        return frozenset()
    clock = "service" if subject.metric == "service_time" else "response"
    outcomes = ("ok", "failed", "timeout") if subject.latency_on == "all" else ("ok",)
    return frozenset(f"{clock}.{outcome}" for outcome in outcomes)


def _slim(window: Window, series: Collection[str]) -> Window:
    """Return a window of all phases and endpoints with the wanted histograms alone, sharing them."""
    return replace(
        window,
        histograms={name: found for name, found in window.histograms.items() if name in series},
        over={key: number for key, number in window.over.items() if series_of(key) in series},
    )
