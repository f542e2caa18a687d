"""Exchange requests for responses with one target, over one kept-alive connection at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from loadgate.traffic.http.connection import Connection
from loadgate.traffic.http.deadlines import new_alarm
from loadgate.traffic.http.dial import dial
from loadgate.traffic.http.faults import CONNECT_TIMEOUT, TIMEOUT, Fault
from loadgate.traffic.http.framing import Reader
from loadgate.traffic.http.settings import ClientSettings, merged_headers
from loadgate.traffic.values import Request, Response

_HEADS_MAX = 4096
_LENGTH_ENDS = tuple(b"%d\r\n\r\n" % length for length in range(4096))
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_clock = time.monotonic


class HttpClient:
    """Serve one user: one exchange at a time, one connection kept between them.

    `connects` counts the connections that were opened. After an exchange that was ended from outside (a
    kill), `aborted` is True and `aborted_sent` is when its first byte was sent, 0.0 when none was.
    `source_address` is the local address to send from.
    """

    __slots__ = (
        "_alarm",
        "_bare_heads",
        "_connection",
        "_dialing",
        "_heads",
        "_settings",
        "_source_address",
        "_timeout",
        "aborted",
        "aborted_sent",
        "connects",
    )

    def __init__(self, settings: ClientSettings, source_address: str | None = None) -> None:
        self._settings = settings
        self._source_address = source_address
        self._timeout = settings.timeout
        self._alarm = new_alarm()
        self._connection: Connection | None = None
        self._dialing = False
        self._heads: dict[tuple[object, ...], bytes] = {}
        self._bare_heads: dict[tuple[object, ...], bytes] = {}
        self.connects = 0
        self.aborted = False
        self.aborted_sent = 0.0

    def exchange(self, request: Request) -> Response:
        """Send the request, wait for its response and return it; what the target did wrong is in it.

        A reused connection that the server closed before any byte of the response came is replaced, and the
        request sent once more (`response.retries`). RuntimeError when another exchange is in flight.
        """
        body = request.body
        if request.headers is None and body is not None:
            head = self._heads.get((request.method, request.path, request.content_type))
            if head is None:
                head = self._make_head(request, True)
            length = len(body)
            data = b"".join((head, _LENGTH_ENDS[length] if length < 4096 else b"%d\r\n\r\n" % length, body))
        else:
            data = self._wire(request)
        alarm = self._alarm
        if alarm.greenlet is not None or self._dialing:
            raise RuntimeError("this client is in the middle of an exchange: give each greenlet its own")
        connection = self._connection
        alarm.rang = False
        now = _clock()
        alarm.deadline = deadline = now + (request.timeout or self._timeout)
        if deadline < alarm.check_at:
            alarm.queue()
        bodiless = request.method == "HEAD"
        if connection is None or connection.dead or now >= connection.good_until:
            return self._exchange_anew(data, bodiless, now, None)
        try:
            response = connection.exchange(data, bodiless, now)
        except BaseException:
            self.aborted = True
            self.aborted_sent = now
            raise
        if response.failure and connection.stale:
            return self._exchange_anew(data, bodiless, now, response)
        return response

    def close(self) -> None:
        """Close the connection, if one is open; the client can be used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange_anew(
        self, data: bytes, bodiless: bool, began: float, unanswered: Response | None
    ) -> Response:
        """Exchange over a fresh connection; `unanswered` is what a stale one made of the same request."""
        self.close()
        alarm = self._alarm
        sent = 0.0 if unanswered is None else unanswered.sent
        self._dialing = True
        try:
            connection = self._dial(
                alarm.deadline - began if unanswered is None else alarm.deadline - _clock()
            )
        except Fault as fault:
            return _undone(fault, began, unanswered)
        except BaseException:
            self.aborted = True
            self.aborted_sent = sent
            raise
        finally:
            self._dialing = False
        self._connection = connection
        if alarm.deadline < alarm.check_at:
            alarm.queue()
        now = _clock()
        sent = sent or now
        try:
            response = connection.exchange(data, bodiless, now)
        except BaseException:
            self.aborted = True
            self.aborted_sent = sent
            raise
        if unanswered is not None:
            response.retries = 1
            response.sent = sent
        return response

    def _dial(self, left: float) -> Connection:
        settings = self._settings
        limit = min(settings.connect_timeout, left)
        if limit <= 0:
            raise Fault(TIMEOUT)
        try:
            sock, channel = dial(settings, self._source_address, limit)
        except Fault as fault:
            if fault.kind == CONNECT_TIMEOUT and limit < settings.connect_timeout:
                raise Fault(TIMEOUT, fault.detail) from fault
            raise
        self.connects += 1
        return Connection(sock, channel, Reader(settings.max_head, settings.max_body), self._alarm)

    def _wire(self, request: Request) -> bytes:
        """Return head and body of a request that has headers of its own, or no body."""
        body = request.body
        measured = body is not None or request.method in _WITH_BODY
        headers = request.headers
        named = tuple(headers.items()) if headers else None
        key = (request.method, request.path, request.content_type, named)
        head = (self._heads if measured else self._bare_heads).get(key)
        if head is None:
            head = self._make_head(request, measured, key)
        if not measured:
            return head
        body = body or b""
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    def _make_head(self, request: Request, measured: bool, key: tuple[object, ...] | None = None) -> bytes:
        """Format and remember a head: up to the value of Content-Length, or whole when it has none."""
        settings = self._settings
        typed: Mapping[str, str] = {"Content-Type": request.content_type} if request.content_type else {}
        headers = merged_headers(settings.fixed_headers, typed, request.headers or {})
        lines = [f"{request.method} {settings.prefix}{request.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append("Content-Length: " if measured else "\r\n")
        head = "\r\n".join(lines).encode("latin-1")
        heads = self._heads if measured else self._bare_heads
        if len(heads) >= _HEADS_MAX:
            heads.clear()
        heads[key or (request.method, request.path, request.content_type)] = head
        return head


def _undone(fault: Fault, began: float, unanswered: Response | None) -> Response:
    """Tell of an exchange for which no connection could be made."""
    response = Response()
    response.failure = fault.kind
    response.detail = fault.detail
    response.timed_out = fault.kind in (CONNECT_TIMEOUT, TIMEOUT)
    response.sent = began if unanswered is None else unanswered.sent
    response.ended = _clock()
    response.retries = 0 if unanswered is None else 1
    return response
