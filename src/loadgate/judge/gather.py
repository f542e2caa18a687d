"""Gather the evidence of a stored run from its databases."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from loadgate.judge.digest import Wanted, digested, is_long
from loadgate.judge.evidence import ENDINGS, JUDGED_SERIES, STEADY, Evidence, steady_of
from loadgate.judge.slots import Interval, clip
from loadgate.measure.columns import ColumnWindows, Tally
from loadgate.measure.delta import FleetRow
from loadgate.measure.window import ALL
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import PHASES, Segment, Timeline
from loadgate.plan.units import format_duration
from loadgate.store.annotations import annotations_of
from loadgate.store.control_lock import control_gaps
from loadgate.store.database import Event, RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading, WatchReader
from loadgate.watch.alert_summary import summary_of


def gather(
    run: RunFolder,
    plan: Plan | None = None,
    objectives: Sequence[Objective] | None = None,
    *,
    running: bool = False,
    until: float | None = None,
) -> Evidence:
    """Read the evidence of a run, half-written or whole; `plan` and `objectives` replace those stored.

    `running` says that the run still goes on, and `until` a run time of which nothing later is wanted. Rows
    that the scenario leaves out are left out of `objectives` too. Raises StoreError when the run database
    cannot be read, and PlanError when the stored plan cannot.
    """
    with RunReader(run.database) as reader, reader.snapshot():
        plan = plan if plan is not None else _stored_plan(reader)
        long = is_long(reader)
        windows = None if long else _windows(reader, until)
        fleet = tuple(row for row in reader.fleet() if until is None or row.second < until)
        events = tuple(reader.events())
        ended, decided_at = reader.value("ended", None), reader.value("decided_at", None)
        tallies = windows.columns.tallies if windows is not None else _extent(reader)
        end = _end_of(reader.value("ended_at_run_time", None), fleet, tallies)
        offered_until = _offered_until(
            end, events, by_plan=ended == "planned" and plan is not None and decided_at is None
        )
        segments, notes = _segments(plan)
        planned = steady_of(segments) if plan else _all_of(fleet, tallies, offered_until)
        steady, rows, digest = clip(planned, offered_until), _rows(plan, objectives), None
        if windows is None:
            drift = plan.scenario.drift if plan else ()
            wanted = Wanted.of(rows, drift)
            windows, digest = digested(reader, wanted, steady, until)
        return Evidence(
            run=run.id,
            objectives=rows,
            planned=planned,
            steady=steady,
            windows=windows,
            digest=digest,
            readings=_readings(run),
            fleet=fleet,
            events=events,
            ended=ended if ended in ENDINGS else "died",
            ended_at=end,
            decided_at=None if decided_at is None else float(decided_at),
            running=running and ended is None,
            workers_expected=_workers(reader.value("workers_expected", None), plan, fleet),
            segments=segments,
            has_plan=plan is not None,
            notes=(*notes, *dropped_notes(run)),
            deployments=_deployments(run),
            control_gaps=control_gaps(run),
            **_counted(reader),
            **_values(reader, plan),
            **_alerts(run),
            **_of_plan(plan),
        )


def _stored_plan(reader: RunReader) -> Plan | None:
    stored = reader.value("plan", None)
    return None if stored is None else Plan.from_json(orjson.dumps(stored))


def _counted(reader: RunReader) -> dict[str, Any]:
    """Return the fields that hold what the master counted, as it is stored."""
    return {
        "ledger": tuple(reader.ledger()),
        "failures": tuple(reader.failures()),
        "gaps": _gaps(reader),
    }


def _values(reader: RunReader, plan: Plan | None) -> dict[str, Any]:
    """Return the fields that the run's own values decide, or its plan where they say nothing."""
    scenario = plan.scenario if plan else None
    anchor = reader.value("anchor", None) or {}
    return {
        "scenario": str(reader.value("scenario", None) or (scenario.name if scenario else "")),
        "flushed": bool(reader.value("flushed", False)),
        "model": str(reader.value("model", None) or (scenario.traffic.model if scenario else "closed")),
        "mode": str(reader.value("mode", None) or "distributed"),
        "anchor_wall": float(anchor.get("wall", 0.0)),
        "anchored": "wall" in anchor,
        "started_at": str(reader.value("started_at", None) or ""),
        "host": str(reader.value("host", None) or (scenario.host if scenario else "")),
        "versions": {str(key): str(n) for key, n in (reader.value("versions", None) or {}).items()},
    }


def _deployments(run: RunFolder) -> tuple[float, ...]:
    noted = (note for note in annotations_of(run) if note.kind == "deployment")
    return tuple(note.at for note in noted if note.at is not None)


def _alerts(run: RunFolder) -> dict[str, Any]:
    """Return the fields that the control room's alerts decide."""
    with WatchReader(run.watch_database) as reader:
        changes, actions = reader.alerts(), reader.actions()
    stopped = {stage.alert for stage in actions if stage.step == "stop-load" and stage.stage == "start"}
    by = (f"{one.rule} ({one.detail.get('text', '')})" for one in changes if one.id in stopped)
    return {"alerts": tuple(summary_of(changes)), "aborted_by": next(by, "")}


