"""What the page says in words and tables: a pure function of what was collected, in the console's forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from loadgate.plan.units import format_bytes, format_duration, format_number, format_share
from loadgate.report import verdict_facts
from loadgate.report.html.collect import RunData
from loadgate.report.html.marks import MOST_LISTED, listed
from loadgate.report.html.summary import text_of
from loadgate.report.readings import SHARES, SIZES
from loadgate.report.text import clean, counted, milliseconds

MOST_KINDS: Final = 100
MOST_ENDPOINT_ROWS: Final = 101
MOST_WORKERS: Final = 50
MOST_REASONS: Final = 30
LONGEST_SAMPLE: Final = 2000
LONGEST_PLAN: Final = 100_000


@dataclass(frozen=True)
class Table:
    """A table: `right` are the columns of numbers, `more` says what was left out."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    more: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of failure: `left` and `width` are where it was seen, in hundredths of the run."""

    count: str
    endpoint: str
    outcome: str
    kind: str
    message: str
    seen: str
    left: float
    width: float
    samples: tuple[str, ...]


def latency_table(content: Mapping[str, Any] | None) -> Table | None:
    """Return the latencies of the steady phase by endpoint, from the verdict."""
    if content is None or not content["latencies"]:
        return None
    found = content["latencies"]
    names = sorted(name for name in found if name != "*")
    names = ["*", *names] if len(names) != 1 and "*" in found else names
    rows = []
    for name in names[:MOST_ENDPOINT_ROWS]:
        for clock in ("response", "service") if content["model"] != "closed" else ("service",):
            row = found[name][clock]["adjusted"]
            keys = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms")
            cells = [milliseconds(row[key], row["infinite"]) for key in keys]
            rows.append(
                ("all" if name == "*" else clean(name), clock, *cells, str(row["n"]), str(row["infinite"]))
            )
    if not rows:
        return None
    headings = ("endpoint", "clock", "p50", "p90", "p95", "p99", "p99.9", "max", "requests", "infinite")
    left_out = len(names) - MOST_ENDPOINT_ROWS
    more = f"{counted(left_out, 'more endpoint')} in verdict.json" if left_out > 0 else ""
    caption = f"Steady phase; {verdict_facts.clock_note(content['model'])}"
    return Table(caption, headings, tuple(rows), frozenset(range(2, 10)), more)


def books_table(content: Mapping[str, Any] | None) -> Table | None:
    """Return where every arrival went, by endpoint, over the whole run."""
    if content is None:
        return None
    found = content["books"]["run"]
    names = ["*", *sorted(name for name in found if name != "*")]
    keys = ("arrivals", "ok", "failed", "timeout", "unsent", "unfinished", "lost")
    rows = tuple(
        (
            "all" if name == "*" else clean(name),
            *(str(found[name][key]) for key in keys),
            "balanced" if found[name]["missing"] == 0 else f"{found[name]['missing']} missing",
        )
        for name in names[:MOST_ENDPOINT_ROWS]
    )
    return Table("The books of the whole run: every arrival has one end", ("endpoint", *keys, "books"), rows,
                 frozenset(range(1, 8)))  # fmt: skip


def kinds_of(data: RunData) -> tuple[list[Kind], str]:
    """Return the kinds of failure, the most frequent first, and what was left out of them."""
    length = max(1.0, float(data.timeline.frame.end)) if data.timeline is not None else None
    found = []
    for one in data.failures[:MOST_KINDS]:
        end = length or max(one.last, 1.0)
        left = min(max(100 * one.first / end, 0.0), 99.0)
        width = min(max(100 * (one.last - one.first) / end, 1.0), 100.0 - left)
        seen = format_duration(round(one.first, 1))
        if round(one.last, 1) > round(one.first, 1):
            seen = f"{seen} to {format_duration(round(one.last, 1))}"
        found.append(
            Kind(
                str(one.count),
                clean(one.endpoint),
                clean(one.outcome),
                _cut(clean(one.kind)),
                _cut(clean(one.message)),
                seen,
                round(left, 2),
                round(width, 2),
                tuple(_cut(readable(sample)) for sample in one.samples),
            )
        )
    left_out = data.failures[MOST_KINDS:]
    if not left_out:
        return found, ""
    failures = counted(sum(one.count for one in left_out), "failure")
    return found, f"and {counted(len(left_out), 'more kind')} with {failures}"


