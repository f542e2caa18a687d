"""Servers on loopback that say exactly what a test wants, and a way to wait for a condition."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Http, Probe, Scenario, Stage, Traffic


class RawServer:
    """Answer every connection with the same bytes once the request's head has come; keep what was asked.

    With `answer` None it never answers and holds the connection.
    """

    def __init__(self, answer: bytes | None, tls: ssl.SSLContext | None, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answer = answer
        self.requests: list[bytes] = []
        self._tls = tls
        self._held: list[socket.socket] = []
        self._closed = False
        self._socket = socket.socket(family)
        self._socket.bind((host, 0))
        self._socket.listen()
        self.port = int(self._socket.getsockname()[1])
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, drop what is held, and wait for the thread."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        for held in self._held:
            held.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._answer(taken)

    def _answer(self, taken: socket.socket) -> None:
        taken.settimeout(5)
        if self._tls is not None:
            taken = self._tls.wrap_socket(taken, server_side=True)
        if self.answer is None:
            self._held.append(taken)
            return
        head = b""
        while b"\r\n\r\n" not in head:
            piece = taken.recv(4096)
            if not piece:  # the client gave up
                taken.close()
                return
            head += piece
        self.requests.append(head)
        taken.sendall(self.answer)
        taken.close()


ServerMaker = Callable[..., RawServer]


@pytest.fixture
def raw_server() -> Iterator[ServerMaker]:
    """Give a function that starts a server: `raw_server(answer, tls=None, host="127.0.0.1")`."""
    started: list[RawServer] = []

    def start(answer: bytes | None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> RawServer:
        started.append(RawServer(answer, tls, host))
        return started[-1]

    yield start
    for server in started:
        server.close()


def make_http_answer(body: bytes, status: str = "200 OK") -> bytes:
    """Return a whole HTTP/1.1 answer that closes the connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def http_answer() -> Callable[..., bytes]:
    """Give `make_http_answer`."""
    return make_http_answer


@pytest.fixture
def closed_port() -> int:
    """Give a port of loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """Give a function that makes a plan with these probes against a host."""

    def make(host: str, *probes: Probe, http: Http | None = None) -> Plan:
        traffic = Traffic(stages=(Stage(rate=1.0, hold=60.0),), users=1)
        return Plan(
            scenario=Scenario(
                name="watched",
                locustfile=Path("none.py"),
                host=host,
                traffic=traffic,
                probes=probes,
                http=http or Http(),
            )
        )

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Give a function that waits until a condition holds, and fails the test after 10 s."""

    def wait(condition: Callable[[], object]) -> None:
        ends = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < ends, "the condition did not come true"
            threading.Event().wait(0.005)

    return wait
