"""How a run begins for its workers: what is written down first, and each worker's name, place and run time 0.

A run that another master kept before goes on instead: same run time, same names, nothing granted twice.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.swarm import messages
from loadgate.swarm.fingerprint import Fingerprint, expect
from loadgate.swarm.keeper import Keeper
from loadgate.swarm.launch import CAUSE, is_supervised
from loadgate.swarm.muster import Muster
from loadgate.swarm.past import Past, stock_name, this_machine, versions
from loadgate.swarm.roster import Worker

_LEAD = 0.3
"""Seconds at least between the last user's start and run time 0."""

Send = Callable[[str, dict[str, Any], str], None]
"""Sends a message to a worker: its type, its data, and Locust's id of the worker."""


class Enrolment:
    """Enrol the workers of one run in its muster, and tell each what it is part of.

    `past` is what another master left of this run, `base` where the locustfile lies; `event(kind, **detail)`
    notes an event of the run. `is_local` says that this process makes the load as well.
    """

    def __init__(
        self,
        environment: Any,
        plan: Plan | None,
        folder: RunFolder,
        muster: Muster,
        keeper: Keeper,
        *,
        send: Send,
        event: Callable[..., None],
        past: Past | None,
        base: Path | None,
        fingerprint: Fingerprint | None,
        is_local: bool,
    ) -> None:
        self._environment = environment
        self._plan = plan
        self._folder = folder
        self._run = folder.id
        self._muster = muster
        self._keeper = keeper
        self._send = send
        self._event = event
        self._base = base
        self._fingerprint = fingerprint
        self._is_local = is_local
        self._past = past
        self._wall = 0.0

    @property
    def has_begun(self) -> bool:
        """Tell whether run time has begun."""
        return self._muster.anchor is not None

    @property
    def wall(self) -> float:
        """Return the wall clock of run time 0; 0 before that is set."""
        return self._wall

    def begin(self, clients: Sequence[str]) -> None:
        """Write down what the run is, and give the workers that are here their places; or take the run up."""
        if self._past is not None:
            self._take_up(self._past, clients)
            return
        self._write_down(len(clients))
        for client in clients:
            self._muster.roster.join(client, math.inf if self._is_local else time.monotonic())
        for worker in self._muster.roster:
            self._send_start(worker)

    def late(self, client: str) -> None:
        """Give a worker that joins a run under way a place in it, or its old one."""
        roster = self._muster.roster
        if client in roster:
            # It lost its connection, or met a new master; its share comes with the next leases.
            roster.hear(client, time.monotonic())
            return
        is_new = self._past is None or client not in self._past.workers
        if self._past is not None:
            worker = self._take_back(self._past, client)
        else:
            worker = roster.join(client, time.monotonic())
            self._send_start(worker)
        started = {"restarted": True} if is_new and is_supervised() else {}
        self._event("worker_joined", worker=worker.name, **started)
        self._keep_names()

    def users_are_ready(self) -> bool:
        """Set run time 0, once, at the next whole second that leaves the workers time to hear of it.

        Tell whether that was now.
        """
        if self._muster.anchor is not None:
            return False
        now, wall = time.monotonic(), time.time()
        whole = int(wall + _LEAD) + 1
        self._set_anchor(now + (whole - wall), whole)
        for worker in self._muster.roster:
            worker.ready = True
            self._muster.roster.hear(worker.client, now)
            self._send(messages.GO, self._go(), worker.client)
        self._keep_names()
        return True

    def _write_down(self, workers: int) -> None:
        """Write the run's first values, and set run time 0 of a run that has no plan."""
        if self._plan is None:
            self._set_anchor(time.monotonic(), time.time())
        plan = self._plan.to_json() if self._plan is not None else None
        if plan is not None and not self._folder.plan.exists():
            self._folder.plan.write_bytes(plan)
        self._keeper.values(
            id=self._run,
            scenario=self._plan.scenario.name if self._plan else stock_name(self._environment),
            plan=orjson.loads(plan) if plan else None,
            host=self._environment.host or (self._plan.scenario.host if self._plan else None),
            started_at=datetime.now(UTC).isoformat(),
            ended=None,
            mode="standalone" if self._is_local else "distributed",
            model=self._plan.scenario.traffic.model if self._plan else "closed",
            flushed=False,
            workers_expected=workers,
            versions=versions(),
            fingerprint=self._fingerprint.to_wire() if self._fingerprint is not None else None,
            machine=this_machine(),
            pid=os.getpid(),
        )

    def _take_up(self, past: Past, clients: Sequence[str]) -> None:
        """Go on with a run whose master died: same run time, same names, nothing granted a second time."""
        now = time.monotonic()
        self._wall = past.wall
        self._muster.anchor = past.anchor_on(messages.boot_id(), now, time.time())
        self._keeper.values(anchor=self._anchor_value(), pid=os.getpid(), paused_at=None)
        self._muster.roster.reserve([*past.workers.values(), *past.reports])
        for client in clients:
            self._take_back(past, client)
        back = {name for client, name in past.workers.items() if client in clients}
        missing = set() if past.paused else {*past.workers.values()} - back - {*past.lost}
        left = past.left_by(missing, back)
        gap = self._muster.resume(now, past.last_known, written=past.written, left=left)
        cause = os.environ.get(CAUSE) or "its master died"
        until = past.last_second + 1
        self._event(
            "resumed", measured_until=until, workers=len(clients), cause=cause, open=gap.own.to_dict()
        )
        self._event("not_measured", **{"from": until, "to": gap.end, "cause": cause})
        for name in sorted(missing):
            self._event("worker_lost", worker=name, reported_until=past.reported_by(name) + 1)
        for name in sorted(back & {*past.lost}):
            self._event("worker_returned", worker=name, reported_until=until)
        self._keep_names()

    def _take_back(self, past: Past, client: str) -> Worker:
        """Let a worker be who it was under the master before; one that is new is told everything."""
        name = past.workers.get(client)
        roster = self._muster.roster
        worker = roster.join(client, time.monotonic(), name=name, ready=name is not None)
        if name is None:
            self._send_start(worker)
        else:
            worker.seen.update(past.reports.get(name, {}))
            worker.reported = worker.whole = past.reported_by(name)
            worker.was_before = True
            self._send(messages.GO, self._go(), client)
        return worker

    def _send_start(self, worker: Worker) -> None:
        plan, roster = self._plan, self._muster.roster
        here = roster.here()
        start = messages.Start(
            run=self._run,
            worker=worker.name,
            index=worker.number,
            rank=here.index(worker),
            workers=len(here),
            plan=plan.to_json() if plan is not None else None,
            files=expect(plan, self._base) if plan is not None and self._base is not None else {},
            boot_id=messages.boot_id(),
            anchor=self._muster.anchor,
            wall=self._wall if self._muster.anchor is not None else None,
            leased=self._muster.leased,
        )
        self._send(messages.START, start.to_wire(), worker.client)

    def _set_anchor(self, moment: float, wall: float) -> None:
        # Run time 0 lies on a whole second of the wall clock, so that windows can be named by it.
        fraction = wall - int(wall)
        self._muster.anchor, self._wall = moment - fraction, float(int(wall))
        self._keeper.values(anchor=self._anchor_value())

    def _anchor_value(self) -> dict[str, Any]:
        return {"monotonic": self._muster.anchor, "wall": self._wall, "boot_id": messages.boot_id()}

    def _go(self) -> dict[str, Any]:
        return {"run": self._run, "anchor": self._muster.anchor, "wall": self._wall}

    def _keep_names(self) -> None:
        """Write down who is who, for a master that may have to take the run up."""
        self._keeper.values(workers={worker.client: worker.name for worker in self._muster.roster})