def _of_plan(plan: Plan | None) -> dict[str, Any]:
    """Return the fields that the scenario decides; without one their defaults hold."""
    if plan is None:
        return {}
    scenario = plan.scenario
    return {
        "source_addresses": max(1, len(scenario.traffic.source_addresses)),
        "random_arrivals": scenario.traffic.arrivals == "poisson",
        "probes": scenario.probes,
        "policy": scenario.verdict,
        "generator": scenario.generator,
        "drift": scenario.drift,
    }


def _rows(plan: Plan | None, objectives: Sequence[Objective] | None) -> tuple[Objective, ...]:
    """Choose the rows to judge; a scenario's `leave_out` holds for an SLA table given later too."""
    if objectives is None:
        return plan.objectives if plan else ()
    left_out = plan.scenario.verdict.leave_out if plan else ()
    return tuple(row for row in objectives if not any(row.matches(word) for word in left_out))


def _segments(plan: Plan | None) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Return the planned segments; a recorded trace that is gone or was changed leaves a note instead."""
    if plan is None:
        return (), ("the run had no plan: a closed-model run, all of it steady",)
    try:
        _check_trace(plan)
        return Timeline.of(plan.scenario).segments, ()
    except PlanError as error:
        return (), (f"the planned load cannot be read again: {error.message}",)


def _check_trace(plan: Plan) -> None:
    """Raise PlanError when the recorded trace is no longer the one that was replayed."""
    trace = plan.scenario.traffic.trace
    known = plan.files.get(str(trace)) if trace is not None else None
    if trace is None or known is None:
        return
    try:
        same = hashlib.sha256(trace.read_bytes()).hexdigest() == known
    except OSError:
        return  # reading it as a trace says why it cannot be read
    if not same:
        raise PlanError([Problem(str(trace), "", "is not the trace that the run replayed: it was changed")])


def _all_of(fleet: Sequence[FleetRow], windows: Sequence[Tally], end: float) -> tuple[Interval, ...]:
    """Return the whole time in which anything was recorded: what is steady in a run without a plan."""
    begun = [row.second for row in fleet] or [window.second for window in windows]
    start = float(max(0, min(begun, default=0)))
    return (Interval(start, end),) if end > start else ()


def _end_of(stored: float | None, fleet: Sequence[FleetRow], windows: Sequence[Tally]) -> float | None:
    """Return the run time at which the run ended: as stored, else the end of the last second on record."""
    if stored is not None:
        return float(stored)
    ends = [row.end for row in fleet] or [window.end for window in windows]
    return float(max(ends)) if ends else None


def _offered_until(end: float | None, events: Iterable[Event], *, by_plan: bool) -> float:
    """Return the run time at which the load stopped; after it come the drain and the end of the run.

    A run that ended by its plan stopped where its last segment ends, so nothing has to be cut from it.
    """
    if end is None:
        return 0.0
    stops = [] if by_plan else [event.at for event in events if event.kind == "draining"]
    return min([end, *stops])


def _workers(stored: int | None, plan: Plan | None, fleet: Sequence[FleetRow]) -> int:
    """Return how many workers should have reported: as stored, else planned, else those seen."""
    planned = plan.scenario.generator.workers if plan else 0
    return max(1, stored or planned or len({row.worker for row in fleet}))


def _windows(reader: RunReader, until: float | None = None) -> ColumnWindows:
    """Read all windows; those of other phases without histograms, since their counts are enough."""
    steady = reader.columns(phase=STEADY, end=until, series=JUDGED_SERIES)
    others = [
        reader.columns(phase=phase, end=until, series=()).tallies for phase in PHASES if phase != STEADY
    ]
    return ColumnWindows(steady.followed_by([one for tallies in others for one in tallies]))


def _extent(reader: RunReader) -> tuple[Tally, ...]:
    """Return one window over all the time in which anything was recorded."""
    found = reader.extent()
    return () if found is None else (Tally(found[0], found[1] - found[0], ALL, ALL),)


def _gaps(reader: RunReader) -> dict[str, int]:
    """Count the deltas of each worker that are missing between those that arrived."""
    missing: Counter[str] = Counter()
    for source in reader.sources():
        missing[source.worker] += sum(last - first + 1 for first, last in source.gaps)
    return {worker: number for worker, number in sorted(missing.items()) if number}


def dropped_notes(run: RunFolder) -> tuple[str, ...]:
    """Say what the watch database had too much of to keep, so that no one misses it unknowingly."""
    if not run.watch_database.exists():
        return ()
    with WatchReader(run.watch_database) as reader:
        return tuple(
            f"the oldest {one.n} {one.kind} of {one.name} were dropped, because there were too many: "
            f"nothing of them before run time {format_duration(round(one.until, 3))} is known any more"
            for one in reader.dropped()
        )


def _readings(run: RunFolder) -> tuple[Reading, ...]:
    """Read what the probes saw; a run without a control room has no watch database."""
    if not run.watch_database.exists():
        return ()
    with WatchReader(run.watch_database) as reader:
        return tuple(reader.readings())
