"""The HTTP protocol on a simulated loop: framing, order, bounds and timeouts, without any socket."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.staging.protocol import HttpProtocol, Later, Request
from loadgate.staging.replies import Framer, Reply, Stamps


class FakeTransport:
    """Remember what is written and how the connection ends."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = self.half_closed = False
        self.reading = True

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.9", 5) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.closed, "wrote after the end"
        assert not self.half_closed, "wrote after its end"
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class FakeHandle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """Hold what was scheduled; time moves only with `run_until`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, FakeHandle, Callable[..., None], tuple[object, ...]]] = []
        self.errors: list[dict[str, object]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: object) -> FakeHandle:
        handle = FakeHandle()
        self.calls.append((self.now + delay, handle, call, args))
        return handle

    def call_exception_handler(self, context: dict[str, object]) -> None:
        self.errors.append(context)

    def run_until(self, now: float) -> None:
        while due := [entry for entry in self.calls if entry[0] <= now]:
            first = min(due, key=lambda entry: entry[0])
            self.calls.remove(first)
            self.now = first[0]
            if not first[1].cancelled:
                first[2](*first[3])
        self.now = now


class EchoApp:
    """Answer with the method, the target and the body; `/slow` later, `/hang` never, `/bug` with an error."""

    max_body = 100
    keep_alive = 5.0

    def __init__(self) -> None:
        self.framer = Framer(Stamps(lambda: 0.0), 1000, self.keep_alive)
        self.seen: list[tuple[bytes, bytes, bytes]] = []
        self.abandoned: list[bytes] = []
        self.drip = 0.0

    def begin(self, request: Request) -> Reply | Later:
        self.seen.append((request.method, request.target, request.body))
        if request.target == b"/bug":
            raise KeyError("bug")
        delay = {b"/slow": 1.0, b"/hang": math.inf}.get(request.target)
        return self.reply(request) if delay is None else Later(delay, lambda: self.reply(request))

    def finish(self, request: Request, later: Later) -> Reply:
        return later.finish()

    def reply(self, request: Request) -> Reply:
        reply = Reply(413 if request.too_large else 200, b"<%b>" % request.target)
        reply.drip = self.drip
        return reply

    def abandon(self, request: Request) -> None:
        self.abandoned.append(request.target)

    def refuse(self, status: int, error: str, peer: str) -> Reply:
        return Reply(status, error.encode())


class Wire:
    """One connection with its simulated surroundings."""

    def __init__(self) -> None:
        self.app = EchoApp()
        self.loop = FakeLoop()
        self.transport = FakeTransport()
        self.connections: set[HttpProtocol] = set()
        self.protocol = HttpProtocol(self.app, self.connections, self.loop)  # type: ignore[arg-type]
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def bodies(self) -> list[bytes]:
        """Return the answers' bodies in order."""
        return [part.split(b"\r\n\r\n", 1)[1] for part in self.transport.written.split(b"HTTP/1.1 ")[1:]]

    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.transport.written.split(b"HTTP/1.1 ")[1:]]


def get(target: bytes, *lines: bytes) -> bytes:
    """Write a GET request with more header lines."""
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, b"".join(line + b"\r\n" for line in lines))


def post(target: bytes, body: bytes, *lines: bytes) -> bytes:
    """Write a POST request whose length is declared."""
    return (
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n"
        % (target, len(body), b"".join(line + b"\r\n" for line in lines))
    ) + body


