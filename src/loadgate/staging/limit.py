"""Token buckets: the rate limit per client address, and the lowered limit of one service."""

from __future__ import annotations

import math
from typing import NamedTuple

_MOST_BUCKETS = 10_000


class Grant(NamedTuple):
    """Say what a bucket decided: go on after `wait` seconds, or refuse and retry after `retry_after`."""

    allowed: bool
    wait: float
    remaining: int
    retry_after: int


class TokenBucket:
    """Give out `capacity` tokens, refilled at `refill` per second; first delay, then refuse.

    An empty bucket lends the next token in advance: the caller waits until that token would be there.
    Once that wait would pass `patience` seconds the request is refused, and a refusal takes no token.
    """

    __slots__ = ("capacity", "patience", "refill", "stamp", "tokens")

    def __init__(self, capacity: float, refill: float, patience: float, now: float) -> None:
        self.capacity = capacity
        self.refill = refill
        self.patience = patience
        self.tokens = capacity
        self.stamp = now

    def level(self, now: float) -> float:
        """Return the tokens at `now`, below 0 when some were lent; refills as a side effect."""
        self.tokens = min(self.capacity, self.tokens + (now - self.stamp) * self.refill)
        self.stamp = now
        return self.tokens

    def take(self, now: float) -> Grant:
        """Take one token at `now` (monotonic seconds, never going back)."""
        tokens = self.level(now)
        if tokens >= 1.0:
            self.tokens = tokens - 1.0
            return Grant(True, 0.0, int(self.tokens), 0)
        wait = (1.0 - tokens) / self.refill
        if wait > self.patience:
            return Grant(False, 0.0, 0, max(1, math.ceil(wait)))
        self.tokens = tokens - 1.0
        return Grant(True, wait, 0, 0)


class AddressLimits:
    """Keep one bucket per client address; at most 10,000 of them (full ones are forgotten first)."""

    def __init__(self, capacity: float, refill: float, patience: float) -> None:
        self.capacity = capacity
        self.refill = refill
        self.patience = patience
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, address: str, now: float) -> Grant:
        """Take one token of `address` at `now`."""
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                self._forget(now)
            bucket = TokenBucket(self.capacity, self.refill, self.patience, now)
            self._buckets[address] = bucket
        return bucket.take(now)

    def _forget(self, now: float) -> None:
        full = [address for address, bucket in self._buckets.items() if bucket.level(now) >= self.capacity]
        for address in full or list(self._buckets)[: _MOST_BUCKETS // 10]:
            del self._buckets[address]
