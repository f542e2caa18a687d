"""The verdict where GitHub Actions shows it: annotations, and the outputs of a step.

Annotations are workflow commands on the job's log. GitHub keeps ten of each level per step, so what is left
over is counted in the last one. They point to the line of the objective in the SLA table where that can be
found: a line that might be another's is worse than none.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadgate.plan.draft import read_table
from loadgate.report import comparison
from loadgate.report.evidence import (
    GREEN,
    confidence,
    decides,
    headline,
    interval,
    is_red,
    row_title,
    run_reasons,
    worst_window,
)
from loadgate.report.text import clean, counted

MOST: Final = 10
"""Annotations of one level that GitHub keeps of a step."""
LEVELS: Final = ("error", "warning", "notice")

_GRADES: Final = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS")
_HEADER: Final = re.compile(r"""\s*\[\[\s*(objective|"objective"|'objective')\s*\]\]""")


@dataclass(frozen=True)
class Annotation:
    """One annotation: its level (error, warning or notice), a title, what it says, and where it points."""

    level: str
    title: str
    message: str
    file: str = ""
    line: int | None = None

    def command(self) -> str:
        """Return the workflow command; it is one line whatever the texts hold."""
        properties = {"file": self.file, "line": str(self.line or ""), "title": self.title}
        told = ",".join(
            f"{key}={escaped(value, of='property')}" for key, value in properties.items() if value
        )
        return f"::{self.level} {told}::{escaped(self.message)}"


@dataclass(frozen=True)
class Table:
    """The SLA table as annotations point to it: its path in the repository, and each row's line by name."""

    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)


def escaped(text: str, of: str = "message") -> str:
    """Escape text for a workflow command, as GitHub's own toolkit does (`of` is "message" or "property")."""
    shown = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return shown.replace(":", "%3A").replace(",", "%2C") if of == "property" else shown


def table_at(sla: Path | None, root: Path) -> Table:
    """Find the rows of an SLA table; `root` is the repository, and a file outside it is not pointed to."""
    if sla is None:
        return Table()
    relative = os.path.relpath(sla, root)
    return Table() if relative.startswith("..") else Table(Path(relative).as_posix(), objective_lines(sla))


def objective_lines(sla: Path) -> dict[str, int]:
    """Return the line (from 1) of each `[[objective]]` by the row's name; empty where one cannot be sure.

    That is so when the file cannot be read, has a fault, or writes its rows in another way.
    """
    try:
        lines = sla.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return {}
    headers = [number for number, line in enumerate(lines, 1) if _HEADER.match(line)]
    table = read_table(sla, str(sla))
    if not table.complete or len(headers) != len(table.rows):
        return {}
    return {row.name: line for row, line in zip(table.objectives, headers, strict=True)}


def annotate(content: dict[str, Any], table: Table) -> list[str]:
    """Return the workflow commands of a verdict, the worst first.

    `content` is that of verdict.json; a gate that compared the run has that of comparison.json in it, under
    the key `comparison`.
    """
    found = [*_of_run(content), *_of_rows(content, table), *_of_comparison(content.get("comparison"))]
    return [annotation.command() for annotation in capped(found)]


def _of_run(content: dict[str, Any]) -> Iterator[Annotation]:
    """Give what is said of the run itself, with the verdict in the title."""
    title = f"{headline(content)}, exit code {content['exit_code']}"
    reasons = run_reasons(content) or [_tally(content["objectives"])]
    red = content["exit_code"] != 0
    if content["void"] or content["running"] or content["ended"] != "planned" or red:
        level = "error"
    else:
        level = "warning" if content["verdict"] == "WARN" else "notice"
    yield Annotation(level, title, "; ".join(reasons))


def _tally(rows: Sequence[dict[str, Any]]) -> str:
    """Count the rows by verdict: "2 FAIL, 3 PASS of 5 objectives"."""
    return f"{_counts(rows)} of {counted(len(rows), 'objective')}"


def _counts(rows: Sequence[dict[str, Any]]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{counts[grade]} {grade}" for grade in _GRADES if counts[grade])


def _of_rows(content: dict[str, Any], table: Table) -> Iterator[Annotation]:
    for row in content["objectives"]:
        if row["verdict"] == "PASS":
            continue
        level = "error" if is_red(row, strict=content["strict"]) else "warning" if decides(row) else "notice"
        facts = [clean(row["reason"])]
        if row["interval"]:
            facts.append(f"{confidence(row)} interval {interval(row)}")
        if row["worst_window"]:
            facts.append(f"worst window {worst_window(row)}")
        title = f"{row['verdict']} {row_title(row)}"
        yield Annotation(level, title, "; ".join(facts), table.file, table.lines.get(row["name"]))


def _of_comparison(content: dict[str, Any] | None) -> Iterator[Annotation]:
    """Give one annotation of a comparison, and one of each row that stops the release."""
    if content is None:
        return
    level = "error" if content["exit_code"] else "warning" if content["verdict"] == "WARN" else "notice"
    title = f"{content['verdict']} regression: {comparison.title(content)}"
    tally = f"{_counts(content['rows'])} of {counted(len(content['rows']), 'row')}"
    told = comparison.own_reasons(content) or [tally]
    yield Annotation(level, title, "; ".join(told))
    for row in content["rows"]:
        if row["verdict"] not in GREEN:
            facts = [clean(row["reason"]), *comparison.evidence(row)]
            yield Annotation("error", f"{row['verdict']} {comparison.row_name(row)}", "; ".join(facts))


def without_verdict(title: str, messages: Iterable[str]) -> list[str]:
    """Return the workflow commands of a gate that came to no verdict: an error for each message."""
    return [
        found.command() for found in capped([Annotation("error", title, clean(text)) for text in messages])
    ]


def capped(found: list[Annotation]) -> list[Annotation]:
    """Order annotations by level and keep the ten of each that GitHub shows, the last counting the rest."""
    kept = []
    for level in LEVELS:
        group = [annotation for annotation in found if annotation.level == level]
        if len(group) > MOST:
            rest = group[MOST - 1 :]
            names = ", ".join(annotation.title for annotation in rest)
            group = [*group[: MOST - 1], Annotation(level, f"and {len(rest)} more", names)]
        kept += group
    return kept


def step_outputs(verdict: str, exit_code: int, run: str) -> str:
    """Return the lines for $GITHUB_OUTPUT; `verdict` and `run` are empty where there is none."""
    return "".join(
        f"{name}={clean(value)}\n"
        for name, value in (("verdict", verdict), ("exit-code", exit_code), ("run", run))
    )
