"""Feed the alert engine from a run's databases: while it goes on, after a restart, and as a replay.

What is complete. A second of requests is, once every worker that still reports has told of it and 3 s have
passed, or after 10 s whatever the workers do: one that hangs cannot hold up an alert. A reading is, once its
probe's time limit has passed since it was due. The engine reads everything up to there once and never again,
so what comes later than that changes nothing that was said.

A control room that was killed goes on from `alerts.json`, which holds where the rules stood, and reads the
series from there on. What is in watch.db already is not said again. Without that file it follows the points
that were kept in watch.db (what each window of each rule said), and reads the series from the last one on.

Old seconds are merged into longer rows. A rule whose windows are as long, or longer, is told from these all
the same; for any other the kept points are what is left, and where there are none either, because nobody
evaluated the rule within the hour, that is said. It is never taken for silence of the target.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import orjson

from loadgate.errors import StoreError
from loadgate.measure.delta import FleetRow
from loadgate.plan.alerts import AlertRule
from loadgate.plan.plan import Plan
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import AlertChange, Point, Reading, WatchReader
from loadgate.watch.alert_state import TOLERANCE
from loadgate.watch.alerts import AlertWatch, Batch, in_order
from loadgate.watch.kept_points import key_of, not_told

LAG: Final = 3.0
"""Seconds after which a second that every worker has told of is taken as complete."""
LAG_MOST: Final = 10.0
"""Seconds after which a second is taken as complete whatever was told."""
PROBE_LAG: Final = 2.0
"""Seconds beyond a probe's time limit in which its reading is written."""
PIECE: Final = 60.0
"""Seconds of windows that are read at a time, so that a replay's memory is bounded."""
READINGS_PIECE: Final = 21_600.0
"""Seconds of readings that are read at a time: there are few of them, and each look goes over all of them."""
LONGEST_ROW: Final = 60
"""Seconds of the longest row into which old seconds are merged; rows begin at multiples of their length."""
POINTS_MOST: Final = 100_000
"""Points that wait while they cannot be written; of more the oldest are given up."""
SAVE_EVERY: Final = 60.0
"""Seconds of run time between two writings of where the rules stand."""
STATE_FILE: Final = "alerts.json"


class _Series:
    """The series of one run, read piece by piece for an engine."""

    def __init__(self, folder: RunFolder, watch: AlertWatch) -> None:
        self._folder, self._watch = folder, watch
        self._run: RunReader | None = None
        self._seen: WatchReader | None = None
        # Infinity where there is no rule on requests: then no window is read.
        self._read_to = watch.since
        if math.isfinite(self._read_to):
            # A merged row may begin before what is asked for, and reach into it.
            self._read_to -= self._read_to % LONGEST_ROW
        self._probed = {name: watch.wanted_of(name) for name in watch.probes}
        self._told_to = 0
        self._looked_at = -math.inf

    def close(self) -> None:
        """Close the databases; again is fine."""
        for reader in (self._run, self._seen):
            if reader is not None:
                reader.close()
        self._run = self._seen = None

    @property
    def run(self) -> RunReader:
        """Return the run database's reader; StoreError while there is none."""
        if self._run is None:
            self._run = RunReader(self._folder.database)
        return self._run

    def ended_at(self) -> float | None:
        """Return the run time at which the run ended; None while it has not, or where there is no load."""
        if not self._folder.database.exists():
            return None
        if self.run.value("ended", None) is None:
            return None
        stored = self.run.value("ended_at_run_time", None)
        if stored is not None:
            return float(stored)
        return float(max((row.end for row in self.run.fleet()), default=0))

    def complete_to(self, now: float) -> float:
        """Return the second up to which the windows are complete at run time `now`; 0 without a load."""
        if not self._folder.database.exists():
            return 0.0
        oldest = math.floor(now - LAG_MOST)
        if oldest != self._looked_at:
            # One that has been silent for longer than that does not report any more.
            told = {row.worker: row.second for row in self.run.fleet(after=oldest - 1)}
            self._told_to = min((second + 1 for second in told.values()), default=oldest)
            self._looked_at = oldest
        return float(max(0, oldest, min(self._told_to, math.floor(now - LAG))))

    def reached(self) -> float:
        """Return the run time up to which a run that goes on has told what it did; 0 without a load."""
        if not self._folder.database.exists():
            return 0.0
        told: dict[str, int] = {}
        for row in self.run.fleet():
            told[row.worker] = row.end - 1
        newest = max(told.values(), default=-1)
        return float(min((second for second in told.values() if second > newest - LAG_MOST), default=-1) + 1)

    def pieces(self, until: float, probed: Mapping[str, float]) -> Iterator[Batch]:
        """Yield all that is new up to these ends, in pieces of bounded length: first readings, then windows.

        What was yielded is not read again; a database that cannot be read just now loses nothing.
        """
        yield from self._of_probes(probed)
        while self._read_to < until:
            end = min(self._read_to + PIECE, until)
            batch = self._of_load(self._read_to, end)
            self._read_to = end
            yield batch

    def _of_probes(self, probed: Mapping[str, float]) -> Iterator[Batch]:
        while left := [name for name, end in probed.items() if end > self._probed[name]]:
            last = min(self._probed[name] for name in left) + READINGS_PIECE
            ends = {name: min(probed[name], max(last, self._probed[name])) for name in left}
            readings: list[Reading] = []
            for name, end in ends.items():
                readings += self.seen.readings(name, self._probed[name], end)
            readings.sort(key=lambda item: item.at)
            self._probed |= ends
            yield Batch(probed=ends, readings=readings)

    def _of_load(self, start: float, end: float) -> Batch:
        reported: set[int] = set()
        merged: set[tuple[int, int]] = set()
        with self.run.snapshot():
            found = self.run.windows(start=start, end=end, series=self._watch.series)
            windows = [window for window in found if window.end > self._watch.since]
            for row in self.run.fleet(after=math.ceil(start) - 1) if self._watch.counts else ():
                if row.second >= end:
                    break
                reported.update(told_seconds(row))
                if row.span > 1:
                    merged.add((row.second, row.second + row.span))
        for first, after in sorted(merged):
            if not reported.issuperset(range(first, after)):
                # The windows of that time are merged too, and cover the seconds of which nobody told.
                self._watch.cannot_tell(first, after)
        return Batch(end, windows, reported)

    @property
    def seen(self) -> WatchReader:
        """Return the watch database's reader."""
        if self._seen is None:
            self._seen = WatchReader(self._folder.watch_database)
        return self._seen


