"""Commit what was measured to the run database, from a native thread.

The event loop hands deltas over and goes on; a slow disk delays acknowledgements and nothing
else. gevent's patches make `threading` cooperative, so the thread and its queue come from the
unpatched modules, and nothing in the thread touches a gevent object except the one
signal that wakes the event loop.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import gevent
from gevent import get_hub, monkey

from loadgate.errors import StoreError
from loadgate.measure.delta import Delta
from loadgate.plan.units import UnitError, parse_bytes
from loadgate.store.blocks import AS_PLANNED
from loadgate.store.database import open_writer
from loadgate.store.disk_need import Disk, level_of
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.folder import RunFolder
from loadgate.store.writer import Event, RunWriter
from loadgate.swarm.launch import DISK_BUDGET

_COMMIT_EVERY = 0.25
"""Seconds between two commits at the least, so that many workers share one."""
_SWITCH_EVERY = 0.0005
"""Seconds after which the writing thread lets the event loop have the interpreter (Python's default, 5 ms,
would make arrivals of a standalone run that late)."""
_RETRY_AFTER = 1.0
"""Seconds to wait after a failed commit; what it held stays in memory."""

_LOOK_EVERY = 60.0
"""Seconds between two looks at how much disk the run uses, and how much is free."""

Key = tuple[str, int, int]
"""A delta's worker, incarnation and sequence number."""


@dataclass
class Batch:
    """Collect what one commit writes."""

    deltas: list[Delta] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.deltas or self.events or self.values or self.ledger)


def admit_loss(batch: Batch) -> None:
    """Make the end of a run whose earlier batch could not be written say so, whatever it was to say."""
    if "ended" in batch.values and batch.values["ended"] is not None:
        batch.values.update(ended="died", flushed=False)


class Tidier:
    """Merge a run's old rows, a little after each commit, and earlier where the disk is short."""

    def __init__(self, writer: RunWriter, path: Path, budget: int | None = None) -> None:
        self._writer = writer
        self._path = path
        self._budget = budget_of(os.environ) if budget is None else budget
        self._look_at = -math.inf
        self._refused = ""
        self.level = 0
        """How much earlier than planned rows are merged."""
        self.stopped = False

    def step(self, now: float) -> list[Event]:
        """Do some tens of milliseconds of work at a monotonic time; return what the run should know of it.

        StoreError where the disk refuses; nothing has changed then.
        """
        events = self._look(now) if now >= self._look_at else []
        if self.stopped:
            return events
        self._writer.compact(self._writer.latest, AS_PLANNED.earlier(self.level))
        if self.level:
            self._writer.give_back()
        refused = self._writer.compaction_refused
        if refused and refused != self._refused:
            self._refused = refused
            events.append(Event(self._writer.latest, "compaction_refused", {"reason": refused}))
        return events

    def _look(self, now: float) -> list[Event]:
        self._look_at = now + _LOOK_EVERY
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError:
            return []
        disk = Disk(self._writer.bytes_used(), free, self._budget)
        level = level_of(disk)
        if level == self.level:
            return []
        self.level = level
        horizon = AS_PLANNED.earlier(level)
        detail = {
            "level": level,
            "full": horizon.full,
            "middle": horizon.middle,
            "used": disk.used,
            "free": disk.free,
            "budget": disk.budget,
        }
        return [Event(self._writer.latest, "compaction_level", detail)]


def budget_of(environment: Mapping[str, str]) -> int | None:
    """Return the bytes that run.db may use; None where nothing, or nothing that can be read, says so.

    A budget is no reason to end a run that measures: `loadgate` has checked it before.
    """
    try:
        return int(parse_bytes(environment[DISK_BUDGET]))
    except (KeyError, UnitError):
        return None


