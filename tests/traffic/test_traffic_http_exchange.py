"""Exchanges over real sockets: reuse, retries, time limits, kills, and what a broken target does."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event

from loadgate.traffic.http import connection as connection_module
from loadgate.traffic.http import faults
from loadgate.traffic.http.client import HttpClient
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.values import Delete, Get, Head, Post, Request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def client_for(url: str, **limits: Any) -> HttpClient:
    """Make a client whose limits no healthy exchange of these tests comes near."""
    return HttpClient(ClientSettings(url, **{"connect_timeout": 20.0, "timeout": 20.0, **limits}))


def test_connection_is_kept_and_each_response_is_its_own(stage: Any, answers: Any) -> None:
    """Three exchanges use one connection, and equal and unequal responses are both read rightly."""
    other = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"
    server = stage(answers(OK, OK, other, OK))
    client = client_for(server.url)
    seen = [client.exchange(Get("/")) for _ in range(4)]
    assert [(r.status, r.body, r.failure, r.size) for r in seen] == [
        (200, b"ok", "", len(OK)),
        (200, b"ok", "", len(OK)),
        (404, b"none", "", len(other)),
        (200, b"ok", "", len(OK)),
    ]
    assert [r.head for r in seen[:2]] == [OK[:-2], OK[:-2]]
    assert (client.connects, server.connections) == (1, 1)
    assert all(r.sent <= r.ended for r in seen)
    client.close()


def test_request_bytes_are_exactly_these(stage: Any, answers: Any) -> None:
    """Request line, the client's headers, the plan's over them, the request's over both, length, body."""
    server = stage(answers(OK, OK, OK, OK))
    client = client_for(
        server.url + "/base/", headers={"accept-encoding": "identity", "X-Plan": "p", "User-Agent": "me"}
    )
    client.exchange(Post("/a?b=c", json={"k": [1, "é"]}))
    client.exchange(Get("/g", headers={"X-Plan": "q", "Accept": "text/plain"}))
    client.exchange(Delete("/d"))
    client.exchange(Post("/e"))
    host = f"Host: 127.0.0.1:{server.port}\r\nUser-Agent: me\r\n"
    assert [request.decode() for request in server.requests] == [
        f"POST /base/a?b=c HTTP/1.1\r\n{host}Accept: */*\r\naccept-encoding: identity\r\nX-Plan: p\r\n"
        'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"k":[1,"é"]}',
        f"GET /base/g HTTP/1.1\r\n{host}Accept: text/plain\r\naccept-encoding: identity\r\nX-Plan: q\r\n\r\n",
        f"DELETE /base/d HTTP/1.1\r\n{host}Accept: */*\r\naccept-encoding: identity\r\nX-Plan: p\r\n\r\n",
        f"POST /base/e HTTP/1.1\r\n{host}Accept: */*\r\naccept-encoding: identity\r\nX-Plan: p\r\n"
        "Content-Length: 0\r\n\r\n",
    ]


def test_a_head_response_is_not_taken_for_the_remembered_one(stage: Any, answers: Any) -> None:
    """HEAD answered with the very bytes of a full response is a fault, seen before or not."""
    server = stage(answers(OK, OK), answers(OK[:-2]))
    client = client_for(server.url)
    assert client.exchange(Get("/")).failure == ""
    assert client.exchange(Head("/")).failure == faults.MALFORMED
    response = client.exchange(Head("/"))
    assert (response.failure, response.status, response.body) == ("", 200, b"")


def test_split_response_is_put_together(stage: Any) -> None:
    """A response that trickles in, with the loop turning between the parts, is one response."""

    def trickle(peer: Any) -> None:
        for _ in range(2):
            peer.request()
            for at in range(len(OK)):
                peer.send(OK[at : at + 1])
                gevent.sleep(0)
        peer.wait_for_end()

    server = stage(trickle)
    client = client_for(server.url)
    for _ in range(2):
        response = client.exchange(Get("/"))
        assert (response.failure, response.body, response.size) == ("", b"ok", len(OK))
    assert client.connects == 1


