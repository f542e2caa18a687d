"""What stands behind a verdict and its rows, in words that every report of a run shares.

Each function reads verdict.json (`verdict.schema.json`) and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from loadgate.plan.samples import DOUBT
from loadgate.plan.units import format_duration, format_number, format_share
from loadgate.report.text import clean, counted

GREEN: Final = ("PASS", "WARN")


def decides(row: dict[str, Any]) -> bool:
    """Tell whether a row counts for its run: an optional one does only when it fails."""
    return not row["optional"] or row["verdict"] == "FAIL"


def is_red(row: dict[str, Any], *, strict: bool) -> bool:
    """Tell whether a row stops a release: one that decides and is not PASS, nor WARN unless `strict`."""
    green = ("PASS",) if strict else GREEN
    return decides(row) and row["verdict"] not in green


def headline(content: dict[str, Any]) -> str:
    """Return the verdict, the scenario, and whether the run is void or ended early: "FAIL gate (void)"."""
    parts = [content["verdict"], clean(content["scenario"] or "no scenario")]
    if content["void"]:
        parts.append("(void)")
    if content["running"]:
        parts.append("(still running)")
    elif content["ended"] != "planned":
        parts.append(f"({content['ended']})")
    return " ".join(parts)


def run_reasons(content: dict[str, Any]) -> list[str]:
    """Return the reasons that are not those of a single row: void, ended early, nothing to judge by."""
    told = {
        f"{row['verdict']} {name}: {row['reason']}" for row in content["objectives"] for name in _names(row)
    }
    return [clean(reason) for reason in content["reasons"] if reason not in told]


def _names(row: dict[str, Any]) -> tuple[str, str]:
    return row["name"], f"{row['name']} (optional)"


def interval(row: dict[str, Any]) -> str:
    """Write a row's confidence interval in its unit: "48.1ms to 49.3ms"; "-" where there is none."""
    ends = row["interval"]
    if not ends:
        return "-"
    return f"{_in_unit(ends[0], row['unit'])} to {_in_unit(ends[1], row['unit'])}"


def _in_unit(value: float | None, unit: str) -> str:
    """Write one end; JSON has no infinity, so what is missing is among the infinitely slow."""
    if value is None or not math.isfinite(value):
        return "infinite"
    return f"{format_number(value)} {unit}" if unit.startswith("req") else f"{format_number(value)}{unit}"


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


def confidence(row: dict[str, Any]) -> str:
    """Write the confidence of a row's bounds: "95%"; verdicts of older releases do not have it."""
    return format_share(row.get("confidence") or 1 - DOUBT)


def worst_window(row: dict[str, Any]) -> str:
    """Say which window was the worst, how bad, and when by the clock and in run time; "" without one."""
    window = row["worst_window"]
    if not window:
        return ""
    clock = f"{in_utc(window['start_at']):%H:%M:%S} to {in_utc(window['end_at']):%H:%M:%S} UTC"
    run = f"run time {format_duration(window['start'])} to {format_duration(window['end'])}"
    return f"{clean(window['value_text'])} over {counted(window['n'], 'sample')}, {clock} ({run})"


def in_violation(row: dict[str, Any]) -> str:
    """Say for how long a row's windows were past its limit; "" where they never were."""
    if not row["time_in_violation"]:
        return ""
    limit = "the alert threshold" if row["alert"] else "the target"
    past, longest = format_duration(row["time_in_violation"]), format_duration(row["longest_breach"])
    return f"past {limit} for {past} in its windows, {longest} on end"


def evidence(row: dict[str, Any]) -> Iterator[str]:
    """Give the lines that hold a row's result against its limits: one fact each."""
    alert = f", alert {row['alert']}" if row["alert"] else ""
    yield f"observed: {clean(value_text(row))}"
    yield f"limit: target {clean(row['target'])}{clean(alert)}"
    yield f"samples: {row['n']}"
    yield f"{confidence(row)} interval: {interval(row) if row['interval'] else 'none was estimated'}"
    yield f"worst window: {worst_window(row) or 'none'}"
    if in_violation(row):
        yield in_violation(row)
    yield from (f"note: {clean(note)}" for note in row["notes"])


def row_title(row: dict[str, Any]) -> str:
    """Return a row's name with its statistic, and whether it is optional."""
    return f"{title(row)}{' (optional)' if row['optional'] else ''}"


def moment(text: str) -> str:
    """Write an ISO moment in UTC to the second: "2026-11-22 20:35:12 UTC"."""
    return f"{in_utc(text):%Y-%m-%d %H:%M:%S} UTC"


def in_utc(text: str) -> datetime:
    """Read an ISO moment; one without a zone is taken as UTC."""
    read = datetime.fromisoformat(text)
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
