"""The answer cache of the reference service: a time to live, a bound, and its own statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable


class Entry:
    """Hold one cached answer: its ready bytes, when it was set, when it expires, how often it was read."""

    __slots__ = ("accesses", "body", "created_at", "expires", "label")

    def __init__(self, body: bytes, label: str, created_at: str, expires: float) -> None:
        self.body = body
        self.label = label
        self.created_at = created_at
        self.expires = expires
        self.accesses = 0


def label_of(endpoint: str, text: str) -> str:
    """Name a cache key for people: the endpoint and a short digest, never the text itself."""
    return f"{endpoint}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def format_memory(size: int) -> str:
    """Write a number of bytes as the service does: "8.42 KB" (1 KB = 1024 bytes), always two decimals."""
    if size < 1024:
        return f"{size:.2f} B"
    if size < 1024 * 1024:
        return f"{size / 1024:.2f} KB"
    return f"{size / (1024 * 1024):.2f} MB"


class Cache:
    """Keep answers for `ttl` seconds, at most `bound` of them; the oldest makes room for a new one.

    All entries live equally long, so insertion order is also the order of expiry. Counters run from
    the start of the process and never go down; an eviction counts as a delete.
    """

    def __init__(self, ttl: float = 3600.0, bound: int = 10_000) -> None:
        self.ttl = ttl
        self.bound = bound
        self.hits = 0
        self.misses = 0
        self.sets = 0
        self.deletes = 0
        self.expirations = 0
        self._entries: dict[Hashable, Entry] = {}
        self._size = 0
        self._accesses = 0  # sum over the entries that are held now

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> Entry | None:
        """Return the live entry of `key` and count a hit, else count a miss and return None."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        if entry.expires <= now:
            self._remove(key)
            self.expirations += 1
            self.misses += 1
            return None
        entry.accesses += 1
        self._accesses += 1
        self.hits += 1
        return entry

    def miss(self) -> None:
        """Count a lookup that was not made because the cache is switched off."""
        self.misses += 1

    def set(self, key: Hashable, body: bytes, *, label: str, created_at: str, now: float) -> None:
        """Store `body`, replacing an older answer to `key` and evicting the oldest entries if full."""
        if key in self._entries:
            self._remove(key)
        while len(self._entries) >= self.bound:
            self._remove(next(iter(self._entries)))
            self.deletes += 1
        self._entries[key] = Entry(body, label, created_at, now + self.ttl)
        self._size += len(body) + len(label)
        self.sets += 1

    def purge(self, now: float, most: int = 1000) -> int:
        """Drop up to `most` expired entries, oldest first; return how many were dropped."""
        dropped = 0
        while self._entries and dropped < most:
            key, entry = next(iter(self._entries.items()))
            if entry.expires > now:
                break
            self._remove(key)
            dropped += 1
        self.expirations += dropped
        return dropped

    def stats(self) -> dict[str, object]:
        """Return the `data` of the statistics route; rates, sizes and means are strings, as observed."""
        total = self.hits + self.misses
        entries = len(self._entries)
        first = next(iter(self._entries.values()), None)
        last = next(reversed(self._entries.values()), None)
        return {
            "totalEntries": entries,
            "totalMemory": format_memory(self._size),
            "hits": self.hits,
            "misses": self.misses,
            "totalRequests": total,
            "hitRate": f"{100 * self.hits / total if total else 0:.2f}%",
            "sets": self.sets,
            "deletes": self.deletes,
            "expirations": self.expirations,
            "avgAccessCount": f"{self._accesses / entries if entries else 0:.2f}",
            "oldestEntry": _described(first),
            "newestEntry": _described(last),
        }

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key)
        self._size -= len(entry.body) + len(entry.label)
        self._accesses -= entry.accesses


def _described(entry: Entry | None) -> dict[str, str] | None:
    return None if entry is None else {"key": entry.label, "createdAt": entry.created_at}
