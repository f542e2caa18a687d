"""Carry Locust's messages between master and workers in sealed frames: what both ends have in common.

`Server` (in `transport_master`) and `Client` (in `transport_worker`) stand in for those of
`locust.rpc.zmqrpc`: the same names, on the same kind of sockets. What differs, checked against Locust 2.47.0:

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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gevent
import zmq as native_zmq
import zmq.green as zmq
from locust.exception import RPCError

from loadgate.swarm.drops import log_dropped
from loadgate.swarm.frames import Admit, Refusal
from loadgate.swarm.secret import secret_for
from loadgate.swarm.socket_options import LINGER_MS, set_options

_BREATHE_EVERY, _BREATH = 0.01, 0.001
"""Seconds of receiving without a pause, and of the pause for others: a flood stops nobody's heartbeats."""
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


_current: list[Settings] = [Settings()]


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
    before = _current[0]
    _current[0] = replace(before, **changes)
    return before


def settings() -> Settings:
    """Return the current settings."""
    return _current[0]


def restore(before: Settings) -> None:
    """Make settings that `configure` returned the current ones again."""
    _current[0] = before


# -- sockets ------------------------------------------------------------------------------------


class Socket:
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

    def receive(self) -> list[bytes]:
        """Return the parts of the next frame. Raise RPCError when the socket is broken."""
        if time.monotonic() - self._waited_at > _BREATHE_EVERY:
            # Not sleep(0), which gevent gives up to 50 turns in a row before it looks at timers and sockets.
            gevent.sleep(_BREATH)
            self._waited_at = time.monotonic()
        try:
            try:
                parts = self.take()
            except zmq.Again:
                parts = self.wait()
                self._waited_at = time.monotonic()
        except zmq.ZMQError as error:
            # Locust's worker asks again at once, for ever; the others need a turn meanwhile.
            gevent.sleep(0.1)
            raise RPCError("ZMQ network broken") from error
        return parts

    def take(self) -> list[bytes]:
        """Return the parts of a frame that is there. Raise zmq.Again when there is none."""
        parts: list[bytes] = self.socket.recv_multipart(zmq.NOBLOCK)
        return parts

    def wait(self) -> list[bytes]:
        """Wait for the next frame, and return its parts."""
        parts: list[bytes] = self.socket.recv_multipart()
        return parts

    def try_send(self, parts: list[bytes]) -> bool:
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
