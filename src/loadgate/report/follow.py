"""Follow a run while it grows: read what is new in its database, and say how it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from loadgate.errors import StoreError
from loadgate.judge.slots import Interval
from loadgate.measure.delta import FleetRow
from loadgate.measure.window import Count, Series, Window, windows_merged
from loadgate.plan.plan import Plan
from loadgate.plan.timeline import PHASES
from loadgate.report.running import Running
from loadgate.report.snapshot import (
    WAITING,
    AlertView,
    EndpointView,
    FailureView,
    Latency,
    ObjectiveState,
    Snapshot,
    WorkerView,
)
from loadgate.report.states import States, series_judged
from loadgate.report.trend import Trend
from loadgate.store.blocks import LEAST
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading

RECENT_S: Final = 10
"""Seconds over which the recent percentiles are taken."""
RATE_S: Final = 5
"""Seconds over which the achieved rate is taken."""
SILENT_S: Final = 5
"""Seconds without a report after which a worker no longer holds up the view."""
ALL_SILENT_S: Final = 15
"""Seconds of planned load without a report after which a worker is silent even if no other reports either."""
MOST_FAILURES: Final = 3
READ_AGAIN: Final = 20_000
"""Windows up to which the run is read again from its start when an old one has changed: about a second."""
READ_AGAIN_EVERY: Final = 10.0
"""Seconds of run time between two such readings."""
AWAY_S: Final = LEAST.full / 2
"""Seconds without a reading after which a run is read anew: old seconds may be merged by then."""


class Follower:
    """Read a growing run incrementally, in memory that does not grow with it; for one thread."""

    def __init__(self, folder: RunFolder, plan: Plan, also: Collection[str] = ()) -> None:
        """Follow a run; `also` names series whose histograms `totals` needs beside those that are judged."""
        self._folder = folder
        self._plan = plan
        self._timeline = plan.timeline
        self._steady = tuple(Interval(start, end) for start, end in self._timeline.steady)
        self._series = frozenset({Series.RESPONSE_OK.value}).union(also, *map(series_judged, plan.objectives))
        self._reader: RunReader | None = None
        self._anchor: float | None = None
        self._fleet: dict[str, FleetRow] = {}
        self._failures: tuple[FailureView, ...] = ()
        self._read_at = 0.0
        self._seen_at = -math.inf
        self._states = States(plan, self._steady)
        self._begin()

    def _begin(self) -> None:
        """Start from an empty run."""
        self._revision = 0
        self._states = self._states.anew()
        self._running = Running(self._steady, self._series, self._states.fold)
        self._trend = Trend()
        self._totals: list[Window] = []
        self._settled: list[Window] = []
        self._settled_to = -1.0

    def close(self) -> None:
        """Close the database; again is fine."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def totals(self) -> Sequence[Window]:
        """Return all that is known of the run, by endpoint, phase and steady interval; to be read only."""
        return self._totals

    def refresh(
        self,
        readings: Mapping[tuple[str, str], Reading] | None = None,
        now: float | None = None,
        standing: Mapping[str, str] | None = None,
    ) -> Snapshot:
        """Read what is new and return how the run stands; `now` is run time, by default from its clock.

        `readings` are the latest of the probes, `standing` the state of each alert rule.

        A database that is not there yet, or cannot be read just now, is a run of which nothing is known yet
        or nothing new.
        """
        self._states.see(readings or {})
        try:
            self._read(now)
        except StoreError:
            self.close()
        at = self._now(now)
        return self._snapshot(at, standing or {})

    # ---- reading

    def _read(self, now: float | None) -> None:
        if self._reader is None:
            self._reader = RunReader(self._folder.database)
        reader = self._reader
        if self._anchor is None:
            anchor = reader.value("anchor", None)
            self._anchor = float(anchor["monotonic"]) if anchor else None
        at = self._now(now)
        if at - self._seen_at > AWAY_S:
            self._begin()
        self._read_again_if_late(at)
        revision, windows = reader.changes(self._revision)
        # Workers report the same second at different times: look back a little for the slower ones.
        newest = max((row.second for row in self._fleet.values()), default=None)
        for row in reader.fleet(after=None if newest is None else newest - SILENT_S):
            known = self._fleet.get(row.worker)
            if known is None or row.second >= known.second:
                self._fleet[row.worker] = row
        self._seen_at = at
        if revision == self._revision:
            return
        self._revision = revision
        self._running.take(windows)
        self._trend.take(windows, self._running)
        self._states.close(self._running.horizon)
        self._totals = self._running.totals()
        self._settled_to = -1.0
        if any(window.count(name) for window in windows for name in (Count.FAILED, Count.TIMEOUT)):
            self._failures = _failures(reader)

    def _read_again_if_late(self, at: float) -> None:
        """Read a run that is still small from its start when the totals have missed a late window."""
        small = self._running.merged <= READ_AGAIN
        if self._running.late and small and at - self._read_at >= READ_AGAIN_EVERY:
            self._read_at = at
            self._begin()

    # ---- telling

    def _now(self, now: float | None) -> float:
        if now is not None:
            return now
        return 0.0 if self._anchor is None else time.monotonic() - self._anchor

    def _until(self, now: float) -> float:
        """Return the run time up to which every reporting worker has told what it measured."""
        if not self._fleet:
            return float(min(self._running.end, max(now, 0.0)))
        newest = max(row.second for row in self._fleet.values())
        return float(min(row.second + 1 for row in self._fleet.values() if row.second > newest - SILENT_S))

    def _snapshot(self, now: float, standing: Mapping[str, str]) -> Snapshot:
        until = self._until(now)
        names = sorted({window.endpoint for window in self._totals})
        begun = self._anchor is not None or bool(self._totals)
        objectives = self._states.now(self._judged(until), until, now) if begun else self._waiting()
        newest = max((row.second for row in self._fleet.values()), default=0)
        due = min(now, self._timeline.end)
        workers = tuple(_worker(row, newest, due) for _, row in sorted(self._fleet.items()))
        return Snapshot(
            now=now,
            until=until,
            phase=PHASES[int(self._timeline.phases_of([now])[0])],
            planned=self._timeline.end,
            model=self._plan.scenario.traffic.model,
            begun=begun,
            requested=self._timeline.level_at(now),
            endpoints=tuple(self._endpoint(name, until) for name in names),
            total=self._endpoint(None, until),
            in_flight=sum(worker.in_flight for worker in workers if not worker.silent),
            workers=workers,
            failures=self._failures,
            objectives=objectives,
            late=self._running.late,
            alerts=alerts_of(self._plan, standing),
            expected=self._plan.scenario.generator.workers,
        )

    def _judged(self, until: float) -> list[Window]:
        """Return the windows so far without the seconds that some worker has not told of yet."""
        if until >= self._running.end:
            return self._totals
        if self._settled_to != until:
            self._settled, self._settled_to = self._running.totals(until), until
        return self._settled

    def _waiting(self) -> tuple[ObjectiveState, ...]:
        return tuple(
            ObjectiveState(row.name, row.statistic or "", row.target.text, WAITING)
            for row in self._plan.objectives
        )

    def _endpoint(self, name: str | None, until: float) -> EndpointView:
        whole = [window for window in self._totals if name in (None, window.endpoint)]
        recent = [
            window
            for window in self._running.between(until - RECENT_S, until)
            if name in (None, window.endpoint)
        ]
        counts = {count.value: sum(window.count(count) for window in whole) for count in Count}
        seconds = min(RATE_S, until)
        ok = sum(window.count(Count.OK) for window in recent if window.second >= until - seconds)
        return EndpointView(
            name="all" if name is None else name,
            ok_rate=ok / seconds if seconds > 0 else 0.0,
            recent=_latency(recent),
            steady=_latency([window for window in whole if window.phase == "steady"]),
            counts=counts,
            trend=self._trend.of(name, until),
        )


