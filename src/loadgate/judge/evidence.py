"""Evidence: all that a verdict is made of, as plain values.

`gather` is the rim: it reads a run's databases, whatever state they are in. Everything else in this room
works on an `Evidence`, so that a verdict is a pure function of what was stored.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import orjson

from loadgate.judge.slots import Interval, clip, total_length
from loadgate.measure.columns import Columns, ColumnWindows, Tally
from loadgate.measure.delta import Failure, FleetRow
from loadgate.measure.layout import Int64s
from loadgate.measure.window import Count, Counting, Series, Window, windows_merged
from loadgate.plan.drift import Drift
from loadgate.plan.looks import Look, look_at
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.samples import DOUBT
from loadgate.plan.scenario import Generator, Probe, VerdictPolicy
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import PHASES, Segment, Timeline
from loadgate.store.annotations import annotations_of
from loadgate.store.database import Event, LedgerRow, RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading, WatchReader
from loadgate.watch.alert_summary import summary_of

STEADY = "steady"
JUDGED_SERIES = tuple(
    str(series)
    for series in Series
    if series not in (Series.RESPONSE_HIT, Series.RESPONSE_MISS, Series.CONNECT)
)
"""The series that a verdict uses; decoding the others would only take time."""
ENDINGS = ("planned", "stopped", "aborted", "interrupted", "died")


@dataclass(frozen=True, slots=True)
class Books:
    """Where the arrivals of an endpoint went; all are numbers of requests."""

    arrivals: int = 0
    ok: int = 0
    failed: int = 0
    timeout: int = 0
    unsent_pool: int = 0
    unsent_generator: int = 0
    unfinished: int = 0
    lost: int = 0

    @classmethod
    def of(cls, windows: Iterable[Counting[int]]) -> Self:
        """Add up the counts of some windows, or of some books."""
        totals = dict.fromkeys(cls.__slots__, 0)
        for window in windows:
            for name in totals:
                totals[name] += window.count(name)
        return cls(**totals)

    def count(self, name: str) -> int:
        """Return one of the counts."""
        return int(getattr(self, name))

    @property
    def unsent(self) -> int:
        """Return the arrivals that never started, whoever caused it."""
        return self.unsent_pool + self.unsent_generator

    @property
    def bad(self) -> int:
        """Return the arrivals that ended in anything but an acceptable answer."""
        return self.failed + self.timeout + self.unsent + self.unfinished + self.lost

    @property
    def settled(self) -> int:
        """Return the arrivals whose end is known; equal to `arrivals` when the books balance."""
        return self.ok + self.bad

    @property
    def missing(self) -> int:
        """Return the arrivals without an end; negative when there are more ends than arrivals."""
        return self.arrivals - self.settled

    def to_dict(self) -> dict[str, int]:
        """Return the books as plain values."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        return {**counts, "unsent": self.unsent, "missing": self.missing}


