"""Write the run database: whole deltas or nothing, each exactly once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from loadgate.measure.delta import Delta, FleetRow
from loadgate.store.blocks import AS_PLANNED, Block, Horizon
from loadgate.store.compaction import COMPACTED, Compaction
from loadgate.store.connection import open_for_writing
from loadgate.store.failure_table import FailureTable
from loadgate.store.faults import told_as_store_errors
from loadgate.store.fleet_ledger import FleetLedger, LedgerRow
from loadgate.store.fleet_rows import merge_late
from loadgate.store.ledger import DeltaKey, GapChange, Ledger
from loadgate.store.schema import run_schema
from loadgate.store.values import read_value, to_json
from loadgate.store.window_table import WindowTable

# Rows of one worker and second can come twice only with another part of the same cumulative figures,
# so the greater of each is the later one, whatever the order of arrival.
_FLEET_MERGED = (
    "offered", "started", "finished", "in_flight", "users", "cpu", "rss",
    "start_lag_p99_us", "loop_lag_p99_us", "loop_lag_max_us", "p99_us", "clock_error_us", "unacknowledged",
    "cpu_allowed", "throttled_us", "fds", "fds_limit", "ports", "ports_limit", "gc_pause_max_us",
    "control_n", "control_failures", "control_p50_us", "control_p99_us",
)  # fmt: skip
# An offset may have either sign, so of several the one that was committed last stands, unless it was not
# estimated (0).
_FLEET_COLUMNS = ("second", "worker", "incarnation", *_FLEET_MERGED, "clock_offset_us")
_FLEET_UPSERT = (
    f"INSERT INTO fleet ({', '.join(_FLEET_COLUMNS)}) VALUES ({', '.join('?' * len(_FLEET_COLUMNS))}) "
    "ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = max({name}, excluded.{name})" for name in _FLEET_MERGED)
    + ", clock_offset_us = iif(excluded.clock_offset_us = 0, clock_offset_us, excluded.clock_offset_us)"
)


# Sources of another run's deltas that are written down, each once.
_MOST_REFUSALS = 100


class Event(NamedTuple):
    """Something that happened to a run, at a run time; `wall` is ISO time, worked out where it is None."""

    at: float
    kind: str
    detail: Mapping[str, Any]
    wall: str | None = None


class Acknowledged(list[DeltaKey]):
    """The keys of all deltas given to a commit that are in the database now, in the order given.

    `duplicates` are those of them that were there before: they changed nothing. `refused` are the keys
    of deltas of another run: they are not in the database, and not in this list. `revision` is the
    database's revision after the commit.
    """

    def __init__(self, revision: int) -> None:
        super().__init__()
        self.revision = revision
        self.duplicates: list[DeltaKey] = []
        self.refused: list[DeltaKey] = []


class RunWriter:
    """The one writer of a run database; opened, used and closed in one and the same thread.

    Raises StoreError where the disk or the file refuse. A commit that raised left the database as it
    was, and may be tried again with the same deltas.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = open_for_writing(path, run_schema())
        self._connection = self._opened.connection
        self._in_step = False
        try:
            with told_as_store_errors("read", path):
                self._load()
        except BaseException:
            self._opened.close()
            raise

    @property
    def revision(self) -> int:
        """Give the number of the last commit that wrote something; 0 in a new database."""
        return self._revision

    def commit(
        self,
        deltas: Sequence[Delta] = (),
        events: Iterable[Event] = (),
        run_values: Mapping[str, Any] | None = None,
        ledger: Iterable[LedgerRow] = (),
    ) -> Acknowledged:
        """Write deltas, events, values of the `run` table and fleet ledger rows in one transaction.

        What is returned survives the death of this process and of the machine. A delta that was
        committed before is dropped, and acknowledged again so that its worker can forget it. Deltas of
        a run other than this database's "id" are refused. Missing sequence numbers become events of
        kind "gap", and "gap_filled" once they came. A ledger row replaces what was known of its second,
        but for the greater `unoffered`, and the windows of that second are marked as it says. A commit of
        nothing writes nothing.
        """
        events, ledger = list(events), list(ledger)
        if not (deltas or events or run_values or ledger):
            return Acknowledged(self._revision)
        with told_as_store_errors("write", self._path):
            if not self._in_step:
                self._load()
            self._in_step = False
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                answer = self._write(deltas, events, run_values or {}, ledger)
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back by itself after some faults, a full disk among them.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._in_step = True
        return answer

    def compact(self, now: float, horizon: Horizon = AS_PLANNED) -> bool:
        """Merge the next rows that are old enough at run time `now`; say whether there were any.

        One call merges at most a minute of run time, in a transaction of its own; call it again while it
        says so. StoreError as of `commit`, with the database left as it was.
        """
        with told_as_store_errors("write", self._path):
            if not self._in_step:
                self._load()
            self._in_step = False
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                reached = self._compaction.step(now, horizon)
                if reached is not None:
                    self._put_values({COMPACTED: reached})
                    self._windows.forget(reached["middle"])
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._in_step = True
        return reached is not None

    @property
    def latest(self) -> float:
        """Give the end of the newest second on record, in run time; 0 in a new database."""
        return self._latest

    def bytes_used(self) -> int:
        """Give the bytes that are in use: of the database's pages, and of its write-ahead log."""
        with told_as_store_errors("read", self._path):
            pages, free, size = (
                int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        log = self._path.with_name(f"{self._path.name}-wal")
        return (pages - free) * size + (log.stat().st_size if log.exists() else 0)

    def give_back(self, pages: int = 256) -> None:
        """Give some of the pages that nothing uses back to the disk; a database of old keeps them."""
        with told_as_store_errors("write", self._path):
            # A script is stepped to its end; a statement without rows only once, which gives back one page.
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages:d})")

    @property
    def compaction_refused(self) -> str:
        """Say why old rows are not merged; empty where nothing is in the way."""
        return self._compaction.refused

    def value(self, key: str, default: Any = None) -> Any:
        """Read a value of the `run` table, for a writer that takes a run up again."""
        with told_as_store_errors("read", self._path):
            return read_value(self._connection, key, default)

    def close(self) -> None:
        """Close the database and let another process write it; again is fine."""
        with told_as_store_errors("close", self._path):
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> None:
        """Read what is kept in memory, at first and after a transaction that failed."""
        self._compaction = Compaction(self._connection)
        self._windows = WindowTable(self._connection, self._compaction.place)
        self._ledger = Ledger(self._connection)
        self._fleet_ledger = FleetLedger(self._connection)
        self._failures = FailureTable(self._connection)
        self._revision = int(read_value(self._connection, "revision", 0))
        self._run_id = read_value(self._connection, "id")
        self._anchor_wall = _wall_of(read_value(self._connection, "anchor"))
        self._latest = _latest_second(self._connection)
        self._refusals: set[tuple[str, int]] = set()
        self._in_step = True

    def _write(
        self,
        deltas: Sequence[Delta],
        events: list[Event],
        run_values: Mapping[str, Any],
        ledger: Sequence[LedgerRow],
    ) -> Acknowledged:
        self._revision += 1
        answer = Acknowledged(self._revision)
        self._put_values({**run_values, "revision": self._revision})
        fresh = self._admit(deltas, answer, events)
        packs = [delta.packed for delta in fresh]
        self._windows.merge(packs, self._revision)
        self._compaction.note_late(head for pack in packs for head in pack.heads)
        self._fleet_ledger.store(ledger, self._revision, self._windows.longest)
        self._compaction.note_ledger(ledger)
        self._put_fleet(fresh)
        ends = [head.end for pack in packs for head in pack.heads]
        ends += [row.second + 1 for delta in fresh for row in delta.fleet]
        self._latest = max([self._latest, *map(float, ends)])
        failures = (failure for delta in fresh for failure in delta.failures)
        self._failures.merge(failures, self._windows.admitted, self._latest)
        events += [_gap_event(self._latest, change) for change in self._ledger.store()]
        self._put_events(events)
        return answer

    def _put_fleet(self, deltas: Iterable[Delta]) -> None:
        rows = []
        for delta in deltas:
            for row in delta.fleet:
                covering = self._compaction.place(row.second, 1)
                if covering is None:
                    rows.append(_fleet_values(row, delta))
                else:
                    block = Block(covering[0], sum(covering))
                    merge_late(self._connection, row, delta.incarnation, block)
        self._connection.executemany(_FLEET_UPSERT, rows)

    def _admit(self, deltas: Sequence[Delta], answer: Acknowledged, events: list[Event]) -> list[Delta]:
        """Sort deltas into the answer's lists, and return those to be merged."""
        fresh = []
        for delta in deltas:
            key = DeltaKey(*delta.key)
            if self._run_id is not None and delta.run != self._run_id:
                answer.refused.append(key)
                source = (key.worker, key.incarnation)
                if source not in self._refusals and len(self._refusals) < _MOST_REFUSALS:
                    self._refusals.add(source)
                    detail = {"worker": key.worker, "incarnation": key.incarnation, "run": delta.run}
                    events.append(Event(self._latest, "foreign_delta", detail))
                continue
            answer.append(key)
            if self._ledger.admit(key):
                fresh.append(delta)
            else:
                answer.duplicates.append(key)
        return fresh

    def _put_values(self, values: Mapping[str, Any]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO run (key, value) VALUES (?, ?)",
            [(key, to_json(value)) for key, value in values.items()],
        )
        if "id" in values:
            self._run_id = values["id"]
        if "anchor" in values:
            self._anchor_wall = _wall_of(values["anchor"])

    def _put_events(self, events: Iterable[Event]) -> None:
        self._connection.executemany(
            "INSERT INTO event (at, wall, kind, detail) VALUES (?, ?, ?, ?)",
            [
                (at, self._wall_at(at) if wall is None else wall, kind, to_json(dict(detail)))
                for at, kind, detail, wall in events
            ],
        )

    def _wall_at(self, at: float) -> str | None:
        if self._anchor_wall is None:
            return None
        return datetime.fromtimestamp(self._anchor_wall + at, UTC).isoformat(timespec="milliseconds")


