"""Gather what a report shows of a stored run, whatever state it is in.

Each piece is read by itself. One that is missing, damaged or of a newer version is left out, and `missing` says so
in words: a report of half a run is worth having, one that hides the other half is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from loadgate.errors import LoadgateError
from loadgate.judge.stored import latest_verdict
from loadgate.measure.delta import Failure
from loadgate.report.html.fleet import FleetParts, read_fleet
from loadgate.report.html.frame import Frame, frame_of
from loadgate.report.html.probes import ReadingParts, reading_parts
from loadgate.report.html.timeline import Timeline, read_timeline
from loadgate.store.annotations import Annotation, read_annotations
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

    @property
    def frame(self) -> Frame | None:
        """The parts that the run is cut into; None for a run without anything to draw."""
        return self.timeline.frame if self.timeline is not None else None


def collect(run: RunFolder) -> RunData:
    """Read a run; nothing that is wrong with it raises, it stands in `missing` instead."""
    missing: list[str] = []

    def attempt(read: Callable[[], T], otherwise: T, what: str) -> T:
        try:
            return read()
        except (LoadgateError, OSError, sqlite3.Error) as error:
            missing.append(f"{what}: {getattr(error, 'message', None) or error}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            missing.append(f"{what}: damaged ({error!r})")
        return otherwise

    nothing: tuple[str, Mapping[str, Any] | None] = ("", None)
    name, verdict = attempt(lambda: _verdict(run), nothing, "no verdict to show")
    parts = attempt(
        lambda: _run_database(run, verdict, attempt), {}, "nothing that was measured can be shown"
    )
    timeline: Timeline | None = parts.get("timeline")
    if timeline is None and not any("measured" in one for one in missing):
        missing.append("nothing was measured: the run database holds no window")
    missing += timeline.faults if timeline is not None else ()
    fleet: FleetParts | None = parts.get("fleet")
    frame = timeline.frame if timeline is not None else None
    if not run.watch_database.exists():
        missing.append("no probes and alerts: no control room watched this run (there is no watch.db)")
    readings, alerts = attempt(lambda: _watched(run, frame), ((), ()), "no probes and alerts")
    notes = attempt(lambda: read_annotations(run), None, "no annotations")
    missing += notes.faults if notes is not None else ()
    plan = attempt(lambda: _plan(run, parts.get("values", {})), None, "no plan to show")
    if plan is None and not any(one.startswith("no plan") for one in missing):
        missing.append("no plan: the run was started without one, or its plan.json is gone")
    return RunData(
        id=run.id,
        verdict=verdict,
        verdict_file=name,
        values=parts.get("values", {}),
        plan=plan,
        timeline=timeline,
        fleet=fleet,
        readings=readings,
        failures=parts.get("failures", ()),
        events=parts.get("events", ()),
        alerts=tuple(verdict.get("alerts") or alerts) if verdict is not None else alerts,
        annotations=notes.entries if notes is not None else (),
        missing=tuple(missing),
    )


def _verdict(run: RunFolder) -> tuple[str, Mapping[str, Any] | None]:
    path, content = latest_verdict(run)
    return path.name, content


def _run_database(run: RunFolder, verdict: Mapping[str, Any] | None, attempt: Any) -> dict[str, Any]:
    """Read the run database at one moment, piece by piece."""
    with RunReader(run.database) as reader, reader.snapshot():
        values = {
            key: attempt(lambda key=key: reader.value(key, None), None, f"no value of {key}")
            for key in VALUES
        }
        timeline = attempt(
            lambda: read_timeline(reader, _by_arrivals(verdict)), None, "nothing measured to show"
        )
        frame = timeline.frame if timeline is not None else None
        return {
            "values": values,
            "timeline": timeline,
            "fleet": attempt(lambda: read_fleet(reader, frame), None, "no fleet to show"),
            "failures": attempt(lambda: tuple(reader.failures()), (), "no kinds of failure to show"),
            "events": attempt(lambda: tuple(reader.events()), (), "no events to show"),
        }


def _by_arrivals(verdict: Mapping[str, Any] | None) -> list[str]:
    """Return the endpoints of a verdict by how many requests they had, the most first."""
    if verdict is None:
        return []
    books = verdict["books"]["run"]
    return sorted((name for name in books if name != "*"), key=lambda name: (-books[name]["arrivals"], name))


def _watched(
    run: RunFolder, frame: Frame | None
) -> tuple[tuple[ReadingParts, ...], tuple[Mapping[str, Any], ...]]:
    with WatchReader(run.watch_database) as reader:
        found = reader.readings()
        if frame is None and found:
            frame = frame_of(int(found[0].at), int(found[-1].at) + 1)
        return reading_parts(found, frame), tuple(summary_of(reader.alerts()))


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


def endpoints_of(data: RunData) -> Sequence[str]:
    """Return the endpoints that are drawn, the busiest first."""
    if data.timeline is None:
        return ()
    return [name for name in data.timeline.points if name != "*"]
