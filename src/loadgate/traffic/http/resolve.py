"""Look the target's addresses up without blocking the other users, and remember them briefly."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import gevent.socket
from gevent.lock import Semaphore

from loadgate.traffic.http.faults import DNS, Fault

REMEMBERED = 10.0
"""Seconds for which an answer is used again; a target that moves is followed within this time."""

_clock = time.monotonic

Address = tuple[int, tuple[Any, ...]]
"""An address family and the socket address that belongs to it."""


class Resolver:
    """Resolve one host and port; many users that ask at once cause one look-up."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._known: tuple[Address, ...] = ()
        self._good_until = 0.0
        self._asking = Semaphore()
        try:
            version = ipaddress.ip_address(host.partition("%")[0]).version
        except ValueError:
            return
        if "%" not in host:
            self._known = (_literal(host, port, version),)
            self._good_until = float("inf")

    def addresses(self) -> tuple[Address, ...]:
        """Return every address in the resolver's order, each once; Fault `dns` when there is none."""
        if _clock() < self._good_until:
            return self._known
        with self._asking:
            if _clock() < self._good_until:
                return self._known
            try:
                found = gevent.socket.getaddrinfo(
                    self._host, self._port, type=gevent.socket.SOCK_STREAM, proto=gevent.socket.IPPROTO_TCP
                )
            except (OSError, UnicodeError) as error:
                raise Fault(DNS, f"{self._host}: {error}") from error
            self._known = tuple(dict.fromkeys((int(row[0]), tuple(row[4])) for row in found))
            self._good_until = _clock() + REMEMBERED
        if not self._known:
            raise Fault(DNS, f"{self._host} has no address")
        return self._known


def _literal(host: str, port: int, version: int) -> Address:
    if version == 6:
        return int(gevent.socket.AF_INET6), (host, port, 0, 0)
    return int(gevent.socket.AF_INET), (host, port)
