"""docs/run-database.md lists every table and column, in order, and nothing else."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from loadgate.store.connection import open_for_writing
from loadgate.store.schema import Schema, run_schema, watch_schema

PAGE = Path(__file__).parents[2] / "docs" / "run-database.md"
_HEADING = re.compile(r"### `(\w+)`")
_ROW = re.compile(r"\| (`\w+`(?:, `\w+`)*) \|")


def _documented(section: str) -> dict[str, list[str]]:
    """Read the tables and columns under one `## ` heading of the page."""
    text = PAGE.read_text(encoding="utf-8").split(f"## `{section}`", 1)[1].split("\n## ", 1)[0]
    tables: dict[str, list[str]] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            columns = tables[heading[1]] = []
        elif row := _ROW.match(line):
            columns += re.findall(r"\w+", row[1])
    return tables


def _live(connection: sqlite3.Connection) -> dict[str, list[str]]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {
        name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
        for name in names
    }


@pytest.mark.parametrize(("section", "schema"), [("run.db", run_schema()), ("watch.db", watch_schema())])
def test_the_page_matches_the_database(tmp_path: Path, section: str, schema: Schema) -> None:
    """Each table and each column is documented once, in the order of the table."""
    opened = open_for_writing(tmp_path / section, schema)
    try:
        assert _documented(section) == _live(opened.connection)
    finally:
        opened.close()
