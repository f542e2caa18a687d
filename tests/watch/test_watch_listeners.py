"""Who listens on a port: /proc's tables, and the open files of processes."""

from __future__ import annotations

import ipaddress
import os
import socket

import pytest

from loadgate.watch.listeners import (
    Listener,
    holders,
    local_addresses,
    parse_table,
    plain_address,
    read_listeners,
    serving,
)
from loadgate.watch.parse import NoReading, Reason

# Port 3000 is 0x0BB8, and 127.0.0.1 as a little-endian word is 0100007F.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100
   1: 0100007F:0BB8 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0 100
   cut short
"""
TABLE_6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr
   0: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 88 1 0
   1: 0000000000000000FFFF00000100007F:0BB8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 89 1 0
"""


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address."""
    return ipaddress.ip_address(text)


def test_only_listening_sockets_are_read():
    """State 0A listens; a connection on the same port does not."""
    assert list(parse_table(TABLE.splitlines(), "little")) == [
        Listener(address("127.0.0.1"), 3000, 4711),
        Listener(address("0.0.0.0"), 8080, 4713),
    ]


def test_ipv6_is_four_words():
    """::1, and an IPv4 address that is mapped into IPv6."""
    assert list(parse_table(TABLE_6.splitlines(), "little")) == [
        Listener(address("::1"), 3000, 88),
        Listener(address("127.0.0.1"), 3000, 89),
    ]


def test_a_big_endian_kernel_prints_addresses_as_they_are_written():
    """There 127.0.0.1 is 7F000001."""
    lines = TABLE.replace("0100007F", "7F000001").splitlines()
    assert next(parse_table(lines, "big")).address == address("127.0.0.1")


def test_the_table_of_this_machine_shows_a_socket_of_ours():
    """Its address, port and inode are the kernel's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = os.fstat(server.fileno()).st_ino
        assert Listener(address("127.0.0.1"), port, inode) in read_listeners()
        assert os.getpid() in holders({inode})


@pytest.mark.parametrize(
    ("bound", "wanted", "serves"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("::", "127.0.0.1", True),  # as Node listens
        ("::", "::1", True),
        ("0.0.0.0", "::1", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_which_addresses_a_socket_takes(bound, wanted, serves):
    """Its own, or all of its kind; an IPv6 socket for all takes IPv4 too."""
    assert serving([Listener(address(bound), 80, 5)], [address(wanted)], 80) == (
        frozenset({5}) if serves else frozenset()
    )


def test_a_socket_bound_to_the_address_comes_before_one_for_all():
    """The kernel gives it the connection, so its process is the target; another port is never looked at."""
    listeners = [
        Listener(address("0.0.0.0"), 80, 1),
        Listener(address("127.0.0.1"), 80, 2),
        Listener(address("127.0.0.1"), 81, 3),
    ]
    assert serving(listeners, [address("127.0.0.1")], 80) == {2}
    assert serving(listeners, [address("127.0.0.2")], 80) == {1}


@pytest.fixture
def fake_proc(tmp_path):
    """Make a /proc in which 10 and 11 share socket 77, and 12 has another."""
    for pid, inode in ((10, 77), (11, 77), (12, 78)):
        files = tmp_path / str(pid) / "fd"
        files.mkdir(parents=True)
        (files / "0").symlink_to("/dev/null")
        (files / "3").symlink_to(f"socket:[{inode}]")
    (tmp_path / "13").mkdir()  # ended while we looked
    (tmp_path / "sys").mkdir()
    return tmp_path


def test_all_processes_that_share_a_socket_hold_it(fake_proc):
    """A pre-forking server's socket belongs to its master and its workers."""
    assert holders({77}, fake_proc) == {10, 11}


def test_a_socket_that_nobody_seems_to_hold_is_somebody_elses(fake_proc):
    """It listens, so there is a holder: one that may not be seen."""
    with pytest.raises(NoReading) as caught:
        holders({99}, fake_proc)
    assert caught.value.reason is Reason.NO_PERMISSION
    assert "pid:N" in caught.value.hint


def test_a_system_without_tables_says_so(tmp_path):
    """No /proc/net/tcp is no answer, not an empty one."""
    with pytest.raises(NoReading) as caught:
        read_listeners(tmp_path)
    assert caught.value.reason is Reason.NOT_OFFERED


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1"])
def test_loopback_is_this_machine(host):
    """Every loopback address is."""
    assert local_addresses(host) == (address(host),)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_elsewhere_has_a_remedy(host):
    """The documentation's addresses are nobody's, so not ours; a json probe can read what psutil cannot."""
    with pytest.raises(NoReading) as caught:
        local_addresses(host)
    assert caught.value.reason is Reason.NOT_LOCAL
    assert caught.value.text.startswith(
        f"the target is not on this machine: {host} is elsewhere; read it with a json"
    )


def test_addresses_are_compared_without_zone_and_mapping():
    """fe80::1%eth0 is fe80::1, and ::ffff:127.0.0.1 is 127.0.0.1."""
    assert plain_address("fe80::1%eth0") == address("fe80::1")
    assert plain_address("::ffff:127.0.0.1") == address("127.0.0.1")
