"""Carry Locust's messages between master and workers in sealed frames.

`Server` and `Client` stand in for those of `locust.rpc.zmqrpc`: the same names, on the same kind of
sockets. What differs, checked against Locust 2.47.0:

- Each frame is sealed (see `frames`): nobody without the secret is heard, and nothing is heard twice. Stock
  Locust takes any message of anybody, and the worker's name from the message itself.
- A message that is not sound is dropped, counted and told. In stock Locust it ends the listening loop.
- Nothing sleeps or blocks in a send: what cannot leave now waits in order, or is dropped and told. Stock
  Locust sleeps up to nine seconds between its tries.
- The master gives out no files.

A worker's messages wait until its session stands. It asks for one when its connection is made, every second
until it is answered, and again after each loss of the connection, so that a master that was restarted knows
it before it hears of anything else.

`BeatLink` is a worker's second connection, for a native thread that never waits for the event loop.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from socket import gaierror, getaddrinfo, has_dualstack_ipv6
from typing import Any, Final, TypeAlias

import gevent
import msgpack  # type: ignore[import-untyped]
import zmq as native_zmq
import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc.protocol import Message
from zmq.utils.monitor import recv_monitor_message

from loadgate.errors import LoadgateError
from loadgate.exit_codes import ExitCode
from loadgate.swarm import frames
from loadgate.swarm.frames import Data, Dropped, MasterEnd, Refusal, SayHello, Welcome, WorkerEnd
from loadgate.swarm.secret import secret_for

BEAT_SUFFIX: Final = "#beat"
"""Ends the identity of a worker's second connection, which may say Loadgate's own messages only."""
OWN_PREFIX: Final = "loadgate."
MOST_WAITING: Final = 1_000
"""Messages of a worker that wait for its session; of more, the oldest are dropped."""
MOST_WAITING_BYTES: Final = 64 * 2**20

_HELLO_EVERY = 1.0
_BREATHE_EVERY, _BREATH = 0.01, 0.001
"""Seconds of receiving without a pause, and of the pause for others: a flood stops nobody's heartbeats."""
_DEAD_AFTER_MS = 5_000
"""Milliseconds without an answer to a ping of the socket's own, after which a connection is made anew."""
_LINGER_MS = 2_000
_BEATS_WAITING = 8
_NO_FILES = "Loadgate's master gives out no files: copy the locustfile to this host and name it with -f"
_log = logging.getLogger("loadgate.swarm")

Sound: TypeAlias = tuple[str, Any, str]
"""Type, data and node id of a message."""


# -- settings -----------------------------------------------------------------------------------

_MEANINGS = {
    "secret": "its secret is another one; export the same LOADGATE_SECRET on every host",
    "version": "it speaks another version of this protocol; install the same Loadgate on every host",
    "stock": "it runs stock Locust; its locustfile must load Loadgate's plugin",
    "locustfile": "it asks for the locustfile, and Loadgate's master gives out no files",
    "overflow": "more messages wait for the master than are kept; the oldest are lost",
}
_LOG_EVERY = 60.0
_logged: dict[str, float] = {}


def log_dropped(reason: str, peer: str) -> None:
    """Log a dropped frame or message: each reason at most once a minute."""
    now = time.monotonic()
    if now - _logged.get(reason, float("-inf")) < _LOG_EVERY:
        return
    _logged[reason] = now
    _log.warning("dropped what came from %s or goes there (%s): %s", peer, reason, _MEANINGS.get(reason, ""))


def _log_refusal(refusal: Refusal) -> None:
    _log.error("the master refuses this worker: %s%s", refusal.message, refusal.hint and f" ({refusal.hint})")


@dataclass(frozen=True)
class Settings:
    """What servers and clients ask the rest of the process; they look it up each time they need it."""

    secret: Callable[[str], bytes] = lambda host: secret_for(host, os.environ)
    passport: Callable[[], dict[str, Any]] = dict
    admit: frames.Admit | None = None
    on_refused: Callable[[Refusal], None] = _log_refusal
    on_welcome: Callable[[dict[str, Any], bool], None] = lambda *_: None
    on_dropped: Callable[[str, str], None] = log_dropped
    instance: str = field(default_factory=lambda: secrets.token_hex(8))


