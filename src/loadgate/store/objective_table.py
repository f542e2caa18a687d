"""Keep what each objective's windows measured, before the seconds they are made of are merged.

The windows are those that the verdict judges (`measure.parts`, `measure.slots`); they are evaluated in the
transaction that merges the first of their seconds. What a late delta adds to a time that was evaluated cannot
be put into a percentile any more, so it is counted in `late`, and the verdict says so.
"""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from loadgate.errors import StoreError
from loadgate.measure.columns import Columns, Tally
from loadgate.measure.layout import Floats, Int64s
from loadgate.measure.packed import Head
from loadgate.measure.part import NO_COUNTS, Part, PartColumns
from loadgate.measure.parts import STEADY, Parts, definition, is_of_requests
from loadgate.measure.slots import Interval, boundary, slots
from loadgate.measure.window import ENDINGS
from loadgate.plan.sla import Objective
from loadgate.store.blocks import TOTAL
from loadgate.store.values import to_json

AFTER: Final = 600
"""Seconds after the end of a steady interval in which its last answers come."""
PART_COLUMNS: Final = ("value", "n", '"over"', "over_alert", "bad", "counts", "late")
_INSERT = (
    f"INSERT OR REPLACE INTO objective_window (objective, start, span, {', '.join(PART_COLUMNS)}) "
    f"VALUES ({', '.join('?' * (3 + len(PART_COLUMNS)))})"
)


@dataclass(slots=True)
class _Kept:
    """One objective, all its windows, and how many of them are evaluated."""

    id: int
    objective: Objective
    cut: Sequence[Interval]
    kept: int

    def settled_at(self, index: int) -> int:
        """Return the first second of which nothing belongs to a window."""
        after = boundary(self.cut[index].end) + AFTER
        return min(after, self._begin(self.cut[index + 1])) if index + 1 < len(self.cut) else after

    def _begin(self, slot: Interval) -> int:
        """Return the first second of which something belongs to a window."""
        return math.floor(slot.start) if self.objective.metric == "throughput" else boundary(slot.start)

    def last_before(self, second: int) -> int:
        """Return the number of the last window that begins before a second; -1 where none does."""
        found = bisect_right(self.cut, second - 1, key=self._begin) - 1
        # The second in which the steady phase begins is the first window's, whatever its middle.
        return 0 if found < 0 and self.cut and math.floor(self.cut[0].start) < second else found


class ObjectiveTable:
    """The tables `objective` and `objective_window` inside the writer's transactions.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        objectives: Iterable[Objective] = (),
        steady: Iterable[tuple[float, float]] = (),
    ) -> None:
        self._connection = connection
        intervals = [Interval(*part) for part in steady]
        known = {
            text: (number, kept)
            for number, text, kept in connection.execute("SELECT id, definition, kept FROM objective")
        }
        self._rows: dict[str, _Kept] = {}
        for row in objectives:
            text = definition(row)
            if needs_keeping(row) and text not in self._rows:
                number, kept = known.get(text, (0, 0))
                self._rows[text] = _Kept(number, row, slots(intervals, row.every), kept)

    def needs(self, end: int) -> int:
        """Return up to which second rows must be complete before those before `end` can be merged."""
        return max(
            (
                row.settled_at(index)
                for row in self._rows.values()
                if (index := row.last_before(end)) >= row.kept
            ),
            default=end,
        )

    def keep(self, end: int, steady: Columns, others: Sequence[Tally], earlier: Sequence[Tally] = ()) -> None:
        """Evaluate each window that begins before `end`; the rows are all of those that were not merged yet.

        They reach as far as `needs` says. `steady` are in order of endpoint, then of time. `earlier` are the
        steady rows that begin before these and reach into their time. A window that shares a row with another
        is kept as coarse, since nobody can tell what it measured; one without any row is kept as well, so
        that there are as many as the objective says.
        """
        for text, row in self._rows.items():
            last = row.last_before(end)
            if last < row.kept:
                continue
            # A neighbour on either side takes the rows that are not of these windows.
            first = max(row.kept - 1, 0)
            cut = row.cut[first : last + 2]
            away = [at for at in (row.kept - 1 - first, last + 1 - first) if 0 <= at < len(cut)]
            parts = Parts(row.objective, cut, away, PartColumns.of([Part()] * len(away)))
            parts.look_for_coarse(Columns([*earlier], {}))
            parts.add(steady, others)
            parts.close()
            self._store(text, row, last + 1, first, parts)

    def _store(self, text: str, row: _Kept, upto: int, first: int, parts: Parts) -> None:
        if not row.id:
            cursor = self._connection.execute(
                "INSERT INTO objective (name, definition, kept) VALUES (?, ?, 0)", (row.objective.name, text)
            )
            row.id = int(cursor.lastrowid or 0)
        found = enumerate(parts.all(), first)
        self._connection.executemany(
            _INSERT,
            [
                (row.id, row.cut[index].start, row.cut[index].length, *part_values(part))
                for index, part in found
                if row.kept <= index < upto
            ],
        )
        row.kept = upto
        self._connection.execute("UPDATE objective SET kept = ? WHERE id = ?", (upto, row.id))

    def note_late(self, heads: Iterable[Head]) -> None:
        """Count the requests of windows that came after an objective's window of their time was evaluated."""
        rows = [row for row in self._rows.values() if row.kept]
        newest = max((row.cut[row.kept - 1].end for row in rows), default=float("-inf"))
        for head in heads:
            if head.second >= newest:
                continue
            number = sum(head.counts.get(name, 0) for name in ENDINGS)
            for row in rows:
                about = row.objective.endpoint in (None, head.endpoint)
                if number and about and (head.phase == STEADY or row.objective.metric == "throughput"):
                    self._count_late(row, head, number)

    def _count_late(self, row: _Kept, head: Head, number: int) -> None:
        middle = head.second + head.span / 2
        index = max(0, bisect_right(row.cut, middle, key=lambda slot: slot.start) - 1)
        if index >= row.kept and head.span > 1 and head.second < row.cut[row.kept - 1].end:
            # Part of a long row is of a window that was evaluated without it.
            index = row.kept - 1
        if index >= row.kept:
            return
        slot = row.cut[index]
        found = self._connection.execute(
            "UPDATE objective_window SET late = late + ? WHERE objective = ? AND start = ?",
            (number, row.id, slot.start),
        )
        if not found.rowcount:
            values = part_values(Part(late=number))
            self._connection.execute(_INSERT, (row.id, slot.start, slot.length, *values))


