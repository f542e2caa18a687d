"""Plain pieces of text: columns, numbers, and what must not reach a terminal as it came."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Collection, Sequence
from io import TextIOWrapper
from typing import Final, TextIO

from rich.console import Console

from loadgate.plan.units import format_duration, format_number

GAP: Final = 2
"""Blanks between two columns."""

SYMBOLS: Final = {
    "PASS": "✓",
    "WARN": "!",
    "FAIL": "✗",
    "INVALID": "?",
    "INCONCLUSIVE": "~",
    "waiting": "·",
    "spark": "▁▂▃▄▅▆▇█",
}
"""What stands before a verdict; "spark" are the steps of a sparkline, the lowest first."""
ASCII_SYMBOLS: Final = {**SYMBOLS, "PASS": "+", "FAIL": "x", "waiting": ".", "spark": "_.-:=+*#"}
STYLES: Final = {
    "PASS": "green",
    "WARN": "yellow",
    "FAIL": "bold red",
    "INVALID": "magenta",
    "INCONCLUSIVE": "cyan",
    "waiting": "dim",
}


def clean(text: object) -> str:
    """Return text on one line without control characters: targets may send what moves a cursor."""
    joined = " ".join(str(text).split())
    return "".join(char if char.isprintable() else "?" for char in joined)


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def console_for(stream: TextIO) -> Console:
    """Return a console for a stream: colours only on a terminal, and none with NO_COLOR."""
    terminal = is_terminal(stream)
    if isinstance(stream, TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
        # A name that this encoding cannot write must not cost the reader the rest of a verdict.
        stream.reconfigure(errors="replace")
    return Console(
        file=stream, force_terminal=terminal, highlight=False, markup=False, emoji=False, soft_wrap=True
    )


def symbols_for(stream: TextIO) -> dict[str, str]:
    """Return the symbols of the verdicts that a stream's encoding can write."""
    try:
        "".join(SYMBOLS.values()).encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return dict(ASCII_SYMBOLS)
    return dict(SYMBOLS)


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Set rows in columns as wide as their widest cell; those of `right` are set to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * GAP).join(cells).rstrip())
    return lines


def wrapped(text: str, width: int | None, indent: str = "", hanging: str | None = None) -> list[str]:
    """Break text into lines of at most `width`; None leaves it on one line."""
    after = indent if hanging is None else hanging
    if width is None:
        return [indent + text]
    room = max(width, len(after) + 20)
    lines = textwrap.wrap(
        text,
        room,
        initial_indent=indent,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [indent.rstrip()]


def milliseconds(value: float | None, infinite: int = 0) -> str:
    """Write milliseconds: "3.215ms"; "infinite" where the rank fell among infinitely slow ones."""
    if value is None:
        return "infinite" if infinite else "-"
    return f"{format_number(value)}ms"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: "1 worker", "2 workers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def run_seconds(seconds: float) -> str:
    """Write a run time to the whole second it lies in: "1m5s"."""
    return format_duration(float(int(seconds)))
