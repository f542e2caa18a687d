"""Readings of this process: what it uses of its cores, descriptors and ports, and what held it up.

A generator that is short of something makes the target look slow, or sends less than it should, and a
requests-per-second figure shows neither. So each worker tells once a second what it had and what it used;
`judge/generator.py` says what follows from it. Reading it all takes some tens of microseconds.
"""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgate.swarm.limits import (
    PROC,
    Throttled,
    cores_allowed,
    cpu_groups,
    descriptor_limit,
    listed_descriptors,
    local_ports,
    open_descriptors,
    open_to_read,
)
from loadgate.swarm.ports import PortCount

_LIMITS_EVERY: Final = 10.0
"""Seconds between two looks at limits, which somebody may change while the run goes on."""
_LIST_EVERY: Final = 10.0
"""Seconds between two counts of the descriptors where they have to be listed."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one second cost and had; the names are those of a fleet row (cores, bytes, µs)."""

    cpu: float
    rss: int
    cpu_allowed: float
    throttled_us: float
    fds: int
    fds_limit: int
    ports: int
    ports_limit: int
    gc_pause_max_us: float


class GcPauses:
    """Measure how long garbage collections hold this process up, from now until `close`."""

    def __init__(self) -> None:
        self._begun = 0.0
        self._longest = 0.0
        gc.callbacks.append(self._note)

    def take(self) -> float:
        """Return the longest pause since the last call, in seconds; 0.0 without any."""
        longest, self._longest = self._longest, 0.0
        return longest

    def close(self) -> None:
        """Stop measuring; again is fine."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, _info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._begun = now
        else:
            self._longest = max(self._longest, now - self._begun)


class Vitals:
    """Take this process's readings, second by second; `target_port` is the target's (None: no ports)."""

    def __init__(self, target_port: int | None, now: float, proc: Path = PROC) -> None:
        self._proc = proc
        self._groups = cpu_groups(proc)
        self._pauses = GcPauses()
        self._ports = PortCount(target_port, proc) if target_port is not None else None
        self._limits_until = self._listed_until = 0.0
        self._listed = 0
        self._cpu, self._at = time.process_time(), now
        self._memory = open_to_read(proc / "self/statm")
        self._held_back = Throttled(self._groups)
        self._throttled = self._held_back.seconds()
        self._look_at_limits(now)

    def read(self, now: float, users: int = 0) -> Reading:
        """Return what happened since the last reading; `now` is CLOCK_MONOTONIC seconds.

        `users` stands in for the ports in use where the kernel does not tell: each holds one connection.
        """
        if now >= self._limits_until:
            self._look_at_limits(now)
        cpu, throttled = time.process_time(), self._held_back.seconds()
        reading = Reading(
            cpu=(cpu - self._cpu) / max(now - self._at, 1e-9),
            rss=self._rss(),
            cpu_allowed=self._cores,
            throttled_us=max(throttled - self._throttled, 0.0) * 1e6,
            fds=self._descriptors(now),
            fds_limit=self._fds_limit,
            ports=self._local_ports(now, users),
            ports_limit=self._ports_limit,
            gc_pause_max_us=self._pauses.take() * 1e6,
        )
        self._cpu, self._at, self._throttled = cpu, now, throttled
        return reading

    def close(self) -> None:
        """Stop measuring; again is fine."""
        self._pauses.close()
        self._held_back.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _look_at_limits(self, now: float) -> None:
        self._cores = cores_allowed(self._groups)
        self._fds_limit = descriptor_limit()
        self._ports_limit = local_ports(self._proc)
        self._limits_until = now + _LIMITS_EVERY

    def _rss(self) -> int:
        """Return the memory of this process in bytes; 0 where the system does not tell."""
        try:
            return int(os.pread(self._memory, 200, 0).split()[1]) * _PAGE
        except (OSError, ValueError, IndexError):
            return 0

    def _descriptors(self, now: float) -> int:
        told = open_descriptors(self._proc)
        if told is not None:
            return told
        if now >= self._listed_until:
            self._listed = listed_descriptors(self._proc)
            self._listed_until = now + _LIST_EVERY
        return self._listed

    def _local_ports(self, now: float, users: int) -> int:
        if self._ports is None:
            return 0
        found = self._ports.read(now)
        return users if found is None else found
