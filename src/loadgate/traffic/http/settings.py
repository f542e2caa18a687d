"""Work out once, for all clients of a run, where requests go and under which limits."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from loadgate import __version__
from loadgate.traffic.http.resolve import Resolver
from loadgate.traffic.values import checked_headers

DEFAULT_HEADERS = {
    "User-Agent": f"loadgate/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
}


@dataclass(frozen=True, eq=False)
class ClientSettings:
    """Hold the target and the limits that every client of a run shares.

    `base_url` is `http(s)://host[:port][/prefix]`; times are seconds; sizes are bytes. `headers` must be
    resolved already and win over the client's own. ValueError says what is wrong with the URL or a header.
    Making one with https costs tens of milliseconds (the certificates are read), so share it.
    """

    base_url: str
    connect_timeout: float = 2.0
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: bool = True
    ca: Path | None = None
    max_head: int = 64 * 1024
    max_body: int = 64 * 1024 * 1024

    host: str = field(init=False)
    port: int = field(init=False)
    prefix: str = field(init=False)
    tls: ssl.SSLContext | None = field(init=False)
    resolver: Resolver = field(init=False)
    fixed_headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        host, port, secure, prefix = parse_base_url(self.base_url)
        for name in ("connect_timeout", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0 seconds, not {getattr(self, name)!r}")
        authority = f"[{host}]" if ":" in host else host
        if port != (443 if secure else 80):
            authority = f"{authority}:{port}"
        own = {"Host": authority, **DEFAULT_HEADERS}
        set_ = object.__setattr__
        set_(self, "host", host)
        set_(self, "port", port)
        set_(self, "prefix", prefix)
        set_(self, "resolver", Resolver(host, port))
        set_(self, "fixed_headers", merged_headers(own, checked_headers(self.headers)))
        set_(self, "tls", _tls_context(self.verify, self.ca) if secure else None)


def parse_base_url(url: str) -> tuple[str, int, bool, str]:
    """Split a base URL into host, port, whether it is https, and a path prefix without its last slash."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a usable URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r} is not a usable URL: write http://host:port or https://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{url!r} must not hold a user name, a query or a fragment")
    if port == 0:
        raise ValueError(f"{url!r} is not a usable URL: port 0 cannot be connected to")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    prefix = parts.path.rstrip("/")
    if any(character <= " " or character > "~" for character in prefix + host):
        raise ValueError(f"{url!r} holds a character that may not be sent; percent-encode it")
    secure = parts.scheme == "https"
    return host, port or (443 if secure else 80), secure, prefix


def merged_headers(*layers: Mapping[str, str]) -> dict[str, str]:
    """Lay headers over one another, later ones winning whatever their case; order is of first mention."""
    spelling: dict[str, str] = {}
    values: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            key = name.lower()
            spelling[key] = name
            values[key] = value
    return {spelling[key]: value for key, value in values.items()}


def _tls_context(verify: bool, ca: Path | None) -> ssl.SSLContext:
    """Make the one TLS context of a run; OSError or ValueError when `ca` cannot be read."""
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except ssl.SSLError as error:
        raise ValueError(f"{ca} holds no certificates that can be read: {error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
