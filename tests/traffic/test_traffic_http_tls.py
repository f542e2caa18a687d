"""TLS: verified by default, by name and by address, with the same framing and time limits."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from loadgate.traffic.http import faults
from loadgate.traffic.http.client import HttpClient
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.values import Get, Post

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make one certificate authority for the module."""
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    """Write the authority's certificate to a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


class Sealed:
    """A TLS server side over one plain socket, on memory buffers (gevent's SSL sockets need patched ssl)."""

    def __init__(self, sock: Any, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)
        self._do(self._object.do_handshake)

    def _do(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(65536)
                if not data:
                    return b""
                self._in.write(data)
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        self._sock.sendall(self._out.read())

    def recv(self, size: int) -> bytes:
        """Return what the client sent, b"" at its end."""
        try:
            return bytes(self._do(lambda: self._object.read(size)) or b"")
        except ssl.SSLError:
            return b""

    def sendall(self, data: bytes) -> None:
        """Send all of the data in records."""
        self._object.write(data)
        self._flush()

    def say_goodbye(self) -> None:
        """Send the closing message."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            self._flush()


def sealed(authority: trustme.CA, play: Callable[[Any], None], *names: str) -> Callable[[Any], None]:
    """Put a play behind TLS with a certificate for the names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    def over_tls(peer: Any) -> None:
        try:
            peer.sock = Sealed(peer.sock, context)
        except ssl.SSLError:
            return  # the client did not like the certificate
        play(peer)

    return over_tls


def secure(url: str, host: str = "127.0.0.1") -> str:
    """Turn a stage's URL into https, under another name if given."""
    return url.replace("http://127.0.0.1", f"https://{host}")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_verified_by_address_and_by_name(
    stage: Any, answers: Any, authority: trustme.CA, ca: Path, name: str
) -> None:
    """A certificate for the address or the name is accepted, and the connection is kept."""
    server = stage(sealed(authority, answers(OK, OK, OK), name))
    client = HttpClient(ClientSettings(secure(server.url, name), ca=ca))
    seen = [client.exchange(Post("/", json=[number])) for number in range(3)]
    assert [(r.failure, r.detail, r.body, r.size) for r in seen] == [("", "", b"ok", len(OK))] * 3
    assert client.connects == 1


def test_unknown_authority_is_refused(stage: Any, answers: Any, authority: trustme.CA) -> None:
    """Without the authority's file the certificate is not trusted: a `tls` failure, no request sent."""
    server = stage(sealed(authority, answers(OK), "127.0.0.1"))
    response = HttpClient(ClientSettings(secure(server.url))).exchange(Get("/"))
    assert (response.failure, response.status, server.requests) == (faults.TLS, 0, [])
    assert "certificate" in response.detail


def test_wrong_name_is_refused(stage: Any, answers: Any, authority: trustme.CA, ca: Path) -> None:
    """A trusted certificate for another name is not this target's."""
    server = stage(sealed(authority, answers(OK), "other.example"))
    response = HttpClient(ClientSettings(secure(server.url), ca=ca)).exchange(Get("/"))
    assert (response.failure, server.requests) == (faults.TLS, [])


def test_verification_can_be_turned_off(stage: Any, answers: Any, authority: trustme.CA) -> None:
    """verify=False takes any certificate."""
    server = stage(sealed(authority, answers(OK), "other.example"))
    assert HttpClient(ClientSettings(secure(server.url), verify=False)).exchange(Get("/")).failure == ""


def test_plain_server_behind_https_is_a_tls_failure(stage: Any) -> None:
    """A target that does not speak TLS is told as such."""
    server = stage(lambda peer: (peer.sock.recv(10), peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    assert HttpClient(ClientSettings(secure(server.url))).exchange(Get("/")).failure == faults.TLS


def test_silent_server_behind_https_is_a_connect_timeout(stage: Any) -> None:
    """The handshake is part of connecting and held to its limit."""
    server = stage(lambda peer: peer.wait_for_end())
    client = HttpClient(ClientSettings(secure(server.url), connect_timeout=0.05))
    response = client.exchange(Get("/"))
    assert (response.failure, response.timed_out) == (faults.CONNECT_TIMEOUT, True)


def test_end_of_a_close_delimited_body(stage: Any, authority: trustme.CA, ca: Path) -> None:
    """TLS's closing message ends such a body; a cut connection truncates it."""

    def polite(peer: Any) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nbody")
        peer.sock.say_goodbye()

    def rude(peer: Any) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nbody")

    server = stage(sealed(authority, polite, "127.0.0.1"), sealed(authority, rude, "127.0.0.1"))
    client = HttpClient(ClientSettings(secure(server.url), ca=ca))
    first = client.exchange(Get("/"))
    assert (first.failure, first.body) == ("", b"body")
    assert client.exchange(Get("/")).failure == faults.TRUNCATED


def test_large_bodies_over_tls(stage: Any, authority: trustme.CA, ca: Path) -> None:
    """Bodies over many records and far beyond the socket buffers arrive whole, both ways."""
    body = bytes(range(256)) * 8 * 1024  # 2 MiB

    def echo(peer: Any) -> None:
        sent = peer.request().partition(b"\r\n\r\n")[2]
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent)
        peer.wait_for_end()

    client = HttpClient(ClientSettings(secure(stage(sealed(authority, echo, "127.0.0.1")).url), ca=ca))
    response = client.exchange(Post("/", body=body))
    assert (response.failure, response.body == body) == ("", True)


def test_timeout_over_tls(stage: Any, authority: trustme.CA, ca: Path) -> None:
    """The total limit holds over TLS as well."""

    def hang(peer: Any) -> None:
        peer.request()
        peer.wait_for_end()

    client = HttpClient(ClientSettings(secure(stage(sealed(authority, hang, "127.0.0.1")).url), ca=ca))
    response = client.exchange(Get("/", timeout=0.2))
    assert (response.failure, response.timed_out) == (faults.TIMEOUT, True)


def test_unreadable_ca_is_an_error_at_once(tmp_path: Path) -> None:
    """A CA file that is missing or holds no certificate is refused before any request."""
    with pytest.raises(OSError):
        ClientSettings("https://127.0.0.1", ca=tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ValueError, match="no certificates"):
        ClientSettings("https://127.0.0.1", ca=tmp_path / "empty.pem")
