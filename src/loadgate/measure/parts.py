"""What each window of an objective measured: evaluated once, when its rows are read or grow old.

A week of rows cannot be held in memory, and its old ones become too long for an objective's windows. So a
window is evaluated as its rows come by, and what is left of it, a `Part`, is enough to hold it against the
objective's limits: its value, its counts, and exactly how many latencies lie over each limit. The run
database keeps parts (`objective_window`) and the verdict takes them from there; both make them here.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np

from loadgate.measure.columns import Columns, Tally
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import Int64s
from loadgate.measure.levels import edges, errors, misses, over_by_histogram
from loadgate.measure.levels import latency as latency_level
from loadgate.measure.part import COARSE, NO_PARTS, Part, PartColumns, spread
from loadgate.measure.slots import Interval, boundary
from loadgate.measure.window import ENDINGS, INFINITE, Count, LatencyOn, over_key
from loadgate.plan.sla import LATENCIES, PER_ENDPOINT, Limit, Objective

STEADY: Final = "steady"
OUTCOMES: Final[Mapping[LatencyOn, tuple[str, ...]]] = {
    "adjusted": ("ok",),
    "ok": ("ok",),
    "all": ("ok", "failed", "timeout"),
}
"""The outcomes whose latencies count with their own value."""
_COUNTED: Final = tuple(
    str(name) for name in (*ENDINGS, Count.RETRIES, Count.REPEAT_HITS, Count.REPEAT_MISSES)
)


@dataclass(slots=True)
class Slot:
    """Latencies of some time: a histogram (µs), and how many more are infinite.

    `over` holds exact counts of the finite ones over the thresholds (µs) that were counted.
    """

    histogram: Histogram = field(default_factory=Histogram)
    infinite: int = 0
    over: dict[int, int] = field(default_factory=dict)


def clock_of(objective: Objective) -> Literal["response", "service"]:
    """Return which clock a row is about."""
    return "service" if objective.metric == "service_time" else "response"


def series_of_row(objective: Objective) -> tuple[str, ...]:
    """Return the series whose latencies a row is about; none for a row that only counts."""
    if objective.metric not in LATENCIES:
        return ()
    return tuple(f"{clock_of(objective)}.{outcome}" for outcome in OUTCOMES[objective.latency_on])


def thresholds(objective: Objective) -> tuple[int, ...]:
    """Return the thresholds (µs) over which a percentile's limits count; none for a maximum or a mean."""
    limits = [limit for limit in (objective.target, objective.alert) if limit is not None]
    return tuple(edge for limit in limits for edge in edges(limit)) if objective.rank is not None else ()


def definition(objective: Objective) -> str:
    """Return what tells apart the objectives whose windows hold the same numbers.

    A percentile's windows hold counts over its limits; all others can be held against any limit.
    """
    found: dict[str, Any] = {
        "metric": objective.metric,
        "endpoint": objective.endpoint,
        "statistic": objective.statistic,
        "latency_on": objective.latency_on if objective.metric in LATENCIES else None,
        "every": objective.every,
    }
    if objective.rank is not None:
        limits = (objective.target, objective.alert)
        found["limits"] = [None if limit is None else [limit.op, limit.value] for limit in limits]
    return json.dumps(found, sort_keys=True)


def is_of_requests(objective: Objective) -> bool:
    """Tell whether a row is about requests; all others are about readings of probes."""
    return objective.metric in PER_ENDPOINT


def latency_part(objective: Objective, slot: Slot) -> Part:
    """Evaluate a latency row over some time."""
    n = slot.histogram.total + slot.infinite
    if n == 0:
        return Part()
    rank = objective.rank
    value = latency_level(slot.histogram, slot.infinite, None if rank else objective.statistic, rank)
    counts = {"infinite": slot.infinite} if slot.infinite else {}
    if rank is None:
        return Part(value, n, counts=counts)
    failing = objective.alert or objective.target
    bad = over_limit(failing, slot)
    if bad is None:
        bad = over_by_histogram(slot.histogram, edges(failing)[1])
    over_alert = over_limit(objective.alert, slot) if objective.alert else None
    return Part(value, n, over_limit(objective.target, slot), over_alert, bad + slot.infinite, counts)


