"""The screen of a run that goes on: lines that fit a terminal, drawn from a snapshot."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from loadgate.plan.plan import Plan
from loadgate.plan.units import format_number
from loadgate.report.lines import micros, rate, requested
from loadgate.report.snapshot import EndpointView, ObjectiveState, Snapshot
from loadgate.report.text import STYLES, clean, columns, run_seconds
from loadgate.store.folder import RunFolder

SEVERITY: Final = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "waiting", "PASS")
MOST_WORKERS: Final = 4
HEADINGS: Final = ("last 10 s", "ok/s", "p50", "p95", "p99", "failed", "timeout", "unsent", "waiting")


def screen(
    snapshot: Snapshot, plan: Plan, folder: RunFolder, width: int, height: int, symbols: dict[str, str]
) -> Text:
    """Return the screen in at most `height` lines of at most `width` columns."""
    head = [*_head(snapshot, plan, folder, width), Text(_load(snapshot))]
    foot = [Text(_workers(snapshot)), *_failures(snapshot)]
    room = height - len(head) - len(foot)
    endpoints = _endpoints(snapshot, width, room)
    objectives = _objectives(snapshot, symbols, room - len(endpoints))
    lines = [*head, *endpoints, *objectives, *foot][: max(height, 1)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    joined = Text("\n", no_wrap=True, overflow="crop").join(lines)
    joined.no_wrap = True
    return joined


def _head(snapshot: Snapshot, plan: Plan, folder: RunFolder, width: int) -> list[Text]:
    first = Text(plan.scenario.name, style="bold")
    first.append(f"  {clean(plan.scenario.host)}  {clean(folder.id)}", style="not bold")
    if not snapshot.begun:
        return [first, Text("starting the generator")]
    times = f" {run_seconds(snapshot.elapsed)} of {run_seconds(snapshot.planned)}"
    left = f", {run_seconds(snapshot.remaining)} left" if snapshot.remaining else ", requests in flight end"
    share = snapshot.elapsed / snapshot.planned if snapshot.planned else 1.0
    room = max(8, min(40, width - len(times) - len(left) - 10))
    done = int(share * room)
    second = Text(snapshot.phase.ljust(7), style="bold cyan")
    second.append("[" + "#" * done + "." * (room - done) + "]", style="not bold")
    second.append(times + left, style="not bold default")
    return [first, second]


def _load(snapshot: Snapshot) -> str:
    return (
        f"{requested(snapshot)}   ok {rate(snapshot.total.ok_rate)}   in flight {snapshot.in_flight}   "
        f"arrivals {snapshot.total.count('arrivals')}   ok so far {snapshot.total.count('ok')}"
    )


def _endpoints(snapshot: Snapshot, width: int, room: int) -> list[Text]:
    """Return the table of endpoints; the least telling columns go first where it is too wide."""
    views = [*snapshot.endpoints, snapshot.total] if len(snapshot.endpoints) != 1 else [*snapshot.endpoints]
    most = max(1, room - 2 - min(len(snapshot.objectives), 9))
    left_out = max(0, len(views) - most)
    if left_out:
        views = [*views[: most - 1], snapshot.total] if most > 1 else [snapshot.total]
    rows = [HEADINGS, *(_cells(view) for view in views)]
    for drop in ("waiting", "p50", "unsent", "p99", "timeout"):
        if max(len(line) for line in columns(rows)) <= width:
            break
        index = rows[0].index(drop)
        rows = [(*row[:index], *row[index + 1 :]) for row in rows]
    heading, *lines = columns(rows, right=range(1, len(rows[0])))
    if left_out:
        heading += f"  ({left_out} more)"
    return [Text(), Text(heading, style="bold"), *(Text(line) for line in lines)]


def _cells(view: EndpointView) -> tuple[str, ...]:
    return (
        clean(view.name)[:24],
        rate(view.ok_rate),
        micros(view.recent.p50),
        micros(view.recent.p95),
        micros(view.recent.p99),
        str(view.count("failed")),
        str(view.count("timeout")),
        str(view.unsent),
        str(view.waiting),
    )


def _objectives(snapshot: Snapshot, symbols: dict[str, str], room: int) -> list[Text]:
    """Return a line per objective in the order of the plan; where room is short, the worst ones."""
    rows = list(snapshot.objectives)
    if not rows:
        return []
    most = max(1, room - 1)
    if len(rows) > most:
        worst = sorted(rows, key=lambda row: SEVERITY.index(row.state))[: most - 1]
        kept = [row for row in rows if row in worst]
        states = sorted({row.state for row in rows if row not in kept}, key=SEVERITY.index)
        more = [Text(f"and {len(rows) - len(kept)} more: {', '.join(states)}", style="dim")]
        rows = kept
    else:
        more = []
    if not rows:
        return [Text(), *more]
    cells = [(f"{symbols[row.state]} {row.state}", clean(row.title), _of(row), _reason(row)) for row in rows]
    lines = []
    for row, line in zip(rows, columns(cells), strict=True):
        text = Text(line)
        text.stylize(STYLES[row.state], 0, len(row.state) + 2)
        lines.append(text)
    return [Text(), *lines, *more]


def _of(row: ObjectiveState) -> str:
    return f"{row.value or '-'} of {row.target}"


def _reason(row: ObjectiveState) -> str:
    """Return why a row cannot be judged, or what has failed it; values speak for themselves."""
    return clean(row.reason) if row.state == "INVALID" else ""


def _workers(snapshot: Snapshot) -> str:
    if not snapshot.workers:
        return "workers: no report yet"
    parts = []
    for worker in snapshot.workers[:MOST_WORKERS]:
        state = "silent" if worker.silent else f"{worker.cpu * 100:.0f}% CPU"
        parts.append(f"{clean(worker.name)[:16]} {state}")
    more = len(snapshot.workers) - MOST_WORKERS
    lag = max(worker.start_lag_p99_us for worker in snapshot.workers)
    named = ", ".join(parts) + (f", {format_number(more)} more" if more > 0 else "")
    late = f"; {snapshot.late} late windows are not in this view" if snapshot.late else ""
    return f"generator: start lag p99 {micros(lag)}; {named}{late}"


def _failures(snapshot: Snapshot) -> list[Text]:
    lines = []
    for row in snapshot.failures[:2]:
        detail = f": {clean(row.message)}" if row.message and row.message != row.kind else ""
        lines.append(Text(f"{row.count} x {clean(row.endpoint)} {row.outcome}, {clean(row.kind)}{detail}"))
    return lines
