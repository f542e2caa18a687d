"""A worker's second connection, for a native thread that never waits for the event loop.

It speaks the same sealed frames as the first (see `frames`), over a socket and a context of its own, with
nothing of gevent in it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from loadgate.swarm.frames import Data, Dropped, Refusal, SayHello, Welcome, WorkerEnd
from loadgate.swarm.message_shapes import BEAT_SUFFIX, OWN_PREFIX, from_master, pack
from loadgate.swarm.socket_options import set_options

_HELLO_EVERY = 1.0
_BEATS_WAITING = 8


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
        self._context: zmq.Context[Any] | None = None
        self._socket: zmq.Socket[Any] | None = None

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
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        set_options(self._socket, self._host, self._port)
        # Old beats are worth nothing: while there is no connection, few are kept.
        self._socket.setsockopt(zmq.SNDHWM, _BEATS_WAITING)
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
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        if self._on_dropped is not None:
            self._on_dropped(reason, f"{self._host}:{self._port}")