def told_seconds(row: FleetRow) -> list[int]:
    """Return the run seconds that a worker's row tells of: of a merged one those that had a row."""
    return [row.second + place for place in range(row.told.bit_length()) if row.told >> place & 1]


class LiveAlerts:
    """The alerts of a run that goes on, for one thread.

    Call `step` about twice a second and write what it returns, in order, before the next call; call `finish`
    once the generator has ended and the probes have stopped. It reads the run's databases and writes
    `alerts.json`. StoreError when a database cannot be read just now; the next step goes on from there.
    """

    def __init__(
        self, plan: Plan, folder: RunFolder, keep: Callable[[Sequence[Point]], None] | None = None
    ) -> None:
        """Go on where an earlier one was; `keep` writes points, and raises StoreError when it cannot."""
        self._plan, self._folder, self._keep = plan, folder, keep
        self._points: deque[Point] = deque(maxlen=POINTS_MOST)
        self._watch = self._fresh()
        self._series = _Series(folder, self._watch)
        self._timeouts = {probe.name: probe.timeout for probe in plan.scenario.probes}
        self._saved_at = 0.0
        self._caught_up = False
        self._last = {change.rule: change for change in self._series.seen.alerts()}
        self._found: list[AlertChange] = []
        self._state = folder.path / STATE_FILE
        self._load()

    @property
    def standing(self) -> dict[str, str]:
        """Return the state of each rule: "inactive", "pending", "firing" or "flapping"."""
        return self._watch.said

    @property
    def unread(self) -> list[str]:
        """Say what could not be evaluated, because nobody did in time."""
        return [not_told(name, *part) for name, parts in self._watch.unread.items() for part in parts]

    def step(self, now: float) -> list[AlertChange]:
        """Return what is new to say at run time `now`; what was returned before has been written."""
        if not self._watch.rules:
            return []
        self._save(now)
        probed = {name: self._probed_to(name, now) for name in self._watch.probes}
        return self._take(self._series.complete_to(now), probed)

    def _probed_to(self, probe: str, now: float) -> float:
        """Return how far a probe's readings are complete, in whole windows: only these are asked for."""
        step = self._watch.step_of(probe)
        return max(0.0, (now - self._timeouts.get(probe, 0.0) - PROBE_LAG) // step * step)

    def finish(self) -> list[AlertChange]:
        """Return what the end of the run still says; nothing when the run has not ended."""
        end = self._series.ended_at() if self._watch.rules else None
        if end is None:
            return []
        found = self._take(end, dict.fromkeys(self._watch.probes, end))
        found = in_order(found + self._unsaid(self._watch.finish(end)), self._watch.rules)
        with suppress(StoreError):  # what was said matters more, and is still to be written
            self._keep_points()
        return found

    def close(self) -> None:
        """Close the databases; again is fine."""
        self._series.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, until: float, probed: Mapping[str, float]) -> list[AlertChange]:
        # Kept beside: a database that cannot be read just now must not cost what was found before.
        for batch in self._series.pieces(until, probed):
            self._found += self._unsaid(self._watch.advance(batch))
        found, self._found = in_order(self._found, self._watch.rules), []
        if not self._caught_up:
            self._caught_up = True
            found += self._corrections({change.rule: change for change in found}, until)
        return found

    def _unsaid(self, changes: Sequence[AlertChange]) -> list[AlertChange]:
        """Leave out what was said before a restart, and what would come before something that was."""
        return [one for one in changes if one.rule not in self._last or one.at > self._last[one.rule].at]

    def _corrections(self, new: Mapping[str, AlertChange], at: float) -> list[AlertChange]:
        """Return what sets right a rule that was said to stand elsewhere than its stored series says.

        The series changed after it had been looked at: a worker's report came far too late.
        """
        found = []
        for rule in self._watch.rules:
            said, stands = new.get(rule.name, self._last.get(rule.name)), self._watch.said[rule.name]
            stood = "inactive" if said is None or said.state == "resolved" else said.state
            if said is None or stood == stands:
                continue
            state = stands
            if stood in ("firing", "flapping") and stands in ("inactive", "pending"):
                state = "resolved"
            text = f"{rule.name} is {state}: its series changed after it had been said to be {stood}"
            detail = {**said.detail, "text": text}
            found.append(said._replace(at=max(at, said.at), state=state, detail=detail, wall=None, id=None))
        return found

    # ---- where the rules stand, on the disk

    def _load(self) -> None:
        try:
            values: Any = orjson.loads(self._state.read_bytes())
            self._watch.restore(values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StoreError):
            # Gone, cut short, or of other rules: the kept points and the stored series say it again.
            self._watch = self._fresh()
            self._follow_points()
        self._series.close()
        self._series = _Series(self._folder, self._watch)

    def _fresh(self) -> AlertWatch:
        return AlertWatch(self._plan.alerts, self._plan.timeline, keep_points=self._keep is not None)

    def _follow_points(self) -> None:
        for rule in self._watch.rules:
            points = self._series.seen.points(key_of(rule))
            self._found += self._unsaid(self._watch.follow(rule.name, unbroken(points)))
        self._watch.take_points()

    def _keep_points(self) -> None:
        """Write the points of what was looked at; those that cannot be written wait for the next time."""
        self._points.extend(self._watch.take_points())
        if self._keep is not None and self._points:
            self._keep(tuple(self._points))
            self._points.clear()

    def _save(self, now: float) -> None:
        if now - self._saved_at < SAVE_EVERY:
            return
        self._saved_at = now
        # First: where the rules stand must never be ahead of their points.
        self._keep_points()
        draft = self._state.with_suffix(".new")
        content = orjson.dumps(self._watch.to_dict())
        try:
            with open(draft, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._state)
        except OSError as error:
            raise StoreError(f"{self._state} cannot be written: {error.strerror or error}") from error


