"""A small web server beside a run: a few fixed pages, told by functions, in threads of its own.

It binds before there is any load, so that a port in use is an error and not a run without a page. What it
serves is made from values that the control room puts down; it never reads the run database, nor waits for it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

from loadgate.errors import UsageError

PATIENCE: Final = 10.0
"""Seconds after which a connection that says nothing is closed."""
LONGEST_BODY: Final = 64 * 1024
"""Bytes of a request's body that are read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Page = Callable[[Asked], Told]


class Server:
    """Serve pages at an address; `pages` are by method and path: `("GET", "/metrics")`."""

    def __init__(self, host: str, port: int, pages: Mapping[tuple[str, str], Page], what: str) -> None:
        """Bind. UsageError when that is not possible; `what` names the option that said so."""
        self._pages = dict(pages)
        self._server = _bound(host, port, self._answer, what)
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.2,), name=f"{what} server", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Return the address of its root."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    def close(self) -> None:
        """Serve nothing more; again is fine."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def _answer(self, asked: Asked) -> Told:
        page = self._pages.get((asked.method, asked.path))
        if page is not None:
            return page(asked)
        known = sorted({path for _, path in self._pages})
        if any(path == asked.path for path in known):
            return Told(b"not that way\n", status=405)
        return Told(f"nothing here; there is {', '.join(known)}\n".encode(), status=404)


def _bound(host: str, port: int, answer: Page, what: str) -> ThreadingHTTPServer:
    class Handler(_Handler):
        answered_by = staticmethod(answer)

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"{what}: {host!r} is no address of this machine", hint="for example 127.0.0.1"
        ) from error

    class Bound(ThreadingHTTPServer):
        address_family = family
        daemon_threads = True
        # Two controls rooms at one port would each get some of the questions.
        allow_reuse_port = False

        def server_bind(self) -> None:
            # As HTTPServer has it, without asking for the machine's name, which may take seconds.
            socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = host, int(self.server_address[1])

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a reader that has left."""

    try:
        return Bound(address, Handler)  # type: ignore[arg-type]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message, hint = f"port {port} on {host} is in use", "name another one, or 0 for any free one"
        else:
            message, hint = (
                f"{host}:{port} cannot be served: {error.strerror or error}",
                "name another address",
            )
        raise UsageError(f"{what}: {message}", hint=hint) from error


class _Handler(BaseHTTPRequestHandler):
    """Read a request, have it answered, write the answer."""

    answered_by: Page
    timeout = PATIENCE
    protocol_version = "HTTP/1.1"
    server_version = "loadgate"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        self._do("GET")

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self._do("GET", with_body=False)

    def do_POST(self) -> None:
        """Answer."""
        self._do("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: standard error is the live view's."""

    def _do(self, method: str, *, with_body: bool = True) -> None:
        path, _, query = self.path.partition("?")
        told = self.answered_by(Asked(method, path, query, self._headers(), self._body()))
        self.send_response(told.status)
        self.send_header("Content-Type", told.content_type)
        self.send_header("Content-Length", str(len(told.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(told.body)

    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _body(self) -> bytes:
        length = 0
        with suppress(ValueError):
            length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= LONGEST_BODY:
            self.close_connection = True
            return b""
        return self.rfile.read(length)
