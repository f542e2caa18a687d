"""HTTP/1.1 for the reference service: an asyncio protocol over the httptools parser.

It exists beside the usual servers for two reasons: it leaves most of a core to the service, and it
can break its promises on purpose (a reset, a cut body, a wrong length), which a correct server forbids.

One request at a time is answered per connection; pipelined ones wait in order. Whatever the parser
does not accept gets 400 and the connection is closed.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import httptools

from loadgate.staging.replies import CONTINUE, Framer, Reply

_MOST_HEAD = 16 * 1024
_MOST_WAITING = 32  # pipelined requests held before reading pauses
_INCOMPLETE_TIMEOUT = 60.0  # seconds for a request to arrive whole, as Node has it
_LINGER = 1.0  # seconds in which the rest of a refused upload is read and thrown away
_WANTED = frozenset((b"content-type", b"content-length", b"expect", b"if-none-match", b"origin"))
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Request:
    """Hold one request that arrived whole; `too_large` when its body passed the bound (and is gone)."""

    __slots__ = ("begun", "body", "headers", "keep", "method", "peer", "route", "target", "too_large")

    def __init__(
        self, method: bytes, target: bytes, headers: dict[bytes, bytes], body: bytes, peer: str
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.peer = peer
        self.keep = True
        self.too_large = False
        self.begun = 0.0
        self.route = ""


class Later:
    """Promise a reply in `delay` seconds (inf = never), made by `finish` at that moment."""

    __slots__ = ("delay", "finish")

    def __init__(self, delay: float, finish: Callable[[], Reply]) -> None:
        self.delay = delay
        self.finish = finish


class Application(Protocol):
    """Answer requests: the service behind the protocol."""

    framer: Framer
    max_body: int
    keep_alive: float

    def begin(self, request: Request) -> Reply | Later:
        """Answer at once or promise an answer."""

    def finish(self, request: Request, later: Later) -> Reply:
        """Make the promised answer."""

    def abandon(self, request: Request) -> None:
        """Note that the connection ended before an answer began; the request may not have begun either."""

    def refuse(self, status: int, error: str, peer: str) -> Reply:
        """Answer what could not be parsed as a request."""


class HttpProtocol(asyncio.Protocol):
    """Serve one connection."""

    def __init__(
        self, app: Application, connections: set[HttpProtocol], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._app = app
        self._connections = connections
        self._loop = loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set on connection_made
        self._parser: Any = httptools.HttpRequestParser(self)
        self._peer = ""
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = False  # nothing more is read or answered after what is in progress
        self._discarding = False
        self._can_write = True
        self._paused_reading = False
        self._continue_due = False
        self._idle_since = loop.time()
        self._heads = 0
        self._head_size = 0
        self._in_head = False
        self._in_message = False
        self._closing = False
        self._new_message()

    def _new_message(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._header_size = 0
        self._too_large = False

    # -- connection --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the peer."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports share no class with it
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "local"
        self._connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Drop what was in progress; the service books it as unanswered."""
        self._connections.discard(self)
        self._last = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._current is not None:
            self._app.abandon(self._current)
            self._current = None
        for request in self._waiting:
            self._app.abandon(request)
        self._waiting.clear()

    def eof_received(self) -> bool:
        """Answer what has arrived before closing, for clients that close their sending side first."""
        self._last = True
        return self.busy

    def pause_writing(self) -> None:
        """Stop answering a client that does not read."""
        self._can_write = False
        self._throttle()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._can_write = True
        self._advance()

    # -- parsing --

    def data_received(self, data: bytes) -> None:
        """Feed the parser; callbacks below do the rest."""
        if self._last:
            return  # a refused upload, or bytes after `Connection: close`
        heads = self._heads
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # answered, and the connection is on its way to its end
        except httptools.HttpParserCallbackError as error:
            self._loop.call_exception_handler(
                {"message": "a request could not be handled", "exception": error.__context__ or error}
            )
            self._give_up()
            return
        except httptools.HttpParserError:
            self._refuse(400, "Bad Request")
            return
        if self._in_head and self._heads == heads:
            self._head_size += len(data)
            if self._head_size > _MOST_HEAD:
                self._refuse(431, "Request header fields too large")
        else:
            self._head_size = 0

    def on_message_begin(self) -> None:
        """Start a request."""
        self._in_head = True
        self._in_message = True
        self._new_message()
        if self._current is None:
            self._idle_since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Collect the target; it may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few headers that matter here."""
        self._header_size += len(name) + len(value)
        name = name.lower()
        if name in _WANTED:
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Judge the size and ask for the body where the client waits for that."""
        self._in_head = False
        self._heads += 1
        if self._last:
            return
        if self._header_size > _MOST_HEAD:
            self._refuse(431, "Request header fields too large")
            return
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > self._app.max_body:
            self._too_large = True
            self._complete(self._parser.get_method(), keep=False)
        elif b"expect" in self._headers and self._headers[b"expect"].lower() == b"100-continue":
            if self._current is None:
                self._transport.write(CONTINUE)
            else:
                self._continue_due = True

    def on_body(self, body: bytes) -> None:
        """Collect the body up to the bound."""
        if self._last:
            return
        self._body_size += len(body)
        if self._body_size > self._app.max_body:
            self._too_large = True
            self._complete(self._parser.get_method(), keep=False)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Queue the request, and answer it at once when the connection is free."""
        if not self._last:
            parser = self._parser
            # No other protocol is spoken here: an upgrade is answered as an ordinary last request.
            self._complete(
                parser.get_method(), keep=parser.should_keep_alive() and not parser.should_upgrade()
            )

    def _complete(self, method: bytes, *, keep: bool) -> None:
        parts = self._body
        body = b"" if not parts else (parts[0] if len(parts) == 1 else b"".join(parts))
        request = Request(method, self._url, self._headers, body, self._peer)
        request.keep = keep
        request.too_large = self._too_large
        self._continue_due = False
        self._in_message = False
        if not keep:
            self._last = True
            self._discarding = self._too_large
        if self._current is None and not self._waiting and self._can_write:
            self._start(request)
        else:
            self._waiting.append(request)
            self._throttle()

    # -- answering --

    def _start(self, request: Request) -> None:
        self._current = request
        answer = self._app.begin(request)
        if answer.__class__ is Reply:
            self._send(request, answer)
            return
        assert isinstance(answer, Later)
        if answer.delay < math.inf:
            self._timer = self._loop.call_later(answer.delay, self._finish, request, answer)

    def _finish(self, request: Request, later: Later) -> None:
        self._timer = None
        reply: Reply | None = None
        try:
            reply = self._app.finish(request, later)
        finally:
            if reply is None:  # an error of the service; the loop reports it
                self._give_up()
        self._send(request, reply)
        if self._current is None:
            self._advance()

    def _advance(self) -> None:
        """Answer what waits, then read on."""
        while self._waiting and self._current is None and self._can_write and not self._closing:
            self._start(self._waiting.popleft())
        if self._current is not None or not self._can_write or self._closing:
            return
        if self._continue_due:
            self._continue_due = False
            self._transport.write(CONTINUE)
        if self._last:
            self._close()
        elif self._paused_reading:
            self._paused_reading = False
            self._transport.resume_reading()

    def _throttle(self) -> None:
        if not self._paused_reading and (not self._can_write or len(self._waiting) >= _MOST_WAITING):
            self._paused_reading = True
            self._transport.pause_reading()

    def _send(self, request: Request, reply: Reply) -> None:
        keep = request.keep and not reply.close
        transport = self._transport
        body = b"" if request.method == b"HEAD" else reply.body
        head = self._app.framer.head(reply, keep=keep)
        if reply.damage:
            if reply.damage == "reset":
                self._reset()
                return
            if reply.damage == "truncate":
                body = body[: len(body) // 2]
                keep = False
        if reply.drip > 0 and body:
            transport.write(head)
            self._drip(request, body, 0, reply.drip, keep=keep)
            return
        transport.write(head + body)
        self._sent(keep=keep)

    def _drip(self, request: Request, body: bytes, at: int, pause: float, *, keep: bool) -> None:
        self._timer = None
        self._transport.write(body[at : at + 1])
        if at + 1 < len(body):
            self._timer = self._loop.call_later(
                pause, lambda: self._drip(request, body, at + 1, pause, keep=keep)
            )
            return
        self._sent(keep=keep)
        self._advance()

    def _sent(self, *, keep: bool) -> None:
        self._current = None
        self._idle_since = self._loop.time()
        if not keep:
            self._last = True
            self._close()

    def _refuse(self, status: int, error: str) -> None:
        """Answer what is no request at all, after what waits before it, and close."""
        if self._last:
            return
        self._last = True
        self._discarding = True
        if self._current is not None or self._waiting:
            return  # closes once those are answered
        reply = self._app.refuse(status, error, self._peer)
        self._transport.write(self._app.framer.head(reply, keep=False) + reply.body)
        self._close()

    def _give_up(self) -> None:
        """End the connection after an error of the service; what was in progress is booked as unanswered."""
        self._last = True
        self._transport.abort()

    # -- ending --

    def _close(self) -> None:
        """Close; a client that is still sending gets the time to read the answer first."""
        if self._closing:
            return
        self._closing = True
        if self._discarding and self._transport.can_write_eof():
            self._transport.write_eof()
            self._timer = self._loop.call_later(_LINGER, self._transport.close)
        else:
            self._transport.close()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    @property
    def busy(self) -> bool:
        """Say whether an answer is still to be written."""
        return self._current is not None or bool(self._waiting)

    def check_idle(self, now: float) -> None:
        """Close a connection that has been idle too long, or whose request does not come to its end."""
        if self.busy:
            return
        waiting_for_request = self._in_message or self._heads == 0
        allowed = _INCOMPLETE_TIMEOUT if waiting_for_request else self._app.keep_alive
        if now - self._idle_since >= allowed:
            self._transport.close()

    def shut(self, *, at_once: bool = False) -> None:
        """Close now when idle or `at_once`, else after what is in progress."""
        if at_once:
            self._transport.abort()
        elif not self.busy:
            self._transport.close()
        else:
            self._last = True
