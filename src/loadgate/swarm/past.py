"""What a master finds of its run before it begins: the folder, and what another master left in it."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from loadgate.errors import StoreError, UsageError
from loadgate.measure.window import Count
from loadgate.plan.plan import Plan
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, create_run, results_root
from loadgate.store.last_look import last_look
from loadgate.store.ledger import Ranges
from loadgate.swarm.doubts import Doubt, Merged, Presence, by_second, doubts_of, leased_until, merged_of
from loadgate.swarm.muster import LOST_NAME, Left
from loadgate.swarm.roster import LONGEST_WINDOW, REMEMBERED, count_arrivals


@dataclass(frozen=True)
class Past:
    """Hold what is needed to go on with a run: its anchor, its workers' names, and its last second."""

    monotonic: float
    wall: float
    boot_id: str
    last_second: int
    """The last run second that any worker reported; -1 without any."""
    written: int = -1
    """The last run second of which the fleet ledger has a row; -1 without any."""
    offered: Counter[int] = field(default_factory=Counter)
    """By run second after `written`, or that is open: the arrivals that are on record."""
    merged: tuple[Merged, ...] = ()
    """What of that is on record for several seconds together only."""
    workers: dict[str, str] = field(default_factory=dict)
    """Names by Locust's client id."""
    reports: dict[str, dict[int, Ranges]] = field(default_factory=dict)
    """By a worker's name and incarnation: the sequence numbers of the reports that are committed."""
    reported: dict[str, int] = field(default_factory=dict)
    """By a worker's name: the last run second up to which nothing is missing among its reports."""
    doubts: tuple[Doubt, ...] = ()
    """Seconds left open by masters before the last one, and around workers that were lost."""
    unoffered: dict[int, int] = field(default_factory=dict)
    """By open second: the arrivals that are known to be offered by nobody."""
    open_books: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By endpoint and phase: arrivals on record, less their ends."""
    lost: dict[str, Doubt] = field(default_factory=dict)
    """By name, of workers that were lost or left and did not come back: what they may have done since."""
    since: dict[str, int] = field(default_factory=dict)
    """By name: the run second in which a worker first came late, or last came back."""
    look: float = -math.inf
    """The last run time at which a master is known to have gone on while nothing could be written."""
    paused: bool = False
    """Whether the run was left in good order: its workers reported all that they did, and ended."""
    stop_asked: bool = False
    """Whether a master before had taken a request to end the run, and died before it had."""

    def left_by(self, missing: Collection[str], back: Collection[str]) -> Left:
        """Return what is left open, where the workers `missing` did not come back, and `back` did."""
        until = leased_until(self.last_second, self.look)
        gone = tuple(sorted({*self.lost, *missing} - {*back}))
        # What the ledger has rows of may be open as well, where one of them was late with its reports.
        theirs = [Doubt(self.reported_by(name) + 1, until, float(until)) for name in sorted(missing)]
        return Left(
            doubts=(*self.doubts, *theirs),
            offered=self.offered,
            merged=self.merged,
            unoffered=self.unoffered,
            open_books=self.open_books,
            workers=gone,
            stopped=float(until) if missing else -math.inf,
            leased_until=float(until),
            lost=self.lost,
            lost_deltas=self.lost_deltas,
        )

    @property
    def lost_deltas(self) -> int:
        """Return the number of the last delta of losses on record under this process's pid; 0 without any."""
        found = self.reports.get(LOST_NAME, {}).get(os.getpid())
        return max((one.last for one in found.ranges()), default=0) if found is not None else 0

    def reported_by(self, worker: str) -> int:
        """Return the last run second up to which nothing is missing among a worker's reports.

        What is missing from before it last came back is open already, with its loss. Of one that never
        reported it is what it can be at the most: it was heard of a moment ago, and so came, or reported, not
        long before.
        """
        if worker in self.lost:
            return self.reported.get(worker, self.lost[worker].first - 1)
        told = self.reported.get(worker, self.last_second - REMEMBERED)
        return max(told, self.since.get(worker, 0) - 1, -1)

    @property
    def last_known(self) -> int:
        """Return the last run second of which it is known that a master was there; -1 without any."""
        return (
            self.last_second if self.look == -math.inf else max(self.last_second, math.floor(self.look) - 1)
        )

    def anchor_on(self, boot_id: str, now: float, wall_now: float) -> float:
        """Return run time 0 by this process's CLOCK_MONOTONIC.

        The stored moment holds as long as the machine was not started anew; after that the wall clock is
        all that both have in common.
        """
        if boot_id and boot_id == self.boot_id:
            return self.monotonic
        return now - (wall_now - self.wall)


