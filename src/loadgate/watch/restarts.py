"""Notice that the target restarted, from readings that cannot go back in a process that lives on."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from loadgate.plan.probe import Probe
from loadgate.watch.counters import went_down
from loadgate.watch.probes import Value

if TYPE_CHECKING:
    from loadgate.store.watch import Reading

_COUNTERS: Final = {"health": ("uptime",), "cache": ("hits", "misses", "total_requests")}
"""The readings of each kind that only grow while the process lives."""
OTHERS: Final = "other processes took the place of those before"


class Restart(NamedTuple):
    """A sign of a restart: when it was seen (run time), by which probe, and what was seen."""

    at: float
    probe: str
    sign: str


class RestartWatch:
    """Remember what one probe saw last, and tell when it shows a restart; `count` is how often it did."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe.name
        self._names = (*_COUNTERS.get(probe.kind, ()), *probe.counters)
        self._last: dict[str, float] = {}
        self._identity: frozenset[Hashable] = frozenset()
        self.count = 0

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
        return self._seen(at, sign) if sign else None

    def identity(self, at: float, processes: frozenset[Hashable]) -> Restart | None:
        """Note which processes the target is; none of the earlier ones left means a restart."""
        before, self._identity = self._identity, processes or self._identity
        if before and processes and not before & processes:
            return self._seen(at, OTHERS)
        return None

    def _seen(self, at: float, sign: str) -> Restart:
        self.count += 1
        return Restart(at, self._probe, sign)


def restarts_in(readings: Iterable[Reading], probes: Sequence[Probe]) -> tuple[Restart, ...]:
    """Return the restarts that stored readings show, in order of time: the same that were seen while it ran.

    A process probe stores them as the count `restarts`; the others are seen again in what went back.
    """
    watches = {probe.name: RestartWatch(probe) for probe in probes}
    attempts: dict[tuple[float, str], list[Value]] = {}
    for item in readings:
        if item.probe in watches:
            attempts.setdefault((item.at, item.probe), []).append(Value(item.reading, item.value, item.error))
    found = []
    counted: dict[str, float] = {}
    kinds = {probe.name: probe.kind for probe in probes}
    for (at, name), values in sorted(attempts.items(), key=lambda entry: entry[0]):
        sign = watches[name].values(at, values)
        if sign is not None:
            found.append(sign)
        count = next((item.value for item in values if item.reading == "restarts"), None)
        if kinds[name] == "process" and count is not None:
            if count > counted.get(name, 0.0):
                found.append(Restart(at, name, OTHERS))
            counted[name] = count
    return tuple(found)
