"""The verdict in Markdown, for a pull request or a job summary: what was decided, why, how to look closer.

It is short (under 60 lines for a usual run), has the same words as the console, and escapes what the plan or
the target put into it: what a target sent stands in code spans, where no markup, link or mention works.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from loadgate.report import comparison
from loadgate.report.cut import verdict_of, worst_first
from loadgate.report.evidence import (
    confidence,
    headline,
    in_violation,
    interval,
    moment,
    row_title,
    value_text,
    worst_window,
)
from loadgate.report.markup import code, escaped
from loadgate.report.text import counted
from loadgate.report.verdict_facts import alerts, books, failures, generator, steady

MOST_REASONS: Final = 10
MOST_ROWS: Final = 60
"""Rows of the table; with more objectives, those that do not pass come first."""

_HEADINGS: Final = ("Result", "Objective", "Value", "Target", "Alert", "95% interval", "Samples")
_INTERVAL: Final = 5
_RULER: Final = (":--", ":--", "--:", ":--", ":--", ":--", "--:")


def render(content: dict[str, Any], command: str | None = None, report: str | None = None) -> str:
    """Return a verdict in Markdown; `command` is what makes such a run again, where it is known.

    `report` is the page that was left of the run, by its place in the folder of results.

    `content` is that of verdict.json; a gate that compared the run has that of comparison.json in it, under
    the key `comparison`.
    """
    return "\n".join([*_lines(content, command, report), ""])


def without_verdict(scenario: str, message: str, more: Sequence[str], exit_code: int) -> str:
    """Return the Markdown of a gate that came to no verdict, and why."""
    lines = [f"## NO VERDICT: {escaped(scenario)}", "", f"- {escaped(message)}"]
    lines += [f"  {code(line)}" for line in more]
    return "\n".join([*lines, "", f"Exit code {exit_code}. Nothing was judged.", ""])


def _lines(content: dict[str, Any], command: str | None, report: str | None) -> Iterator[str]:
    verdict, rest = headline(content).split(" ", 1)
    yield f"## {verdict}: {escaped(rest)}"
    yield ""
    started = moment(content["started_at"])
    about = f"Run {code(content['run'])} on {code(content['host'] or '-')}, started {started}"
    yield f"{about}, exit code {content['exit_code']}."
    yield ""
    yield from _capped([escaped(reason) for reason in content["reasons"]], "reason")
    yield ""
    if content["objectives"]:
        yield from _table(content["objectives"])
        yield ""
    if content.get("comparison"):
        yield comparison.markdown(content["comparison"])
    yield from _section("Worst windows", [*_worst(content["objectives"])])
    yield from _section("Alerts", [escaped(line) for line in alerts(content)])
    yield from _section("Findings", [escaped(finding["message"]) for finding in content["findings"]])
    yield from _section("Load", [*_load(content)])
    yield from _again(content, command, report)


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Give the table of objectives."""
    shown = rows
    if len(rows) > MOST_ROWS:
        shown = worst_first(rows, verdict_of)[:MOST_ROWS]
    told = {confidence(row) for row in shown if row["interval"]} or {"95%"}
    headings = (*_HEADINGS[:_INTERVAL], f"{min(told)} interval", *_HEADINGS[_INTERVAL + 1 :])
    for cells in (headings, _RULER, *map(_cells, shown)):
        yield f"| {' | '.join(cells)} |"
    if len(shown) < len(rows):
        yield ""
        yield f"{counted(len(rows) - len(shown), 'more row')} in verdict.json."


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    verdict = row["verdict"]
    return (
        verdict if verdict == "PASS" else f"**{verdict}**",
        escaped(row_title(row)),
        escaped(value_text(row)),
        escaped(row["target"]),
        escaped(row["alert"] or "-"),
        escaped(interval(row)),
        str(row["n"]),
    )


def _worst(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Give the worst window of each row that does not pass, or was past its limit for a while."""
    for row in rows:
        window, past = worst_window(row), in_violation(row)
        if window and (row["verdict"] != "PASS" or past):
            yield escaped(f"{row_title(row)}: {window}{f'; {past}' if past else ''}")


def _load(content: dict[str, Any]) -> Iterator[str]:
    """Give what was offered and what became of it, and how the generator did."""
    yield f"steady: {escaped(steady(content))}"
    for line in books(content):
        yield f"books, {escaped(line)}"
    for line in failures(content):
        yield f"failures: {code(line)}"
    yield f"generator: {escaped(generator(content))}"


def _section(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield f"**{title}**"
        yield ""
        yield from _capped(items, "line")
        yield ""


def _capped(items: Sequence[str], noun: str) -> Iterator[str]:
    yield from (f"- {item}" for item in items[:MOST_REASONS])
    if len(items) > MOST_REASONS:
        yield f"- and {counted(len(items) - MOST_REASONS, f'more {noun}')} in verdict.json"


def _again(content: dict[str, Any], command: str | None, report: str | None) -> Iterator[str]:
    """Say where the run can be looked at, how to judge it again, and how to make such a run."""
    if report is not None:
        yield f"Charts, failures and the plan: {code(report)} among the kept results."
        yield ""
    judge = f"Judge it again: {code('loadgate verdict ' + content['run'])}"
    yield f"{judge}. Run it again: {code(command)}." if command else f"{judge}."
