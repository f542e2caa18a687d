"""How a run stands, for who looks at it from another terminal: while it goes on, after it, or after it died.

`read_status` is the rim: it reads the run's folder, whatever state that is in. What is said is a pure
function of what it found there, by the formulas of the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from loadgate.errors import LoadgateError, StoreError
from loadgate.judge.evidence import Evidence
from loadgate.judge.fleet import losses, not_measured, offered_by_nobody
from loadgate.judge.gather import dropped_notes, gather
from loadgate.judge.results import number, spelled, worst
from loadgate.judge.run import coverage, early_reason
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import Verdict, judge
from loadgate.plan.disk_budget import disk_budget
from loadgate.plan.plan import Plan
from loadgate.plan.timeline import PHASES
from loadgate.report.last_windows import last_windows
from loadgate.report.standing import WATCH, Hand, ObjectiveNow, Status, stability
from loadgate.store.annotations import Annotations, read_annotations
from loadgate.store.database import RunReader
from loadgate.store.disk import free_bytes, used_bytes
from loadgate.store.folder import RunFolder
from loadgate.store.requests import Holder, holder_of
from loadgate.store.run_clock import Anchor, Now
from loadgate.watch.restarts import restarts_in

SETTLED_AFTER: Final = 3.0
"""Seconds after a second of run time in which every worker has told of it, and the master has kept it."""
QUIET_AFTER: Final = 30.0
"""Seconds without a write after which a run that nobody holds is dead, and one that is held may hang."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the `run` table says, before anything of it is judged."""

    values: Mapping[str, Any]
    now: Now
    generator: Hand
    control: Hand

    def text(self, key: str) -> str:
        """Return a value as text; empty where there is none."""
        return str(self.values.get(key) or "")

    @property
    def ended(self) -> str | None:
        """Return how the run ended; None while it has not."""
        ended = self.values.get("ended")
        return None if ended is None else str(ended)

    @property
    def run_time(self) -> float | None:
        """Return the run time of now, or that of the end."""
        if self.ended is not None:
            at = self.values.get("ended_at_run_time")
            return None if at is None else float(at)
        anchor = Anchor.of(self.values.get("anchor"))
        return None if anchor is None else max(0.0, anchor.run_time(self.now))


_KEYS: Final = (
    "scenario", "host", "mode", "model", "started_at", "ended", "ended_at", "ended_at_run_time", "anchor",
)  # fmt: skip


def read_status(run: RunFolder, now: Now) -> Status:
    """Read how a run stands. StoreError when its run database cannot be read at all."""
    hands = _hand("generator", run.database, now), _hand("control room", run.watch_database, now)
    with RunReader(run.database) as reader, reader.snapshot():
        values = {key: reader.value(key, None) for key in _KEYS}
        stored = reader.value("plan", None)
    facts = _Facts(values, now, *hands)
    state, advice = state_of(run.id, facts)
    status = Status(
        run=run.id,
        path=str(run.path),
        state=state,
        advice=advice,
        scenario=facts.text("scenario"),
        host=facts.text("host"),
        mode=facts.text("mode"),
        model=facts.text("model"),
        started_at=facts.text("started_at"),
        ended_at=facts.text("ended_at"),
        ended=facts.ended,
        elapsed=facts.run_time,
        writers=hands,
        verdict=_stored_verdict(run),
        disk=_disk(run.path),
    )
    status, plan = _with_plan(status, stored)
    status = _with_annotations(status, run)
    try:
        status = replace(status, faults=(*status.faults, *dropped_notes(run)))
        return _with_evidence(status, run, plan, now)
    except LoadgateError as error:
        return replace(status, faults=tuple(dict.fromkeys((*status.faults, error.message))))


def state_of(name: str, facts: _Facts) -> tuple[str, str]:
    """Say in what state a run is, and what to do about it where there is something to do."""
    generator, control = facts.generator, facts.control
    if facts.ended is not None:
        return "ended", ""
    if generator.held or control.held:
        if generator.held and not generator.here:
            return "elsewhere", f"it is written on another machine: `loadgate stop {name}` works there"
        if facts.values.get("anchor") is None:
            return "starting", ""
        if not generator.held:
            return "between writers", "its generator is being started again, or ends"
        # A watch without a load writes its run database at its begin and its end.
        silent = (generator.beat or 0.0) > QUIET_AFTER and facts.text("mode") != WATCH
        return "running", "it has not written for long, and may hang: see its logs" if silent else ""
    beats = [hand.beat for hand in (generator, control) if hand.beat is not None]
    if beats and min(beats) < QUIET_AFTER:
        return (
            "elsewhere",
            "no process of this machine writes it, and it changed just now: look where it runs",
        )
    return "dead", (
        f"nobody writes it any more; `loadgate resume {name}` goes on with it, "
        f"`loadgate verdict {name}` judges what was measured"
    )


# -- what is in the folder ----------------------------------------------------------------------


def _hand(part: str, database: Path, now: Now) -> Hand:
    holder = Holder(held=False)
    with suppress(StoreError):
        holder = holder_of(database)
    return Hand(part, holder.held, holder.pid, holder.process is not None, _beat(database, now))


def _beat(database: Path, now: Now) -> float | None:
    """Return the seconds since a database was written; readers touch neither file, unless it is empty."""
    moments = []
    for path in (database, database.with_name(f"{database.name}-wal")):
        with suppress(OSError):
            fact = path.stat()
            if fact.st_size > 0:
                moments.append(fact.st_mtime)
    return max(0.0, now.wall - max(moments)) if moments else None