def open_writer(path: Path) -> RunWriter:
    """Open a run database as its one writer, in the thread that will use it; made when it is missing.

    Raises StoreError when it cannot be written, is damaged or too new, or is being written already.
    """
    return RunWriter(path)


def _fleet_values(row: FleetRow, delta: Delta) -> tuple[Any, ...]:
    merged = (getattr(row, name) for name in _FLEET_MERGED)
    return (row.second, row.worker, delta.incarnation, *merged, row.clock_offset_us)


def _gap_event(at: float, change: GapChange) -> Event:
    kind, worker, incarnation, missing = change
    detail = {"worker": worker, "incarnation": incarnation, "first": missing.first, "last": missing.last}
    return Event(at, kind, detail)


def _latest_second(connection: sqlite3.Connection) -> float:
    # Each max() by itself is one step in an index.
    (window,) = connection.execute("SELECT max(second) + 1 FROM window").fetchone()
    (fleet,) = connection.execute("SELECT max(second) + 1 FROM fleet").fetchone()
    return float(max(window or 0, fleet or 0))


def _wall_of(anchor: object) -> float | None:
    """Give the wall-clock second of an anchor, or None where there is no usable one."""
    wall = anchor.get("wall") if isinstance(anchor, dict) else None
    return float(wall) if isinstance(wall, (int, float)) else None
