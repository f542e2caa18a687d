"""Whole numbers of any size as few bytes: little-endian groups of seven bits (LEB128)."""

from __future__ import annotations

from loadgate.errors import MeasureError

LONGEST_VARINT = 19
"""Bytes of the longest varint that is read: 133 bits."""


def append_varint(out: bytearray, number: int) -> None:
    """Append a number that is not negative; raise MeasureError for one that is, or needs over 133 bits."""
    if number < 0 or number >> (7 * LONGEST_VARINT):
        raise MeasureError(f"{number} cannot be stored as a varint")
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def read_varint(blob: bytes, at: int) -> tuple[int, int]:
    """Return the number that starts at offset `at`, and the offset after it.

    Raise MeasureError when the blob ends before it, or it is longer than any that is written.
    """
    number = shift = 0
    for offset in range(at, min(at + LONGEST_VARINT, len(blob))):
        byte = blob[offset]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, offset + 1
        shift += 7
    raise MeasureError("a stored histogram ends within a number")
