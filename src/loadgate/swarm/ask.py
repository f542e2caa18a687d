"""Ask a master what it runs, before a worker is started: without Locust or gevent, for the command line."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import zmq

from loadgate.errors import GeneratorError, TargetUnreachable
from loadgate.exit_codes import ExitCode
from loadgate.swarm.frames import Dropped, Refusal, SayHello, Welcome, WorkerEnd

ASK = {"kind": "ask"}
"""The passport of somebody who only wants to know what the master runs."""
_HELLO_EVERY = 1.0
_TELL_FIRST, _TELL_EVERY = 2.0, 10.0


def ask_master(
    host: str, port: int, secret: bytes, *, within: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return what a master says of its run: `run` and `locustfile`.

    It is asked every second for up to `within` seconds, and `tell` hears of it when that takes long.
    TargetUnreachable when it does not answer, GeneratorError when it refuses.
    """
    where = f"{host}:{port}"
    identity = f"ask-{secrets.token_hex(8)}"
    end = WorkerEnd(secret, identity, lambda: ASK)
    begun = time.monotonic()
    say, again, dropped = begun + _TELL_FIRST, begun, ""
    with zmq.Context() as context, _connected(context, host, port, identity) as socket:
        while (now := time.monotonic()) < begun + within:
            if now >= again:
                again = now + _HELLO_EVERY
                _post(socket, end.hello())
            if now >= say:
                say = now + _TELL_EVERY
                tell(
                    f"no master answers at {where} yet; trying for {begun + within - now:.0f} s more{dropped}"
                )
            if not socket.poll(200):
                continue
            match end.open(socket.recv(), time.monotonic()):
                case Welcome(info):
                    return info
                case Refusal(message, hint, code):
                    error = GeneratorError(f"the master at {where} refuses: {message}", hint=hint)
                    # A master of another version may have codes that are not known here.
                    error.exit_code = next((one for one in ExitCode if one == code), ExitCode.INTERNAL)
                    raise error
                case Dropped(reason):
                    dropped = f" (what came was dropped: {reason})"
                case SayHello():
                    again = now
                case _:
                    pass
    raise TargetUnreachable(
        f"no master answered at {where} within {within:g} s{dropped}",
        hint="see that it runs and listens there, that the port is open, and that both have the same secret",
    )


def _connected(context: zmq.Context[Any], host: str, port: int, identity: str) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IDENTITY, identity.encode())
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    socket.setsockopt(zmq.IPV6, int(":" in host))
    socket.connect(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")
    return socket


def _post(socket: zmq.Socket[bytes], frame: bytes) -> None:
    try:
        socket.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        return  # there is no connection yet; the next one is said soon
