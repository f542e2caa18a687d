"""Read single facts out of a response head that llhttp has validated, without making a mapping of it."""

from __future__ import annotations

import re
from functools import lru_cache

_KEEP_ALIVE = re.compile(rb"\r\nkeep-alive:([^\r]*)", re.IGNORECASE)
_TIMEOUT = re.compile(rb"\btimeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_MAX = re.compile(rb"\bmax\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_CODINGS = re.compile(rb"\r\ntransfer-encoding:([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:", re.IGNORECASE)
_REMAINING = re.compile(rb"\r\n(?:x-)?ratelimit-remaining:([^\r]*)", re.IGNORECASE)


def transfer_codings(head: bytes) -> bytes:
    """Return all Transfer-Encoding values in lower case, joined by commas; b"" when there are none."""
    if b"ncoding:" not in head and b"ncoding:" not in head.lower():
        return b""
    return b",".join(value.strip().lower() for value in _CODINGS.findall(head))


def announces_length(head: bytes) -> bool:
    """Tell whether the head has a Content-Length."""
    return _LENGTH.search(head) is not None


def idle_limit(head: bytes) -> float:
    """Return the seconds of `Keep-Alive: timeout=N`; infinite when the server does not say."""
    found = _TIMEOUT.search(_keep_alive(head))
    return float(found[1]) if found else float("inf")


def says_max(head: bytes) -> bool:
    """Tell whether the server counts the requests that it will still take (`Keep-Alive: max=N`)."""
    return _MAX.search(_keep_alive(head)) is not None


def allows_more(head: bytes) -> bool:
    """Tell whether the server takes another request: False only for `Keep-Alive: max=0`."""
    found = _MAX.search(_keep_alive(head))
    return found is None or int(found[1]) > 0


def says_nothing_remains(head: bytes) -> bool:
    """Tell whether X-RateLimit-Remaining or RateLimit-Remaining is 0, in any spelling."""
    return any(re.split(rb"[,;]", value)[0].strip().strip(b"0") == b"" for value in _remaining(head))


def spells_remaining_oddly(head: bytes) -> bool:
    """Tell whether a rate limit header is written so that searching for `maining: 0` would miss it."""
    return bool(_remaining(head)) and b"maining: " not in head


def _remaining(head: bytes) -> list[bytes]:
    return [value for value in _REMAINING.findall(head) if value.strip()]


def _keep_alive(head: bytes) -> bytes:
    return b",".join(_KEEP_ALIVE.findall(head))


_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
"""What llhttp accepts in a header value; possessive, as nothing after it may begin with such a character."""
_FIXED = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


def likeness(head: bytes) -> re.Pattern[bytes]:
    """Return a pattern for heads that differ from this validated one in values without effect on framing.

    The status line, the names with their order and spelling, and the values that govern the connection stay
    as they are; group 1 is the length of the body. So whatever matches is framed as this head is.
    """
    lines = head[:-4].split(b"\r\n")
    skeleton = [lines[0]]
    for line in lines[1:]:
        name = line.partition(b":")[0]
        skeleton.append(line if name.lower() in _FIXED else name)
    return _likeness(tuple(skeleton))


@lru_cache(maxsize=64)  # compiling takes a good part of a millisecond, and all users meet the same heads
def _likeness(skeleton: tuple[bytes, ...]) -> re.Pattern[bytes]:
    parts = [re.escape(skeleton[0])]
    for line in skeleton[1:]:
        if b":" in line:
            parts.append(re.escape(line))
        elif line.lower() == b"content-length":
            parts.append(re.escape(line) + rb":[ \t]*+([0-9]{1,15}+)[ \t]*+")
        else:
            parts.append(re.escape(line) + b":" + _VALUE)
    return re.compile(rb"\r\n".join(parts) + rb"\r\n\r\n")


NOTHING_ALIKE = re.compile(rb"(?!)")
"""The pattern of a connection on which no head has been validated."""
