"""The facts under a verdict's table: the load, the books, latencies, the generator, and where it all is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from loadgate.plan.units import format_duration, format_number, format_share
from loadgate.report.alerts import summary_lines
from loadgate.report.text import clean, columns, counted, milliseconds, wrapped
from loadgate.store.folder import results_root

LABEL: Final = 13
"""Columns of the labels on the left."""
MOST_FAILURES: Final = 5
MOST_WORKERS: Final = 4
MOST_ALERTS: Final = 10


def facts(content: dict[str, Any], path: Path, width: int | None) -> Iterator[Text]:
    """Give the lines: a label and what it says, one fact each."""
    indent = " " * LABEL
    room = None if width is None else width - LABEL
    for label, text in _facts(content, path, room):
        first = label.ljust(LABEL)
        for number, line in enumerate(wrapped(text, width, first, indent)):
            styled = Text(line)
            if number == 0:
                styled.stylize("bold", 0, len(label))
            yield styled


def _facts(content: dict[str, Any], path: Path, room: int | None) -> Iterator[tuple[str, str]]:
    for number, finding in enumerate(content["findings"]):
        yield "findings" if number == 0 else "", clean(finding["message"])
    for number, result in enumerate(content.get("drift", ())):
        yield "drift" if number == 0 else "", f"{result['verdict']}  {clean(result['reason'])}"
    for number, line in enumerate(alerts(content)):
        yield "alerts" if number == 0 else "", line
    yield "target", clean(content["host"] or "-")
    yield "steady", steady(content)
    for number, line in enumerate(books(content)):
        yield "requests" if number == 0 else "", line
    for number, line in enumerate(failures(content)):
        yield "failures" if number == 0 else "", line
    for number, line in enumerate(latencies(content, room)):
        yield "latencies" if number == 0 else "", line
    yield "generator", generator(content)
    yield "stored in", clean(path.parent)
    yield "verdict", f"{clean(path.name)}, exit code {content['exit_code']}"
    yield "judge again", again(content, path)


def alerts(content: dict[str, Any]) -> list[str]:
    """Say which alerts fired, and when each was over; verdicts of old have no word of alerts."""
    lines = summary_lines(content.get("alerts", ()))
    more = len(lines) - MOST_ALERTS
    return lines if more <= 0 else [*lines[:MOST_ALERTS], f"and {counted(more, 'alert')} more"]


def steady(content: dict[str, Any]) -> str:
    """Say how long the steady phase was, at which rate, and what came of it."""
    seconds, planned = content["steady_seconds"], content["steady_seconds_planned"]
    if not seconds:
        return f"none of the planned {format_duration(planned)} was run" if planned else "none was run"
    text = format_duration(seconds)
    if planned - seconds > 1e-3:
        text += f" of the planned {format_duration(planned)}"
    every = content["books"]["steady"]["*"]
    parts = [text, *_planned_level(content)]
    parts.append(f"offered {_rate(every['arrivals'] / seconds)}")
    share = f" ({_share(every['ok'], every['arrivals'])})" if every["arrivals"] else ""
    parts.append(f"ok {_rate(every['ok'] / seconds)}{share}")
    return ", ".join(parts)


def _planned_level(content: dict[str, Any]) -> Iterator[str]:
    """Give the planned levels of the steady phase: rates in the open model, users in the closed one."""
    levels = [part["level_end"] for part in content["phases"] if part["phase"] == "steady"]
    known = [level for level in levels if level is not None]
    if not known:
        return
    low, high = min(known), max(known)
    span = format_number(low) if low == high else f"{format_number(low)} to {format_number(high)}"
    yield f"planned {span} users" if content["model"] == "closed" else f"planned {span} req/s"


def _rate(per_second: float) -> str:
    return f"{format_number(round(per_second, 1))} req/s"


def _share(part: int, whole: int) -> str:
    """Write a share with at most four decimals; never 100% for less than all, nor 0% for more than none."""
    share = round(part / whole, 6)
    if part < whole and share == 1:
        return "over 99.9999%"
    return format_share(share)


def books(content: dict[str, Any]) -> Iterator[str]:
    """Give the books of the steady phase and of the run: every arrival ends once, or they do not balance."""
    for scope, name in (("steady", "steady"), ("run", "whole run")):
        row = content["books"][scope]["*"]
        ends = [f"{row[key]} {key}" for key in ("ok", "failed", "timeout", "unsent", "unfinished", "lost")]
        if row["missing"] == 0:
            state = "balanced"
        elif row["missing"] > 0:
            state = f"NOT balanced: {row['missing']} without an end"
        else:
            state = f"NOT balanced: {-row['missing']} ends too many"
        yield f"{name}: {row['arrivals']} arrivals = {' + '.join(ends)}: {state}"


def failures(content: dict[str, Any]) -> Iterator[str]:
    """Give the most frequent kinds of failure, and how many more kinds there are."""
    kinds = content["failures"]
    for kind in kinds[:MOST_FAILURES]:
        said = clean(kind["message"])
        detail = f": {said}" if said and said != kind["kind"] else ""
        yield f"{kind['count']} x {clean(kind['endpoint'])} {kind['outcome']}, {clean(kind['kind'])}{detail}"
    if len(kinds) > MOST_FAILURES:
        yield f"and {counted(len(kinds) - MOST_FAILURES, 'more kind')}, all in verdict.json"


def latencies(content: dict[str, Any], room: int | None = None) -> Iterator[str]:
    """Give the percentiles of the response time by endpoint, and say which clock and which requests.

    Columns that `room` does not hold are left out: they stand in verdict.json.
    """
    found = content["latencies"]
    names = [name for name in found if name != "*"]
    if len(names) != 1 and "*" in found:
        names.append("*")
    rows: list[tuple[str, ...]] = [("", "p50", "p95", "p99", "p99.9", "max", "requests")]
    for name in names:
        row = found[name]["response"]["adjusted"]
        keys = ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms")
        values = [milliseconds(row[key], row["infinite"]) for key in keys]
        rows.append(("all" if name == "*" else clean(name), *values, str(row["n"])))
    if len(rows) == 1:
        yield "none: no request of the steady phase"
        return
    yield clock_note(content["model"])
    for drop in ("p99.9", "requests", "p50"):
        if room is None or max(len(line) for line in columns(rows)) <= room:
            break
        index = rows[0].index(drop)
        rows = [(*row[:index], *row[index + 1 :]) for row in rows]
    yield from columns(rows, right=range(1, len(rows[0])))


def clock_note(model: str) -> str:
    """Say what a response time of this run is."""
    if model == "closed":
        return (
            "closed model: response time equals service time, so time spent waiting for a user is not in it"
        )
    return "response time from the intended start; what failed or never ended counts as infinite"


def generator(content: dict[str, Any]) -> str:
    """Say in a line how the generator did: workers, lateness, CPU, and how much was reported."""
    row = content["generator"]
    expected, lost = row["workers_expected"], len(row["workers_lost"])
    parts = [f"{counted(expected, 'worker')}{f' ({lost} lost)' if lost else ''}, {clean(row['mode'])}"]
    lag, wait = row["start_lag"], row["pool_wait"]
    parts.append(f"start lag p99 {milliseconds(lag['p99_ms'])}, max {milliseconds(lag['max_ms'])}")
    parts.append(f"waiting for a user p99 {milliseconds(wait['p99_ms'])}")
    workers = row["workers"]
    if workers:
        mean = sum(worker["cpu_mean"] for worker in workers) / len(workers)
        most = max(worker["cpu_max"] for worker in workers)
        each = " per worker" if len(workers) > 1 else ""
        parts.append(f"CPU mean {_cpu(mean)}{each}, max {_cpu(most)} of a core")
        parts.append(f"loop lag max {milliseconds(max(worker['loop_lag_max_ms'] for worker in workers))}")
    else:
        parts.append("no worker reported")
    # A verdict of an older release has neither of the two.
    if control := row.get("control"):
        failed = f", {control['failures']} of {control['n']} unanswered" if control["failures"] else ""
        parts.append(f"control p99 {milliseconds(control['p99_ms'])}{failed}")
    if row.get("marked", {}).get("seconds"):
        marked = row["marked"]
        parts.append(f"{marked['seconds']} s marked ({', '.join(clean(kind) for kind in marked['by'])})")
    covered = content["coverage"]
    parts.append(f"coverage {format_share(covered['share'])} of {covered['seconds']} s")
    return "; ".join(parts)


def _cpu(cores: float) -> str:
    return f"{cores * 100:.1f}%"


def again(content: dict[str, Any], path: Path) -> str:
    """Return the command that judges the run again: by id where that finds it, else by path."""
    folder = path.parent
    by_id = results_root(None, None).absolute() == folder.absolute().parent
    return f"loadgate verdict {shlex.quote(content['run'] if by_id else str(folder))}"
