"""The rows of a watch database, and how those of one hour are packed into one block and back."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from loadgate.errors import StoreError
from loadgate.measure.layout import Floats
from loadgate.store.packed_columns import pack, unpack
from loadgate.store.values import from_json, to_json

_LENGTH: Final = struct.Struct(">I")


class Reading(NamedTuple):
    """One reading of a probe: `at` in run time, `took` in seconds, the value in SI units.

    A failed attempt has the value None and says why in `error`; it is "no data", never 0.
    """

    at: float
    probe: str
    reading: str
    value: float | None
    error: str
    took: float


class Point(NamedTuple):
    """What one window of an alert rule said, as the engine evaluated it.

    `seconds` is how much of the window counts, `value` is in SI (None without data, infinity for infinitely
    slow) over `n` requests or readings; `past` and `clear` say how it stood to the rule, None without data.
    Of a burn rate `pair` is the long window of the pair that was told, `short` the burn over its short one,
    and `bad` of `of` requests were bad in this window alone.
    """

    rule: str
    start: float
    end: float
    seconds: float
    value: float | None
    n: int
    past: bool | None
    clear: bool | None
    pair: float | None = None
    short: float = 0.0
    bad: int = 0
    of: int = 0


POINT_COLUMNS: Final = Point._fields


def pack_readings(readings: Sequence[Reading]) -> bytes:
    """Pack readings of one probe, in their order."""
    names = list(dict.fromkeys(item.reading for item in readings))
    errors = list(dict.fromkeys(item.error for item in readings))
    head = to_json({"readings": names, "errors": errors}).encode()
    kinds = np.array([names.index(item.reading) for item in readings], np.float64)
    faults = {error: place for place, error in enumerate(errors)}
    values = np.array([math.nan if item.value is None else item.value for item in readings])
    columns = [
        np.array([item.at for item in readings], np.float64),
        np.array([item.took for item in readings], np.float64),
        kinds,
        np.array([faults[item.error] for item in readings], np.float64),
        # Those of one reading side by side are much more alike.
        values[np.argsort(kinds, kind="stable")],
    ]
    return _LENGTH.pack(len(head)) + head + pack(columns)


def unpack_readings(probe: str, blob: bytes) -> list[Reading]:
    """Unpack what `pack_readings` packed; StoreError when it is damaged."""
    head, columns = _split(blob, 5)
    probe = sys.intern(probe)
    names, errors = [sys.intern(str(name)) for name in head["readings"]], head["errors"]
    at, took, kinds, faults, values = columns
    back = np.empty_like(values)
    back[np.argsort(kinds, kind="stable")] = values
    try:
        return [
            Reading(when, probe, names[int(kind)], _there(value), errors[int(e)], lasted)
            for when, lasted, kind, e, value in zip(
                at.tolist(), took.tolist(), kinds.tolist(), faults.tolist(), back.tolist(), strict=True
            )
        ]
    except (IndexError, ValueError) as error:
        raise StoreError("a packed block is damaged", hint="use a copy of the run") from error


def pack_points(points: Sequence[Point]) -> bytes:
    """Pack points of one rule, in their order."""
    head = to_json({}).encode()
    columns = [
        np.array([math.nan if value is None else float(value) for value in column], np.float64)
        for column in zip(*(point[1:] for point in points), strict=True)
    ]
    return _LENGTH.pack(len(head)) + head + pack(columns)


def unpack_points(rule: str, blob: bytes) -> list[Point]:
    """Unpack what `pack_points` packed; StoreError when it is damaged."""
    _, columns = _split(blob, len(POINT_COLUMNS) - 1)
    return [point_of((rule, *row)) for row in zip(*(column.tolist() for column in columns), strict=True)]


def point_of(row: Sequence[Any]) -> Point:
    """Make a point of a row's values; what is not there may be None or NaN."""
    rule, start, end, seconds, value, n, past, clear, pair, short, bad, of = row
    return Point(
        rule, start, end, seconds, _there(value), int(n), _truth(past), _truth(clear), _there(pair), short,
        int(bad), int(of),
    )  # fmt: skip


def _there(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _truth(value: float | None) -> bool | None:
    there = _there(value)
    return None if there is None else bool(there)


def _split(blob: bytes, number: int) -> tuple[Any, list[Floats]]:
    hint = "use a copy of the run"
    if len(blob) < _LENGTH.size:
        raise StoreError("a packed block is cut short", hint=hint)
    end = _LENGTH.size + _LENGTH.unpack_from(blob)[0]
    head, columns = from_json(blob[_LENGTH.size : end].decode("utf-8", "replace")), unpack(blob[end:])
    if len(columns) != number:
        raise StoreError(f"a packed block has {len(columns)} columns, not {number}", hint=hint)
    return head, columns


def require_finite(value: float | None, what: str) -> None:
    """Raise StoreError for a value that is no number."""
    if value is not None and not math.isfinite(value):
        raise StoreError(
            f"{what} is {value}, which is no number", hint="write no value, and the error instead"
        )
