"""httpx as the oracle: the same requests to the same real server give the same answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from loadgate.traffic.http.client import HttpClient
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.values import Request

SERVER = r"""
import gzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = f"{self.command} {self.path} ".encode() + sent
        kind = self.path.split("?")[0]
        if kind == "/early":
            self.send_response_only(103)
            self.send_header("Link", "</x>")
            self.end_headers()
        self.send_response({"/none": 204, "/same": 304, "/missing": 404, "/broken": 500}.get(kind, 200))
        self.send_header("X-Many", "one")
        self.send_header("x-many", "two")
        if kind == "/gzip":
            text = gzip.compress(text, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        if kind == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (text[:3], text[3:]):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        if kind == "/close":
            self.send_header("Connection", "close")
        elif kind not in ("/none", "/same"):
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD" and kind not in ("/none", "/same"):
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def date_time_string(self, timestamp=None):
        return "Thu, 01 Jan 1970 00:00:00 GMT"

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Run the standard library's HTTP server in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


PATHS = (
    "/",
    "/gzip",
    "/chunked",
    "/none",
    "/same",
    "/missing?q=1",
    "/broken",
    "/early",
    "/caf\u00e9",
    "/close",
    "/",
)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_client_agrees_with_httpx(url: str, method: str) -> None:
    """Status, headers, body and text are the same for every framing the server uses, on one client."""
    client = HttpClient(ClientSettings(url))
    body = b'{"text": "hi"}' if method in ("POST", "PUT", "PATCH") else None
    with httpx.Client(base_url=url, trust_env=False) as oracle:
        for path in PATHS:
            ours = client.exchange(Request(method, path, body=body))
            theirs = oracle.request(method, path, content=body)
            assert ours.failure == ""
            assert (ours.status, ours.content, ours.text) == (theirs.status_code, theirs.content, theirs.text)
            assert dict(ours.headers) == dict(theirs.headers)
    assert client.connects == 2  # /close spends one
    client.close()


def test_head_agrees_with_httpx(url: str) -> None:
    """HEAD gives the head that GET would, no body, and keeps the connection."""
    client = HttpClient(ClientSettings(url))
    with httpx.Client(base_url=url, trust_env=False) as oracle:
        for path in ("/", "/missing", "/none", "/"):
            ours, theirs = client.exchange(Request("HEAD", path)), oracle.head(path)
            assert (ours.failure, ours.status, ours.body) == ("", theirs.status_code, b"")
            assert dict(ours.headers) == dict(theirs.headers)
    assert client.connects == 1
    client.close()
