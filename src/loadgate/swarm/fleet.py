"""The generator's own health, one row a second and worker."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from loadgate.measure.delta import FleetRow
from loadgate.measure.histogram import merged
from loadgate.measure.window import Series, Window
from loadgate.swarm.control import Control, ControlReading
from loadgate.swarm.vitals import Vitals
from loadgate.traffic.pacer import Pacer

if TYPE_CHECKING:
    from loadgate.measure.recorder import Recorder
    from loadgate.traffic.engine import Engine

_ANSWERED = (Series.RESPONSE_OK, Series.RESPONSE_FAILED, Series.RESPONSE_TIMEOUT)
_LAG_EVERY = 0.05
"""Seconds between two looks at how late the event loop runs."""


class LoopLag:
    """Measure how late the event loop gives its turn to something that is due."""

    def __init__(self) -> None:
        self.turned = time.monotonic()
        """When the loop gave its last turn."""
        self._lags: list[float] = []
        self._due = 0.0
        self._pacer = Pacer(self._wake)
        self._arm(time.monotonic())

    def take(self) -> list[float]:
        """Return the lags seen since the last call, in seconds, sorted."""
        lags, self._lags = sorted(self._lags), []
        return lags

    def close(self) -> None:
        """Stop measuring."""
        self._pacer.close()

    def _arm(self, now: float) -> None:
        self._due = now + _LAG_EVERY
        self._pacer.arm(self._due)

    def _wake(self) -> None:
        now = self.turned = time.monotonic()
        self._lags.append(max(now - self._due, 0.0))
        self._arm(now)


class FleetMeter:
    """Make this worker's fleet rows.

    `target_port` is that of the target, for the local ports towards it (None: not counted). `control` is
    started here, and closed with the meter.
    """

    def __init__(
        self, worker: str, *, target_port: int | None = None, control: Control | None = None
    ) -> None:
        self._worker = worker
        self._lag = LoopLag()
        self._vitals = Vitals(target_port, time.monotonic())
        self._control = control
        if control is not None:
            control.start()
        self._second = -1

    @property
    def turned(self) -> float:
        """When the event loop gave its last turn (CLOCK_MONOTONIC); any thread may ask."""
        return self._lag.turned

    def rows(
        self,
        now: float,
        engine: Engine,
        recorders: tuple[Recorder, ...],
        *,
        p99_us: float,
        clock_offset: float,
        clock_error: float,
        unacknowledged: int,
        final: bool = False,
    ) -> list[FleetRow]:
        """Return a row for the second of run time that has just ended, if there is a new one.

        Offset and error of the clock are in seconds; an error that is not known yet is told as 0.

        What happened in seconds that were skipped, because the event loop was busy, is in the row
        too. The `final` row is that of the second under way: its counters are the worker's last word,
        against which the books are checked.
        """
        second = max(int(now), self._second + 1) if final else int(now) - 1
        if second <= self._second:
            return []
        self._second = second
        lags = self._lag.take()
        vitals = self._vitals.read(time.monotonic(), engine.pool.users)
        control = self._control.take() if self._control is not None else ControlReading()
        row = FleetRow(
            second=second,
            worker=self._worker,
            offered=sum(r.counters.offered for r in recorders),
            started=sum(r.counters.started for r in recorders),
            finished=sum(r.counters.finished for r in recorders),
            in_flight=engine.pool.busy,
            users=engine.pool.users,
            cpu=vitals.cpu,
            rss=vitals.rss,
            start_lag_p99_us=max(r.start_lag.percentile(9900) or 0.0 for r in recorders),
            loop_lag_p99_us=lags[int(len(lags) * 0.99)] * 1e6 if lags else 0.0,
            loop_lag_max_us=lags[-1] * 1e6 if lags else 0.0,
            p99_us=p99_us,
            clock_offset_us=clock_offset * 1e6,
            clock_error_us=clock_error * 1e6 if math.isfinite(clock_error) else 0.0,
            unacknowledged=unacknowledged,
            cpu_allowed=vitals.cpu_allowed,
            throttled_us=vitals.throttled_us,
            fds=vitals.fds,
            fds_limit=vitals.fds_limit,
            ports=vitals.ports,
            ports_limit=vitals.ports_limit,
            gc_pause_max_us=vitals.gc_pause_max_us,
            control_n=control.n,
            control_failures=control.failures,
            control_p50_us=control.p50_us,
            control_p99_us=control.p99_us,
        )
        return [row]

    def close(self) -> None:
        """Stop measuring; again is fine."""
        self._lag.close()
        self._vitals.close()
        if self._control is not None:
            self._control.close()


def p99_of(windows: Iterable[Window]) -> float:
    """Return the p99 of the response times (µs) of all answers in some windows; 0 without any."""
    answered = merged(
        window.histograms[name] for window in windows for name in _ANSWERED if name in window.histograms
    )
    return float(answered.percentile(9900) or 0.0)


def alive(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
