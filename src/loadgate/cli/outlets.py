"""What others read of a run while it goes on: numbers for Prometheus, and a live page for browsers.

The control room puts down how the run stands twice a second; the servers tell what was put down last.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
import orjson

from loadgate import __version__
from loadgate.cli.live_server import LivePageServer
from loadgate.cli.serving import Asked, Server, Told
from loadgate.errors import UsageError
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.report.follow import Follower, alerts_of
from loadgate.report.live_page import live_state
from loadgate.report.openmetrics import Scrape, expose, scrape_of
from loadgate.report.openmetrics_numbers import SERIES, Counters, Numbers
from loadgate.report.snapshot import Snapshot
from loadgate.store.folder import RunFolder
from loadgate.store.requests import ask_to_stop, holder_of, process_of
from loadgate.store.watch import Reading
from loadgate.swarm.launch import Web
from loadgate.swarm.live_guard import PAGE
from loadgate.swarm.secret import is_loopback

LOOPBACK: Final = "127.0.0.1"
WEB_PORT: Final = 8089
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Listening:
    """Where to tell of a run: nowhere unless asked; port 0 is any free one."""

    metrics_port: int | None = None
    metrics_bind: str = LOOPBACK
    web: bool = False
    web_port: int = WEB_PORT
    web_bind: str = LOOPBACK
    web_login: bool = False


class Outlets:
    """The servers of one run; none where nobody asked for any.

    With `through_locust` the live page is for a master that shows
    it within Locust's web UI, and answers nobody else; else it is for browsers.
    """

    def __init__(
        self,
        plan: Plan,
        at: Listening,
        say: Callable[[str], None],
        *,
        through_locust: bool = False,
    ) -> None:
        """Bind, and say where; UsageError when that is not possible."""
        self._plan = plan
        self._run = ""
        self._folder: RunFolder | None = None
        self._is_ours = True
        self._counters = Counters()
        self._totals: Sequence[Window] = ()
        self._numbers: Mapping[str, Numbers] = {}
        self._scrape: Scrape | None = None
        self._state = b"{}"
        self._metrics_server: Server | None = None
        self._page_server: Server | None = None
        self._token = secrets.token_hex(16) if through_locust else ""
        self.web: Web | None = None
        """What a master needs to show the live page."""
        try:
            self._open(at, say)
        except BaseException:
            self.close()
            raise

    def _open(self, at: Listening, say: Callable[[str], None]) -> None:
        if at.metrics_port is not None:
            pages = {("GET", "/metrics"): self._metrics}
            server = Server(at.metrics_bind, at.metrics_port, pages, "--metrics-port")
            self._metrics_server = server
            say(f"metrics for Prometheus: {server.url}/metrics")
        if not at.web:
            return
        page = LivePageServer(lambda: self._state, self._stop, self._token)
        if not self._token:
            self._page_server = Server(LOOPBACK, at.web_port, page.pages, "--web-port")
            say(f"live page: {self._page_server.url}{PAGE}/")
            return
        if not is_loopback(at.web_bind) and not at.web_login:
            raise UsageError(
                f"--web-bind {at.web_bind} would let anybody who reaches it end the run",
                hint="add --web-login, with a login in the locustfile, or stay on loopback",
            )
        self._page_server = Server(LOOPBACK, 0, page.pages, "--web")
        with closing(Server(at.web_bind, at.web_port, {}, "--web-port")) as tried:
            self.web = Web(at.web_bind, tried.port, self._page_server.url, self._token, at.web_login)
            say(f"live page: {tried.url}{PAGE}/ (Locust's own: {tried.url}/)")

    @property
    def series(self) -> tuple[str, ...]:
        """Return the series whose histograms the follower has to keep."""
        return SERIES if self._metrics_server is not None else ()

    def begin(self, folder: RunFolder, *, has_load: bool = True, is_ours: bool = True) -> None:
        """Name the run that is told of from now on; without a load its objectives have no part in it.

        One that is not ours is ended by the process that writes it.
        """
        self._run, self._folder, self._is_ours = folder.id, folder, is_ours
        if not has_load:
            self._plan = self._plan.model_copy(update={"objectives": ()})
        self._scrape = scrape_of(self._plan, self._run, __version__)
        self._state = orjson.dumps(live_state(self._plan, self._run, None, {}))

    def put(
        self, snapshot: Snapshot, follower: Follower | None, readings: Mapping[tuple[str, str], Reading]
    ) -> None:
        """Put down how the run stands; without a follower there is no load to count."""
        if self._metrics_server is not None:
            if follower is not None and follower.totals is not self._totals:
                # New about once a second; nothing else changes them.
                self._totals = follower.totals
                self._numbers = self._counters.take(self._totals)
            self._scrape = scrape_of(self._plan, self._run, __version__, snapshot, self._numbers, readings)
        if self._page_server is not None:
            self._state = orjson.dumps(live_state(self._plan, self._run, snapshot, readings))

    @property
    def open(self) -> bool:
        """Tell whether anything is served."""
        return self._metrics_server is not None or self._page_server is not None

    def close(self) -> None:
        """Close the servers; again is fine."""
        servers, self._metrics_server, self._page_server = (
            (self._metrics_server, self._page_server),
            None,
            None,
        )
        for server in servers:
            if server is not None:
                server.close()

    def _stop(self) -> str:
        """Ask for the end of the run, as `loadgate stop` does; return what came of it."""
        if self._folder is None:
            raise UsageError("no run has begun yet")
        process = process_of(os.getpid()) if self._is_ours else holder_of(self._folder.database).process
        if process is None:
            raise UsageError("no process of this machine writes the run: stop it where it runs")
        ask_to_stop(self._folder, process, datetime.now(UTC).isoformat(timespec="milliseconds"))
        return "the run ends: what is under way may finish"

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
    return Listening(**{name: value for name, value in options.items() if value is not None})


def run_options(command: _Command) -> _Command:
    """Add the options that say where to tell others of a run that has a generator."""
    bind = click.option(
        "--web-bind",
        metavar="ADDRESS",
        default=LOOPBACK,
        show_default=True,
        help="Where --web listens. Anything but loopback needs --web-login.",
    )
    login = click.option(
        "--web-login",
        is_flag=True,
        help="Let the login that the locustfile has guard --web, as Locust's own.",
    )
    return listening_options(bind(login(command)))


def listening_options(command: _Command) -> _Command:
    """Add the options that say where to tell others of a run."""
    web = click.option("--web", is_flag=True, help="Show the run in a browser while it goes on.")
    web_port = click.option(
        "--web-port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        default=WEB_PORT,
        show_default=True,
        help="Where --web listens, 0 for any free port.",
    )
    return metrics_options(web(web_port(command)))


def metrics_options(command: _Command) -> _Command:
    """Add the options that expose a run to Prometheus."""
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
