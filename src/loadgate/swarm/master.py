"""The side of a run that keeps it: the Locust master, or the standalone process.

It owns the run folder, hands every delta to the keeper, acknowledges what is committed, sets run time 0,
shares the schedule out, ends the run when the plan says so, and writes down how the run ended.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import gevent
from gevent.event import Event
from locust.runners import STATE_MISSING, LocalRunner

from loadgate.errors import LoadgateError, MeasureError, StoreError
from loadgate.exit_codes import ExitCode
from loadgate.measure.delta import Delta
from loadgate.plan.plan import Plan
from loadgate.store.last_look import note_look, prepare_looks
from loadgate.store.lock import is_held
from loadgate.store.requests import is_asked_to_stop
from loadgate.swarm import messages, pace, patches
from loadgate.swarm.enrolment import Enrolment
from loadgate.swarm.fingerprint import Fingerprint
from loadgate.swarm.fleet import alive
from loadgate.swarm.keeper import Keeper, Key
from loadgate.swarm.launch import is_supervised
from loadgate.swarm.muster import GONE_AFTER, GONE_AFTER_HERE, Muster, Orders
from loadgate.swarm.past import folder_of, past_of
from loadgate.swarm.roster import Worker
from loadgate.swarm.secret import is_loopback
from loadgate.traffic.arrivals import ArrivalSchedule
from loadgate.traffic.engine import schedule_of
from loadgate.traffic.tasks import kinds_of
from loadgate.traffic.user import LoadUser

_UNPLANNED_DRAIN = 30.0
"""Seconds that requests of a run without a plan get to end."""
_GRACE = 3.0
"""Seconds beyond the drain in which a worker must say that it has drained."""
_LAST_DELTAS_WITHIN = 10.0
"""Seconds in which the workers' last reports must come, once the users are gone."""
_MAY_COME_BACK = 15.0
"""Seconds without a word after which a lost worker's last report is not waited for."""
_CONTROL_ROOM_GONE_AFTER = 60.0
_PRUNE_EVERY = 60.0
_COLLECT_AFTER = (20_000, 10, 10)
"""Objects after which Python looks for cycles. A report makes some hundred, which wait for their commit and
are in none."""
PAUSE = "paused"
"""What stands for an end where a run has none: it stays open."""
_log = logging.getLogger("loadgate.swarm")


class _Report(NamedTuple):
    """What a worker reported, and when it came."""

    data: dict[str, Any]
    client: str
    at: float