def readable(text: str) -> str:
    """Return text with its line breaks, and without other control characters."""
    return "\n".join(
        "".join(char if char.isprintable() else "�" for char in line) for line in text.splitlines()
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SAMPLE else f"{text[:LONGEST_SAMPLE]}… ({len(text)} characters)"


def workers_table(content: Mapping[str, Any] | None) -> Table | None:
    """Return the health of each worker over the steady phase, from the verdict."""
    workers = content["generator"]["workers"] if content is not None else []
    if not workers:
        return None
    rows = tuple(
        (
            clean(one["worker"]),
            str(one["seconds"]),
            format_share(round(one["cpu_mean"], 4)),
            format_share(round(one["cpu_max"], 4)),
            format_bytes(round(one["rss_max"])),
            milliseconds(one["loop_lag_max_ms"]),
        )
        for one in workers[:MOST_WORKERS]
    )
    left_out = len(workers) - MOST_WORKERS
    headings = ("worker", "seconds", "CPU mean", "CPU max", "memory max", "loop lag max")
    more = f"{counted(left_out, 'more worker')} in verdict.json" if left_out > 0 else ""
    return Table(
        "Each worker over the steady phase; CPU of a core", headings, rows, frozenset(range(1, 6)), more
    )


def readings_table(data: RunData) -> Table | None:
    """Return every reading of every probe: how many, how many failed, and the values' range."""
    if not data.readings:
        return None
    rows = []
    for one in data.readings[:MOST_LISTED]:
        values = one.values
        ends = (
            [reading_text(one.reading, value) for value in (min(values), max(values), values[-1])]
            if values
            else []
        )
        rows.append(
            (clean(one.name), str(one.n), str(one.failed), *(ends or ["no data"] * 3), clean(one.error)[:120])
        )
    headings = ("reading", "readings", "failed", "lowest", "highest", "last", "last failure")
    left_out = len(data.readings) - MOST_LISTED
    more = f"and {counted(left_out, 'more reading')}" if left_out > 0 else ""
    return Table("What the probes read", headings, tuple(rows), frozenset(range(1, 6)), more)


def reading_text(reading: str, value: float) -> str:
    """Write a reading as the console does: shares as percentages, sizes in powers of ten."""
    if reading in SHARES:
        return format_share(round(value, 4))
    return format_bytes(round(value)) if reading in SIZES else format_number(value)


def happenings_table(data: RunData) -> Table | None:
    """Return what happened to the run, in order of time."""
    found, left_out = listed(data)
    if not found:
        return None
    rows = tuple(
        ("before" if one.at is None else format_duration(round(one.at, 1)), one.kind, one.text)
        for one in found
    )
    more = f"and {counted(left_out, 'more entry').replace('entrys', 'entries')}" if left_out > 0 else ""
    return Table("In order of run time", ("run time", "what", "detail"), rows, frozenset({0}), more)


def environment_table(data: RunData) -> Table:
    """Return versions, machine and the run's own values."""
    versions, machine = data.values.get("versions"), data.values.get("machine")
    rows: list[tuple[str, str]] = [("run", clean(data.id))]
    names = (("scenario", "scenario"), ("mode", "mode"), ("model", "model"), ("workers", "workers_expected"))
    rows += [
        (label, text_of(data.values.get(key))) for label, key in names if data.values.get(key) is not None
    ]
    rows += _pairs("version of", versions)
    rows += _pairs("machine:", machine)
    return Table("Where it ran", ("what", "value"), tuple(rows))


def _pairs(label: str, found: object) -> list[tuple[str, str]]:
    if not isinstance(found, dict):
        return []
    return [(f"{label} {clean(key)}", clean(value)[:300]) for key, value in list(found.items())[:40]]


def plan_text(data: RunData) -> str:
    """Return the plan as text to read; "" without one."""
    if data.plan is None:
        return ""
    text = orjson.dumps(data.plan, option=orjson.OPT_INDENT_2).decode()
    return (
        text
        if len(text) <= LONGEST_PLAN
        else f"{text[:LONGEST_PLAN]}\n… ({len(text)} characters in plan.json)"
    )


def lines_of(content: Mapping[str, Any] | None, which: str) -> list[str]:
    """Return lines of the console's facts: "alerts", "books", "generator", "findings" or "drift"."""
    if content is None:
        return []
    given = dict(content)
    if which == "findings":
        return _capped([clean(one["message"]) for one in content["findings"]])
    if which == "drift":
        return _capped([f"{one['verdict']}: {clean(one['reason'])}" for one in content.get("drift", ())])
    if which == "generator":
        return verdict_facts.generator(given).split("; ")
    made: Iterable[str] = verdict_facts.books(given) if which == "books" else verdict_facts.alerts(given)
    return list(made)


def _capped(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_REASONS
    return list(lines) if more <= 0 else [*lines[:MOST_REASONS], f"and {counted(more, 'more line')}"]
