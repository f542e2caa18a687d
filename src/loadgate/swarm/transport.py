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

A worker's second connection, for a native thread that never waits for the event loop, is in `beat_link`.
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
from typing import Any, Final

import gevent
import zmq as native_zmq
import zmq.green as zmq
from gevent.event import Event
from locust.exception import RPCError
from locust.rpc.protocol import Message
from zmq.utils.monitor import recv_monitor_message

from loadgate.errors import LoadgateError
from loadgate.exit_codes import ExitCode
from loadgate.swarm import sealing
from loadgate.swarm.drops import log_dropped, readable
from loadgate.swarm.frames import Admit, Data, Dropped, Refusal, SayHello, Welcome, WorkerEnd
from loadgate.swarm.master_end import MasterEnd
from loadgate.swarm.message_shapes import from_master, from_worker, pack, unpack
from loadgate.swarm.secret import secret_for
from loadgate.swarm.socket_options import LINGER_MS, set_options

MOST_WAITING: Final = 1_000
"""Messages of a worker that wait for its session; of more, the oldest are dropped."""
MOST_WAITING_BYTES: Final = 64 * 2**20

_HELLO_EVERY = 1.0
_BREATHE_EVERY, _BREATH = 0.01, 0.001
"""Seconds of receiving without a pause, and of the pause for others: a flood stops nobody's heartbeats."""
_BUSY_FROM, _COUNTED_OVER = 500.0, 0.1
"""Messages a second, counted over so many seconds, from which a master takes in several at a time."""
_NAP = 0.005
"""Seconds that a busy master lets messages gather. To wake up for each costs more than the message does."""
_LOOK_AGAIN_AFTER = 1.0
"""Seconds after which a wait looks again, should the word of a message have got lost."""
_POLLIN = int(zmq.POLLIN)
_NO_FILES = "Loadgate's master gives out no files: copy the locustfile to this host and name it with -f"
_log = logging.getLogger("loadgate.swarm")


# -- settings -----------------------------------------------------------------------------------


def _log_refusal(refusal: Refusal) -> None:
    _log.error("the master refuses this worker: %s%s", refusal.message, refusal.hint and f" ({refusal.hint})")


@dataclass(frozen=True)
class Settings:
    """What servers and clients ask the rest of the process; they look it up each time they need it."""

    secret: Callable[[str], bytes] = lambda host: secret_for(host, os.environ)
    passport: Callable[[], dict[str, Any]] = dict
    admit: Admit | None = None
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
        _log.exception("the worker %s could not be judged, and is refused", readable(identity.encode()))
        return Refusal(
            "the master failed to judge this worker", "see the master's log", int(ExitCode.INTERNAL)
        )


# -- sockets ------------------------------------------------------------------------------------


