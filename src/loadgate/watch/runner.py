"""Run the probes of a plan beside the load, each on its own schedule, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from loadgate.plan.plan import Plan
from loadgate.plan.probe import Probe
from loadgate.store.watch import Reading, WatchWriter
from loadgate.watch.counters import Rates
from loadgate.watch.journal import Journal
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Value, failed
from loadgate.watch.readers import Readers
from loadgate.watch.restarts import Restart, RestartWatch
from loadgate.watch.schedule import next_slot, time_limit

BASELINE_WITHIN: Final = 0.2
"""Seconds that the first look at a counter may take from the run's own time, before its first reading."""
STOP_WITHIN: Final = 1.0
"""Seconds that `stop` waits for the thread."""


class ProbeRunner:
    """Take the readings of a plan from run time 0 until it is stopped, and write them to a watch database.

    `anchor` is the CLOCK_MONOTONIC second of run time 0, `path` the watch database, `environ` where the
    headers' secrets come from, `make_writer` opens the database. PlanError when a secret is missing,
    UsageError when `ca` cannot be used. Once it runs, no fault of a probe reaches the caller: it is an error
    in its readings, and ours are in `errors`.
    """

    def __init__(
        self,
        plan: Plan,
        anchor: float,
        path: Path,
        environ: Mapping[str, str],
        make_writer: Callable[[Path], WatchWriter] = WatchWriter,
    ) -> None:
        self._probes = plan.scenario.probes
        self._anchor = anchor
        self._readers = Readers(plan.scenario, environ)
        self._watches = {item.name: RestartWatch(item) for item in self._probes}
        self._rates = {item.name: Rates(item.counters) for item in self._probes}
        self._missed = {item.name: 0 for item in self._probes}
        self._journal = Journal(path, make_writer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="loadgate-probes", daemon=True)

    def start(self) -> Self:
        """Open the database and start the thread; StoreError when the database cannot be written."""
        self._journal.open()
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop probing, write what is left and end the threads; an attempt in flight is given up.

        It takes well under a second. Calling it twice, or before `start`, is fine.
        """
        if self._loop is None:
            return
        # The loop may have closed meanwhile, after an earlier call or a fault.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_WITHIN)
        if self._thread.is_alive():
            self._journal.add_error(f"the probes did not stop within {STOP_WITHIN:g} s")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def latest(self) -> dict[tuple[str, str], Reading]:
        """Return the last reading of each (probe, reading); from any thread."""
        return self._journal.latest()

    @property
    def errors(self) -> tuple[str, ...]:
        """Return the faults of our own, such as a database that refuses a reading; from any thread."""
        return self._journal.errors

    @property
    def restarts(self) -> tuple[Restart, ...]:
        """Return the signs of restarts of the target; from any thread."""
        return self._journal.restarts

    @property
    def missed(self) -> dict[str, int]:
        """Return how many slots of each probe passed without an attempt; from any thread."""
        return dict(self._missed)

    def _main(self) -> None:
        """Be the thread: run until stopped, then close everything, whatever happened."""
        assert self._loop is not None
        try:
            self._loop.run_until_complete(self._run())
        except Exception as error:  # noqa: BLE001  # the run goes on without probes, and says so
            self._journal.add_error(f"the probes ended: {type(error).__name__}: {error}")
        finally:
            self._loop.close()
            self._journal.close()
            self._readers.close()

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._keep(probe)) for probe in self._probes]
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                self._journal.add_error(f"a probe ended: {type(result).__name__}: {result}")
        await self._readers.aclose()

    async def _keep(self, probe: Probe) -> None:
        """Take one probe's readings, slot by slot."""
        await self._baseline(probe)
        slot = next_slot(self._now(), probe.every)
        while True:
            await asyncio.sleep(max(0.0, slot * probe.every - self._now()))
            await self._attempt(probe, slot)
            following = next_slot(self._now(), probe.every, slot)
            self._missed[probe.name] += following - slot - 1
            slot = following

    async def _baseline(self, probe: Probe) -> None:
        """Take the look from which differences count; one that fails leaves the first reading without any."""
        await self._readers.baseline(probe)
        if not probe.counters:
            return
        limit = min(probe.timeout, max(BASELINE_WITHIN, -self._now()))
        with contextlib.suppress(NoReading):
            at = self._now()
            values = await self._readers.read(probe, limit)
            self._rates[probe.name].add(at, values)
            self._watches[probe.name].values(at, values)

    async def _attempt(self, probe: Probe, slot: int) -> None:
        """Take the readings of one slot and keep them, good or bad."""
        # The loop's timers may be a nanosecond early, and a slot at a border belongs to the phase after it.
        begun = max(self._now(), slot * probe.every)
        try:
            limit = time_limit(begun, probe.every, slot, probe.timeout)
            values = await self._readers.read(probe, limit)
        except NoReading as failure:
            values = failed(probe, failure)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not end the run
            text = f"{probe.name}: {type(error).__name__}: {error}"
            self._journal.add_error(text)
            values = failed(probe, NoReading(Reason.FAULT, text))
        took = self._now() - begun
        values = self._completed(probe, begun, values)
        self._journal.add(
            [Reading(begun, probe.name, item.reading, item.value, item.error, took) for item in values]
        )

    def _completed(self, probe: Probe, at: float, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Add what several attempts tell together: restarts, and how fast counters grow."""
        watch = self._watches[probe.name]
        signs = [watch.values(at, values)]
        if probe.kind == "process":
            signs.append(watch.identity(at, self._readers.identity(probe)))
        for sign in signs:
            if sign is not None:
                self._journal.add_restart(sign)
        values = (*values, *self._rates[probe.name].add(at, values))
        if "restarts" in probe.readings:
            # It tells no more than the reading that would show a restart.
            sign_of = next(item for item in values if item.reading in ("uptime", "memory"))
            count = float(watch.count) if sign_of.value is not None else None
            values = (*values, Value("restarts", count, sign_of.error))
        return values

    def _now(self) -> float:
        """Return the run time."""
        return time.monotonic() - self._anchor
