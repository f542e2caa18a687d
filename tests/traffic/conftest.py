"""A raw-socket server that plays scripts, on gevent's own sockets.

The process that runs these tests may or may not be monkey-patched by a neighbour's import of Locust, so
nothing here uses the patched modules: `gevent.socket` and greenlets behave the same in both states.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket

Play = Callable[["Peer"], None]


class Peer:
    """One accepted connection, as a play sees it."""

    def __init__(self, sock: Any, requests: list[bytes]) -> None:
        self.sock = sock
        self._requests = requests
        self._left = b""

    def request(self) -> bytes:
        """Read one whole request; b"" when the client closed first."""
        data = self._left
        while b"\r\n\r\n" not in data:
            part = self.sock.recv(65536)
            if not part:
                return b""
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(rest) < length:
            rest += self.sock.recv(65536)
        self._left = rest[length:]
        request = head + b"\r\n\r\n" + rest[:length]
        self._requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        """Send all of the data."""
        self.sock.sendall(data)

    def wait_for_end(self) -> None:
        """Block until the client closes."""
        while self.sock.recv(65536):
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Stage:
    """A listening server; connection number n is given to play n, later ones to the last play."""

    def __init__(self, plays: tuple[Play, ...], host: str) -> None:
        family = gsocket.AF_INET6 if ":" in host else gsocket.AF_INET
        self._listener = gsocket.socket(family, gsocket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen(128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.requests: list[bytes] = []
        self.connections = 0
        self.peers: list[Any] = []
        self._plays = plays
        self._greenlets = [gevent.spawn(self._accept)]

    def _accept(self) -> None:
        while True:
            sock, address = self._listener.accept()
            self.peers.append(address)
            play = self._plays[min(self.connections, len(self._plays) - 1)]
            self.connections += 1
            self._greenlets.append(gevent.spawn(self._perform, play, sock))

    def _perform(self, play: Play, sock: Any) -> None:
        with sock, contextlib.suppress(OSError):  # the client may close while the play goes on
            play(Peer(sock, self.requests))

    def close(self) -> None:
        """Stop listening and end every play."""
        gevent.killall(self._greenlets)
        self._listener.close()


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    """Start servers with `stage(play, ..., host="127.0.0.1")`; they end with the test."""
    stages: list[Stage] = []

    def start(*plays: Play, host: str = "127.0.0.1") -> Stage:
        stages.append(Stage(plays, host))
        return stages[-1]

    yield start
    for each in stages:
        each.close()


@pytest.fixture
def answers() -> Callable[..., Play]:
    """Make a play that answers one request with each of the given byte strings, then closes or waits."""

    def make(*responses: bytes, close: bool = False) -> Play:
        def play(peer: Peer) -> None:
            for response in responses:
                if not peer.request():
                    return
                peer.send(response)
            if not close:
                peer.wait_for_end()

        return play

    return make