def alerts_of(plan: Plan, standing: Mapping[str, str]) -> tuple[AlertView, ...]:
    """Return the alert rules of a plan with their states; a rule of which none is known is inactive."""
    return tuple(
        AlertView(rule.name, rule.severity, standing.get(rule.name, "inactive")) for rule in plan.alerts
    )


def _latency(windows: Sequence[Window]) -> Latency:
    """Return the percentiles of the response time as it is judged."""
    histogram, infinite = windows_merged(windows).response("adjusted")
    p50, p95, p99 = histogram.percentiles((5000, 9500, 9900), infinite)
    return Latency(histogram.total + infinite, p50, p95, p99)


def _worker(row: FleetRow, newest: int, due: float) -> WorkerView:
    """Return a worker's view; `newest` is the last second that any told of, all should tell until `due`.

    Beside others that report it is silent soon; with all of them it is where nothing came for longer.
    """
    return WorkerView(
        name=row.worker,
        cpu=row.cpu,
        in_flight=row.in_flight,
        users=row.users,
        start_lag_p99_us=row.start_lag_p99_us,
        loop_lag_p99_us=row.loop_lag_p99_us,
        silent=row.second <= newest - SILENT_S or row.second + row.span < due - ALL_SILENT_S,
    )


def _failures(reader: RunReader) -> tuple[FailureView, ...]:
    """Return the most frequent kinds of failure."""
    return tuple(
        FailureView(found.endpoint, found.outcome, found.kind, found.message, found.count)
        for found in reader.failures()[:MOST_FAILURES]
    )
