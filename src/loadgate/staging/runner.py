"""Run the reference service: listen, say so, keep house, stop on a signal."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import signal
import socket
import sys
from typing import TextIO

import orjson

from loadgate.errors import UsageError
from loadgate.staging.lifeline import Lifeline
from loadgate.staging.protocol import HttpProtocol
from loadgate.staging.service import Service
from loadgate.staging.settings import Settings
from loadgate.staging.state import State
from loadgate.staging.vitals import BURN_PERIOD, Leak, burn

INSTALL = "pip install 'loadgate[staging]'"
_BACKLOG = 2048
_TICK = 0.1  # seconds between rounds of housekeeping
_TICKS_PER_SAMPLE = 10
_GRACE = 0.5  # seconds that answers in progress get at the end


def serve(settings: Settings, out: TextIO | None = None) -> None:
    """Serve until SIGTERM, SIGINT or a shutdown fault; print one JSON line to `out` when listening.

    Raises UsageError when the extra is missing, the address cannot be listened on, or a setting is
    wrong.
    """
    try:
        import uvloop
    except ImportError as error:
        raise UsageError(
            "the reference staging service needs the `staging` extra", hint=f"Run: {INSTALL}"
        ) from error
    state = State(settings)
    service = Service(state)
    lifeline = Lifeline() if settings.exit_with_parent else None
    sock = _listen(settings.host, settings.port)
    state.port = sock.getsockname()[1]
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Server(service, sock, lifeline, out or sys.stdout).run())


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error}", hint="Give an address of this machine."
        ) from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} on {host} is in use",
                hint="Choose another with --port, or 0 for a free one; `ss -ltnp` shows who listens.",
            ) from error
        raise UsageError(
            f"cannot listen on {host}:{port}: {error}",
            hint="Give an address of this machine and a free port.",
        ) from error
    sock.setblocking(False)
    return sock


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Server:
    """Hold the listening service and its housekeeping."""

    def __init__(self, service: Service, sock: socket.socket, lifeline: Lifeline | None, out: TextIO) -> None:
        self._service = service
        self._state = service.state
        self._sock = sock
        self._lifeline = lifeline
        self._out = out
        self._connections: set[HttpProtocol] = set()
        self._leak = Leak()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if self._lifeline is not None:
            loop.add_signal_handler(signal.SIGUSR1, self._check_parent)
            self._lifeline.arm()
        server = await loop.create_server(self._connect, sock=self._sock, backlog=_BACKLOG)
        gc.collect()
        gc.freeze()
        house = [asyncio.create_task(self._keep_house()), asyncio.create_task(self._burn())]
        for task in house:
            task.add_done_callback(lambda _: self._stop.set())  # a failure there ends the service, loudly
        self._announce()
        await self._stop.wait()
        server.close()
        for task in house:
            task.cancel()
        await self._drain()
        results = await asyncio.gather(*house, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _connect(self) -> HttpProtocol:
        self._state.books.connections += 1
        return HttpProtocol(self._service, self._connections, asyncio.get_running_loop())

    def _announce(self) -> None:
        host, port = self._sock.getsockname()[:2]
        line = orjson.dumps({"ready": True, "host": host, "port": port, "pid": os.getpid()})
        self._out.write(line.decode() + "\n")
        self._out.flush()

    def _check_parent(self) -> None:
        if self._lifeline is not None and self._lifeline.orphaned():
            self._stop.set()

    async def _keep_house(self) -> None:
        """Close idle connections, drop expired entries, leak, and watch for the end."""
        loop = asyncio.get_running_loop()
        state = self._state
        last = state.monotonic()
        ticks = 0
        while True:
            await asyncio.sleep(_TICK)
            now = state.monotonic()
            self._leak.grow(state.faults.total("leak", "rate"), now - last)
            last = now
            self._check_parent()
            if state.faults.shutdown_due(now):
                self._stop.set()
            ticks += 1
            if ticks % 5 == 0:
                idle_now = loop.time()
                for connection in tuple(self._connections):
                    connection.check_idle(idle_now)
            if ticks % _TICKS_PER_SAMPLE == 0:
                state.vitals.sample()
                state.cache.purge(now)

    async def _burn(self) -> None:
        """Burn the share of a core that the `cpu` faults ask for, at most 95 %."""
        while True:
            share = min(0.95, self._state.faults.total("cpu", "share"))
            if share <= 0:
                await asyncio.sleep(_TICK)
                continue
            burn(share)
            await asyncio.sleep((1 - share) * BURN_PERIOD)

    async def _drain(self) -> None:
        """Let answers in progress leave for a moment, then end every connection."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _GRACE
        for connection in tuple(self._connections):
            connection.shut()
        # The set shrinks as connections end; polling it keeps the protocol free of bookkeeping for this.
        while self._connections and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for connection in tuple(self._connections):
            connection.shut(at_once=True)
        while self._connections and loop.time() < end + _GRACE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
