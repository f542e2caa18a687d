"""Open database files: one writer that keeps what it acknowledged, readers that never disturb it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from loadgate.errors import StoreError
from loadgate.store.faults import told_as_store_errors
from loadgate.store.lock import WriterLock
from loadgate.store.schema import Schema

_BUSY_MS = 5_000
# After a checkpoint the write-ahead log is cut back to this, so a slow reader does not leave it huge.
_WAL_KEPT_BYTES = 16 * 2**20
# A process that follows a run for a week holds several readers, and SQLite's own 2 MB of each would fill bit
# by bit. Rows are read in order, once, so keeping more of them gains nothing.
_READER_CACHE_KIB = 512


@dataclass
class Opened:
    """A connection, the path it stands for, and what must be given back when it closes."""

    connection: sqlite3.Connection
    path: Path
    lock: WriterLock | None = None
    scratch: Path | None = None

    def close(self) -> None:
        """Close the connection, then give back the lock and any copy; safe to call again."""
        self.connection.close()
        if self.lock is not None:
            self.lock.release()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch = None


def open_for_writing(path: Path, schema: Schema) -> Opened:
    """Open a database as its one writer: made when it is missing, migrated when it is older.

    The connection belongs to the thread that calls. Raises StoreError when the file cannot be written,
    is damaged, is newer than this Loadgate, or has another living writer.
    """
    lock = WriterLock(path)
    try:
        with told_as_store_errors("open", path):
            _refuse_empty(path)
            if not path.exists():
                _make(path, schema)
            connection = _connect_writer(path)
            try:
                schema.migrate(connection)
            except BaseException:
                connection.close()
                raise
    except BaseException:
        lock.release()
        raise
    return Opened(connection, path, lock=lock)


def open_for_reading(path: Path, schema: Schema, *, as_it_is: bool = False) -> Opened:
    """Open a database for reading only; a database that has no table yet opens as well.

    A database of an older version is copied, and the copy migrated: the original may still belong to
    an older Loadgate that writes it, and reading must not change it. What that writer adds later is not
    seen. With `as_it_is` nothing is copied: that is for what is the same in all versions.

    Raises StoreError when the file is missing, empty, damaged or newer than this Loadgate.
    """
    with told_as_store_errors("read", path):
        if not path.is_file():
            raise StoreError(
                f"there is no {schema.kind} database at {path}", hint="name a run that was started"
            )
        _refuse_empty(path)
        connection = _connect_reader(path)
        try:
            version = schema.version_in(connection)
            if 0 < version < schema.version and not as_it_is:
                return _migrated_copy(connection, path, schema)
        except BaseException:
            connection.close()
            raise
    return Opened(connection, path)


def _refuse_empty(path: Path) -> None:
    # A new database gets its name only once its tables are in it (see _make), so no bytes at all
    # means that something else made or emptied the file.
    logs = (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal"))
    if path.is_file() and path.stat().st_size == 0 and not any(log.exists() for log in logs):
        raise StoreError(
            f"{path} is empty: it was made by something else, or what it held is lost",
            hint="restore it from a copy, or remove this run's folder",
        )


def _make(path: Path, schema: Schema) -> None:
    """Build the database under another name: a reader sees it with all its tables or not at all."""
    draft = path.with_name(f"{path.name}.new")
    for leftover in (draft, draft.with_name(f"{draft.name}-wal"), draft.with_name(f"{draft.name}-shm")):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        # Only a database without tables can be told so. What old rows leave is used again; where the disk is
        # short it is given back (`RunWriter.give_back`).
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        schema.migrate(connection)
    finally:
        connection.close()
    os.replace(draft, path)


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(_uri(path, "mode=rw"), uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at each commit, so what was acknowledged outlives a power cut too.
        # At one commit a second, from a thread of its own, that costs a fraction of a millisecond to
        # some ten milliseconds a second, depending on the disk.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_reader(path: Path) -> sqlite3.Connection:
    try:
        return _probe(sqlite3.connect(_uri(path, "mode=ro"), uri=True, isolation_level=None))
    except sqlite3.OperationalError as error:
        cannot_make_index = (error.sqlite_errorcode & 0xFF) in (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_READONLY,
        )
        log = path.with_name(f"{path.name}-wal")
        if not cannot_make_index or (log.exists() and log.stat().st_size > 0):
            raise
    # A finished run in a folder that cannot be written: nothing changes it, so no lock is needed.
    return _probe(sqlite3.connect(_uri(path, "mode=ro&immutable=1"), uri=True, isolation_level=None))


def _probe(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _migrated_copy(source: sqlite3.Connection, path: Path, schema: Schema) -> Opened:
    scratch = Path(tempfile.mkdtemp(prefix="loadgate-"))
    copy = sqlite3.connect(scratch / path.name, isolation_level=None)
    try:
        source.backup(copy)
        source.close()
        copy.execute("PRAGMA synchronous = OFF")
        schema.migrate(copy)
    except BaseException:
        copy.close()
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Opened(copy, path, scratch=scratch)


def _uri(path: Path, parameters: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{parameters}"
