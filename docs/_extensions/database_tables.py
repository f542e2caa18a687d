"""The tables of a stored run, from a database that the migrations have just made."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from pathlib import Path

from loadgate.store.connection import open_for_writing
from loadgate.store.schema import Schema, run_schema, watch_schema


def database_tables() -> str:
    """Return for each database its version, its migrations, and a table of columns for each of its tables."""
    parts = []
    for name, schema in (("run.db", run_schema()), ("watch.db", watch_schema())):
        parts += [f"## `{name}`\n", _versions(schema)]
        with tempfile.TemporaryDirectory() as folder:
            opened = open_for_writing(Path(folder) / name, schema)
            try:
                parts += _tables(opened.connection)
            finally:
                opened.close()
    return "\n".join(parts)


def _versions(schema: Schema) -> str:
    """List the migrations."""
    rows = [f"| {step.number} | `{step.name}` |" for step in schema.migrations]
    return "\n".join([f"Version {schema.version}.\n", "| version | migration |", "|---|---|", *rows, ""])


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Describe each table of an open database, as SQLite itself tells it."""
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid"
    ).fetchall()
    return [_columns(connection, name) for (name,) in names]


def _columns(connection: sqlite3.Connection, table: str) -> str:
    """Describe the columns of a table, and its indexes."""
    rows = connection.execute(
        'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (table,)
    ).fetchall()
    lines = [f"### `{table}`\n", "| column | type | may be null | default | key |", "|---|---|---|---|---|"]
    for name, kind, present, default, key in rows:
        cells = (
            f"`{name}`",
            kind,
            "" if present or key else "yes",
            f"`{default}`" if default else "",
            key or "",
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    made = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (table,)
    ).fetchall()
    lines += ["\n    " + re.sub(r"\s+", " ", sql) for (sql,) in made]
    return "\n".join([*lines, ""])
