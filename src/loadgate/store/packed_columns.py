"""Columns of numbers in few bytes, without loss: what old readings and points are kept as.

Neighbours in a column are alike, so each number is XORed with the one before it, which turns what they share
into zeros; the bytes of a column are then sorted by their place (all first bytes, all second bytes, ...), and
deflated. It is the idea of Facebook's Gorilla (Pelkonen et al., 2015) and of Blosc's shuffle, with zlib.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from loadgate.errors import StoreError
from loadgate.measure.layout import Floats

_HEAD: Final = struct.Struct(">BBI")
_VERSION: Final = 1
_MOST: Final = 50_000_000
"""Numbers of one block; more is damage, and would be inflated into memory."""


def pack(columns: Sequence[Floats]) -> bytes:
    """Pack columns of equal length; every bit pattern comes back, NaN and infinity too."""
    n = len(columns[0]) if columns else 0
    raw = bytearray()
    for column in columns:
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        bits = bits ^ np.concatenate((np.zeros(1, np.uint64), bits[:-1]))[:n]
        raw += bits.view(np.uint8).reshape(n, 8).T.tobytes()
    return _HEAD.pack(_VERSION, len(columns), n) + zlib.compress(bytes(raw), 6)


def unpack(blob: bytes) -> list[Floats]:
    """Unpack what `pack` packed; StoreError for anything else."""
    hint = "use a copy of the run"
    if len(blob) < _HEAD.size:
        raise StoreError("a packed block is cut short", hint=hint)
    version, number, n = _HEAD.unpack_from(blob)
    size = number * n * 8
    if version != _VERSION or number * n > _MOST:
        raise StoreError("a packed block is damaged or of an unknown version", hint=hint)
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(blob[_HEAD.size :], size + 1)
    except zlib.error as error:
        raise StoreError(f"a packed block is damaged: {error}", hint=hint) from error
    if len(raw) != size or not inflater.eof:
        raise StoreError("a packed block is damaged: it has another length than it says", hint=hint)
    found = []
    for place in range(number):
        planes = np.frombuffer(raw, np.uint8, n * 8, place * n * 8).reshape(8, n)
        bits = np.ascontiguousarray(planes.T).view(np.uint64).reshape(n)
        found.append(np.bitwise_xor.accumulate(bits).view(np.float64) if n else np.zeros(0))
    return found