class Keeper:
    """Write one run's database. `committed(keys)` is called in the event loop after each commit.

    `failed(error)` is called in the event loop when a commit failed; the batch is kept and tried
    again.
    """

    def __init__(
        self,
        folder: RunFolder,
        committed: Callable[[list[Key]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._folder = folder
        self._committed = committed
        self._failed = failed
        simple_queue = monkey.get_original("queue", "SimpleQueue")
        self._inbox: Any = simple_queue()
        self._outbox: Any = simple_queue()
        self._wake = get_hub().loop.async_()
        self._wake.start(self._collect)
        self._sleep = monkey.get_original("time", "sleep")
        self._closed = False
        self._dropped = False
        sys.setswitchinterval(_SWITCH_EVERY)
        monkey.get_original("_thread", "start_new_thread")(self._work, ())

    def put(self, delta: Delta) -> None:
        """Hand over a delta; `committed` tells when it is safe."""
        self._inbox.put(delta)

    def event(self, at: float, kind: str, **detail: Any) -> None:
        """Hand over an event at a run time."""
        self._inbox.put(Event(at, kind, detail))

    def ledger(self, row: LedgerRow) -> None:
        """Hand over what is known of the fleet in one second."""
        self._inbox.put(row)

    def values(self, **values: Any) -> None:
        """Hand over values of the run table."""
        self._inbox.put(values)

    def close(self, timeout: float) -> bool:
        """Commit everything handed over; tell whether that was done within `timeout` seconds."""
        self._inbox.put(None)
        deadline = time.monotonic() + timeout
        while not self._closed and time.monotonic() < deadline:
            gevent.sleep(0.01)
        return self._closed

    def _collect(self) -> None:
        while not self._outbox.empty():
            kind, content = self._outbox.get()
            if kind == "committed":
                self._committed(content)
            elif kind == "failed":
                self._failed(content)
            else:
                self._closed = True
                self._wake.stop()

    def _tell(self, kind: str, content: Any) -> None:
        self._outbox.put((kind, content))
        self._wake.send()

    def _work(self) -> None:
        try:
            writer = open_writer(self._folder.database)
        except Exception as error:  # noqa: BLE001 - the thread has no one else to tell
            self._tell("failed", error)
            self._tell("closed", None)
            return
        batch, last, open_ = Batch(), 0.0, True
        tidier = Tidier(writer, self._folder.database)
        try:
            while open_ or batch:
                open_ = self._take(batch, wait=open_) and open_
                if not batch:
                    continue
                pause = last + _COMMIT_EVERY - time.monotonic()
                if pause > 0 and open_:
                    self._sleep(pause)
                    open_ = self._take(batch, wait=False) and open_
                last = time.monotonic()
                batch = self._commit(writer, batch, final=not open_)
                if open_ and not batch:
                    self._tidy(tidier, batch)
        finally:
            writer.close()
            self._tell("closed", None)

    def _commit(self, writer: RunWriter, batch: Batch, *, final: bool) -> Batch:
        if self._dropped:
            admit_loss(batch)
        try:
            keys = writer.commit(
                batch.deltas, events=batch.events, run_values=batch.values, ledger=batch.ledger
            )
        except StoreError as error:
            self._tell("failed", error)
            if final:
                self._dropped = True
                return Batch()
            self._sleep(_RETRY_AFTER)
            return batch
        except Exception as error:  # noqa: BLE001 - a delta that cannot be merged must not end the thread
            self._tell("failed", error)
            self._dropped = True
            return Batch()
        self._tell("committed", keys)
        return Batch()

    def _tidy(self, tidier: Tidier, batch: Batch) -> None:
        """Merge some old rows, after what came was acknowledged; what is new to say goes into the batch."""
        try:
            batch.events += tidier.step(time.monotonic())
        except StoreError as error:
            # A full disk: it is tried again after the next commit.
            self._tell("failed", error)
        except Exception as error:  # noqa: BLE001 - old rows that cannot be merged must not end the thread
            tidier.stopped = True
            self._tell("failed", error)

    def _take(self, batch: Batch, *, wait: bool) -> bool:
        """Move what is in the inbox to the batch; return False once the inbox was closed."""
        while True:
            try:
                item = self._inbox.get(wait and not batch, 1.0)
            except Empty:
                return True
            if item is None:
                return False
            if isinstance(item, Delta):
                batch.deltas.append(item)
            elif isinstance(item, dict):
                batch.values.update(item)
            elif isinstance(item, LedgerRow):
                batch.ledger.append(item)
            else:
                batch.events.append(item)