CHUNKED = (
    b"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: t\r\n\r\n"
)
STREAM = post(b"/a", b"first") + CHUNKED + get(b"/b?q=1") + post(b"/c", b"")
SEEN = [
    (b"POST", b"/a", b"first"),
    (b"POST", b"/chunked", b"hello world"),
    (b"GET", b"/b?q=1", b""),
    (b"POST", b"/c", b""),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_the_stream_is_split_the_requests_are_the_same(cuts: list[int]):
    """Content-Length, chunked and bodiless requests, pipelined, in any pieces."""
    wire = Wire()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        if end > start:
            wire.send(STREAM[start:end])
    assert wire.app.seen == SEEN
    assert wire.bodies() == [b"</a>", b"</chunked>", b"</b?q=1>", b"</c>"]
    assert not wire.transport.closed


def test_pipelined_requests_wait_for_a_slow_one_and_keep_their_order():
    """The fast one behind the slow one is answered second."""
    wire = Wire()
    wire.send(get(b"/slow") + get(b"/fast"))
    assert wire.transport.written == b""
    wire.loop.run_until(1.0)
    assert wire.bodies() == [b"</slow>", b"</fast>"]


def test_reading_pauses_while_many_wait_and_resumes_then():
    """32 waiting requests pause reading; once they are answered it goes on."""
    wire = Wire()
    wire.send(get(b"/slow") + get(b"/x") * 32)
    assert not wire.transport.reading
    wire.loop.run_until(1.0)
    assert len(wire.bodies()) == 33
    assert wire.transport.reading


def test_a_client_that_does_not_read_is_not_answered_on():
    """Nothing is written between pause_writing and resume_writing."""
    wire = Wire()
    wire.protocol.pause_writing()
    wire.send(get(b"/a") + get(b"/b"))
    assert wire.transport.written == b""
    wire.protocol.resume_writing()
    assert wire.bodies() == [b"</a>", b"</b>"]


def test_connection_close_ends_after_the_answer():
    """The answer says so too, and what follows is not read."""
    wire = Wire()
    wire.send(get(b"/a", b"Connection: close") + get(b"/b"))
    assert wire.bodies() == [b"</a>"]
    assert b"Connection: close\r\n" in wire.transport.written
    assert wire.transport.closed


def test_http_1_0_closes_unless_it_asks_to_stay():
    """Its default is the other way round."""
    wire = Wire()
    wire.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert not wire.transport.closed
    wire.send(b"GET /b HTTP/1.0\r\n\r\n")
    assert wire.transport.closed


def test_an_upgrade_is_answered_as_an_ordinary_last_request():
    """No other protocol is spoken."""
    wire = Wire()
    wire.send(get(b"/a", b"Connection: Upgrade", b"Upgrade: websocket") + b"\x81\x05hello")
    assert wire.bodies() == [b"</a>"]
    assert wire.transport.closed


def test_head_gets_the_length_but_no_body():
    """Content-Length is that of the body GET would have."""
    wire = Wire()
    wire.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Content-Length: 4\r\n" in wire.transport.written
    assert wire.bodies() == [b""]


def test_expect_100_gets_its_continue_before_the_body():
    """First 100, then, with the body, 200."""
    wire = Wire()
    request = post(b"/a", b"body", b"Expect: 100-continue")
    wire.send(request[:-4])
    assert wire.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"body")
    assert wire.statuses() == [100, 200]
    assert wire.app.seen[0][2] == b"body"


def test_a_continue_waits_for_the_answer_before_it():
    """100 never overtakes an earlier answer."""
    wire = Wire()
    wire.send(get(b"/slow") + post(b"/a", b"body", b"Expect: 100-continue")[:-4])
    assert wire.transport.written == b""
    wire.loop.run_until(1.0)
    assert wire.statuses() == [200, 100]


@pytest.mark.parametrize(
    "request_",
    [
        post(b"/a", b"x" * 101),
        post(b"/a", b"x" * 101, b"Expect: 100-continue")[:-101],
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
    ],
    ids=["declared", "expected", "chunked"],
)
def test_a_body_past_the_bound_gets_413_and_an_end(request_: bytes):
    """101 bytes are one too many; the rest is thrown away for a second, then the connection closes."""
    wire = Wire()
    wire.send(request_)
    assert wire.statuses() == [413]
    assert wire.transport.half_closed
    wire.send(b"y" * 1000)
    wire.loop.run_until(1.0)
    assert wire.transport.closed
    assert wire.statuses() == [413]


def test_a_body_of_the_bound_is_taken():
    """100 bytes are just right."""
    wire = Wire()
    wire.send(post(b"/a", b"x" * 100))
    assert wire.statuses() == [200]


