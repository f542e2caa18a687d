"""What one window of an objective measured, and what many of them did, by columns.

A week has 20,000 windows of each objective. As objects those of twenty objectives would take more memory
than all else that a verdict holds. So they lie in arrays, and one becomes an object when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from loadgate.measure.layout import Floats, Int64s

COARSE: Final = "coarse"
"""The count of a `Part` that was not evaluated: seconds of the merged row that lies in it and in another."""
NO_COUNTS: Final[Mapping[str, int]] = MappingProxyType({})
"""The counts of a window that has none, shared by all of them."""
_UNCOUNTED: Final = -1
"""What stands in a column for a number that was not counted."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one window of an objective measured; `value` is in SI units, None without samples.

    `over` and `over_alert` are the finite latencies over the target and over the alert threshold, None
    where they were not counted; `infinite` ones are past both. `bad` are all requests on the wrong side of
    the limit that fails the row. `counts` are those of the requests, for what is judged by counting. `late`
    requests came only after the window had been evaluated, and are in nothing else of it.
    """

    value: float | None = None
    n: int = 0
    over: int | None = None
    over_alert: int | None = None
    bad: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    late: int = 0

    @property
    def infinite(self) -> int:
        """Return the latencies that count as infinitely slow."""
        return self.counts.get("infinite", 0)

    @property
    def coarse(self) -> int:
        """Return the seconds of a merged row for which nobody can tell what this window measured; else 0."""
        return self.counts.get(COARSE, 0)


@dataclass(frozen=True, slots=True, eq=False)
class PartColumns:
    """The windows of an objective, in order, each field of `Part` as an array; nobody writes to them.

    `values` is NaN without samples, `overs` and `over_alerts` are -1 where nothing was counted.
    """

    values: Floats
    n: Int64s
    overs: Int64s
    over_alerts: Int64s
    bad: Int64s
    late: Int64s
    counts: Sequence[Mapping[str, int]]

    @classmethod
    def of(cls, parts: Iterable[Part]) -> PartColumns:
        """Return the columns of some windows."""
        if isinstance(parts, PartColumns):
            return parts
        known = list(parts)
        return cls(
            np.array([math.nan if one.value is None else one.value for one in known], np.float64),
            np.array([one.n for one in known], np.int64),
            np.array([_UNCOUNTED if one.over is None else one.over for one in known], np.int64),
            np.array([_UNCOUNTED if one.over_alert is None else one.over_alert for one in known], np.int64),
            np.array([one.bad for one in known], np.int64),
            np.array([one.late for one in known], np.int64),
            [one.counts or NO_COUNTS for one in known],
        )

    def count(self, name: str) -> Int64s:
        """Return one of the counts of each window."""
        return np.fromiter((one.get(name, 0) for one in self.counts), np.int64, len(self.counts))

    def chosen(self, numbers: Int64s) -> PartColumns:
        """Return the windows with these numbers."""
        return PartColumns(
            self.values[numbers],
            self.n[numbers],
            self.overs[numbers],
            self.over_alerts[numbers],
            self.bad[numbers],
            self.late[numbers],
            [self.counts[number] for number in numbers.tolist()],
        )

    def with_others(self, others: Mapping[int, Part]) -> PartColumns:
        """Return these windows with some, by their number, in the place of theirs."""
        if not others:
            return self
        numbers, found = np.array(list(others), np.int64), PartColumns.of(others.values())
        return spread(len(self), [(np.arange(len(self)), self), (numbers, found)])

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> Part:
        value, over, over_alert = self.values[index], self.overs[index], self.over_alerts[index]
        return Part(
            None if math.isnan(value) else float(value),
            int(self.n[index]),
            None if over == _UNCOUNTED else int(over),
            None if over_alert == _UNCOUNTED else int(over_alert),
            int(self.bad[index]),
            self.counts[index],
            int(self.late[index]),
        )

    def __iter__(self) -> Iterator[Part]:
        return (self[number] for number in range(len(self)))


def spread(length: int, groups: Iterable[tuple[Int64s, PartColumns]]) -> PartColumns:
    """Return `length` windows: each group at its numbers, later ones over earlier; the rest are empty."""
    values, n = np.full(length, math.nan), np.zeros(length, np.int64)
    overs, over_alerts = np.full(length, _UNCOUNTED, np.int64), np.full(length, _UNCOUNTED, np.int64)
    bad, late = np.zeros(length, np.int64), np.zeros(length, np.int64)
    counts = [NO_COUNTS] * length
    for numbers, group in groups:
        values[numbers], n[numbers], bad[numbers], late[numbers] = (
            group.values,
            group.n,
            group.bad,
            group.late,
        )
        overs[numbers], over_alerts[numbers] = group.overs, group.over_alerts
        for number, known in zip(numbers.tolist(), group.counts, strict=True):
            counts[number] = known
    return PartColumns(values, n, overs, over_alerts, bad, late, counts)


NO_PARTS: Final = PartColumns.of(())
