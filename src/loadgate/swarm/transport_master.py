"""The master's end of `transport`: the socket that Locust's master listens with."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import gevent
import zmq.green as zmq
from gevent.event import Event
from locust.exception import RPCError
from locust.rpc.protocol import Message

from loadgate.errors import LoadgateError
from loadgate.exit_codes import ExitCode
from loadgate.swarm import sealing
from loadgate.swarm.drops import readable
from loadgate.swarm.frames import Refusal
from loadgate.swarm.master_context import master_context
from loadgate.swarm.master_end import MasterEnd
from loadgate.swarm.message_shapes import from_worker, pack, unpack
from loadgate.swarm.transport import Socket, settings

_BUSY_FROM, _COUNTED_OVER = 500.0, 0.1
"""Messages a second, counted over so many seconds, from which a master takes in several at a time."""
_NAP = 0.01
"""Seconds that a busy master lets messages gather. To wake up for each costs more than the message does."""
_LOOK_AGAIN_AFTER = 1.0
"""Seconds after which a wait looks again, should the word of a message have got lost."""
_POLLIN, _NOBLOCK, _RCVMORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.RCVMORE)
_NO_FILES = "Loadgate's master gives out no files: copy the locustfile to this host and name it with -f"
_log = logging.getLogger("loadgate.swarm")


class Server(Socket):
    """The master's socket. Raise RPCError when it cannot be bound, UsageError without a secret to trust.

    It is one of ZeroMQ's own: gevent's version of it looks at its state after each part of each message, and
    wakes the event loop for each message, which a fleet of hundreds of workers makes the larger part.
    """

    def __init__(self, host: str, port: int) -> None:
        secret = settings().secret(host)
        super().__init__(zmq.ROUTER, host, port, master_context())
        self._came = Event()
        self._watcher = gevent.get_hub().loop.io(self.socket.getsockopt(zmq.FD), 1)
        self._is_waiting = self._is_busy = False
        self._counted, self._counted_from = 0, time.monotonic()
        self._end = MasterEnd(
            secret,
            _admit,
            instance=settings().instance,
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
            parts = self.receive()
            if len(parts) != 2:
                self._drop("parts", parts[0])
                continue
            route, frame = parts
            if not frame.startswith(sealing.MAGIC):
                self._drop(self._stock(route, frame), route)
                continue
            payload, reply = self._end.open(route, frame)
            if reply is not None and not self.try_send([route, reply]):
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
        elif not self.try_send([route, frame]):
            self._drop("unsent", name)

    def close(self, linger: int | None = None) -> None:
        """Close the socket. What is under way has `linger` milliseconds to leave, 2000 unless given."""
        self._watcher.stop()
        super().close(linger)
        self._came.set()

    def receive(self) -> list[bytes]:
        """Return the parts of the next frame, and count it."""
        self._counted += 1
        return super().receive()

    def take(self) -> list[bytes]:
        """Return the parts of a frame that is there, its route first. Raise zmq.Again when there is none."""
        # The route never comes alone, so that it need not be asked whether more follows.
        parts = [self.socket.recv(_NOBLOCK), self.socket.recv(_NOBLOCK)]
        while self.socket.getsockopt(_RCVMORE):
            parts.append(self.socket.recv(_NOBLOCK))
        return parts

    def wait(self) -> list[bytes]:
        """Wait for the next frame, or where many come, a moment for several; return the first one's parts."""
        while True:
            if self._comes_much(time.monotonic()):
                gevent.sleep(_NAP)
            else:
                self._wait_for_word()
            with suppress(zmq.Again):
                return self.take()

    def _comes_much(self, now: float) -> bool:
        counted_for = now - self._counted_from
        if counted_for > _COUNTED_OVER:
            self._is_busy = self._counted > _BUSY_FROM * counted_for
            self._counted, self._counted_from = 0, now
        return self._is_busy

    def _wait_for_word(self) -> None:
        """Wait until the socket's descriptor tells that something happened, or `try_send` does."""
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

    def try_send(self, parts: list[bytes]) -> bool:
        """Hand a frame over if that is possible at once."""
        sent = super().try_send(parts)
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
        self.try_send([route, pack("locustfile", {"error": _NO_FILES}, node)])
        return "locustfile"

    def _drop(self, reason: str, who: bytes) -> None:
        self.dropped[reason] += 1
        self._tell(reason, who)

    def _tell(self, reason: str, who: bytes) -> None:
        settings().on_dropped(reason, readable(who))


def _admit(identity: str, passport: dict[str, Any]) -> dict[str, Any] | Refusal | None:
    """Ask the process about a worker. A fault in its answer refuses that worker, and ends nothing else."""
    admit = settings().admit
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
