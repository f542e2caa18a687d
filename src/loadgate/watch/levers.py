"""The levers of a target: pull one, and see whether it moved.

Requests go over connections of their own, each within a time limit, and are never redirected. Whoever calls
waits; nothing here raises for what a target does.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from loadgate.plan.headers import PREFIX, resolve_headers
from loadgate.plan.rollback import Command
from loadgate.plan.scenario import Http, Scenario
from loadgate.watch.parse import NoReading, as_number, at_path, clean, load
from loadgate.watch.programs import run_program, start_program
from loadgate.watch.rollback import Action, Observation, Outcome
from loadgate.watch.web import Exchange, exchange, make_client, same_origin, tls_context

LARGEST: Final = 2**20
"""Bytes of an answer that are read."""
_LOOK_MOST: Final = 2.0
"""Seconds of one look: an endpoint that hangs must not hold up what would disable it."""
_LOOK_EVERY: Final = 0.25
_STAYS: Final = 1.0
"""Seconds that a program in the background must stay alive to count as started."""


class Pulled(NamedTuple):
    """How pulling a lever went; `again` when another attempt may do better."""

    ok: bool
    text: str
    again: bool = False


class Result(NamedTuple):
    """What an action came to; `verified` is None where its effect cannot be seen, `again` as in `Pulled`."""

    outcome: Outcome
    text: str
    verified: bool | None = None
    again: bool = False


class Levers:
    """Carry out the actions of a plan's rollback against its target; `log` takes the output of commands.

    PlanError when a secret of a header is missing, UsageError when `http.ca` cannot be used.
    """

    def __init__(self, scenario: Scenario, environ: Mapping[str, str], log: Path) -> None:
        rollback, http = scenario.rollback, scenario.http
        self.host = rollback.host or scenario.host
        self.rollback = rollback
        self._log = log
        self._http = http
        own = resolve_headers(http, environ) if same_origin(self.host, scenario.host) else {}
        self._headers = own | resolve_headers(Http(headers=rollback.headers), environ)
        self._probe_host = scenario.host
        self._probe_headers = resolve_headers(http, environ)
        secure = self.host.startswith("https:") or scenario.host.startswith("https:")
        self._secure = secure
        if secure:
            tls_context(http)  # a `ca` that cannot be used is told now
        health = next((item.http for item in scenario.probes if item.kind == "health" and item.http), None)
        self._health = rollback.health or (health if health and health.startswith("/") else None)

    def carry_out(
        self,
        action: Action,
        key: str,
        before: Observation = Observation.UNSEEN,
        *,
        is_last: bool = True,
        acted: Callable[[], None] = lambda: None,
    ) -> Result:
        """Pull a lever once and see to its effect; `before` is what the target showed before.

        `is_last` says whether a command is the last of its revert, after which the target must be well.
        `acted` is called between the two.
        """
        pulled = self.pull(action, key)
        acted()
        within = f"within {self.rollback.verify_within:g} s"
        if action.command is not None:
            if not pulled.ok:
                return Result(Outcome.FAILED, pulled.text, False)
            well = self.recovers() if is_last else None
            if well is False:
                return Result(Outcome.FAILED, f"{pulled.text}, but the target is not well {within}", False)
            return Result(Outcome.DONE, pulled.text, well)
        seen = self.settle(action) if pulled.ok else self.look(action)
        if seen is Observation.IN_FORCE and (pulled.ok or before is Observation.ABSENT):
            was = ", as it was before" if before is Observation.IN_FORCE else ""
            return Result(Outcome.DONE, f"{pulled.text}; in force{was}", True)
        if not pulled.ok:
            return Result(Outcome.FAILED, pulled.text, False, pulled.again)
        if action.verb == "rate-limit" and self.rollback.limit_at is None:
            return Result(Outcome.DONE, f"{pulled.text}; this target does not tell its limits")
        return Result(Outcome.FAILED, f"{pulled.text}, but it is not in force {within} ({seen})", False, True)

    def pull(self, action: Action, key: str) -> Pulled:
        """Carry out an HTTP action or a command once; `key` lets the target tell a repetition."""
        if action.command is not None:
            return self._command(action.command)
        body = orjson.dumps(action.body)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key, **self._headers}
        try:
            answer = self._ask("POST", self.host + action.path(self.rollback), headers, body)
        except NoReading as failure:
            return Pulled(False, failure.text, again=True)
        said = clean(answer.body.decode("utf-8", "replace"))[:80]
        if 200 <= answer.status < 300:
            return Pulled(True, f"answered {answer.status}")
        again = answer.status in (408, 425, 429) or answer.status >= 500
        return Pulled(False, f"answered {answer.status} {said}".rstrip(), again)

    def look(self, action: Action) -> Observation:
        """Look once whether an HTTP action is in force."""
        try:
            if action.verb == "rate-limit":
                return self._limit_is(action)
            off = self._is_off(action.argument)
        except NoReading:
            return Observation.UNSEEN
        return Observation.IN_FORCE if off == (action.verb == "disable-endpoint") else Observation.ABSENT

    def settle(self, action: Action) -> Observation:
        """Look until an action is in force, at most `verify_within`; return what was seen last."""
        ends = time.monotonic() + self.rollback.verify_within
        if action.verb == "rate-limit" and self.rollback.limit_at is None:
            return Observation.UNSEEN
        while (seen := self.look(action)) is not Observation.IN_FORCE and time.monotonic() < ends:
            time.sleep(_LOOK_EVERY)
        return seen

    def recovers(self) -> bool | None:
        """Wait until the target is well, at most `verify_within`; None where the plan names no way to ask."""
        if self._health is None:
            return None
        ends = time.monotonic() + self.rollback.verify_within
        while True:
            try:
                status = self._ask("GET", self._probe_host + self._health, self._probe_headers).status
            except NoReading:
                status = 0
            if 200 <= status < 300:
                return True
            if time.monotonic() > ends:
                return False
            time.sleep(_LOOK_EVERY)

    def _is_off(self, path: str) -> bool:
        """Ask an endpoint whether it is disabled; an empty body makes one that is not refuse the request."""
        post = self.rollback.probe == "POST"
        headers = self._probe_headers | ({"Content-Type": "application/json"} if post else {})
        body = b"{}" if post else None
        answer = self._ask(
            self.rollback.probe,
            self._probe_host + path,
            headers,
            body,
            min(_LOOK_MOST, self.rollback.timeout),
        )
        text = answer.body.decode("utf-8", "replace")
        return answer.status in self.rollback.off_status and self.rollback.off_text in text

    def _limit_is(self, action: Action) -> Observation:
        """Read a service's rate limit back; UNSEEN where the target does not tell."""
        place = self.rollback.limit_at
        if place is None:
            return Observation.UNSEEN
        answer = self._ask("GET", self.host + place.http, self._headers, None, _LOOK_MOST)
        if answer.status != 200:
            return Observation.UNSEEN
        try:
            number = as_number(at_path(load(answer.body), place.value.replace("{service}", action.argument)))
        except (NoReading, ValueError):
            # A service that has no limit is not in the list, or has null there.
            return Observation.ABSENT if action.value is not None else Observation.IN_FORCE
        return Observation.IN_FORCE if number == action.value else Observation.ABSENT

    def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        limit: float | None = None,
    ) -> Exchange:
        async def asked() -> Exchange:
            async with make_client(self._http, self._secure) as client:
                return await exchange(
                    client, method, url, headers, limit or self.rollback.timeout, LARGEST, body
                )

        return asyncio.run(asked())

    def _command(self, command: Command) -> Pulled:
        if command.background:
            return self._started(command)
        ended = asyncio.run(
            run_program(command.run, command.timeout, folder=self.rollback.folder, log=self._log)
        )
        return Pulled(ended.ok, ended.text)

    def _started(self, command: Command) -> Pulled:
        try:
            process = start_program(command.run, self._log, self.rollback.folder)
        except (OSError, ValueError) as error:
            return Pulled(False, f"it cannot be run: {getattr(error, 'strerror', None) or error}")
        ends = time.monotonic() + _STAYS
        while time.monotonic() < ends:
            if process.poll() is not None:
                return Pulled(
                    False, f"it ended at once, with exit code {process.returncode}; see {self._log.name}"
                )
            time.sleep(0.05)
        return Pulled(True, f"started as process {process.pid}; its output is in {self._log.name}")


