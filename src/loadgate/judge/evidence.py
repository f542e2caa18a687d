"""Evidence: all that a verdict is made of, as plain values.

`gather` is the rim: it reads a run's databases, whatever state they are in. Everything else in this room
works on an `Evidence`, so that a verdict is a pure function of what was stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np

from loadgate.judge.slots import Interval, total_length
from loadgate.measure.columns import Columns, ColumnWindows, Tally
from loadgate.measure.delta import Failure, FleetRow
from loadgate.measure.layout import Int64s
from loadgate.measure.part import PartColumns
from loadgate.measure.parts import definition, with_unfinished
from loadgate.measure.window import Count, Counting, Series, Window, windows_merged
from loadgate.plan.drift import Drift
from loadgate.plan.looks import Look, look_at
from loadgate.plan.samples import DOUBT
from loadgate.plan.scenario import Generator, Probe, VerdictPolicy
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Segment
from loadgate.store.database import Event, LedgerRow
from loadgate.store.watch import Reading

STEADY = "steady"
JUDGED_SERIES = tuple(
    str(series)
    for series in Series
    if series not in (Series.RESPONSE_HIT, Series.RESPONSE_MISS, Series.CONNECT)
)
"""The series that a verdict uses; decoding the others would only take time."""
SHORT_BY: Final = 1e-3
"""Seconds of steady load that may be missing of those that were planned: less than any clock tells."""
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
class Digest:
    """What was evaluated while the rows of a long run were read, before they were merged into cells.

    The windows of its evidence are as long as a cell (s), which is enough to see how much they vary; whatever
    asks for the windows of an objective, or for a total, takes it from here.
    """

    cell: float
    parts: Mapping[str, PartColumns] = field(default_factory=dict)
    """By definition of an objective (`measure.parts`): its windows over the steady phase, all of them."""
    coarse: Mapping[str, int] = field(default_factory=dict)
    """By definition: the seconds of the rows that its windows cannot be told from any more."""
    within: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By endpoint: the ok answers inside each steady interval, as `Evidence.ok_within` has them."""
    totals: Mapping[str, Window] = field(default_factory=dict)
    """By endpoint: all of its steady phase."""


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
    digest: Digest | None = None
    """What stands for rows that were too many to hold, or too old to be there any more."""
    control_gaps: tuple[tuple[float, float], ...] = ()
    """Stretches in which the run had no control room, so that no probe could read the target."""
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
        return not as_meant or (not self.early and self.seconds < total_length(self.planned) - SHORT_BY)

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
            if self.digest is not None and endpoint is not None:
                total = self.digest.totals.get(endpoint) or windows_merged(())
            elif endpoint is None:
                total = windows_merged(self.total(name) for name in self._steady_of)
            else:
                first, end = self._steady_of.get(endpoint, (0, 0))
                total = self.columns.total(first, end)
            self._totals[endpoint] = total
        return self._totals[endpoint]

    @cached_property
    def _totals(self) -> dict[str | None, Window]:
        return {}

    def parts_of(self, objective: Objective, cut: Sequence[Interval]) -> PartColumns | None:
        """Return the windows of an objective that were evaluated while its rows were read; None: look at
        rows.

        `cut` are its own windows over the steady phase.
        """
        if self.digest is None:
            return None
        found = self.digest.parts.get(definition(objective))
        return found if found is not None and len(found) == len(cut) else None

    def cautious(self) -> Evidence:
        """Return the evidence with every steady request that is under way counted as failed."""
        others: dict[int, Tally] = {}
        for _, end in self.stretches(None):
            last = self.columns.tallies[end - 1]
            missing = self.books(last.endpoint, STEADY).missing
            if missing > 0:
                name = str(Count.UNFINISHED)
                others[end - 1] = replace(last, counts={**last.counts, name: last.count(name) + missing})
        windows = ColumnWindows(self.columns.with_tallies(others))
        return replace(self, windows=windows, digest=self._cautious_digest())

    def _cautious_digest(self) -> Digest | None:
        """Return the digest with these requests in each objective's last window, and in the totals."""
        if self.digest is None:
            return None
        missing = {name: max(self.books(name, STEADY).missing, 0) for name in self._steady_of}
        totals = {name: window.copy() for name, window in self.digest.totals.items()}
        for name, window in totals.items():
            window.add(Count.UNFINISHED, missing.get(name, 0))
        parts = {}
        for text, found in self.digest.parts.items():
            endpoint = json.loads(text)["endpoint"]
            number = sum(n for name, n in missing.items() if endpoint in (None, name))
            last = {len(found) - 1: with_unfinished(text, found[-1], number)} if found and number else {}
            parts[text] = found.with_others(last)
        return replace(self.digest, totals=totals, parts=parts)

    def ok_within(self, part: Interval, endpoint: str | None) -> int:
        """Return the ok answers that arrived inside an interval, whatever phase their request was due in.

        A window on the edge counts for the steady phase where it begins, and is left out for other phases.
        """
        if self.digest is not None and part in self.steady:
            place = self.steady.index(part)
            known = self.digest.within
            return sum(known[name][place] for name in known if endpoint in (None, name))
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
