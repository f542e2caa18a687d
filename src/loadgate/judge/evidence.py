"""Evidence: all that a verdict is made of, as plain values.

`gather` is the rim: it reads a run's databases, whatever state they are in. Everything else in this room
works on an `Evidence`, so that a verdict is a pure function of what was stored.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import orjson

from loadgate.judge.slots import Interval, clip, slot_of, total_length
from loadgate.measure.delta import Failure, FleetRow
from loadgate.measure.window import Count, Series, Window, windows_merged
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.scenario import Generator, Probe, VerdictPolicy
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import PHASES, Segment, Timeline
from loadgate.store.database import Event, LedgerRow, RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading, WatchReader

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
    def of(cls, windows: Iterable[Window]) -> Self:
        """Add up the counts of some windows."""
        totals = dict.fromkeys(cls.__slots__, 0)
        for window in windows:
            for name in totals:
                totals[name] += window.count(name)
        return cls(**totals)

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
    `windows` are those of every endpoint and phase; only those of the steady phase need histograms.
    """

    run: str
    scenario: str
    objectives: tuple[Objective, ...]
    planned: tuple[Interval, ...]
    steady: tuple[Interval, ...]
    windows: tuple[Window, ...] = ()
    readings: tuple[Reading, ...] = ()
    fleet: tuple[FleetRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    events: tuple[Event, ...] = ()
    failures: tuple[Failure, ...] = ()
    gaps: Mapping[str, int] = field(default_factory=dict)
    """By worker: deltas that never arrived, so that neither their arrivals nor their ends were counted."""
    ended: str = "planned"
    ended_at: float | None = None
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

    @cached_property
    def endpoints(self) -> tuple[str, ...]:
        """Return the endpoints that the run had requests of, in any phase."""
        return tuple(sorted({window.endpoint for window in self.windows}))

    @cached_property
    def seconds(self) -> float:
        """Return the seconds of steady load that were run."""
        return total_length(self.steady)

    @property
    def cut_short(self) -> bool:
        """Tell whether less was run than was planned; a run without a plan may be stopped at any time."""
        as_meant = self.ended == "planned" or (self.ended == "stopped" and not self.has_plan)
        return not as_meant or self.seconds < total_length(self.planned) - 1e-3

    def of(self, endpoint: str | None, phase: str | None = STEADY) -> tuple[Window, ...]:
        """Return the windows of one endpoint (None: all) and one phase (None: all)."""
        return tuple(
            window
            for window in self.windows
            if endpoint in (None, window.endpoint) and phase in (None, window.phase)
        )

    def books(self, endpoint: str | None = None, phase: str | None = None) -> Books:
        """Return the books of one endpoint (None: all) in one phase (None: all)."""
        found = self._books.get((endpoint, phase))
        if found is None:
            found = self._books[endpoint, phase] = Books.of(self.of(endpoint, phase))
        return found

    def total(self, endpoint: str | None) -> Window:
        """Return all of the steady phase of one endpoint (None: all) as one window."""
        if endpoint not in self._totals:
            if endpoint is None:
                parts: Iterable[Window] = [self.total(name) for name in self.endpoints if self.of(name)]
            else:
                parts = self.of(endpoint)
            self._totals[endpoint] = windows_merged(parts)
        return self._totals[endpoint]

    @cached_property
    def _books(self) -> dict[tuple[str | None, str | None], Books]:
        return {}

    @cached_property
    def _totals(self) -> dict[str | None, Window]:
        return {}

    def by_slot(self, cut: Sequence[Interval], endpoint: str | None) -> list[Window]:
        """Return the steady phase of one endpoint (None: all) merged into one window per slot."""
        groups: list[list[Window]] = [[] for _ in cut]
        for window in self.of(endpoint):
            groups[slot_of(cut, window)].append(window)
        return [windows_merged(group) for group in groups]

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
) -> Evidence:
    """Read the evidence of a run, half-written or whole; `plan` and `objectives` replace those stored.

    `running` says that the run still goes on. Rows that the scenario leaves out are left out of
    `objectives` too. Raises StoreError when the run database cannot be read, and PlanError when the
    stored plan cannot.
    """
    with RunReader(run.database) as reader, reader.snapshot():
        stored = reader.value("plan", None)
        if plan is None and stored is not None:
            plan = Plan.from_json(orjson.dumps(stored))
        windows = _windows(reader)
        fleet = tuple(reader.fleet())
        events = tuple(reader.events())
        ended = reader.value("ended", None)
        end = _end_of(reader.value("ended_at_run_time", None), fleet, windows)
        offered_until = _offered_until(end, events, by_plan=ended == "planned" and plan is not None)
        segments, notes = _segments(plan)
        planned = steady_of(segments) if plan else _all_of(fleet, windows, offered_until)
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
            **_of_plan(plan),
        )


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


def _all_of(fleet: Sequence[FleetRow], windows: Sequence[Window], end: float) -> tuple[Interval, ...]:
    """Return the whole time in which anything was recorded: what is steady in a run without a plan."""
    begun = [row.second for row in fleet] or [window.second for window in windows]
    start = float(max(0, min(begun, default=0)))
    return (Interval(start, end),) if end > start else ()


def _end_of(stored: float | None, fleet: Sequence[FleetRow], windows: Sequence[Window]) -> float | None:
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


def _windows(reader: RunReader) -> tuple[Window, ...]:
    """Read all windows; those of other phases without histograms, since their counts are enough."""
    found = list(reader.windows(phase=STEADY, series=JUDGED_SERIES))
    for phase in PHASES:
        if phase != STEADY:
            found += reader.windows(phase=phase, series=())
    return tuple(found)


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
