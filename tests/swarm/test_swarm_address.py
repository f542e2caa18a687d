"""Addresses of masters, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import UsageError
from loadgate.swarm.address import DEFAULT_PORT, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:5600", "10.0.0.1", 5600),
        ("10.0.0.1", "10.0.0.1", 5557),
        ("master.example-1.test:1", "master.example-1.test", 1),
        ("load_master:65535", "load_master", 65535),
        (" master:5557\n", "master", 5557),
        ("[::1]:5600", "::1", 5600),
        ("[::1]", "::1", 5557),
        ("[fe80::1%eth0]:5600", "fe80::1%eth0", 5600),
        ("[fe80::1%br-load.7]:5600", "fe80::1%br-load.7", 5600),
        ("[::ffff:10.0.0.1]:5600", "::ffff:10.0.0.1", 5600),
    ],
)
def test_an_address_has_a_host_and_maybe_a_port(text: str, host: str, port: int) -> None:
    """HOST, HOST:PORT or [IPV6]:PORT; without a port it is Locust's own."""
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":5557",
        "host:",
        "host:0",
        "host:65536",
        "host:99999999999",
        "host:port",
        "host:-1",
        "host:5557:1",
        "host:٥٥٥٧",
        "::1",
        "fe80::1:5557",
        "[::1",
        "::1]:5557",
        "[]:5557",
        "[master]:5557",
        "[10.0.0.1]:5557",
        "[::1]5557",
        "two hosts:5557",
        "tcp://host:5557",
        "host/path",
    ],
)
def test_what_is_no_address_is_told_with_examples(text: str) -> None:
    """An IPv6 address needs its brackets, brackets need an IPv6 address, a port is 1 to 65535."""
    with pytest.raises(UsageError, match="is not an address") as caught:
        parse_address(text)
    assert "[::1]:5557" in caught.value.hint


@given(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True), st.integers(1, 65535))
def test_host_and_port_come_back(host: str, port: int) -> None:
    """Whatever plain host it is; without the port, the default."""
    assert parse_address(f"{host}:{port}") == (host, port)
    assert parse_address(host) == (host, DEFAULT_PORT)


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_every_ipv6_address_comes_back(address: object, port: int) -> None:
    """In its brackets."""
    assert parse_address(f"[{address}]:{port}") == (str(address), port)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    """Never another error, and never a port that cannot be."""
    try:
        host, port = parse_address(text)
    except UsageError:
        return
    assert host
    assert 0 < port < 65536
