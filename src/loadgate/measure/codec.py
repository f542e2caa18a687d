"""Encode counters as HdrHistogram V2 payloads and read them back.

The bytes are the zlib-compressed V2 payload that the `hdrhistogram` package writes with its base64
wrapping off. The zigzag-LEB128 work is done by the package's C functions; the header is read and
checked here, because the package takes the size of its allocation from the header of the blob, does
not bound what a blob inflates to, and ignores two of the header's fields.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from functools import lru_cache

import numpy as np
from hdrh import codec as hdr_codec
from hdrh.histogram import HdrHistogram

from loadgate.errors import MeasureError
from loadgate.measure.layout import COUNTERS, HIGHEST_US, LOWEST_US, SIGNIFICANT_DIGITS, Int64s, Ints

_WORD_BYTES = 8
_BYTES_PER_COUNTER = 9
"""The most bytes that a zigzag-LEB128 counter of 64 bits takes."""
_HEADER = struct.Struct(">IIIIQQd")
"""cookie, payload length, normalizing offset, digits, lowest, highest, conversion ratio"""
_EXTERNAL = struct.Struct(">II")
_COOKIE = 0x1C849303 | 0x10
_EXTERNAL_COOKIE = 0x1C849304 | 0x10
HEADER_BYTES = _HEADER.size
LARGEST_PAYLOAD = HEADER_BYTES + COUNTERS * _BYTES_PER_COUNTER
"""Bytes of a payload in which every counter is in use and as large as can be."""


@lru_cache(maxsize=1024)
def header_of(length: int) -> bytes:
    """Return the header of a payload whose counters take so many bytes."""
    return _HEADER.pack(_COOKIE, length, 0, SIGNIFICANT_DIGITS, LOWEST_US, HIGHEST_US, 1.0)


def encode_counts(counts: Int64s) -> bytes:
    """Return the compressed V2 payload of a dense array of COUNTERS non-negative counts.

    Counters after the last one in use are left out.
    """
    return compressed(encode_counters(counts))


def compressed(counters: bytes) -> bytes:
    """Return the compressed V2 payload of what `encode_counters` gave."""
    return zlib.compress(header_of(len(counters)) + counters)


def encode_counters(counts: Int64s) -> bytes:
    """Return what follows the header of a V2 payload, not compressed."""
    used = np.flatnonzero(counts != 0)
    return encode_used(used, counts[used])


def encode_used(indices: Ints, counts: Ints) -> bytes:
    """Return what `encode_counters` does, of the counters in use."""
    if not indices.size:
        return b""
    limit = int(indices[-1]) + 1
    dense = np.zeros(limit, np.int64)
    dense[indices] = counts
    room = np.empty(limit * _BYTES_PER_COUNTER + 1, np.uint8)
    length = hdr_codec.encode(dense.ctypes.data, limit, _WORD_BYTES, room.ctypes.data, room.size)
    return room[:length].tobytes()


def decode_counts(blob: bytes) -> Int64s:
    """Return the dense array of counts of a compressed V2 payload.

    Raise MeasureError when the blob is damaged, inflates to more than a full histogram, or has
    another range or precision than `layout`.
    """
    return _decoded(_inflated(blob))


def decode_counters(counters: bytes) -> Int64s:
    """Return the dense array of counts that `encode_counters` made the bytes of.

    Raise MeasureError when they are damaged.
    """
    if len(counters) > LARGEST_PAYLOAD - HEADER_BYTES:
        raise MeasureError("a histogram has more counters than a full one")
    return _decoded(header_of(len(counters)) + counters)


def _decoded(payload: bytes) -> Int64s:
    counts = np.zeros(COUNTERS, np.int64)
    if len(payload) > _HEADER.size:
        try:
            hdr_codec.decode(payload, _HEADER.size, counts.ctypes.data, COUNTERS, _WORD_BYTES)
        except (ValueError, IndexError, OverflowError, TypeError) as error:
            raise MeasureError(f"a histogram's counters cannot be decoded: {error}") from error
    if int(counts.min()) < 0:
        raise MeasureError("a histogram holds a negative count")
    return counts


def decode_base64(text: str | bytes) -> Int64s:
    """Return the dense array of counts of a base64 V2 blob, as `.hlog` files hold it.

    Raise MeasureError as `decode_counts` does, and for a damaged wrapping.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MeasureError(f"a histogram is not valid base64: {error}") from error
    if len(raw) < _EXTERNAL.size:
        raise MeasureError("a histogram's base64 text is too short")
    cookie, length = _EXTERNAL.unpack_from(raw)
    if cookie & ~0xF0 != _EXTERNAL_COOKIE & ~0xF0:
        raise MeasureError(f"a histogram is not in the V2 compressed format (cookie {cookie:#x})")
    if length != len(raw) - _EXTERNAL.size:
        raise MeasureError(f"a histogram's length is given as {length}, it has {len(raw) - _EXTERNAL.size}")
    return decode_counts(raw[_EXTERNAL.size :])


def hdr_histogram(counts: Int64s) -> HdrHistogram:
    """Return the `hdrhistogram` package's own object with these counts.

    The package keeps its total, minimum and maximum apart from its counters, and encodes nothing
    unless they are set.
    """
    histogram = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    np.frombuffer(histogram.counts, dtype=np.int64)[:] = counts
    used = np.flatnonzero(counts != 0)
    if used.size:
        histogram.set_internal_tacking_values(int(used[0]), int(used[-1]), int(counts.sum()))
    return histogram


def _inflated(blob: bytes) -> bytes:
    """Return the payload of a blob after checks of its size and its header."""
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(blob, LARGEST_PAYLOAD + 1)
    except zlib.error as error:
        raise MeasureError(f"a histogram cannot be inflated: {error}") from error
    if len(payload) > LARGEST_PAYLOAD:
        raise MeasureError("a histogram inflates to more than a full one has")
    if not inflater.eof or inflater.unused_data:
        raise MeasureError("a histogram is cut short or has bytes after its end")
    if len(payload) < _HEADER.size:
        raise MeasureError("a histogram's header is too short")
    cookie, length, offset, digits, lowest, highest, ratio = _HEADER.unpack_from(payload)
    if cookie != _COOKIE:
        raise MeasureError(f"a histogram is not in the V2 format (cookie {cookie:#x})")
    if length != len(payload) - _HEADER.size:
        raise MeasureError(
            f"a histogram's payload is given as {length}, it has {len(payload) - _HEADER.size}"
        )
    if (offset, digits, lowest, highest, ratio) != (0, SIGNIFICANT_DIGITS, LOWEST_US, HIGHEST_US, 1.0):
        raise MeasureError(
            f"a histogram has the range {lowest}..{highest} with {digits} digits",
            hint=f"Only {LOWEST_US}..{HIGHEST_US} us with {SIGNIFICANT_DIGITS} digits can be merged.",
        )
    return payload
