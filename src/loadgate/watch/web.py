"""Ask a target over HTTP, on a connection of its own for each attempt, within a time limit."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx

from loadgate import __version__
from loadgate.errors import UsageError
from loadgate.plan.scenario import Http
from loadgate.watch.parse import NoReading, Reason, clean
from loadgate.watch.probes import Answer

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a body that a probe reads; more is no answer to a probe."""
USER_AGENT: Final = f"loadgate/{__version__} (probe)"

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def tls_context(http: Http) -> ssl.SSLContext:
    """Make the TLS context that `ca` and `verify` ask for; UsageError when `ca` cannot be used."""
    try:
        context = ssl.create_default_context(cafile=str(http.ca) if http.ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"http.ca cannot be used: {http.ca}: {clean(str(error))}",
            hint="name a PEM file with the certificate of the authority that signed the target's",
        ) from error
    if not http.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def address_of(host: str, http: str) -> str:
    """Return the URL that a probe asks: a path is below the host's own, a whole URL stands for itself."""
    return host.rstrip("/") + http if http.startswith("/") else http


def same_origin(first: str, second: str) -> bool:
    """Tell whether two URLs have scheme, host and port in common."""
    return _origin(first) == _origin(second)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def make_client(http: Http, secure: bool) -> httpx.AsyncClient:
    """Make a client that keeps no connections, cookies or proxies; `secure` says whether any URL is https.

    A kept connection that the target closed meanwhile would read as a target that is down.
    """
    return httpx.AsyncClient(
        verify=tls_context(http) if secure else False,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=http.connect_timeout),
        limits=httpx.Limits(max_keepalive_connections=0),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json, */*", "Accept-Encoding": "identity"},
    )


async def ask(client: httpx.AsyncClient, url: str, headers: Mapping[str, str], limit: float) -> Answer:
    """Get a URL and return status and body; NoReading when there is no whole answer in `limit` seconds."""
    try:
        async with asyncio.timeout(limit), client.stream("GET", url, headers=dict(headers)) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > LARGEST:
                    raise NoReading(Reason.TOO_LARGE, f"more than {LARGEST} bytes from {url}")
            return Answer(response.status_code, bytes(body))
    except TimeoutError:
        raise NoReading(Reason.TIMEOUT, f"{url} took more than {limit:.3g} s") from None
    except httpx.ConnectTimeout:
        raise NoReading(Reason.TIMEOUT, f"no connection to {url} within the connect timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise NoReading(Reason.CONNECTION, f"{url}: {why(error)}") from error


def why(error: BaseException) -> str:
    """Say in the system's own words what broke a connection, from the innermost cause that knows."""
    said = ""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or clean(str(cause))}"
        if isinstance(cause, OSError) and cause.errno is not None:
            # gaierror counts on its own; its numbers are negative.
            said = os.strerror(cause.errno) if cause.errno > 0 else (cause.strerror or str(cause))
    return clean(said or str(error)) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it, outermost first; of a group, its members."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        waiting += [item for item in (current.__cause__, current.__context__) if item is not None]
