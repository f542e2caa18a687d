"""The form of Locust's messages on the wire, and which of them may go on to Locust's handlers.

A message is a triple: type, data, and the id of the node that it comes from or goes to. Locust's handlers
read its data without looking (runners.py:1018 and 1364 in 2.47.0), and an exception there ends the loop that
receives messages. So what comes is looked at here first: that it is such a triple of plain values, that it
speaks for the connection that it came over, and that its data has what its handler reads.

This module is pure: bytes in, values out. Nothing that arrives raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]
from locust.exception import RPCError

from loadgate.swarm import sealing

BEAT_SUFFIX: Final = "#beat"
"""Ends the identity of a worker's second connection, which may say Loadgate's own messages only."""
OWN_PREFIX: Final = "loadgate."

Sound: TypeAlias = tuple[str, Any, str]
"""Type, data and node id of a message."""


def pack(kind: str, data: Any, node: str) -> bytes:
    """Return a message's payload. Raise RPCError for one that no connection can carry.

    No message of Locust 2.47 holds a datetime or an ObjectId, so there is no form for them.
    """
    try:
        payload: bytes = msgpack.packb((kind, data, node))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RPCError(f"a {kind!r} message holds what cannot be sent: {error}") from error
    if len(payload) > sealing.MOST_PAYLOAD:
        raise RPCError(f"a {kind!r} message is too large to send: {len(payload)} bytes")
    return payload


def unpack(payload: bytes) -> Sound | None:
    """Return a message's type, data and node id; None for anything that is no such triple of plain values."""
    try:
        found = msgpack.unpackb(payload, strict_map_key=False, ext_hook=_no_extension, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None
    if not isinstance(found, list) or len(found) != 3:
        return None
    kind, data, node = found
    if not isinstance(kind, str) or not kind or not isinstance(node, str):
        return None
    return kind, data, node


def from_worker(payload: bytes, peer: str) -> Sound | str:
    """Return the message that a worker's connection carried, or a word for why it is dropped."""
    found = unpack(payload)
    if found is None:
        return "malformed"
    kind, data, node = found
    if peer.endswith(BEAT_SUFFIX):
        if node + BEAT_SUFFIX != peer or not kind.startswith(OWN_PREFIX):
            return "spoofed"
    elif node != peer:
        return "spoofed"
    fits = _FROM_WORKER.get(kind)
    return found if fits is None or fits(data) else "shape"


def from_master(payload: bytes, own: str) -> Sound | str:
    """Return the message that the master sent to the connection `own`, or a word for why it is dropped."""
    found = unpack(payload)
    if found is None:
        return "malformed"
    kind, data, node = found
    if node != own:
        return "spoofed"
    fits = _FROM_MASTER.get(kind)
    return found if fits is None or fits(data) else "shape"


def _no_extension(code: int, _: bytes) -> Any:
    raise ValueError(f"extension {code}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and type(n) is int and n >= 0 for key, n in value.items()
    )


def _has(**checks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Make a check for a map that has these entries, each passing its own."""
    return lambda data: (
        isinstance(data, dict) and all(key in data and fits(data[key]) for key, fits in checks.items())
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


# Locust's handlers read these without looking, and an exception there ends its listening loop
# (runners.py:1018 and 1364). All other messages may hold any plain value, as users' own do.
_FROM_WORKER: dict[str, Callable[[Any], bool]] = {
    "client_ready": lambda data: isinstance(data, str) or data == -1,
    "heartbeat": _has(state=_is_text, current_cpu_usage=_is_number),
    "stats": lambda data: isinstance(data, dict) and _is_counts(data.get("user_classes_count", {})),
    "spawning_complete": _has(user_classes_count=_is_counts),
    "exception": _has(msg=_is_text, traceback=_is_text),
    "logs": _is_map,
}
_FROM_MASTER: dict[str, Callable[[Any], bool]] = {
    "ack": lambda data: data is None or isinstance(data, dict),
    "spawn": _has(
        timestamp=_is_number,
        host=lambda host: host is None or isinstance(host, str),
        stop_timeout=lambda timeout: timeout is None or _is_number(timeout),
        parsed_options=_is_map,
        user_classes_count=_is_counts,
    ),
    "spawning_complete": _has(user_count=_is_number),
    "update_user_class": _is_map,
}