class Master:
    """Keep one run, from Locust's test_start to its end; or take up one that another master kept.

    `folder` is where the locustfile lies, `fingerprint` what the traffic is made of.
    """

    def __init__(
        self,
        environment: Any,
        plan: Plan | None,
        folder: Path | None = None,
        fingerprint: Fingerprint | None = None,
    ) -> None:
        self.environment = environment
        self.plan = plan
        self.folder = folder_of(plan)
        self.run = self.folder.id
        self.ended: str | None = None
        self.fault: str = ""
        self._fault_hint = ""
        self._finalised = False
        self._refused_since = 0.0
        self._asked: Callable[[], None] | None = None
        self._acks: dict[str, list[dict[str, Any]]] = {}
        self._reports: list[_Report] = []
        self._closed = Event()
        self._muster = self._make_muster()
        # Before the keeper opens the run: whether another master began it.
        past = past_of(self.folder)
        self._stop_was_asked = past is not None and past.stop_asked
        self._keeper = Keeper(self.folder, self._committed, self._commit_failed)
        self._enrolment = Enrolment(
            environment,
            plan,
            self.folder,
            self._muster,
            self._keeper,
            send=self._send,
            event=self._event,
            past=past,
            base=folder,
            fingerprint=fingerprint,
            is_local=self.is_local,
        )
        self._conductor: gevent.Greenlet | None = None

    @property
    def is_local(self) -> bool:
        """Tell whether this process also makes the load."""
        return isinstance(self.environment.runner, LocalRunner)

    def _make_muster(self) -> Muster:
        if self.plan is None or self.is_local:
            # A process that is alone, or that follows no plan, needs no leave to go on.
            return Muster(self.run)
        schedule: ArrivalSchedule | None = None
        names: Sequence[str] = ()
        if self.plan.scenario.traffic.model == "open":
            load_users = [cls for cls in self.environment.user_classes if issubclass(cls, LoadUser)]
            kinds = kinds_of(load_users, self.plan.scenario.traffic.mix)
            names = [kind.name for kind in kinds]
            if kinds:
                schedule = schedule_of(self.plan, kinds)
        here = is_loopback(self.environment.runner.master_bind_host)
        gone_after = GONE_AFTER_HERE if here else GONE_AFTER
        if is_supervised():
            # Others will come; the supervisor ends the run when it gives up.
            gone_after = math.inf
        return Muster(self.run, self.plan.timeline, schedule, names, gone_after=gone_after)

    # -- begin ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write down what the run is, and give each worker its place before its users exist."""
        runner = self.environment.runner
        clients = ["local"] if self.is_local else [c.id for c in runner.clients.all if _is_here(c)]
        if self.plan is not None:
            # Users that Locust takes off a worker may end their request.
            timeout = self.plan.scenario.http.timeout
            self.environment.stop_timeout = max(self.environment.stop_timeout or 0.0, timeout)
        prepare_looks(self.folder)
        self._enrolment.begin(clients)
        self._conductor = gevent.spawn(self._conduct)
        if not self.is_local:
            # What exists by now lives as long as the run: a collection that looks at all of it takes 40 ms.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_COLLECT_AFTER)

    def enrol_late(self, client: str) -> None:
        """Give a worker that joins a run under way a place in it, or its old one."""
        if not self._finalised and not self.is_local:
            self._enrolment.late(client)

    def users_are_ready(self) -> None:
        """Set run time 0, once all users exist, and share the first seconds out."""
        if self._enrolment.users_are_ready():
            self._carry_out(self._muster.tick(time.monotonic()))

    # -- while it runs --------------------------------------------------------------------------

    def delta(self, data: object, client: str) -> None:
        """Take a worker's delta. One that cannot be read is an event, never a crash.

        Those that come in one turn of the event loop are taken in together, which costs much less.
        """
        self._reports.append(_Report(data if isinstance(data, dict) else {}, client, time.monotonic()))
        if self.is_local:
            self._take_in()
        elif len(self._reports) == 1:
            gevent.spawn(self._take_in)

    def _take_in(self) -> None:
        reports, self._reports = self._reports, []
        deltas = Delta.all_from_wire([report.data.get("delta") for report in reports])
        for report, delta in zip(reports, deltas, strict=True):
            name = self._muster.roster.name_of(report.client)
            if isinstance(delta, MeasureError):
                self._event("unreadable_delta", worker=name, error=str(delta))
            elif delta.run != self.run or (report.client in self._muster.roster and delta.worker != name):
                self._event("stranger", worker=report.client, run=delta.run)
            else:
                new = self._muster.delta(
                    report.client, delta, report.at, final=report.data.get("final") is True
                )
                if new or not self._refused_since:
                    # One that comes again while nothing can be written is held already.
                    self._keeper.put(delta)

    def beat(self, beat: messages.Beat, client: str) -> None:
        """Take a worker's beat: it lives, and Locust shall know it too."""
        if beat.run != self.run:
            return
        self._muster.beat(client, beat.leases, ready=beat.ready, now=time.monotonic())
        patches.keep_alive(self.environment.runner, client)

    def drained(self, client: str) -> None:
        """Note that a worker has nothing under way any more."""
        worker = self._muster.roster.get(client)
        if worker is not None:
            worker.drained = True

    def refused(self, data: dict[str, Any], client: str) -> None:
        """End the run: a worker cannot run the plan."""
        worker = self._muster.roster.name_of(client)
        self.fail(f"{worker}: {data['message']}", int(data["exit_code"]), hint=data.get("hint", ""))

    def turned_away(self, identity: str, host: str, reason: str) -> None:
        """Note that a worker was not let in."""
        self._event("worker_refused", client=identity, host=host, reason=reason)

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

    def decided(self) -> None:
        """End the run as at its planned end: every objective is decided, and its plan says that this does."""
        certain = self.plan is not None and self.plan.scenario.verdict.stop_when_certain
        if self.ended is None and self._muster.anchor is not None and certain:
            self.ended = "planned"
            self._keeper.values(decided_at=self._run_time())
            gevent.spawn(self._end)

    def aborted(self) -> None:
        """End the run because an alert says so; one that has not begun, once it has."""
        if self._can_now(self.aborted):
            self.ended = "aborted"
            gevent.spawn(self._end)

    def stopped(self) -> None:
        """End the run before its time because somebody asked for it from another terminal."""
        if self.ended is None:
            self.ended = "stopped"
            self._event("stop_asked")
            gevent.spawn(self._end)

    def pause(self) -> None:
        """Stop the load in good order, and leave the run without an end: another master will take it up.

        A run that has not begun, or is not yet taken up, is paused once it is.
        """
        if self._can_now(self.pause):
            self.ended = PAUSE
            self._event("paused")
            gevent.spawn(self._end)

    def _can_now(self, request: Callable[[], None]) -> bool:
        """Tell whether a request can be followed now; the first one before run time 0 is kept."""
        if self.ended is not None:
            return False
        if not self._has_begun():
            self._asked = self._asked or request
            return False
        return True

    def _has_begun(self) -> bool:
        anchor = self._muster.anchor
        return anchor is not None and time.monotonic() >= anchor

    def _follows_request(self) -> bool:
        """Do what was asked before the run began, now that it has; tell whether there was something."""
        if self._asked is None or not self._has_begun():
            return False
        self._asked()
        return True

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
            if self._stop_was_asked or is_asked_to_stop(self.folder):
                self.stopped()
                return
            if self._follows_request():
                return
            if not self._look_at_workers(now):
                return
            gone_since = self._control_room_gone(gone_since, now)
            if gone_since is not None and now - gone_since > _CONTROL_ROOM_GONE_AFTER:
                if is_supervised():
                    # It may come back in an hour, and then the run goes on.
                    _log.warning("the control room vanished a minute ago; the load stops, the run stays open")
                    self.pause()
                else:
                    self.fail("the control room vanished a minute ago; the load stops", ExitCode.INTERNAL)
                return
            if now - pruned > _PRUNE_EVERY:
                pruned = now
                patches.prune_seconds(self.environment.stats, time.time())

    def _planned_end_has_come(self, now: float) -> bool:
        anchor = self._muster.anchor
        return anchor is not None and self.plan is not None and now >= anchor + self.plan.timeline.end

    def _until_next_look(self) -> float:
        """Return the seconds to the next whole second of run time, or to the planned end."""
        anchor = self._muster.anchor
        if anchor is None:
            return 1.0
        run_time = time.monotonic() - anchor
        left = math.floor(run_time) + 1 - run_time
        if self.plan is not None:
            left = min(left, self.plan.timeline.end - run_time)
        return max(left, 0.001)

    def _look_at_workers(self, now: float) -> bool:
        """Share out, write the ledger, and see who is lost; tell whether the run can go on."""
        self._take_in()
        if self._refused_since:
            # What is on record says no more how far the run went.
            note_look(self.folder, self._enrolment.wall + self._run_time())
        if self.is_local:
            self._carry_out(self._muster.tick(now))
            return True
        clients = self.environment.runner.clients
        for worker in self._muster.roster.here():
            # Locust takes a worker off its list when it said goodbye, and when it was missing for long.
            if worker.client not in clients and not self._muster.is_silent(worker, now):
                self._muster.left(worker.client, now)
                self._event("worker_lost", worker=worker.name, left=True)
        self._carry_out(self._muster.tick(now))
        if self._muster.all_gone(now):
            # Locust stops the test when its last worker is gone, but a headless master would stay.
            self.fail("every worker is gone", ExitCode.INVALID, hint="see the workers' logs")
            return False
        self._tell_locust(now)
        return True

    def _tell_locust(self, now: float) -> None:
        """Let Locust give a lost worker's users to the others, and never end a test that can go on."""
        runner = self.environment.runner
        silent = [worker for worker in self._muster.roster.lost() if worker.client in runner.clients]
        others = [worker for worker in self._muster.roster.here() if not self._muster.is_silent(worker, now)]
        for worker in silent:
            if others:
                patches.give_up(runner, worker.client)
            else:
                patches.keep_alive(runner, worker.client)
        for worker in others:
            patches.keep_alive(runner, worker.client)

    def _carry_out(self, orders: Orders) -> None:
        for client, lease in orders.leases:
            acks = self._acks.pop(client, ())
            self._send(messages.LEASE, lease.to_wire(self.run, acks), client)
        self._send_acks()
        for kind, detail in orders.events:
            self._event(kind, **detail)
        for row in orders.ledger:
            self._keeper.ledger(row)

    def _control_room_gone(self, since: float | None, now: float) -> float | None:
        pid = os.environ.get("LOADGATE_CONTROL_PID")
        # Another control room may have taken the run up meanwhile: it holds the watch database then.
        if not pid or alive(int(pid)) or is_held(self.folder.watch_database):
            return None
        return since if since is not None else now

    # -- end ------------------------------------------------------------------------------------

    def stopping(self) -> None:
        """Ask every worker to come to an end, and wait until each has, or is gone."""
        if self.ended is None:
            self.ended = self._why_ended()
        if self._conductor is not None and self._conductor is not gevent.getcurrent():
            self._conductor.kill()
        timeout = self.plan.scenario.http.timeout if self.plan is not None else _UNPLANNED_DRAIN
        self._muster.finish(time.monotonic())
        self._send_acks()
        finish = {"timeout": timeout, "drop_waiting": self.ended != "planned"}
        if self.ended != PAUSE:
            # What is offered after a pause is of the same run.
            self._event("draining", ended=self.ended)
        for worker in self._live():
            self._send(messages.FINISH, finish, worker.client)
        deadline = time.monotonic() + timeout + _GRACE
        while (late := [w for w in self._live() if not w.drained]) and time.monotonic() < deadline:
            gevent.sleep(0.01)
        for worker in late:
            self._event("worker_did_not_drain", worker=worker.name)
        self.environment.stop_timeout = 0.0
        if self.ended == "died":
            self.fail("every worker is gone", ExitCode.INVALID, hint="see the workers' logs")

    def finalise(self) -> None:
        """Wait for the last deltas, write down how the run ended, and close the run database."""
        if self._finalised:
            self._closed.wait()
            return
        self._finalised = True
        deadline = time.monotonic() + _LAST_DELTAS_WITHIN
        while self._awaited() and time.monotonic() < deadline:
            gevent.sleep(0.01)
        self._take_in()
        missing = sorted(worker.name for worker in self._muster.roster if not worker.is_complete)
        for worker in missing:
            self._event("last_delta_missing", worker=worker)
        self._write_off()
        if self.ended == PAUSE and not missing:
            self._keeper.values(paused_at=self._run_time())
        elif self.ended != PAUSE:
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

    def _write_off(self) -> None:
        """Put down what is gone with the workers that did not come back."""
        self._take_in()
        until = self._run_time()
        if self.plan is not None and self.ended == "planned":
            until = min(until, self.plan.timeline.end)
        deltas, orders = self._muster.close(until)
        for delta in deltas:
            self._keeper.put(delta)
        self._carry_out(orders)

    def _awaited(self) -> list[Worker]:
        """List the workers whose last report may still come."""
        if self.is_local:
            return [worker for worker in self._muster.roster if not worker.is_complete]
        now = time.monotonic()
        return [w for w in self._muster.roster if not w.is_complete and now - w.heard < _MAY_COME_BACK]

    def _why_ended(self) -> str:
        if not self._live():
            return "died"
        if self.plan is None:
            return "planned"
        return "stopped"

    def _live(self) -> list[Worker]:
        if self.is_local:
            return list(self._muster.roster)
        clients = self.environment.runner.clients
        now = time.monotonic()
        return [
            worker
            for worker in self._muster.roster.here()
            if worker.client in clients
            and _is_here(clients[worker.client])
            and not self._muster.is_silent(worker, now)
        ]

    def _end(self) -> None:
        runner, options = self.environment.runner, self.environment.parsed_options
        if options is not None and getattr(options, "headless", False):
            runner.quit()
        else:
            runner.stop()

    # -- small things ---------------------------------------------------------------------------

    def _committed(self, keys: list[Key]) -> None:
        if self._refused_since:
            since, self._refused_since = self._refused_since, 0.0
            self._event("disk_refused", **{"from": since, "to": self._run_time()})
        by_source: dict[tuple[str, int], list[int]] = {}
        for worker, incarnation, sequence in keys:
            by_source.setdefault((worker, incarnation), []).append(sequence)
        roster = self._muster.roster
        for (worker, incarnation), sequences in by_source.items():
            if (client := roster.client_of(worker)) is not None:
                ack = {"run": self.run, "incarnation": incarnation, "sequences": sequences}
                self._acks.setdefault(client, []).append(ack)
        # In a large fleet they travel with the next leases: messages of their own would be half as many more.
        if not self._muster.leased or len(roster) <= pace.FEW or self.ended is not None:
            self._send_acks()

    def _send_acks(self) -> None:
        """Send the acknowledgements that no lease took along."""
        acks, self._acks = self._acks, {}
        for client, waiting in acks.items():
            for ack in waiting:
                self._send(messages.ACK, ack, client)

    def _commit_failed(self, error: Exception) -> None:
        if is_supervised() and isinstance(error, StoreError) and self._enrolment.has_begun:
            # The keeper holds what it could not write, the workers what was not acknowledged.
            if not self._refused_since:
                self._refused_since = max(self._run_time(), 0.001)
                _log.error("the run database cannot be written: %s; the load goes on", error)
            return
        hint = error.hint if isinstance(error, LoadgateError) else ""
        self.fail(f"the run database cannot be written: {error}", ExitCode.INTERNAL, hint=hint)

    def _event(self, kind: str, **detail: Any) -> None:
        self._keeper.event(self._run_time(), kind, **detail)

    def _run_time(self) -> float:
        anchor = self._muster.anchor
        return time.monotonic() - anchor if anchor is not None else 0.0

    def _send(self, kind: str, data: dict[str, Any], client: str) -> None:
        runner = self.environment.runner
        if self.is_local:
            runner.send_message(kind, data)
        else:
            runner.send_message(kind, data, client_id=client)


def _is_here(client: Any) -> bool:
    return bool(client.state != STATE_MISSING)
