"""Merge the old rows of a growing run exactly, a little at a time, so that a week takes a bounded disk.

Each step merges at most a minute of run time, in a transaction of its own: the windows and fleet rows of
those seconds become rows of ten seconds, later of a minute, and what they are for (objectives' own windows)
is evaluated and kept first, in the same transaction. Nothing is lost by it but the moment within a row:
counts, histograms, exact numbers and marks of a loss are those of its seconds. What a late delta brings to a
time that was merged goes into the row that covers it.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from loadgate.measure.columns import Columns, Encoded
from loadgate.measure.packed import Head
from loadgate.measure.parts import STEADY
from loadgate.measure.window import Window, windows_merged
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.store.blocks import COARSE, MIDDLE, Block, Blocks, Horizon
from loadgate.store.fleet_ledger import LONGEST_ROW, FleetLedger, LedgerRow
from loadgate.store.fleet_rows import merge_fleet
from loadgate.store.objective_table import ObjectiveTable
from loadgate.store.rows import WINDOW_COLUMNS, encoded_histograms, row_of, tally_of
from loadgate.store.totals import Totals
from loadgate.store.values import read_value

COMPACTED: Final = "compacted"
"""The value of the `run` table that says up to which second rows are merged."""
_MOST_ROWS: Final = 240
"""Rows from which a step takes ten seconds of them, not a minute."""

_SELECT = (
    f"SELECT rowid, revision, {', '.join(WINDOW_COLUMNS)}, loss FROM window "
    "WHERE second >= ? AND second < ? ORDER BY phase <> 'steady', endpoint, phase, second, span"
)
_REACHING = (
    f"SELECT {', '.join(WINDOW_COLUMNS)}, loss FROM window WHERE second > ? AND second < ? "
    f"AND span > 1 AND second + span > ? AND phase = '{STEADY}'"
)
_INSERT = (
    f"INSERT INTO window ({', '.join(WINDOW_COLUMNS)}, revision, loss) "
    f"VALUES ({', '.join('?' * (len(WINDOW_COLUMNS) + 2))})"
)
_LOSSES = (
    f"SELECT second, second + span FROM ledger WHERE second > ? - {LONGEST_ROW} AND second < ? "
    "AND (lost > 0 OR unoffered > 0)"
)


class Compaction:
    """How far the rows of a run are merged, inside the writer's transactions.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        found = read_value(connection, COMPACTED) or {}
        self.middle: int | None = found.get("middle")
        """The second before which rows are of ten seconds at least; None where none are."""
        self.coarse: int | None = found.get("coarse")
        self.refused: str = ""
        """Why nothing is merged; empty where nothing is in the way."""
        self._blocks: Blocks | None = None
        self._objectives = ObjectiveTable(connection)
        self._ledger = FleetLedger(connection)
        self._totals = Totals(connection)
        (self._longest,) = connection.execute("SELECT coalesce(max(span), 1) FROM window").fetchone()
        if self.middle is not None:
            self._plan()

    # ---- what comes late

    def place(self, second: int, span: int) -> tuple[int, int] | None:
        """Return the second and span of the row that covers a time which was merged; None where none does."""
        if self.middle is None or self._blocks is None or second >= self.middle:
            return None
        coarse = self.coarse is not None and second < self.coarse
        block = self._blocks.holds(second, second + span, COARSE if coarse else MIDDLE)
        return None if block is None else (block.first, block.end - block.first)

    def note_late(self, heads: Iterable[Head]) -> None:
        """Note what came of a time whose objectives' windows were evaluated before, or that was summed."""
        heads = list(heads)
        self._longest = max([self._longest, *(head.span for head in heads)])
        if self.middle is None:
            return
        late = [head for head in heads if head.second < self.middle]
        self._objectives.note_late(late)
        for first, end in {(head.second, head.end) for head in late if head.phase == STEADY}:
            # The row that it went into may be longer.
            self._totals.note(*self._covering(first, end))

    def note_ledger(self, rows: Iterable[LedgerRow]) -> None:
        """Note what the ledger says anew of a time that was summed: the marks of a loss may change."""
        for row in rows:
            self._totals.note(row.second, row.second + row.span)

    def _covering(self, first: int, end: int) -> tuple[int, int]:
        found = self.place(first, end - first)
        return (first, end) if found is None else (found[0], sum(found))

    # ---- a step

    def step(self, now: float, horizon: Horizon) -> dict[str, int] | None:
        """Merge the next rows that are old enough at run time `now`; return how far it went, None if nowhere.

        What is returned is the new value of COMPACTED, for the writer to store.
        """
        if self._blocks is None and not self._begin():
            return None
        assert self._blocks is not None
        if self.middle is None or self.coarse is None:
            return None
        limit = math.floor(now) - horizon.full
        end = self._end_of_step(self.middle, limit)
        if end is not None:
            self._merge(self.middle, end, MIDDLE)
            self.middle = end
            return {"middle": self.middle, "coarse": self.coarse}
        if self._totals.step(self._blocks, self.coarse, self.middle):
            return {"middle": self.middle, "coarse": self.coarse}
        block = self._blocks.block(self.coarse, COARSE)
        if block.end <= min(math.floor(now) - horizon.middle, self.middle):
            self._merge(self.coarse, block.end, COARSE)
            self.coarse = block.end
            return {"middle": self.middle, "coarse": self.coarse}
        return None

    def _end_of_step(self, start: int, limit: int) -> int | None:
        """Return up to which second the next step goes; None where the rows are not old enough yet."""
        assert self._blocks is not None
        block = self._blocks.block(start, COARSE)
        if block.end > limit:
            return None
        (rows,) = self._connection.execute(
            "SELECT count(*) FROM window WHERE second >= ? AND second < ?", (start, block.end)
        ).fetchone()
        end = block.end if rows <= _MOST_ROWS else self._blocks.block(start, MIDDLE).end
        return end if self._objectives.needs(end) <= limit else None

    def _begin(self) -> bool:
        """Find out where rows begin; False while there are none, or where the plan cannot be read."""
        (first,) = self._connection.execute(
            "SELECT min(at) FROM (SELECT min(second) AS at FROM window "
            "UNION ALL SELECT min(second) FROM fleet UNION ALL SELECT min(second) FROM ledger)"
        ).fetchone()
        if first is None or not self._plan():
            return False
        assert self._blocks is not None
        start = self._blocks.block(first, COARSE).first
        self.middle, self.coarse = start, start
        return True

    def _plan(self) -> bool:
        """Read which times belong together from the plan that the verdict reads too."""
        stored = read_value(self._connection, "plan")
        if stored is None:
            # All of it is steady, from the first second that a worker told of.
            (first,) = self._connection.execute("SELECT min(second) FROM fleet").fetchone()
            self._blocks = Blocks(origin=max(0, first or 0))
            return True
        try:
            plan = Plan.from_json(orjson.dumps(stored))
            steady = plan.timeline.steady
        except PlanError as error:
            self.refused = error.message
            return False
        self._blocks = Blocks(steady)
        self._objectives = ObjectiveTable(self._connection, plan.objectives, steady)
        return True

    def _merge(self, start: int, end: int, span: int) -> None:
        """Merge the rows of start <= second < end into blocks of `span` seconds."""
        assert self._blocks is not None
        until = max(end, self._objectives.needs(end)) if span == MIDDLE else end
        rows = self._connection.execute(_SELECT, (start, until)).fetchall()
        encoded = Encoded()
        for row in rows:
            encoded.tallies.append(tally_of(row[2:]))
            encoded.histograms.append(encoded_histograms(row[-2]))
        columns = Columns.decoded([encoded])
        if span == MIDDLE:
            steady = sum(one.phase == STEADY for one in columns.tallies)
            # A row that a worker merged itself may be longer than what is merged at a time.
            earlier = self._connection.execute(_REACHING, (start - self._longest, start, start))
            self._objectives.keep(
                end, columns.upto(steady), columns.tallies[steady:], [tally_of(row) for row in earlier]
            )
        self._merge_windows(columns, [row[:2] for row in rows], end, span)
        merge_fleet(self._connection, self._blocks, start, end, span)
        self._ledger.merge(start, end)

    def _merge_windows(self, columns: Columns, marks: list[Any], end: int, span: int) -> None:
        """Write the merged rows in the place of those that they are made of.

        A merged row has the revision of its newest part, so that who follows the run does not take it for
        something new.
        """
        assert self._blocks is not None
        groups: dict[tuple[str, str, Block], list[int]] = {}
        for number, one in enumerate(columns.tallies):
            block = self._blocks.holds(one.second, one.end, span) if one.second < end else None
            if block is not None:
                groups.setdefault((one.endpoint, one.phase, block), []).append(number)
        fresh, gone = [], []
        for (_, _, block), numbers in groups.items():
            if len(numbers) == 1 and columns.tallies[numbers[0]].span == block.end - block.first:
                continue
            window = _total(columns, numbers)
            window.second, window.span = block.first, block.end - block.first
            newest = max(marks[number][1] for number in numbers)
            fresh.append((*row_of(window), newest, int(window.loss or self._has_loss(block))))
            gone += [(marks[number][0],) for number in numbers]
        self._connection.executemany("DELETE FROM window WHERE rowid = ?", gone)
        self._connection.executemany(_INSERT, fresh)

    def _has_loss(self, block: Block) -> bool:
        found = self._connection.execute(_LOSSES, block)
        return any(first < block.end and end > block.first for first, end in found)


def _total(columns: Columns, numbers: Sequence[int]) -> Window:
    """Merge the windows with these numbers, which increase: mostly they lie side by side."""
    first, last = numbers[0], numbers[-1] + 1
    if last - first == len(numbers):
        return columns.total(first, last)
    return windows_merged(columns.total(number, number + 1) for number in numbers)


def compacted_of(value: Mapping[str, int] | None) -> int | None:
    """Return the second before which rows are merged, from the stored value; None where none are."""
    return None if not value else int(value["middle"])