def test_large_bodies_both_ways(stage: Any) -> None:
    """Bodies far beyond the socket buffers arrive whole."""
    body = bytes(range(256)) * 16 * 1024  # 4 MiB

    def echo(peer: Any) -> None:
        sent = peer.request().partition(b"\r\n\r\n")[2]
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent)
        peer.wait_for_end()

    response = client_for(stage(echo).url).exchange(Post("/", body=body))
    assert (response.failure, response.body == body) == ("", True)


def test_early_answer_to_a_large_body_is_the_answer(stage: Any) -> None:
    """A server may refuse a body before it has come; its answer counts and the connection is not used on."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    def refuse(peer: Any) -> None:
        peer.sock.recv(100)
        peer.send(refusal)
        gate.wait()

    gate = Event()
    server = stage(refuse)
    client = client_for(server.url)
    for _ in range(2):
        response = client.exchange(Post("/", body=b"x" * 32_000_000))
        assert (response.status, response.failure, response.body) == (413, "", b"no")
    assert client.connects == 2
    gate.set()


def test_stale_connection_is_replaced_once(stage: Any, answers: Any) -> None:
    """A reused connection that ends after the request, before any byte, is retried on a fresh one."""

    def serve_one_then_leave(peer: Any) -> None:
        peer.request()
        peer.send(OK)
        peer.request()

    server = stage(serve_one_then_leave, answers(OK))
    client = client_for(server.url)
    assert client.exchange(Post("/1", json=1)).retries == 0
    response = client.exchange(Post("/2", json=2))
    assert (response.failure, response.body, response.retries) == ("", b"ok", 1)
    assert [request.split()[1] for request in server.requests] == [b"/1", b"/2", b"/2"]
    assert client.connects == 2


def test_stale_connection_that_is_reset_is_replaced(stage: Any, answers: Any) -> None:
    """A reset instead of an orderly end makes no difference."""

    def serve_one_then_reset(peer: Any) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        peer.reset()

    server = stage(serve_one_then_reset, answers(OK))
    client = client_for(server.url)
    client.exchange(Get("/"))
    response = client.exchange(Get("/"))
    assert (response.failure, response.retries) == ("", 1)


def test_retry_happens_once_and_not_on_a_fresh_connection(stage: Any, answers: Any) -> None:
    """When the fresh connection is closed too, that is the result: closed early, one retry."""

    def leave(peer: Any) -> None:
        peer.request()

    def serve_one_then_leave(peer: Any) -> None:
        peer.request()
        peer.send(OK)
        peer.request()

    server = stage(serve_one_then_leave, leave)
    client = client_for(server.url)
    client.exchange(Get("/"))
    response = client.exchange(Get("/"))
    assert (response.failure, response.retries, server.connections) == (faults.CLOSED_EARLY, 1, 2)
    response = client.exchange(Get("/"))
    assert (response.failure, response.retries, server.connections) == (faults.CLOSED_EARLY, 0, 3)


def test_no_retry_after_the_first_byte(stage: Any, answers: Any) -> None:
    """Once a byte of the response came, the request may have had its effect: it is not sent again."""

    def half(peer: Any) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        peer.send(b"HTTP/1.1 2")

    server = stage(half, answers(OK))
    client = client_for(server.url)
    client.exchange(Get("/"))
    response = client.exchange(Get("/"))
    assert (response.failure, response.retries, server.connections) == (faults.CLOSED_EARLY, 0, 1)


def test_close_between_exchanges_is_no_retry(stage: Any, answers: Any) -> None:
    """A connection that the server closed while idle is found closed, replaced, and counted nowhere."""
    closed = Event()

    def serve_one(peer: Any) -> None:
        peer.request()
        peer.send(OK)
        peer.sock.close()
        closed.set()

    server = stage(serve_one, answers(OK))
    client = client_for(server.url)
    client.exchange(Get("/"))
    closed.wait()
    gevent.idle()  # the event loop has seen to everything else before this returns
    response = client.exchange(Get("/"))
    assert (response.failure, response.retries, client.connects) == ("", 0, 2)


def test_stray_bytes_between_exchanges_spend_the_connection(stage: Any, answers: Any) -> None:
    """A response nobody asked for is never taken as the answer to the next request."""
    strayed = Event()

    def talkative(peer: Any) -> None:
        peer.request()
        peer.send(OK)
        gevent.idle()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
        strayed.set()
        peer.wait_for_end()

    server = stage(talkative, answers(OK))
    client = client_for(server.url)
    client.exchange(Get("/"))
    strayed.wait()
    gevent.idle()
    response = client.exchange(Get("/"))
    assert (response.failure, response.body, client.connects) == ("", b"ok", 2)


def test_idle_connection_is_given_up_before_the_server_does(
    stage: Any, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Keep-Alive: timeout=5 a connection idle for 4 s is replaced; idle for 3.9 s it is used."""
    kept = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok"
    server = stage(answers(kept, kept, kept, kept, kept))
    client = client_for(server.url)
    now = time.monotonic()

    def at(seconds: float) -> None:
        for module in ("client", "connection"):
            monkeypatch.setattr(f"loadgate.traffic.http.{module}._clock", lambda: now + seconds)

    for moment, connects in ((0.0, 1), (3.9, 1), (7.8, 1), (11.8, 2), (12.0, 2)):
        at(moment)
        response = client.exchange(Get("/"))
        assert (response.failure, response.retries, client.connects) == ("", 0, connects)


