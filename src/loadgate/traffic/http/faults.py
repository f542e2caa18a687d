"""Name the ways in which an exchange can fail. The kinds are stable: runs store them and group by them."""

from __future__ import annotations

import errno
import os

REFUSED = "connection refused"
CONNECT_TIMEOUT = "connect timeout"
TIMEOUT = "timeout"
UNREACHABLE = "unreachable"
RESET = "connection reset"
CLOSED_EARLY = "closed early"
TRUNCATED = "truncated body"
MALFORMED = "malformed response"
HEAD_TOO_LARGE = "head too large"
BODY_TOO_LARGE = "body too large"
TLS = "tls"
DNS = "dns"
UNSENT = "unsent"
"""The generator itself could not open a connection: no descriptors, ports or source address left."""

KINDS = (
    REFUSED,
    CONNECT_TIMEOUT,
    TIMEOUT,
    UNREACHABLE,
    RESET,
    CLOSED_EARLY,
    TRUNCATED,
    MALFORMED,
    HEAD_TOO_LARGE,
    BODY_TOO_LARGE,
    TLS,
    DNS,
    UNSENT,
)

_BY_ERRNO = {
    errno.ECONNREFUSED: REFUSED,
    errno.ETIMEDOUT: CONNECT_TIMEOUT,
    errno.ECONNRESET: RESET,
    errno.ECONNABORTED: RESET,
    errno.EPIPE: RESET,
    errno.ENETUNREACH: UNREACHABLE,
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.EHOSTDOWN: UNREACHABLE,
    errno.ENETDOWN: UNREACHABLE,
}


class Fault(Exception):
    """Carry a kind and its detail from where a connection could not be made to where it is counted."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


def connect_fault(number: int | None) -> Fault:
    """Turn the errno of a failed connect into its kind; what is not the network's doing is `unsent`."""
    number = number or 0
    return Fault(_BY_ERRNO.get(number, UNSENT), os.strerror(number))


def stream_fault(number: int | None) -> Fault:
    """Turn the errno of a failed send or receive into its kind."""
    number = number or 0
    if number == errno.ETIMEDOUT:  # the kernel gave up on an established connection
        return Fault(RESET, os.strerror(number))
    return Fault(_BY_ERRNO.get(number, RESET), os.strerror(number))
