"""How probes ask over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loadgate.errors import UsageError
from loadgate.plan.scenario import Http
from loadgate.watch import web
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Answer
from loadgate.watch.web import Exchange, address_of, ask, exchange, make_client, same_origin, tls_context


def asked(url: str, limit: float = 5.0, headers: dict[str, str] | None = None) -> Answer:
    """Ask once, in an event loop of its own."""

    async def once() -> Answer:
        async with make_client(Http(), secure=False) as client:
            return await ask(client, url, headers or {}, limit)

    return asyncio.run(once())


def test_an_answer_is_its_status_and_its_whole_body(raw_server, http_answer):
    """A status other than 200 is an answer too."""
    server = raw_server(http_answer(b'{"ok":false}', "503 Service Unavailable"))
    assert asked(server.url + "/health") == Answer(503, b'{"ok":false}')


def test_a_redirect_is_an_answer_and_not_followed(raw_server):
    """A health check that redirects does not say that the service is well."""
    server = raw_server(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
    assert asked(server.url).status == 302
    assert len(server.requests) == 1


def test_headers_are_sent_and_proxies_of_the_environment_are_not_used(raw_server, http_answer, monkeypatch):
    """The probe goes straight to the target."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server = raw_server(http_answer(b"{}"))
    asked(server.url, headers={"Authorization": "Bearer x"})
    assert b"Authorization: Bearer x" in server.requests[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "no answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "no answer"),
        (b"SSH-2.0-OpenSSH\r\n", "no answer"),
    ],
)
def test_half_an_answer_is_none(raw_server, answer, said):
    """Closed early, truncated, and another protocol: no reading, with the reason."""
    server = raw_server(answer)
    with pytest.raises(NoReading) as caught:
        asked(server.url)
    assert caught.value.reason is Reason.CONNECTION
    assert caught.value.text.startswith(f"no answer: {server.url}")


def test_nobody_there(closed_port):
    """The system's own words say what happened."""
    with pytest.raises(NoReading, match="Connection refused"):
        asked(f"http://127.0.0.1:{closed_port}/health")


def test_no_answer_in_time(raw_server):
    """A target that hangs costs no more than the limit."""
    server = raw_server(None)
    with pytest.raises(NoReading) as caught:
        asked(server.url, limit=0.05)
    assert caught.value.reason is Reason.TIMEOUT
    assert caught.value.message == f"no answer in time: {server.url} took more than 0.05 s"


def test_an_endless_answer_is_cut_off(raw_server, http_answer, monkeypatch):
    """A probe reads at most a few megabytes."""
    monkeypatch.setattr(web, "LARGEST", 1000)
    server = raw_server(http_answer(b"x" * 5000))
    with pytest.raises(NoReading) as caught:
        asked(server.url)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("host", "http", "url"),
    [
        ("http://a:3000", "/health", "http://a:3000/health"),
        ("http://a:3000/app", "/health", "http://a:3000/app/health"),
        ("http://a:3000", "http://b/metrics?x=1", "http://b/metrics?x=1"),
    ],
)
def test_a_path_is_below_the_host(host, http, url):
    """And a whole URL stands for itself."""
    assert address_of(host, http) == url


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("http://a:80/x", "http://A/y", True),
        ("https://a/x", "https://a:443", True),
        ("http://a", "https://a", False),
        ("http://a:3000", "http://a:3001", False),
        ("http://a", "http://b", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(first, second, same):
    """Default ports count as written."""
    assert same_origin(first, second) is same


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_unusable_ca_is_an_error_before_the_load(tmp_path: Path, content):
    """Missing, or no PEM file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"http\.ca"):
        tls_context(Http(ca=path))


def test_an_exchange_holds_headers_and_our_own_address(raw_server):
    """Names in lower case, each value as it came; and the request is sent as it was given."""
    server = raw_server(b"HTTP/1.1 400 Bad\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\n{}")

    async def once() -> Exchange:
        async with make_client(Http(), secure=False) as client:
            return await exchange(client, "PUT", server.url + "/x", {"X-B": "3"}, 5.0, 100, b"body")

    answer = asyncio.run(once())
    assert (answer.status, answer.body, answer.own) == (400, b"{}", "127.0.0.1")
    assert [item for item in answer.headers if item[0] == "x-a"] == [("x-a", "1"), ("x-a", "2")]
    assert (answer.header("x-a"), answer.header("x-c")) == ("1", "")
    assert server.requests[0].startswith(b"PUT /x HTTP/1.1\r\n")
    assert b"X-B: 3\r\n" in server.requests[0]
    assert b"Content-Length: 4\r\n" in server.requests[0]
