"""Carry out a smoke check: ask all that a scenario declares, concurrently, and hold it against the rules.

First the probes, the pages and the good requests, all at once; then the bad requests, all at once; then the
health once more, since a bad request may have taken the service down. Each request has a time limit and a
connection of its own, reads a bounded body, and follows no redirect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from loadgate.errors import TargetUnreachable
from loadgate.plan.headers import resolve_headers
from loadgate.plan.probe import Probe
from loadgate.plan.scenario import Scenario
from loadgate.plan.smoke import SmokeRequest
from loadgate.plan.units import format_duration, format_number
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Value
from loadgate.watch.reach import reach
from loadgate.watch.readers import Readers
from loadgate.watch.smoke import (
    UNKNOWN_ROUTE,
    Check,
    CheckFailed,
    Fault,
    Sent,
    State,
    bad_requests,
    cached,
    healthy_processes,
    page,
    rate_limit,
    refused,
    restarted,
    to_json,
    valid,
)
from loadgate.watch.smoke_leaks import SEARCHED
from loadgate.watch.web import Exchange, address_of, exchange, make_client

LARGEST: Final = 2 * 1024 * 1024
"""Bytes of a good answer or a page."""
AT_ONCE: Final = 8
"""Requests that are under way together."""
PAUSE: Final = 0.25
"""Seconds between two looks at a target that is not up yet."""
TARGET: Final = "target"
"""The group of the checks that belong to no endpoint."""
OURS: Final = frozenset({Reason.NOT_LOCAL, Reason.NO_PERMISSION, Reason.FORWARDED, Reason.NOT_OFFERED})
"""Why a process cannot be seen from here: that says nothing about the target."""

_TITLES: Final = {
    "malformed": "malformed JSON is refused",
    "missing": "a missing field is refused",
    "wrong_type": "a wrong type is refused",
    "oversized": "an oversized body is refused",
    "unknown_route": "an unknown route is refused",
}
Judge = Callable[[], Awaitable[tuple[str, tuple[str, ...]]]]


class SmokeRun:
    """Check one target, once. PlanError and UsageError as `Readers` has them.

    `environ` is where the headers' secrets come from; they are masked in whatever a target says back.
    """

    def __init__(self, scenario: Scenario, environ: Mapping[str, str]) -> None:
        self._scenario = scenario
        self._smoke = scenario.smoke
        self._readers = Readers(scenario, environ)
        self._headers = resolve_headers(scenario.http, environ)
        self._secrets = [
            self._headers[name] for name, value in scenario.http.headers.items() if value.startswith("env:")
        ]
        self._client = make_client(scenario.http, scenario.host.startswith("https:"))
        self._places = asyncio.Semaphore(AT_ONCE)
        self._answers: list[Exchange] = []
        self._uptime: float | None = None

    async def checks(self) -> tuple[Check, ...]:
        """Do all checks and return them in the order of the checklist; each ends within its own limit."""
        try:
            for probe in self._scenario.probes:
                await self._readers.baseline(probe)
            done = await self._health("health")
            done += await self._all([*map(self._probe, self._others()), *self._declared()])
            if self._smoke is not None and self._smoke.rate_limit:
                done.append(self._rate_limit())
            bad = self._refusals()
            done += await self._all(bad)
            if bad:
                done += await self._health("still well afterwards")
            return tuple(self._masked(check) for check in _noted_once(done))
        finally:
            await self._client.aclose()
            await self._readers.aclose()
            self._readers.close()

    def _others(self) -> list[Probe]:
        return [probe for probe in self._scenario.probes if probe is not self._health_probe]

    @property
    def _health_probe(self) -> Probe | None:
        return next((probe for probe in self._scenario.probes if probe.kind == "health"), None)

    async def _all(self, waiting: Sequence[Coroutine[Any, Any, list[Check]]]) -> list[Check]:
        return [check for found in await asyncio.gather(*waiting) for check in found]

    # -- what is checked --

    async def _health(self, name: str) -> list[Check]:
        """Read the health probe, where there is one; the second time the service must not have restarted."""
        probe = self._health_probe
        if probe is None:
            return []

        async def judged() -> tuple[str, tuple[str, ...]]:
            values = {item.reading: item for item in await self._readers.read(probe, probe.timeout)}
            up, uptime = values["up"], values["uptime"].value
            if not up.value:
                raise CheckFailed(Fault.NOT_HEALTHY, up.error)
            restarted(self._uptime, uptime)
            self._uptime = uptime
            return "up" if uptime is None else f"up, uptime {format_number(uptime)}", ()

        return [await self._check(TARGET, name, probe.timeout, judged)]

    async def _probe(self, probe: Probe) -> list[Check]:
        """Read a probe once: every reading must have a value."""

        async def judged() -> tuple[str, tuple[str, ...]]:
            values = await self._readers.read(probe, probe.timeout)
            # Of a process, CPU is a difference over time, and not every kernel tells the others.
            spared = ("cpu", "anon", "cores") if probe.kind == "process" else ()
            values = tuple(item for item in values if item.value is not None or item.reading not in spared)
            failed = next((item for item in values if item.value is None), None)
            if failed is not None:
                raise CheckFailed(Fault.VALUE, f"no {failed.reading}: {failed.error}")
            return ", ".join(_told(item) for item in values), ()

        title = "cache statistics" if probe.kind == "cache" else f"probe {probe.name}"
        return [await self._check(TARGET, title, probe.timeout, judged)]

    def _declared(self) -> list[Coroutine[Any, Any, list[Check]]]:
        """List what [smoke] declares: processes, pages, and the good requests."""
        smoke = self._smoke
        if smoke is None:
            return []
        asked = [self._get(path, f"page {path}", page) for path in smoke.pages]
        if smoke.processes is not None:
            asked.insert(0, self._get(smoke.processes, "processes", healthy_processes))
        return [*asked, *(self._endpoint(request, smoke.timeout) for request in smoke.request)]

    async def _get(self, path: str, name: str, judge: Callable[[Exchange], str]) -> list[Check]:
        assert self._smoke is not None
        limit = self._smoke.timeout

        async def judged() -> tuple[str, tuple[str, ...]]:
            return judge(await self._ask("GET", path, limit)), ()

        return [await self._check(TARGET, name, limit, judged)]

    async def _endpoint(self, request: SmokeRequest, limit: float) -> list[Check]:
        """Send the good request of an endpoint, and once more where it must come from the cache then."""
        content = None if request.body is None else to_json(request.body)

        async def asked(judge: Callable[[SmokeRequest, Exchange], str]) -> tuple[str, tuple[str, ...]]:
            answer = await self._ask(request.method, request.path, limit, content)
            self._answers.append(answer)
            return judge(request, answer), ()

        first = await self._check(request.endpoint, "answers with valid data", limit, lambda: asked(valid))
        if not request.repeat_cached:
            return [first]
        name = "answers from its cache"
        if first.state is not State.PASSED:
            return [first, Check(request.endpoint, name, State.SKIPPED, "its first answer failed")]
        return [first, await self._check(request.endpoint, name, limit, lambda: asked(cached))]

    def _rate_limit(self) -> Check:
        try:
            seen, notes = rate_limit(self._answers)
        except CheckFailed as failure:
            return Check(TARGET, "rate limit", State.FAILED, failure.message, failure.fault)
        return Check(TARGET, "rate limit", State.PASSED, seen, notes=notes)

    def _refusals(self) -> list[Coroutine[Any, Any, list[Check]]]:
        """List the bad requests."""
        smoke = self._smoke
        if smoke is None:
            return []
        found = [
            self._bad(request.endpoint, request.method, request.path, sent, smoke.timeout)
            for request in smoke.request
            for sent in bad_requests(request, smoke.refuse, smoke.oversized)
        ]
        if "unknown_route" in smoke.refuse:
            sent = Sent("unknown_route", b"", (UNKNOWN_ROUTE,))
            found.append(self._bad(TARGET, "GET", UNKNOWN_ROUTE, sent, smoke.timeout))
        return found

    async def _bad(self, group: str, method: str, path: str, sent: Sent, limit: float) -> list[Check]:
        async def judged() -> tuple[str, tuple[str, ...]]:
            try:
                answer = await self._ask(method, path, limit, sent.body or None, largest=SEARCHED)
            except NoReading as failure:
                if sent.refusal != "oversized" or failure.reason is not Reason.CONNECTION:
                    raise
                # A server may hang up on a body that it does not want (RFC 9110, 15.5.14); so does a crash.
                if self._health_probe is None:
                    raise CheckFailed(Fault.UNCLEAR, f"{failure.text}; a health probe would tell") from None
                return "hung up on it, which tells nothing of its inside", ()
            return refused(sent.refusal, answer, (*sent.pieces, *self._own_words()))

        return [await self._check(group, _TITLES[sent.refusal], limit, judged)]

    # -- how it is asked --

    async def _ask(
        self, method: str, path: str, limit: float, content: bytes | None = None, *, largest: int = LARGEST
    ) -> Exchange:
        headers = dict(self._headers)
        if content is not None:
            headers |= {"Content-Type": "application/json"}
        url = address_of(self._scenario.host, path)
        return await exchange(self._client, method, url, headers, limit, largest, content)

    async def _check(self, group: str, name: str, limit: float, judge: Judge) -> Check:
        """Do one check when there is a place for it, and write down what came of it."""
        async with self._places:
            begun = time.monotonic()
            state, seen, reason, notes = State.FAILED, "", "", tuple[str, ...]()
            try:
                seen, notes = await judge()
                state = State.PASSED
            except CheckFailed as failure:
                seen, reason = failure.message, failure.fault
            except NoReading as failure:
                seen, reason = failure.text, failure.reason
                state = State.SKIPPED if failure.reason in OURS else State.FAILED
            return Check(group, name, state, seen, str(reason), limit, time.monotonic() - begun, notes)

    def _own_words(self) -> tuple[str, ...]:
        """Return what an answer may say of the address that was asked."""
        host = self._scenario.host.partition("://")[2]
        return host, host.partition("/")[0], host.partition(":")[0]

    def _masked(self, check: Check) -> Check:
        """Take our own secrets out of what a target echoed."""
        seen, notes = check.seen, check.notes
        for secret in self._secrets:
            for word in (secret, *secret.split()[1:]):  # "Bearer x" may be echoed as "x"
                seen = seen.replace(word, "***")
                notes = tuple(note.replace(word, "***") for note in notes)
        return replace(check, seen=seen, notes=notes)


def _noted_once(checks: Sequence[Check]) -> Iterator[Check]:
    """Leave each note where it comes first: a header that every answer has is worth one line."""
    seen: set[str] = set()
    for check in checks:
        notes = tuple(note for note in check.notes if note not in seen)
        seen.update(notes)
        yield replace(check, notes=notes)


async def wait_until_up(scenario: Scenario, environ: Mapping[str, str], ends: float) -> None:
    """Wait until the health probe says up, at most until the CLOCK_MONOTONIC second `ends`.

    Without a health probe there is nothing to wait for. It returns in any case: a target that never gets
    well fails its checks.
    """
    probe = next((probe for probe in scenario.probes if probe.kind == "health"), None)
    if probe is None:
        return
    readers = Readers(scenario.model_copy(update={"probes": (probe,)}), environ)
    try:
        while (left := ends - time.monotonic()) > 0:
            try:
                values = await readers.read(probe, min(probe.timeout, left))
            except NoReading:
                values = ()
            if any(item.reading == "up" and item.value for item in values):
                return
            await asyncio.sleep(max(0.0, min(PAUSE, ends - time.monotonic())))
    finally:
        await readers.aclose()
        readers.close()


def wait_for_target(scenario: Scenario, environ: Mapping[str, str], within: float) -> float:
    """Wait until the target can be reached and is up, at most `within` seconds; return how many it took.

    TargetUnreachable when nothing answers there by then; PlanError for a secret that is missing.
    """
    begun = time.monotonic()
    ends = begun + within
    while True:
        try:
            reach(scenario.host, scenario.http, environ)
            break
        except TargetUnreachable as error:
            if time.monotonic() + PAUSE >= ends:
                if not within:
                    raise
                hint = f"{error.hint}; waited {format_duration(within)}, see --wait"
                raise TargetUnreachable(error.message, hint=hint) from error
            time.sleep(PAUSE)
    asyncio.run(wait_until_up(scenario, environ, ends))
    return time.monotonic() - begun


def _told(value: Value) -> str:
    assert value.value is not None
    return f"{value.reading} {format_number(value.value)}"
