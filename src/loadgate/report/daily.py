"""What a run came to on a day: the daily summary, of the run's status and the objectives of the day alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadgate.errors import LoadgateError
from loadgate.judge.slots import Interval
from loadgate.plan.plan import Plan
from loadgate.plan.units import format_duration
from loadgate.report.alerts import summary_lines
from loadgate.report.last_day import last_day, values_of
from loadgate.report.standing import ObjectiveNow, Status
from loadgate.report.status import read_status
from loadgate.report.status_lines import disk_line, fleet_line, row_name, span, stability_line, time_line
from loadgate.store.folder import RunFolder
from loadgate.store.run_clock import Now
from loadgate.watch.daily import Section, Summary


def read_summary(run: RunFolder, plan: Plan | None, now: Now) -> Summary:
    """Read a run and summarise its last day. StoreError when its run database cannot be read at all.

    A run without a plan has no objectives.
    """
    status = read_status(run, now)
    part = last_day(status.measured_until if status.measured_until is not None else status.elapsed or 0.0)
    values: dict[str, str] = {}
    faults: tuple[str, ...] = ()
    try:
        values = values_of(run, plan, part) if plan is not None else {}
    except LoadgateError as error:
        faults = (f"the objectives of the last day: {error.message}",)
    return summarise(status, part, values, faults)


def summarise(
    status: Status, part: Interval, values: Mapping[str, str], faults: Sequence[str] = ()
) -> Summary:
    """Say how a run stands and what its last day (`part`) was like; `values` are that day's objectives."""
    worth = f"worst row so far {status.so_far}" if status.so_far is not None else "nothing to judge yet"
    void = ", void" if status.void else ""
    title = f"{status.scenario or status.run}: {_age(status)}, {worth}{void} (run {status.run})"
    sections = [
        Section("Run", tuple(_run(status))),
        Section("Objectives", tuple(_objective(row, values) for row in status.objectives)),
        Section("Alerts of the day", tuple(_alerts(status, part)) or ("none fired",)),
        Section("Gaps and losses", tuple(_losses(status))),
        Section("Restarts of the target", tuple(_restarts(status, part)) or ("none seen",)),
        Section("Drift so far", status.drift),
        Section("Notes of the day", tuple(_notes(status, part))),
        Section("Disk", (disk_line(status),)),
        Section("Could not be read", (*status.faults, *faults)),
    ]
    return Summary(title, tuple(one for one in sections if one.lines))


def _age(status: Status) -> str:
    if status.elapsed is None:
        return "not begun"
    of = f" of {format_duration(status.planned)}" if status.planned is not None else ""
    return f"{span(status.elapsed)}{of}"


def _run(status: Status) -> Iterator[str]:
    yield f"{status.state}: {status.advice}" if status.advice else status.state
    yield time_line(status)
    if status.stability is not None:
        yield f"stable for {stability_line(status)}"
    yield from status.reasons[:3]


def _objective(row: ObjectiveNow, values: Mapping[str, str]) -> str:
    name = row_name(row)
    breach = f", last past its limit at {span(row.last_breach[1])}" if row.last_breach is not None else ""
    optional = " (optional)" if row.optional else ""
    day = values.get(row.name, "no data")
    so_far = row.value or "no data"
    return f"{row.verdict} {name} {row.target}{optional}: last day {day}, run so far {so_far}{breach}"


def _alerts(status: Status, part: Interval) -> list[str]:
    """Return the alerts that fired on the day, or that were still on in it."""
    since = [a for a in status.alerts if a["resolved_at"] is None or a["resolved_at"] >= part.start]
    return summary_lines(since)


def _losses(status: Status) -> Iterator[str]:
    yield fleet_line(status)
    if status.resumed:
        yield f"resumed at {', '.join(span(at) for at in status.resumed)}"


def _restarts(status: Status, part: Interval) -> list[str]:
    return [
        f"at {span(one['at'])}: {one['sign']} ({one['probe']})"
        for one in status.restarts
        if one["at"] >= part.start
    ]


def _notes(status: Status, part: Interval) -> list[str]:
    def is_of_it(one: Mapping[str, Any]) -> bool:
        return one["at"] is not None and one["at"] >= part.start

    notes = filter(is_of_it, status.annotations)
    return [f"at {span(one['at'])}: {one['kind']}: {one['text']}" for one in notes]
