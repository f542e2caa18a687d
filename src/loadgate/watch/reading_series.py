"""From a probe's readings to the values that alert rules compare."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from loadgate.plan.alerts import AlertRule
from loadgate.plan.timeline import Timeline
from loadgate.store.watch import Reading
from loadgate.watch.series import TOLERANCE, Sample, WindowSampler, overlap

CORES: Final = "cores"
"""The reading that `cpu_of = "machine"` divides by."""


class ReadingSampler(WindowSampler):
    """The samples of a rule on a probe's readings: the worst of each window, or the share of good ones."""

    def __init__(self, rule: AlertRule, timeline: Timeline) -> None:
        super().__init__(rule, timeline)
        self._open: dict[int, list[Reading]] = {}
        self._cores: dict[float, float] = {}

    def take(self, reading: Reading) -> None:
        """Take in a reading."""
        subject = self.rule.subject
        if reading.probe != subject.probe:
            return
        if subject.per_core and reading.reading == CORES and reading.value:
            self._cores[reading.at] = reading.value
        if reading.reading != subject.reading or overlap(self.parts, reading.at, reading.at + 1e-9) <= 0:
            return
        if reading.at < self.position - TOLERANCE:
            self.late += 1
            return
        self._open.setdefault(int((reading.at + TOLERANCE) // self.rule.every), []).append(reading)

    def sample(self, start: float, end: float) -> Sample:
        """Return the sample of one window from the readings that lie in it."""
        found = self._open.pop(int(start // self.rule.every), [])
        empty = Sample(start, end, overlap(self.parts, start, end))
        if self.rule.subject.metric == "uptime":
            good = sum(item.value is not None and item.value >= 1 for item in found)
            if len(found) < max(1, self.rule.at_least):
                return empty
            return self.compared(replace(empty, value=good / len(found), n=len(found)))
        values = [value for item in found if (value := self._value(item)) is not None]
        self._cores = {at: cores for at, cores in self._cores.items() if at >= end - TOLERANCE}
        if len(values) < self.rule.at_least:
            return empty
        limit = self.rule.limit
        assert limit is not None
        return self.compared(
            replace(empty, value=max(values) if limit.upward else min(values), n=len(values))
        )

    def _value(self, reading: Reading) -> float | None:
        """Return a reading's value; of CPU by core only where the same attempt told the cores."""
        if not self.rule.subject.per_core or reading.value is None:
            return reading.value
        cores = self._cores.get(reading.at)
        return reading.value / cores if cores else None