def past_of(folder: RunFolder) -> Past | None:
    """Read what another master left of a run that has not ended; None for a new run.

    UsageError when the run has ended: nothing can be added to it. StoreError when its database is damaged.
    """
    if not folder.database.exists():
        return None
    with RunReader(folder.database) as reader, reader.snapshot():
        anchor = _anchor_of(folder, reader.value("anchor", None))
        ended = reader.value("ended", None)
        if ended is not None:
            raise UsageError(
                f"the run {folder.id} has ended ({ended}); it cannot be taken up again",
                hint="start a new run, without LOADGATE_RUN",
            )
        if anchor is None:
            return None
        ledger = list(reader.ledger())
        rows = {row.second: row.unoffered for row in ledger if row.unoffered}
        written = max((row.second + row.span - 1 for row in ledger), default=-1)
        workers = dict(reader.value("workers", None) or {})
        events = reader.events()
        reports = _reports(reader)
        reported, last_second = _reported(reader, reports)
        presence = Presence.of(events)
        past = Past(
            monotonic=anchor[0],
            wall=anchor[1],
            boot_id=anchor[2],
            last_second=last_second,
            written=written,
            workers=workers,
            reports=reports,
            reported=reported,
            doubts=doubts_of(events, len(workers), reported),
            open_books=_open_books(reader),
            # It may have lived on, and come back: then it had leases for all of it.
            lost={name: replace(lost, back=True).doubt(len(workers)) for name, lost in presence.lost.items()},
            since=presence.since,
            look=last_look(folder, anchor[1]),
            paused=reader.value("paused_at", None) is not None,
            stop_asked=any(event.kind == "stop_asked" for event in events),
        )
        known = {*workers.values()} - {*past.lost}
        late = min((past.reported_by(name) for name in known), default=written)
        open_seconds = {*by_second(past.doubts, written + 1), *range(max(late + 1, 0), written + 1)}
        offered, merged = _on_record(reader, written, open_seconds, rows)
        return replace(
            past,
            offered=offered,
            merged=merged,
            unoffered={second: number for second, number in rows.items() if second in open_seconds},
        )


def _anchor_of(folder: RunFolder, stored: Any) -> tuple[float, float, str] | None:
    """Return the stored moments of run time 0, and the kernel that the first of them is of."""
    if stored is None:
        return None
    try:
        monotonic, wall = float(stored["monotonic"]), float(stored["wall"])
        if math.isfinite(monotonic) and math.isfinite(wall):
            return monotonic, wall, str(stored.get("boot_id", ""))
    except (KeyError, TypeError, ValueError):
        pass
    raise StoreError(
        f"the run {folder.id} cannot be taken up again: the start of its run time is damaged ({stored!r})",
        hint="start a new run, without LOADGATE_RUN; what this one measured can still be judged",
    )


