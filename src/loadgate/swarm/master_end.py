"""The master's end of the sealed connections: who is let in, who is heard, and over which connection.

What is said is in `frames`. This module is as pure as that one.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from loadgate.swarm import sealing
from loadgate.swarm.frames import (
    LONGEST_NAME,
    NONCE,
    OTHER_SECRET,
    UNKNOWN_SESSION,
    Admit,
    Nonces,
    Refusal,
    Session,
)
from loadgate.swarm.sealing import MOST_MAP, TO_MASTER, TO_WORKER, Head, Kind

MOST_SESSIONS: Final = 20_000
"""Workers that a master knows at once; then it forgets the one silent for longest, which says HELLO again."""

_LONGEST_TEXT = 4096


class MasterEnd:
    """The master's end of the connections of all its workers.

    `admit` judges each HELLO with another nonce; it must change nothing, since a HELLO may be an old one that
    somebody replays. `on_dropped(who, reason)` hears of each dropped frame: `who` is the name of the worker
    that the connection is, or says it is, else its route.
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
        self._key = sealing.long_term_key(secret)
        self._admit = admit
        self._on_dropped = on_dropped
        self._nonces = nonces
        self._peers = _Peers(most_sessions)

    def __len__(self) -> int:
        """Count the sessions that work, and those that were just begun."""
        return len(self._peers)

    def open(self, route: bytes, frame: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the payload of a frame, and the frame to answer with; None where there is none.

        Who said it, if there is a payload, is `name_of(route)`.
        """
        head = sealing.parse(frame)
        payload, reply, reason = self._open(route, head)
        if reason:
            self.dropped[reason] += 1
            if self._on_dropped is not None:
                self._on_dropped(self._called(route, head), reason)
        return payload, reply

    def seal(self, name: bytes, payload: bytes) -> bytes | None:
        """Return the DATA frame of a payload for a worker, to send to `route_of(name)`.

        None when there is no session. Raise ValueError for a payload that is too large.
        """
        peer = self._peers.named(name)
        return None if peer is None else peer.session.seal(TO_WORKER, name, payload)

    def name_of(self, route: bytes) -> bytes | None:
        """Return the name of the worker whose session works over a connection."""
        peer = self._peers.active.get(route)
        return None if peer is None else peer.name

    def route_of(self, name: bytes) -> bytes | None:
        """Return the connection over which a worker's session works."""
        return self._peers.routes.get(name)

    def _called(self, route: bytes, head: Head | str) -> bytes:
        peer = self._peers.active.get(route) or self._peers.begun.get(route)
        if peer is not None:
            return peer.name
        asked = _asked(head.payload) if isinstance(head, Head) and head.kind is Kind.HELLO else None
        return asked.name if asked is not None else route

    def _open(self, route: bytes, head: Head | str) -> tuple[bytes | None, bytes | None, str]:
        """Return payload, reply, and the word for why the frame is dropped, if it is."""
        if isinstance(head, str):
            return None, None, head
        if head.kind is Kind.DATA:
            return self._data(route, head)
        if head.kind is Kind.HELLO:
            return None, *self._hello(route, head)
        return None, None, "direction"

    def _data(self, route: bytes, head: Head) -> tuple[bytes | None, bytes | None, str]:
        active, begun = self._peers.active.get(route), self._peers.begun.get(route)
        if active is None and begun is None:
            return None, sealing.stranger(UNKNOWN_SESSION), "stranger"
        for peer in (active, begun):
            if peer is None or not head.is_sealed(peer.session.key, TO_MASTER, peer.name):
                continue
            if not peer.session.is_new(head.sequence):
                return None, None, "replay"
            self._peers.heard(route, peer)
            return head.payload, None, ""
        return None, sealing.stranger(UNKNOWN_SESSION), "mac"

    def _hello(self, route: bytes, head: Head) -> tuple[bytes | None, str]:
        if len(head.payload) > NONCE + 1 + LONGEST_NAME + MOST_MAP:
            return None, "oversized"
        asked = _asked(head.payload)
        if asked is None:
            return None, "passport"
        if not head.is_sealed(self._key, TO_MASTER, asked.name):
            return sealing.stranger(OTHER_SECRET), "secret"
        used, begun = self._peers.named(asked.name), self._peers.begun.get(route)
        if used is not None and used.nonce == asked.nonce:
            return None, "replay"
        if begun is not None and (begun.name, begun.nonce) == (asked.name, asked.nonce):
            return begun.welcome, ""
        return self._judge(route, asked)

    def _judge(self, route: bytes, asked: _Asked) -> tuple[bytes | None, str]:
        passport, name = sealing.unpack_map(asked.passport), _text(asked.name)
        if passport is None or name is None:
            return None, "passport"
        info = self._admit(name, passport)
        if info is None:
            return None, "not-ready"
        if isinstance(info, Refusal):
            return self._refuse(asked.name, asked.nonce, info), ""
        try:
            packed = sealing.pack_map({"instance": self.instance} | info)
        except ValueError as error:
            refusal = Refusal(f"the master's answer cannot be sent: {error}")
            return self._refuse(asked.name, asked.nonce, refusal), ""
        return self._welcome(route, asked, packed), ""

    def _welcome(self, route: bytes, asked: _Asked, info: bytes) -> bytes:
        ours = self._nonces(NONCE)
        session = Session(sealing.session_key(self._key, asked.name, asked.nonce, ours))
        said = asked.nonce + ours + info
        welcome = sealing.seal(self._key, TO_WORKER, asked.name, Kind.WELCOME, 0, said)
        self._peers.begin(route, _Peer(asked.name, asked.nonce, session, welcome))
        return welcome

    def _refuse(self, identity: bytes, nonce: bytes, refusal: Refusal) -> bytes:
        told = {
            "message": _plain(refusal.message),
            "hint": _plain(refusal.hint),
            "exit_code": int(refusal.exit_code),
        }
        return sealing.seal(self._key, TO_WORKER, identity, Kind.REFUSED, 0, nonce + sealing.pack_map(told))


# -- the parts ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a HELLO says, before anything of it was checked."""

    nonce: bytes
    name: bytes
    passport: bytes


def _asked(payload: bytes) -> _Asked | None:
    nonce, length = payload[:NONCE], payload[NONCE : NONCE + 1]
    end = NONCE + 1 + (length[0] if length else 0)
    name = payload[NONCE + 1 : end]
    return _Asked(nonce, name, payload[end:]) if name and len(payload) >= end else None


@dataclass(frozen=True, slots=True)
class _Peer:
    """One session of a worker, and the WELCOME that began it."""

    name: bytes
    nonce: bytes
    session: Session
    welcome: bytes = field(repr=False)


class _Peers:
    """The sessions that work, one for each name, and those that were begun and that nobody has used yet.

    Both are kept by route, and at most `most` of each: one that is silent for longest goes first. A session
    that was begun, which a replayed HELLO can do, moves nothing; only the first DATA under it does.
    """

    def __init__(self, most: int) -> None:
        self.active: OrderedDict[bytes, _Peer] = OrderedDict()
        self.begun: OrderedDict[bytes, _Peer] = OrderedDict()
        self.routes: dict[bytes, bytes] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self.active) + len(self.begun)

    def named(self, name: bytes) -> _Peer | None:
        """Return the session that works for a name."""
        return self.active.get(self.routes.get(name, b""))

    def begin(self, route: bytes, peer: _Peer) -> None:
        """Keep a session that was just welcomed."""
        self.begun[route] = peer
        self.begun.move_to_end(route)
        while len(self.begun) > self._most:
            self.begun.popitem(last=False)

    def heard(self, route: bytes, peer: _Peer) -> None:
        """Note that a session works; a new one takes the place of its worker's last one."""
        if self.active.get(route) is not peer:
            del self.begun[route]
            self._forget(self.routes.get(peer.name, route))
            self._forget(route)
            self.active[route], self.routes[peer.name] = peer, route
        self.active.move_to_end(route)
        while len(self.active) > self._most:
            self._forget(next(iter(self.active)))

    def _forget(self, route: bytes) -> None:
        peer = self.active.pop(route, None)
        if peer is not None:
            del self.routes[peer.name]


def _plain(text: str) -> str:
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
