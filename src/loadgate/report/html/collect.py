"""Gather what a report shows of a stored run, whatever state it is in.

Each piece is read by itself. One that is missing, damaged or of a newer version is left out, and `missing`
says so in words: a report of half a run is worth having, one that hides the other half is not.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from loadgate.errors import LoadgateError
from loadgate.judge.stored import latest_verdict
from loadgate.measure.delta import Failure
from loadgate.report.html.fleet import FleetParts, read_fleet
from loadgate.report.html.frame import Frame, frame_of
from loadgate.report.html.probes import ReadingParts, reading_parts
from loadgate.report.html.timeline import Extent, Timeline, read_timeline
from loadgate.store.annotations import Annotation, Annotations, read_annotations
from loadgate.store.failure_times import FailureTime
from loadgate.store.folder import RunFolder
from loadgate.store.reader import RunReader
from loadgate.store.run_clock import Anchor
from loadgate.store.watch import WatchReader
from loadgate.store.writer import Event
from loadgate.watch.alert_summary import summary_of

MOST_PLAN_BYTES: Final = 4 * 2**20
VALUES: Final = (
    "scenario",
    "host",
    "mode",
    "model",
    "started_at",
    "ended",
    "ended_at_run_time",
    "anchor",
    "versions",
    "machine",
    "workers_expected",
    "plan",
)
"""Keys of the `run` table that a report shows."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunData:
    """What is known of a run: the content of its newest verdict, and what its databases hold."""

    id: str
    verdict: Mapping[str, Any] | None = None
    verdict_file: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None
    timeline: Timeline | None = None
    fleet: FleetParts | None = None
    readings: tuple[ReadingParts, ...] = ()
    failures: tuple[Failure, ...] = ()
    failure_times: tuple[FailureTime, ...] = ()
    events: tuple[Event, ...] = ()
    alerts: tuple[Mapping[str, Any], ...] = ()
    annotations: tuple[Annotation, ...] = ()
    missing: tuple[str, ...] = ()
    """What could not be read, and what that means; one sentence each."""

    @property
    def anchor(self) -> float | None:
        """The wall-clock second of run time 0; None where it is not known."""
        anchor = Anchor.of(self.values.get("anchor"))
        return None if anchor is None else anchor.wall


