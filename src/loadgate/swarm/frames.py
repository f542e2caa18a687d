"""Sealed frames: what master and workers say to each other, so that nobody else can say it.

Locust's own connections carry any message of anybody who reaches the master's port. Here both ends prove
that they know one secret, and every later frame proves that it belongs to this session, once:

    worker                                     master
      HELLO   worker nonce, passport  ->             MAC under the long-term key
                                      <-   WELCOME   worker nonce, master nonce, info; long-term key
                                   or <-   REFUSED   worker nonce, message, hint, exit code; long-term key
      DATA    payload                <->   DATA      MAC under the session key, a sequence of each direction
                                      <-   STRANGER  "I know no such session": no MAC, no more than a hint

    frame = magic, version, kind, 8-byte sequence, 32-byte MAC (HMAC-SHA256), payload

The MAC covers the version, the direction, the kind, the sequence, the worker's identity and the payload. The
session key is derived from both nonces, so an old frame, one of another worker, or one sent back to its
sender never fits. A replayed HELLO starts a session that nobody can use; the one that works stays until
the first DATA under a newer one. Frames are signed, not encrypted.

This module is pure: bytes in, bytes out, with time and nonces passed in. Nothing that arrives raises; what
is not sound is dropped and counted by its reason.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]

from loadgate.errors import GeneratorError
from loadgate.exit_codes import ExitCode

MAGIC: Final = b"LGF"
VERSION: Final = 1
MOST_FRAME: Final = 64 * 2**20
"""Bytes of the largest frame, with its head."""
MOST_MAP: Final = 64 * 2**10
"""Bytes of the largest passport or info, packed."""
MOST_SESSIONS: Final = 20_000
"""Workers that a master knows at once; then it forgets the one silent for longest, which says HELLO again."""

_HEAD = struct.Struct(">3sBBQ32s")
HEAD: Final = _HEAD.size
MOST_PAYLOAD: Final = MOST_FRAME - HEAD
_COVERED = struct.Struct(">BcBQH")
_NONCE = 16
_ASK_AGAIN_AFTER = 1.0
"""Seconds between two HELLOs that a STRANGER can cause, since anybody can send one."""
_LONGEST_TEXT = 4096
_UNSIGNED = bytes(32)
_UNKNOWN_SESSION, _OTHER_SECRET = b"", b"\x01"
_TO_MASTER, _TO_WORKER = b"M", b"W"


class Kind(IntEnum):
    """Name the kinds of frames."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    DATA = 4
    STRANGER = 5


@dataclass(frozen=True)
class Welcome:
    """The session stands. `fresh_instance`: this master is not the one that welcomed the worker before."""

    info: dict[str, Any]
    fresh_instance: bool


@dataclass(frozen=True)
class Data:
    """A payload that the other end sealed, for the first time."""

    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class Refusal:
    """The master does not take this worker: why, what to do, and the exit code of the worker."""

    message: str
    hint: str = ""
    exit_code: int = int(ExitCode.INTERNAL)


@dataclass(frozen=True)
class SayHello:
    """The master does not know the session: send `hello()`."""


@dataclass(frozen=True)
class Dropped:
    """A frame that is not sound, and a word for why."""

    reason: str


Opened: TypeAlias = Welcome | Data | Refusal | SayHello | Dropped
Admit: TypeAlias = Callable[[str, dict[str, Any]], "dict[str, Any] | Refusal | None"]
"""Judge a worker by identity and passport: info for its WELCOME, a refusal, or None for "ask again later"."""
Nonces: TypeAlias = Callable[[int], bytes]


