"""Rows that are judged by a probe's readings: cpu, memory, uptime, and any `probe.reading`.

Readings have no interval, so the evidence is their number: of those scheduled in the steady phase 95 % and
at least 5 must be there. What is scheduled, and which probe a row speaks of, is said in `plan.samples`. More
than scheduled is fine. While the run had no control room none could be made: such a reading is not a bad one,
but it is no evidence either, and counts among those that are not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadgate.judge.evidence import Evidence
from loadgate.judge.measured import NOTHING, Measured, measured
from loadgate.judge.results import ObjectiveResult
from loadgate.judge.rows import decide, invalid
from loadgate.judge.slots import TOLERANCE, Interval, slots, total_length, without
from loadgate.plan.samples import READINGS_NEEDED, expected_readings, probe_of
from loadgate.plan.scenario import Probe
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Segment, Timeline
from loadgate.plan.units import format_duration
from loadgate.store.watch import Reading

NEEDED_SHARE: Final = 0.95
UPTIME: Final = "up"
"""The reading of a health probe that the metric uptime counts; other metrics are called as their reading."""


@dataclass(frozen=True, slots=True)
class Source:
    """The readings of one probe that lie in the steady phase.

    `scheduled` is how many there should be while the target was watched, `planned` in the whole phase. Of its
    `seconds` it was watched in `watched`.
    """

    probe: Probe
    reading: str
    attempts: tuple[Reading, ...]
    scheduled: int
    planned: int
    watched: float
    seconds: float

    @property
    def good(self) -> tuple[Reading, ...]:
        """Return the readings that have a value."""
        return tuple(item for item in self.attempts if item.value is not None)

    @property
    def name(self) -> str:
        """Return the name as an objective would write it."""
        return f"{self.probe.name}.{self.reading}"

    def enough(self, number: int) -> bool:
        """Tell whether a number of readings is evidence enough."""
        return number >= READINGS_NEEDED and number >= math.ceil(NEEDED_SHARE * self.planned - TOLERANCE)

    @property
    def is_watched(self) -> bool:
        """Tell whether the target was watched for long enough that it cannot be why readings are missing."""
        return self.watched >= NEEDED_SHARE * self.seconds - TOLERANCE

    @property
    def notes(self) -> tuple[str, ...]:
        """Say for how long the target was watched, where that is not the whole phase."""
        if self.watched >= self.seconds - TOLERANCE:
            return ()
        return (
            f"the target was watched for {_seconds(self.watched)} of {_seconds(self.seconds)}: the run had "
            "no control room else, and what was not read then is not counted as bad",
        )


def scheduled_in(steady: Sequence[Interval], probe: Probe) -> int:
    """Return how many readings of a probe are sure to fall into the steady phase as it was run."""
    as_run = tuple(Segment(part.start, part.end, 0.0, 0.0, "steady") for part in steady)
    return expected_readings(probe, Timeline(as_run, timeout=0.0))


def find_probe(probes: Sequence[Probe], objective: Objective) -> tuple[Probe, str] | None:
    """Return the probe that a row speaks of and its reading; None where the scenario has none."""
    probe = probe_of(objective, probes)
    if probe is None:
        return None
    named = objective.probe_reading
    if named is not None:
        return probe, named[1]
    return probe, UPTIME if objective.metric == "uptime" else objective.metric


def source_of(probe: Probe, reading: str, evidence: Evidence) -> Source:
    """Collect the readings of a probe that lie in the steady phase."""
    attempts = tuple(
        item
        for item in evidence.readings
        if item.probe == probe.name
        and item.reading == reading
        and any(item.at in part for part in evidence.steady)
    )
    # What nobody could read is not bad; what was read counts, whatever the generator did meanwhile.
    watched = without(evidence.steady, evidence.control_gaps)
    return Source(
        probe,
        reading,
        attempts,
        scheduled=scheduled_in(watched, probe),
        planned=scheduled_in(evidence.steady, probe),
        watched=total_length(watched),
        seconds=total_length(evidence.steady),
    )


def reading(objective: Objective, evidence: Evidence) -> ObjectiveResult:
    """Judge any row that comes from a probe."""
    found = find_probe(evidence.probes, objective)
    if found is None:
        return invalid(objective, _no_probe(objective))
    source = source_of(*found, evidence)
    if objective.metric == "uptime":
        return uptime(objective, source, evidence)
    return gauge(objective, source, evidence)


def gauge(objective: Objective, source: Source, evidence: Evidence) -> ObjectiveResult:
    """Judge a level such as memory: the mean over the phase, the worst reading of each window."""
    values = [item.value for item in source.good if item.value is not None]
    if not source.enough(len(values)) or not source.is_watched:
        return invalid(objective, _too_few(source, len(values)), n=len(values), notes=source.notes)
    scale = 1.0
    if objective.metric == "cpu" and evidence.policy.cpu_of == "machine":
        cores = _cores(source, evidence)
        if cores is None:
            reason = f'probe {source.probe.name} gave no number of cores, which cpu_of = "machine" needs'
            return invalid(
                objective,
                reason + ": judge the CPU of a core, or read the process on its machine",
                notes=source.notes,
            )
        scale = 1 / cores
    whole = measured(objective, math.fsum(values) / len(values) * scale, len(values))
    cut = slots(evidence.steady, objective.every)
    parts = [_extreme(objective, source, slot, scale) for slot in cut]
    method = "mean of readings; windows by their worst reading"
    return decide(objective, whole, cut, parts, unit_of_n="readings", method=method, notes=source.notes)


def _extreme(objective: Objective, source: Source, slot: Interval, scale: float) -> Measured:
    """Return the reading of a window that is farthest on the wrong side of the target."""
    values = [item.value * scale for item in source.good if item.value is not None and item.at in slot]
    if not values:
        return NOTHING
    return measured(objective, min(values) if objective.target.upward else max(values), len(values))


def _cores(source: Source, evidence: Evidence) -> float | None:
    """Return the cores that the target may use, where the probe reads them."""
    cores = [item.value for item in source_of(source.probe, "cores", evidence).good if item.value]
    return cores[-1] if cores else None


def uptime(objective: Objective, source: Source, evidence: Evidence) -> ObjectiveResult:
    """Judge the good health readings among those scheduled.

    An attempt that failed is a bad reading. A reading that was never attempted is missing: it is not good
    either, and too many of them make the row INVALID, unless the bad ones alone are enough to fail it.
    """
    good, attempts = _good(source.attempts), len(source.attempts)
    planned = max(source.scheduled, attempts)
    value = good / planned if planned else None
    if not source.enough(attempts) or not source.is_watched:
        most = max(source.planned, attempts)
        best_case = measured(objective, 1 - (attempts - good) / most, attempts) if most else NOTHING
        if attempts == 0 or not best_case.past:
            return invalid(objective, _too_few(source, attempts), n=attempts, notes=source.notes)
    whole = measured(objective, value, attempts)
    cut = slots(evidence.steady, objective.every)
    parts = []
    for slot in cut:
        inside = tuple(item for item in source.attempts if item.at in slot)
        parts.append(measured(objective, _good(inside) / len(inside), len(inside)) if inside else NOTHING)
    method = "good readings / scheduled readings; windows by the readings in them"
    return decide(objective, whole, cut, parts, unit_of_n="readings", method=method, notes=source.notes)


def _good(attempts: Sequence[Reading]) -> int:
    """Count the health readings that say the service is up."""
    return sum(item.value is not None and item.value >= 1 for item in attempts)


def _no_probe(objective: Objective) -> str:
    """Say which probe a row needs."""
    named = objective.probe_reading
    if named is not None:
        name, reading = named
        return f"the scenario has no probe named {name} that reads {reading}: add [[probes]] with these names"
    kind = "health" if objective.metric == "uptime" else "process"
    return (
        f"no probe of the scenario reads {objective.metric}: "
        f'add [[probes]] with kind = "{kind}", '
        f"or list {objective.metric} under [verdict] optional or leave_out"
    )


def _too_few(source: Source, number: int) -> str:
    """Say how many readings there are, how many it takes, and why some are missing."""
    if source.planned < READINGS_NEEDED:
        return (
            f"{number} of {source.planned} scheduled readings of {source.name}, "
            f"and it takes at least {READINGS_NEEDED}: "
            f"read more often than every {format_duration(source.probe.every)}, or run longer"
        )
    if not source.is_watched:
        return (
            f"nobody watched the target for {_seconds(source.seconds - source.watched)} of "
            f"{_seconds(source.seconds)}, since the run had no control room ({number} of {source.planned} "
            f"scheduled readings of {source.name}), and PASS takes 95%: keep the command that runs it alive, "
            "and run again"
        )
    errors = [item.error for item in source.attempts if item.value is None and item.error]
    why = f"; the last error: {errors[-1]}" if errors else ": see that its source runs and answers in time"
    return f"{number} of {source.planned} scheduled readings of {source.name}, and PASS takes 95%{why}"


def _seconds(length: float) -> str:
    return format_duration(round(length, 1))