@pytest.mark.parametrize(
    "bad",
    [
        b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n",
        b"GET /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /a HTTP/1.1\r\nbad header\r\n\r\n",
    ],
    ids=["tls", "two framings", "two lengths", "no colon"],
)
def test_what_is_no_request_gets_400_and_an_end(bad: bytes):
    """Ambiguous framing is refused, never guessed."""
    wire = Wire()
    wire.send(bad)
    assert wire.statuses() == [400]
    wire.loop.run_until(1.0)
    assert wire.transport.closed
    assert wire.app.seen == []


@pytest.mark.parametrize("pieces", [1, 40])
def test_headers_past_16_kib_get_431(pieces: int):
    """At once or in pieces."""
    wire = Wire()
    data = get(b"/a", b"X-Long: " + b"x" * 20_000)
    size = math.ceil(len(data) / pieces)
    for start in range(0, len(data), size):
        wire.send(data[start : start + size])
    assert wire.statuses() == [431]


def test_a_client_that_leaves_abandons_what_it_asked():
    """The one in progress and those that waited; nothing is written later."""
    wire = Wire()
    wire.send(get(b"/slow") + get(b"/next"))
    wire.protocol.connection_lost(None)
    wire.loop.run_until(2.0)
    assert wire.app.abandoned == [b"/slow", b"/next"]
    assert wire.transport.written == b""
    assert wire.connections == set()


def test_a_client_that_only_stops_sending_still_gets_its_answer():
    """A half-closed connection is answered, then closed."""
    wire = Wire()
    wire.send(get(b"/slow"))
    assert wire.protocol.eof_received() is True
    wire.loop.run_until(1.0)
    assert wire.bodies() == [b"</slow>"]
    assert wire.transport.closed


def test_an_idle_connection_closes_after_its_five_seconds():
    """Counted from the last answer; one in progress is never idle."""
    wire = Wire()
    wire.send(get(b"/slow"))
    wire.loop.run_until(0.9)
    wire.protocol.check_idle(100.0)
    assert not wire.transport.closed
    wire.loop.run_until(1.0)
    wire.protocol.check_idle(5.9)
    assert not wire.transport.closed
    wire.protocol.check_idle(6.0)
    assert wire.transport.closed


def test_a_request_that_never_ends_is_given_a_minute():
    """Half a request at 0 closes at 60, not at 5."""
    wire = Wire()
    wire.send(get(b"/a"))
    wire.send(b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
    wire.protocol.check_idle(59.9)
    assert not wire.transport.closed
    wire.protocol.check_idle(60.0)
    assert wire.transport.closed


def test_a_dripped_body_comes_byte_by_byte_and_then_the_next_answer():
    """Four bytes at 0, 1, 2 and 3 s."""
    wire = Wire()
    wire.app.drip = 1.0
    wire.send(get(b"/a"))
    wire.app.drip = 0.0
    wire.send(get(b"/b"))
    assert wire.bodies() == [b"<"]
    wire.loop.run_until(2.0)
    assert wire.bodies() == [b"</a"]
    wire.loop.run_until(3.0)
    assert wire.bodies() == [b"</a>", b"</b>"]


def test_an_error_of_the_service_ends_the_connection_and_is_reported():
    """It is never taken for a bad request."""
    wire = Wire()
    wire.send(get(b"/bug"))
    assert wire.transport.aborted
    assert wire.transport.written == b""
    assert isinstance(wire.loop.errors[0]["exception"], KeyError)


def test_shutting_closes_idle_connections_and_lets_the_others_finish():
    """Idle at once; busy after its answer."""
    idle, busy = Wire(), Wire()
    busy.send(get(b"/slow"))
    idle.protocol.shut()
    busy.protocol.shut()
    assert idle.transport.closed
    assert not busy.transport.closed
    busy.loop.run_until(1.0)
    assert busy.bodies() == [b"</slow>"]
    assert busy.transport.closed
