"""Turn windows into rows of the run database and back."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from loadgate.errors import StoreError
from loadgate.measure.columns import Tally
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Count, Series, Window
from loadgate.store import series_blob
from loadgate.store.series_blob import pack_series
from loadgate.store.values import from_json, to_json

KEY_COLUMNS = ("second", "span", "endpoint", "phase")
COUNT_COLUMNS = tuple(str(count) for count in Count)
# The order in which `row_of` gives and `window_of` takes values; `window_of` takes the mark of a loss after.
WINDOW_COLUMNS = (*KEY_COLUMNS, *COUNT_COLUMNS, '"over"', "histograms")

_KNOWN_COUNTS = frozenset(COUNT_COLUMNS)
_KNOWN_SERIES = frozenset(str(series) for series in Series)
_SERIES_NAMED = {name.encode("ascii"): name for name in _KNOWN_SERIES}
_VERSION = 1
_LENGTH = struct.Struct(">I")
# A full histogram of random counts takes some 210 kB.
_LONGEST_HISTOGRAM = 1 << 20


def row_of(window: Window) -> tuple[Any, ...]:
    """Give the values of a window's row in the order of WINDOW_COLUMNS; StoreError for unknown counts."""
    unknown = window.counts.keys() - _KNOWN_COUNTS
    if unknown:
        raise StoreError(f"a window holds a count that the run database has no column for: {min(unknown)!r}")
    return (
        window.second,
        window.span,
        window.endpoint,
        window.phase,
        *(window.counts.get(name, 0) for name in COUNT_COLUMNS),
        to_json(dict(sorted(window.over.items()))),
        pack_series(window.histograms),
    )


def window_of(row: Sequence[Any], series: Collection[str] | None = None) -> Window:
    """Make the window of a row; of its histograms only those of `series`, which costs less than all.

    The row has the WINDOW_COLUMNS, and after them the mark of a loss. Over-counts of a series that is
    left out are left out too. Raises StoreError or MeasureError when the row is damaged.
    """
    one = tally_of(row, series)
    histograms = unpack_histograms(row[-2], series)
    return Window(
        one.second, one.span, one.endpoint, one.phase, dict(one.counts), histograms, dict(one.over), one.loss
    )


def tally_of(row: Sequence[Any], series: Collection[str] | None = None) -> Tally:
    """Make the window of a row as `window_of` does, without its histograms."""
    second, span, endpoint, phase = row[:4]
    *counted, over_text, _, loss = row[4:]
    counts = {name: n for name, n in zip(COUNT_COLUMNS, counted, strict=True) if n}
    over = _over_of(over_text, None if series is None else frozenset(series))
    return Tally(second, span, endpoint, phase, counts, over, loss != 0)


# Over most thresholds there is nothing in most seconds, so that the same text comes again and again. Each of
# the others is of one second: to keep many of them takes megabytes of a process that follows a run.
@lru_cache(maxsize=256)
def _over_of(text: str, series: frozenset[str] | None) -> Mapping[str, int]:
    over = from_json(text)
    if not isinstance(over, dict) or not all(type(n) is int for n in over.values()):
        raise StoreError("a stored over-count is damaged", hint="use a copy of the run")
    if series is not None:
        over = {key: n for key, n in over.items() if key.partition(">")[0] in series}
    return MappingProxyType(over)


def pack_histograms(histograms: Mapping[str, Histogram]) -> bytes:
    """Pack the histograms that hold values, sorted by series.

    One byte of format version, one byte of how many; then for each its series' name (one byte of
    length, ASCII) and its `Histogram.encode()` (four bytes of length, big-endian).
    """
    filled = sorted((str(name), histogram) for name, histogram in histograms.items() if histogram.total)
    out = bytearray((_VERSION, len(filled)))
    for name, histogram in filled:
        if name not in _KNOWN_SERIES:
            raise StoreError(f"a window holds an unknown series: {name!r}")
        blob = histogram.encode()
        out.append(len(name))
        out += name.encode("ascii")
        out += _LENGTH.pack(len(blob))
        out += blob
    return bytes(out)


def unpack_histograms(blob: bytes, series: Collection[str] | None = None) -> dict[str, Histogram]:
    """Unpack what `pack_histograms` packed, decoding only the named series (None: all).

    Raises StoreError for anything else; never reads past the blob, and bounds what it inflates.
    """
    return {name: Histogram.decode(body) for name, body in encoded_histograms(blob, series)}


def encoded_histograms(blob: bytes, series: Collection[str] | None = None) -> list[tuple[str, bytes]]:
    """Unpack them as `unpack_histograms` does, and leave them encoded; those of `series_blob` as well."""
    if blob and blob[0] == series_blob.VERSION:
        return series_blob.series_of_blob(blob, series)
    if len(blob) < 2 or blob[0] != _VERSION:
        raise StoreError(
            "stored histograms are damaged or of an unknown version", hint="use a copy of the run"
        )
    found: list[tuple[str, bytes]] = []
    names: list[str] = []
    at, size = 2, len(blob)
    for _ in range(blob[1]):
        name_end = at + 1 + (blob[at] if at < size else 0)
        start = name_end + _LENGTH.size
        if start > size:
            raise StoreError("stored histograms are cut short", hint="use a copy of the run")
        name = _SERIES_NAMED.get(blob[at + 1 : name_end])
        if name is None or name in names:
            told = blob[at + 1 : name_end].decode("ascii", "replace")
            raise StoreError(f"stored histograms hold the series {told!r}, which is unknown or there twice")
        (length,) = _LENGTH.unpack_from(blob, name_end)
        at = start + length
        if length > _LONGEST_HISTOGRAM or at > size:
            raise StoreError("a stored histogram is cut short or too long", hint="use a copy of the run")
        names.append(name)
        if series is None or name in series:
            found.append((name, blob[start:at]))
    if at != size:
        raise StoreError("stored histograms have bytes after their end", hint="use a copy of the run")
    return found
