"""The side of a run that keeps it: the Locust master, or the standalone process.

It owns the run folder, hands every delta to the keeper, acknowledges what is committed, sets
run time 0, ends the run when the plan says so, and writes down how the run ended.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.event import Event
from locust.runners import STATE_MISSING, LocalRunner

from loadgate.errors import LoadgateError, MeasureError
from loadgate.exit_codes import ExitCode
from loadgate.measure.delta import Delta
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder, create_run, results_root
from loadgate.swarm import messages, patches
from loadgate.swarm.fleet import alive
from loadgate.swarm.keeper import Keeper, Key

_LEAD = 0.3
"""Seconds at least between the last user's start and run time 0."""
_UNPLANNED_DRAIN = 30.0
"""Seconds that requests of a run without a plan get to end."""
_GRACE = 3.0
"""Seconds beyond the drain in which a worker must say that it has drained."""
_LAST_DELTAS_WITHIN = 10.0
_CONTROL_ROOM_GONE_AFTER = 60.0
_PRUNE_EVERY = 60.0
_log = logging.getLogger("loadgate.swarm")


class Master:
    """Keep one run, from Locust's test_start to its end."""

    def __init__(self, environment: Any, plan: Plan | None) -> None:
        self.environment = environment
        self.plan = plan
        self.folder = _folder(plan)
        self.run = self.folder.id
        self.ended: str | None = None
        self.fault: str = ""
        self._fault_hint = ""
        self._anchor: float | None = None
        self._wall = 0.0
        self._workers: dict[str, str] = {}
        self._lost: set[str] = set()
        self._drained: set[str] = set()
        self._final: set[str] = set()
        self._finalised = False
        self._closed = Event()
        self._keeper = Keeper(self.folder, self._committed, self._commit_failed)
        self._conductor: gevent.Greenlet | None = None

    @property
    def is_local(self) -> bool:
        """Tell whether this process also makes the load."""
        return isinstance(self.environment.runner, LocalRunner)

    # -- begin ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write down what the run is, and give each worker its place before its users exist."""
        runner = self.environment.runner
        clients = (
            ["local"] if self.is_local else [c.id for c in runner.clients.all if c.state != STATE_MISSING]
        )
        if self.plan is None:
            self._set_anchor(time.monotonic(), time.time())
        plan = self.plan.to_json() if self.plan is not None else None
        if plan is not None and not self.folder.plan.exists():
            self.folder.plan.write_bytes(plan)
        self._keeper.values(
            id=self.run,
            scenario=self.plan.scenario.name if self.plan else _stock_name(self.environment),
            plan=orjson.loads(plan) if plan else None,
            host=self.environment.host or (self.plan.scenario.host if self.plan else None),
            started_at=datetime.now(UTC).isoformat(),
            ended=None,
            mode="standalone" if self.is_local else "distributed",
            model=self.plan.scenario.traffic.model if self.plan else "closed",
            flushed=False,
            workers_expected=len(clients),
            versions=_versions(),
            machine=_machine(),
            pid=os.getpid(),
        )
        for client in clients:
            self._enrol(client, len(clients), plan)
        self._conductor = gevent.spawn(self._conduct)

    def enrol_late(self, client: str) -> None:
        """Give a worker that joins a run under way a place without a share of the schedule."""
        if self._finalised or client in self._workers:
            return
        plan = self.plan.to_json() if self.plan is not None else None
        self._enrol(client, 0, plan)
        self._event("worker_joined", worker=self._workers[client])
        if self.plan is not None and self._anchor is not None:
            self._send(messages.GO, {"anchor": self._anchor, "wall": self._wall}, client)

    def _enrol(self, client: str, workers: int, plan: bytes | None) -> None:
        index = len(self._workers)
        name = self._workers[client] = f"worker-{index + 1}"
        anchored = self.plan is None
        start = messages.Start(
            run=self.run,
            worker=name,
            index=index,
            workers=workers,
            plan=plan,
            boot_id=messages.boot_id(),
            anchor=self._anchor if anchored else None,
            wall=self._wall if anchored else None,
        )
        self._send(messages.START, start.to_wire(), client)

    def users_are_ready(self) -> None:
        """Set run time 0, once, at the next whole second that leaves the workers time to hear of it."""
        if self._anchor is not None:
            return
        now, wall = time.monotonic(), time.time()
        whole = int(wall + _LEAD) + 1
        self._set_anchor(now + (whole - wall), whole)
        for client in self._workers:
            self._send(messages.GO, {"anchor": self._anchor, "wall": self._wall}, client)

    def _set_anchor(self, moment: float, wall: float) -> None:
        # Run time 0 lies on a whole second of the wall clock, so that windows can be named by it.
        fraction = wall - int(wall)
        self._anchor, self._wall = moment - fraction, float(int(wall))
        self._keeper.values(
            anchor={"monotonic": self._anchor, "wall": self._wall, "boot_id": messages.boot_id()}
        )

    # -- while it runs --------------------------------------------------------------------------

    def delta(self, data: dict[str, Any], client: str) -> None:
        """Take a worker's delta. One that cannot be read is an event, never a crash."""
        try:
            delta = Delta.from_wire(data["delta"])
        except (MeasureError, KeyError, TypeError) as error:
            self._event("unreadable_delta", worker=self._workers.get(client, client), error=str(error))
            return
        if delta.run != self.run:
            self._event("stranger", worker=client, run=delta.run)
            return
        self._keeper.put(delta)
        if data.get("final"):
            self._final.add(client)

    def drained(self, client: str) -> None:
        """Note that a worker has nothing under way any more."""
        self._drained.add(client)

    def refused(self, data: dict[str, Any], client: str) -> None:
        """End the run: a worker cannot run the plan."""
        worker = self._workers.get(client, client)
        self.fail(f"{worker}: {data['message']}", int(data["exit_code"]), hint=data.get("hint", ""))

    def fail(self, message: str, code: int, *, hint: str = "") -> None:
        """End the run because it cannot go on; the process exits with `code`."""
        if self.fault:
            return
        self.fault, self._fault_hint = message, hint
        _log.error("%s%s", message, f" ({hint})" if hint else "")
        self._event("fault", message=message, hint=hint)
        self.ended = self.ended or "died"
        self.environment.process_exit_code = code
        gevent.spawn(self._end)

    def interrupted(self) -> None:
        """Note that a signal ends the run."""
        if self.ended is None:
            self.ended = "interrupted"

    def _conduct(self) -> None:
        pruned = time.monotonic()
        gone_since: float | None = None
        while True:
            gevent.sleep(self._until_next_look())
            now = time.monotonic()
            if self._planned_end_has_come(now):
                self.ended = self.ended or "planned"
                gevent.spawn(self._end)
                return
            self._look_for_lost_workers()
            gone_since = self._control_room_gone(gone_since, now)
            if gone_since is not None and now - gone_since > _CONTROL_ROOM_GONE_AFTER:
                self.fail("the control room vanished a minute ago; the load stops", ExitCode.INTERNAL)
                return
            if now - pruned > _PRUNE_EVERY:
                pruned = now
                patches.prune_seconds(self.environment.stats, time.time())

    def _planned_end_has_come(self, now: float) -> bool:
        if self._anchor is None or self.plan is None:
            return False
        return now >= self._anchor + self.plan.timeline.end

    def _until_next_look(self) -> float:
        if self._anchor is None or self.plan is None:
            return 1.0
        left = self._anchor + self.plan.timeline.end - time.monotonic()
        return min(max(left, 0.001), 1.0)

    def _look_for_lost_workers(self) -> None:
        if self.is_local:
            return
        clients = self.environment.runner.clients
        for client, worker in self._workers.items():
            here = client in clients and clients[client].state != STATE_MISSING
            if not here and worker not in self._lost:
                self._lost.add(worker)
                self._event("worker_lost", worker=worker)
            elif here and worker in self._lost:
                self._lost.remove(worker)
                self._event("worker_returned", worker=worker)

    def _control_room_gone(self, since: float | None, now: float) -> float | None:
        pid = os.environ.get("LOADGATE_CONTROL_PID")
        if not pid or alive(int(pid)):
            return None
        return since if since is not None else now

    # -- end ------------------------------------------------------------------------------------

    def stopping(self) -> None:
        """Ask every worker to come to an end, and wait until each has, or is gone."""
        if self.ended is None:
            self.ended = self._why_ended()
        if self._conductor is not None and self._conductor is not gevent.getcurrent():
            self._conductor.kill()
        self._look_for_lost_workers()
        timeout = self.plan.scenario.http.timeout if self.plan is not None else _UNPLANNED_DRAIN
        finish = {"timeout": timeout, "drop_waiting": self.ended != "planned"}
        self._event("draining", ended=self.ended)
        for client in self._live():
            self._send(messages.FINISH, finish, client)
        deadline = time.monotonic() + timeout + _GRACE
        while (late := self._live() - self._drained) and time.monotonic() < deadline:
            gevent.sleep(0.01)
        for client in late:
            self._event("worker_did_not_drain", worker=self._workers[client])
        if self.ended == "died":
            # Locust stops the test when its last worker is gone, but a headless master would stay.
            self.fail("every worker is gone", ExitCode.INVALID, hint="see the workers' logs")

    def finalise(self) -> None:
        """Wait for the last deltas, write down how the run ended, and close the run database."""
        if self._finalised:
            self._closed.wait()
            return
        self._finalised = True
        deadline = time.monotonic() + _LAST_DELTAS_WITHIN
        while self._live() - self._final and time.monotonic() < deadline:
            gevent.sleep(0.01)
        missing = sorted(self._workers[c] for c in set(self._workers) - self._final)
        for worker in missing:
            self._event("last_delta_missing", worker=worker)
        self._keeper.values(
            ended=self.ended or "died",
            ended_at_run_time=self._run_time(),
            ended_at=datetime.now(UTC).isoformat(),
            flushed=not missing,
            fault=self.fault or None,
            fault_hint=self._fault_hint,
            fault_exit_code=self.environment.process_exit_code if self.fault else None,
        )
        if not self._keeper.close(timeout=30.0):
            _log.error("the run database did not take the last windows within 30 s: %s", self.folder.path)
            self.environment.process_exit_code = int(ExitCode.INTERNAL)
        self._closed.set()

    def _why_ended(self) -> str:
        if not self._live():
            return "died"
        if self.plan is None:
            return "planned"
        return "stopped"

    def _live(self) -> set[str]:
        if self.is_local:
            return set(self._workers)
        clients = self.environment.runner.clients
        return {c for c in self._workers if c in clients and clients[c].state != STATE_MISSING}

    def _end(self) -> None:
        runner, options = self.environment.runner, self.environment.parsed_options
        if options is not None and getattr(options, "headless", False):
            runner.quit()
        else:
            runner.stop()

    # -- small things ---------------------------------------------------------------------------

    def _committed(self, keys: list[Key]) -> None:
        by_worker: dict[str, list[int]] = {}
        for worker, _, sequence in keys:
            by_worker.setdefault(worker, []).append(sequence)
        names = {name: client for client, name in self._workers.items()}
        for worker, sequences in by_worker.items():
            if worker in names:
                self._send(messages.ACK, {"sequences": sequences}, names[worker])

    def _commit_failed(self, error: Exception) -> None:
        hint = error.hint if isinstance(error, LoadgateError) else ""
        self.fail(f"the run database cannot be written: {error}", ExitCode.INTERNAL, hint=hint)

    def _event(self, kind: str, **detail: Any) -> None:
        self._keeper.event(self._run_time(), kind, **detail)

    def _run_time(self) -> float:
        return time.monotonic() - self._anchor if self._anchor is not None else 0.0

    def _send(self, kind: str, data: dict[str, Any], client: str) -> None:
        runner = self.environment.runner
        if self.is_local:
            runner.send_message(kind, data)
        else:
            runner.send_message(kind, data, client_id=client)


def _folder(plan: Plan | None) -> RunFolder:
    """Use the folder that the control room made, or make one."""
    given = os.environ.get("LOADGATE_RUN")
    if given:
        return RunFolder(Path(given))
    scenario = os.environ.get("LOADGATE_SCENARIO")
    root = results_root(None, Path(scenario) if scenario else None)
    name = plan.scenario.name if plan is not None else "locust"
    return create_run(root, name, datetime.now(UTC))


def _stock_name(environment: Any) -> str:
    files = environment.parsed_locustfiles or ()
    return Path(files[0]).stem if files else "locust"


def _versions() -> dict[str, str]:
    packages = ("loadgate", "locust", "gevent", "numpy", "hdrhistogram")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _machine() -> dict[str, Any]:
    return {"node": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
