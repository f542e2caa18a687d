"""A receiver on loopback that keeps what it gets and answers as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass(frozen=True)
class Mail:
    """One request: its path, its headers in lower case, its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """Return the JSON of the body."""
        return orjson.loads(self.body)


class Inbox:
    """Answer POST requests by `answers` in turn, then 200: a status, a (status, headers) pair, or a function.

    A function gets the handler and answers by itself.
    """

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.answers: list[Any] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            """Keep the request and answer it."""

            def do_POST(self) -> None:  # the library's name
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                inbox.mails.append(Mail(self.path, headers, self.rfile.read(length)))
                answer = inbox.answers.pop(0) if inbox.answers else 200
                if callable(answer):
                    answer(self)
                    return
                status, extra = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:  # the library's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def hanging(let_go: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    """Make an answer that does not come until it is let go."""

    def hang(handler: BaseHTTPRequestHandler) -> None:
        let_go.wait(30)
        handler.close_connection = True

    return hang
