"""Count the local ports that lead to the target: they run out long before anything else on a busy host.

A port is taken per local and remote address and remote port, by every process of the network namespace, and
after a close for a minute more (TIME_WAIT). So the sockets of this process alone would not tell. The kernel
is asked for the sockets with the target's port over netlink (sock_diag(7)), which walks its table of
connections once: 0.4 ms for 262,144 buckets and 1 µs for each socket found, where reading /proc/net/tcp
takes milliseconds for every thousand sockets of the machine.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loadgate.swarm.limits import PROC

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_DONE, _ERROR = 3, 2
_DUMP: Final = 0x301
_REQ_BYTECODE: Final = 1
_GE, _LE = 4, 5
"""Operations of the kernel's filter: remote port at least, at most."""
_TIME_WAIT: Final = 6
_STATES: Final = sum(1 << state for state in range(1, 13) if state not in (7, 10))
"""All states of a connection; a socket that listens or is closed holds no port towards anybody."""
_HEADER: Final = struct.Struct("=IHHII")
_RECEIVE: Final = 256 * 1024
EVERY: Final = 10.0
"""Seconds between two counts at the least."""
SPEND: Final = 0.0002
"""The share of a core that counting may take; where a count takes long, the next one comes later."""


class PortCount:
    """Keep count of the local ports towards one remote port, without looking too often."""

    def __init__(self, port: int, proc: Path = PROC) -> None:
        self._port = port
        self._reuse = _reuse(proc)
        self._next = 0.0
        self._found: int | None = 0

    def read(self, now: float) -> int | None:
        """Return the ports in use from the local address that has most of them, as last counted.

        `now` is CLOCK_MONOTONIC seconds. None where the kernel does not tell.
        """
        if self._found is None or now < self._next:
            return self._found
        begun = time.thread_time()
        try:
            self._found = ports_towards(self._port, reuse=self._reuse)
        except OSError:
            self._found = None
        self._next = now + min(max((time.thread_time() - begun) / SPEND, EVERY), 60.0)
        return self._found


def ports_towards(port: int, *, reuse: int = 2) -> int:
    """Return the local ports in use towards a remote port, of the pair of addresses with most of them.

    `reuse` is tcp_tw_reuse: ports that wait to be forgotten count as free where the kernel gives them out
    again, which it does for all (1) or for loopback (2). OSError where the kernel does not tell.
    """
    used: Counter[bytes] = Counter()
    for family in (socket.AF_INET, socket.AF_INET6):
        for state, pair in _sockets(family, port):
            if state != _TIME_WAIT or not _free_again(reuse, family, pair):
                used[pair] += 1
    return max(used.values(), default=0)


def _sockets(family: int, port: int) -> Iterator[tuple[int, bytes]]:
    """Give state and addresses (local, remote: 16 bytes each) of every socket with a remote port."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(_question(family, port))
        while True:
            data = kernel.recv(_RECEIVE)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", data, at + _HEADER.size)[0], "sock_diag")
                yield data[at + 17], data[at + 24 : at + 56]
                at += (length + 3) & ~3


def _question(family: int, port: int) -> bytes:
    """Ask for the TCP sockets of a family whose remote port is `port`; the kernel filters."""
    # Each operation names how far to go on when it holds and when it does not; past the end means "no".
    code = struct.pack("=BBHBBHBBHBBH", _GE, 8, 20, 0, 0, port, _LE, 8, 12, 0, 0, port)
    body = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, _STATES)
    body += struct.pack("=HH", 4 + len(code), _REQ_BYTECODE) + code
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _DUMP, 1, 0) + body


def _free_again(reuse: int, family: int, pair: bytes) -> bool:
    if reuse != 2:
        return reuse == 1
    remote = pair[16:20] if family == socket.AF_INET else pair[16:32]
    return ipaddress.ip_address(remote).is_loopback


def _reuse(proc: Path) -> int:
    try:
        return int((proc / "sys/net/ipv4/tcp_tw_reuse").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