class WorkerEnd:
    """The worker's end of one connection; `known_instance` is the master that welcomed it before, if any.

    `established` says that there is a session, `ready` that nothing speaks against sealing under it. After
    `renew()` or a STRANGER it is not ready until the master has answered the next HELLO; meanwhile the
    old session still opens what arrives.
    """

    def __init__(
        self,
        secret: bytes,
        identity: str,
        passport: Callable[[], Mapping[str, Any]],
        *,
        known_instance: str = "",
        nonces: Nonces = secrets.token_bytes,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.instance = known_instance
        self.refused = False
        self._identity = identity.encode()
        self._key = _long_term_key(secret)
        self._passport = passport
        self._nonces = nonces
        self._asked: tuple[bytes, bytes] | None = None
        self._session: _Session | None = None
        self._previous: _Session | None = None
        self._said_hello_at = float("-inf")

    @property
    def established(self) -> bool:
        """Tell whether there is a session."""
        return self._session is not None

    @property
    def ready(self) -> bool:
        """Tell whether there is a session and no HELLO waits for its answer."""
        return self._session is not None and self._asked is None

    def hello(self) -> bytes:
        """Return the HELLO to send: the same one until it is answered, so that repeating it is harmless.

        Raise GeneratorError for a passport that is not plain values of at most 64 KiB.
        """
        if self._asked is None:
            self.renew()
        assert self._asked is not None
        return self._asked[1]

    def renew(self) -> None:
        """Ask for a new session with a fresh nonce and passport.

        Until it stands, the old one still opens frames but seals none. Raise GeneratorError like `hello`.
        """
        try:
            passport = _pack_map(self._passport())
        except ValueError as error:
            raise GeneratorError(f"this worker's passport cannot be sent: {error}") from error
        nonce = self._nonces(_NONCE)
        frame = _seal(self._key, _TO_MASTER, self._identity, Kind.HELLO, 0, nonce + passport)
        self._asked, self.refused = (nonce, frame), False

    def seal(self, payload: bytes) -> bytes:
        """Return the DATA frame of a payload.

        Raise ValueError when not `ready`, or for a payload that is too large.
        """
        if self._session is None or self._asked is not None:
            raise ValueError("no session stands")
        return self._session.seal(_TO_MASTER, self._identity, payload)

    def open(self, frame: bytes, now: float) -> Opened:
        """Return what a frame from the master means, at a time `now` in seconds of any steady clock."""
        opened = self._open(frame, now)
        if isinstance(opened, Dropped):
            self.dropped[opened.reason] += 1
        return opened

    def _open(self, frame: bytes, now: float) -> Opened:
        head = _parse(frame)
        if isinstance(head, str):
            return Dropped(head)
        if head.kind is Kind.DATA:
            return self._data(head)
        if head.kind is Kind.STRANGER:
            return self._stranger(head.payload, now)
        if head.kind is Kind.HELLO:
            return Dropped("direction")
        return self._answer(head)

    def _data(self, head: _Head) -> Opened:
        if self._session is None:
            return Dropped("stranger")
        for session in (self._session, self._previous):
            if session is None or not head.is_sealed(session.key, _TO_WORKER, self._identity):
                continue
            if not session.is_new(head.sequence):
                return Dropped("replay")
            if session is self._session:
                self._previous = None
            return Data(head.payload)
        return Dropped("mac")

    def _stranger(self, why: bytes, now: float) -> Opened:
        if why == _OTHER_SECRET:
            return Dropped("secret" if self._asked is not None else "stranger")
        too_soon = now - self._said_hello_at < _ASK_AGAIN_AFTER
        if self._asked is not None or self.refused or too_soon:
            return Dropped("stranger")
        self._said_hello_at = now
        self.renew()
        return SayHello()

    def _answer(self, head: _Head) -> Opened:
        """Take the master's answer to the HELLO that was sent last."""
        if self._asked is None:
            return Dropped("unasked")
        if not head.is_sealed(self._key, _TO_WORKER, self._identity):
            return Dropped("mac")
        nonce, rest = self._asked[0], head.payload[_NONCE:]
        if not hmac.compare_digest(head.payload[:_NONCE], nonce):
            return Dropped("unasked")
        return self._refusal(rest) if head.kind is Kind.REFUSED else self._welcome(nonce, rest)

    def _refusal(self, packed: bytes) -> Opened:
        refusal = _refusal_of(_unpack_map(packed))
        if refusal is None:
            return Dropped("malformed")
        self._asked = self._session = self._previous = None
        self.refused = True
        return refusal

    def _welcome(self, nonce: bytes, rest: bytes) -> Opened:
        info = _unpack_map(rest[_NONCE:])
        instance = info.get("instance") if info is not None else None
        if info is None or len(rest) < _NONCE or not isinstance(instance, str):
            return Dropped("malformed")
        self._previous, self._asked = self._session, None
        self._session = _Session(_session_key(self._key, self._identity, nonce, rest[:_NONCE]))
        fresh = bool(self.instance) and instance != self.instance
        self.instance = instance
        return Welcome(info, fresh)


class MasterEnd:
    """The master's end of the connections of all its workers.

    `admit` judges each HELLO with another nonce; it must change nothing, since a HELLO may be an old one that
    somebody replays. `on_dropped(identity, reason)` hears of each dropped frame.
    """

    def __init__(
        self,
        secret: bytes,
        admit: Admit,
        *,
        instance: str | None = None,
        most_sessions: int = MOST_SESSIONS,
        on_dropped: Callable[[bytes, str], None] | None = None,
        nonces: Nonces = secrets.token_bytes,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.instance = instance or secrets.token_hex(8)
        self._key = _long_term_key(secret)
        self._admit = admit
        self._most = most_sessions
        self._on_dropped = on_dropped
        self._nonces = nonces
        self._peers: OrderedDict[bytes, _Peer] = OrderedDict()

    def __len__(self) -> int:
        """Count the workers it has a session with, or has just welcomed."""
        return len(self._peers)

    def open(self, identity: bytes, frame: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the payload of a worker's frame, and the frame to answer with; None where there is none."""
        payload, reply, reason = self._open(identity, frame)
        if reason:
            self.dropped[reason] += 1
            if self._on_dropped is not None:
                self._on_dropped(identity, reason)
        return payload, reply

    def seal(self, identity: bytes, payload: bytes) -> bytes | None:
        """Return the DATA frame of a payload; None when there is no session.

        Raise ValueError for a payload that is too large.
        """
        peer = self._peers.get(identity)
        if peer is None or peer.active is None:
            return None
        return peer.active.seal(_TO_WORKER, identity, payload)

    def _open(self, identity: bytes, frame: bytes) -> tuple[bytes | None, bytes | None, str]:
        """Return payload, reply, and the word for why the frame is dropped, if it is."""
        head = _parse(frame)
        if isinstance(head, str):
            return None, None, head
        if head.kind is Kind.DATA:
            return self._data(identity, head)
        if head.kind is Kind.HELLO:
            return None, *self._hello(identity, head)
        return None, None, "direction"

    def _data(self, identity: bytes, head: _Head) -> tuple[bytes | None, bytes | None, str]:
        peer = self._peers.get(identity)
        if peer is None:
            return None, _stranger(_UNKNOWN_SESSION), "stranger"
        for session in (peer.active, peer.pending):
            if session is None or not head.is_sealed(session.key, _TO_MASTER, identity):
                continue
            if not session.is_new(head.sequence):
                return None, None, "replay"
            if session is peer.pending:
                peer.promote()
            self._peers.move_to_end(identity)
            return head.payload, None, ""
        return None, _stranger(_UNKNOWN_SESSION), "mac"

    def _hello(self, identity: bytes, head: _Head) -> tuple[bytes | None, str]:
        if len(head.payload) > _NONCE + MOST_MAP:
            return None, "oversized"
        if not head.is_sealed(self._key, _TO_MASTER, identity):
            return _stranger(_OTHER_SECRET), "secret"
        nonce = head.payload[:_NONCE]
        peer = self._peers.get(identity)
        if peer is not None and peer.active is not None and peer.active.nonce == nonce:
            return None, "replay"
        if peer is not None and peer.pending is not None and peer.pending.nonce == nonce:
            return peer.welcome, ""
        passport = _unpack_map(head.payload[_NONCE:])
        name = _text(identity)
        if passport is None or name is None or len(nonce) < _NONCE:
            return None, "passport"
        info = self._admit(name, passport)
        if info is None:
            return None, "not-ready"
        if isinstance(info, Refusal):
            return self._refuse(identity, nonce, info), ""
        try:
            packed = _pack_map({"instance": self.instance} | info)
        except ValueError as error:
            refusal = Refusal(f"the master's answer cannot be sent: {error}")
            return self._refuse(identity, nonce, refusal), ""
        return self._welcome(identity, nonce, packed), ""

    def _welcome(self, identity: bytes, nonce: bytes, info: bytes) -> bytes:
        ours = self._nonces(_NONCE)
        peer = self._peers.setdefault(identity, _Peer())
        peer.pending = _Session(_session_key(self._key, identity, nonce, ours), nonce)
        peer.welcome = _seal(self._key, _TO_WORKER, identity, Kind.WELCOME, 0, nonce + ours + info)
        self._peers.move_to_end(identity)
        while len(self._peers) > self._most:
            self._peers.popitem(last=False)
        return peer.welcome

    def _refuse(self, identity: bytes, nonce: bytes, refusal: Refusal) -> bytes:
        told = {
            "message": _plain(refusal.message),
            "hint": _plain(refusal.hint),
            "exit_code": int(refusal.exit_code),
        }
        return _seal(self._key, _TO_WORKER, identity, Kind.REFUSED, 0, nonce + _pack_map(told))


# -- the parts ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Session:
    """One session's key, and the last sequence number in each direction."""

    key: bytes = field(repr=False)
    nonce: bytes = b""
    sent: int = 0
    received: int = 0

    def seal(self, direction: bytes, identity: bytes, payload: bytes) -> bytes:
        if len(payload) > MOST_PAYLOAD:
            raise ValueError(f"{len(payload)} bytes are more than a frame holds ({MOST_PAYLOAD})")
        self.sent += 1
        return _seal(self.key, direction, identity, Kind.DATA, self.sent, payload)

    def is_new(self, sequence: int) -> bool:
        """Take a sequence number; tell whether it is greater than every one before."""
        if sequence <= self.received:
            return False
        self.received = sequence
        return True


@dataclass(slots=True)
class _Peer:
    """What a master knows of one worker: the session that works, and one that nobody has used yet."""

    active: _Session | None = None
    pending: _Session | None = None
    welcome: bytes = b""

    def promote(self) -> None:
        self.active, self.pending, self.welcome = self.pending, None, b""


@dataclass(frozen=True, slots=True)
class _Head:
    kind: Kind
    sequence: int
    mac: bytes
    payload: bytes

    def is_sealed(self, key: bytes, direction: bytes, identity: bytes) -> bool:
        expected = _mac(key, direction, identity, self.kind, self.sequence, self.payload)
        return hmac.compare_digest(expected, self.mac)


def _parse(frame: bytes) -> _Head | str:
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
    try:
        return _Head(Kind(kind), sequence, mac, frame[HEAD:])
    except ValueError:
        return "kind"


def _seal(key: bytes, direction: bytes, identity: bytes, kind: Kind, sequence: int, payload: bytes) -> bytes:
    mac = _mac(key, direction, identity, kind, sequence, payload)
    return _HEAD.pack(MAGIC, VERSION, kind, sequence, mac) + payload


def _stranger(why: bytes) -> bytes:
    return _HEAD.pack(MAGIC, VERSION, Kind.STRANGER, 0, _UNSIGNED) + why


def _mac(key: bytes, direction: bytes, identity: bytes, kind: Kind, sequence: int, payload: bytes) -> bytes:
    # The identity's length goes first, so that no two frames have the same covered bytes.
    covered = _COVERED.pack(VERSION, direction, kind, sequence, len(identity))
    return hmac.digest(key, b"".join((covered, identity, payload)), "sha256")


def _long_term_key(secret: bytes) -> bytes:
    return hmac.digest(secret, b"loadgate transport 1: long-term key", "sha256")


def _session_key(key: bytes, identity: bytes, worker_nonce: bytes, master_nonce: bytes) -> bytes:
    # Both nonces have a fixed length, and the label is no frame's beginning.
    return hmac.digest(key, b"session key:" + worker_nonce + master_nonce + identity, "sha256")


def _pack_map(value: Mapping[str, Any]) -> bytes:
    """Pack a map of plain values. Raise ValueError when it could not be unpacked at the other end."""
    try:
        packed: bytes = msgpack.packb(dict(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if _unpack_map(packed) is None:
        raise ValueError(f"it must be plain values with text keys, of at most {MOST_MAP} bytes")
    return packed


def _unpack_map(packed: bytes) -> dict[str, Any] | None:
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


def _refusal_of(told: dict[str, Any] | None) -> Refusal | None:
    if told is None or set(told) != {"message", "hint", "exit_code"}:
        return None
    message, hint, exit_code = told["message"], told["hint"], told["exit_code"]
    if not isinstance(message, str) or not isinstance(hint, str) or not isinstance(exit_code, int):
        return None
    # A process that exits with 0 has not failed; a refused one has.
    return Refusal(message, hint, exit_code if 1 <= exit_code <= 255 else int(ExitCode.INTERNAL))


def _plain(text: str) -> str:
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
