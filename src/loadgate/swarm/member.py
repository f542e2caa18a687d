"""The side of a run that makes load: a worker, or the standalone process."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust.runners import LocalRunner

from loadgate.errors import LoadgateError, UsageError
from loadgate.measure.delta import FleetRow
from loadgate.measure.recorder import Recorder
from loadgate.measure.window import Window
from loadgate.plan.headers import resolve_headers
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Http
from loadgate.plan.timeline import PHASES, Timeline
from loadgate.swarm import messages, patches
from loadgate.swarm.beat import Beating, Link
from loadgate.swarm.clock import ClockSync
from loadgate.swarm.control import Control
from loadgate.swarm.feed import Feed, feed_failures
from loadgate.swarm.fingerprint import resolve
from loadgate.swarm.fleet import FleetMeter, p99_of
from loadgate.swarm.outbox import Outbox
from loadgate.swarm.thresholds import thresholds_of
from loadgate.swarm.warmup import warm_up
from loadgate.traffic.engine import ENGINE_ATTRIBUTE, Engine, Place, Rank
from loadgate.traffic.grants import Grants, unpack_slots
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.user import LoadUser

_FLUSH_EVERY, _FLUSH_FROM = 0.1, 1000
"""Between two deltas, endpoints with this many requests to take in are looked at this often (seconds)."""
_CLOSE_AFTER = 0.05
"""Seconds after the end of a second at which its windows are shipped."""
_DELIVER_EVERY = 0.5
"""Seconds between two looks at what was not acknowledged, beside those that something new causes."""
_LOCAL_ACKS_WITHIN = 5.0
"""Seconds to wait for the last acknowledgements where the process also keeps the run."""
_LOCAL_DRAIN = 30.0
"""Seconds that a worker which is ended on its own gives its requests."""
_FIRST_CLOCK_WITHIN = 10.0
"""Seconds in which the master's clock must be known, before a worker begins by its own."""
_log = logging.getLogger("loadgate.swarm")


