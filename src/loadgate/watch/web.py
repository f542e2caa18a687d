"""Ask a target over HTTP, on a connection of its own for each attempt, within a time limit."""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
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


class Exchange(NamedTuple):
    """A whole answer: its status, its headers as they came (names in lower case), its body, decoded.

    `own` is this side's address of the connection, which a target may echo.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    own: str = ""

    def header(self, name: str) -> str:
        """Return the first header of a name in lower case; "" where there is none."""
        return next((value for key, value in self.headers if key == name), "")


async def ask(client: httpx.AsyncClient, url: str, headers: Mapping[str, str], limit: float) -> Answer:
    """Get a URL and return status and body; NoReading when there is no whole answer in `limit` seconds."""
    answer = await exchange(client, "GET", url, headers, limit, LARGEST)
    return Answer(answer.status, answer.body)


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str],
    limit: float,
    largest: int,
    content: bytes | None = None,
) -> Exchange:
    """Send a request and return the whole answer; NoReading when there is none in `limit` seconds.

    A body of more than `largest` bytes, as it comes or decoded, is none (TOO_LARGE): it is not read on.
    """
    try:
        async with (
            asyncio.timeout(limit),
            client.stream(method, url, headers=dict(headers), content=content) as response,
        ):
            own = _own_address(response)  # while the connection is there
            return Exchange(
                response.status_code,
                tuple((name.lower(), value) for name, value in response.headers.multi_items()),
                await _body(response, url, largest),
                own,
            )
    except TimeoutError:
        raise NoReading(Reason.TIMEOUT, f"{url} took more than {limit:.3g} s") from None
    except httpx.ConnectTimeout:
        raise NoReading(Reason.TIMEOUT, f"no connection to {url} within the connect timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise NoReading(Reason.CONNECTION, f"{url}: {why(error)}") from error


async def _body(response: httpx.Response, url: str, largest: int) -> bytes:
    """Read a body within its bound; of one that says that it is larger, nothing."""
    too_large = NoReading(Reason.TOO_LARGE, f"more than {largest} bytes from {url}")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > largest:
        raise too_large
    # "identity" was asked for. httpx would decode whatever comes without any bound.
    coded = response.headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate")
    unpack = zlib.decompressobj(wbits=47) if coded else None
    body = bytearray()
    async for piece in response.aiter_raw():
        try:
            body += unpack.decompress(piece, largest + 1) if unpack is not None else piece
        except zlib.error as error:
            raise NoReading(Reason.CONNECTION, f"{url}: the body cannot be unpacked: {error}") from None
        if len(body) > largest:
            raise too_large
    if unpack is not None and body and not unpack.eof:
        raise NoReading(Reason.CONNECTION, f"{url}: the packed body ended early")
    return bytes(body)


def _own_address(response: httpx.Response) -> str:
    stream = response.extensions.get("network_stream")
    address = stream.get_extra_info("client_addr") if stream is not None else None
    return str(address[0]) if address else ""


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