@pytest.mark.parametrize(("said", "patience"), [(5.0, 4.0), (2.0, 1.6), (60.0, 59.0), (0.0, 0.0)])
def test_patience(said: float, patience: float) -> None:
    """A second is kept in hand, or a fifth of short limits."""
    assert connection_module._patience(said) == pytest.approx(patience)


def test_connection_close_is_followed_by_a_new_connection(stage: Any, answers: Any) -> None:
    """After Connection: close the next exchange opens its own connection, without a retry."""
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    client = client_for(stage(answers(closing)).url)
    assert [client.exchange(Get("/")).failure for _ in range(3)] == ["", "", ""]
    assert client.connects == 3


def test_total_timeout(stage: Any) -> None:
    """An exchange ends at its own time limit, is told as a timeout, and its connection is not used again."""

    def hang(peer: Any) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        peer.wait_for_end()

    server = stage(hang)
    client = client_for(server.url)
    for number in (1, 2):
        response = client.exchange(Get("/", timeout=0.03))
        assert (response.failure, response.timed_out, response.retries) == (faults.TIMEOUT, True, 0)
        assert response.ended - response.sent >= 0.025
        assert server.connections == number


def test_slow_drip_does_not_outlive_the_timeout(stage: Any) -> None:
    """Bytes that keep coming do not move the deadline."""

    def drip(peer: Any) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(b"1\r\nx\r\n")
            gevent.sleep(0.001)

    response = client_for(stage(drip).url).exchange(Get("/", timeout=0.05))
    assert (response.failure, response.status, response.timed_out) == (faults.TIMEOUT, 200, True)


def test_timeout_while_sending(stage: Any) -> None:
    """A server that does not read cannot hold a large request for longer than the time limit."""
    gate = Event()
    client = client_for(stage(lambda peer: gate.wait()).url)
    response = client.exchange(Post("/", body=b"x" * 32_000_000, timeout=0.05))
    assert (response.failure, response.timed_out) == (faults.TIMEOUT, True)
    gate.set()


def test_timeouts_of_many_clients_are_their_own(stage: Any) -> None:
    """Clients with different limits each end by their own, whatever order they began in."""

    def hang(peer: Any) -> None:
        peer.request()
        peer.wait_for_end()

    settings = ClientSettings(stage(hang).url)
    ended: list[float] = []

    def one(limit: float) -> None:
        response = HttpClient(settings).exchange(Get("/", timeout=limit))
        assert response.timed_out
        ended.append(limit)

    gevent.joinall([gevent.spawn(one, limit) for limit in (0.2, 0.05, 0.125)], raise_error=True)
    assert ended == [0.05, 0.125, 0.2]


