"""Addresses of masters, as people write them: HOST, HOST:PORT or [IPV6]:PORT."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from loadgate.errors import UsageError

DEFAULT_PORT = 5557
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]\s]+)\]|(?P<host>[^\[\]:/\s]+))(?::(?P<port>[0-9]{1,5}))?")


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port. UsageError for anything else."""
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65536 or not _is_six(match["six"]):
        raise UsageError(
            f"{text!r} is not an address", hint='for example "10.0.0.1:5557", "master:5557" or "[::1]:5557"'
        )
    return match["six"] or match["host"], port


def _is_six(text: str | None) -> bool:
    """Tell whether what stood in brackets, if anything did, is an IPv6 address, with or without a zone."""
    if text is None:
        return True
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
