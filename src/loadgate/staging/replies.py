"""How an answer is put into bytes: headers, entity tag, the two envelopes, dates."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

import orjson

JSON_TYPE = b"application/json; charset=utf-8"
HTML_TYPE = b"text/html; charset=utf-8"

_REASONS = {
    100: b"Continue",
    200: b"OK",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    413: b"Payload Too Large",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
}

COMMON_HEADERS = b"".join(
    line + b"\r\n"
    for line in (
        b"Content-Security-Policy: default-src 'self';base-uri 'self';frame-ancestors 'self';"
        b"object-src 'none';script-src 'self' 'unsafe-inline';style-src 'self' 'unsafe-inline'",
        b"Cross-Origin-Opener-Policy: same-origin",
        b"Cross-Origin-Resource-Policy: same-origin",
        b"Origin-Agent-Cluster: ?1",
        b"Referrer-Policy: no-referrer",
        b"Strict-Transport-Security: max-age=15552000; includeSubDomains",
        b"X-Content-Type-Options: nosniff",
        b"X-DNS-Prefetch-Control: off",
        b"X-Download-Options: noopen",
        b"X-Frame-Options: SAMEORIGIN",
        b"X-Permitted-Cross-Domain-Policies: none",
        b"X-XSS-Protection: 0",
    )
)
CORS_HEADERS = b"Access-Control-Allow-Origin: *\r\nVary: Accept-Encoding\r\n"
PREFLIGHT_HEADERS = (
    b"Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n"
    b"Access-Control-Allow-Headers: Content-Type,Authorization\r\n"
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Reply:
    """Hold one answer before it is framed: what it says, and how faults spoil it on the way.

    `damage`, `by` and `drip` are those of `faults.Decision`; `close` ends the connection after it.
    """

    __slots__ = (
        "body",
        "by",
        "close",
        "content_type",
        "cors",
        "damage",
        "drip",
        "extra",
        "remaining",
        "status",
    )

    def __init__(
        self,
        status: int,
        body: bytes,
        remaining: int = 0,
        content_type: bytes = JSON_TYPE,
        extra: bytes = b"",
    ) -> None:
        self.status = status
        self.body = body
        self.remaining = remaining
        self.content_type = content_type
        self.extra = extra
        self.cors = True
        self.close = False
        self.damage = ""
        self.by = 0
        self.drip = 0.0


class Stamps:
    """Write the wall-clock time as ISO 8601 with milliseconds and as an HTTP date, once per second."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._second = -1
        self._iso = ""
        self._date = b""

    def iso(self) -> str:
        """Return the time now as "2026-11-22T18:36:10.026Z"."""
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._turn(second)
        return f"{self._iso}{int((now - second) * 1000):03d}Z"

    def date(self) -> bytes:
        """Return the time now as the value of an HTTP `Date` header."""
        second = int(self._wall())
        if second != self._second:
            self._turn(second)
        return self._date

    def _turn(self, second: int) -> None:
        self._second = second
        self._iso = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        self._date = formatdate(second, usegmt=True).encode()


def wrap(plain: bytes, stamp: str) -> bytes:
    """Put a plain envelope, already JSON, into the wrapped one."""
    return b'{"type":"auto","content":%b,"timestamp":"%b"}' % (plain, stamp.encode())


def plain_envelope(title: str, message: str, data: object) -> bytes:
    """Write the plain envelope of an answer that did its work."""
    return orjson.dumps({"success": True, "title": title, "message": message, "data": data})


def entity_tag(body: bytes) -> bytes:
    """Write a weak entity tag as Express does: the length in hex and a base64 SHA-1."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return b'W/"%x-%b"' % (len(body), b64encode(digest)[:27])


class Framer:
    """Frame replies as HTTP/1.1 with `Content-Length`; one per service."""

    def __init__(self, stamps: Stamps, limit: int, keep_alive: float) -> None:
        self._stamps = stamps
        limit_line = b"X-RateLimit-Limit: %d\r\n" % limit
        self._kept = b"Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n\r\n" % max(1, int(keep_alive))
        self._lines = {
            status: b"HTTP/1.1 %d %b\r\n%b%b" % (status, reason, COMMON_HEADERS, limit_line)
            for status, reason in _REASONS.items()
        }

    def head(self, reply: Reply, *, keep: bool) -> bytes:
        """Return the status line and the headers of `reply`, with the blank line."""
        body = reply.body
        tail = self._kept if keep else b"Connection: close\r\n\r\n"
        cors = CORS_HEADERS if reply.cors else b""
        lines = self._lines.get(reply.status) or self._lines[500].replace(
            b"500 Internal Server Error", b"%d Error" % reply.status
        )
        if reply.status in (204, 304):
            return b"%b%b%bDate: %b\r\n%b" % (lines, cors, reply.extra, self._stamps.date(), tail)
        return (
            b"%b%bX-RateLimit-Remaining: %d\r\n%bContent-Type: %b\r\nContent-Length: %d\r\n"
            b"ETag: %b\r\nDate: %b\r\n%b"
        ) % (
            lines,
            cors,
            reply.remaining,
            reply.extra,
            reply.content_type,
            max(0, len(body) + reply.by),
            entity_tag(body),
            self._stamps.date(),
            tail,
        )