def over_limit(limit: Limit, slot: Slot) -> int | None:
    """Count the finite latencies over a limit; None where they were not counted."""
    return next((slot.over[edge] for edge in edges(limit) if edge in slot.over), None)


def counting_part(objective: Objective, length: float, counts: Mapping[str, int]) -> Part:
    """Evaluate a row that only counts over `length` seconds; of a throughput `counts` has the ok answers."""
    window = Tally(0, 1, "", STEADY, counts)
    if objective.metric == "throughput":
        ok = window.count(Count.OK)
        return Part(ok / length if length > 0 else None, ok)
    bad, n = misses(window) if objective.metric == "cache_hit_rate" else errors(window)
    if n == 0:
        return Part(counts=counts)
    value = (n - bad if objective.metric == "cache_hit_rate" else bad) / n
    return Part(value, n, over=bad, bad=bad, counts=counts)


def with_unfinished(text: str, part: Part, number: int) -> Part:
    """Return a window with more requests that have not ended, of an objective with this definition.

    Where they decide a percentile, its value is taken as infinite, since it cannot be told any more.
    """
    found = json.loads(text)
    if not number or found["metric"] in ("throughput", "cache_hit_rate"):
        return part
    if found["metric"] == "error_rate":
        counts = {**part.counts, "unfinished": part.counts.get("unfinished", 0) + number}
        bad, n = errors(Tally(0, 1, "", STEADY, counts))
        return replace(part, value=bad / n, n=n, over=bad, bad=bad, counts=counts)
    if found["latency_on"] != "adjusted":
        return part
    counts = {"infinite": part.infinite + number}
    return replace(part, value=math.inf, n=part.n + number, bad=part.bad + number, counts=counts)


def ok_by_slot(cut: Sequence[Interval], windows: Iterable[Tally]) -> list[int]:
    """Return the ok answers that arrived in each slot, whatever phase their request was due in.

    A window on the edge of a slot counts for the steady phase where it begins, and is left out for other
    phases.
    """
    counts = [0] * len(cut)
    for index, number in _ok_in(cut, [slot.start for slot in cut], windows):
        counts[index] += number
    return counts


def _ok_in(
    cut: Sequence[Interval], starts: Sequence[float], windows: Iterable[Tally]
) -> Iterator[tuple[int, int]]:
    for window in windows:
        index = bisect_right(starts, window.second) - 1
        begins = window.phase == STEADY
        # A steady window counts where it begins, also when its slot begins within its first second.
        if begins and index + 1 < len(cut) and math.floor(starts[index + 1]) <= window.second:
            index += 1
        if index >= 0 and window.second < cut[index].end and (begins or window.end <= cut[index].end):
            yield index, window.count(Count.OK)


@dataclass(slots=True)
class _Open:
    """A window whose rows are still coming by."""

    slot: Slot = field(default_factory=Slot)
    counts: dict[str, int] = field(default_factory=dict)
    uncounted: set[int] = field(default_factory=set)
    """The thresholds that some row did not count."""


