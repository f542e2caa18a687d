"""A worker's end of `transport`: the socket that it speaks over, with what waits for its session."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Final

import gevent
import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc.protocol import Message
from zmq.utils.monitor import recv_monitor_message

from loadgate.swarm.frames import Data, Dropped, Refusal, SayHello, Welcome, WorkerEnd
from loadgate.swarm.message_shapes import from_master, pack
from loadgate.swarm.transport import Socket, settings

MOST_WAITING: Final = 1_000
"""Messages of a worker that wait for its session; of more, the oldest are dropped."""
MOST_WAITING_BYTES: Final = 64 * 2**20

_HELLO_EVERY = 1.0
# Which master has welcomed each of this process's workers, so that a new Client knows a new master.
_welcomed_by: dict[str, str] = {}


class Client(Socket):
    """A worker's socket. Raise UsageError without a secret to trust, GeneratorError for a bad passport."""

    def __init__(self, host: str, port: int, identity: str) -> None:
        secret = settings().secret(host)
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
            parts = self.receive()
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
                    settings().on_refused(refusal)
                case SayHello():
                    self._say_hello()
                case Dropped(reason):
                    settings().on_dropped(reason, self._peer)

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
            self.try_send([self._end.seal(b"")])
            settings().on_welcome(info, fresh_instance)
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
            if not self.try_send([self._end.seal(self._waiting[0][1])]):
                return
            self._waiting.popleft()

    def _say_hello(self) -> None:
        if self.connected and not self._end.refused:
            self.try_send([self._end.hello()])

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
        settings().on_dropped(reason, self._peer)


def _passport() -> dict[str, Any]:
    return settings().passport()