@dataclass
class _Attempts:
    """Read pieces one by one; what goes wrong with one is a sentence in `missing`."""

    missing: list[str] = field(default_factory=list)

    def __call__(self, read: Callable[[], T], otherwise: T, what: str) -> T:
        try:
            return read()
        except (LoadgateError, OSError, sqlite3.Error) as error:
            self.missing.append(f"{what}: {getattr(error, 'message', None) or error}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.missing.append(f"{what}: damaged ({error!r})")
        return otherwise


def collect(run: RunFolder, extent: Extent | None = None) -> RunData:
    """Read a run; nothing that is wrong with it raises, it stands in `missing` instead.

    `extent` is what is cut into parts in place of the run's own time: that of two runs, say.
    """
    attempt = _Attempts()
    nothing: tuple[str, Mapping[str, Any] | None] = ("", None)
    name, verdict = attempt(lambda: _verdict(run), nothing, "no verdict to show")
    unreadable = "nothing that was measured can be shown"
    measured = attempt(lambda: _measured(run, verdict, attempt, extent), _Measured(), unreadable)
    if measured.timeline is None and not any("measured" in one for one in attempt.missing):
        attempt.missing.append("nothing was measured: the run database holds no window")
    attempt.missing += measured.timeline.faults if measured.timeline is not None else ()
    watched = _watched(run, measured, attempt)
    alerts = watched.alerts
    if verdict is not None:
        alerts = attempt(lambda: _alerts(verdict), (), "no alerts to show: those of the verdict")
    notes = attempt(lambda: read_annotations(run), Annotations(), "no annotations")
    attempt.missing += notes.faults
    plan = attempt(lambda: _plan(run, measured.values), None, "no plan to show")
    if plan is None and not any(one.startswith("no plan") for one in attempt.missing):
        attempt.missing.append("no plan: the run was started without one, or its plan.json is gone")
    return RunData(
        id=run.id,
        verdict=verdict,
        verdict_file=name,
        values=measured.values,
        plan=plan,
        timeline=measured.timeline,
        fleet=measured.fleet,
        readings=watched.readings,
        failures=measured.failures,
        failure_times=measured.failure_times,
        events=measured.events,
        alerts=alerts,
        annotations=notes.entries,
        missing=tuple(attempt.missing),
    )


@dataclass(frozen=True)
class _Measured:
    """What the run database holds."""

    values: Mapping[str, Any] = field(default_factory=dict)
    timeline: Timeline | None = None
    fleet: FleetParts | None = None
    failures: tuple[Failure, ...] = ()
    failure_times: tuple[FailureTime, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class _Watched:
    """What the watch database holds."""

    readings: tuple[ReadingParts, ...] = ()
    alerts: tuple[Mapping[str, Any], ...] = ()


def _verdict(run: RunFolder) -> tuple[str, Mapping[str, Any] | None]:
    path, content = latest_verdict(run)
    return path.name, content


def _alerts(verdict: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the alerts of a verdict; ValueError where they are no list of objects."""
    found = verdict.get("alerts") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("they are no list of objects")
    return tuple(found)


def _measured(
    run: RunFolder, verdict: Mapping[str, Any] | None, attempt: _Attempts, extent: Extent | None
) -> _Measured:
    """Read the run database at one moment, piece by piece."""
    with RunReader(run.database) as reader, reader.snapshot():
        values = {key: attempt(partial(reader.value, key), None, f"no value of {key}") for key in VALUES}
        busiest = attempt(
            lambda: _by_arrivals(verdict),
            list[str](),
            "endpoints are drawn in no order: the verdict",
        )
        timeline = attempt(lambda: read_timeline(reader, busiest, extent), None, "nothing measured to show")
        frame = timeline.frame if timeline is not None else None
        return _Measured(
            values,
            timeline,
            attempt(lambda: read_fleet(reader, frame), None, "no fleet to show"),
            attempt(lambda: tuple(reader.failures()), (), "no kinds of failure to show"),
            attempt(lambda: tuple(reader.failure_times()), (), "no times of failures to show"),
            attempt(lambda: tuple(reader.events()), (), "no events to show"),
        )


def _by_arrivals(verdict: Mapping[str, Any] | None) -> list[str]:
    """Return the endpoints of a verdict by how many requests they had, the most first."""
    if verdict is None:
        return []
    books = verdict["books"]["run"]
    return sorted((name for name in books if name != "*"), key=lambda name: (-books[name]["arrivals"], name))


def _watched(run: RunFolder, measured: _Measured, attempt: _Attempts) -> _Watched:
    if not run.watch_database.exists():
        attempt.missing.append("no probes and alerts: no control room watched this run (it has no watch.db)")
        return _Watched()
    frame = measured.timeline.frame if measured.timeline is not None else None
    return attempt(lambda: _read_watch(run, frame), _Watched(), "no probes and alerts")


def _read_watch(run: RunFolder, frame: Frame | None) -> _Watched:
    with WatchReader(run.watch_database) as reader:
        found = reader.readings()
        if frame is None and found:
            frame = frame_of(int(found[0].at), int(found[-1].at) + 1)
        return _Watched(reading_parts(found, frame), tuple(summary_of(reader.alerts())))


def _plan(run: RunFolder, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the plan as the run database has it, else as plan.json does."""
    stored = values.get("plan")
    if isinstance(stored, dict):
        return stored
    content = _read_capped(run.plan)
    if content is None:
        return None
    plan = orjson.loads(content)
    if not isinstance(plan, dict):
        raise ValueError("it is no JSON object")
    return plan


def _read_capped(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_PLAN_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(content) > MOST_PLAN_BYTES:
        raise ValueError(f"it is larger than {MOST_PLAN_BYTES} bytes")
    return content


def common_extent(*runs: RunFolder) -> Extent | None:
    """Return the time that the windows of several runs take together; None where none has any.

    A run that cannot be read is left out: reading it tells why.
    """
    found = []
    for run in runs:
        with suppress(LoadgateError), RunReader(run.database) as reader:
            extent = reader.extent()
            found += [extent] if extent is not None else []
    if not found:
        return None
    firsts, ends, spans = zip(*found, strict=True)
    return min(firsts), max(ends), math.lcm(*spans)
