"""The series of a stored run that can drift, and what is said of each.

Latencies, error rates, throughput and hit rates come from the windows of the steady phase, merged into about
a hundred slots; memory, CPU and other readings from the probes. Restarts that the probes saw, changes of the
planned load, and deployments that the caller names cut a series: on their two sides it may lie at different
levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np

from loadgate.judge.correlation import Floats
from loadgate.judge.drift import DriftResult, attribute, judge_trend
from loadgate.judge.evidence import STEADY, Evidence
from loadgate.judge.latency import clock_of
from loadgate.judge.readings import NEEDED_SHARE, find_probe, source_of
from loadgate.judge.results import Grade
from loadgate.judge.samples import Latencies, summed
from loadgate.judge.slots import TOLERANCE, Interval, slots, slots_of
from loadgate.judge.trend import TooLittle, Trend, trend
from loadgate.judge.trend_shapes import BUCKETS
from loadgate.measure.delta import FleetRow
from loadgate.measure.layout import HIGHEST_US, Int64s
from loadgate.measure.levels import errors, misses
from loadgate.measure.levels import latency as latency_level
from loadgate.measure.marks import marks_in
from loadgate.measure.window import Count, Counting
from loadgate.plan.drift import Drift
from loadgate.plan.sla import LATENCIES, PER_ENDPOINT
from loadgate.plan.units import format_duration
from loadgate.watch.restarts import restarts_in

SETTLE: Final = 1800.0
SETTLE_SHARE: Final = 0.05
_SHORTEST: Final = 1.0
"""Seconds of the shortest slot."""
_DENSE: Final = 3.0
"""Arrivals a second from which a second without a window was not measured."""
_SLOWEST: Final = HIGHEST_US / 1e6
"""What stands for infinitely slow: the longest time that a histogram holds, in seconds."""


@dataclass(frozen=True, slots=True)
class Line:
    """A series as it is looked at: times (s), values (SI; NaN is no data), and how much of it is there.

    `share` is the part of the slots, or of the scheduled readings, that have a value.
    """

    times: Floats
    values: Floats
    share: float
    missing: str = ""
    """Why there is no data at all; empty where there is some."""


@dataclass(frozen=True)
class Frame:
    """What all series of one run share: its steady phase, where series are cut, and the slots between."""

    evidence: Evidence
    excluded: tuple[Interval, ...] = ()
    others: tuple[float, ...] = ()
    """More moments at which to cut, such as deployments that people noted."""

    @cached_property
    def cuts(self) -> tuple[float, ...]:
        """Return the moments after which levels may differ."""
        restarts = [one.at for one in restarts_in(self.evidence.readings, self.evidence.probes)]
        starts = [part.start for part in self.evidence.steady[1:]]
        changes = [
            after.start
            for before, after in pairwise(self.evidence.segments)
            if not math.isclose(before.level_end, after.level_start)
        ]
        inside = {at for at in (*restarts, *starts, *changes, *self.others) if self.start < at < self.end}
        return tuple(sorted(inside))

    @property
    def start(self) -> float:
        """Return where the steady phase begins."""
        return self.evidence.steady[0].start if self.evidence.steady else 0.0

    @property
    def end(self) -> float:
        """Return where the steady phase ends."""
        return self.evidence.steady[-1].end if self.evidence.steady else 0.0

    def settle(self, rule: Drift) -> float:
        """Return the seconds that are left out after a start."""
        return min(SETTLE, SETTLE_SHARE * (self.end - self.start)) if rule.settle is None else rule.settle

    @cached_property
    def slots(self) -> tuple[Interval, ...]:
        """Cut the steady phase into about as many slots as a trend has buckets, none over a cut."""
        longest = max((window.span for window in self.evidence.of(None)), default=1)
        every = max(_SHORTEST, float(longest), math.ceil(self.evidence.seconds / BUCKETS))
        edges = sorted({*self.cuts, *(end for part in self.excluded for end in (part.start, part.end))})
        pieces = (piece for part in self.evidence.steady for piece in _cut(part, edges))
        return slots(pieces, every)

    @cached_property
    def middles(self) -> Floats:
        """Return the middle of each slot."""
        return np.array([(slot.start + slot.end) / 2 for slot in self.slots])


def _cut(part: Interval, edges: Iterable[float]) -> list[Interval]:
    """Cut an interval at the edges that lie in it."""
    inside = [edge for edge in edges if part.start + TOLERANCE < edge < part.end - TOLERANCE]
    return [Interval(*pair) for pair in pairwise([part.start, *inside, part.end])]


def drift(
    rules: Sequence[Drift],
    evidence: Evidence,
    *,
    cuts: Sequence[float] = (),
    excluded: Sequence[Interval] = (),
    seed: int = 1,
) -> tuple[DriftResult, ...]:
    """Judge every rule by the steady phase of a run.

    `cuts` are run times after which levels may differ, beside those that the run itself tells (restarts,
    changes of the load): deployments that people noted. `excluded` are stretches that no rule looks at.

    A pure function of its arguments. A series without data is INVALID, and one with less than 95 % of its
    slots or scheduled readings cannot PASS.
    """
    frames: dict[tuple[Interval, ...], Frame] = {}
    found = []
    for rule in rules:
        away = (*excluded, *(Interval(*stretch) for stretch in rule.exclude))
        frame = frames.setdefault(away, Frame(evidence, away, tuple(cuts)))
        found.append(_judged(rule, frame, seed))
    return tuple(found)


def _judged(rule: Drift, frame: Frame, seed: int) -> DriftResult:
    line = line_of(rule, frame)
    if line.missing:
        return DriftResult(rule, Grade.INVALID, f"{rule.name}: {line.missing}")
    result = judge_trend(rule, _trend(rule, frame, line, seed))
    if result.verdict is Grade.PASS and line.share < NEEDED_SHARE - TOLERANCE:
        reason = f"{result.reason}; {100 * line.share:.0f}% of the series is there, and PASS takes 95%"
        result = replace(result, verdict=Grade.INVALID, reason=reason)
    if rule.metric not in PER_ENDPOINT or result.verdict not in (Grade.FAIL, Grade.WARN):
        return result
    control = control_of(rule, frame)
    return attribute(result, None if control is None else _trend(rule, frame, control, seed))


def _trend(rule: Drift, frame: Frame, line: Line, seed: int) -> Trend | TooLittle:
    return trend(
        line.times,
        line.values,
        cuts=frame.cuts,
        excluded=frame.excluded,
        settle=frame.settle(rule),
        rising_is_worse=rule.rising_is_worse,
        seed=seed,
    )


# ---- the series themselves


def line_of(rule: Drift, frame: Frame) -> Line:
    """Return the series that a rule speaks of, over the steady phase."""
    if not frame.evidence.steady:
        return _nothing("no steady load was run")
    if rule.metric not in PER_ENDPOINT:
        return _readings(rule, frame)
    if not frame.evidence.of(rule.endpoint):
        which = f"endpoint {rule.endpoint}" if rule.endpoint else "any endpoint"
        return _nothing(f"no request of {which} in the steady phase")
    if rule.metric in LATENCIES:
        return _latencies(rule, frame)
    if rule.metric == "throughput":
        return _per_second(rule, frame, Count.OK)
    if rule.metric == "error_rate":
        return _shares(rule, frame, errors)
    line = _shares(rule, frame, misses)
    return replace(line, values=1 - line.values)


def _nothing(why: str) -> Line:
    return Line(np.zeros(0), np.zeros(0), 0.0, why)


def _slotted(frame: Frame, values: Floats, why: str) -> Line:
    """Make a series of a value for each slot; slots of excluded stretches do not count as missing."""
    away = np.array([any(at in part for part in frame.excluded) for at in frame.middles], np.bool_)
    there = np.isfinite(values)
    if not there.any():
        return _nothing(why)
    wanted = int((~away).sum())
    return Line(frame.middles, values, float((there & ~away).sum()) / wanted if wanted else 0.0)


def _latencies(rule: Drift, frame: Frame) -> Line:
    row = rule.objective
    found = Latencies(frame.evidence, row.endpoint, row.latency_on, clock_of(row))
    values = [
        latency_level(slot.histogram, slot.infinite, row.statistic, row.rank)
        for slot in found.by_slot(frame.slots, ())
    ]
    levels = np.array([math.nan if value is None else min(value, _SLOWEST) for value in values])
    return _slotted(frame, levels, "no request of the steady phase has a latency")


def _sums(rule: Drift, frame: Frame, of: Callable[[Counting[Int64s]], Int64s]) -> Floats:
    """Add something up by slot."""
    at = slots_of(frame.slots, frame.evidence.of(rule.endpoint))
    return summed(at, of(frame.evidence.counts(rule.endpoint)), len(frame.slots))


def _shares(rule: Drift, frame: Frame, counted: Callable[[Counting[Int64s]], tuple[Int64s, Int64s]]) -> Line:
    """Return a share of requests by slot."""
    bad, n = (_sums(rule, frame, lambda counts, which=which: counted(counts)[which]) for which in (0, 1))  # type: ignore[misc]
    values = np.divide(bad, n, out=np.full(len(n), math.nan), where=n > 0)
    return _slotted(frame, values, "no request of the steady phase counts for it")


def _per_second(rule: Drift, frame: Frame, what: Count) -> Line:
    """Return a count per second that was measured, by slot; less than half of one measured is no data."""
    sums = _sums(rule, frame, lambda counts: counts.count(what))
    lengths = np.array([slot.length for slot in frame.slots])
    measured = _measured(frame)
    arrivals = float(frame.evidence.counts(None).count(Count.ARRIVALS).sum())
    if arrivals < _DENSE * float(measured.sum()):
        measured = lengths
    # A slot begins anywhere in a second, and a window belongs to one slot.
    measured = np.where(np.abs(measured - lengths) <= 1, lengths, measured)
    values = np.divide(sums, measured, out=np.full(len(sums), math.nan), where=measured >= lengths / 2)
    return _slotted(frame, values, "no second of the steady phase was measured")


def _measured(frame: Frame) -> Floats:
    """Count the seconds of each slot in which anything was recorded."""
    windows = {(one.second, one.span): one for one in frame.evidence.of(None, STEADY)}
    spans = list(windows.values())
    found = summed(slots_of(frame.slots, spans), [one.span for one in spans], len(frame.slots))
    return np.minimum(found, [math.ceil(slot.length) for slot in frame.slots])


def _readings(rule: Drift, frame: Frame) -> Line:
    found = find_probe(frame.evidence.probes, rule.objective)
    if found is None:
        return _nothing(f"no probe of the scenario reads {rule.metric}")
    source = source_of(*found, frame.evidence)
    good = [(item.at, item.value) for item in source.good if item.value is not None]
    if not good:
        every = format_duration(source.probe.every)
        return _nothing(f"no reading of {source.name}, which is read every {every}, has a value")
    times, values = np.array(good, np.float64).T
    planned = max(source.scheduled, len(source.attempts), 1)
    return Line(times, values, len(good) / planned)


# ---- the generator's own


def control_of(rule: Drift, frame: Frame) -> Line | None:
    """Return what the generator itself has of the same quantity; None where it was not measured.

    Of a response time that is the time of its exchanges with a server that does nothing, and how late it
    began; of a service time the former; of a throughput what it offered; of an error rate the failures of
    its exchanges. A hit rate has none: the generator has no cache.
    """
    if rule.metric == "throughput":
        # Users of a closed model wait for answers: that they ask less often says nothing of the generator.
        return _per_second(rule, frame, Count.ARRIVALS) if frame.evidence.model == "open" else None
    rows = [row for row in frame.evidence.steady_fleet if row.control_n > 0]
    if not rows or rule.metric == "cache_hit_rate":
        return None
    if rule.metric == "error_rate":
        return _control_failures(frame, rows)
    times = np.array([row.second for row in rows], np.float64)
    low = (rule.objective.rank or 0) <= 5000
    own = np.array([row.control_p50_us for row in rows]) if low else _controls(rows)
    if rule.metric == "response_time" and not low:
        own = own + _start_lags(rows)
    return Line(times, own / 1e6, 1.0)


def _start_lags(rows: Sequence[FleetRow]) -> Floats:
    """Return how late the seconds about each row began at the worst, over as many seconds for all rows.

    An old row has the greatest of its seconds. A younger one of its own second alone would look better for
    its age, which is no trend.
    """
    blocks = _blocks(rows)
    worst: dict[tuple[str, int], float] = {}
    for block, row in zip(blocks, rows, strict=True):
        worst[block] = max(worst.get(block, 0.0), row.start_lag_p99_us)
    return np.array([worst[block] for block in blocks], np.float64)


def _controls(rows: Sequence[FleetRow]) -> Floats:
    """Return the control's p99 about each row; over the worst, where the control marked some of its time.

    An old row with a mark has the greatest of its seconds, and without one their mean.
    """
    blocks, worst, is_marked = _blocks(rows), dict[tuple[str, int], float](), set[tuple[str, int]]()
    for block, row in zip(blocks, rows, strict=True):
        worst[block] = max(worst.get(block, 0.0), row.control_p99_us)
        if "control" in marks_in(row):
            is_marked.add(block)
    told = [
        worst[block] if block in is_marked else row.control_p99_us
        for block, row in zip(blocks, rows, strict=True)
    ]
    return np.array(told, np.float64)


def _blocks(rows: Sequence[FleetRow]) -> list[tuple[str, int]]:
    """Return of each row its worker, and a number for as many seconds as the longest row has."""
    longest, first = max(row.span for row in rows), min(row.second for row in rows)
    return [(row.worker, (row.second - first) // longest) for row in rows]


def _control_failures(frame: Frame, rows: Sequence[FleetRow]) -> Line:
    at = np.searchsorted([slot.start for slot in frame.slots], [row.second for row in rows], "right") - 1
    at = np.maximum(at, 0)
    n = summed(at, [row.control_n for row in rows], len(frame.slots))
    bad = summed(at, [row.control_failures for row in rows], len(frame.slots))
    values = np.divide(bad, n, out=np.full(len(n), math.nan), where=n > 0)
    return _slotted(frame, values, "no exchange with the server that does nothing")
