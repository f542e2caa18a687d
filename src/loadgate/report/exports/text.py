"""Windows as CSV and as JSON Lines, row by row: memory does not grow with the run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from loadgate.report.exports.table import COLUMNS


def csv_lines(rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    """Give a heading, then a line for each row: nothing for what is missing, "inf" for infinite."""
    room = io.StringIO()
    writer = csv.writer(room, lineterminator="\r\n")
    yield _line(room, writer, [column.name for column in COLUMNS])
    for row in rows:
        yield _line(room, writer, [_cell(value) for value in row])


def json_lines(rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    """Give a JSON object for each row on a line of its own; null for what is missing or infinite."""
    names = [column.name for column in COLUMNS]
    for row in rows:
        yield orjson.dumps(dict(zip(names, row, strict=True))) + b"\n"


def _line(room: io.StringIO, writer: Any, cells: list[Any]) -> bytes:
    room.seek(0)
    room.truncate()
    writer.writerow(cells)
    return room.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isinf(value):
            return "inf"
        return int(value) if value.is_integer() else repr(value)
    return "" if value is None else value
