"""What all routes of the reference service share, and the answers that any of them may give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import Random
from uuid import UUID

import orjson

from loadgate.staging.books import Books
from loadgate.staging.cache import Cache
from loadgate.staging.faults import FaultBoard
from loadgate.staging.limit import AddressLimits, TokenBucket
from loadgate.staging.protocol import Later, Request
from loadgate.staging.replies import Framer, Reply, Stamps, plain_envelope, wrap
from loadgate.staging.settings import Settings, Switches
from loadgate.staging.vitals import Vitals

_SYNTAX_STACK = (
    "SyntaxError: {error}\n"
    "    at JSON.parse (<anonymous>)\n"
    "    at parse (/srv/app/node_modules/body-parser/lib/types/json.js:92:19)\n"
    "    at /srv/app/node_modules/body-parser/lib/read.js:128:18"
)


Handler = Callable[[Request, float], "Reply | Later"]
"""Answer one request of a route, or promise the answer; the second argument is now, monotonic seconds."""


class BadBody(Exception):
    """A request body that cannot be used; carries the 400 that says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class State:
    """Hold one service's settings, switches, cache, books, faults and limits."""

    def __init__(
        self,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.monotonic = monotonic
        self.started = monotonic()
        self.stamps = Stamps(wall)
        self.started_at = self.stamps.iso()
        self.framer = Framer(self.stamps, int(settings.rate_capacity), settings.keep_alive)
        self.switches = Switches.of(settings)
        self.books = Books()
        self.cache = Cache(settings.cache_ttl, settings.cache_entries)
        self.faults = FaultBoard(settings.seed)
        self.random = Random(settings.seed)
        self.limits = AddressLimits(settings.rate_capacity, settings.rate_refill, settings.rate_patience)
        self.lowered: dict[str, TokenBucket] = {}
        self.vitals = Vitals(monotonic)
        self.port = settings.port
        """The port that is really listened on, once it is."""

    def lower(self, service: str, rate: float | None) -> None:
        """Limit a service, over all its clients, to `rate` requests per second; None lifts it."""
        if rate is None:
            self.lowered.pop(service, None)
            self.switches.lowered.pop(service, None)
            return
        self.switches.lowered[service] = rate
        self.lowered[service] = TokenBucket(
            max(1.0, rate), rate, self.settings.rate_patience, self.monotonic()
        )

    # -- answers --

    def json(self, value: object, status: int = 200) -> Reply:
        """Answer `value` as it is."""
        return self.reply(status, orjson.dumps(value))

    def reply(self, status: int, body: bytes) -> Reply:
        """Answer bytes that are JSON already."""
        return Reply(status, body, int(self.settings.rate_capacity))

    def enveloped(self, plain: bytes, status: int = 200) -> Reply:
        """Answer a plain envelope, wrapped when this release wraps."""
        if self.switches.envelope == "wrapped":
            plain = wrap(plain, self.stamps.iso())
        return self.reply(status, plain)

    def success(self, title: str, message: str, data: object) -> Reply:
        """Answer that something was done."""
        return self.enveloped(plain_envelope(title, message, data))

    def rejected(self, error: str) -> Reply:
        """Answer 400 for a body whose fields are missing or wrong."""
        return self.enveloped(orjson.dumps({"error": error}), 400)

    def failed(self, status: int, error: str, stack: str = "") -> Reply:
        """Answer an error of the web server itself; the stack only where this release leaks it."""
        body: dict[str, object] = {
            "ok": False,
            "service": "web-server",
            "error": error,
            "code": status,
            "timestamp": self.stamps.iso(),
        }
        if stack and self.switches.leak_stack:
            body["stack"] = stack
        return self.json(body, status)

    def too_many(self, retry_after: int) -> Reply:
        """Answer 429; `retry_after` in whole seconds."""
        trace = str(UUID(int=self.random.getrandbits(128), version=4))
        body = {"ok": False, "error": "Too many requests", "retryAfter": retry_after, "traceId": trace}
        reply = self.json(body, 429)
        reply.remaining = 0
        return reply

    # -- bodies --

    def parse(self, request: Request) -> Mapping[str, object]:
        """Return the JSON object of a request, empty when it is no JSON or no object, as Express does.

        Raises BadBody with the 400 for JSON that cannot be parsed.
        """
        if not request.body or not request.headers.get(b"content-type", b"").startswith(b"application/json"):
            return {}
        try:
            value = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise BadBody(self._malformed(request.body, error.pos)) from error
        if isinstance(value, dict):
            return value
        if isinstance(value, list):
            return {}
        raise BadBody(self._malformed(request.body, 0))

    def _malformed(self, body: bytes, at: int) -> Reply:
        text = body.decode("utf-8", "replace")
        if not self.switches.leak_stack:
            return self.failed(400, "Malformed JSON")
        error = (
            f"Unexpected token {text[at]} in JSON at position {at}"
            if at < len(text)
            else "Unexpected end of JSON input"
        )
        return self.failed(400, error, _SYNTAX_STACK.format(error=error))
