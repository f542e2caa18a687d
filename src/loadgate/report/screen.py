"""The screen of a run that goes on: lines that fit a terminal, drawn from a snapshot."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from loadgate.plan.plan import Plan
from loadgate.plan.units import format_number
from loadgate.report.cut import ORDER
from loadgate.report.lines import micros, rate, requested
from loadgate.report.snapshot import AlertView, EndpointView, ObjectiveState, Snapshot
from loadgate.report.sparks import lately, spark
from loadgate.report.text import STYLES, clean, columns, counted, run_seconds
from loadgate.store.folder import RunFolder

SEVERITIES: Final = ("critical", "high", "medium", "low")
MOST_WORKERS: Final = 4
MOST_ALERTS: Final = 3
SPARK_WIDTH: Final = 15
"""Characters of a sparkline; each is two seconds."""
TREND: Final = "p95, last 30 s"
HEADINGS: Final = ("last 10 s", "ok/s", "p50", "p95", "p99", TREND, "failed", "timeout", "unsent", "waiting")


def screen(
    snapshot: Snapshot, plan: Plan, folder: RunFolder, width: int, height: int, symbols: dict[str, str]
) -> Text:
    """Return the screen in at most `height` lines of at most `width` columns."""
    head = [*_head(snapshot, plan, folder, width), Text(_load(snapshot))]
    foot = [*_alerts(snapshot), *_fleet(snapshot), *_failures(snapshot)]
    room = height - len(head) - len(foot)
    endpoints = _endpoints(snapshot, width, room, symbols["spark"])
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


def _endpoints(snapshot: Snapshot, width: int, room: int, steps: str) -> list[Text]:
    """Return the table of endpoints; the least telling columns go first where it is too wide."""
    views = [*snapshot.endpoints, snapshot.total] if len(snapshot.endpoints) != 1 else [*snapshot.endpoints]
    most = max(1, room - 2 - min(len(snapshot.objectives), 9))
    left_out = max(0, len(views) - most)
    if left_out:
        views = [*views[: most - 1], snapshot.total] if most > 1 else [snapshot.total]
    rows = [HEADINGS, *(_cells(view, snapshot.until, steps) for view in views)]
    for drop in ("waiting", "p50", TREND, "unsent", "p99", "timeout"):
        if max(len(line) for line in columns(rows)) <= width:
            break
        index = rows[0].index(drop)
        rows = [(*row[:index], *row[index + 1 :]) for row in rows]
    heading, *lines = columns(rows, right=range(1, len(rows[0])))
    if left_out:
        heading += f"  ({left_out} more)"
    return [Text(), Text(heading, style="bold"), *(Text(line) for line in lines)]


def _cells(view: EndpointView, until: float, steps: str) -> tuple[str, ...]:
    return (
        clean(view.name)[:24],
        rate(view.ok_rate),
        micros(view.recent.p50),
        micros(view.recent.p95),
        micros(view.recent.p99),
        spark(lately(view.trend, until, SPARK_WIDTH), steps),
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
        worst = sorted(rows, key=lambda row: ORDER.index(row.state))[: most - 1]
        kept = [row for row in rows if row in worst]
        states = sorted({row.state for row in rows if row not in kept}, key=ORDER.index)
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


def _alerts(snapshot: Snapshot) -> list[Text]:
    """Return a line per alert that fires, the gravest first, and one of those that may fire soon."""
    grave = sorted(
        (one for one in snapshot.alerts if one.fires), key=lambda one: SEVERITIES.index(one.severity)
    )
    lines = [
        Text(f"alert: {clean(one.rule)} ({one.severity}) is {one.state}", style=_alert_style(one))
        for one in grave[:MOST_ALERTS]
    ]
    if len(grave) > MOST_ALERTS:
        lines.append(Text(f"and {len(grave) - MOST_ALERTS} more alerts", style="dim"))
    pending = [clean(one.rule) for one in snapshot.alerts if one.state == "pending"]
    if pending:
        lines.append(Text(f"pending: {', '.join(pending)}", style="yellow"))
    return lines


def _alert_style(alert: AlertView) -> str:
    return "bold red" if alert.severity in ("critical", "high") else "yellow"


def _fleet(snapshot: Snapshot) -> list[Text]:
    """Return a line of the whole fleet, and one of its workers one by one; the silent ones first."""
    if not snapshot.workers:
        return [Text("generator: no worker has reported yet")]
    reporting = [worker for worker in snapshot.workers if not worker.silent]
    lag = max(worker.start_lag_p99_us for worker in snapshot.workers)
    expected = snapshot.expected or len(snapshot.workers)
    late = f"; {snapshot.late} late windows are not in this view" if snapshot.late else ""
    whole = (
        f"generator: {len(reporting)} of {counted(expected, 'worker')}, "
        f"{counted(sum(worker.users for worker in reporting), 'user')}; start lag p99 {micros(lag)}{late}"
    )
    first = sorted(snapshot.workers, key=lambda worker: not worker.silent)
    parts = [
        f"{clean(worker.name)[:16]} {'silent' if worker.silent else f'{worker.cpu * 100:.0f}% CPU'}"
        for worker in first[:MOST_WORKERS]
    ]
    more = len(first) - MOST_WORKERS
    if more > 0:
        parts.append(f"{format_number(more)} more")
    return [
        Text(whole, style="" if len(reporting) >= expected else "bold red"),
        Text(f"  {', '.join(parts)}"),
    ]


def _failures(snapshot: Snapshot) -> list[Text]:
    lines = []
    for row in snapshot.failures[:2]:
        detail = f": {clean(row.message)}" if row.message and row.message != row.kind else ""
        lines.append(Text(f"{row.count} x {clean(row.endpoint)} {row.outcome}, {clean(row.kind)}{detail}"))
    return lines
