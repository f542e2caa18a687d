"""Sealed frames: what master and workers say to each other, so that nobody else can say it.

Locust's own connections carry any message of anybody who reaches the master's port. Here both ends prove
that they know one secret, and every later frame proves that it belongs to this session, once:

    worker                                     master
      HELLO   nonce, name, passport   ->             MAC under the long-term key
                                      <-   WELCOME   worker nonce, master nonce, info; long-term key
                                   or <-   REFUSED   worker nonce, message, hint, exit code; long-term key
      DATA    payload                <->   DATA      MAC under the session key, a sequence of each direction
                                      <-   STRANGER  "I know no such session": no MAC, no more than a hint

Who a connection is stands in its HELLO and nowhere else. The master calls it by a *route*, which its own
socket made up: it is on no wire, so nobody can take a worker's place by calling a connection like it, and
a worker's next connection is another route, whatever became of the one before.

How a frame is made and sealed is in `sealing`. The session key is derived from both nonces, so an old frame,
one of another worker, or one sent back to its sender never fits. A replayed HELLO starts a session that
nobody can use; the one that works stays until the first DATA under a newer one.

This module is pure: bytes in, bytes out, with time and nonces passed in. Nothing that arrives raises; what
is not sound is dropped and counted by its reason.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from loadgate.errors import GeneratorError
from loadgate.exit_codes import ExitCode
from loadgate.swarm import sealing
from loadgate.swarm.sealing import MOST_PAYLOAD, TO_MASTER, TO_WORKER, Head, Kind

NONCE: Final = 16
"""Bytes of a nonce."""
LONGEST_NAME: Final = 255
"""Bytes of the longest name of a worker."""
UNKNOWN_SESSION: Final = b""
OTHER_SECRET: Final = b"\x01"
"""What a STRANGER says: why the master did not take a frame."""
_ASK_AGAIN_AFTER = 1.0
"""Seconds between two HELLOs that a STRANGER can cause, since anybody can send one."""


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
    """The worker's end of its connection; `known_instance` is the master that welcomed it before, if any.

    `established` says that there is a session, `ready` that nothing speaks against sealing under it. After
    `renew()` or a STRANGER it is not ready until the master has answered the next HELLO; meanwhile the
    old session still opens what arrives. GeneratorError for a name of no or of more than 255 bytes.
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
        if not 0 < len(self._identity) <= LONGEST_NAME:
            raise GeneratorError(f"{identity[:80]!r} is no name of 1 to {LONGEST_NAME} bytes")
        self._key = sealing.long_term_key(secret)
        self._passport = passport
        self._nonces = nonces
        self._asked: tuple[bytes, bytes] | None = None
        self._session: Session | None = None
        self._previous: Session | None = None
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
            passport = sealing.pack_map(self._passport())
        except ValueError as error:
            raise GeneratorError(f"this worker's passport cannot be sent: {error}") from error
        nonce = self._nonces(NONCE)
        said = nonce + bytes([len(self._identity)]) + self._identity + passport
        frame = sealing.seal(self._key, TO_MASTER, self._identity, Kind.HELLO, 0, said)
        self._asked, self.refused = (nonce, frame), False

    def seal(self, payload: bytes) -> bytes:
        """Return the DATA frame of a payload.

        Raise ValueError when not `ready`, or for a payload that is too large.
        """
        if self._session is None or self._asked is not None:
            raise ValueError("no session stands")
        return self._session.seal(TO_MASTER, self._identity, payload)

    def open(self, frame: bytes, now: float) -> Opened:
        """Return what a frame from the master means, at a time `now` in seconds of any steady clock."""
        opened = self._open(frame, now)
        if isinstance(opened, Dropped):
            self.dropped[opened.reason] += 1
        return opened

    def _open(self, frame: bytes, now: float) -> Opened:
        head = sealing.parse(frame)
        if isinstance(head, str):
            return Dropped(head)
        if head.kind is Kind.DATA:
            return self._data(head)
        if head.kind is Kind.STRANGER:
            return self._stranger(head.payload, now)
        if head.kind is Kind.HELLO:
            return Dropped("direction")
        return self._answer(head)

    def _data(self, head: Head) -> Opened:
        if self._session is None:
            return Dropped("stranger")
        for session in (self._session, self._previous):
            if session is None or not head.is_sealed(session.key, TO_WORKER, self._identity):
                continue
            if not session.is_new(head.sequence):
                return Dropped("replay")
            if session is self._session:
                self._previous = None
            return Data(head.payload)
        return Dropped("mac")

    def _stranger(self, why: bytes, now: float) -> Opened:
        if why == OTHER_SECRET:
            return Dropped("secret" if self._asked is not None else "stranger")
        too_soon = now - self._said_hello_at < _ASK_AGAIN_AFTER
        if self._asked is not None or self.refused or too_soon:
            return Dropped("stranger")
        self._said_hello_at = now
        self.renew()
        return SayHello()

    def _answer(self, head: Head) -> Opened:
        """Take the master's answer to the HELLO that was sent last."""
        if self._asked is None:
            return Dropped("unasked")
        if not head.is_sealed(self._key, TO_WORKER, self._identity):
            return Dropped("mac")
        nonce, rest = self._asked[0], head.payload[NONCE:]
        if not hmac.compare_digest(head.payload[:NONCE], nonce):
            return Dropped("unasked")
        return self._refusal(rest) if head.kind is Kind.REFUSED else self._welcome(nonce, rest)

    def _refusal(self, packed: bytes) -> Opened:
        refusal = _refusal_of(sealing.unpack_map(packed))
        if refusal is None:
            return Dropped("malformed")
        self._asked = self._session = self._previous = None
        self.refused = True
        return refusal

    def _welcome(self, nonce: bytes, rest: bytes) -> Opened:
        info = sealing.unpack_map(rest[NONCE:])
        instance = info.get("instance") if info is not None else None
        if info is None or len(rest) < NONCE or not isinstance(instance, str):
            return Dropped("malformed")
        self._previous, self._asked = self._session, None
        self._session = Session(sealing.session_key(self._key, self._identity, nonce, rest[:NONCE]))
        fresh = bool(self.instance) and instance != self.instance
        self.instance = instance
        return Welcome(info, fresh)


# -- the parts ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Session:
    """One session's key, and the last sequence number in each direction."""

    key: bytes = field(repr=False)
    sent: int = 0
    received: int = 0

    def seal(self, direction: bytes, identity: bytes, payload: bytes) -> bytes:
        """Return the next DATA frame in a direction. Raise ValueError for a payload that is too large."""
        if len(payload) > MOST_PAYLOAD:
            raise ValueError(f"{len(payload)} bytes are more than a frame holds ({MOST_PAYLOAD})")
        self.sent += 1
        return sealing.seal(self.key, direction, identity, Kind.DATA, self.sent, payload)

    def is_new(self, sequence: int) -> bool:
        """Take a sequence number; tell whether it is greater than every one before."""
        if sequence <= self.received:
            return False
        self.received = sequence
        return True


def _refusal_of(told: dict[str, Any] | None) -> Refusal | None:
    if told is None or set(told) != {"message", "hint", "exit_code"}:
        return None
    message, hint, exit_code = told["message"], told["hint"], told["exit_code"]
    if not isinstance(message, str) or not isinstance(hint, str) or not isinstance(exit_code, int):
        return None
    # A process that exits with 0 has not failed; a refused one has.
    return Refusal(message, hint, exit_code if 1 <= exit_code <= 255 else int(ExitCode.INTERNAL))