def _disk(folder: Path) -> dict[str, int | None]:
    """Return the bytes that a run takes on its disk, and those that are free there."""
    return {"used": used_bytes(folder), "free": free_bytes(folder), "budget": None}


def _stored_verdict(run: RunFolder) -> str | None:
    with suppress(OSError, orjson.JSONDecodeError, KeyError, TypeError):
        number = run.newest_verdict()
        return str(orjson.loads(run.verdict_path(number).read_bytes())["verdict"]) if number else None
    return None


def _with_annotations(status: Status, run: RunFolder) -> Status:
    try:
        found = read_annotations(run)
    except StoreError as error:
        found = Annotations(faults=(error.message,))
    entries = tuple(entry.to_dict() for entry in found.entries)
    return replace(status, annotations=entries, faults=(*status.faults, *found.faults))


def _with_plan(status: Status, stored: Any) -> tuple[Status, Plan | None]:
    """Add what the plan says of the time; a watch without a load ends when it is told to."""
    if stored is None:
        return status, None
    try:
        plan = Plan.from_json(orjson.dumps(stored))
        timeline = plan.timeline
    except LoadgateError as error:
        return replace(status, faults=(*status.faults, error.message)), None
    if status.mode == WATCH:
        return status, plan
    status = replace(status, disk={**status.disk, "budget": disk_budget(plan)})
    left = None
    if not status.is_over:
        left = timeline.end if status.elapsed is None else max(0.0, timeline.end - status.elapsed)
    phase = None
    if status.elapsed is not None and not status.is_over:
        phase = PHASES[int(timeline.phases_of([status.elapsed])[0])]
    return replace(status, planned=timeline.end, remaining=left, phase=phase), plan


# -- what was measured --------------------------------------------------------------------------


def _with_evidence(status: Status, run: RunFolder, plan: Plan | None, now: Now) -> Status:
    running = not status.is_over and status.state != "dead"
    until = None if not running or status.elapsed is None else max(0.0, status.elapsed - SETTLED_AFTER)
    evidence = gather(run, plan, running=running, until=until)
    if status.mode == WATCH:
        # It made no load, so there is nothing to hold its objectives against.
        evidence = replace(evidence, objectives=())
    elapsed = status.elapsed if status.elapsed is not None else evidence.ended_at
    if not running and status.ended is None and evidence.ended_at is not None:
        elapsed = evidence.ended_at
    status = replace(status, elapsed=elapsed, measured_until=evidence.ended_at)
    if status.state == "dead":
        status = replace(status, phase=None, remaining=None)
    judged = None if status.mode == WATCH else judge(evidence, now=datetime.fromtimestamp(now.wall, UTC))
    restarts = [dict(one._asdict()) for one in restarts_in(evidence.readings, evidence.probes)]
    objectives = tuple(_objectives(judged)) if judged is not None else ()
    return replace(
        status,
        **(_so_far(judged) if judged is not None else {}),
        objectives=objectives,
        readings=tuple({(one.probe, one.reading): one for one in evidence.readings}.values()),
        alerts=tuple(dict(alert) for alert in evidence.alerts),
        restarts=tuple(restarts),
        stability=stability(elapsed, objectives, restarts, evidence.alerts, over=status.is_over),
        **_fleet(evidence),
    )


def _so_far(judged: Verdict) -> dict[str, Any]:
    """Say what the rows are worth by now; the verdict of a run that goes on is INVALID whatever they are."""
    grade, evidence = judged.grade, judged.evidence
    if evidence.running and not evidence.seconds:
        return {}
    if evidence.running and judged.rows and not judged.void:
        grade = worst(row.verdict for row in judged.rows if row.decides)
    # That it still goes on is no news to who asks how it stands.
    known = early_reason(evidence) if evidence.running else None
    reasons = tuple(reason for reason in judged.reasons if reason != known)
    drift = tuple(f"{one.verdict.value} {one.reason}" for one in judged.drift)
    return {"so_far": grade.value, "void": judged.void, "reasons": reasons, "drift": drift}


def _fleet(evidence: Evidence) -> dict[str, Any]:
    """Return what became of the workers, and what is missing."""
    known = bool(evidence.fleet) and evidence.seconds > 0
    return {
        "losses": tuple(one.to_dict() for one in losses(evidence)),
        "gaps": dict(evidence.gaps),
        "coverage": coverage(evidence).share if known else None,
        "unoffered": offered_by_nobody(evidence),
        "not_measured": tuple(one.to_dict() for one in not_measured(evidence)),
        "resumed": tuple(event.at for event in evidence.events if event.kind == "resumed"),
    }


def _objectives(judged: Verdict) -> Iterable[ObjectiveNow]:
    for row in judged.rows:
        objective, evidence = row.objective, judged.evidence
        last = last_windows(objective, evidence)
        state = last.state
        yield ObjectiveNow(
            name=objective.name,
            statistic=objective.statistic,
            target=objective.target.text,
            alert=objective.alert.text if objective.alert else None,
            verdict=row.verdict.value,
            value=spelled(objective.target, row.value) if row.value is not None else "",
            n=row.n,
            reason=row.reason,
            now="no data"
            if not state.n
            else "past the limit"
            if state.past
            else "holds"
            if state.holds
            else "worse than the target",
            now_value=spelled(objective.target, state.value) if state.n else "",
            window=_pair(last.newest),
            last_breach=_pair(last.breach),
            time_in_violation=number(row.time_in_violation) or 0.0,
            optional=row.optional,
        )


def _pair(part: Interval | None) -> tuple[float, float] | None:
    return None if part is None else (part.start, part.end)
