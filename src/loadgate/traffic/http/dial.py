"""Open one connection to the target: address by address, then TLS, all within the connect timeout."""

from __future__ import annotations

import _socket
import errno
import time
from typing import Any

import gevent
from gevent import get_hub

from loadgate.traffic.http.faults import (
    CONNECT_TIMEOUT,
    RESET,
    TLS,
    UNSENT,
    Fault,
    connect_fault,
    stream_fault,
)
from loadgate.traffic.http.resolve import Address
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.http.tls import TlsChannel

_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})
_IP_BIND_ADDRESS_NO_PORT = 24
"""Linux: leave the choice of a local port to connect, so that ports run out per target, not per source."""


def dial(settings: ClientSettings, source_address: str | None, limit: float) -> tuple[Any, TlsChannel | None]:
    """Return a connected, non-blocking `_socket.socket` and its TLS channel if the target is https.

    Raise Fault `connect timeout` after `limit` seconds, or the fault of the last address that was tried.
    """
    ends = time.monotonic() + limit
    timer = gevent.Timeout(limit)
    timer.start()
    try:
        sock = _connected(settings.resolver.addresses(), source_address, ends)
        try:
            channel = _shaken(sock, TlsChannel(settings.tls, settings.host)) if settings.tls else None
        except BaseException:
            sock.close()
            raise
    except gevent.Timeout as expired:
        if expired is not timer:
            raise
        raise Fault(CONNECT_TIMEOUT, f"not connected within {limit:g} s") from None
    finally:
        timer.close()
    return sock, channel


def _connected(addresses: tuple[Address, ...], source_address: str | None, ends: float) -> Any:
    """Try the addresses in turn, each with an equal share of the time that is left."""
    fault = Fault(UNSENT, "no address to connect to")
    for tried, (family, address) in enumerate(addresses):
        share = (ends - time.monotonic()) / (len(addresses) - tried)
        try:
            return _connect(family, address, source_address, None if tried == len(addresses) - 1 else share)
        except Fault as error:
            fault = Fault(error.kind, f"{address[0]} port {address[1]}: {error.detail}")
    raise fault


def _connect(family: int, address: tuple[Any, ...], source_address: str | None, share: float | None) -> Any:
    if source_address is not None and (":" in source_address) != (family == _socket.AF_INET6):
        raise Fault(UNSENT, f"the source address {source_address} is of the other IP version")
    try:
        sock = _socket.socket(family, _socket.SOCK_STREAM, _socket.IPPROTO_TCP)
    except OSError as error:
        raise connect_fault(error.errno) from error
    try:
        sock.setblocking(False)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if source_address is not None:
            sock.setsockopt(_socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source_address, 0))
        code = sock.connect_ex(address)
        if code in _IN_PROGRESS:
            code = _outcome(sock, share)
        if code:
            raise connect_fault(code)
    except OSError as error:
        sock.close()
        raise connect_fault(error.errno) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _outcome(sock: Any, share: float | None) -> int:
    """Wait until the connect is decided and return its errno; ETIMEDOUT when its share of time is over."""
    timer = gevent.Timeout(share)
    timer.start()
    try:
        _wait(sock, 2)
    except gevent.Timeout as expired:
        if expired is not timer:
            raise
        return errno.ETIMEDOUT
    finally:
        timer.close()
    return int(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))


def _wait(sock: Any, events: int) -> None:
    """Wait until the socket is readable (1) or writable (2)."""
    hub = get_hub()
    watcher = hub.loop.io(sock.fileno(), events)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()


def _shaken(sock: Any, channel: TlsChannel) -> TlsChannel:
    """Do the TLS handshake; what the server does wrong in it is Fault `tls`."""
    done, out = channel.shake(None)
    while True:
        _send_all(sock, out)
        if done:
            return channel
        done, out = channel.shake(_receive(sock))


def _receive(sock: Any) -> bytes:
    while True:
        try:
            return bytes(sock.recv(65536))
        except BlockingIOError:
            _wait(sock, 1)
        except OSError as error:
            fault = stream_fault(error.errno)
            raise Fault(TLS if fault.kind == RESET else fault.kind, fault.detail) from error


def _send_all(sock: Any, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            _wait(sock, 2)
        except OSError as error:
            raise Fault(TLS, f"handshake: {error.strerror}") from error
