"""Watch one run from outside: probes, alerts, notifications and rollback, begun and ended together."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from loadgate.cli.daily_summary import DailySummaries
from loadgate.cli.disk_check import LOOK_EVERY, DiskWatch, look_at
from loadgate.errors import LoadgateError, StoreError
from loadgate.judge.gather import gather
from loadgate.judge.run import void_reasons
from loadgate.judge.verdict import judge
from loadgate.plan.disk_budget import disk_budget
from loadgate.plan.plan import Plan
from loadgate.plan.units import format_duration
from loadgate.report.text import clean
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.log_files import rotate_logs
from loadgate.store.watch import AlertChange, Reading, WatchReader
from loadgate.store.watch_desk import WatchDesk
from loadgate.watch.actions import Responder
from loadgate.watch.alert_feed import LiveAlerts
from loadgate.watch.notifier import Notifier
from loadgate.watch.runner import ProbeRunner

SETTLED_AFTER: Final = 3.0
"""Seconds after a second of run time in which every worker has told of it, and the master has kept it."""
STOPS_WITHIN: Final = 5.0
"""Seconds that an action waits for a load that was told to end; then the target's state matters more."""
_TOLD: Final = frozenset({"firing", "resolved", "flapping"})


class Watching:
    """Everything that a control room does about a run beside its load.

    `arm` says whether an alert may end the load and change the target, `stop_load(reason)` ends the load (it
    is called from another thread), and `say(text)` tells people. `has_load` says that there is a generator to
    be judged.
    PlanError when a secret that the plan names is missing, UsageError when its certificate cannot be used,
    StoreError when the watch database cannot be written: all of it before any load.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        *,
        arm: bool,
        stop_load: Callable[[str], str | None],
        say: Callable[[str], None] = lambda text: click.echo(text, err=True),
        has_load: bool = True,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._say = say
        self._has_load = has_load
        self._anchor: float | None = None
        self._desk = WatchDesk(folder.watch_database)
        try:
            self._notifier = Notifier(plan, folder, self._desk, self._now, os.environ)
            self._responder = Responder(
                plan,
                folder,
                self._desk,
                arm,
                stop_load,
                self._now,
                environ=os.environ,
                evidence=self._verdict_so_far,
                told=self._notifier.acted,
            )
        except BaseException:
            self._desk.close()
            raise
        self._daily = DailySummaries(plan, folder, self._notifier)
        self._probes: ProbeRunner | None = None
        self._alerts: LiveAlerts | None = None
        self._unwritten: deque[AlertChange] = deque()
        self._blind = ""
        self._told: set[str] = set()
        stated = plan.scenario.results.budget is not None
        self._disk = DiskWatch(disk_budget(plan), stated=stated) if has_load else None
        self._kept_at = 0.0

    def begin(self, anchor: float) -> None:
        """Begin at run time 0, which is `anchor` (CLOCK_MONOTONIC), or go on where an earlier one was."""
        self._anchor = anchor
        self._notifier.start()
        self._daily.begin()
        self._responder.start()
        self._responder.resume(void=self._is_void())
        self._alerts = LiveAlerts(self._plan, self._folder, self._desk.points)
        plan, path = self._plan, self._folder.watch_database
        self._probes = ProbeRunner(plan, anchor, path, os.environ, self._desk.lend)
        self._probes.start()

    def look(self) -> None:
        """Take in what the alert rules have to say by now; call it about twice a second."""
        if self._alerts is not None:
            self._take(lambda alerts: alerts.step(self._now()))
        if self._now() - self._kept_at >= LOOK_EVERY:
            self._kept_at = self._now()
            self._keep_small()
        self._daily.look()
        self._tell_errors()

    def latest(self) -> dict[tuple[str, str], Reading]:
        """Return the last reading of each (probe, reading)."""
        return self._probes.latest() if self._probes is not None else {}

    @property
    def standing(self) -> Mapping[str, str]:
        """Return the state of each alert rule."""
        return self._alerts.standing if self._alerts is not None else {}

    @property
    def blind(self) -> str:
        """Say why the rules could not be followed to the last; empty when they were."""
        return self._blind

    def stop_probes(self) -> None:
        """Take no more readings; again is fine."""
        if self._probes is not None:
            self._probes.stop()

    def end(self) -> None:
        """Say what the end of the run says, once it is written down, and carry out and send what is left."""
        self.stop_probes()
        self._daily.close()
        try:
            if self._alerts is not None:
                self._take(self._last)
                self._alerts.close()
            if self._anchor is not None:
                self._responder.close()
                self._notifier.close()
        finally:
            self._desk.close()
        self._tell_errors()

    # -- alerts ---------------------------------------------------------------------------------

    def _take(self, step: Callable[[LiveAlerts], list[AlertChange]]) -> None:
        """Take in what the rules say now; what cannot be read or written just now is said the next time."""
        assert self._alerts is not None
        try:
            # First: the engine takes what it said before as written.
            self._write_changes()
            self._unwritten.extend(step(self._alerts))
            self._write_changes()
        except StoreError as error:
            self._blind = f"alerts: {error.message}"
            self._tell_once(self._blind)
        else:
            self._blind = ""
        for text in self._alerts.unread:
            self._tell_once(f"alerts: {text}")

    def _write_changes(self) -> None:
        while self._unwritten:
            self._change(self._unwritten[0])
            self._unwritten.popleft()

    def _last(self, alerts: LiveAlerts) -> list[AlertChange]:
        """Return what the rules say at the end, or by now where the run has none: it may go on elsewhere."""
        with RunReader(self._folder.database) as reader:
            has_ended = reader.value("ended", None) is not None
        return alerts.finish() if has_ended else alerts.step(self._now())

    def _change(self, change: AlertChange) -> None:
        wall = datetime.now(UTC).isoformat(timespec="milliseconds")
        stored = change._replace(wall=wall)
        stored = stored._replace(id=self._desk.alert(stored))
        self._notifier.changed(stored)
        acts = stored.state == "firing" and bool(stored.detail.get("on_fire"))
        self._responder.handle(stored, void=acts and self._is_void())
        if stored.state in _TOLD:
            at, text = format_duration(stored.at), clean(str(stored.detail.get("text", "")))
            self._say(f"{stored.severity.upper()} {stored.state}: {text or stored.rule} (at {at})")

    def _is_void(self) -> bool:
        """Tell whether the run is void so far; where that cannot be told it may be, so nothing is done."""
        if not self._has_load:
            return False
        try:
            evidence = gather(self._folder, self._plan, running=True, until=self._now() - SETTLED_AFTER)
            return bool(evidence.seconds) and bool(void_reasons(evidence))
        except LoadgateError as error:
            self._tell_once(f"whether the run is void cannot be told: {error.message}")
            return True

    def _verdict_so_far(self) -> Mapping[str, Any] | None:
        if not self._has_load:
            return None
        evidence = gather(self._folder, self._plan, running=True, until=self._now() - SETTLED_AFTER)
        return judge(evidence, now=datetime.now(UTC)).to_dict()

    # -- the disk -------------------------------------------------------------------------------

    def _keep_small(self) -> None:
        """Rotate logs, pack what is old, and tell of the disk; what goes wrong is told once."""
        for fault in rotate_logs(self._folder.logs):
            self._tell_once(f"logs: {fault}")
        try:
            self._desk.compact(self._now())
            for one in self._dropped():
                self._tell_once(one)
        except StoreError as error:
            self._tell_once(f"watch database: {error.message}")
        if self._disk is not None:
            for text in self._disk.look(look_at(self._folder.path)):
                self._say(text)

    def _dropped(self) -> list[str]:
        """Say what was dropped for its number, without the figures, which only grow."""
        with WatchReader(self._folder.watch_database) as reader:
            return [f"the oldest {one.kind} of {one.name} are dropped: too many" for one in reader.dropped()]

    # -- small things ---------------------------------------------------------------------------

    def _now(self) -> float:
        """Return the run time; 0 before it has begun."""
        return time.monotonic() - self._anchor if self._anchor is not None else 0.0

    def _tell_errors(self) -> None:
        parts = {"probes": self._probes, "actions": self._responder, "notify": self._notifier}
        for name, part in parts.items():
            for error in part.errors if part is not None else ():
                self._tell_once(f"{name}: {error}")

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._say(clean(text))