def test_refused_connection() -> None:
    """A port where nobody listens is `connection refused`, with the address in the detail."""
    with gsocket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        response = client_for(f"http://127.0.0.1:{port}").exchange(Get("/"))
    assert (response.failure, response.status, response.timed_out) == (faults.REFUSED, 0, False)
    assert f"127.0.0.1 port {port}" in response.detail
    assert response.sent <= response.ended


def test_connect_timeout() -> None:
    """A listener whose queue is full answers nothing: that is a connect timeout."""
    with gsocket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [gsocket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        response = client_for(f"http://127.0.0.1:{address[1]}", connect_timeout=0.05).exchange(Get("/"))
        short = client_for(f"http://127.0.0.1:{address[1]}").exchange(Get("/", timeout=0.05))
        for filler in fillers:
            filler.close()
    assert (response.failure, response.timed_out) == (faults.CONNECT_TIMEOUT, True)
    assert (short.failure, short.timed_out) == (faults.TIMEOUT, True)


def test_unknown_host_is_a_dns_failure() -> None:
    """A name that cannot exist (RFC 6761) is told as dns."""
    assert client_for("http://loadgate.invalid").exchange(Get("/")).failure == faults.DNS


@pytest.mark.parametrize(
    ("sent", "failure", "status"),
    [
        (b"", faults.CLOSED_EARLY, 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", faults.TRUNCATED, 200),
        (b"not http at all\r\n", faults.MALFORMED, 0),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, faults.HEAD_TOO_LARGE, 0),
    ],
)
def test_broken_responses_are_failures(
    stage: Any, answers: Any, sent: bytes, failure: str, status: int
) -> None:
    """What a broken target sends becomes a kind, never an exception, and the next exchange starts afresh."""
    client = client_for(stage(answers(sent, close=True), answers(OK)).url)
    response = client.exchange(Get("/"))
    assert (response.failure, response.retries) == (failure, 0)
    assert status in (0, response.status)
    assert client.exchange(Get("/")).failure == ""


def test_reset_is_told_as_reset(stage: Any) -> None:
    """RST in the middle of a response is `connection reset`."""

    def reset(peer: Any) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        gevent.idle()
        peer.reset()

    assert client_for(stage(reset).url).exchange(Get("/")).failure == faults.RESET


def test_rate_limit_exhaustion_is_passed_on(stage: Any, answers: Any) -> None:
    """`rate_limit_exhausted` is set on fresh and on repeated heads alike."""
    spent = b"HTTP/1.1 200 OK\r\nX-RateLimit-Remaining: 0\r\nContent-Length: 2\r\n\r\nok"
    client = client_for(stage(answers(OK, spent, spent, OK)).url)
    assert [client.exchange(Get("/")).rate_limit_exhausted for _ in range(4)] == [False, True, True, False]


def test_kill_closes_the_connection_and_is_visible(stage: Any, answers: Any) -> None:
    """A greenlet killed in mid-request leaves no connection behind, and the client works again."""
    asked = Event()
    left = Event()

    def hang(peer: Any) -> None:
        peer.request()
        asked.set()
        peer.wait_for_end()
        left.set()

    client = client_for(stage(hang, answers(OK)).url)
    greenlet = gevent.spawn(client.exchange, Get("/"))
    asked.wait()
    greenlet.kill()
    left.wait()
    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert client.aborted
    assert client.aborted_sent > 0
    assert client.exchange(Get("/")).failure == ""


def test_a_users_own_timeout_passes_through(stage: Any) -> None:
    """gevent.Timeout of a task's own is not swallowed and closes the connection too."""
    client = client_for(stage(lambda peer: peer.wait_for_end()).url)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        client.exchange(Get("/"))
    assert client.aborted


def test_two_greenlets_cannot_share_an_exchange(stage: Any) -> None:
    """A second exchange on a busy client is a programming error, since the answers would be mixed up."""
    asked = Event()

    def hang(peer: Any) -> None:
        peer.request()
        asked.set()
        peer.wait_for_end()

    client = client_for(stage(hang).url)
    first = gevent.spawn(client.exchange, Get("/"))
    with pytest.raises(RuntimeError):
        gevent.spawn(client.exchange, Get("/")).get()  # the first is still connecting
    asked.wait()
    with pytest.raises(RuntimeError):
        client.exchange(Get("/"))
    first.kill()


def test_no_descriptor_is_left_behind(stage: Any, answers: Any) -> None:
    """Successes, failures, timeouts and kills give every descriptor back."""

    def mixed(peer: Any) -> None:
        kind = peer.request().split()[1]
        if kind == b"/ok":
            peer.send(OK)
        elif kind == b"/broken":
            peer.send(b"garbage")
        peer.wait_for_end()

    settings = ClientSettings(stage(mixed).url)

    def descriptors() -> int:
        gevent.idle()
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def use(path: str) -> None:
        client = HttpClient(settings)
        client.exchange(Get(path, timeout=0.02 if path == "/hang" else None))
        client.close()

    use("/ok")
    gevent.sleep(0)
    before = descriptors()
    gevent.joinall([gevent.spawn(use, path) for path in ("/ok", "/broken", "/hang") * 10], raise_error=True)
    victims = [gevent.spawn(HttpClient(settings).exchange, Get("/hang")) for _ in range(10)]
    gevent.sleep(0)
    gevent.killall(victims)
    del victims
    for _ in range(100):
        if descriptors() <= before:
            break
    assert descriptors() <= before


def test_source_address(stage: Any, answers: Any) -> None:
    """Requests come from the address that the plan names; one that is not ours is `unsent`."""
    server = stage(answers(OK))
    settings = ClientSettings(server.url)
    assert HttpClient(settings, "127.0.0.9").exchange(Get("/")).failure == ""
    assert [address[0] for address in server.peers] == ["127.0.0.9"]
    assert HttpClient(settings, "192.0.2.1").exchange(Get("/")).failure == faults.UNSENT
    assert HttpClient(settings, "::1").exchange(Get("/")).failure == faults.UNSENT


def test_ipv6(stage: Any, answers: Any) -> None:
    """An IPv6 literal is connected to, and in brackets in Host; without IPv6 here it is a told failure."""
    try:
        server = stage(answers(OK), host="::1")
    except OSError:
        assert client_for("http://[::1]:9").exchange(Get("/")).failure in faults.KINDS
        return
    assert client_for(server.url).exchange(Get("/")).failure == ""
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


def test_all_addresses_of_a_name_are_tried(stage: Any, answers: Any) -> None:
    """When the first address refuses, the next one serves."""
    server = stage(answers(OK))
    settings = ClientSettings(f"http://localhost:{server.port}")
    with gsocket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = (int(gsocket.AF_INET), closed.getsockname())
        settings.resolver._known = (refusing, (int(gsocket.AF_INET), ("127.0.0.1", server.port)))
        settings.resolver._good_until = float("inf")
        assert HttpClient(settings).exchange(Get("/")).failure == ""


@pytest.mark.parametrize("seed", range(4))
def test_garbage_from_a_socket_always_ends(stage: Any, seed: int) -> None:
    """Random bytes from the target end every exchange with a kind, on one client throughout."""
    rest = [os.urandom(size) for size in (1, 7, 100, 5000)]

    def babble(peer: Any) -> None:
        peer.request()
        peer.send(rest.pop() if seed % 2 else OK[: seed * 9 + 1] + rest.pop())

    client = client_for(stage(babble).url)
    for _ in range(4):
        assert client.exchange(Request("GET", "/")).failure in faults.KINDS
