"""The table of objectives, with the reason and the worst window under each row that does not pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.text import Text

from loadgate.plan.units import format_duration, format_number
from loadgate.report.evidence import confidence, title, value_text, worst_window
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
    headings = _headings(rows)
    cells = [(mark, *_cells(row)) for mark, row in zip(marks, rows, strict=True)]
    heading, *lines = columns([headings, *cells], RIGHT)
    bare = [(*row[:BOUNDS], *row[BOUNDS + 1 :]) for row in (headings, *cells)]
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


def _headings(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the headings; the bounds of all rows of a verdict have the same confidence."""
    told = {confidence(row) for row in rows if row["interval"]}
    return tuple(f"{told.pop()} BOUNDS" if told and name == HEADINGS[BOUNDS] else name for name in HEADINGS)


def _too_wide(lines: Sequence[str], width: int | None) -> bool:
    return width is not None and max(len(line) for line in lines) > width


def _mark(row: dict[str, Any], symbols: dict[str, str]) -> str:
    verdict: str = row["verdict"]
    return f"{symbols[verdict]} {verdict}" if verdict in symbols else verdict


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    optional = " (optional)" if row["optional"] else ""
    samples = str(row["n"])
    return title(row) + optional, value_text(row), bounds(row), row["target"], row["alert"] or "-", samples


def bounds(row: dict[str, Any]) -> str:
    """Write the one-sided bounds of a value in its unit, with four significant digits; "-" for none."""
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
            yield f"worst window: {worst_window(row)}"
    if row["time_in_violation"] and row["verdict"] != "FAIL":
        past, longest = format_duration(row["time_in_violation"]), format_duration(row["longest_breach"])
        limit = "the alert threshold" if row["alert"] else "the target"
        lasting = format_duration(row["for"])
        yield f"past {limit} for {past} in its windows, {longest} on end; {lasting} on end would fail the row"
    for note in row["notes"]:
        yield f"note: {clean(note)}"
