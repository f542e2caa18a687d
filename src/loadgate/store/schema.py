"""Know the versions of a database: numbered migrations, each applied with its record in one transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from loadgate.errors import StoreError

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True)
class Migration:
    """One step from version `number - 1` to version `number`."""

    number: int
    name: str
    sql: str


@dataclass(frozen=True)
class Schema:
    """A kind of database: its mark in the file's header, and all its migrations in order."""

    kind: str
    application_id: int
    migrations: tuple[Migration, ...]

    @property
    def version(self) -> int:
        """Give the newest version that this Loadgate knows."""
        return self.migrations[-1].number

    def version_in(self, connection: sqlite3.Connection) -> int:
        """Read which version a database has: 0 when it has no table yet.

        Raises StoreError for a database of another kind or of a newer version.
        """
        has_version, tables = connection.execute(
            "SELECT coalesce(sum(name = 'schema_version'), 0), count(*) FROM sqlite_schema "
            "WHERE type = 'table'"
        ).fetchone()
        if tables == 0:
            return 0
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        if not has_version or mark != self.application_id:
            raise StoreError(
                f"this SQLite file is no {self.kind} database of Loadgate",
                hint="name a run folder, or the run.db in it",
            )
        version = int(
            connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]
        )
        if version > self.version:
            raise StoreError(
                f"this {self.kind} database has schema version {version}; "
                f"this Loadgate knows versions up to {self.version}",
                hint="a newer Loadgate wrote it: upgrade with `pip install --upgrade loadgate`",
            )
        return version

    def migrate(self, connection: sqlite3.Connection) -> None:
        """Bring a database to the newest version; each step happens with its record, or not at all."""
        for migration in self.migrations:
            if migration.number > self.version_in(connection):
                self._apply(connection, migration)

    def _apply(self, connection: sqlite3.Connection, migration: Migration) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(f"PRAGMA application_id = {self.application_id}")
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_version (version, name) VALUES (?, ?)", (migration.number, migration.name)
            )
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has already rolled back by itself after some faults, a full disk among them.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@cache
def run_schema() -> Schema:
    """Give the schema of `run.db`."""
    return Schema("run", 0x4C477275, _load("run"))  # "LGru"


@cache
def watch_schema() -> Schema:
    """Give the schema of `watch.db`."""
    return Schema("watch", 0x4C477761, _load("watch"))  # "LGwa"


@cache
def campaign_schema() -> Schema:
    """Give the schema of `campaign.db`."""
    return Schema("campaign", 0x4C476361, _load("campaign"))  # "LGca"


def _load(kind: str) -> tuple[Migration, ...]:
    found = []
    for entry in files("loadgate.store").joinpath("migrations", kind).iterdir():
        match = _FILE_NAME.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)) or not found:
        raise StoreError(f"the migrations of the {kind} database are incomplete", hint="reinstall loadgate")
    return tuple(found)


def _statements(sql: str) -> Iterator[str]:
    """Split a script; `executescript` would commit before it starts."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise StoreError(f"a migration ends inside a statement: {statement.strip()[:80]!r}")