def unbroken(points: Sequence[Point]) -> list[Point]:
    """Return the points from run time 0 up to the first that is missing."""
    found: list[Point] = []
    for point in points:
        if abs(point.start - (found[-1].end if found else 0.0)) > TOLERANCE:
            break
        found.append(point)
    return found


def _kept_changes(folder: RunFolder, watch: AlertWatch, merged_until: float) -> list[AlertChange]:
    """Let the rules of which points were kept follow these where seconds are merged."""
    changes: list[AlertChange] = []
    with WatchReader(folder.watch_database) as seen:
        for rule in watch.rules:
            if rule.subject.of_requests:
                points = [point for point in seen.points(key_of(rule)) if point.start < merged_until]
                changes += watch.follow(rule.name, points)
    return changes


def replay(
    folder: RunFolder,
    rules: Sequence[AlertRule] | None = None,
    plan: Plan | None = None,
    notes: dict[str, list[str]] | None = None,
) -> list[AlertChange]:
    """Return all that the rules say of a stored run, from its beginning to its end or as far as it has come.

    `rules` and `plan` replace those of the run. Where old seconds were merged into longer rows, the rules of
    the run go by the points that were kept of them. A rule that cannot be told there, be it another one, or
    not evaluated while the run went on, says nothing there; `notes` then gets what to say of it, by its name.
    StoreError when a database cannot be read.
    """
    plan = plan if plan is not None else stored_plan(folder)
    watch = AlertWatch(plan.alerts if rules is None else rules, plan.timeline)
    kept: list[AlertChange] = []
    if folder.database.exists():
        with RunReader(folder.database) as reader:
            merged_until = reader.merged_until()
        if merged_until > 0:
            kept = _kept_changes(folder, watch, merged_until)
    series = _Series(folder, watch)
    try:
        end = series.ended_at()
        until = end if end is not None else series.reached()
        probed = dict.fromkeys(watch.probes, until)
        if not folder.database.exists():
            last = max((one.at for one in series.seen.readings()), default=0.0)
            probed = dict.fromkeys(watch.probes, last)
        changes = kept
        for batch in series.pieces(until, probed):
            changes += watch.advance(batch)
        if end is not None:
            changes += watch.finish(end)
        if notes is not None:
            notes |= {n: [not_told(n, *part) for part in parts] for n, parts in watch.unread.items()}
        return in_order(changes, watch.rules)
    finally:
        series.close()


def stored_plan(folder: RunFolder) -> Plan:
    """Return the plan of a stored run; StoreError when it has none, PlanError when it cannot be read."""
    try:
        return Plan.from_json(Path(folder.plan).read_bytes())
    except OSError as error:
        raise StoreError(
            f"run {folder.id} has no plan: {error.strerror or error}", hint="name its scenario: --scenario"
        ) from error