@dataclass(frozen=True)
class Evidence:
    """What is known of one run; times are run time in seconds unless they say otherwise.

    `steady` are the steady intervals as far as they were run, `planned` as they were planned.
    `windows` are those of every endpoint and phase, in any order; only those of the steady phase need
    histograms. A room that judges asks for them by columns: `of`, `total` and `stretches`.
    """

    run: str
    scenario: str
    objectives: tuple[Objective, ...]
    planned: tuple[Interval, ...]
    steady: tuple[Interval, ...]
    windows: Sequence[Window] = ()
    readings: tuple[Reading, ...] = ()
    fleet: tuple[FleetRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    events: tuple[Event, ...] = ()
    failures: tuple[Failure, ...] = ()
    gaps: Mapping[str, int] = field(default_factory=dict)
    """By worker: deltas that never arrived, so that neither their arrivals nor their ends were counted."""
    ended: str = "planned"
    ended_at: float | None = None
    decided_at: float | None = None
    """When the run was ended early because every objective was decided, as its plan asks for."""
    flushed: bool = True
    running: bool = False
    model: str = "open"
    mode: str = "distributed"
    workers_expected: int = 1
    anchor_wall: float = 0.0
    anchored: bool = True
    """Whether the run has its anchor: without it no run time can be told as a time of day."""
    started_at: str = ""
    host: str = ""
    source_addresses: int = 1
    random_arrivals: bool = True
    """Whether the number of planned arrivals is random (Poisson), or known."""
    segments: tuple[Segment, ...] = ()
    probes: tuple[Probe, ...] = ()
    policy: VerdictPolicy = field(default_factory=VerdictPolicy)
    generator: Generator = field(default_factory=Generator)
    versions: Mapping[str, str] = field(default_factory=dict)
    has_plan: bool = True
    notes: tuple[str, ...] = ()
    alerts: tuple[Mapping[str, Any], ...] = ()
    """The alerts of the run, each from when to when, as `watch.alert_summary` has them."""
    drift: tuple[Drift, ...] = ()
    """The series that must not creep."""
    deployments: tuple[float, ...] = ()
    """Run times at which people noted a deployment: levels may differ after one."""
    aborted_by: str = ""
    """The alert that ended the load, and why it fired; empty where none did."""

    @cached_property
    def endpoints(self) -> tuple[str, ...]:
        """Return the endpoints that the run had requests of, in any phase."""
        return tuple(sorted({window.endpoint for window in self.columns.tallies}))

    @cached_property
    def steady_fleet(self) -> tuple[FleetRow, ...]:
        """Return the fleet rows of the seconds that lie in the steady phase."""
        return tuple(row for row in self.fleet if any(float(row.second) in part for part in self.steady))

    @cached_property
    def steady_by_worker(self) -> Mapping[str, tuple[FleetRow, ...]]:
        """Return the steady fleet rows of each worker in order of time, the workers by name."""
        found: dict[str, list[FleetRow]] = {}
        for row in sorted(self.steady_fleet, key=lambda row: (row.worker, row.second)):
            found.setdefault(row.worker, []).append(row)
        return {worker: tuple(rows) for worker, rows in found.items()}

    @cached_property
    def seconds(self) -> float:
        """Return the seconds of steady load that were run."""
        return total_length(self.steady)

    @property
    def cut_short(self) -> bool:
        """Tell whether less was run than was planned; a run without a plan may be stopped at any time."""
        as_meant = self.ended == "planned" or (self.ended == "stopped" and not self.has_plan)
        return not as_meant or (not self.early and self.seconds < total_length(self.planned) - 1e-3)

    @property
    def early(self) -> bool:
        """Tell whether the run ended before its time because it was decided, as its plan asks for."""
        return self.policy.stop_when_certain and self.decided_at is not None and self.ended == "planned"

    @cached_property
    def look(self) -> Look | None:
        """Return the look that judges the run as far as it got; None where the plan asks for none."""
        if not self.policy.stop_when_certain:
            return None
        planned = total_length(self.planned)
        return look_at(self.seconds if self.early or self.running else planned, planned)

    @property
    def seen_enough(self) -> bool:
        """Tell whether a run that ended early may pass: it must have been looked at late enough for that."""
        return not self.early or (self.look is not None and self.look.may_pass)

    @property
    def doubt(self) -> float:
        """Return one minus the confidence of each bound."""
        return DOUBT if self.look is None else self.look.doubt

    @cached_property
    def columns(self) -> Columns:
        """Return all windows by columns: the steady phase first, in order of endpoint."""
        if isinstance(self.windows, ColumnWindows):
            return self.windows.columns
        return Columns.of(sorted(self.windows, key=lambda one: (one.phase != STEADY, one.endpoint)))

    @cached_property
    def _steady_of(self) -> dict[str, tuple[int, int]]:
        """Return where the steady windows of each endpoint that has some begin and end in `columns`."""
        return {
            name: (int(numbers[0]), int(numbers[-1]) + 1)
            for (name, phase), numbers in self._apart.items()
            if phase == STEADY
        }

    def stretches(self, endpoint: str | None) -> list[tuple[int, int]]:
        """Return where in `columns` the steady windows of an endpoint (None: of each) are: first, and end."""
        if endpoint is None:
            return list(self._steady_of.values())
        return [self._steady_of[endpoint]] if endpoint in self._steady_of else []

    def of(self, endpoint: str | None, phase: str | None = STEADY) -> tuple[Tally, ...]:
        """Return the windows of one endpoint (None: all) and one phase (None: all), without histograms.

        Those of the steady phase come in the order of `stretches`.
        """
        tallies = self.columns.tallies
        return tuple(tallies[number] for number in self._numbers_of(endpoint, phase).tolist())

    def counts(self, endpoint: str | None, phase: str | None = STEADY) -> Counting[Int64s]:
        """Return the counts of the windows that `of` returns, each as an array."""
        return self.columns.counts.chosen(self._numbers_of(endpoint, phase))

    def _numbers_of(self, endpoint: str | None, phase: str | None) -> Int64s:
        """Return the numbers of some windows in `columns`, increasing."""
        key = endpoint, phase
        if key not in self._numbers:
            chosen = [
                numbers
                for (name, kind), numbers in self._apart.items()
                if endpoint in (None, name) and phase in (None, kind)
            ]
            self._numbers[key] = np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
        return self._numbers[key]

    @cached_property
    def _numbers(self) -> dict[tuple[str | None, str | None], Int64s]:
        return {}

    @cached_property
    def _apart(self) -> dict[tuple[str, str], Int64s]:
        """Return the numbers in `columns` of the windows of each endpoint in each phase."""
        found: dict[tuple[str, str], list[int]] = {}
        for number, one in enumerate(self.columns.tallies):
            found.setdefault((one.endpoint, one.phase), []).append(number)
        return {key: np.array(numbers, np.int64) for key, numbers in found.items()}

    def books(self, endpoint: str | None = None, phase: str | None = None) -> Books:
        """Return the books of one endpoint (None: all) in one phase (None: all)."""
        return Books.of(
            books
            for (name, kind), books in self._books.items()
            if endpoint in (None, name) and phase in (None, kind)
        )

    @cached_property
    def _books(self) -> dict[tuple[str, str], Books]:
        """Return the books of each endpoint in each phase."""
        found = {}
        for key in self._apart:
            counts = self.counts(*key)
            found[key] = Books(**{name: int(counts.count(name).sum()) for name in Books.__slots__})
        return found

    def total(self, endpoint: str | None) -> Window:
        """Return all of the steady phase of one endpoint (None: all) as one window."""
        if endpoint not in self._totals:
            if endpoint is None:
                total = windows_merged(self.total(name) for name in self._steady_of)
            else:
                first, end = self._steady_of.get(endpoint, (0, 0))
                total = self.columns.total(first, end)
            self._totals[endpoint] = total
        return self._totals[endpoint]

    @cached_property
    def _totals(self) -> dict[str | None, Window]:
        return {}

    def cautious(self) -> Evidence:
        """Return the evidence with every steady request that is under way counted as failed."""
        others: dict[int, Tally] = {}
        for _, end in self.stretches(None):
            last = self.columns.tallies[end - 1]
            missing = self.books(last.endpoint, STEADY).missing
            if missing > 0:
                name = str(Count.UNFINISHED)
                others[end - 1] = replace(last, counts={**last.counts, name: last.count(name) + missing})
        return replace(self, windows=ColumnWindows(self.columns.with_tallies(others)))

    def ok_within(self, part: Interval, endpoint: str | None) -> int:
        """Return the ok answers that arrived inside an interval, whatever phase their request was due in.

        A window on the edge counts for the steady phase where it begins, and is left out for other phases.
        """
        number = 0
        for window in self.of(endpoint, None):
            inside = part.start <= window.second and window.end <= part.end
            begins = window.phase == STEADY and math.floor(part.start) <= window.second < part.end
            if inside or begins:
                number += window.count(Count.OK)
        return number


def steady_of(segments: Iterable[Segment]) -> tuple[Interval, ...]:
    """Return the steady intervals of a timeline; segments that touch become one interval."""
    joined: list[Interval] = []
    for segment in segments:
        if segment.phase != STEADY or segment.length <= 0:
            continue
        if joined and math.isclose(joined[-1].end, segment.start):
            joined[-1] = Interval(joined[-1].start, segment.end)
        else:
            joined.append(Interval(segment.start, segment.end))
    return tuple(joined)


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
        stored = reader.value("plan", None)
        if plan is None and stored is not None:
            plan = Plan.from_json(orjson.dumps(stored))
        windows = _windows(reader, until)
        fleet = tuple(row for row in reader.fleet() if until is None or row.second < until)
        events = tuple(reader.events())
        ended, decided_at = reader.value("ended", None), reader.value("decided_at", None)
        tallies = windows.columns.tallies
        end = _end_of(reader.value("ended_at_run_time", None), fleet, tallies)
        offered_until = _offered_until(
            end, events, by_plan=ended == "planned" and plan is not None and decided_at is None
        )
        segments, notes = _segments(plan)
        planned = steady_of(segments) if plan else _all_of(fleet, tallies, offered_until)
        anchor = reader.value("anchor", None) or {}
        return Evidence(
            run=run.id,
            scenario=str(reader.value("scenario", None) or (plan.scenario.name if plan else "")),
            objectives=_rows(plan, objectives),
            planned=planned,
            steady=clip(planned, offered_until),
            windows=windows,
            readings=_readings(run),
            fleet=fleet,
            ledger=tuple(reader.ledger()),
            events=events,
            failures=tuple(reader.failures()),
            gaps=_gaps(reader),
            ended=ended if ended in ENDINGS else "died",
            ended_at=end,
            decided_at=None if decided_at is None else float(decided_at),
            flushed=bool(reader.value("flushed", False)),
            running=running and ended is None,
            model=str(reader.value("model", None) or (plan.scenario.traffic.model if plan else "closed")),
            mode=str(reader.value("mode", None) or "distributed"),
            workers_expected=_workers(reader.value("workers_expected", None), plan, fleet),
            anchor_wall=float(anchor.get("wall", 0.0)),
            anchored="wall" in anchor,
            started_at=str(reader.value("started_at", None) or ""),
            host=str(reader.value("host", None) or (plan.scenario.host if plan else "")),
            versions={str(key): str(value) for key, value in (reader.value("versions", None) or {}).items()},
            segments=segments,
            has_plan=plan is not None,
            notes=notes,
            deployments=_deployments(run),
            **_alerts(run),
            **_of_plan(plan),
        )


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
    ends = [row.second + 1 for row in fleet] or [window.end for window in windows]
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


def _gaps(reader: RunReader) -> dict[str, int]:
    """Count the deltas of each worker that are missing between those that arrived."""
    missing: Counter[str] = Counter()
    for source in reader.sources():
        missing[source.worker] += sum(last - first + 1 for first, last in source.gaps)
    return {worker: number for worker, number in sorted(missing.items()) if number}


def _readings(run: RunFolder) -> tuple[Reading, ...]:
    """Read what the probes saw; a run without a control room has no watch database."""
    if not run.watch_database.exists():
        return ()
    with WatchReader(run.watch_database) as reader:
        return tuple(reader.readings())
