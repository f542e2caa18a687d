"""The list of stored runs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from loadgate.report.text import STYLES, clean, columns, console_for, is_terminal, symbols_for

HEADINGS = ("RUN", "VERDICT", "STARTED (UTC)", "ENDED", "MODEL", "HOST")


def print_runs(rows: list[dict[str, Any]], root: Path) -> None:
    """Print stored runs on stdout in the order given; say on stderr when there are none.

    A row has `run` and `verdict`, and the values of its run (`started_at`, `ended`, `model`, `host`), or
    `fault` where the run could not be read. Missing values show as "-".
    """
    if not rows:
        note = f"no runs in {clean(root)}: start one with `loadgate demo` or `loadgate run SCENARIO`, "
        console_for(sys.stderr).print(note + "or name another folder with --results")
        return
    symbols = symbols_for(sys.stdout) if is_terminal(sys.stdout) else {}
    lines = columns([HEADINGS, *(_cells(row, symbols) for row in rows)])
    console = console_for(sys.stdout)
    console.print(Text(lines[0], style="bold"))
    for row, line in zip(rows, lines[1:], strict=True):
        text = Text(line)
        verdict = str(row.get("verdict") or "")
        if verdict in STYLES:
            start = line.index(_marked(verdict, symbols), len(clean(row["run"])))
            text.stylize(STYLES[verdict], start, start + len(_marked(verdict, symbols)))
        console.print(text)


def _cells(row: dict[str, Any], symbols: dict[str, str]) -> tuple[str, ...]:
    verdict = row.get("verdict")
    last = f"cannot be read: {clean(row['fault'])}" if row.get("fault") else clean(row.get("host") or "-")
    return (
        clean(row["run"]),
        _marked(str(verdict), symbols) if verdict else "-",
        _moment(row.get("started_at")),
        _ended(row),
        clean(row.get("model") or "-"),
        last,
    )


def _marked(verdict: str, symbols: dict[str, str]) -> str:
    return f"{symbols[verdict]} {verdict}" if verdict in symbols else clean(verdict)


def _moment(text: object) -> str:
    """Write an ISO moment in UTC, to the second; one without a zone is taken as UTC."""
    if not isinstance(text, str):
        return "-"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return clean(text)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _ended(row: dict[str, Any]) -> str:
    """Say how a run ended; one without an end is still running, or died without a word."""
    if row.get("fault"):
        return "-"
    return clean(row.get("ended") or "not ended")