_settings: list[Settings] = [Settings()]
# Which master has welcomed each of this process's workers, so that a new Client knows a new master.
_welcomed_by: dict[str, str] = {}


def configure(**changes: Any) -> Settings:
    """Change the settings named, and return those before.

    secret(host) -> bytes        the secret to speak with `host`; default: `secret_for` and the environment
    passport() -> dict           what a worker says of itself in each HELLO: plain values, 64 KiB at most
    admit(identity, passport)    the master's answer: a dict for `on_welcome`, a Refusal, or None for "later".
                                 LoadgateError is a refusal. Without `admit` no HELLO is answered. It must
                                 change nothing: anybody can replay an old HELLO
    on_refused(refusal)          this worker is refused, and asks no more; what it raises, `recv` raises
    on_welcome(info, fresh)      this worker's session stands; `fresh`: with another master than before. What
                                 it sends leaves before all that waited
    on_dropped(reason, peer)     something was dropped; called each time, so it must be quick
    instance                     names this process as a master; random
    """
    before = _settings[0]
    _settings[0] = replace(before, **changes)
    return before


def restore(settings: Settings) -> None:
    """Make settings that `configure` returned the current ones again."""
    _settings[0] = settings


def _passport() -> dict[str, Any]:
    return _settings[0].passport()


def _admit(identity: str, passport: dict[str, Any]) -> dict[str, Any] | Refusal | None:
    """Ask the process about a worker. A fault in its answer refuses that worker, and ends nothing else."""
    admit = _settings[0].admit
    if admit is None:
        return None
    try:
        return admit(identity, passport)
    except LoadgateError as error:
        return Refusal(error.message, error.hint, int(error.exit_code))
    except Exception:  # noqa: BLE001 - it would end the listening for all workers
        _log.exception("the worker %s could not be judged, and is refused", _readable(identity.encode()))
        return Refusal(
            "the master failed to judge this worker", "see the master's log", int(ExitCode.INTERNAL)
        )


# -- messages -----------------------------------------------------------------------------------


def pack(kind: str, data: Any, node: str) -> bytes:
    """Return a message's payload. Raise RPCError for one that no connection can carry.

    No message of Locust 2.47 holds a datetime or an ObjectId, so there is no form for them.
    """
    try:
        payload: bytes = msgpack.packb((kind, data, node))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RPCError(f"a {kind!r} message holds what cannot be sent: {error}") from error
    if len(payload) > frames.MOST_PAYLOAD:
        raise RPCError(f"a {kind!r} message is too large to send: {len(payload)} bytes")
    return payload


