"""Read and write the small JSON values of a database strictly: what JSON cannot say is an error."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from loadgate.errors import StoreError


def to_json(value: object) -> str:
    """Write a value as compact JSON.

    Raises StoreError for NaN and infinities, which JSON would lose, and for what it does not know.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"a value cannot be stored as JSON: {error}") from error


def from_json(text: str) -> Any:
    """Read a JSON value that was stored; StoreError when it is damaged."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"a stored JSON value is damaged: {error}", hint="use a copy of the run") from error


def read_value(connection: sqlite3.Connection, key: str, default: Any = None) -> Any:
    """Read a value of the `run` table, or the default where the key, or the table, is not there yet."""
    has_table = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'run'"
    ).fetchone()
    if has_table is None:
        return default
    row = connection.execute("SELECT value FROM run WHERE key = ?", (key,)).fetchone()
    return default if row is None else from_json(row[0])
