"""How a frame is made and sealed: its bytes, its MAC, and the keys.

    frame = magic, version, kind, 8-byte sequence, 32-byte MAC (HMAC-SHA256), payload

The MAC covers the version, the direction, the kind, the sequence, the worker's name and the payload.
Frames are signed, not encrypted. What is said in them, and when, is in `frames`.

This module is pure, and nothing that arrives raises.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]

MAGIC: Final = b"LGF"
VERSION: Final = 2
MOST_FRAME: Final = 64 * 2**20
"""Bytes of the largest frame, with its head."""
MOST_MAP: Final = 64 * 2**10
"""Bytes of the largest passport or info, packed."""
_HEAD = struct.Struct(">3sBBQ32s")
HEAD: Final = _HEAD.size
MOST_PAYLOAD: Final = MOST_FRAME - HEAD
_COVERED = struct.Struct(">BcBQH")
TO_MASTER: Final = b"M"
TO_WORKER: Final = b"W"
_UNSIGNED = bytes(32)


class Kind(IntEnum):
    """Name the kinds of frames."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    DATA = 4
    STRANGER = 5


_KINDS: dict[int, Kind] = {int(kind): kind for kind in Kind}


class Head(NamedTuple):
    """The parts of a frame that was not checked yet."""

    kind: Kind
    sequence: int
    mac: bytes
    payload: bytes

    def is_sealed(self, key: bytes, direction: bytes, identity: bytes) -> bool:
        """Tell whether who made the frame knows the key, and made it for this direction and worker."""
        expected = _mac(key, direction, identity, self.kind, self.sequence, self.payload)
        return hmac.compare_digest(expected, self.mac)


def parse(frame: bytes) -> Head | str:
    """Return the parts of a frame, or a word for what is wrong with it."""
    if len(frame) > MOST_FRAME:
        return "oversized"
    if frame[: len(MAGIC)] != MAGIC:
        return "garbage"
    if len(frame) < HEAD:
        return "truncated"
    _, version, kind, sequence, mac = _HEAD.unpack_from(frame)
    if version != VERSION:
        return "version"
    known = _KINDS.get(kind)
    return "kind" if known is None else Head(known, sequence, mac, frame[HEAD:])


def seal(key: bytes, direction: bytes, identity: bytes, kind: Kind, sequence: int, payload: bytes) -> bytes:
    """Return a sealed frame."""
    mac = _mac(key, direction, identity, kind, sequence, payload)
    return _HEAD.pack(MAGIC, VERSION, kind, sequence, mac) + payload


def stranger(why: bytes) -> bytes:
    """Return a frame that says "I know no such session", which no key could seal."""
    return _HEAD.pack(MAGIC, VERSION, Kind.STRANGER, 0, _UNSIGNED) + why


def _mac(key: bytes, direction: bytes, identity: bytes, kind: Kind, sequence: int, payload: bytes) -> bytes:
    # The identity's length goes first, so that no two frames have the same covered bytes.
    covered = _COVERED.pack(VERSION, direction, kind, sequence, len(identity))
    return hmac.digest(key, b"".join((covered, identity, payload)), "sha256")


def long_term_key(secret: bytes) -> bytes:
    """Return the key that seals what is said before there is a session."""
    return hmac.digest(secret, b"loadgate transport 1: long-term key", "sha256")


def session_key(key: bytes, identity: bytes, worker_nonce: bytes, master_nonce: bytes) -> bytes:
    """Return the key of one session of one worker."""
    # Both nonces have a fixed length, and the label is no frame's beginning.
    return hmac.digest(key, b"session key:" + worker_nonce + master_nonce + identity, "sha256")


def pack_map(value: Mapping[str, Any]) -> bytes:
    """Pack a map of plain values. Raise ValueError when it could not be unpacked at the other end."""
    try:
        packed: bytes = msgpack.packb(dict(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if unpack_map(packed) is None:
        raise ValueError(f"it must be plain values with text keys, of at most {MOST_MAP} bytes")
    return packed


def unpack_map(packed: bytes) -> dict[str, Any] | None:
    """Return a map of plain values with text keys, at every level; None for anything else."""
    if len(packed) > MOST_MAP:
        return None
    try:
        value = msgpack.unpackb(packed, object_hook=_with_text_keys, ext_hook=_no_extension, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None
    return value if isinstance(value, dict) else None


def _with_text_keys(value: dict[Any, Any]) -> dict[Any, Any]:
    if not all(isinstance(key, str) for key in value):
        raise ValueError("a key is no text")
    return value


def _no_extension(code: int, _: bytes) -> Any:
    raise ValueError(f"extension {code}")
