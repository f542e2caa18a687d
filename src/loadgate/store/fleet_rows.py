"""Fleet rows in the run database: several of one second, and old ones that are merged into longer rows.

What adds up is added, what is a state is the last one, what is a limit of health is the worst one; of CPU and
the control's latency the mean over the seconds stays, because a trend or a share is read from it; but where
the control marked a second, its p99 is the worst one, for a mean would hide what the mark is about. What each
second said of itself is not lost: `told` and `marks` keep it by the second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from loadgate.measure.delta import FleetRow
from loadgate.measure.marks import KINDS, marks_in
from loadgate.store.blocks import Block, Blocks
from loadgate.store.values import from_json, to_json

FLEET_COLUMNS: Final = tuple(one.name for one in fields(FleetRow))
FLEET_SELECT: Final = f"SELECT {', '.join(FLEET_COLUMNS)} FROM fleet"
_LAST: Final = ("in_flight", "users", "fds_limit", "ports_limit", "cpu_allowed")
_SUM: Final = ("throttled_us", "control_n", "control_failures")
_PER_SECOND: Final = ("cpu",)
_PER_ANSWER: Final = ("control_p50_us", "control_p99_us")
_KEY: Final = ("second", "worker", "span", "told", "marks")
_MOST: Final = tuple(
    name
    for name in FLEET_COLUMNS
    if name not in (*_LAST, *_SUM, *_PER_SECOND, *_PER_ANSWER, *_KEY, "clock_offset_us")
)
_INSERT = (
    f"INSERT INTO fleet (incarnation, {', '.join(FLEET_COLUMNS)}) "
    f"VALUES ({', '.join('?' * (1 + len(FLEET_COLUMNS)))})"
)


def fleet_row_of(values: Sequence[Any]) -> FleetRow:
    """Make a row of its values, in the order of FLEET_COLUMNS."""
    *most, marks = values
    return replace(FleetRow(*most), marks=_marks_of(marks)) if marks else FleetRow(*most)


def _marks_of(text: str) -> tuple[tuple[str, int], ...]:
    return tuple((str(kind), int(bits)) for kind, bits in from_json(text).items())


def _values_of(row: FleetRow) -> tuple[Any, ...]:
    found = [getattr(row, name) for name in FLEET_COLUMNS[:-1]]
    return (*found, to_json(dict(row.marks)) if row.marks else "")


def merged_rows(rows: Sequence[FleetRow], block: Block) -> FleetRow:
    """Merge at least one row of one start of a worker, in order of time, into one row of a block."""
    last, seconds = rows[-1], sum(row.seconds for row in rows)
    answers = [max(row.control_n - row.control_failures, 0) for row in rows]
    values: dict[str, Any] = {name: max(getattr(row, name) for row in rows) for name in _MOST}
    values |= {name: getattr(last, name) for name in _LAST}
    values |= {name: sum(getattr(row, name) for row in rows) for name in _SUM}
    for name in _PER_SECOND:
        values[name] = sum(getattr(row, name) * row.seconds for row in rows) / max(seconds, 1)
    for name in _PER_ANSWER:
        weighted = sum(getattr(row, name) * n for row, n in zip(rows, answers, strict=True))
        values[name] = weighted / max(sum(answers), 1)
    if any("control" in marks_in(row) for row in rows):
        values["control_p99_us"] = max(row.control_p99_us for row in rows)
    told = 0
    marks = dict.fromkeys(KINDS, 0)
    for row in rows:
        told |= row.told << (row.second - block.first)
        for kind, bits in marks_in(row).items():
            marks[kind] |= bits << (row.second - block.first)
    return FleetRow(
        second=block.first,
        worker=last.worker,
        clock_offset_us=max((row.clock_offset_us for row in rows), key=abs),
        span=block.end - block.first,
        told=told,
        marks=tuple((kind, bits) for kind, bits in marks.items() if bits),
        **values,
    )


def merge_fleet(connection: sqlite3.Connection, blocks: Blocks, start: int, end: int, span: int) -> None:
    """Merge the rows of start <= second < end into blocks of `span` seconds."""
    groups: dict[tuple[str, int, Block], list[FleetRow]] = {}
    for incarnation, *values in connection.execute(
        f"SELECT incarnation, {', '.join(FLEET_COLUMNS)} FROM fleet "
        "WHERE second >= ? AND second < ? ORDER BY second",
        (start, end),
    ):
        row = fleet_row_of(values)
        block = blocks.holds(row.second, row.second + row.span, span)
        if block is not None and row.span < block.end - block.first:
            groups.setdefault((row.worker, incarnation, block), []).append(row)
    gone = [(one.second, worker, n) for (worker, n, _), rows in groups.items() for one in rows]
    _remove(connection, gone)
    connection.executemany(
        _INSERT, [(n, *_values_of(merged_rows(rows, block))) for (_, n, block), rows in groups.items()]
    )


def merge_late(connection: sqlite3.Connection, row: FleetRow, incarnation: int, block: Block) -> None:
    """Merge a row of a second that is already in a block into that block's row, or begin it."""
    found = connection.execute(
        f"{FLEET_SELECT} WHERE second = ? AND worker = ? AND incarnation = ?",
        (block.first, row.worker, incarnation),
    ).fetchone()
    rows = [row]
    if found is not None:
        whole = fleet_row_of(found)
        if whole.told >> (row.second - block.first) & 1:
            # Another part of a second that is counted already: the greater of each stands, as in one row.
            rest = {name: max(getattr(whole, name) - getattr(row, name), 0) for name in _SUM}
            whole = replace(whole, **rest)
        rows = [row, whole]
    _remove(connection, [(block.first, row.worker, incarnation)])
    connection.execute(_INSERT, (incarnation, *_values_of(merged_rows(rows, block))))


def _remove(connection: sqlite3.Connection, keys: Iterable[tuple[int, str, int]]) -> None:
    connection.executemany("DELETE FROM fleet WHERE second = ? AND worker = ? AND incarnation = ?", keys)
