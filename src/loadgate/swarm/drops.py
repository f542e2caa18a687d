"""Say in the log what was dropped on a connection, and what it means; never more often than is of use."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger("loadgate.swarm")

_MEANINGS = {
    "secret": "its secret is another one; export the same LOADGATE_SECRET on every host",
    "version": "it speaks another version of this protocol; install the same Loadgate on every host",
    "stock": "it runs stock Locust; its locustfile must load Loadgate's plugin",
    "locustfile": "it asks for the locustfile, and Loadgate's master gives out no files",
    "garbage": "it is not of this protocol; something else speaks to this port",
    "mac": "it is of an old session, or was changed on its way",
    "replay": "it came a second time",
    "stranger": "it is of a session that this process does not know",
    "passport": "it does not say who sends it",
    "truncated": "it was cut off",
    "parts": "it is not of this protocol; something else speaks to this port",
    "spoofed": "it speaks in the name of another worker",
    "malformed": "it holds no message",
    "shape": "its message lacks what a message of its type has",
    "no-session": "that worker is not connected",
    "unsent": "that worker is gone, or takes nothing in",
    "not-ready": "this process takes no workers yet",
    "overflow": "more messages wait for the master than are kept; the oldest are lost",
}
_LOG_EVERY = 60.0
_logged: dict[str, float] = {}


def log_dropped(reason: str, peer: str) -> None:
    """Log a dropped frame or message: each reason at most once a minute."""
    now = time.monotonic()
    if now - _logged.get(reason, float("-inf")) < _LOG_EVERY:
        return
    _logged[reason] = now
    meaning = _MEANINGS.get(reason)
    _log.warning(
        "dropped what came from %s or goes there (%s)%s", peer, reason, f": {meaning}" if meaning else ""
    )


def readable(who: bytes) -> str:
    """Return a peer's name as text that spoils no log; anybody can choose one.

    A connection that has none was given a route by this process's own socket: five bytes, of which the first
    is 0.
    """
    if who.startswith(b"\0"):
        return "a connection without a name"
    text = who.decode("utf-8", "backslashreplace")[:255]
    return "".join(one if one.isprintable() else "?" for one in text)
