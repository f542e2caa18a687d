"""Find out, before any load, whether the target can be reached at all."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from loadgate.errors import TargetUnreachable
from loadgate.plan.headers import resolve_headers
from loadgate.plan.scenario import Http
from loadgate.plan.units import format_duration
from loadgate.watch.web import USER_AGENT, tls_context, why

_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)? \d{3}\b")
_TLS_ALERT: Final = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")
_ENOUGH: Final = 64
"""Bytes within which a status line must have shown."""
_SHOWN: Final = 6
"""Addresses that are named in an error."""

SocketAddress = tuple[Any, ...]


class _NotReached(Exception):
    """One address, or the look-up of the name, failed: what happened, and what to do about it."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class _Target(NamedTuple):
    host: str
    port: int
    request: bytes
    tls: ssl.SSLContext | None


def reach(host: str, http: Http, environ: Mapping[str, str]) -> None:
    """Connect to `host` and ask for its first page; any HTTP answer, of whatever status, will do.

    All addresses of the host are tried in turn. `connect_timeout` limits the look-up of the name, then all
    connecting together, and then each wait for an answer. Raises TargetUnreachable that names each address,
    port and what went wrong; PlanError when a header's secret is missing; UsageError when `ca` is unusable.
    """
    target = _target(host, http, environ)
    limit = http.connect_timeout
    try:
        addresses = _look_up(target.host, target.port, limit)
    except _NotReached as failure:
        raise TargetUnreachable(f"{host} cannot be reached: {failure.what}", hint=failure.hint) from failure
    ends = time.monotonic() + limit
    tried, hints = [], []
    for index, (family, address) in enumerate(addresses):
        share = max(0.0, ends - time.monotonic()) / (len(addresses) - index)
        try:
            _try(target, family, address, share, limit)
        except _NotReached as failure:
            tried.append(f"{address[0]} port {address[1]}: {failure.what}")
            hints.append(failure.hint)
        else:
            return
    more = f"; and {len(tried) - _SHOWN} more" if len(tried) > _SHOWN else ""
    raise TargetUnreachable(
        f"{host} cannot be reached; tried {'; '.join(tried[:_SHOWN])}{more}",
        hint="; ".join(dict.fromkeys(hints)),
    )


def _target(host: str, http: Http, environ: Mapping[str, str]) -> _Target:
    """Work out where to connect and what to send."""
    parts = urlsplit(host)
    name = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if not name.isascii():
        name = name.encode("idna").decode("ascii")
    shown = f"[{name}]" if ":" in name else name
    own = {"Host": shown if port == (443 if secure else 80) else f"{shown}:{port}", "User-Agent": USER_AGENT}
    given = resolve_headers(http, environ)
    given_names = {header.lower() for header in given}
    headers = {header: value for header, value in own.items() if header.lower() not in given_names} | given
    lines = [
        f"GET {parts.path.rstrip('/')}/ HTTP/1.1",
        *(f"{header}: {value}" for header, value in headers.items()),
    ]
    request = "\r\n".join([*lines, "Accept: */*", "Connection: close", "", ""]).encode("latin-1")
    return _Target(name, port, request, tls_context(http) if secure else None)


def _look_up(host: str, port: int, limit: float) -> list[tuple[int, SocketAddress]]:
    """Resolve a host; in a thread, since the system's resolver knows no time limit."""
    found: list[tuple[int, SocketAddress]] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            found.extend(dict.fromkeys((int(row[0]), row[4]) for row in rows))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="loadgate-look-up", daemon=True)
    asking.start()
    asking.join(limit)
    hint = "check the name in `host` or --host, and this machine's name service"
    if failed:
        raise _NotReached(f"the name {host} cannot be resolved: {why(failed[0])}", hint)
    if not found:
        raise _NotReached(f"the name {host} was not resolved within {format_duration(limit)}", hint)
    return found


def _try(target: _Target, family: int, address: SocketAddress, connect_limit: float, limit: float) -> None:
    """Connect to one address, shake hands and wait for a status line; _NotReached says what failed."""
    ends = time.monotonic() + connect_limit
    with socket.socket(family, socket.SOCK_STREAM) as plain:
        try:
            plain.settimeout(max(connect_limit, 0.001))
            plain.connect(address)
        except OSError as error:
            raise _no_connection(error, connect_limit) from error
        with _shaken(target, plain, ends) as sock:
            _ask(sock, target.request, time.monotonic() + limit, limit)


def _no_connection(error: OSError, limit: float) -> _NotReached:
    if isinstance(error, TimeoutError):
        what = f"no connection within {format_duration(limit)}"
        return _NotReached(what, "check the address, and firewalls between here and there")
    if isinstance(error, ConnectionRefusedError):
        return _NotReached("connection refused", "start the service, or name its port with --host")
    return _NotReached(why(error), "check the address, and the network of this machine")


def _shaken(target: _Target, plain: socket.socket, ends: float) -> socket.socket:
    """Return the socket to talk over: after the TLS handshake, where there is one."""
    if target.tls is None:
        return plain
    try:
        plain.settimeout(max(ends - time.monotonic(), 0.001))
        return target.tls.wrap_socket(plain, server_hostname=target.host)
    except ssl.SSLCertVerificationError as error:
        hint = "name the authority's PEM file with `ca` under [http], or for a test system set verify = false"
        raise _NotReached(why(error), hint) from error
    except TimeoutError as error:
        raise _NotReached("no TLS handshake in time", "check that the port speaks TLS") from error
    except OSError as error:
        text = why(error)
        what = text if text.startswith("TLS") else f"TLS failed: {text}"
        hint = "check that the port speaks TLS (is it http:// instead of https://?)"
        raise _NotReached(what, f"{hint}; `ca` and `verify` under [http] say whom to trust") from error


def _ask(sock: socket.socket, request: bytes, ends: float, limit: float) -> None:
    """Send the request and wait for the beginning of an HTTP answer."""
    got = b""
    try:
        sock.settimeout(limit)
        sock.sendall(request)
        while len(got) < _ENOUGH and not _STATUS_LINE.match(got):
            sock.settimeout(max(ends - time.monotonic(), 0.001))
            piece = sock.recv(_ENOUGH)
            if not piece:
                break
            got += piece
    except TimeoutError as error:
        what = f"connected, but no HTTP answer within {format_duration(limit)}"
        raise _NotReached(what, "see whether the service hangs, or raise http.connect_timeout") from error
    except OSError as error:
        if not got:
            raise _NotReached(
                f"connected, then {why(error)}", "see the service's own log; https:// instead of http://?"
            ) from error
    if _STATUS_LINE.match(got):
        return
    if not got:
        what, hint = "connected, and closed without an answer", "see the service's own log; is it https://?"
    elif _TLS_ALERT.match(got):
        what, hint = "the port speaks TLS", "write https:// instead of http://"
    else:
        what, hint = f"answered, but not in HTTP: {got[:20]!r}", "check the port"
    raise _NotReached(what, hint)
