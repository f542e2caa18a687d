"""The histograms of a row in one compressed stream.

Most of a week's disk are the counters of its rows. Those of all series of a row lie in one stream, so that
what each would say anew (header, code tables) is said once; and where every ok answer was a hit or a miss,
the misses' counters are those of all less those of the hits, and are not written at all. Inflating one stream
costs less than one for each series.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from loadgate.errors import StoreError
from loadgate.measure.codec import LARGEST_PAYLOAD
from loadgate.measure.histogram import PLAIN_VERSION, REST_VERSION, Histogram
from loadgate.measure.varint import append_varint
from loadgate.measure.window import Series

VERSION: Final = 2
"""The first byte of such a blob."""
CODES: Final[tuple[str, ...]] = (
    "response.ok", "response.failed", "response.timeout", "service.ok", "service.failed", "service.timeout",
    "response.hit", "response.miss", "pool_wait", "start_lag", "connect",
)  # fmt: skip
"""The number of each series in a blob; it never changes, and new ones come at the end."""
_NUMBERS: Final = {name: number for number, name in enumerate(CODES)}
_OK, _HIT, _MISS = str(Series.RESPONSE_OK), str(Series.RESPONSE_HIT), str(Series.RESPONSE_MISS)
_HINT: Final = "use a copy of the run"
_LONGEST: Final = len(CODES) * (LARGEST_PAYLOAD + 128)
_LEVEL: Final = 4
_HEAD: Final = struct.Struct(">BBI")
_PLAIN: Final = bytes([PLAIN_VERSION])
_REST: Final = bytes([REST_VERSION])


def pack_series(histograms: Mapping[str, Histogram]) -> bytes:
    """Pack the histograms that hold values, sorted by series.

    One byte of format version, and a zlib stream: one byte with the number of series; for each one byte with
    its number in CODES, one with the length of its exact numbers and four, big-endian, with that of its
    counters; then the exact numbers of each (the varints minimum, maximum - minimum, sum, overflow), and then
    the counters of each, as in a V2 payload after its header. Counters of length 0 (of the misses) are those
    of response.ok less those of response.hit.
    """
    filled = {str(name): one for name, one in sorted(histograms.items()) if one.total}
    unknown = filled.keys() - _NUMBERS.keys()
    if unknown:
        raise StoreError(f"a window holds an unknown series: {min(unknown)!r}")
    out, exacts, bodies = [bytes([len(filled)])], [], []
    told = _misses_are_told(filled)
    for name, one in filled.items():
        bodies.append(b"" if told and name == _MISS else one.encode_counters())
        exacts.append(one.encode_exact())
        out.append(_HEAD.pack(_NUMBERS[name], len(exacts[-1]), len(bodies[-1])))
    # Counters are noise to a search for repetitions: a short one packs them better, and faster.
    deflater = zlib.compressobj(_LEVEL, strategy=zlib.Z_FILTERED)
    return bytes([VERSION]) + deflater.compress(b"".join(out + exacts + bodies)) + deflater.flush()


def _misses_are_told(filled: Mapping[str, Histogram]) -> bool:
    """Tell whether the misses' counters follow from those of all ok answers and of the hits."""
    if not {_OK, _HIT, _MISS} <= filled.keys():
        return False
    ok, hit, miss = (filled[name] for name in (_OK, _HIT, _MISS))
    if ok.total != hit.total + miss.total:
        return False
    both = hit.copy()
    both.merge(miss)
    (mine, n), (theirs, m) = ok.to_sparse(), both.to_sparse()
    return np.array_equal(mine, theirs) and np.array_equal(n, m)


def series_of_blob(blob: bytes, series: Collection[str] | None = None) -> list[tuple[str, bytes]]:
    """Unpack what `pack_series` packed into histograms for `Histogram.decode`, only of the named series.

    Raises StoreError for anything else; bounds what it inflates.
    """
    raw = _inflated(blob)
    number = raw[0] if raw else 0
    at = 1 + number * _HEAD.size
    if not raw or at > len(raw):
        raise StoreError("stored histograms are cut short", hint=_HINT)
    heads = list(_HEAD.iter_unpack(raw[1:at]))
    middle = at + sum(size for _, size, _ in heads)
    if middle + sum(length for _, _, length in heads) != len(raw):
        raise StoreError("stored histograms are cut short, or have bytes after their end", hint=_HINT)
    parts: dict[str, tuple[bytes, bytes]] = {}
    for code, size, length in heads:
        name = CODES[code] if code < len(CODES) else ""
        if not name or name in parts:
            raise StoreError(f"stored histograms hold the series {code}, which is unknown or there twice")
        parts[name] = raw[at : at + size], raw[middle : middle + length]
        at, middle = at + size, middle + length
    wanted = parts if series is None else [name for name in parts if name in series]
    return [(name, _histogram(name, parts)) for name in wanted]


def _histogram(name: str, parts: Mapping[str, tuple[bytes, bytes]]) -> bytes:
    """Return the histogram of a series as `Histogram.decode` takes it, of all exact numbers and counters."""
    exact, counters = parts[name]
    if counters:
        return _PLAIN + exact + counters
    (_, whole), (_, part) = (parts.get(one, (b"", b"")) for one in (_OK, _HIT))
    if name != _MISS or not whole or not part:
        raise StoreError(f"stored histograms hold no counters of {name!r}", hint=_HINT)
    size = bytearray()
    append_varint(size, len(whole))
    return _REST + exact + bytes(size) + whole + part


def _inflated(blob: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(blob[1:], _LONGEST + 1)
    except zlib.error as error:
        raise StoreError(f"stored histograms are damaged: {error}", hint=_HINT) from error
    if len(raw) > _LONGEST or not inflater.eof or inflater.unused_data:
        raise StoreError("stored histograms are cut short, or too long", hint=_HINT)
    return raw