class Member:
    """Record what the users of this process do during one run, and ship it once a second.

    `folder` is where this process's locustfile lies; `link` opens the connection of the heartbeat (None
    in a process that is alone).
    """

    def __init__(
        self,
        environment: Any,
        start: messages.Start,
        *,
        folder: Path | None = None,
        link: Callable[[], Link] | None = None,
    ) -> None:
        self.environment = environment
        self.start = start
        self.plan = _plan_of(start, folder)
        self.recorder = Recorder()
        self.stock = Recorder()
        self.engine: Engine | None = None
        self.clock: ClockSync | None = None
        if not self.is_local:
            same_kernel = start.boot_id == messages.boot_id()
            self.clock = ClockSync(self._send, same_kernel=same_kernel, on_change=self._clock_changed)
        self._beating = Beating(link, self._beat) if link is not None else None
        self._incarnation = os.getpid()
        self._outbox = Outbox(start.run, start.worker, self._incarnation)
        self._feed = Feed()
        self._anchor = start.anchor
        self._wall = start.wall or 0.0
        self._meter: FleetMeter | None = None
        self._control: Control | None = None
        self._reporter: gevent.Greenlet | None = None
        self._postman = gevent.spawn(self._deliver)
        self._heard: set[int] = set()
        self._heard_all_to = 0
        self._began = False
        self._stopped = False

    # -- the run's life -------------------------------------------------------------------------

    def test_start(self, listeners: list[Callable[..., None]]) -> None:
        """Make the engine before the first user exists. LoadgateError when the plan does not fit."""
        load_users = [cls for cls in self.environment.user_classes if issubclass(cls, LoadUser)]
        self.engine = Engine(
            place=Place(self.start.run, self.start.worker, self.start.index),
            recorder=self.recorder,
            user_classes=load_users,
            settings=self._settings(load_users),
            plan=self.plan,
            grants=Grants() if self.start.leased else Grants.everything(),
            rank=Rank(self.start.rank, self.start.workers),
            listeners=listeners,
        )
        setattr(self.environment, ENGINE_ATTRIBUTE, self.engine)
        if self.plan is None or self.plan.scenario.generator.control:
            self._control = Control(self.start.worker)
        self._pace(self.start.workers)
        if self._beating is not None:
            self._beating.start()
        if self.start.anchor is not None:
            self._begin_soon()

    def go(self, go: messages.Go) -> None:
        """Set run time 0, given in the master's clock; a later word is that of a master that came back."""
        if go.run != self.start.run:
            return
        self._anchor = go.anchor
        if self._began:
            self._clock_changed()
        else:
            self._wall = go.wall
            self._begin_soon()

    def lease(self, lease: messages.Lease) -> None:
        """Take in a share of one second. One that comes again says nothing new."""
        if self.engine is None or lease.number <= self._heard_all_to or lease.number in self._heard:
            return
        self._heard.add(lease.number)
        while self._heard_all_to + 1 in self._heard:
            self._heard_all_to += 1
            self._heard.remove(self._heard_all_to)
        self.engine.rank = Rank(lease.rank, lease.workers)
        self._pace(lease.workers)
        self.engine.grant(lease.second, unpack_slots(lease.slots))

    def _pace(self, workers: int) -> None:
        """Speak to the master as often as one of so many workers does."""
        if self._beating is not None:
            self._beating.pace(workers)
        if self.clock is not None:
            self.clock.pace(workers)
        patches.pace(self.environment.runner, workers)

    def new_master(self) -> None:
        """Forget what was heard of a master that is gone: its successor counts anew."""
        self._heard.clear()
        self._heard_all_to = 0
        self._outbox.again()

    def finish(self, finish: messages.Finish) -> None:
        """Let what is under way end, then tell the master."""
        if self.engine is not None:
            self.engine.finish(finish.timeout, drop_waiting=finish.drop_waiting)
        self._users_may_go()
        self._send(messages.DRAINED, {"worker": self.start.worker})

    def stopping(self) -> None:
        """End the load before Locust ends the users; nothing to do when the master asked before."""
        if self.engine is not None:
            self.engine.finish(_LOCAL_DRAIN, drop_waiting=True)
        self._users_may_go()

    def stopped(self) -> None:
        """Take in the last of it, once every user is gone; `delivered` waits until it has arrived."""
        if self._stopped:
            return
        self._stopped = True
        if self._reporter is not None:
            # Never killed: between draining the recorder and sending it holds windows.
            self._reporter.join()
        self._take_in(final=True)
        self._outbox.finish()
        if self.clock is not None:
            self.clock.close()
        if self._meter is not None:
            self._meter.close()
            gc.unfreeze()
        if self._control is not None:
            self._control.close()
        self._send_due()
        if self.is_local and not self.delivered(_LOCAL_ACKS_WITHIN):
            _log.error("%d report(s) were not committed", self._outbox.waiting)
        self.recorder = self.stock = Recorder()

    def delivered(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all of a run that is over is committed; tell whether it is."""
        deadline = time.monotonic() + timeout
        while not self._outbox.empty and time.monotonic() < deadline:
            gevent.sleep(0.01)
        return self._outbox.empty

    @property
    def undelivered(self) -> int:
        """How many reports the master has not acknowledged."""
        return self._outbox.waiting

    @property
    def is_over(self) -> bool:
        """Tell whether the run is over and all of it was delivered."""
        return self._stopped and self._outbox.empty

    def close(self) -> None:
        """Give up the beat, the clock, the control and the delivery."""
        if self._control is not None:
            self._control.close()
        if self._beating is not None:
            self._beating.stop()
        if self.clock is not None:
            self.clock.close()
        self._postman.kill(block=False)

    def acknowledged(self, run: str, incarnation: int, sequences: list[int]) -> None:
        """Forget deltas that are committed; an acknowledgement of another run says nothing."""
        if (run, incarnation) == (self.start.run, self._incarnation):
            self._outbox.acknowledged(sequences)
            self._send_due()

    def request(self, name: str, response_time: float, size: int, exception: object) -> None:
        """Record one request of a stock Locust user, as its request event told it (milliseconds)."""
        if self.engine is None or self.engine.anchor is None:
            return
        ended = time.monotonic()
        sent = ended - max(response_time or 0.0, 0.0) / 1000
        channel = self.stock.channel(name)
        outcome = 0
        if exception:
            timed_out = "timeout" in type(exception).__name__.lower()
            outcome = 2 if timed_out else 1
            label = "timeout" if timed_out else "failed"
            self.stock.failure(name, label, type(exception).__name__, str(exception)[:200])
        channel.due(sent)
        channel.done((sent, 0.0, sent, sent, ended, outcome, size or 0))

    # -- beginning, and the clock ---------------------------------------------------------------

    def _begin_soon(self) -> None:
        """Begin when the master's clock is known; the answers come to the greenlet that called."""
        if self.clock is None:
            self._begin()
        else:
            gevent.spawn(self._begin_when_in_time)

    def _begin_when_in_time(self) -> None:
        assert self.clock is not None
        if not self.clock.wait_first(_FIRST_CLOCK_WITHIN):
            error = LoadgateError(
                f"the master's clock is not known after {_FIRST_CLOCK_WITHIN:g} s: no answer to pings",
                hint="see that the network lets the master's answers through",
            )
            refuse(self.environment, error)
            return
        self._begin()

    def _begin(self) -> None:
        if self._began or self._stopped:
            return
        assert self.engine is not None
        local = self._local_anchor()
        timeline = self.plan.timeline if self.plan is not None else Timeline.open_ended()
        plan = self.plan
        thresholds = thresholds_of(plan.objectives, plan.alerts) if plan is not None else {}
        for recorder in (self.recorder, self.stock):
            recorder.start(local, timeline.phases_of, PHASES, thresholds)
        warm_up(self._feed, timeline, tuple(thresholds))
        # What exists by now lives as long as the run: collections need not look at it again.
        gc.collect()
        gc.freeze()
        settings = self.engine.settings
        port = settings.port if settings is not None else None
        self._meter = FleetMeter(self.start.worker, target_port=port, control=self._control)
        self._began = True
        self.engine.begin(local)
        self._reporter = gevent.spawn(self._report)

    def _local_anchor(self) -> float:
        assert self._anchor is not None
        return self._anchor if self.clock is None else self.clock.to_local(self._anchor)

    def _clock_changed(self, _offset: float = 0.0, _error: float = 0.0) -> None:
        """Let run time follow a better estimate of the master's clock."""
        if not self._began or self.engine is None:
            return
        local = self._local_anchor()
        for recorder in (self.recorder, self.stock):
            recorder.correct_anchor(local)
        self.engine.correct_anchor(local)

    def _beat(self) -> messages.Beat:
        """Say how this worker is; called in the heartbeat's own thread."""
        turned = self._meter.turned if self._meter is not None else time.monotonic()
        stuck = max(time.monotonic() - turned, 0.0)
        engine = self.engine
        ready = self._began and engine is not None and not engine.finishing
        return messages.Beat(self.start.run, self._heard_all_to, ready, stuck)

    # -- shipping -------------------------------------------------------------------------------

    def _report(self) -> None:
        assert self.engine is not None
        while not self._is_stopped():
            now = self._run_time()
            # Just after a second has ended, so that a window is shipped once and whole.
            next_second = max(int(now - _CLOSE_AFTER) + 1, 1) + _CLOSE_AFTER
            while (left := next_second - self._run_time()) > 0:
                gevent.sleep(min(left, _FLUSH_EVERY))
                if self._is_stopped():
                    return
                self._flush(_FLUSH_FROM)
            self._flush(1)
            self._take_in(final=False)
            self._send_due()

    def _run_time(self) -> float:
        assert self.engine is not None
        assert self.engine.anchor is not None
        return time.monotonic() - self.engine.anchor

    def _is_stopped(self) -> bool:
        return self._stopped

    def _flush(self, at_least: int) -> None:
        """Turn records into windows a piece at a time, so that no arrival waits long for its turn."""
        for recorder in (self.recorder, self.stock):
            for _ in recorder.flush_in_parts(at_least):
                gevent.sleep(0)

    def _take_in(self, *, final: bool) -> None:
        """Put what was measured into the outbox, and into Locust's own statistics."""
        if self.engine is None or self._meter is None:
            return
        now = self._run_time()
        until = None if final else now
        own, own_failures = self.recorder.drain(until), self.recorder.failures()
        stock, stock_failures = self.stock.drain(until), self.stock.failures()
        methods = self.engine.methods()
        for window in own:
            self._feed.window(self.environment.stats, window, methods, self._wall)
            if not final:
                gevent.sleep(0)
        feed_failures(self.environment.stats, own_failures, methods, self._wall)
        rows = self._fleet_rows(now, own + stock, final=final)
        self._outbox.put(own + stock, own_failures + stock_failures, rows)

    def _fleet_rows(self, now: float, windows: list[Window], *, final: bool) -> list[FleetRow]:
        assert self._meter is not None
        assert self.engine is not None
        clock = self.clock
        return self._meter.rows(
            now,
            self.engine,
            (self.recorder, self.stock),
            p99_us=p99_of(windows),
            clock_offset=clock.offset if clock is not None else 0.0,
            clock_error=clock.error if clock is not None else 0.0,
            unacknowledged=self._outbox.waiting,
            final=final,
        )

    def _deliver(self) -> None:
        while True:
            gevent.sleep(_DELIVER_EVERY)
            self._send_due()

    def _send_due(self) -> None:
        if not self._can_send():
            # Messages that wait for a connection would only be repeated behind it.
            return
        for number, delta in enumerate(self._outbox.next(time.monotonic())):
            if number:
                gevent.sleep(0)
            message = {"delta": delta.to_wire(), "final": self._outbox.is_final(delta)}
            self._send(messages.DELTA, message)
            if self._beating is not None:
                self._beating.said(time.monotonic())

    def _can_send(self) -> bool:
        client = getattr(self.environment.runner, "client", None)
        return client is None or client.established

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        runner = self.environment.runner
        if runner is not None:
            runner.send_message(kind, data)

    def _users_may_go(self) -> None:
        """Let Locust end the users without a further wait: nothing is under way here."""
        self.environment.stop_timeout = 0.0

    def _settings(self, load_users: list[type[LoadUser]]) -> ClientSettings | None:
        hosts = [cls.host for cls in load_users if cls.host]
        host = self.environment.host or (self.plan.scenario.host if self.plan else None)
        host = host or (hosts[0] if hosts else None)
        if not host:
            return None
        http = self.plan.scenario.http if self.plan is not None else Http()
        try:
            return ClientSettings(
                host,
                connect_timeout=http.connect_timeout,
                timeout=http.timeout,
                headers=resolve_headers(http, os.environ),
                verify=http.verify,
                ca=http.ca,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def is_local(self) -> bool:
        """Tell whether this process also keeps the run."""
        return isinstance(self.environment.runner, LocalRunner)


def _plan_of(start: messages.Start, folder: Path | None) -> Plan | None:
    """Read the master's plan, with its files as they lie on this host. UsageError where they do not."""
    if start.plan is None:
        return None
    plan = Plan.from_json(start.plan)
    return resolve(plan, start.files, folder) if folder is not None else plan


def refuse(environment: Any, error: LoadgateError) -> None:
    """Tell the master that this worker cannot take part."""
    _log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
    if environment.runner is not None:
        environment.runner.send_message(
            messages.REFUSED,
            {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)},
        )
