"""Who may ask for the live page: one rule for the control room's page and for Locust's web UI."""

from __future__ import annotations

import pytest

from loadgate.swarm.live_guard import refusal

NAME = "asked by a name that is not this machine's"
ORIGIN = "asked by a page of another origin"


@pytest.mark.parametrize("host", ["localhost:8089", "127.0.0.1:8089", "[::1]:8089", "LOCALHOST", "127.9.9.9"])
def test_a_name_of_this_machine_is_answered(host: str) -> None:
    """With or without a port."""
    assert refusal("GET", host, None, own_name=True) == ""


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "10.0.0.1:8089", "[::", "[x]"]
)
def test_any_other_name_is_refused(host: str) -> None:
    """One that is no name at all as well; beyond loopback anybody's name is answered."""
    assert refusal("GET", host, None, own_name=True) == NAME
    assert refusal("GET", host, None, own_name=False) == ""


@pytest.mark.parametrize(
    ("method", "origin", "told"),
    [
        ("POST", None, ""),
        ("POST", "http://ci.example:8089", ""),
        ("POST", "http://ci.example", ORIGIN),
        ("POST", "http://evil.example", ORIGIN),
        ("POST", "null", ORIGIN),
        ("POST", "http://[::", ORIGIN),
        ("DELETE", "http://evil.example", ORIGIN),
        ("GET", "http://evil.example", ""),
        ("HEAD", "http://evil.example", ""),
    ],
)
def test_a_page_of_another_origin_may_only_read(method: str, origin: str | None, told: str) -> None:
    """What it reads a browser does not show it; a command without a browser tells no origin."""
    assert refusal(method, "ci.example:8089", origin, own_name=False) == told
