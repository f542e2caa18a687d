"""The status of a run on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from loadgate.plan.disk_budget import about
from loadgate.plan.units import format_bytes, format_duration, format_share
from loadgate.report.alerts import summary_lines
from loadgate.report.readings import readings_line
from loadgate.report.standing import WATCH, Hand, ObjectiveNow, Status
from loadgate.report.text import SYMBOLS, clean, columns, counted, wrapped

MOST_LINES: Final = 3
"""Alerts, reasons, annotations and the like that are shown: the last, or the most telling ones."""
_MARGIN: Final = 11
_HEADINGS: Final = ("OBJECTIVE", "TARGET", "SO FAR", "", "LAST WINDOW", "", "LAST BREACH")


def status_lines(status: Status, symbols: Mapping[str, str] = SYMBOLS, width: int | None = None) -> list[str]:
    """Return the lines of the screen, none wider than `width` where it can be helped."""
    lines: list[str] = []
    for title, texts in _parts(status):
        for text in texts:
            head = (title if text is texts[0] else "").ljust(_MARGIN)
            lines += wrapped(text, width, head, " " * _MARGIN)
    if status.objectives:
        lines += ["", *_table(status, symbols)]
    return lines


def _parts(status: Status) -> Iterator[tuple[str, Sequence[str]]]:
    yield "run", [_what(status)]
    yield "state", [_state(status)]
    yield "time", [time_line(status)]
    if not status.is_over:
        yield "alive", [_hand(hand) for hand in status.writers]
    if status.stability is not None:
        yield "stable", [stability_line(status)]
    if status.mode != WATCH:
        yield "verdict", _verdict(status)
    yield "alerts", _last(summary_lines(status.alerts), "alert") or ["none fired"]
    if status.readings:
        yield "probes", [_readings(status)]
    if status.mode != WATCH:
        yield "fleet", [fleet_line(status), *map(_not_measured, status.not_measured[-MOST_LINES:])]
    if status.restarts:
        yield "target", _last([_restart(one) for one in status.restarts], "restart")
    if status.annotations:
        yield "notes", _last([_annotation(one) for one in status.annotations], "annotation")
    yield "disk", [disk_line(status)]
    if status.faults:
        yield "unreadable", [clean(fault) for fault in status.faults]


def _what(status: Status) -> str:
    kind = "watch, no load" if status.mode == WATCH else f"{status.model} model" if status.model else ""
    parts = [status.run, f"scenario {status.scenario}" if status.scenario else "", status.host, kind]
    return clean(", ".join(filter(None, parts)))


def _state(status: Status) -> str:
    said = status.state.upper()
    if status.ended is not None:
        at = f" at {status.ended_at}" if status.ended_at else ""
        said = f"ENDED ({status.ended}){at}"
    return clean(f"{said}: {status.advice}" if status.advice else said)


def time_line(status: Status) -> str:
    """Say how far a run has come."""
    if status.elapsed is None:
        return "the load has not begun"
    parts = [f"{span(status.elapsed)} elapsed"]
    if status.planned is not None:
        parts[0] += f" of {format_duration(status.planned)}"
    if status.remaining is not None:
        parts.append(f"{span(status.remaining)} left" if status.remaining else "at its planned end")
    if status.phase is not None:
        parts.append(f"phase {status.phase}")
    if status.measured_until is not None and not status.is_over and status.mode != WATCH:
        parts.append(f"measured until {span(status.measured_until)}")
    if status.resumed:
        parts.append(f"resumed {counted(len(status.resumed), 'time')}, last at {span(status.resumed[-1])}")
    return ", ".join(parts)


def _hand(hand: Hand) -> str:
    beat = "it never wrote" if hand.beat is None else f"last write {format_duration(round(hand.beat, 1))} ago"
    if not hand.held:
        return f"{hand.part}: no process ({beat})"
    who = f"process {hand.pid}" if hand.pid is not None else "a process"
    return f"{hand.part}: {who}{'' if hand.here else ' of another machine'}, {beat}"


def stability_line(status: Status) -> str:
    """Say for how long nothing has gone wrong, and what did last; the status must have it."""
    found = status.stability
    assert found is not None
    if not found.last:
        return f"{span(found.seconds)}, the whole run: no breach, restart or critical alert"
    return f"{span(found.seconds)} since {span(found.since)}: {clean(found.what)}"


def _verdict(status: Status) -> list[str]:
    stored = f"{status.verdict} stored" if status.verdict is not None else "none stored"
    if status.so_far is None:
        return [f"{stored}; nothing of the steady phase was measured yet"]
    label = "by what was measured" if status.is_over or status.state == "dead" else "worst row so far"
    lines = [f"{stored}; {label} {status.so_far}{' (void)' if status.void else ''}"]
    if status.verdict is None or status.void:
        lines += [clean(reason) for reason in status.reasons[:MOST_LINES]]
    return lines


def fleet_line(status: Status) -> str:
    """Say what became of the workers, and what is missing."""
    lost = [one for one in status.losses if one["returned"] is None]
    parts = []
    if status.losses:
        last = status.losses[-1]
        parts.append(
            f"a worker was lost {counted(len(status.losses), 'time')} ({len(lost)} not back), "
            f"last {clean(last['worker'])} at {span(last['at'])}"
        )
    else:
        parts.append("no worker was lost")
    missing = sum(status.gaps.values())
    parts.append(f"{counted(missing, 'report')} missing" if missing else "no gap in the reports")
    if status.coverage is not None:
        parts.append(f"coverage {format_share(round(status.coverage, 4))}")
    if status.unoffered:
        parts.append(f"{counted(status.unoffered, 'arrival')} offered by nobody")
    return ", ".join(parts)


def _not_measured(stretch: Mapping[str, Any]) -> str:
    return f"not measured {span(stretch['from'])} to {span(stretch['to'])}: {clean(stretch['cause'])}"


def _readings(status: Status) -> str:
    firing = {alert["rule"]: alert["state"] for alert in status.alerts}
    return readings_line({(one.probe, one.reading): one for one in status.readings}, firing)


def _restart(restart: Mapping[str, Any]) -> str:
    return f"restarted at {span(restart['at'])}: {clean(restart['sign'])} ({clean(restart['probe'])})"


def _annotation(one: Mapping[str, Any]) -> str:
    at = one["wall"] if one["at"] is None else span(one["at"])
    return f"{at} {one['kind']}: {clean(one['text'])}"


def disk_line(status: Status) -> str:
    """Say what a run takes of its disk."""
    used, free = status.disk.get("used"), status.disk.get("free")
    budget = status.disk.get("budget")
    text = f"{format_bytes(used or 0)} used" + (f" of a budget of about {about(budget)}" if budget else "")
    return f"{text}, {format_bytes(free)} free" if free is not None else text


def _last(lines: Sequence[str], noun: str) -> list[str]:
    """Return the last lines, after how many more there are."""
    more = len(lines) - MOST_LINES
    head = [f"({counted(more, f'earlier {noun}')} not shown: see --json)"] if more > 0 else []
    return [*head, *lines[-MOST_LINES:]]


def row_name(row: ObjectiveNow) -> str:
    """Name an objective with its statistic, once."""
    said = not row.statistic or row.name.endswith(f".{row.statistic}")
    return row.name if said else f"{row.name} {row.statistic}"


def _table(status: Status, symbols: Mapping[str, str]) -> list[str]:
    rows = [_HEADINGS]
    for row in status.objectives:
        mark = symbols.get(row.verdict, "")
        name = row_name(row)
        breach = span(row.last_breach[1]) if row.last_breach is not None else "-"
        rows.append(
            (
                clean(name) + (" (optional)" if row.optional else ""),
                row.target,
                row.value or "-",
                f"{mark} {row.verdict}".strip(),
                row.now_value or "-",
                row.now,
                breach,
            )
        )
    return columns(rows, right=(2, 4, 6))


def span(seconds: float) -> str:
    """Write a run time to the second."""
    return format_duration(float(int(seconds))) if seconds >= 0 else format_duration(float(-int(-seconds)))
