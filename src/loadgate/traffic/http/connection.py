"""Run exchanges over one open connection, on the event loop's own watchers.

The read watcher stays started for the connection's life. While an exchange waits, its callback switches
straight to the waiting greenlet; otherwise readable means that the server closed (or sent what nobody asked
for), and the connection is given up before it is used again.
"""

from __future__ import annotations

import time
from typing import Any

from gevent import get_hub, getcurrent

from loadgate.traffic.http.deadlines import Alarm
from loadgate.traffic.http.faults import CLOSED_EARLY, TIMEOUT, Fault, stream_fault
from loadgate.traffic.http.framing import Reader
from loadgate.traffic.http.tls import TlsChannel
from loadgate.traffic.values import Response

_READ = 16 * 1024
"""Bytes of the first receive: a larger buffer costs every small response time, as it is allocated anew."""
_READ_MORE = 256 * 1024

_clock = time.monotonic


class Connection:
    """Own one socket. `dead` is True once it must not be used any more.

    `good_until` is the CLOCK_MONOTONIC second from which the server may close it for being idle.
    `stale` is True after an exchange that failed only because the server had closed a connection that
    served before, without one byte of a response: that exchange may be tried once more.
    """

    __slots__ = (
        "_alarm",
        "_channel",
        "_idle_for",
        "_loop",
        "_reader",
        "_recv",
        "_send",
        "_sock",
        "_switch",
        "_used",
        "_watcher",
        "dead",
        "good_until",
        "stale",
    )

    def __init__(self, sock: Any, channel: TlsChannel | None, reader: Reader, alarm: Alarm) -> None:
        hub = get_hub()
        self._sock = sock
        self._send = sock.send
        self._recv = sock.recv
        self._channel = channel
        self._reader = reader
        self._alarm = alarm
        self._loop = hub.loop
        self._switch = hub.switch
        self._used = False
        self._idle_for = float("inf")
        self.good_until = float("inf")
        self.dead = False
        self.stale = False
        self._watcher = hub.loop.io(sock.fileno(), 1)
        self._watcher.start(self._readable)

    def close(self) -> None:
        """Stop watching and close the socket; twice does no harm."""
        if not self.dead:
            self.dead = True
            self._watcher.stop()
            self._watcher.close()
            self._sock.close()

    def _readable(self) -> None:
        waiting = self._alarm.greenlet
        if waiting is not None:
            waiting.switch()
        else:
            self.close()

    def exchange(self, data: bytes, bodiless: bool, sent: float) -> Response:
        """Send a request and wait for its response, or until the alarm rings; `sent` is the time now.

        `bodiless` is True for HEAD. Whatever ends the wait from outside (a kill) closes the connection and
        goes on to the caller; the target's faults do not: they are in the response.
        """
        received: bytes | None = None
        trouble: OSError | None = None
        pending = data
        alarm = self._alarm
        alarm.greenlet = getcurrent()
        try:
            if self._channel is None:
                try:
                    count = self._send(data)
                    if count == len(data):
                        pending = b""
                        # Waiting before the first look: an answer is never there yet.
                        self._switch()
                        received = self._recv(_READ)
                        ended = _clock()
                        reader = self._reader
                        if not bodiless and (
                            (len(received) == reader.memo_size and received.startswith(reader.memo_head))
                            or reader.resembles(received)
                        ):
                            response = Response()
                            response.status = reader.memo_status
                            response.head = reader.memo_head
                            response.body = received[reader.memo_length :]
                            response.sent = sent
                            response.ended = ended
                            response.size = reader.memo_size
                            if reader.memo_exhausted:
                                response.rate_limit_exhausted = True
                            self.good_until = ended + self._idle_for
                            return response
                    else:
                        pending = data[count:]
                except BlockingIOError:
                    pass
                except OSError as error:
                    trouble = error
            return self._exchange_on(pending, received, trouble, bodiless, sent)
        except BaseException:
            self.close()
            raise
        finally:
            alarm.greenlet = None

    def _exchange_on(
        self, pending: bytes, received: bytes | None, trouble: OSError | None, bodiless: bool, sent: float
    ) -> Response:
        """Finish an exchange of which `pending` is not yet sent and `received` has come, with care."""
        reader = self._reader
        reader.begin(bodiless=bodiless)
        fault: Fault | None = None
        whole = True
        try:
            if pending and trouble is None:
                if self._channel is not None:
                    pending = self._channel.seal(pending)
                whole = self._send_rest(pending)
            elif trouble is not None:
                whole = False
                if not pending:
                    raise stream_fault(trouble.errno)
            self._read_response(received)
        except Fault as error:
            fault = error
        ended = _clock()
        # Without reading on, what the server still sends would look like the next response.
        if fault is not None or not reader.reusable or not whole:
            self.close()
        else:
            self._idle_for = _patience(reader.idle_limit)
            self.good_until = ended + self._idle_for
        response = _told(reader, fault, sent, ended)
        self.stale = (
            self._used and bool(response.failure) and reader.size == 0 and not self._alarm.rang and self.dead
        )
        self._used = True
        return response

    def _read_response(self, received: bytes | None) -> None:
        """Feed the reader until the response has ended, one way or another."""
        reader, channel = self._reader, self._channel
        if reader.done:
            return
        while True:
            if received is None:
                received = self._receive()
            if self._take(received):
                return
            received = None
            if channel is not None and channel.ended:
                reader.end()
                return

    def _take(self, received: bytes) -> bool:
        reader, channel = self._reader, self._channel
        if not received:
            reader.end(clean=channel is None)
            return True
        plain = received if channel is None else channel.open(received)
        return bool(plain) and reader.feed(plain)

    def _receive(self) -> bytes:
        """Wait for bytes and return them, b"" at the end; Fault on a reset and when the alarm rings."""
        while not self._alarm.rang:
            try:
                return bytes(self._recv(_READ_MORE))
            except BlockingIOError:
                self._switch()
            except OSError as error:
                raise stream_fault(error.errno) from error
        raise Fault(TIMEOUT)

    def _send_rest(self, pending: bytes) -> bool:
        """Send what the socket would not take at once; False when the server answered or closed before.

        A server that refuses a large body answers and closes while it is still being sent, and that answer
        is the result of the exchange.
        """
        rest = memoryview(pending)
        watcher = self._loop.io(self._sock.fileno(), 2)
        watcher.start(self._writable)
        try:
            while rest:
                if self._alarm.rang:
                    raise Fault(TIMEOUT, "while sending the request")
                try:
                    rest = rest[self._send(rest) :]
                except BlockingIOError:
                    if self._answered_already():
                        return False
                except OSError:
                    return False
            return True
        finally:
            watcher.stop()
            watcher.close()

    def _writable(self) -> None:
        waiting = self._alarm.greenlet
        if waiting is not None:
            waiting.switch()

    def _answered_already(self) -> bool:
        """Take what has come while sending; wait when nothing has. True when the response is complete."""
        try:
            received = self._recv(_READ_MORE)
        except BlockingIOError:
            self._switch()
            return False
        except OSError as error:
            raise stream_fault(error.errno) from error
        return self._take(received)


def _patience(idle_limit: float) -> float:
    """Return for how many seconds to trust an idle connection that the server keeps for `idle_limit`."""
    return max(idle_limit - 1.0, 0.8 * idle_limit)


def _told(reader: Reader, fault: Fault | None, sent: float, ended: float) -> Response:
    response = Response()
    response.status = reader.status
    response.head = reader.head
    response.sent = sent
    response.ended = ended
    response.size = reader.size
    if fault is not None:
        response.failure = fault.kind
        response.detail = fault.detail
        response.timed_out = fault.kind == TIMEOUT
    elif reader.fault:
        response.failure = reader.fault
        response.detail = reader.detail
    elif not reader.done:
        response.failure = CLOSED_EARLY
    else:
        response.body = reader.body
        if reader.exhausted:
            response.rate_limit_exhausted = True
    return response
