"""The table of objectives, with the reason and the worst window under each row that does not pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.text import Text

from loadgate.plan.units import format_duration, format_number
from loadgate.report.text import STYLES, clean, columns, counted, wrapped

HEADINGS: Final = ("RESULT", "OBJECTIVE", "VALUE", "95% BOUNDS", "TARGET", "ALERT", "SAMPLES")
RIGHT: Final = (6,)
BOUNDS: Final = 3
"""The column that is left out first."""
INDENT: Final = "    "


def table(rows: Sequence[dict[str, Any]], width: int | None, symbols: dict[str, str]) -> Iterator[Text]:
    """Give the lines of the table; where `width` is too small for it, each row takes two lines.

    The bounds of the values are a column where there is room, and where any row has them.
    """
    marks = [_mark(row, symbols) for row in rows]
    cells = [(mark, *_cells(row)) for mark, row in zip(marks, rows, strict=True)]
    heading, *lines = columns([HEADINGS, *cells], RIGHT)
    bare = [(*row[:BOUNDS], *row[BOUNDS + 1 :]) for row in (HEADINGS, *cells)]
    if not any(row["interval"] for row in rows) or _too_wide([heading, *lines], width):
        heading, *lines = columns(bare, tuple(column - 1 for column in RIGHT))
    if _too_wide([heading, *lines], width):
        lines = [f"{row[0]}  {row[1]}" for row in cells]
        stacked = [_limits(*row[2:]) for row in bare[1:]]
    else:
        yield Text(heading, style="bold")
        stacked = [""] * len(cells)
    for row, mark, line, limits in zip(rows, marks, lines, stacked, strict=True):
        text = Text(line)
        text.stylize(STYLES[row["verdict"]], 0, len(mark))
        yield text
        for detail in filter(None, (limits, *_details(row))):
            yield from (Text(part) for part in wrapped(detail, width, INDENT, INDENT + "  "))


def _too_wide(lines: Sequence[str], width: int | None) -> bool:
    return width is not None and max(len(line) for line in lines) > width


def title(row: dict[str, Any]) -> str:
    """Return a row's name with its statistic: "emotion.response_time p95"."""
    name, statistic = clean(row["name"]), row["statistic"]
    return name if not statistic or name.endswith(f".{statistic}") else f"{name} {statistic}"


def value_text(row: dict[str, Any]) -> str:
    """Write a value in its unit with six significant digits, and with all where they would mislead.

    0.0999999999% must not stand as "0.1%" beside a target of "< 0.1%".
    """
    value = row["value"]
    text = str(row["value_text"])
    if value is None:
        return text
    limits = [row["target_value"], row["alert_value"]]
    if any(
        limit is not None and value != limit and format_number(value) == format_number(limit)
        for limit in limits
    ):
        unit = row["unit"]
        return f"{value!r} {unit}" if unit.startswith("req") else f"{value!r}{unit}"
    return text


def _mark(row: dict[str, Any], symbols: dict[str, str]) -> str:
    verdict: str = row["verdict"]
    return f"{symbols[verdict]} {verdict}" if verdict in symbols else verdict


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    optional = " (optional)" if row["optional"] else ""
    samples = str(row["n"])
    return title(row) + optional, value_text(row), bounds(row), row["target"], row["alert"] or "-", samples


def bounds(row: dict[str, Any]) -> str:
    """Write the one-sided 95 % bounds of a value in its unit, with four significant digits; "-" for none."""
    if not row["interval"]:
        return "-"
    low, high = (_rounded(end) for end in row["interval"])
    if row["interval"][1] is None:
        return f"{low} .. {high}"
    unit = row["unit"]
    return f"{low} .. {high}{' ' if unit.startswith('req') else ''}{unit}"


def _rounded(end: float | None) -> str:
    """Write an end of an interval; the infinite one is null in verdict.json."""
    return "infinite" if end is None else format_number(float(f"{end:.4g}"))


def _limits(value: str, target: str, alert: str, samples: str) -> str:
    """Write what stands under a row's name on a narrow terminal."""
    limits = f"target {target}" + (f", alert {alert}" if alert != "-" else "")
    return f"{value}, {limits}, {counted(int(samples), 'sample')}"


def _details(row: dict[str, Any]) -> Iterator[str]:
    """Give what has to be known of a row: its reason and worst window unless it passes, and its notes."""
    if row["verdict"] != "PASS":
        yield clean(row["reason"])
        if row["worst_window"]:
            yield _worst(row)
    if row["time_in_violation"] and row["verdict"] != "FAIL":
        past, longest = format_duration(row["time_in_violation"]), format_duration(row["longest_breach"])
        limit = "the alert threshold" if row["alert"] else "the target"
        lasting = format_duration(row["for"])
        yield f"past {limit} for {past} in its windows, {longest} on end; {lasting} on end would fail the row"
    for note in row["notes"]:
        yield f"note: {clean(note)}"


def _worst(row: dict[str, Any]) -> str:
    """Say which window was the worst, when, and how bad."""
    window = row["worst_window"]
    clock = f"{_clock(window['start_at'])} to {_clock(window['end_at'])} UTC"
    run = f"run time {format_duration(window['start'])} to {format_duration(window['end'])}"
    return f"worst window: {window['value_text']} over {counted(window['n'], 'sample')}, {clock} ({run})"


def _clock(moment: str) -> str:
    """Return the time of day of an ISO moment, to the second; verdict.json writes all in UTC."""
    return moment[11:19]
