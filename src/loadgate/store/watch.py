"""The watch database: what the control room saw of the target, what it did about it, and whom it told."""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

from loadgate.store.connection import Opened, open_for_reading, open_for_writing
from loadgate.store.faults import told_as_store_errors
from loadgate.store.schema import watch_schema
from loadgate.store.values import from_json, to_json
from loadgate.store.watch_bounds import HOUR, Dropped, compact
from loadgate.store.watch_rows import (
    POINT_COLUMNS,
    Point,
    Reading,
    point_of,
    require_finite,
    unpack_points,
    unpack_readings,
)

__all__ = [
    "ActionStage",
    "AlertChange",
    "Dropped",
    "Notice",
    "Point",
    "Reading",
    "WatchReader",
    "WatchWriter",
]

_POINTS = ", ".join(f'"{name}"' for name in POINT_COLUMNS)


class AlertChange(NamedTuple):
    """A change of state of an alert rule at a run time; `wall` is ISO time."""

    at: float
    rule: str
    severity: str
    state: str
    value: float | None
    detail: Mapping[str, Any]
    wall: str | None = None
    id: int | None = None


class ActionStage(NamedTuple):
    """One entry of the journal of actions: `stage` says how far the step had come at that run time.

    The intent is written, and on the disk, before the action starts.
    """

    at: float
    step: str
    stage: str
    detail: Mapping[str, Any]
    alert: int | None = None
    wall: str | None = None
    id: int | None = None


class Notice(NamedTuple):
    """One attempt to deliver a message to a receiver, as it ended at that run time.

    `stage` is "delivered", "failed" (it is tried again) or "given up". `key` is what the message carried, so
    that a receiver can tell a repetition. `detail` has `covers`, the entries of the message, each as
    `[alert, transition]`, the number of the `attempt`, and for a failure its `text`.
    """

    at: float
    key: str
    receiver: str
    stage: str
    detail: Mapping[str, Any]
    wall: str | None = None
    id: int | None = None


