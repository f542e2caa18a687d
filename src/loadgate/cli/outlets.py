"""What others read of a run while it goes on: numbers for Prometheus.

The control room puts down how the run stands twice a second; the servers tell what was put down last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from loadgate import __version__
from loadgate.cli.serving import Asked, Server, Told
from loadgate.plan.plan import Plan
from loadgate.report.follow import Follower, alerts_of
from loadgate.report.openmetrics import Scrape, expose, scrape_of
from loadgate.report.openmetrics_numbers import SERIES, Counters
from loadgate.report.snapshot import Snapshot
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading

LOOPBACK: Final = "127.0.0.1"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Listening:
    """Where to tell of a run: nowhere without a port; port 0 is any free one."""

    metrics_port: int | None = None
    metrics_bind: str = LOOPBACK


class Outlets:
    """The servers of one run; none where nobody asked for any."""

    def __init__(self, plan: Plan, at: Listening, say: Callable[[str], None]) -> None:
        """Bind, and say where; UsageError when that is not possible."""
        self._plan = plan
        self._run = ""
        self._counters = Counters()
        self._scrape: Scrape | None = None
        self._servers: list[Server] = []
        if at.metrics_port is not None:
            pages = {("GET", "/metrics"): self._metrics}
            server = Server(at.metrics_bind, at.metrics_port, pages, "--metrics-port")
            self._servers.append(server)
            say(f"metrics for Prometheus: {server.url}/metrics")

    @property
    def series(self) -> tuple[str, ...]:
        """Return the series whose histograms the follower has to keep."""
        return SERIES if self._servers else ()

    def begin(self, folder: RunFolder, *, has_load: bool = True) -> None:
        """Name the run that is told of from now on; without a load its objectives have no part in it."""
        self._run = folder.id
        if not has_load:
            self._plan = self._plan.model_copy(update={"objectives": ()})
        if self._servers:
            self._scrape = scrape_of(self._plan, self._run, __version__)

    def put(
        self, snapshot: Snapshot, follower: Follower | None, readings: Mapping[tuple[str, str], Reading]
    ) -> None:
        """Put down how the run stands; without a follower there is no load to count."""
        if self._servers:
            numbers = self._counters.take(follower.totals) if follower is not None else {}
            self._scrape = scrape_of(self._plan, self._run, __version__, snapshot, numbers, readings)

    @property
    def open(self) -> bool:
        """Tell whether anything is served."""
        return bool(self._servers)

    def close(self) -> None:
        """Close the servers; again is fine."""
        while self._servers:
            self._servers.pop().close()

    def _metrics(self, asked: Asked) -> Told:
        scrape = self._scrape
        if scrape is None:
            return Told(b"no run has begun yet\n", status=503)
        body, content_type = expose(scrape, asked.headers.get("accept", ""))
        return Told(body, content_type)


class Lookout:
    """Follow a run that `loadgate watch` is beside, for the outlets alone: without any it reads nothing."""

    def __init__(self, plan: Plan, folder: RunFolder, outlets: Outlets, *, has_load: bool) -> None:
        self._plan = plan
        self._outlets = outlets
        self._follower = Follower(folder, plan, outlets.series) if has_load and outlets.open else None

    def look(
        self, readings: Mapping[tuple[str, str], Reading], standing: Mapping[str, str], now: float
    ) -> None:
        """Put down how it stands at run time `now`."""
        if not self._outlets.open:
            return
        if self._follower is not None:
            snapshot = self._follower.refresh(readings, standing=standing)
        else:
            alerts = alerts_of(self._plan, standing)
            model = self._plan.scenario.traffic.model
            snapshot = Snapshot(now, now, phase="", planned=0.0, model=model, begun=True, alerts=alerts)
        self._outlets.put(snapshot, self._follower, readings)

    def close(self) -> None:
        """Close the run database; again is fine."""
        if self._follower is not None:
            self._follower.close()


def listening(options: Mapping[str, Any]) -> Listening:
    """Read what `listening_options` gave."""
    return Listening(metrics_port=options["metrics_port"], metrics_bind=options["metrics_bind"])


def listening_options(command: _Command) -> _Command:
    """Add the options that say where to tell others of a run."""
    bind = click.option(
        "--metrics-bind",
        metavar="ADDRESS",
        default=LOOPBACK,
        show_default=True,
        help="Where --metrics-port listens. Anybody who reaches it can read it.",
    )
    port = click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Expose the run's numbers to Prometheus at this port, 0 for any free one.",
    )
    return port(bind(command))
