"""Find which processes listen on a port of this machine, from /proc.

psutil's own table of connections names one process per socket, but the processes of a pre-forking server
share one: the wrong one would be measured.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from loadgate.watch.parse import NoReading, Reason

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PROC: Final = Path("/proc")
REMEDY: Final = (
    'read it with a json probe, for example kind = "json", http = "/api/v1/system/processes", '
    'values = { memory = "processes[0].memory" }, or list the row under [verdict] optional'
)

_LISTEN: Final = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Listener(NamedTuple):
    """A listening TCP socket: the address and port it is bound to, and its inode."""

    address: Address
    port: int
    inode: int


def local_addresses(host: str) -> tuple[Address, ...]:
    """Resolve a host to its addresses on this machine; NoReading NOT_LOCAL when it has none, with a remedy.

    It may ask the name service, and then blocks.
    """
    try:
        rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoReading(Reason.NOT_LOCAL, f"{host} cannot be resolved: {error}", hint=REMEDY) from error
    found = dict.fromkeys(plain_address(str(row[4][0])) for row in rows)
    own = {
        plain_address(item.address)
        for items in psutil.net_if_addrs().values()
        for item in items
        if item.family in (socket.AF_INET, socket.AF_INET6)
    }
    local = tuple(address for address in found if address.is_loopback or address in own)
    if not local:
        raise NoReading(Reason.NOT_LOCAL, f"{host} is elsewhere", hint=REMEDY)
    return local


def plain_address(text: str) -> Address:
    """Read an address without its zone; an IPv4 address that is mapped into IPv6 is the IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_table(lines: Iterable[str], byteorder: str = sys.byteorder) -> Iterator[Listener]:
    """Read the listening sockets out of /proc/net/tcp or tcp6; lines of another form are passed over.

    The kernel prints addresses as 32-bit words in the `byteorder` of its machine, "little" or "big".
    """
    for line in lines:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        digits, _, port = fields[1].partition(":")
        words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
        packed = b"".join(word[::-1] for word in words) if byteorder == "little" else b"".join(words)
        yield Listener(plain_address(str(ipaddress.ip_address(packed))), int(port, 16), int(fields[9]))


def serving(listeners: Iterable[Listener], addresses: Collection[Address], port: int) -> frozenset[int]:
    """Return the inodes of the sockets that a connection to one of the addresses would reach.

    As in the kernel, a socket that is bound to the address itself comes before one bound to all addresses.
    """
    found: set[int] = set()
    on_port = [item for item in listeners if item.port == port]
    for address in addresses:
        exact = {item.inode for item in on_port if item.address == address}
        found |= exact or {item.inode for item in on_port if _covers(item.address, address)}
    return frozenset(found)


def read_listeners(proc: Path = PROC) -> list[Listener]:
    """Read the listening TCP sockets of this machine; NoReading NOT_OFFERED where there is no /proc."""
    found: list[Listener] = []
    tables = 0
    for name in ("tcp", "tcp6"):
        try:
            with (proc / "net" / name).open(encoding="ascii") as lines:
                found += parse_table(lines)
        except FileNotFoundError:  # a kernel without IPv6
            continue
        tables += 1
    if not tables:
        raise NoReading(
            Reason.NOT_OFFERED, f"{proc}/net/tcp is not there", hint='use "pid:N" or "pidfile:PATH"'
        )
    return found


def holders(inodes: Collection[int], proc: Path = PROC) -> frozenset[int]:
    """Return the ids of the processes that hold any of these sockets open.

    NoReading NO_PERMISSION when none is found, since sockets that listen have somebody who holds them: a
    process of another user, or of a container.
    """
    found: set[int] = set()
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if any(inode in inodes for inode in _sockets(folder / "fd")):
                found.add(int(folder.name))
        except OSError:  # not ours to look at, or it ended while we looked
            continue
    if not found:
        raise NoReading(
            Reason.NO_PERMISSION,
            "the process that listens cannot be seen: it belongs to another user or a container",
            hint='run as that user or as root, or use "pid:N"',
        )
    return frozenset(found)


def _sockets(folder: Path) -> Iterator[int]:
    """Yield the inodes of the sockets among a process's open files."""
    with os.scandir(folder) as files:
        for file in files:
            try:
                match = _SOCKET.fullmatch(os.readlink(file.path))
            except FileNotFoundError:  # closed while we looked
                continue
            if match is not None:
                yield int(match[1])


def _covers(bound: Address, address: Address) -> bool:
    """Tell whether a socket bound to all addresses takes this one; an IPv6 socket takes IPv4 as well."""
    return bound.is_unspecified and (bound.version == address.version or bound.version == 6)