def unpack(payload: bytes) -> Sound | None:
    """Return a message's type, data and node id; None for anything that is no such triple of plain values."""
    try:
        found = msgpack.unpackb(payload, strict_map_key=False, ext_hook=_no_extension, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None
    if not isinstance(found, list) or len(found) != 3:
        return None
    kind, data, node = found
    if not isinstance(kind, str) or not kind or not isinstance(node, str):
        return None
    return kind, data, node


def from_worker(payload: bytes, peer: str) -> Sound | str:
    """Return the message that a worker's connection carried, or a word for why it is dropped."""
    found = unpack(payload)
    if found is None:
        return "malformed"
    kind, data, node = found
    if peer.endswith(BEAT_SUFFIX):
        if node + BEAT_SUFFIX != peer or not kind.startswith(OWN_PREFIX):
            return "spoofed"
    elif node != peer:
        return "spoofed"
    fits = _FROM_WORKER.get(kind)
    return found if fits is None or fits(data) else "shape"


def from_master(payload: bytes, own: str) -> Sound | str:
    """Return the message that the master sent to the connection `own`, or a word for why it is dropped."""
    found = unpack(payload)
    if found is None:
        return "malformed"
    kind, data, node = found
    if node != own:
        return "spoofed"
    fits = _FROM_MASTER.get(kind)
    return found if fits is None or fits(data) else "shape"


def _no_extension(code: int, _: bytes) -> Any:
    raise ValueError(f"extension {code}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and type(n) is int and n >= 0 for key, n in value.items()
    )


def _has(**checks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Make a check for a map that has these entries, each passing its own."""
    return lambda data: (
        isinstance(data, dict) and all(key in data and fits(data[key]) for key, fits in checks.items())
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


# Locust's handlers read these without looking, and an exception there ends its listening loop
# (runners.py:1018 and 1364). All other messages may hold any plain value, as users' own do.
_FROM_WORKER: dict[str, Callable[[Any], bool]] = {
    "client_ready": lambda data: isinstance(data, str) or data == -1,
    "heartbeat": _has(state=_is_text, current_cpu_usage=_is_number),
    "stats": lambda data: isinstance(data, dict) and _is_counts(data.get("user_classes_count", {})),
    "spawning_complete": _has(user_classes_count=_is_counts),
    "exception": _has(msg=_is_text, traceback=_is_text),
    "logs": _is_map,
}
_FROM_MASTER: dict[str, Callable[[Any], bool]] = {
    "ack": lambda data: data is None or isinstance(data, dict),
    "spawn": _has(
        timestamp=_is_number,
        host=lambda host: host is None or isinstance(host, str),
        stop_timeout=lambda timeout: timeout is None or _is_number(timeout),
        parsed_options=_is_map,
        user_classes_count=_is_counts,
    ),
    "spawning_complete": _has(user_count=_is_number),
    "update_user_class": _is_map,
}


def _readable(identity: bytes) -> str:
    """Return a peer's identity as text that spoils no log; anybody can choose one."""
    text = identity.decode("utf-8", "backslashreplace")[:255]
    return "".join(one if one.isprintable() else "?" for one in text)


# -- sockets ------------------------------------------------------------------------------------


def _set_options(socket: Any, host: str, port: int) -> None:
    """Bound what a peer can cost, notice a dead one within seconds, and come back by itself."""
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _DEAD_AFTER_MS // 5)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD_AFTER_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 2 * _DEAD_AFTER_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
    socket.setsockopt(zmq.MAXMSGSIZE, frames.MOST_FRAME)
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    if has_dualstack_ipv6() and not _ipv4_only(host, port):
        socket.setsockopt(zmq.IPV6, 1)


def _ipv4_only(host: str, port: int) -> bool:
    """Tell whether a name has IPv4 addresses only (zmqrpc.py, ipv4_only)."""
    if host == "*":
        return False
    try:
        return "Family.AF_INET6" not in str(getaddrinfo(host, port))
    except gaierror as error:
        _log.error("the address %s cannot be resolved: %s", host, error)
        return False


class _Socket:
    """What server and client have in common."""

    def __init__(self, kind: int, host: str, port: int) -> None:
        # One context for all sockets of a process: ending one of its own could block the event loop.
        self.socket: Any = zmq.Context.instance().socket(kind)
        _set_options(self.socket, host, port)
        self._waited_at = time.monotonic()

    def close(self, linger: int | None = None) -> None:
        """Close the socket. What is under way has `linger` milliseconds to leave, 2000 unless given."""
        self.socket.close(linger=_LINGER_MS if linger is None else min(linger, _LINGER_MS))

    def _receive(self) -> list[bytes]:
        """Return the parts of the next frame. Raise RPCError when the socket is broken."""
        if time.monotonic() - self._waited_at > _BREATHE_EVERY:
            # Not sleep(0), which gevent gives up to 50 turns in a row before it looks at timers and sockets.
            gevent.sleep(_BREATH)
            self._waited_at = time.monotonic()
        try:
            try:
                parts: list[bytes] = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                parts = self.socket.recv_multipart()
                self._waited_at = time.monotonic()
        except zmq.ZMQError as error:
            # Locust's worker asks again at once, for ever; the others need a turn meanwhile.
            gevent.sleep(0.1)
            raise RPCError("ZMQ network broken") from error
        return parts

    def _send(self, parts: list[bytes]) -> bool:
        """Hand a frame over if that is possible at once. Raise RPCError when the socket is broken."""
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise RPCError("ZMQ sent failure") from error
        return True


class Server(_Socket):
    """The master's socket. Raise RPCError when it cannot be bound, UsageError without a secret to trust."""

    def __init__(self, host: str, port: int) -> None:
        secret = _settings[0].secret(host)
        super().__init__(zmq.ROUTER, host, port)
        self._end = MasterEnd(
            secret,
            _admit,
            instance=_settings[0].instance,
            on_dropped=lambda identity, reason: self._tell(reason, identity),
        )
        # A worker that comes back replaces its old connection, which may take long to be seen dead.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        # Without this, what goes to a worker that is gone vanishes without a word.
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.port = self._bind(host, port)

    @property
    def dropped(self) -> Counter[str]:
        """Count what was dropped, by reason."""
        return self._end.dropped

    def recv_from_client(self) -> tuple[str, Message]:
        """Return the next sound message and the node that it speaks for, once there is one."""
        while True:
            parts = self._receive()
            if len(parts) != 2:
                self._drop("parts", parts[0])
                continue
            identity, frame = parts
            if not frame.startswith(frames.MAGIC):
                self._drop(self._stock(identity, frame), identity)
                continue
            payload, reply = self._end.open(identity, frame)
            if reply is not None and not self._send([identity, reply]):
                self._drop("unsent", identity)
            # An empty payload says no more than that the session stands.
            if payload and (found := self._sound(payload, identity)):
                return found.node_id, found

    def send_to_client(self, msg: Message) -> None:
        """Send a message to the worker that it names, if that is possible at once; else drop it and tell.

        Raise RPCError when the message cannot be packed or the socket is broken.
        """
        identity = msg.node_id.encode()
        frame = self._end.seal(identity, pack(msg.type, msg.data, msg.node_id))
        if frame is None:
            self._drop("no-session", identity)
        elif not self._send([identity, frame]):
            self._drop("unsent", identity)

    def _bind(self, host: str, port: int) -> int:
        try:
            if port:
                self.socket.bind(f"tcp://{host}:{port}")
                return port
            return int(self.socket.bind_to_random_port(f"tcp://{host}"))
        except zmq.ZMQError as error:
            self.close(0)
            # Locust knows a busy port by these very words (runners.py:681).
            raise RPCError(f"Socket bind failure: {os.strerror(error.errno or 0)}") from error

    def _sound(self, payload: bytes, identity: bytes) -> Message | None:
        found = from_worker(payload, identity.decode())
        if isinstance(found, str):
            self._drop(found, identity)
            return None
        kind, data, node = found
        if kind == "locustfile":
            self.send_to_client(Message("locustfile", {"error": _NO_FILES}, node))
            self._drop("locustfile", identity)
            return None
        return Message(kind, data, node)

    def _stock(self, identity: bytes, frame: bytes) -> str:
        """Return the word for a frame without a seal.

        Stock Locust that asks for the locustfile is told that there are no files, and prints it.
        """
        found = unpack(frame) if len(frame) < frames.MOST_MAP else None
        if found is None:
            return "garbage"
        kind, _, node = found
        if kind != "locustfile" or node.encode("utf-8", "replace") != identity:
            return "stock"
        self._send([identity, pack("locustfile", {"error": _NO_FILES}, node)])
        return "locustfile"

    def _drop(self, reason: str, identity: bytes) -> None:
        self.dropped[reason] += 1
        self._tell(reason, identity)

    def _tell(self, reason: str, identity: bytes) -> None:
        _settings[0].on_dropped(reason, _readable(identity))


class Client(_Socket):
    """A worker's socket. Raise UsageError without a secret to trust, GeneratorError for a bad passport."""

    def __init__(self, host: str, port: int, identity: str) -> None:
        secret = _settings[0].secret(host)
        super().__init__(zmq.DEALER, host, port)
        self.identity = identity
        self.connected = False
        self._peer = f"{host}:{port}"
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._end = WorkerEnd(
            secret,
            identity,
            _passport,
            known_instance=_welcomed_by.get(identity, ""),
        )
        self._end.renew()
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self._monitor = self.socket.get_monitor_socket(events)
        self.socket.connect(f"tcp://{host}:{port}")
        self._helpers = [gevent.spawn(self._watch), gevent.spawn(self._ask)]

    @property
    def dropped(self) -> Counter[str]:
        """Count what was dropped, by reason."""
        return self._end.dropped

    @property
    def established(self) -> bool:
        """Tell whether the master knows this worker."""
        return self._end.established

    @property
    def waiting(self) -> int:
        """Count the messages that wait until they can leave."""
        return len(self._waiting)

    def send(self, msg: Message) -> None:
        """Send a message now, or as soon as it can leave, in order.

        Raise RPCError when the message cannot be packed or the socket is broken.
        """
        self._keep(msg.type, pack(msg.type, msg.data, msg.node_id))
        self._send_waiting()

    def recv(self) -> Message:
        """Return the next sound message from the master, once there is one."""
        while True:
            parts = self._receive()
            if len(parts) != 1:
                self._drop("parts")
                continue
            match self._end.open(parts[0], time.monotonic()):
                case Data(payload):
                    found = from_master(payload, self.identity) if payload else ""
                    if isinstance(found, tuple):
                        return Message(*found)
                    if found:
                        self._drop(found)
                case Welcome(info, fresh_instance):
                    self._welcomed(info, fresh_instance=fresh_instance)
                case Refusal() as refusal:
                    self._waiting.clear()
                    _settings[0].on_refused(refusal)
                case SayHello():
                    self._say_hello()
                case Dropped(reason):
                    _settings[0].on_dropped(reason, self._peer)

    def close(self, linger: int | None = None) -> None:
        """Close the socket, and give up what waits for a session."""
        gevent.killall([one for one in self._helpers if one is not gevent.getcurrent()], block=False)
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._monitor.close(linger=0)
        super().close(linger)

    def _welcomed(self, info: dict[str, Any], *, fresh_instance: bool) -> None:
        _welcomed_by[self.identity] = self._end.instance
        waited, self._waiting = self._waiting, deque()
        try:
            # Only the first frame under a session makes the master use it too.
            self._send([self._end.seal(b"")])
            _settings[0].on_welcome(info, fresh_instance)
        finally:
            self._waiting.extend(waited)
        self._send_waiting()

    def _keep(self, kind: str, payload: bytes) -> None:
        if kind == "heartbeat":
            self._waiting = deque(one for one in self._waiting if one[0] != "heartbeat")
        self._waiting.append((kind, payload))
        while len(self._waiting) > MOST_WAITING or sum(len(p) for _, p in self._waiting) > MOST_WAITING_BYTES:
            self._waiting.popleft()
            self._drop("overflow")

    def _send_waiting(self) -> None:
        while self._waiting and self.connected and self._end.ready:
            if not self._send([self._end.seal(self._waiting[0][1])]):
                return
            self._waiting.popleft()

    def _say_hello(self) -> None:
        if self.connected and not self._end.refused:
            self._send([self._end.hello()])

    def _ask(self) -> None:
        """Say HELLO until the master answers; afterwards, send on what did not find room."""
        while not self.socket.closed:
            gevent.sleep(_HELLO_EVERY)
            with suppress(RPCError):
                if self._end.ready:
                    self._send_waiting()
                else:
                    self._say_hello()

    def _watch(self) -> None:
        """Hold messages back while there is no connection, and begin each connection with a HELLO."""
        while True:
            try:
                event = recv_monitor_message(self._monitor)["event"]
            except zmq.ZMQError:
                return
            self.connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if event == zmq.EVENT_MONITOR_STOPPED:
                return
            if self.connected:
                self._end.renew()
                with suppress(RPCError):
                    self._say_hello()

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        _settings[0].on_dropped(reason, self._peer)


class BeatLink:
    """A worker's second connection, for one native thread, with a context of its own and nothing of gevent.

    `identity` is the worker's; the link's own is `<identity>#beat`, so the master hears the worker speak, and
    reaches the link under that name. All methods belong to the thread that calls `connect`. It speaks the
    handshake in `poll`, and again whenever the master does not know it any more.
    """

    def __init__(
        self,
        host: str,
        port: int,
        identity: str,
        secret: bytes,
        *,
        passport: Callable[[], dict[str, Any]] = dict,
        on_dropped: Callable[[str, str], None] | None = None,
    ) -> None:
        self.identity = identity + BEAT_SUFFIX
        self.refusal: Refusal | None = None
        self._node = identity
        self._host, self._port = host, port
        self._end = WorkerEnd(secret, self.identity, passport)
        self._on_dropped = on_dropped
        self._next_hello = 0.0
        self._context: native_zmq.Context[Any] | None = None
        self._socket: native_zmq.Socket[Any] | None = None

    @property
    def dropped(self) -> Counter[str]:
        """Count what was dropped, by reason."""
        return self._end.dropped

    @property
    def established(self) -> bool:
        """Tell whether the master knows this link."""
        return self._end.established

    def connect(self) -> None:
        """Make the connection. It need not stand when this returns; it comes back by itself."""
        self._context = native_zmq.Context()
        self._socket = self._context.socket(native_zmq.DEALER)
        _set_options(self._socket, self._host, self._port)
        # Old beats are worth nothing: while there is no connection, few are kept.
        self._socket.setsockopt(native_zmq.SNDHWM, _BEATS_WAITING)
        self._socket.setsockopt(native_zmq.IDENTITY, self.identity.encode())
        self._socket.connect(f"tcp://{self._host}:{self._port}")

    def send(self, kind: str, data: Any) -> bool:
        """Send a message, if that is possible at once; tell whether it was.

        Raise ValueError for a type that is not Loadgate's own, RPCError for what cannot be packed.
        """
        if not kind.startswith(OWN_PREFIX):
            raise ValueError(f"a link for beats sends no {kind!r}")
        payload = pack(kind, data, self._node)
        return self._end.ready and self._post(self._end.seal(payload))

    def poll(self, timeout: float) -> list[tuple[str, Any]]:
        """Wait up to `timeout` seconds, and return the messages that came: type and data of each.

        Return at once when there are some.
        """
        assert self._socket is not None, "connect first"
        deadline = time.monotonic() + timeout
        messages: list[tuple[str, Any]] = []
        while True:
            now = time.monotonic()
            if not self._end.ready and not self._end.refused and now >= self._next_hello:
                self._say_hello(now)
            wait = 0.0 if messages else max(deadline - now, 0.0)
            if not self._end.ready and not self._end.refused:
                wait = min(wait, max(self._next_hello - now, 0.0))
            if self._socket.poll(int(wait * 1000) + (wait > 0)):
                messages += self._take()
            elif messages or time.monotonic() >= deadline:
                return messages

    def close(self) -> None:
        """Close the connection; what is under way has a fifth of a second to leave."""
        if self._context is not None:
            self._context.destroy(linger=200)
        self._context = self._socket = None

    def _take(self) -> list[tuple[str, Any]]:
        assert self._socket is not None
        parts = self._socket.recv_multipart()
        if len(parts) != 1:
            self._drop("parts")
            return []
        now = time.monotonic()
        match self._end.open(parts[0], now):
            case Data(payload):
                found = from_master(payload, self.identity) if payload else ""
                if isinstance(found, tuple):
                    return [(found[0], found[1])]
                if found:
                    self._drop(found)
            case Welcome():
                self._post(self._end.seal(b""))
            case Refusal() as refusal:
                self.refusal = refusal
            case SayHello():
                self._say_hello(now)
            case Dropped(reason) if self._on_dropped is not None:
                self._on_dropped(reason, f"{self._host}:{self._port}")
        return []

    def _say_hello(self, now: float) -> None:
        self._next_hello = now + _HELLO_EVERY
        self._post(self._end.hello())

    def _post(self, frame: bytes) -> bool:
        assert self._socket is not None, "connect first"
        try:
            self._socket.send(frame, native_zmq.NOBLOCK)
        except native_zmq.Again:
            return False
        return True

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        if self._on_dropped is not None:
            self._on_dropped(reason, f"{self._host}:{self._port}")
