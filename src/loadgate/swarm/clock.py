"""How far a worker's clock is from its master's.

Processes under one kernel share CLOCK_MONOTONIC, and the offset is exactly 0. Otherwise it is
estimated from round trips: the master's answer is taken to be half-way through the shortest one, so the error
is at most half of that round trip (Cristian, *Probabilistic clock synchronization*, 1989).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent

from loadgate.swarm import messages

_ROUNDS = 8
_PAUSE = 0.02


class ClockSync:
    """Estimate the offset to the master's clock, in seconds (master minus local)."""

    def __init__(self, send: Callable[[str, dict[str, Any]], None], *, same_clock: bool) -> None:
        self._send = send
        self._same = same_clock
        self.offset = 0.0
        self.round_trip = 0.0 if same_clock else float("inf")
        if not same_clock:
            gevent.spawn(self._probe)

    def to_local(self, master_time: float) -> float:
        """Convert a moment of the master's clock."""
        return master_time - self.offset

    def answered(self, sent: float, master_time: float, now: float) -> None:
        """Take one round trip into account."""
        round_trip = now - sent
        if round_trip < self.round_trip:
            self.round_trip = round_trip
            self.offset = master_time - (sent + round_trip / 2)

    def _probe(self) -> None:
        for _ in range(_ROUNDS):
            self._send(messages.PING, {"sent": time.monotonic()})
            gevent.sleep(_PAUSE)