def _on_record(
    reader: RunReader, written: int, open_seconds: Collection[int], unoffered: Mapping[int, int]
) -> tuple[Counter[int], tuple[Merged, ...]]:
    """Count the arrivals on record by run second, after `written` and in seconds that are open.

    And by rows, where old ones were merged: what is missing in one of their seconds is evened out in them.
    """
    offered: Counter[int] = Counter()
    by_row: Counter[tuple[int, int]] = Counter()
    # A longer row may begin before the first of these seconds and reach into it.
    start = min([written + 1, *open_seconds]) - LONGEST_WINDOW
    for window in reader.windows(start=start, series=()):
        count_arrivals(offered, window)
        if window.span <= LONGEST_WINDOW:
            by_row[window.second, window.second + window.span] += window.count(Count.ARRIVALS)

    def is_open(second: int) -> bool:
        return second > written or second in open_seconds

    by_second = Counter({second: number for second, number in offered.items() if is_open(second)})
    return by_second, merged_of(by_row, unoffered, is_open)


def _open_books(reader: RunReader) -> Counter[tuple[str, str]]:
    """Count the arrivals on record that have no end yet, by endpoint and phase."""
    books: Counter[tuple[str, str]] = Counter()
    for window in reader.windows(series=()):
        if window.imbalance:
            books[window.endpoint, window.phase] += window.imbalance
    return Counter({key: number for key, number in books.items() if number})


def _reported(reader: RunReader, reports: Mapping[str, Mapping[int, Ranges]]) -> tuple[dict[str, int], int]:
    """Return by worker up to which second nothing is missing among its reports, and the last one of any.

    A worker with a hole among them has it to send again, or it is gone; it is of the last two minutes.
    """
    found: dict[str, int] = {}
    for row in reader.fleet():
        found[row.worker] = max(found.get(row.worker, -1), row.end - 1)
    last = max(found.values(), default=-1)
    for worker, incarnations in reports.items():
        if worker in found and any(ranges.gaps() for ranges in incarnations.values()):
            found[worker] = max(found[worker] - REMEMBERED, -1)
    return found, last


def _reports(reader: RunReader) -> dict[str, dict[int, Ranges]]:
    found: dict[str, dict[int, Ranges]] = {}
    for source in reader.sources():
        found.setdefault(source.worker, {})[source.incarnation] = Ranges(list(source.ranges))
    return found


def folder_of(plan: Plan | None) -> RunFolder:
    """Use the folder that `LOADGATE_RUN` names, or make one."""
    given = os.environ.get("LOADGATE_RUN")
    if given:
        return RunFolder(Path(given))
    scenario = os.environ.get("LOADGATE_SCENARIO")
    root = results_root(None, Path(scenario) if scenario else None)
    name = plan.scenario.name if plan is not None else "locust"
    return create_run(root, name, datetime.now(UTC))


def write_fault(plan: Plan | None, message: str, hint: str, code: int) -> None:
    """Say on standard error, and in the run's folder, why the run never began."""
    sys.stderr.write(f"loadgate: {message}\n  {hint}\n")
    folder = folder_of(plan)
    if _is_written(folder):
        return
    with open_writer(folder.database) as writer:
        values = {
            "id": folder.id,
            "scenario": plan.scenario.name if plan is not None else "locust",
            "plan": orjson.loads(plan.to_json()) if plan is not None else None,
            "started_at": datetime.now(UTC).isoformat(),
            "ended": "died",
            "flushed": False,
            "fault": message,
            "fault_hint": hint,
            "fault_exit_code": code,
        }
        writer.commit(run_values=values)


def _is_written(folder: RunFolder) -> bool:
    """Tell whether a run database holds anything; the empty one of a new run does not."""
    if not folder.database.exists():
        return False
    try:
        with RunReader(folder.database) as reader:
            return reader.revision() > 0
    except StoreError:
        return True


def stock_name(environment: Any) -> str:
    """Name a run without a plan by its locustfile."""
    files = environment.parsed_locustfiles or ()
    return Path(files[0]).stem if files else "locust"


def versions() -> dict[str, str]:
    """Return the versions of what makes and measures the load."""
    packages = ("loadgate", "locust", "gevent", "numpy", "hdrhistogram")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def this_machine() -> dict[str, Any]:
    """Describe the machine of this process."""
    return {"node": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
