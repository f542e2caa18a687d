"""Keep what the steady rows of each ten minutes come to, so that a week is judged in seconds.

A verdict asks for the total of each endpoint and for how much it varies, a report for the points of its
charts; decoding each row of a week for that is most of what they cost. So once ten minutes are merged, the
exact sum of their rows is kept beside them. A block whose rows change afterwards is `stale` in the same
transaction, and read from its rows until its total was made anew. One with a row that reaches over its edge
has `none`.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from loadgate.measure.columns import Columns, Encoded
from loadgate.measure.parts import STEADY
from loadgate.measure.window import Series
from loadgate.store.blocks import TOTAL, Block, Blocks
from loadgate.store.rows import WINDOW_COLUMNS, encoded_histograms, row_of, tally_of

TOTALLED: Final = frozenset(map(str, Series)) - {Series.CONNECT}
"""The series of a total: those that a verdict or a report asks for."""
_MOST_ROWS: Final = 240
"""Rows that one step reads at the most, but for those of one endpoint."""
_LONGEST_ROW: Final = 3600
_OF_BLOCK: Final = f"FROM window WHERE phase = '{STEADY}' AND second >= ? AND second < ?"
_INSERT: Final = (
    f"INSERT INTO window_total ({', '.join(WINDOW_COLUMNS)}, loss) "
    f"VALUES ({', '.join('?' * (len(WINDOW_COLUMNS) + 1))})"
)


class Totals:
    """The tables `total_block` and `window_total` inside the writer's transactions.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (upto,) = connection.execute("SELECT max(second + span) FROM total_block").fetchone()
        self.upto: int | None = upto
        """The second before which blocks are known; None where none is."""
        rows = connection.execute("SELECT second, span FROM total_block WHERE state = 'stale'")
        self._stale = {first: Block(first, first + span) for first, span in rows}

    def note(self, first: int, end: int) -> None:
        """Note that something of the seconds first <= second < end changed."""
        if self.upto is None or first >= self.upto:
            return
        found = self._connection.execute(
            "SELECT second, span FROM total_block WHERE second < ? AND second + span > ?", (end, first)
        ).fetchall()
        for second, span in found:
            self._connection.execute("UPDATE total_block SET state = 'stale' WHERE second = ?", (second,))
            self._connection.execute("DELETE FROM window_total WHERE second = ?", (second,))
            self._stale[second] = Block(second, second + span)

    def step(self, blocks: Blocks, start: int, middle: int) -> bool:
        """Sum some rows of the next block that ends by second `middle`; say whether there was one.

        `start` is where the first block is looked for.
        """
        if not self._stale:
            block = blocks.block(start if self.upto is None else self.upto, TOTAL)
            if block.end > middle:
                return False
            self._connection.execute(
                "INSERT INTO total_block VALUES (?, ?, 'stale')", _second_and_span(block)
            )
            self._stale[block.first] = block
            self.upto = block.end
        self._go_on(self._stale[min(self._stale)])
        return True

    def _go_on(self, block: Block) -> None:
        """Sum the rows of some more endpoints of a block; the last ones make it whole."""
        if self._has_overlap(block):
            self._connection.execute("DELETE FROM window_total WHERE second = ?", (block.first,))
            self._finish(block, "none")
            return
        left = self._connection.execute(
            f"SELECT endpoint, count(*) {_OF_BLOCK} AND endpoint NOT IN "
            "(SELECT endpoint FROM window_total WHERE second = ?) GROUP BY endpoint ORDER BY endpoint",
            (*block, block.first),
        ).fetchall()
        rows = 0
        for number, (endpoint, count) in enumerate(left):
            if number and rows + count > _MOST_ROWS:
                return
            rows += count
            self._sum(block, endpoint)
        self._finish(block, "whole")

    def _finish(self, block: Block, state: str) -> None:
        self._connection.execute("UPDATE total_block SET state = ? WHERE second = ?", (state, block.first))
        del self._stale[block.first]

    def _has_overlap(self, block: Block) -> bool:
        """Tell whether some row of the steady phase lies across an edge of a block."""
        return (
            self._connection.execute(
                "SELECT 1 FROM window WHERE phase = ? AND second > ? AND second < ? AND second + span > ? "
                "AND (second < ? OR second + span > ?) LIMIT 1",
                (STEADY, block.first - _LONGEST_ROW, block.end, block.first, block.first, block.end),
            ).fetchone()
            is not None
        )

    def _sum(self, block: Block, endpoint: str) -> None:
        encoded = Encoded()
        for row in self._connection.execute(
            f"SELECT {', '.join(WINDOW_COLUMNS)}, loss {_OF_BLOCK} AND endpoint = ?", (*block, endpoint)
        ):
            encoded.tallies.append(tally_of(row, TOTALLED))
            encoded.histograms.append(encoded_histograms(row[-2], TOTALLED))
        whole = Columns.decoded([encoded]).total()
        whole.second, whole.span = _second_and_span(block)
        self._connection.execute(_INSERT, (*row_of(whole), int(whole.loss)))


def _second_and_span(block: Block) -> tuple[int, int]:
    return block.first, block.end - block.first
