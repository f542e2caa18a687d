"""Hand a message to a receiver, within its time limit, and say how that went.

An address of a receiver is a secret: whoever knows it can post. It is taken from where the plan says at the
last moment, and every text that leaves here has it, and every other secret, struck out.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import hmac
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from loadgate import __version__
from loadgate.errors import LoadgateError
from loadgate.plan.notify import Receiver, holds_token, resolve_secret
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.scenario import Http
from loadgate.watch.messages import slack_text, ticket
from loadgate.watch.notices import Answer
from loadgate.watch.parse import NoReading, clean
from loadgate.watch.programs import run_program
from loadgate.watch.web import exchange, make_client

USER_AGENT: Final = f"loadgate/{__version__} (notify)"
SIGNATURE: Final = "X-Loadgate-Signature"
TIMESTAMP: Final = "X-Loadgate-Timestamp"
TICKETS: Final = "tickets.md"
_LARGEST: Final = 2**16
_MASK: Final = "***"
_SHORTEST: Final = 4
"""Characters below which a part of an address is no secret, and striking it out would garble the text."""


class Post:
    """One receiver that can be told something; made before the load, so that a missing secret is told then.

    `folder` is where the file of a receiver without a path is. PlanError when a secret is missing or is no
    address.
    """

    def __init__(self, receiver: Receiver, environ: Mapping[str, str], folder: Path | None) -> None:
        key = f"notify.receiver.{receiver.name}"
        self.receiver = receiver
        self._url = resolve_secret(receiver.url, f"{key}.url", environ) if receiver.url else ""
        self._secret = resolve_secret(receiver.secret, f"{key}.secret", environ) if receiver.secret else ""
        self._hidden = _hidden(receiver, self._url, self._secret)
        self._path = receiver.path or (folder or Path()) / TICKETS
        if self._url:
            _check_address(self._url, f"{key}.url")

    @property
    def place(self) -> str:
        """Say where it is told, without what is secret of it."""
        if self.receiver.kind == "command":
            return clean(self.receiver.command[0])
        if self.receiver.kind == "file":
            return str(self._path)
        parts = urlsplit(self._url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/{_MASK}"

    async def send(self, content: Mapping[str, Any]) -> Answer:
        """Send a message; never raises for what a receiver does, nor takes much longer than its limit."""
        kind, limit = self.receiver.kind, self.receiver.timeout
        try:
            async with asyncio.timeout(limit + 5.0):  # what is below has its own limit
                if kind == "file":
                    return await asyncio.to_thread(self._append, dict(content))
                if kind == "command":
                    return await self._run(content)
                return await self._post(content)
        except TimeoutError:
            return Answer(False, f"it took more than {limit:g} s")
        except LoadgateError as error:
            return Answer(False, self.mask(error.message))
        except Exception as error:  # noqa: BLE001  # whatever it is, it concerns this attempt alone
            return Answer(False, self.mask(f"{type(error).__name__}: {error}"))

    def mask(self, text: str) -> str:
        """Strike every secret of this receiver out of a text."""
        for secret in self._hidden:
            text = text.replace(secret, _MASK)
        return clean(text)

    async def _post(self, content: Mapping[str, Any]) -> Answer:
        slack = self.receiver.kind == "slack"
        body = orjson.dumps({"text": slack_text(dict(content))} if slack else content)
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if not slack:
            headers["Idempotency-Key"] = str(content.get("key", ""))
            if self._secret:
                headers |= signed(self._secret, body, int(time.time()))
        try:
            async with make_client(Http(), self._url.startswith("https:")) as client:
                answer = await exchange(
                    client, "POST", self._url, headers, self.receiver.timeout, _LARGEST, body
                )
        except NoReading as failure:
            return Answer(False, self.mask(failure.text))
        if 200 <= answer.status < 300:
            return Answer(True, f"answered {answer.status}")
        said = self.mask(answer.body.decode("utf-8", "replace"))[:80]
        again = answer.status in (408, 425, 429) or answer.status >= 500
        asked = retry_after(answer.header("retry-after"), time.time()) if again else None
        return Answer(False, f"answered {answer.status} {said}".rstrip(), not again, asked)

    async def _run(self, content: Mapping[str, Any]) -> Answer:
        ended = await run_program(
            self.receiver.command, self.receiver.timeout, given=orjson.dumps(content) + b"\n"
        )
        return Answer(ended.ok, self.mask(ended.text))

    def _append(self, content: dict[str, Any]) -> Answer:
        """Append a message in one write, so that what two processes append is not mixed."""
        wall = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.receiver.format == "jsonl":
            data = orjson.dumps({"written_at": wall, **content}) + b"\n"
        else:
            data = ticket(content, wall).encode()
        try:
            # A pipe that nobody reads must not block.
            number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
            try:
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    return Answer(False, f"{self._path} is not a file", final=True)
                written = os.write(number, data)
                os.fsync(number)
            finally:
                os.close(number)
        except OSError as error:
            return Answer(False, f"{self._path}: {error.strerror or error}")
        if written != len(data):
            return Answer(False, f"{self._path}: only {written} of {len(data)} bytes were written")
        return Answer(True, f"appended to {self._path}")


def signed(secret: str, body: bytes, at: int) -> dict[str, str]:
    """Return the headers that prove a message's origin and age.

    The signature is HMAC-SHA256 in hex over "timestamp.body"; `at` is in wall-clock seconds.
    """
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: str(at), SIGNATURE: f"sha256={digest}"}


def retry_after(text: str, wall: float) -> float | None:
    """Read a `Retry-After` header, seconds or a date; None when it says nothing usable. `wall` is now."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text) if text else None
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - wall) if moment is not None else None


def _hidden(receiver: Receiver, url: str, secret: str) -> list[str]:
    """List what must not be shown, the longest first: whole addresses before the parts of them."""
    hidden = {secret}
    if url and (url != receiver.url or holds_token(url)):
        parts = urlsplit(url)
        hidden |= {url, parts.path, parts.query, *parts.path.split("/"), parts.password or ""}
    return sorted((text for text in hidden if len(text) >= _SHORTEST), key=len, reverse=True)


def _check_address(url: str, key: str) -> None:
    """Make sure that what a secret holds is an address, without saying what it holds."""
    try:
        good = httpx.URL(url).scheme in ("http", "https") and bool(urlsplit(url).hostname) and url.isascii()
        urlsplit(url).port  # noqa: B018  # ValueError when it is none
    except (httpx.InvalidURL, ValueError):
        good = False
    if not good:
        raise PlanError([Problem("environment", key, "is not an http or https URL", "https://...")])