def needs_keeping(objective: Objective) -> bool:
    """Tell whether an objective's windows must be kept: totals of ten minutes show such windows exactly."""
    # An answer counts for throughput where its window begins, which a fraction of a second may move.
    return is_of_requests(objective) and (objective.every % TOTAL != 0 or objective.metric == "throughput")


def part_values(part: Part) -> tuple[object, ...]:
    """Return the values of a part's row, in the order of PART_COLUMNS."""
    counts = to_json({str(name): n for name, n in sorted(part.counts.items()) if n})
    return (part.value, part.n, part.over, part.over_alert, part.bad, counts, part.late)


@lru_cache(maxsize=4096)
def _counts_of(text: str) -> Mapping[str, int]:
    """Read counts that `part_values` wrote; StoreError for anything else. A week has some 100,000 of them."""
    if text == "{}":
        return NO_COUNTS
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not all(type(n) is int for n in found.values()):
        raise StoreError("the counts of a kept window are damaged", hint="use a copy of the run")
    return MappingProxyType(found)


class KeptParts(NamedTuple):
    """The windows of an objective that were kept: how many were evaluated, and those, in order of time."""

    evaluated: int
    starts: Floats
    spans: Floats
    parts: PartColumns


NOT_KEPT: Final = KeptParts(0, np.zeros(0), np.zeros(0), PartColumns.of(()))


def kept_parts(evaluated: int, rows: Sequence[Sequence[Any]]) -> KeptParts:
    """Make the windows of rows of `start`, `span` and PART_COLUMNS, in order of `start`.

    StoreError for counts that `part_values` did not write. The database holds no NaN: NULL becomes one.
    """
    if not rows:
        return KeptParts(evaluated, *NOT_KEPT[1:])
    *numbers, counts, late = zip(*rows, strict=True)
    starts, spans, values = (np.array(column, np.float64) for column in numbers[:3])
    n, overs, over_alerts, bad = (_counted(column) for column in numbers[3:])
    parts = PartColumns(
        values, n, overs, over_alerts, bad, _counted(late), [_counts_of(text) for text in counts]
    )
    return KeptParts(evaluated, starts, spans, parts)


def _counted(column: Sequence[int | None]) -> Int64s:
    """Return a column of counts, which are less than 2^53; -1 where there is none."""
    numbers = np.array(column, np.float64)
    return np.where(np.isnan(numbers), -1, numbers).astype(np.int64)
