"""Is there anybody, before any load?"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from loadgate.errors import TargetUnreachable
from loadgate.exit_codes import ExitCode
from loadgate.plan.problems import PlanError
from loadgate.plan.scenario import Http
from loadgate.watch.reach import reach

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give a certificate authority that nobody knows."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Give the server side of TLS for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def failure_of(host: str, http: Http | None = None) -> TargetUnreachable:
    """Return the error of a target that is not reachable."""
    with pytest.raises(TargetUnreachable) as caught:
        reach(host, http or Http(connect_timeout=2.0), {})
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Internal Server Error", "429 Too Many"])
def test_any_status_is_an_answer(raw_server, http_answer, status):
    """Whether it is a good one is for the run to find out."""
    reach(raw_server(http_answer(b"", status)).url, Http(), {})


def test_the_request_is_a_plain_get_with_the_plans_headers(raw_server):
    """Below the host's own prefix, with secrets from the environment."""
    server = raw_server(OK)
    http = Http(headers={"Authorization": "env:TOKEN", "user-agent": "mine"})
    reach(server.url + "/app", http, {"TOKEN": "Bearer x"})
    head = server.requests[0].decode()
    assert head.startswith("GET /app/ HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "Authorization: Bearer x\r\n" in head
    assert head.lower().count("user-agent:") == 1


def test_a_missing_secret_is_a_fault_of_the_plan(raw_server):
    """Nothing is sent without it."""
    server = raw_server(OK)
    with pytest.raises(PlanError):
        reach(server.url, Http(headers={"Authorization": "env:TOKEN"}), {})
    assert server.requests == []


def test_refused(closed_port):
    """Address and port are named, and what to do."""
    error = failure_of(f"http://127.0.0.1:{closed_port}")
    assert error.message == (
        f"http://127.0.0.1:{closed_port} cannot be reached; "
        f"tried 127.0.0.1 port {closed_port}: connection refused"
    )
    assert "start the service" in error.hint


def test_all_addresses_are_tried_and_named(monkeypatch, closed_port):
    """A name with two addresses, both dead."""
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", closed_port)) for last in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: rows)
    message = failure_of(f"http://two.test:{closed_port}").message
    assert f"127.0.0.1 port {closed_port}: connection refused" in message
    assert f"127.0.0.2 port {closed_port}: connection refused" in message


def test_one_address_that_answers_is_enough(monkeypatch, raw_server):
    """The first is dead, the second is not."""
    server = raw_server(OK, host="127.0.0.2")
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", server.port)) for last in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: rows)
    reach(f"http://two.test:{server.port}", Http(), {})
    assert len(server.requests) == 1


def test_a_name_that_nobody_knows(monkeypatch):
    """The resolver's own words."""

    def unknown(*args: object, **kwargs: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure_of("http://no-such-host.invalid:3000")
    assert error.message == (
        "http://no-such-host.invalid:3000 cannot be reached: "
        "the name no-such-host.invalid cannot be resolved: Name or service not known"
    )
    assert "check the name" in error.hint


def test_a_target_that_takes_the_connection_and_hangs(raw_server):
    """Listening is not answering."""
    error = failure_of(raw_server(None).url, Http(connect_timeout=0.05))
    assert "connected, but no HTTP answer within 50ms" in error.message


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (b"", "connected, and closed without an answer", "log"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "answered, but not in HTTP", "check the port"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the port speaks TLS", "https://"),
    ],
)
def test_something_else_listens(raw_server, answer, said, hint):
    """Another protocol is named as well as can be told."""
    error = failure_of(raw_server(answer).url)
    assert said in error.message
    assert hint in error.hint


def test_tls_with_its_authority(raw_server, server_tls, authority, tmp_path: Path):
    """The certificate is checked against `ca`."""
    server = raw_server(OK, tls=server_tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    reach(server.url, Http(ca=tmp_path / "ca.pem"), {})


def test_tls_without_its_authority(raw_server, server_tls):
    """The hint names both ways out."""
    error = failure_of(raw_server(OK, tls=server_tls).url)
    assert "the certificate is not trusted" in error.message
    assert "ca" in error.hint
    assert "verify = false" in error.hint


def test_tls_without_verification(raw_server, server_tls):
    """For test systems."""
    reach(raw_server(OK, tls=server_tls).url, Http(verify=False), {})


def test_https_to_a_port_that_speaks_http(raw_server):
    """The handshake fails, and the hint asks about the scheme."""
    server = raw_server(OK)
    server.answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    error = failure_of(server.url.replace("http://", "https://"), Http(connect_timeout=0.5))
    assert "TLS" in error.message


def test_ipv6(raw_server, closed_port):
    """An address in brackets, both ways."""
    server = raw_server(OK, host="::1")
    reach(server.url, Http(), {})
    assert f"Host: [::1]:{server.port}".encode() in server.requests[0]
    assert (
        f"tried ::1 port {closed_port}: connection refused"
        in failure_of(f"http://[::1]:{closed_port}").message
    )
