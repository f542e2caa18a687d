"""The side of a run that makes load: a worker, or the standalone process."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import gevent
from locust.runners import LocalRunner

from loadgate.errors import LoadgateError, UsageError
from loadgate.measure.delta import Delta, Failure
from loadgate.measure.recorder import Recorder
from loadgate.measure.window import Window
from loadgate.plan.headers import resolve_headers
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Http
from loadgate.plan.timeline import PHASES, Timeline
from loadgate.swarm import messages
from loadgate.swarm.clock import ClockSync
from loadgate.swarm.feed import Feed, feed_failures
from loadgate.swarm.fleet import FleetMeter
from loadgate.swarm.thresholds import thresholds_of
from loadgate.swarm.warmup import warm_up
from loadgate.traffic.engine import ENGINE_ATTRIBUTE, Engine, Place
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.user import LoadUser

_FLUSH_EVERY, _FLUSH_FROM = 0.1, 1000
"""Between two deltas, endpoints with this many requests to take in are looked at this often (seconds)."""
_CLOSE_AFTER = 0.05
"""Seconds after the end of a second at which its windows are shipped."""
_LAST_ACKS_WITHIN = 5.0
"""Seconds to wait for the last acknowledgements where waiting is possible."""
_LOCAL_DRAIN = 30.0
"""Seconds that a worker which is ended on its own gives its requests."""
_log = logging.getLogger("loadgate.swarm")


class Member:
    """Record what the users of this process do during one run, and ship it once a second."""

    def __init__(self, environment: Any, start: messages.Start) -> None:
        self.environment = environment
        self.start = start
        self.plan = Plan.from_json(start.plan) if start.plan is not None else None
        self.recorder = Recorder()
        self.stock = Recorder()
        self.clock = ClockSync(self._send, same_clock=start.boot_id == messages.boot_id())
        self.engine: Engine | None = None
        self._feed = Feed()
        self._wall = start.wall or 0.0
        self._meter: FleetMeter | None = None
        self._reporter: gevent.Greenlet | None = None
        self._sequence = 0
        self._unacknowledged: dict[int, dict[str, Any]] = {}
        self._stopped = False

    # -- the run's life -------------------------------------------------------------------------

    def test_start(self, listeners: list[Callable[..., None]]) -> None:
        """Make the engine before the first user exists. LoadgateError when the plan does not fit."""
        load_users = [cls for cls in self.environment.user_classes if issubclass(cls, LoadUser)]
        self.engine = Engine(
            place=Place(self.start.run, self.start.worker, self.start.index, self.start.workers),
            recorder=self.recorder,
            user_classes=load_users,
            settings=self._settings(load_users),
            plan=self.plan,
            listeners=listeners,
        )
        setattr(self.environment, ENGINE_ATTRIBUTE, self.engine)
        if self.start.anchor is not None:
            self._begin(self.start.anchor, self.start.wall or 0.0)

    def go(self, go: messages.Go) -> None:
        """Set run time 0, given in the master's clock."""
        self._begin(go.anchor, go.wall)

    def finish(self, finish: messages.Finish) -> None:
        """Let what is under way end, then tell the master."""
        if self.engine is not None:
            self.engine.finish(finish.timeout, drop_waiting=finish.drop_waiting)
        self._send(messages.DRAINED, {"worker": self.start.worker})

    def stopping(self) -> None:
        """End the load before Locust ends the users; nothing to do when the master asked before."""
        if self.engine is not None:
            self.engine.finish(_LOCAL_DRAIN, drop_waiting=True)

    def stopped(self, *, wait: bool) -> None:
        """Ship the last delta, once every user is gone; `wait` for it to be committed."""
        if self._stopped:
            return
        self._stopped = True
        if self._reporter is not None:
            # Never killed: between draining the recorder and sending it holds windows.
            self._reporter.join()
        self._ship(final=True)
        if self._meter is not None:
            self._meter.close()
            gc.unfreeze()
        deadline = time.monotonic() + _LAST_ACKS_WITHIN
        while wait and self._unacknowledged and time.monotonic() < deadline:
            gevent.sleep(0.01)
        if wait and self._unacknowledged:
            _log.error("%d delta(s) were not committed by the master", len(self._unacknowledged))
        self.recorder = self.stock = Recorder()

    def acknowledged(self, sequences: list[int]) -> None:
        """Forget deltas that are committed."""
        for sequence in sequences:
            self._unacknowledged.pop(sequence, None)

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

    # -- shipping -------------------------------------------------------------------------------

    def _begin(self, anchor: float, wall: float) -> None:
        assert self.engine is not None
        local = self.clock.to_local(anchor)
        timeline = self.plan.timeline if self.plan is not None else Timeline.open_ended()
        thresholds = thresholds_of(self.plan.objectives if self.plan is not None else ())
        for recorder in (self.recorder, self.stock):
            recorder.start(local, timeline.phases_of, PHASES, thresholds)
        self._wall = wall
        warm_up(self._feed, timeline, tuple(thresholds))
        # What exists by now lives as long as the run: collections need not look at it again.
        gc.collect()
        gc.freeze()
        self._meter = FleetMeter(self.start.worker)
        self.engine.begin(local)
        self._reporter = gevent.spawn(self._report, local)

    def _report(self, anchor: float) -> None:
        while not self._is_stopped():
            now = time.monotonic() - anchor
            # Just after a second has ended, so that a window is shipped once and whole.
            next_second = max(int(now - _CLOSE_AFTER) + 1, 1) + _CLOSE_AFTER
            while (left := anchor + next_second - time.monotonic()) > 0:
                gevent.sleep(min(left, _FLUSH_EVERY))
                if self._is_stopped():
                    return
                self._flush(_FLUSH_FROM)
            self._flush(1)
            self._ship(final=False)

    def _is_stopped(self) -> bool:
        return self._stopped

    def _flush(self, at_least: int) -> None:
        """Turn records into windows a piece at a time, so that no arrival waits long for its turn."""
        for recorder in (self.recorder, self.stock):
            for _ in recorder.flush_in_parts(at_least):
                gevent.sleep(0)

    def _ship(self, *, final: bool) -> None:
        if self.engine is None or self.engine.anchor is None or self._meter is None:
            if final:
                self._send_delta([], [], [], final=True)
            return
        now = time.monotonic() - self.engine.anchor
        until = None if final else now
        own, own_failures = self.recorder.drain(until), self.recorder.failures()
        stock, stock_failures = self.stock.drain(until), self.stock.failures()
        methods = self.engine.methods()
        for window in own:
            self._feed.window(self.environment.stats, window, methods, self._wall)
            if not final:
                gevent.sleep(0)
        feed_failures(self.environment.stats, own_failures, methods, self._wall)
        rows = self._meter.rows(now, self.engine, (self.recorder, self.stock), final=final)
        self._send_delta(own + stock, own_failures + stock_failures, rows, final=final)

    def _send_delta(
        self, windows: list[Window], failures: list[Failure], rows: list[Any], *, final: bool
    ) -> None:
        self._sequence += 1
        delta = Delta(
            run=self.start.run,
            worker=self.start.worker,
            incarnation=os.getpid(),
            sequence=self._sequence,
            windows=windows,
            failures=failures,
            fleet=rows,
        )
        message = {"delta": delta.to_wire(), "final": final}
        self._unacknowledged[self._sequence] = message
        self._send(messages.DELTA, message)

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        runner = self.environment.runner
        if runner is not None:
            runner.send_message(kind, data)

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


def refuse(environment: Any, error: LoadgateError) -> None:
    """Tell the master that this worker cannot take part."""
    _log.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
    if environment.runner is not None:
        environment.runner.send_message(
            messages.REFUSED,
            {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)},
        )
