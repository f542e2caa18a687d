"""What a base URL and a plan's headers mean to the client, and how names are looked up."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from loadgate.traffic.http.faults import Fault
from loadgate.traffic.http.resolve import Resolver
from loadgate.traffic.http.settings import ClientSettings, merged_headers, parse_base_url


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("http://h", ("h", 80, False, "")),
        ("https://h", ("h", 443, True, "")),
        ("http://h:8080/", ("h", 8080, False, "")),
        ("http://H.example:80/a/b/", ("h.example", 80, False, "/a/b")),
        ("http://[::1]:3000", ("::1", 3000, False, "")),
        ("http://b\u00fccher.example", ("xn--bcher-kva.example", 80, False, "")),
    ],
)
def test_base_url(url: str, parsed: tuple[str, int, bool, str]) -> None:
    """Scheme, host, port and path prefix are told apart, with the scheme's port as default."""
    assert parse_base_url(url) == parsed


@pytest.mark.parametrize(
    "url", ["", "h:80", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://h:x", "http://u:p@h",
            "http://h/?q", "http://h/#f", "http://h/a b", "http://[::1"]
)  # fmt: skip
def test_unusable_base_url(url: str) -> None:
    """What cannot be a target is a ValueError that shows the URL."""
    with pytest.raises(ValueError):
        parse_base_url(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://h", "h"), ("http://h:81", "h:81"), ("http://[::1]", "[::1]"), ("http://[::1]:8", "[::1]:8")],
)
def test_host_header(url: str, host: str) -> None:
    """Host is the authority, with the port unless it is the scheme's, and brackets for IPv6."""
    assert ClientSettings(url).fixed_headers["Host"] == host


def test_later_headers_win_in_any_case() -> None:
    """One header of a name is sent, spelt as its last giver spelt it."""
    assert merged_headers({"Host": "a", "X": "1"}, {"x": "2"}, {}) == {"Host": "a", "x": "2"}


def test_bad_settings_are_refused() -> None:
    """Headers that cannot be sent and limits that are none are errors before any load."""
    with pytest.raises(ValueError):
        ClientSettings("http://h", headers={"X": "a\r\nb"})
    with pytest.raises(ValueError, match="timeout"):
        ClientSettings("http://h", timeout=0)


def test_many_that_ask_at_once_cause_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand users that start together ask the resolver once, and each address is listed once."""
    asked: list[str] = []

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        gevent.sleep(0)
        return [(2, 1, 6, "", ("192.0.2.1", port)), (2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr("gevent.socket.getaddrinfo", look_up)
    resolver = Resolver("name.example", 80)
    jobs = [gevent.spawn(resolver.addresses) for _ in range(50)]
    gevent.joinall(jobs, raise_error=True)
    assert asked == ["name.example"]
    assert {job.value for job in jobs} == {((2, ("192.0.2.1", 80)),)}


def test_answers_are_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is good for 10 s; a failure is not remembered."""
    replies = iter([OSError("no"), [(2, 1, 6, "", ("192.0.2.1", 80))], [(2, 1, 6, "", ("192.0.2.2", 80))]])
    now = [0.0]

    def look_up(*_: Any, **__: Any) -> Any:
        reply = next(replies)
        if isinstance(reply, OSError):
            raise reply
        return reply

    monkeypatch.setattr("gevent.socket.getaddrinfo", look_up)
    monkeypatch.setattr("loadgate.traffic.http.resolve._clock", lambda: now[0])
    resolver = Resolver("name.example", 80)
    with pytest.raises(Fault, match="dns"):
        resolver.addresses()
    first = resolver.addresses()
    now[0] = 9.9
    assert resolver.addresses() == first == ((2, ("192.0.2.1", 80)),)
    now[0] = 10.1
    assert resolver.addresses() == ((2, ("192.0.2.2", 80)),)


def test_literal_addresses_are_not_looked_up() -> None:
    """An IP literal is its own address."""
    assert Resolver("127.0.0.1", 80).addresses() == ((2, ("127.0.0.1", 80)),)
    assert Resolver("::1", 80).addresses() == ((10, ("::1", 80, 0, 0)),)
