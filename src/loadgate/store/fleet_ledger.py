"""Keep the fleet ledger: what the master knew of its workers in each second, and the windows it taints.

A window is marked with `loss` exactly where the ledger says that a worker was lost, or that arrivals went
to nobody, in one of its seconds: whichever of the two came first, and as the ledger stands last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from typing import Final

from loadgate.errors import StoreError

LONGEST_ROW: Final = 60
"""Seconds of the longest row."""
_LONGEST: Final = {"longest_row": LONGEST_ROW}

_LOSS = "(ledger.lost > 0 OR ledger.unoffered > 0)"
# Turns the marks that are not as the ledger has them, and leaves all other rows alone.
_MARK = (
    "UPDATE window SET loss = 1 - loss, revision = :revision WHERE {chosen} AND loss <> EXISTS ("
    "SELECT 1 FROM ledger WHERE ledger.second > window.second - :longest_row "
    "AND ledger.second + ledger.span > window.second "
    f"AND ledger.second < window.second + window.span AND {_LOSS})"
)
_MARK_CHANGED = _MARK.format(chosen="revision = :revision")
# The lower limit is what lets the table's key find the few rows; windows may be longer than a second.
_MARK_AT = _MARK.format(
    chosen="second > :second - :longest AND second <= :second AND second + span > :second"
)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the master knew of the fleet in one second of run time.

    `expected`, `reporting`, `late` and `lost` are workers; `unoffered` are arrivals of the schedule that
    no worker was to offer, because their share was between two workers. Raise StoreError for a negative
    one of these.
    """

    second: int
    expected: int
    reporting: int
    late: int
    lost: int
    unoffered: int
    span: int = 1
    """Seconds from `second` on for which all of it holds: equal rows of old seconds are merged."""

    def __post_init__(self) -> None:
        for name in _FIELDS[1:-1]:
            if getattr(self, name) < 0:
                raise StoreError(f"the fleet ledger has a negative number of {name} at second {self.second}")

    @property
    def loss(self) -> bool:
        """Tell whether something of this second's load is missing."""
        return self.lost > 0 or self.unoffered > 0


_FIELDS = tuple(one.name for one in fields(LedgerRow))
LEDGER_SELECT = f"SELECT {', '.join(_FIELDS)} FROM ledger"
# The master corrects what it knew of workers as it learns more; what was once offered by nobody stays so.
_UPSERT = (
    f"INSERT INTO ledger ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))}) "
    "ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _FIELDS[1:-2])
    + ", unoffered = max(unoffered, excluded.unoffered)"
)


class FleetLedger:
    """The `ledger` table and the marks of `window` inside the writer's transactions; holds no state."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def store(self, rows: Iterable[LedgerRow], revision: int, longest: int) -> None:
        """Write rows, then mark the windows of their seconds and those that this revision wrote.

        Call it after the windows of the commit were written; `longest` is the span in seconds of the
        longest window of the database.
        """
        for row in rows:
            self._split(row.second)
            before = self._has_loss(row.second)
            self._connection.execute(_UPSERT, astuple(row))
            if self._has_loss(row.second) != before:
                at = {"second": row.second, "longest": longest}
                self._connection.execute(_MARK_AT, {**_LONGEST, "revision": revision, **at})
        self._connection.execute(_MARK_CHANGED, {**_LONGEST, "revision": revision})

    def merge(self, start: int, end: int) -> None:
        """Merge rows on end that say the same of start <= second < end, at most `LONGEST_ROW` seconds.

        Nothing of what they say changes. Unoffered arrivals are told by the second, so such rows stay.
        """
        kept: list[LedgerRow] = []
        found = self._connection.execute(
            f"{LEDGER_SELECT} WHERE second >= ? AND second < ? ORDER BY second", (start, end)
        ).fetchall()
        for row in (LedgerRow(*values) for values in found):
            last = kept[-1] if kept else None
            if (
                last is not None
                and last.second + last.span == row.second
                and not last.unoffered
                and replace(row, second=last.second, span=last.span) == last
            ):
                kept[-1] = replace(last, span=last.span + row.span)
            else:
                kept.append(row)
        if len(kept) < len(found):
            self._connection.execute("DELETE FROM ledger WHERE second >= ? AND second < ?", (start, end))
            self._connection.executemany(_UPSERT, [astuple(row) for row in kept])

    def _split(self, second: int) -> None:
        """Give a second that was merged into a longer row a row of its own again."""
        found = self._connection.execute(
            f"{LEDGER_SELECT} WHERE second > ? AND second <= ? AND span > 1 AND second + span > ?",
            (second - LONGEST_ROW, second, second),
        ).fetchone()
        if found is None:
            return
        row = LedgerRow(*found)
        self._connection.execute("DELETE FROM ledger WHERE second = ?", (row.second,))
        for first, end in ((row.second, second), (second, second + 1), (second + 1, row.second + row.span)):
            if end > first:
                self._connection.execute(_UPSERT, astuple(replace(row, second=first, span=end - first)))

    def _has_loss(self, second: int) -> bool:
        found = self._connection.execute(f"SELECT {_LOSS} FROM ledger WHERE second = ?", (second,)).fetchone()
        return found is not None and bool(found[0])
