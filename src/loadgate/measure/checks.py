"""Checks of single values that came over the wire. A bool is an int in Python, but never a number here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from loadgate.errors import MeasureError

LARGEST_INT = 2**60
"""No count, second or sequence number on the wire is greater."""
LONGEST_TEXT = 4096
"""Characters of the longest text on the wire."""

_T = TypeVar("_T")


def plain(text: object) -> str:
    """Return text that fits the wire: cut to LONGEST_TEXT, lone surrogates replaced."""
    return str(text)[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """Return a map with text keys, or raise MeasureError."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise MeasureError(f"{what} is not a map of named values")
    return value


def entries(value: object, names: set[str], what: str) -> Mapping[str, Any]:
    """Return a map that has exactly these keys, or raise MeasureError."""
    if type(value) is dict and value.keys() == names:
        return value
    found = mapping(value, what)
    if set(found) != names:
        raise MeasureError(f"{what} lacks or has unknown entries: {sorted(set(found) ^ names)[:5]}")
    return found


def row(value: object, names: Sequence[str], what: str) -> dict[str, Any]:
    """Return a list of as many values as there are names, by name, or raise MeasureError."""
    if not isinstance(value, (list, tuple)) or len(value) != len(names):
        raise MeasureError(f"{what} does not have {len(names)} values")
    return dict(zip(names, value, strict=True))


def each(value: object, most: int, what: str, read: Callable[[object], _T]) -> list[_T]:
    """Return each item of a list of at most `most` as `read` gives it, or raise MeasureError."""
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise MeasureError(f"{what} are no list of at most {most}")
    return [read(one) for one in value]


def text(value: object, what: str, *, empty: bool = True) -> str:
    """Return a text of at most LONGEST_TEXT characters, or raise MeasureError."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not (value or empty):
        raise MeasureError(f"{what} is not a text of at most {LONGEST_TEXT} characters")
    return value


def whole(value: object, what: str, least: int = 0) -> int:
    """Return a whole number of `least`..LARGEST_INT, or raise MeasureError."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST_INT:
        raise MeasureError(f"{what} is not a whole number of at least {least}")
    return value


def number(value: object, what: str) -> float:
    """Return a finite number as a float, or raise MeasureError."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise MeasureError(f"{what} is not a number")
    try:
        found = float(value)
    except OverflowError as error:
        raise MeasureError(f"{what} is too large a number") from error
    if not math.isfinite(found):
        raise MeasureError(f"{what} is not a finite number")
    return found
