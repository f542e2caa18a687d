"""The first screen: the verdict, why, and every objective; a pure function of what was collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadgate.plan.units import format_duration
from loadgate.report import verdict_facts
from loadgate.report.cut import left_out, verdict_of, worst_first
from loadgate.report.evidence import (
    confidence,
    in_violation,
    moment,
    row_title,
    run_reasons,
    value_text,
    worst_window,
)
from loadgate.report.html.bars import Bar, bar_of
from loadgate.report.html.collect import RunData
from loadgate.report.text import SYMBOLS, clean, counted
from loadgate.report.verdict_table import bounds

MOST_OBJECTIVES: Final = 200
MOST_REASONS: Final = 30


@dataclass(frozen=True)
class Objective:
    """A row of the first table, and what stands behind it."""

    verdict: str
    symbol: str
    name: str
    value: str
    target: str
    alert: str
    interval: str
    samples: str
    bar: Bar | None
    reason: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The first screen."""

    verdict: str
    symbol: str
    scenario: str
    run: str
    state: str
    """ "void", "still running", or how it ended where that is not as planned."""
    reasons: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    objectives: tuple[Objective, ...]
    interval_heading: str
    more_objectives: str
    void: bool = False


def summary_of(data: RunData) -> Summary:
    """Return the first screen; a run without a verdict says so, in the verdict's place."""
    content = data.verdict
    if content is None:
        facts = _facts_of_values(data.values)
        scenario = text_of(data.values.get("scenario")) or data.id
        return Summary("NO VERDICT", "?", scenario, data.id, "", _without(data), facts, (), "95% bounds", "")
    # A table that is shown whole keeps the order of its plan.
    fits = len(content["objectives"]) <= MOST_OBJECTIVES
    ordered = content["objectives"] if fits else worst_first(content["objectives"], verdict_of)
    rows = ordered[:MOST_OBJECTIVES]
    told = {confidence(row) for row in rows if row["interval"]} or {"95%"}
    cut = left_out([verdict_of(row) for row in ordered[MOST_OBJECTIVES:]])
    return Summary(
        content["verdict"],
        SYMBOLS.get(content["verdict"], "?"),
        clean(content["scenario"] or "no scenario"),
        clean(content["run"]),
        _state(content),
        _reasons(content),
        tuple(_facts(data, content)),
        tuple(objective_of(row) for row in rows),
        f"{min(told)} bounds",
        f"{cut}; all are in {data.verdict_file}" if cut else "",
        bool(content["void"]),
    )


def objective_of(row: Mapping[str, Any]) -> Objective:
    """Return a row of the table of objectives."""
    given = dict(row)
    words = f"{value_text(given)}; target {row['target']}" + (
        f", alert {row['alert']}" if row["alert"] else ""
    )
    past = in_violation(given)
    shown = row["worst_window"] and (past or row["verdict"] != "PASS")
    details = [f"worst window: {worst_window(given)}"] if shown else []
    if past:
        details.append(past)
    details += [f"note: {clean(note)}" for note in row["notes"]]
    return Objective(
        row["verdict"],
        SYMBOLS.get(row["verdict"], "?"),
        row_title(given),
        clean(value_text(given)),
        clean(row["target"]),
        clean(row["alert"] or "-"),
        bounds(given),
        str(row["n"]),
        bar_of(row, clean(words)),
        clean(row["reason"]),
        tuple(details),
    )


def _without(data: RunData) -> tuple[str, ...]:
    told = [one for one in data.missing if "verdict" in one]
    return (*told, f"judge it: loadgate verdict {data.id}")


def _state(content: Mapping[str, Any]) -> str:
    parts = ["void"] if content["void"] else []
    if content["running"]:
        parts.append("still running")
    elif content["ended"] != "planned":
        parts.append(clean(content["ended"]))
    return ", ".join(parts)


def _reasons(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the reasons of the run, and how many rows are what; the rows' own stand beside them."""
    rows, found = content["objectives"], run_reasons(dict(content))
    for grade in ("FAIL", "INVALID", "INCONCLUSIVE", "WARN"):
        names = [clean(row_title(row)) for row in rows if row["verdict"] == grade]
        if names:
            shown = ", ".join(names[:MOST_REASONS]) + (" and more" if len(names) > MOST_REASONS else "")
            found.append(f"{len(names)} of {len(rows)} objectives {grade}: {shown}")
    more = len(found) - MOST_REASONS
    return tuple(found if more <= 0 else [*found[:MOST_REASONS], f"and {counted(more, 'more reason')}"])


def _facts(data: RunData, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = dict(content)
    yield "target", clean(content["host"] or "-")
    yield "started", moment(content["started_at"])
    if content["ended_at"] is not None:
        yield "ended", f"{clean(content['ended'])}, after {format_duration(content['ended_at'])}"
    yield "steady", verdict_facts.steady(given)
    yield (
        "verdict",
        f"{data.verdict_file}, judged {moment(content['judged_at'])}, exit code {content['exit_code']}",
    )


def _facts_of_values(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    names = (
        ("target", "host"),
        ("started", "started_at"),
        ("ended", "ended"),
        ("mode", "mode"),
        ("model", "model"),
    )
    return tuple((label, text_of(values.get(key))) for label, key in names if values.get(key) is not None)


def text_of(value: object) -> str:
    """Return a value on one line; "" for none."""
    return "" if value is None else clean(value)
