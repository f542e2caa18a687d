"""Keep a watch database small, however long the run: pack what is old, and drop the oldest past a cap.

Packing loses nothing: a reader finds the same readings and points, to the last bit, so that every verdict and
every replay is the same before and after. What is past a cap is dropped, oldest first, and counted in the
table `dropped`, so that nobody takes what is left for all there was. A planned run does not come to a cap of
readings or points: one that would is refused before it begins.

Everything here runs inside of a transaction of the writer, and does a bounded amount of work.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from loadgate.store.values import from_json
from loadgate.store.watch_rows import (
    POINT_COLUMNS,
    Point,
    Reading,
    pack_points,
    pack_readings,
    point_of,
    unpack_points,
    unpack_readings,
)

HOUR: Final = 3600
FRESH: Final = 7200.0
"""Seconds of run time after which readings and points are packed, hour by hour."""
BLOCKS_AT_ONCE: Final = 8
"""Blocks that one step makes at most."""
MOST_READINGS: Final = 1_000_000
"""Readings of one probe that are kept: some 12 MB."""
MOST_POINTS: Final = 1_000_000
"""Points of one alert rule that are kept."""
MOST_CHANGES: Final = 4_000
"""Changes of state of one alert rule that are kept, of those older than `SETTLED`."""
MOST_NOTICES: Final = 5_000
"""Notices from which old ones are dropped, where nothing that is kept needs them."""
SETTLED: Final = 4 * 3600.0
"""Seconds after which a change has been told or given up, so that a restart need not know of it."""
DAYS_OF_SUMMARIES: Final = 3 * 86_400.0


class Dropped(NamedTuple):
    """What was dropped of one probe or rule: how many of which kind, all of them before a run time."""

    kind: str
    name: str
    n: int
    until: float


def compact(connection: sqlite3.Connection, now: float) -> bool:
    """Do one step at run time `now`; return whether there is more to do at once."""
    left = BLOCKS_AT_ONCE
    for series in (_READINGS, _POINTS):
        for name in _names(connection, series.table, series.key):
            left -= _pack(connection, series, name, now - FRESH, left)
    if left <= 0:
        return True
    _drop_blocks(connection, "probe_block", "probe", "readings", MOST_READINGS)
    _drop_blocks(connection, "alert_point_block", "rule", "points", MOST_POINTS)
    _drop_changes(connection, now - SETTLED)
    _drop_notices(connection, now)
    return False


def _names(connection: sqlite3.Connection, table: str, column: str) -> Iterator[str]:
    """Give the different values of a column that an index begins with, without reading all rows."""
    name = ""
    while True:
        row = connection.execute(
            f"SELECT {column} FROM {table} WHERE {column} > ? ORDER BY {column} LIMIT 1", (name,)
        ).fetchone()
        if row is None:
            return
        name = row[0]
        yield name


def joined_readings(old: list[Reading], new: list[Reading]) -> list[Reading]:
    """Let readings that were written late join their hour."""
    return sorted([*old, *new], key=lambda item: item.at)


def joined_points(old: list[Point], new: list[Point]) -> list[Point]:
    """Let points join their hour; one that comes again changes nothing."""
    found = {point.start: point for point in (*new, *old)}
    return [found[start] for start in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Series:
    """How the rows of one table become blocks of an hour: what a block is of is in the column `key`."""

    table: str
    key: str
    time: str
    blocks: str
    select: str
    order: str
    make: Callable[[Sequence[Any]], Any]
    pack: Callable[[Sequence[Any]], bytes]
    unpack: Callable[[str, bytes], list[Any]]
    join: Callable[[list[Any], list[Any]], list[Any]]


_READINGS: Final = _Series(
    "probe", "probe", "at", "probe_block", "at, probe, reading, value, error, took", "at, id",
    Reading._make, pack_readings, unpack_readings, joined_readings,
)  # fmt: skip
_POINTS: Final = _Series(
    "alert_point", "rule", "start", "alert_point_block", ", ".join(f'"{name}"' for name in POINT_COLUMNS),
    "start", point_of, pack_points, unpack_points, joined_points,
)  # fmt: skip


def _pack(connection: sqlite3.Connection, of: _Series, name: str, before: float, most: int) -> int:
    """Pack the oldest hours of a probe or rule that lie wholly before a run time; return how many."""
    hours = f"{of.key} = ? AND {of.time} >= ? AND {of.time} < ?"
    for done in range(max(0, most)):
        oldest = connection.execute(
            f"SELECT min({of.time}) FROM {of.table} WHERE {of.key} = ?", (name,)
        ).fetchone()[0]
        hour = math.floor(oldest / HOUR) * HOUR if oldest is not None else 0
        if oldest is None or hour + HOUR > before:
            return done
        chosen = (name, hour, hour + HOUR)
        rows = connection.execute(
            f"SELECT {of.select} FROM {of.table} WHERE {hours} ORDER BY {of.order}", chosen
        )
        found = [of.make(row) for row in rows]
        there = connection.execute(
            f"SELECT data FROM {of.blocks} WHERE {of.key} = ? AND start = ?", (name, hour)
        ).fetchone()
        if there is not None:
            found = of.join(of.unpack(name, there[0]), found)
        connection.execute(
            f"INSERT OR REPLACE INTO {of.blocks} ({of.key}, start, n, data) VALUES (?, ?, ?, ?)",
            (name, hour, len(found), of.pack(found)),
        )
        connection.execute(f"DELETE FROM {of.table} WHERE {hours}", chosen)
    return max(0, most)


def _drop_blocks(connection: sqlite3.Connection, table: str, key: str, kind: str, most: int) -> None:
    """Drop the oldest blocks of each name of which there is more than the cap."""
    over = connection.execute(
        f"SELECT {key}, sum(n) FROM {table} GROUP BY {key} HAVING sum(n) > ?", (most,)
    ).fetchall()
    for name, total in over:
        for start, n in connection.execute(
            f"SELECT start, n FROM {table} WHERE {key} = ? ORDER BY start", (name,)
        ).fetchall():
            if total <= most:
                break
            connection.execute(f"DELETE FROM {table} WHERE {key} = ? AND start = ?", (name, start))
            _count(connection, kind, name, n, start + HOUR)
            total -= n


def _drop_changes(connection: sqlite3.Connection, before: float) -> None:
    """Drop the oldest changes of each rule of which there is more than the cap, with what was done then."""
    over = connection.execute(
        "SELECT rule, count(*) FROM alert GROUP BY rule HAVING count(*) > ?", (MOST_CHANGES,)
    ).fetchall()
    for rule, total in over:
        # A tenth more than is needed, so that it is not done again each minute.
        spare = total - MOST_CHANGES + MOST_CHANGES // 10
        rows = connection.execute(
            "SELECT id, at FROM alert WHERE rule = ? AND at < ? ORDER BY id LIMIT ?", (rule, before, spare)
        ).fetchall()
        for row_id, _ in rows:
            connection.execute("DELETE FROM action WHERE alert = ?", (row_id,))
            connection.execute("DELETE FROM alert WHERE id = ?", (row_id,))
        if rows:
            _count(connection, "changes", rule, len(rows), rows[-1][1])


def _drop_notices(connection: sqlite3.Connection, now: float) -> None:
    """Drop old notices that no restart needs: of failed attempts, and of alerts that are gone themselves."""
    total = connection.execute("SELECT count(*) FROM notice").fetchone()[0]
    if total <= MOST_NOTICES:
        return
    kept = {row[0] for row in connection.execute("SELECT id FROM alert")}
    rows = connection.execute(
        "SELECT id, at, stage, receiver, detail FROM notice WHERE at < ? ORDER BY id", (now - SETTLED,)
    ).fetchall()
    for row_id, at, stage, receiver, detail in rows:
        covers = from_json(detail).get("covers", ())
        needed = any(alert in kept for alert, _ in covers)
        # The summary of a day is of no alert (0), and must not be sent again that day.
        needed |= any(alert == 0 for alert, _ in covers) and at > now - DAYS_OF_SUMMARIES
        if stage == "failed" or not needed:
            connection.execute("DELETE FROM notice WHERE id = ?", (row_id,))
            _count(connection, "notices", receiver, 1, at)


def _count(connection: sqlite3.Connection, kind: str, name: str, n: int, until: float) -> None:
    connection.execute(
        "INSERT INTO dropped (kind, name, n, until) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "n = n + excluded.n, until = max(until, excluded.until)",
        (kind, name, n, until),
    )