class WatchWriter:
    """The one writer of a watch database; opened, used and closed in one thread.

    Raises StoreError when the file cannot be written, is damaged or too new, or has another writer.
    What a method wrote survives the death of this process and of the machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = open_for_writing(path, watch_schema())

    def readings(self, readings: Iterable[Reading]) -> None:
        """Write readings, all or none; StoreError for a value that is no finite number."""
        rows = list(readings)
        for reading in rows:
            require_finite(reading.value, f"the reading {reading.probe}.{reading.reading}")
        if rows:
            with self._transaction() as connection:
                connection.executemany(
                    "INSERT INTO probe (at, probe, reading, value, error, took) VALUES (?, ?, ?, ?, ?, ?)",
                    rows,
                )

    def points(self, points: Iterable[Point]) -> None:
        """Write what windows of alert rules said, all or none; one that is there already stays as it is."""
        rows = list(points)
        if rows:
            marks = ", ".join("?" * len(POINT_COLUMNS))
            with self._transaction() as connection:
                connection.executemany(
                    f"INSERT OR IGNORE INTO alert_point ({_POINTS}) VALUES ({marks})", rows
                )

    def compact(self, now: float) -> bool:
        """Pack what is old at run time `now`, and drop what is past a cap; True when there is more to do.

        It does a bounded part of it; call it once a minute, and again while it returns True.
        """
        with self._transaction() as connection:
            return compact(connection, now)

    def alert(self, change: AlertChange) -> int:
        """Write a change of state, and return its id, by which actions refer to it."""
        require_finite(change.value, f"the alert {change.rule}")
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO alert (at, wall, rule, severity, state, value, detail) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    change.at,
                    change.wall,
                    change.rule,
                    change.severity,
                    change.state,
                    change.value,
                    to_json(dict(change.detail)),
                ),
            )
        return int(cursor.lastrowid or 0)

    def action(self, stage: ActionStage) -> int:
        """Write an entry of the journal of actions, and return its id."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO action (at, wall, alert, step, stage, detail) VALUES (?, ?, ?, ?, ?, ?)",
                (stage.at, stage.wall, stage.alert, stage.step, stage.stage, to_json(dict(stage.detail))),
            )
        return int(cursor.lastrowid or 0)

    def notice(self, notice: Notice) -> int:
        """Write how an attempt to deliver a message ended, and return its id."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO notice (at, wall, key, receiver, stage, detail) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    notice.at,
                    notice.wall,
                    notice.key,
                    notice.receiver,
                    notice.stage,
                    to_json(dict(notice.detail)),
                ),
            )
        return int(cursor.lastrowid or 0)

    def close(self) -> None:
        """Close the database and let another process write it; again is fine."""
        with told_as_store_errors("close", self._path):
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened.connection
        with told_as_store_errors("write", self._path):
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


class WatchReader:
    """A reader of one watch database, for one thread.

    A run that no control room watched has no such file: it reads as one without any reading, until the
    file is there. Raises StoreError when the file is empty, damaged or of a newer Loadgate.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: Opened | None = None
        self._open()

    def readings(
        self, name: str | None = None, start: float | None = None, end: float | None = None
    ) -> list[Reading]:
        """Give the readings of start <= at < end (run time), in order of time.

        `name` is a probe ("cache") or one of its readings ("cache.hit_rate"); None means all.
        """
        clauses, values = ["1"], list[Any]()
        if name is not None:
            # Both a probe's name and a reading's may hold dots, so the two are compared as a whole. That the
            # probe is one of a few is what lets an index find them.
            probes = _probes_of(name)
            clauses.append(f"probe IN ({_marks(probes)}) AND (probe = ? OR probe || '.' || reading = ?)")
            values += [*probes, name, name]
        for clause, value in (("at >= ?", start), ("at < ?", end)):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        statement = "SELECT at, probe, reading, value, error, took FROM probe"
        with self._snapshot():
            rows = self._rows(f"{statement} WHERE {' AND '.join(clauses)} ORDER BY at, id", values)
            packed = [*self._packed(name, start, end)]
        fresh = [
            Reading(at, sys.intern(probe), sys.intern(reading), *rest) for at, probe, reading, *rest in rows
        ]
        packed += fresh
        packed.sort(key=itemgetter(0))
        return packed

    def _packed(self, name: str | None, start: float | None, end: float | None) -> Iterator[Reading]:
        """Give the readings that lie in packed hours, as `readings` chooses them."""
        clauses, values = ["1"], list[Any]()
        if name is not None:
            probes = _probes_of(name)
            clauses.append(f"probe IN ({_marks(probes)})")
            values += probes
        for clause, value in (("start > ?", None if start is None else start - HOUR), ("start < ?", end)):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        chosen = " AND ".join(clauses)
        statement = f"SELECT probe, data FROM probe_block WHERE {chosen} ORDER BY start, probe"
        for probe, data in self._rows(statement, values):
            found = unpack_readings(probe, data)
            if name is not None and name != probe:
                reading = name[len(probe) + 1 :]
                found = [one for one in found if one.reading == reading]
            if start is not None or end is not None:
                low, high = -math.inf if start is None else start, math.inf if end is None else end
                found = [one for one in found if low <= one.at < high]
            yield from found

    def points(self, rule: str) -> list[Point]:
        """Give what the windows of a rule said, as the live engine evaluated them, in order of time."""
        with self._snapshot():
            blocks = self._rows("SELECT data FROM alert_point_block WHERE rule = ? ORDER BY start", [rule])
            rows = self._rows(f"SELECT {_POINTS} FROM alert_point WHERE rule = ? ORDER BY start", [rule])
        # A point that came again after its hour was packed is the same one.
        found = {point.start: point for row in rows for point in [point_of(row)]}
        found.update({one.start: one for (data,) in blocks for one in unpack_points(rule, data)})
        return [found[start] for start in sorted(found)]

    def dropped(self) -> list[Dropped]:
        """Give what was dropped because there was too much of it, by kind and name."""
        return [Dropped(*row) for row in self._rows("SELECT * FROM dropped ORDER BY kind, name", [])]

    def alerts(self, rule: str | None = None) -> list[AlertChange]:
        """Give the changes of state of one rule or all, in the order in which they were written."""
        rows = self._rows(
            "SELECT at, rule, severity, state, value, detail, wall, id FROM alert "
            "WHERE ?1 IS NULL OR rule = ?1 ORDER BY id",
            [rule],
        )
        with told_as_store_errors("read", self._path):
            return [
                AlertChange(at, rule, severity, state, value, from_json(detail), wall, row_id)
                for at, rule, severity, state, value, detail, wall, row_id in rows
            ]

    def actions(self, alert: int | None = None) -> list[ActionStage]:
        """Give the journal of one alert's actions or of all, in the order in which it was written."""
        rows = self._rows(
            "SELECT at, step, stage, detail, alert, wall, id FROM action "
            "WHERE ?1 IS NULL OR alert = ?1 ORDER BY id",
            [alert],
        )
        with told_as_store_errors("read", self._path):
            return [
                ActionStage(at, step, stage, from_json(detail), for_alert, wall, row_id)
                for at, step, stage, detail, for_alert, wall, row_id in rows
            ]

    def notices(self) -> list[Notice]:
        """Give how every attempt to deliver a message ended, in the order in which it was written."""
        rows = self._rows("SELECT at, key, receiver, stage, detail, wall, id FROM notice ORDER BY id", [])
        with told_as_store_errors("read", self._path):
            return [
                Notice(at, key, receiver, stage, from_json(detail), wall, row_id)
                for at, key, receiver, stage, detail, wall, row_id in rows
            ]

    def close(self) -> None:
        """Close the database; again is fine."""
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Opened | None:
        if self._opened is None and self._path.exists():
            self._opened = open_for_reading(self._path, watch_schema())
        return self._opened

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read from one state of the database: an hour must not be packed between two looks at it."""
        opened = self._open()
        if opened is None or opened.connection.in_transaction:
            yield
            return
        with told_as_store_errors("read", self._path):
            opened.connection.execute("BEGIN")
        try:
            yield
        finally:
            with told_as_store_errors("read", self._path):
                opened.connection.execute("COMMIT")

    def _rows(self, statement: str, values: list[Any]) -> list[Any]:
        opened = self._open()
        if opened is None:
            return []
        with told_as_store_errors("read", self._path):
            if watch_schema().version_in(opened.connection) == 0:
                return []
            return opened.connection.execute(statement, values).fetchall()


def _probes_of(name: str) -> list[str]:
    """Return the probes that a name may mean: itself, and what stands before any of its dots."""
    parts = name.split(".")
    return [".".join(parts[:number]) for number in range(1, len(parts) + 1)]


def _marks(values: list[str]) -> str:
    return ", ".join("?" * len(values))
