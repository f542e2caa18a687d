"""Notice that the target restarted, from readings that cannot go back in a process that lives on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

from loadgate.watch.counters import went_down
from loadgate.watch.probes import Value

_COUNTERS: Final = {"health": ("uptime",), "cache": ("hits", "misses", "total_requests")}
"""The readings of each kind that only grow while the process lives."""


class Restart(NamedTuple):
    """A sign of a restart: when it was seen (run time), by which probe, and what was seen."""

    at: float
    probe: str
    sign: str


class RestartWatch:
    """Remember what one probe saw last, and tell when it shows a restart."""

    def __init__(self, probe: str, kind: str) -> None:
        self._probe = probe
        self._names = _COUNTERS.get(kind, ())
        self._last: dict[str, float] = {}
        self._identity: frozenset[Hashable] = frozenset()

    def values(self, at: float, values: Sequence[Value]) -> Restart | None:
        """Note the readings of an attempt; those without a value tell nothing and forget nothing."""
        sign = ""
        for name in self._names:
            value = next((item.value for item in values if item.reading == name), None)
            if value is None:
                continue
            before = self._last.get(name)
            if before is not None and went_down((before,), (value,)) and not sign:
                sign = f"{name} went back from {before:g} to {value:g}"
            self._last[name] = value
        return Restart(at, self._probe, sign) if sign else None

    def identity(self, at: float, processes: frozenset[Hashable]) -> Restart | None:
        """Note which processes the target is; none of the earlier ones left means a restart."""
        before, self._identity = self._identity, processes or self._identity
        if before and processes and not before & processes:
            return Restart(at, self._probe, "the process is another one than before")
        return None