def lines_for(action: Action, scenario: Scenario) -> list[str]:
    """Write what a person would type in place of an action: curl, or the commands themselves.

    Secrets stay in the environment: a header of `env:NAME` is written as "$NAME".
    """
    rollback = scenario.rollback
    if action.kind == "command" and action.command is not None:
        at = [f"cd {shlex.quote(str(rollback.folder))}"] if rollback.folder is not None else []
        return [*at, shlex.join(action.command.run) + (" &" if action.command.background else "")]
    if action.kind != "http":
        return action.text.splitlines() or [action.step]
    host = rollback.host or scenario.host
    headers = dict(scenario.http.headers) if same_origin(host, scenario.host) else {}
    headers = {"Content-Type": "application/json", **headers, **rollback.headers}
    words = ["curl --fail-with-body -X POST", shlex.quote(host + action.path(rollback))]
    words += [f"-H {_quoted_header(name, value)}" for name, value in headers.items()]
    words.append("-d " + shlex.quote(orjson.dumps(action.body).decode()))
    return [" \\\n  ".join(words)]


def _quoted_header(name: str, value: str) -> str:
    if value.startswith(PREFIX):
        return f'"{name}: ${{{value.removeprefix(PREFIX)}}}"'
    return shlex.quote(f"{name}: {value}")
