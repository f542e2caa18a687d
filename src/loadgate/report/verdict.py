"""The verdict for people: a rendering of verdict.json on standard output.

On a terminal it has symbols, colours and the terminal's width. Everywhere else it is plain text whose
sentences are one line each, so that a log can be searched.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from loadgate.report.evidence import run_reasons
from loadgate.report.text import STYLES, clean, console_for, is_terminal, symbols_for, wrapped
from loadgate.report.verdict_facts import LABEL, facts
from loadgate.report.verdict_table import table


def print_verdict(content: dict[str, Any], path: Path) -> None:
    """Print a verdict on stdout: the headline, the reasons, the objectives, and what is behind them.

    `content` is that of verdict.json (`verdict.schema.json`); `path` is the file it was written to.
    """
    console = console_for(sys.stdout)
    terminal = is_terminal(sys.stdout)
    width = console.width if terminal else None
    symbols = symbols_for(sys.stdout) if terminal else {}
    for line in render(content, path, width, symbols):
        console.print(line)


def print_report(page: Path) -> None:
    """Print the last fact of a verdict on stdout: the page to open, once it is there."""
    console_for(sys.stdout).print(Text.assemble(("report".ljust(LABEL), "bold"), clean(page)), soft_wrap=True)


def render(content: dict[str, Any], path: Path, width: int | None, symbols: dict[str, str]) -> Iterator[Text]:
    """Give the lines of a verdict; `width` None does not break them, and empty `symbols` sets none."""
    yield from headline(content, width, symbols)
    for reason in _reasons(content):
        yield from (Text(line) for line in wrapped(clean(reason), width, "  ", "    "))
    yield Text()
    if content["objectives"]:
        yield from table(content["objectives"], width, symbols)
        yield Text()
    yield from facts(content, path, width)


def headline(content: dict[str, Any], width: int | None, symbols: dict[str, str]) -> Iterator[Text]:
    """Give the first line, or two where it is narrow: the verdict, what was run, and how it ended."""
    verdict = content["verdict"]
    mark = f"{symbols[verdict]} {verdict}" if verdict in symbols else verdict
    line = Text.assemble((mark, STYLES[verdict]), "  ", (clean(content["scenario"] or "no scenario"), "bold"))
    about = [f"run {clean(content['run'])}"]
    if content["void"]:
        about.append("(void)")
    if content["running"]:
        about.append("(still running)")
    elif content["ended"] != "planned":
        about.append(f"({content['ended']})")
    rest = "  ".join(about)
    if width is None or len(line) + 2 + len(rest) <= width:
        yield line.append(f"  {rest}")
        return
    yield line
    yield from (Text(part) for part in wrapped(rest, width, "  "))


def _reasons(content: dict[str, Any]) -> Iterator[str]:
    """Give the reasons; those that stand under their own row are put into one sentence."""
    rows = content["objectives"]
    yield from run_reasons(content)
    for grade in ("FAIL", "INVALID", "INCONCLUSIVE", "WARN"):
        names = [_named(row) for row in rows if row["verdict"] == grade]
        if names:
            yield f"{len(names)} of {len(rows)} objectives {grade}: {', '.join(names)}"


def _named(row: dict[str, Any]) -> str:
    return f"{row['name']}{' (optional)' if row['optional'] else ''}"