class _Socket:
    """What server and client have in common."""

    def __init__(
        self, kind: int, host: str, port: int, context: native_zmq.Context[Any] | None = None
    ) -> None:
        # One context for all sockets of a process: ending one of its own could block the event loop.
        self.socket: Any = (context or zmq.Context.instance()).socket(kind)
        set_options(self.socket, host, port)
        self._waited_at = time.monotonic()

    def close(self, linger: int | None = None) -> None:
        """Close the socket. What is under way has `linger` milliseconds to leave, 2000 unless given."""
        self.socket.close(linger=LINGER_MS if linger is None else min(linger, LINGER_MS))

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
                parts = self._wait()
                self._waited_at = time.monotonic()
        except zmq.ZMQError as error:
            # Locust's worker asks again at once, for ever; the others need a turn meanwhile.
            gevent.sleep(0.1)
            raise RPCError("ZMQ network broken") from error
        return parts

    def _wait(self) -> list[bytes]:
        """Wait for the next frame, and return its parts."""
        parts: list[bytes] = self.socket.recv_multipart()
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
    """The master's socket. Raise RPCError when it cannot be bound, UsageError without a secret to trust.

    It is one of ZeroMQ's own: gevent's version of it looks at its state after each part of each message, and
    wakes the event loop for each message, which a fleet of hundreds of workers makes the larger part.
    """

    def __init__(self, host: str, port: int) -> None:
        secret = _settings[0].secret(host)
        super().__init__(zmq.ROUTER, host, port, native_zmq.Context.instance())
        self._came = Event()
        self._watcher = gevent.get_hub().loop.io(self.socket.getsockopt(zmq.FD), 1)
        self._is_waiting = self._is_busy = False
        self._counted, self._counted_from = 0, time.monotonic()
        self._end = MasterEnd(
            secret,
            _admit,
            instance=_settings[0].instance,
            on_dropped=lambda who, reason: self._tell(reason, who),
        )
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
            route, frame = parts
            if not frame.startswith(sealing.MAGIC):
                self._drop(self._stock(route, frame), route)
                continue
            payload, reply = self._end.open(route, frame)
            if reply is not None and not self._send([route, reply]):
                self._drop("unsent", self._end.name_of(route) or route)
            # An empty payload says no more than that the session stands.
            if payload and (found := self._sound(payload, route)):
                return found.node_id, found

    def send_to_client(self, msg: Message) -> None:
        """Send a message to the worker that it names, if that is possible at once; else drop it and tell.

        Raise RPCError when the message cannot be packed or the socket is broken.
        """
        name = msg.node_id.encode()
        frame, route = self._end.seal(name, pack(msg.type, msg.data, msg.node_id)), self._end.route_of(name)
        if frame is None or route is None:
            self._drop("no-session", name)
        elif not self._send([route, frame]):
            self._drop("unsent", name)

    def close(self, linger: int | None = None) -> None:
        """Close the socket. What is under way has `linger` milliseconds to leave, 2000 unless given."""
        self._watcher.stop()
        super().close(linger)
        self._came.set()

    def _receive(self) -> list[bytes]:
        self._counted += 1
        return super()._receive()

    def _wait(self) -> list[bytes]:
        """Wait for the next frame, or where many come, a moment for several; return the first one's parts."""
        while True:
            if self._comes_much(time.monotonic()):
                gevent.sleep(_NAP)
            else:
                self._wait_for_word()
            with suppress(zmq.Again):
                parts: list[bytes] = self.socket.recv_multipart(zmq.NOBLOCK)
                return parts

    def _comes_much(self, now: float) -> bool:
        counted_for = now - self._counted_from
        if counted_for > _COUNTED_OVER:
            self._is_busy = self._counted > _BUSY_FROM * counted_for
            self._counted, self._counted_from = 0, now
        return self._is_busy

    def _wait_for_word(self) -> None:
        """Wait until the socket's descriptor tells that something happened, or `_send` does."""
        self._came.clear()
        if self.socket.getsockopt(zmq.EVENTS) & _POLLIN:
            return
        self._is_waiting = True
        self._watcher.start(self._came.set)
        try:
            self._came.wait(_LOOK_AGAIN_AFTER)
        finally:
            self._watcher.stop()
            self._is_waiting = False

    def _send(self, parts: list[bytes]) -> bool:
        sent = super()._send(parts)
        # To send takes in what the descriptor would have told a greenlet that waits.
        if self._is_waiting and self.socket.getsockopt(zmq.EVENTS) & _POLLIN:
            self._came.set()
        return sent

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

    def _sound(self, payload: bytes, route: bytes) -> Message | None:
        name = self._end.name_of(route) or b""
        found = from_worker(payload, name.decode())
        if isinstance(found, str):
            self._drop(found, name)
            return None
        kind, data, node = found
        if kind == "locustfile":
            self.send_to_client(Message("locustfile", {"error": _NO_FILES}, node))
            self._drop("locustfile", name)
            return None
        return Message(kind, data, node)

    def _stock(self, route: bytes, frame: bytes) -> str:
        """Return the word for a frame without a seal.

        Stock Locust that asks for the locustfile is told that there are no files, and prints it. It calls its
        connection by its own name.
        """
        found = unpack(frame) if len(frame) < sealing.MOST_MAP else None
        if found is None:
            return "garbage"
        kind, _, node = found
        if kind != "locustfile" or node.encode("utf-8", "replace") != route:
            return "stock"
        self._send([route, pack("locustfile", {"error": _NO_FILES}, node)])
        return "locustfile"

    def _drop(self, reason: str, who: bytes) -> None:
        self.dropped[reason] += 1
        self._tell(reason, who)

    def _tell(self, reason: str, who: bytes) -> None:
        _settings[0].on_dropped(reason, readable(who))


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