class Parts:
    """The windows of one objective over `cut`, made of rows that come piece by piece, in order of time.

    Those with `numbers` were evaluated before, and are `known`: their rows are passed over. A row of more
    than a second, whoever merged it, that lies in several windows cannot be divided between them: those of
    them that are not known are coarse, and are never evaluated.
    """

    def __init__(
        self,
        objective: Objective,
        cut: Sequence[Interval],
        numbers: Sequence[int] | Int64s = (),
        known: PartColumns = NO_PARTS,
    ) -> None:
        self.objective = objective
        self.cut = cut
        self._numbers = np.asarray(numbers, np.int64)
        self._kept = known
        self._found: dict[int, Part] = {}
        """The windows that were evaluated here, by their number."""
        self._known = np.zeros(len(cut), np.bool_)
        self._known[self._numbers] = True
        self._starts = [slot.start for slot in cut]
        self._edges = np.array(self._starts, np.float64)
        self._open: dict[int, _Open] = {}
        self._series = series_of_row(objective)
        self._thresholds = tuple(dict.fromkeys(thresholds(objective)))
        begin = math.floor if objective.metric == "throughput" else boundary
        self._begins = np.array([*map(begin, self._starts), np.iinfo(np.int64).max], np.int64)
        self._unknown = np.concatenate([[0], np.cumsum(~self._known)])
        self._coarse = np.zeros(len(cut), np.int64)
        self._coarse[self._numbers] = known.count(COARSE)

    @property
    def coarse(self) -> int:
        """Return the seconds of the longest row that made a window coarse; 0 where none did."""
        return int(self._coarse.max(initial=0))

    def add(self, steady: Columns, others: Sequence[Tally] = ()) -> None:
        """Take in rows: those of the steady phase in order of endpoint, then of time, and those of others."""
        if not self.cut:
            return
        if self.objective.metric == "throughput":
            self._add_answers(steady, others)
            return
        first, end = 0, len(steady.tallies)
        if self.objective.endpoint is not None:
            first, end = steady.stretches.get(self.objective.endpoint, (0, 0))
        if first == end or self._knows(steady.seconds[first:end], steady.spans[first:end]):
            return
        self._look_for_coarse(steady, first, end)
        at = self._slots_of(steady, first, end)
        if not self._series:
            self._add_counts(steady, first, end, at)
            return
        changes = np.flatnonzero((np.diff(at, prepend=-1) != 0) | steady.begins[first:end])
        for low, high in pairwise([*changes.tolist(), len(at)]):
            index = int(at[low])
            if not self._known[index]:
                self._add(self._at(index), steady, first + low, first + high)

    def _add_counts(self, rows: Columns, first: int, end: int, at: Int64s) -> None:
        """Add the counts of rows first..end (end excluded) to the windows `at` that they belong to."""
        for name in _COUNTED:
            sums = np.zeros(int(at.max()) + 1, np.int64)
            np.add.at(sums, at, rows.counts.count(name)[first:end])
            for index in np.flatnonzero(sums).tolist():
                if not self._known[index]:
                    counts = self._at(index).counts
                    counts[name] = counts.get(name, 0) + int(sums[index])

    def _add_answers(self, steady: Columns, others: Sequence[Tally]) -> None:
        """Count the ok answers in the windows where they arrived, whatever phase their request was due in."""
        if not others and self._knows(steady.seconds, steady.spans):
            return
        self.look_for_coarse(steady)
        chosen = (one for one in (*steady.tallies, *others) if self._is_about(one))
        for index, number in _ok_in(self.cut, self._starts, chosen):
            if not self._known[index] and number:
                counts = self._at(index).counts
                counts["ok"] = counts.get("ok", 0) + number

    def _knows(self, seconds: Int64s, spans: Int64s) -> bool:
        """Tell whether all windows near these rows were evaluated before: nothing is asked of them."""
        if not seconds.size:
            return True
        begin, end = int(seconds.min()), int((seconds + spans).max())
        low, high = np.searchsorted(self._begins, (begin, end), "right").tolist()
        # One more on either side: rows count where they begin, or by their middle.
        first, last = max(low - 2, 0), min(high + 1, len(self.cut))
        return bool(self._unknown[last] == self._unknown[first])

    def _slots_of(self, rows: Columns, first: int, end: int) -> Int64s:
        """Return the window that each of some rows belongs to, as `measure.slots.slots_of` does."""
        middles = rows.seconds[first:end] + rows.spans[first:end] / 2
        found: Int64s = np.searchsorted(self._edges, middles, "right") - 1
        return np.maximum(found, 0)

    def slot_at(self, second: int) -> int:
        """Return the number of the window that a row of a second, or a later one, belongs to at the least."""
        return max(0, bisect_right(self._starts, second + 0.5) - 1)

    def takes(self, first: int, end: int) -> bool:
        """Tell whether the sum of the rows of seconds first..end (excluded) does as well as these rows.

        It does where all their windows were evaluated before, and where all belong to one window.
        """
        low, high = self.slot_at(first), self.slot_at(end - 1)
        if self.objective.metric == "throughput":
            # An answer counts where its second begins, or for a window that begins within it.
            low = max(0, bisect_right(self._starts, first) - 1)
            high = max(low, bisect_right(self._starts, end) - 1)
        elif low == high:
            return True
        return bool(self._known[low : high + 1].all())

    def close(self, upto: int | None = None) -> None:
        """Evaluate the windows whose number is less than `upto` (None: all): no more rows of theirs come."""
        last = len(self.cut) if upto is None else upto
        for index in [index for index in self._open if index < last]:
            self._found[index] = self._evaluated(index, self._open.pop(index))

    def all(self) -> PartColumns:
        """Return what every window of the cut measured, in order, once they are closed."""
        others = self._found | {
            index: self._evaluated(index, _Open())
            for index in np.flatnonzero(~self._known).tolist()
            if index not in self._found
        }
        coarse = np.flatnonzero(self._coarse)
        others |= {index: Part(counts={COARSE: int(self._coarse[index])}) for index in coarse.tolist()}
        numbers = np.array(list(others), np.int64)
        return spread(
            len(self.cut), [(self._numbers, self._kept), (numbers, PartColumns.of(others.values()))]
        )

    def look_for_coarse(self, rows: Columns) -> None:
        """Note the steady rows that lie in several windows, some of which were not evaluated before."""
        self._look_for_coarse(rows, 0, len(rows.tallies))

    def _look_for_coarse(self, rows: Columns, start: int, stop: int) -> None:
        if not self._unknown[-1]:
            return
        long = start + np.flatnonzero(rows.spans[start:stop] > 1)
        begin = rows.seconds[long]
        # What was before the first window belongs to it, and what is after the last one to that.
        low, last = (
            np.maximum(np.searchsorted(self._begins, at, "right") - 1, 0)
            for at in (begin, begin + rows.spans[long] - 1)
        )
        across = (last > low) & (self._unknown[last + 1] > self._unknown[low])
        for place in np.flatnonzero(across).tolist():
            row, first, end = rows.tallies[long[place]], int(low[place]), int(last[place]) + 1
            if self._is_about(row):
                part = self._coarse[first:end]
                np.maximum(part, row.span, out=part, where=~self._known[first:end])

    def _is_about(self, tally: Tally) -> bool:
        return self.objective.endpoint in (None, tally.endpoint)

    def _at(self, index: int) -> _Open:
        found = self._open.get(index)
        if found is None:
            found = self._open[index] = _Open()
        return found

    def _add(self, window: _Open, rows: Columns, first: int, end: int) -> None:
        tallies = rows.tallies[first:end]
        if self.objective.latency_on == "adjusted":
            window.slot.infinite += sum(one.count(name) for one in tallies for name in INFINITE)
        for series in self._series:
            rows.column(series, first, end).add_to(window.slot.histogram)
        for threshold in self._thresholds:
            told = [rows.over(over_key(series, threshold), first, end) for series in self._series]
            if None in told:
                window.uncounted.add(threshold)
            else:
                number = sum(sum(one) for one in told if one is not None)
                window.slot.over[threshold] = window.slot.over.get(threshold, 0) + number

    def _evaluated(self, index: int, window: _Open) -> Part:
        if self._series:
            over = {edge: n for edge, n in window.slot.over.items() if edge not in window.uncounted}
            return latency_part(self.objective, Slot(window.slot.histogram, window.slot.infinite, over))
        return counting_part(self.objective, self.cut[index].length, window.counts)
