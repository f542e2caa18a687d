"""Locust's messages over real sockets on loopback, and what strangers can do there: nothing.

Each test runs in a process of its own, since Locust patches the process that imports it: pytest starts this
file with the test's name.
"""

from __future__ import annotations

import functools
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

if __name__ == "__main__":
    import gevent
    import locust  # noqa: F401 - it patches the process, before anything else is imported
    import msgpack
    import zmq
    import zmq.green
    from gevent import monkey
    from locust.exception import RPCError
    from locust.rpc.protocol import Message

    from loadgate.errors import UsageError
    from loadgate.swarm import transport, transport_master, transport_worker
    from loadgate.swarm.beat_link import BeatLink
    from loadgate.swarm.drops import log_dropped
    from loadgate.swarm.frames import Refusal, WorkerEnd
    from loadgate.swarm.master_end import MasterEnd
    from loadgate.swarm.message_shapes import pack
    from loadgate.swarm.secret import secret_for
else:
    import pytest

    pytestmark = pytest.mark.system

SECRET = b"a secret of some length"
HOST = "127.0.0.1"


def isolated(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test in a process of its own."""

    @functools.wraps(test)
    def run() -> None:
        done = subprocess.run(
            [sys.executable, __file__, test.__name__], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    return test if __name__ == "__main__" else run


# -- helpers of the child -----------------------------------------------------------------------


class Told:
    """What the hooks were told."""

    def __init__(self) -> None:
        self.welcomes: list[tuple[dict[str, Any], bool]] = []
        self.refusals: list[Any] = []
        self.dropped: list[tuple[str, str]] = []

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.dropped]


def prepared(**changes: Any) -> Told:
    """Configure the transport of this process, and collect what it tells."""
    told = Told()
    settings: dict[str, Any] = {
        "secret": lambda host: SECRET,
        "passport": lambda: {"version": "1"},
        "admit": lambda identity, passport: {"run": "r"},
        "on_welcome": lambda info, fresh: told.welcomes.append((info, fresh)),
        "on_refused": told.refusals.append,
        "on_dropped": lambda reason, peer: told.dropped.append((reason, peer)),
    }
    transport.configure(**settings | changes)
    return told


class Receiving:
    """Receive in a greenlet, as Locust does, and keep what came."""

    def __init__(self, receive: Callable[[], Any]) -> None:
        self.got: list[Any] = []
        self._receive = receive
        self.greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            self.got.append(self._receive())

    def until(self, number: int) -> list[Any]:
        waited_for(lambda: len(self.got) >= number)
        return self.got


def waited_for(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    """Let the others run until a condition holds."""
    with gevent.Timeout(timeout, AssertionError("the condition did not come true")):
        while not condition():
            gevent.sleep(0.002)


def kinds(messages: list[Any]) -> list[str]:
    return [(one[1] if isinstance(one, tuple) else one).type for one in messages]


@contextmanager
def stranger(port: int, identity: bytes) -> Iterator[Any]:
    """Open a plain socket with an identity of one's choice."""
    with zmq.green.Context.instance().socket(zmq.DEALER) as opened:
        opened.setsockopt(zmq.IDENTITY, identity)
        opened.setsockopt(zmq.LINGER, 0)
        opened.connect(f"tcp://{HOST}:{port}")
        yield opened


def replies(opened: Any) -> list[bytes]:
    """Return all that has come."""
    found = []
    while opened.poll(0):
        found.append(opened.recv())
    return found


def raised(kind: type[Exception], call: Callable[[], Any]) -> Any:
    """Return the error that a call raises; pytest is not at hand in the child."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def bound_again(port: int) -> Any:
    """Bind a port that was just closed: its old socket is ended in the background, a little later."""
    found: list[Any] = []

    def bound() -> bool:
        with suppress(RPCError):
            found.append(transport_master.Server(HOST, port))
        return bool(found)

    waited_for(bound)
    return found[0]


def pair(**changes: Any) -> tuple[Any, Any, Told, Receiving, Receiving]:
    """Return a server and a client that know each other."""
    told = prepared(**changes)
    server = transport_master.Server(HOST, 0)
    client = transport_worker.Client(HOST, server.port, "w-1")
    at_server, at_client = Receiving(server.recv_from_client), Receiving(client.recv)
    client.send(Message("client_ready", "2.47.0", "w-1"))
    at_server.until(1)
    return server, client, told, at_server, at_client


# -- the way of a message -----------------------------------------------------------------------


@isolated
def test_messages_travel_both_ways() -> None:
    """Messages arrive as they were sent, with int keys, bytes and lists; the hooks hear of the session."""
    server, client, told, at_server, at_client = pair()
    data = {"response_times": {12: 3}, "raw": b"\0\xff", "list": [1, None, 2.5], "nested": {"a": {"b": "c"}}}
    client.send(Message("stats", data, "w-1"))
    client.send(Message("own", [1, 2], "w-1"))
    node, message = at_server.until(3)[1]
    assert (node, message.type, message.data, message.node_id) == ("w-1", "stats", data, "w-1")
    assert at_server.got[2][1].data == [1, 2]
    server.send_to_client(Message("ack", {"index": 0}, "w-1"))
    answer = at_client.until(1)[0]
    assert (answer.type, answer.data, answer.node_id) == ("ack", {"index": 0}, "w-1")
    assert [fresh for _, fresh in told.welcomes] == [False]
    assert told.welcomes[0][0]["run"] == "r"
    assert told.dropped == []
    client.close()
    server.close(linger=0)


@isolated
def test_messages_wait_in_order_until_the_session_stands() -> None:
    """What is sent without a master waits, of heartbeats the newest; what on_welcome sends goes first."""
    clients: list[Any] = []
    told = prepared(on_welcome=lambda info, fresh: clients[0].send(Message("hello", None, "w-1")))
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    client = transport_worker.Client(HOST, port, "w-1")
    clients.append(client)
    state = {"current_cpu_usage": 1.0}
    for kind, data in [
        ("client_ready", "2"),
        ("heartbeat", state | {"state": "old"}),
        ("a", 1),
        ("heartbeat", state | {"state": "new"}),
        ("b", 2),
    ]:
        client.send(Message(kind, data, "w-1"))
    gevent.sleep(0.1)
    assert client.waiting == 4
    server = transport_master.Server(HOST, port)
    at_server, _ = Receiving(server.recv_from_client), Receiving(client.recv)
    found = [one[1] for one in at_server.until(5)]
    assert kinds(found) == ["hello", "client_ready", "a", "heartbeat", "b"]
    assert found[3].data["state"] == "new"
    assert client.waiting == 0
    assert told.dropped == []


@isolated
def test_what_waits_is_bounded() -> None:
    """Of 1005 messages the oldest five are dropped and told; of 65 with a MiB each, what is over 64 MiB."""
    told = prepared()
    client = transport_worker.Client(HOST, 1, "w-1")
    for n in range(1_005):
        client.send(Message("own", n, "w-1"))
    assert client.waiting == 1_000
    assert told.reasons() == ["overflow"] * 5
    other = transport_worker.Client(HOST, 1, "w-2")
    for _ in range(65):
        other.send(Message("own", bytes(2**20), "w-2"))
    assert other.waiting == 63


@isolated
def test_hello_waits_until_the_master_is_ready() -> None:
    """Without `admit` no HELLO is answered; the worker asks again within a second or so, and is let in."""
    told = prepared(admit=None)
    server = transport_master.Server(HOST, 0)
    client = transport_worker.Client(HOST, server.port, "w-1")
    client.send(Message("client_ready", "2", "w-1"))
    at_server, _ = Receiving(server.recv_from_client), Receiving(client.recv)
    waited_for(lambda: "not-ready" in told.reasons())
    assert not client.established
    transport.configure(admit=lambda identity, passport: {})
    assert kinds(at_server.until(1)) == ["client_ready"]
    assert set(told.reasons()) == {"not-ready"}


@isolated
def test_a_master_restart_is_noticed_and_nothing_that_waits_is_lost() -> None:
    """With a new server on the same port the client introduces itself first, and knows that it is new."""
    server, client, told, at_server, _ = pair()
    port = server.port
    at_server.greenlet.kill()
    server.close(linger=0)
    waited_for(lambda: not client.connected)
    client.send(Message("own", "while nobody listened", "w-1"))
    transport.configure(instance="another")
    again = bound_again(port)
    found = Receiving(again.recv_from_client).until(1)
    assert found[0][1].data == "while nobody listened"
    assert [(info["instance"] == "another", fresh) for info, fresh in told.welcomes] == [
        (False, False),
        (True, True),
    ]
    # A client that Locust makes anew knows that this master is not a new one.
    client.close()
    other = transport_worker.Client(HOST, port, "w-1")
    Receiving(other.recv)
    waited_for(lambda: len(told.welcomes) == 3)
    assert told.welcomes[2][1] is False


@isolated
def test_a_master_that_forgot_the_session_is_told_again() -> None:
    """A server that lost its sessions, but not the connection, answers STRANGER; HELLO follows by itself."""
    server, client, told, at_server, _ = pair()
    server._end = MasterEnd(SECRET, lambda identity, passport: {}, instance="another")
    client.send(Message("own", "lost", "w-1"))
    waited_for(lambda: len(told.welcomes) == 2)
    client.send(Message("own", "heard", "w-1"))
    assert at_server.until(2)[1][1].data == "heard"
    assert told.welcomes[1][1] is True


@isolated
def test_a_refused_worker_asks_no_more() -> None:
    """The hook hears the refusal; LoadgateError and faults in `admit` are refusals too."""

    def admit(identity: str, passport: dict[str, Any]) -> Any:
        if identity == "w-1":
            return Refusal("no", "why", 2)
        if identity == "w-2":
            raise UsageError("bad plan", hint="mend it")
        raise KeyError("fault")

    logging.disable(logging.CRITICAL)
    told = prepared(admit=admit)
    server = transport_master.Server(HOST, 0)
    at_server = Receiving(server.recv_from_client)
    for n, name in enumerate(("w-1", "w-2", "w-3"), 1):
        client = transport_worker.Client(HOST, server.port, name)
        Receiving(client.recv)
        client.send(Message("client_ready", "2", name))
        waited_for(lambda n=n: len(told.refusals) == n)
        assert client.waiting == 0
    assert told.refusals[:2] == [Refusal("no", "why", 2), Refusal("bad plan", "mend it", 2)]
    assert told.refusals[2].exit_code == 70
    gevent.sleep(1.2)
    assert len(told.refusals) == 3
    assert at_server.got == []


@isolated
def test_what_cannot_be_sent_raises_at_once() -> None:
    """A value that msgpack does not know, or over 64 MiB, is the sender's fault; the next message leaves."""
    server, client, _, at_server, _ = pair()
    for data in (object(), {"a": {1}}, 2**70, bytes(64 * 2**20)):
        for send in (client.send, server.send_to_client):
            error = raised(RPCError, functools.partial(send, Message("own", data, "w-1")))
            assert "own" in str(error)
    client.send(Message("own", 1, "w-1"))
    assert at_server.until(2)[1][1].data == 1


@isolated
def test_sends_never_block() -> None:
    """To nobody, to a worker that does not read, and to a master that does not: at once, dropped or kept."""
    server, client, told, at_server, at_client = pair()
    at_client.greenlet.kill()
    at_server.greenlet.kill()
    with gevent.Timeout(10, AssertionError("a send blocked")):
        server.send_to_client(Message("own", 1, "nobody"))
        assert told.dropped == [("no-session", "nobody")]
        for _ in range(400):
            server.send_to_client(Message("own", bytes(100_000), "w-1"))
            client.send(Message("own", bytes(100_000), "w-1"))
        for _ in range(3_000):
            server.send_to_client(Message("own", bytes(10_000), "w-1"))
    assert "unsent" in told.reasons()


@isolated
def test_a_worker_that_left_is_told_of() -> None:
    """What goes to a worker whose connection is gone is dropped and told, not lost without a word."""
    server, client, told, _, _ = pair()
    client.close(linger=0)
    waited_for(lambda: server.send_to_client(Message("own", 1, "w-1")) or told.dropped)
    assert told.dropped == [("unsent", "w-1")]


@isolated
def test_a_busy_port_is_told_in_the_words_that_locust_knows() -> None:
    """Locust compares the text, and then says that another master is running."""
    prepared()
    server = transport_master.Server(HOST, 0)
    error = raised(RPCError, lambda: transport_master.Server(HOST, server.port))
    assert error.args[0] == "Socket bind failure: Address already in use"


@isolated
def test_a_broken_socket_raises_as_in_locust() -> None:
    """Receiving and sending on a closed socket raise RPCError, with a pause when receiving."""
    server, client, _, at_server, at_client = pair()
    at_server.greenlet.kill()
    at_client.greenlet.kill()
    server.close(linger=0)
    client.close()
    client.close()
    for call in (server.recv_from_client, client.recv):
        raised(RPCError, call)


@isolated
def test_without_a_secret_nothing_is_bound_to_the_network() -> None:
    """The default settings ask for LOADGATE_SECRET on every address but loopback."""
    transport.restore(transport.Settings(secret=lambda host: secret_for(host, {})))
    for make in (
        lambda: transport_master.Server("*", 0),
        lambda: transport_worker.Client("10.255.255.1", 9, "w-1"),
    ):
        assert "LOADGATE_SECRET" in raised(UsageError, make).hint


# -- strangers ----------------------------------------------------------------------------------


@isolated
def test_hostile_frames_do_nothing() -> None:
    """What ends stock Locust's listening for good is dropped and counted, and the next message is heard."""
    server, client, told, at_server, _ = pair()
    hostile = [
        [b"\xc1"],
        [msgpack.packb(("stats",))],
        [msgpack.packb(("heartbeat", None, "w-1"))],
        [msgpack.packb({"__datetime__": 1, "as_str": "zz"})],
        [msgpack.packb(("quit", None, "w-1"))],
        [msgpack.packb(("stats", {"stats": []}, "w-1"))],
        [b""],
        [b"", b""],
        [b"a", b"b", b"c"],
        [b"LGF"],
        [b"LGF\x02\x04" + bytes(40)],
        [b"LGF\x02\x01" + bytes(80)],
        [b"LGF\x02\x01" + bytes(56) + b"\x03w-1"],
        [b"LGF\x01\x04" + bytes(40)],
        [b"\x91" * 5000],
    ]
    for identity in (b"evil", b"\xff\xfe", b"evil\nline", b"w-1"):
        wanted = len(told.dropped) + len(hostile)
        with stranger(server.port, identity) as evil:
            for parts in hostile:
                evil.send_multipart(parts)
            waited_for(lambda wanted=wanted: len(told.dropped) >= wanted)
    kept = {"garbage", "stock", "parts", "truncated", "stranger", "passport", "secret", "version"}
    assert set(told.reasons()) == kept
    assert {peer for _, peer in told.dropped} == {"evil", "\\xff\\xfe", "evil?line", "w-1"}
    client.send(Message("own", "still", "w-1"))
    assert at_server.until(2)[1][1].data == "still"
    assert kinds(at_server.got) == ["client_ready", "own"]


@isolated
def test_a_known_worker_with_malformed_messages_ends_nothing() -> None:
    """Sealed messages that are no sound triple, or that Locust's handlers would fall over, are dropped."""
    server, client, told, at_server, _ = pair()
    bad = {
        "malformed": [
            b"\xc1",
            msgpack.packb(("a",)),
            msgpack.packb(1),
            msgpack.packb((1, 2, 3)),
            b"\x91" * 5000,
        ],
        "shape": [
            msgpack.packb(("heartbeat", None, "w-1")),
            msgpack.packb(("heartbeat", {"state": "running"}, "w-1")),
            msgpack.packb(("heartbeat", {"state": "running", "current_cpu_usage": "x"}, "w-1")),
            msgpack.packb(("spawning_complete", None, "w-1")),
            msgpack.packb(("spawning_complete", {"user_classes_count": {"U": "1"}}, "w-1")),
            msgpack.packb(("exception", "text", "w-1")),
            msgpack.packb(("client_ready", [], "w-1")),
            msgpack.packb(("logs", None, "w-1")),
            msgpack.packb(("stats", {"user_classes_count": 3}, "w-1")),
        ],
        "spoofed": [
            msgpack.packb(("quit", None, "w-2")),
            msgpack.packb(("loadgate.beat", None, "w-2")),
            msgpack.packb(("own", None, "w-1#beat")),
        ],
    }
    for reason, payloads in bad.items():
        for payload in payloads:
            client.socket.send(client._end.seal(payload))
        wanted = len(payloads)
        waited_for(lambda reason=reason, wanted=wanted: told.reasons().count(reason) == wanted)
    client.send(Message("own", "still", "w-1"))
    assert kinds(at_server.until(2)) == ["client_ready", "own"]
    assert sum(server.dropped.values()) == len(told.dropped) == 17


@isolated
def test_a_master_with_malformed_messages_ends_no_worker() -> None:
    """The worker's end is as careful."""
    server, client, told, _, at_client = pair()
    route = server._end.route_of(b"w-1")
    for message in (b"\xc1", ("spawn", None, "w-1"), ("ack", 1, "w-1"), ("quit", None, "w-2")):
        payload = message if isinstance(message, bytes) else msgpack.packb(message)
        server.socket.send_multipart([route, server._end.seal(b"w-1", payload)])
    server.socket.send_multipart([route, b"\xc1"])
    server.socket.send_multipart([route, msgpack.packb(("quit", None, "w-1"))])
    server.socket.send_multipart([route, b"a", b"b"])
    server.send_to_client(Message("own", 1, "w-1"))
    assert kinds(at_client.until(1)) == ["own"]
    assert told.reasons() == ["malformed", "shape", "shape", "spoofed", "garbage", "garbage", "parts"]
    assert sum(client.dropped.values()) == 7


@isolated
def test_a_recorded_frame_does_nothing_the_second_time() -> None:
    """A copy of a worker's message, before and after a HELLO of its own, from a connection called like it."""
    server, client, told, at_server, at_client = pair()
    hello = WorkerEnd(SECRET, "w-1", dict).hello()
    frame = client._end.seal(pack("own", 1, "w-1"))
    client.socket.send(frame)
    at_server.until(2)
    with stranger(server.port, b"w-1") as thief:
        for copy in (frame, hello, frame):
            thief.send(copy)
        waited_for(lambda: told.reasons() == ["stranger", "mac"])
        # Meanwhile both ends hear each other as ever: the thief has the worker's name, and not its place.
        client.send(Message("own", 2, "w-1"))
        assert [one[1].data for one in at_server.until(3)] == ["2.47.0", 1, 2]
        server.send_to_client(Message("own", 3, "w-1"))
        assert at_client.until(1)[0].data == 3
    assert len(told.welcomes) == 1


@isolated
def test_a_worker_that_connects_anew_is_heard_and_reached_at_once() -> None:
    """Another connection of the same worker takes the place of one that is not seen to be dead yet."""
    server, _client, told, at_server, at_client = pair()
    again = transport_worker.Client(HOST, server.port, "w-1")
    at_again = Receiving(again.recv)
    again.send(Message("own", 1, "w-1"))
    at_server.until(2)
    server.send_to_client(Message("own", 2, "w-1"))
    assert at_again.until(1)[0].data == 2
    assert at_client.got == []
    assert told.dropped == []


@isolated
def test_a_worker_with_another_secret_stays_outside() -> None:
    """Master and worker both say so; no message comes through."""
    told = prepared()
    server = transport_master.Server(HOST, 0)
    at_server = Receiving(server.recv_from_client)
    transport.configure(secret=lambda host: b"another secret, also long")
    client = transport_worker.Client(HOST, server.port, "w-1")
    Receiving(client.recv)
    client.send(Message("client_ready", "2", "w-1"))
    waited_for(lambda: len(told.dropped) >= 2)
    assert set(told.dropped) == {("secret", "w-1"), ("secret", f"{HOST}:{server.port}")}
    assert at_server.got == []
    assert not client.established


@isolated
def test_a_drop_is_logged_without_the_secret() -> None:
    """The default hook logs each reason at most once a minute, with what to do."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("loadgate.swarm").addHandler(handler)
    for _ in range(3):
        log_dropped("secret", "w-1")
    log_dropped("garbage", "w-2")
    assert len(records) == 2
    assert "export the same LOADGATE_SECRET" in records[0]


@isolated
def test_the_locustfile_is_not_given_out() -> None:
    """Stock Locust's plain request gets a plain error, a sealed one a sealed error; neither is passed on."""
    server, client, told, at_server, at_client = pair()
    request = ("locustfile", {"version": "2.47.0"})
    with stranger(server.port, b"w-2") as stock:
        stock.send(msgpack.packb((*request, "w-2")))
        waited_for(lambda: stock.poll(0))
        kind, data, node = msgpack.unpackb(stock.recv())
        assert (kind, list(data), node) == ("locustfile", ["error"], "w-2")
        assert "gives out no files" in data["error"]
        stock.send(msgpack.packb((*request, "w-1")))
        waited_for(lambda: "stock" in told.reasons())
        assert replies(stock) == []
    client.send(Message(*request, "w-1"))
    assert list(at_client.until(1)[0].data) == ["error"]
    assert kinds(at_server.got) == ["client_ready"]
    assert told.reasons() == ["locustfile", "stock", "locustfile"]


@isolated
def test_stock_locust_prints_that_there_are_no_files() -> None:
    """`locust -f - --worker` ends with the reason."""
    prepared()
    server = transport_master.Server(HOST, 0)
    Receiving(server.recv_from_client)
    command = ["-m", "locust", "-f", "-", "--worker", "--master-host", HOST]
    # Patched, it lets the server go on meanwhile.
    done = subprocess.run(
        [sys.executable, *command, "--master-port", str(server.port)], capture_output=True, timeout=50
    )
    assert done.returncode == 1
    assert b"gives out no files" in done.stderr


@isolated
def test_a_flood_leaves_the_others_their_turn() -> None:
    """While a stranger sends without end, other greenlets go on, and messages come through."""
    server, client, told, at_server, _ = pair()
    code = (
        "import sys, zmq\n"
        "s = zmq.Context().socket(zmq.DEALER)\n"
        f"s.connect('tcp://{HOST}:{server.port}')\n"
        "while True: s.send(b'LGF' + bytes(60))"
    )
    flood = subprocess.Popen([sys.executable, "-c", code])
    try:
        waited_for(lambda: len(told.dropped) > 1_000)
        ticks = 0
        with gevent.Timeout(20, AssertionError("others starve")):
            while ticks < 20:
                gevent.sleep(0.005)
                ticks += 1
            client.send(Message("own", 1, "w-1"))
            at_server.until(2)
    finally:
        flood.kill()
        flood.wait()


@isolated
def test_a_frame_over_the_limit_ends_its_own_connection_only() -> None:
    """64 MiB and a byte: the socket drops the peer, nothing reaches the master, and others are heard."""
    server, client, told, at_server, _ = pair()
    with stranger(server.port, b"evil") as evil:
        evil.send(b"LGF" + bytes(64 * 2**20))
        gevent.sleep(0.5)
    client.send(Message("own", 1, "w-1"))
    assert kinds(at_server.until(2)) == ["client_ready", "own"]
    assert told.dropped == []


# -- the link for beats -------------------------------------------------------------------------


@isolated
def test_a_native_thread_speaks_while_the_event_loop_is_blocked() -> None:
    """A link in a real thread handshakes by itself, and beats and hears through a stall of this process."""
    server = subprocess.Popen(
        [sys.executable, __file__, "beat_master"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    heard: list[tuple[float, Any]] = []
    stop: list[bool] = []

    def beat() -> None:
        link = BeatLink(HOST, port, "w-1", SECRET)
        link.connect()
        while not stop:
            if link.send("loadgate.beat", {"at": time.monotonic()}):
                heard.extend((time.monotonic(), data) for _, data in link.poll(0.05))
            else:
                link.poll(0.02)
        link.close()
        stop.append(True)

    try:
        monkey.get_original("_thread", "start_new_thread")(beat, ())
        waited_for(lambda: len(heard) > 3)
        begun = time.monotonic()
        while time.monotonic() < begun + 0.5:
            sum(range(1_000))
        during = [at for at, _ in heard if begun < at < begun + 0.5]
        assert len(during) >= 3
        assert {data["node"] for _, data in heard} == {"w-1"}
        stop.append(True)
        waited_for(lambda: len(stop) == 2)
    finally:
        server.kill()
        server.wait()


def beat_master() -> None:
    """Answer each beat, in a process of its own."""
    prepared()
    server = transport_master.Server(HOST, 0)
    print(server.port, flush=True)  # noqa: T201
    while True:
        node, message = server.recv_from_client()
        server.send_to_client(Message("loadgate.heard", {"node": node} | message.data, f"{node}#beat"))


@isolated
def test_a_link_for_beats_says_nothing_else() -> None:
    """It may name its own worker in Loadgate's own messages; the master drops all else under its name."""
    told = prepared()
    server = transport_master.Server(HOST, 0)
    at_server = Receiving(server.recv_from_client)
    link = BeatLink(HOST, server.port, "w-1", SECRET)
    link.connect()
    assert not link.send("loadgate.beat", 1)
    waited_for(lambda: link.poll(0.0) or gevent.sleep(0.002) or link.established)
    assert link.send("loadgate.beat", 1)
    assert (at_server.until(1)[0][0], at_server.got[0][1].node_id) == ("w-1", "w-1")
    for sound in (("quit", None, "w-1"), ("loadgate.beat", 1, "w-2"), ("loadgate.beat", 1, "w-1#beat")):
        link._post(link._end.seal(msgpack.packb(sound)))
    waited_for(lambda: told.reasons() == ["spoofed"] * 3)
    raised(ValueError, lambda: link.send("quit", None))
    link.close()


@isolated
def test_a_link_for_beats_comes_back() -> None:
    """After a restart of the master it introduces itself again; a refusal is kept, and ends the asking."""
    prepared()
    server = transport_master.Server(HOST, 0)
    port, at_server = server.port, Receiving(server.recv_from_client)
    link = BeatLink(HOST, port, "w-1", SECRET)
    link.connect()
    waited_for(lambda: link.poll(0.0) or gevent.sleep(0.002) or link.established)
    at_server.greenlet.kill()
    server.close(linger=0)
    server = bound_again(port)
    at_server = Receiving(server.recv_from_client)

    def beaten() -> bool:
        link.send("loadgate.beat", 2)
        link.poll(0.0)
        gevent.sleep(0.01)
        return bool(at_server.got)

    waited_for(beaten)
    transport.configure(admit=lambda identity, passport: Refusal("no"))
    link._end.renew()
    link._next_hello = 0.0
    waited_for(lambda: link.poll(0.0) or gevent.sleep(0.002) or link.refusal)
    assert link.refusal == Refusal("no")
    assert not link.send("loadgate.beat", 3)
    link.close()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    sys.stdout.flush()
    import os

    os._exit(0)
