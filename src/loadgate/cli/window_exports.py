"""`loadgate export` of what was measured: the windows of a stored run, as other tools read them."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from loadgate.cli.files import written
from loadgate.cli.output import discard
from loadgate.errors import UsageError
from loadgate.report.exports.arrow import check_arrow, write_arrow
from loadgate.report.exports.hlog import hlog_lines
from loadgate.report.exports.table import rows_of, wall_of
from loadgate.report.exports.text import csv_lines, json_lines
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder

WINDOW_FORMATS: Final = ("hlog", "csv", "jsonl", "parquet", "arrow")


def export_windows(folder: RunFolder, form: str, output: Path | None, phase: str | None, series: str) -> None:
    """Write the windows of a run to a file, or to standard output."""
    if form in ("parquet", "arrow"):
        check_arrow()
    if output is not None:
        with written(output) as file:
            _write(folder, form, file, phase, series)
        return
    if form in ("parquet", "arrow") and sys.stdout.isatty():
        raise UsageError(f"{form} is not text for a terminal", hint="name a file with --output, or a pipe")
    try:
        _write(folder, form, sys.stdout.buffer, phase, series)
        sys.stdout.buffer.flush()
    except OSError as error:
        discard(sys.stdout.fileno())
        raise UsageError(
            f"standard output cannot be written: {error.strerror or error}", hint="name a file with --output"
        ) from error


def _write(folder: RunFolder, form: str, out: BinaryIO, phase: str | None, series: str) -> None:
    """Write what one moment of the run holds; it may go on."""
    with closing(RunReader(folder.database)) as reader, reader.snapshot():
        if form == "hlog":
            windows = reader.windows(phase=phase, series=[series])
            for line in hlog_lines(windows, series, folder.id, wall_of(reader)):
                out.write(line)
            return
        rows = rows_of(reader, phase)
        if form in ("parquet", "arrow"):
            write_arrow(rows, out, "parquet" if form == "parquet" else "arrow")
            return
        for line in csv_lines(rows) if form == "csv" else json_lines(rows):
            out.write(line)
