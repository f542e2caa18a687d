"""Take one reading of any probe: over HTTP, of a process, by a command, out of a log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from loadgate.plan.headers import resolve_headers
from loadgate.plan.probe import Probe
from loadgate.plan.scenario import Scenario
from loadgate.watch.command import Program
from loadgate.watch.log import Log, LogCommand, LogFile
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Answer, Value, command_values, read_answer
from loadgate.watch.process import ProcessReader
from loadgate.watch.prometheus import query_url, sample
from loadgate.watch.web import address_of, ask, make_client, same_origin

T = TypeVar("T")


class Readers:
    """Read the probes of a scenario, each as often as it is asked, in one event loop.

    `environ` is where the headers' secrets come from. PlanError when one is missing, UsageError when `ca`
    cannot be used. What may block has a thread of its own for each probe.
    """

    def __init__(self, scenario: Scenario, environ: Mapping[str, str]) -> None:
        self._host = scenario.host
        self._headers = resolve_headers(scenario.http, environ)
        self._urls = {
            item.name: address_of(self._host, item.http) for item in scenario.probes if item.http is not None
        }
        secure = any(url.startswith("https:") for url in self._urls.values())
        self._client = make_client(scenario.http, secure)
        self._processes = {
            item.name: ProcessReader(item.process, self._host) for item in scenario.probes if item.process
        }
        self._programs = {item.name: Program() for item in scenario.probes if item.kind == "command"}
        self._logs = {item.name: _log(item) for item in scenario.probes if item.kind == "log"}
        self._threads = {
            name: ThreadPoolExecutor(1, thread_name_prefix=f"loadgate-probe-{name}")
            for name in (*self._processes, *self._programs, *self._logs)
        }

    async def baseline(self, probe: Probe) -> None:
        """Take the look from which differences count; it raises nothing that a target or a file may cause."""
        if probe.name in self._processes:
            await self._in_thread(probe, self._processes[probe.name].baseline)
        elif probe.name in self._logs:
            await self._in_thread(probe, self._logs[probe.name].baseline)

    async def read(self, probe: Probe, limit: float) -> tuple[Value, ...]:
        """Take one reading within `limit` seconds; NoReading when the attempt failed as a whole."""
        if probe.kind == "prometheus":
            return await self._queries(probe, limit)
        if probe.name in self._urls:
            return read_answer(probe, await self._ask(self._urls[probe.name], limit))
        try:
            async with asyncio.timeout(limit):
                return await self._look(probe, limit)
        except TimeoutError:
            raise NoReading(Reason.TIMEOUT, f"looking took more than {limit:.3g} s") from None

    def identity(self, probe: Probe) -> frozenset[Hashable]:
        """Return the root processes that a process probe saw last; none for other kinds."""
        reader = self._processes.get(probe.name)
        return reader.identity if reader is not None else frozenset()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def close(self) -> None:
        """End the threads and what runs in them, and let go of files; again is fine."""
        for program in self._programs.values():
            program.close()
        for log in self._logs.values():
            log.stop()
        for thread in self._threads.values():
            thread.shutdown(wait=True, cancel_futures=True)
        for log in self._logs.values():
            log.close()

    async def _look(self, probe: Probe, limit: float) -> tuple[Value, ...]:
        if probe.name in self._processes:
            return await self._in_thread(probe, self._processes[probe.name].read)
        if probe.name in self._programs:
            program = self._programs[probe.name]
            ended = await self._in_thread(probe, lambda: program.run(probe.command, limit))
            return command_values(ended, probe.values)
        log = self._logs[probe.name]
        await self._in_thread(probe, lambda: log.look(limit))
        # Only here, so that what a look found is not lost when nobody waits for it any more.
        return log.take()

    async def _queries(self, probe: Probe, limit: float) -> tuple[Value, ...]:
        """Ask a Prometheus server all queries of a probe at once; each is a reading by itself."""
        server = self._urls[probe.name]

        async def value(name: str, query: str) -> Value:
            try:
                return Value(name, sample(await self._ask(query_url(server, query), limit)))
            except NoReading as failure:
                return Value(name, None, failure.text)

        return tuple(await asyncio.gather(*(value(*item) for item in probe.values.items())))

    async def _ask(self, url: str, limit: float) -> Answer:
        # Secrets are for the target, not for whoever else a probe asks.
        headers = self._headers if same_origin(url, self._host) else {}
        return await ask(self._client, url, headers, limit)

    async def _in_thread(self, probe: Probe, look: Callable[[], T]) -> T:
        """Look in the probe's own thread: it takes long enough to disturb the other probes."""
        return await asyncio.get_running_loop().run_in_executor(self._threads[probe.name], look)


def _log(probe: Probe) -> Log:
    """Make the reader of a log probe."""
    assert probe.pattern is not None
    if probe.file is not None:
        return LogFile(probe.file, probe.pattern)
    return LogCommand(probe.command, probe.pattern)
