"""Hold a request and its response as plain values, without any I/O.

A task builds a `Request` with `Get`, `Post`, `Put`, `Patch`, `Delete`, `Head` or `Options`; the client
turns it into a `Response`. What the target did wrong is in `Response.failure`, never in an exception.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

MAX_DECODED = 64 * 1024 * 1024
"""Most bytes that a compressed body may unfold to when a check reads it."""

JSON_TYPE = "application/json"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_FRAMING = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer"})

_known_paths: dict[str, str] = {}
_KNOWN_PATHS_MAX = 4096


class Request:
    """Describe one HTTP request; `endpoint` and `check` are filled in by whoever names it.

    `timeout` is the total time in seconds, None for the client's own. A path with characters that may not
    stand in a request line, or a header that would break the head (CR, LF, NUL, a bad name), raises
    ValueError here, before anything is sent.
    """

    __slots__ = ("body", "check", "content_type", "endpoint", "headers", "method", "path", "timeout")

    method: str
    path: str
    headers: Mapping[str, str] | None
    body: bytes | None
    content_type: str
    timeout: float | None
    endpoint: str
    check: Callable[[Response], object] | None

    def __init__(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        if not _TOKEN.fullmatch(method) or method == "CONNECT":
            raise ValueError(f"{method!r} is not a method that can be sent")
        _fill(self, method, path, json, body, headers, timeout)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


def _fill(
    request: Request,
    method: str,
    path: str,
    json: Any,
    body: bytes | str | None,
    headers: Mapping[str, str] | None,
    timeout: float | None,
) -> Request:
    request.method = method
    request.path = _known_paths.get(path) or _checked_path(path)
    request.endpoint = ""
    request.check = None
    request.content_type = ""
    request.headers = None
    request.timeout = timeout
    if json is not None:
        if body is not None:
            raise ValueError("a request takes json= or body=, not both")
        request.body = orjson.dumps(json)
        request.content_type = JSON_TYPE
    else:
        request.body = body.encode() if isinstance(body, str) else body
    if headers:
        request.headers = checked_headers(headers)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    return request


def _maker(method: str) -> Callable[..., Request]:
    new = Request.__new__

    def make(
        path: str,
        *,
        json: Any = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Request:
        return _fill(new(Request), method, path, json, body, headers, timeout)

    make.__name__ = make.__qualname__ = method.capitalize()
    make.__doc__ = (
        f"Make a {method} request for `path` (it starts with a slash).\n\n"
        "`json` is serialised once, here; `body` is sent as it is; `timeout` is in seconds, in total."
    )
    return make


Get = _maker("GET")
Post = _maker("POST")
Put = _maker("PUT")
Patch = _maker("PATCH")
Delete = _maker("DELETE")
Head = _maker("HEAD")
Options = _maker("OPTIONS")


def _checked_path(path: str) -> str:
    """Return the path as it goes on the wire: text beyond ASCII is percent-encoded; ValueError if unfit."""
    wire = path if path.isascii() else quote(path, safe="!#$%&'()*+,/:;=?@[]~")
    if not (wire.startswith("/") or wire == "*") or not _TARGET.fullmatch(wire) or "#" in wire:
        raise ValueError(
            f"{path!r} cannot be sent as a path: it must start with '/' and hold no space, '#' or control "
            "character (percent-encode them)"
        )
    if len(_known_paths) >= _KNOWN_PATHS_MAX:
        _known_paths.clear()
    _known_paths[path] = wire
    return wire


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers when each may be sent; raise ValueError naming the one that may not."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name")
        if name.lower() in _FRAMING:
            raise ValueError(f"the header {name!r} is the client's own to send")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name!r} holds a character that may not be sent")
    return headers


class Headers(Mapping[str, str]):
    """Look response headers up by name in any case; several of one name are joined with ', '."""

    __slots__ = ("_values",)

    def __init__(self, head: bytes) -> None:
        values: dict[str, str] = {}
        for line in head.decode("latin-1").split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                continue
            name, value = name.lower(), value.strip(" \t")
            values[name] = f"{values[name]}, {value}" if name in values else value
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


class Response:
    """Hold what came back for one request, or what kept it from coming.

    `failure` is "" or a stable kind (see `loadgate.traffic.http.faults`), `detail` says more for people.
    `sent` is CLOCK_MONOTONIC in seconds at the first byte sent (where none was sent: when the exchange
    began), `ended` at the last byte received (or at the failure). `size` counts the bytes received, heads
    included. `status` is 0 when no complete head came. `cached` is for checks to set.
    """

    # Plain class attributes stand for the usual case, so that making a response sets only what differs.
    status: int = 0
    head: bytes = b""
    body: bytes = b""
    sent: float = 0.0
    ended: float = 0.0
    size: int = 0
    failure: str = ""
    detail: str = ""
    timed_out: bool = False
    retries: int = 0
    rate_limit_exhausted: bool = False
    cached: bool | None = None
    _headers: Headers | None = None
    _content: bytes | None = None
    _json: Any = None
    _json_read: bool = False

    @property
    def headers(self) -> Headers:
        """Read the headers of the final head (trailers are not among them)."""
        if self._headers is None:
            self._headers = Headers(self.head)
        return self._headers

    def header(self, name: str, default: str = "") -> str:
        """Return one header, whatever its case, or the default."""
        return self.headers.get(name, default)

    @property
    def content(self) -> bytes:
        """Return the body with gzip and deflate undone; ValueError when it cannot be, or is over 64 MiB."""
        if self._content is None:
            encoding = self.header("content-encoding") if b"ncoding:" in self.head.lower() else ""
            self._content = decoded(self.body, encoding) if encoding and self.body else self.body
        return self._content

    @property
    def text(self) -> str:
        """Return the content as text in the charset that Content-Type names, else UTF-8."""
        found = re.search(r'charset="?([\w.:-]+)', self.header("content-type"), re.IGNORECASE)
        try:
            return self.content.decode(found[1] if found else "utf-8", "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the content parsed as JSON, once; ValueError when it is not JSON."""
        if not self._json_read:
            self._json = orjson.loads(self.content)
            self._json_read = True
        return self._json

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.failure or 'ok'} {self.size} bytes>"


def decoded(body: bytes, encoding: str, limit: int = MAX_DECODED) -> bytes:
    """Undo the content codings, last applied first; ValueError for one that is unknown, broken or too big."""
    for coding in reversed([part.strip().lower() for part in encoding.split(",")]):
        if coding in ("", "identity"):
            continue
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise ValueError(f"the body is encoded as {coding!r}, which was not asked for")
        try:
            body = _inflated(body, 31 if coding != "deflate" else _deflate_bits(body), limit)
        except zlib.error as error:
            raise ValueError(f"the body is not valid {coding}: {error}") from error
    return body


def _deflate_bits(body: bytes) -> int:
    """Tell the zlib wrapper that the standard asks for from the bare stream that some servers send."""
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return 15 if wrapped else -15


def _inflated(body: bytes, bits: int, limit: int) -> bytes:
    parts: list[bytes] = []
    room = limit
    while body:
        stream = zlib.decompressobj(bits)
        part = stream.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            raise ValueError(f"the body unfolds to more than {limit} bytes")
        if not stream.eof:
            raise ValueError("the compressed body ends early")
        parts.append(part)
        body = stream.unused_data  # gzip may hold several members, one after the other
    return b"".join(parts)
