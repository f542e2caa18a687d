"""Quantities with units, as plans write them: durations, rates, shares and sizes.

Every `parse_*` takes text and returns SI (seconds, per second, 0..1, bytes), correctly rounded;
it raises `UnitError`, a ValueError whose text names the fault and shows a right value.
Every `format_*` writes text that people read and that the matching `parse_*` takes back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

DURATION_UNITS: Final[dict[str, Fraction]] = {
    "us": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}
RATE_UNITS: Final[dict[str, Fraction]] = {"s": Fraction(1), "m": Fraction(1, 60), "h": Fraction(1, 3600)}
BYTE_UNITS: Final[dict[str, Fraction]] = {
    "B": Fraction(1),
    "kB": Fraction(10**3),
    "KB": Fraction(10**3),
    "MB": Fraction(10**6),
    "GB": Fraction(10**9),
    "TB": Fraction(10**12),
    "KiB": Fraction(2**10),
    "MiB": Fraction(2**20),
    "GiB": Fraction(2**30),
    "TiB": Fraction(2**40),
}

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_PART = re.compile(r"\s*" + _NUMBER + r"\s*([A-Za-zµμ]+)", re.ASCII)
_RATE = re.compile(_NUMBER + r"\s*(?:req|requests)?\s*/\s*([A-Za-z]+)", re.ASCII)
_SHARE = re.compile(_NUMBER + r"\s*%", re.ASCII)
_BYTES = re.compile(_NUMBER + r"\s*([A-Za-z]+)", re.ASCII)


class UnitError(ValueError):
    """Say what is wrong with a quantity in `message` and show a right one in `hint`."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint


class UnitErrors(ValueError):
    """Several faults of one list or table, each with its index or key."""

    def __init__(self, faults: Sequence[tuple[str | int, UnitError]]) -> None:
        super().__init__("; ".join(str(fault) for _, fault in faults))
        self.faults = tuple(faults)


def _fault(text: str, what: str, hint: str, units: dict[str, Fraction] | None = None) -> UnitError:
    """Choose the most telling message for text that is not a quantity."""
    stripped = text.strip()
    if stripped.startswith("-"):
        return UnitError(f"'{stripped}' is negative", hint)
    if _PLAIN.fullmatch(stripped):
        return UnitError(f"'{stripped}' has no unit", hint)
    if units and (match := _PART.fullmatch(stripped)) and match[2] not in units:
        return UnitError(f"'{match[2]}' is not a unit of {what} ({', '.join(units)})", hint)
    return UnitError(f"'{stripped}' is not a {what}", hint)


def parse_duration(text: str) -> float:
    """Read a duration such as "50ms" or "1m30s" and return seconds.

    Units are us, ms, s, m, h and d; a compound names each unit once, the largest first.
    """
    hint = 'write a number and a unit, for example "50ms", "30s", "1m30s" or "7d"'
    stripped = text.strip()
    total, position, last = Fraction(0), 0, Fraction(10**9)
    while match := _PART.match(stripped, position):
        unit = DURATION_UNITS.get(match[2].replace("µ", "u").replace("μ", "u"))
        if unit is None:
            raise _fault(match[0], "duration", hint, DURATION_UNITS)
        if unit >= last:
            raise UnitError(f"'{stripped}' does not name its units from the largest to the smallest", hint)
        total, position, last = total + Fraction(match[1]) * unit, match.end(), unit
    if position == 0 or position != len(stripped):
        raise _fault(stripped, "duration", hint, DURATION_UNITS)
    return float(total)


def parse_rate(text: str) -> float:
    """Read a rate such as "1100/s", "1100 req/s" or "60/m" and return it per second."""
    hint = 'write a number per second, minute or hour, for example "1100/s", "90/m" or "200/h"'
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise _fault(text, "rate", hint)
    if match[2] not in RATE_UNITS:
        raise UnitError(f"'/{match[2]}' is not a unit of rate (/s, /m, /h)", hint)
    return float(Fraction(match[1]) * RATE_UNITS[match[2]])


def parse_share(text: str) -> float:
    """Read a share such as "0.1%" and return it as a fraction of one (0.001).

    A share above 100 % is read too (a CPU of two cores is "200%"); who needs less checks it.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise _fault(text, "share", 'write a percentage, for example "0.1%" or "60%"')
    return float(Fraction(match[1]) / 100)


def parse_bytes(text: str) -> float:
    """Read a size such as "500MB" (10^6) or "512MiB" (2^20) and return bytes."""
    hint = 'write a number and a unit, for example "500MB" (10^6 bytes), "1GB" or "512MiB" (2^20 bytes)'
    match = _BYTES.fullmatch(text.strip())
    if match is None or match[2] not in BYTE_UNITS:
        raise _fault(text, "size", hint, BYTE_UNITS)
    return float(Fraction(match[1]) * BYTE_UNITS[match[2]])


def format_number(value: float) -> str:
    """Write a number with at most six significant digits and no exponent or trailing zeros."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    decimals = max(0, 5 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_duration(seconds: float) -> str:
    """Write seconds as people do: "50ms", "1.5s", "1m30s", "7d". A minute and more is kept to 1 ms."""
    if not math.isfinite(seconds):
        return "for ever" if seconds > 0 else str(seconds)
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds == 0:
        return "0s"
    if seconds < 1:
        unit = "ms" if seconds >= 0.001 else "us"
        text = format_number(float(seconds / float(DURATION_UNITS[unit])))
        return "1s" if text == "1000" and unit == "ms" else text + unit
    if seconds < 59.9995:
        return format_number(seconds) + "s"
    left, parts = round(seconds * 1000), []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    if left:
        parts.append(format_number(left / 1000) + "s")
    return "".join(parts)


def format_rate(per_second: float) -> str:
    """Write a rate per second: "1100/s"."""
    return format_number(per_second) + "/s"


def format_share(share: float) -> str:
    """Write a fraction of one as a percentage: 0.001 is "0.1%"."""
    return format_number(share * 100) + "%"


def format_bytes(size: float) -> str:
    """Write bytes in powers of ten: "500MB"."""
    for unit in ("TB", "GB", "MB", "kB"):
        scale = float(BYTE_UNITS[unit])
        if size >= scale:
            return format_number(size / scale) + unit
    return format_number(size) + "B"
