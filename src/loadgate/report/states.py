"""How the objectives stand while a run goes on, by the same functions that judge it in the end.

The state is what the run so far would get over its whole steady phase; a breach that lasted `for` in the
windows makes it FAIL for good. It is for the eyes only: the verdict is made from the run database.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgate.judge.evidence import Evidence
from loadgate.judge.latency import clock_of
from loadgate.judge.objectives import REQUEST_METRICS, evaluate
from loadgate.judge.readings import find_probe
from loadgate.judge.results import Grade, ObjectiveResult, spelled
from loadgate.judge.slots import Interval, clip, longest_breach, slot_of, slots, total_length
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.sla import Objective
from loadgate.plan.units import format_duration
from loadgate.report.snapshot import WAITING, ObjectiveState
from loadgate.store.watch import Reading

ENDLESS: Final = 1e12
"""Seconds longer than any run: with windows this long, a row is judged by its whole phase alone."""
READINGS_S: Final = 3600.0
"""Seconds of probe readings that are kept; rows of probes show this much."""
GRACE_S: Final = 5.0
"""Steady seconds in which a row without data is still waited for."""
GRACE_READINGS: Final = 7
"""Intervals of a probe in which its row is still waited for; it takes five readings."""


@dataclass
class _Slots:
    """The windows of one length: which are still open, and which of an objective's were past its limit."""

    cut: tuple[Interval, ...]
    open: dict[int, dict[tuple[str, str], Window]] = field(default_factory=dict)
    closed: int = 0


class States:
    """The states of a plan's objectives, in memory that does not grow with the run."""

    def __init__(self, plan: Plan, steady: Sequence[Interval]) -> None:
        self._plan = plan
        self._steady = tuple(steady)
        self._requests = [row for row in plan.objectives if row.metric in REQUEST_METRICS]
        self._slots = {row.every: _Slots(slots(steady, row.every)) for row in self._requests if steady}
        self._past: dict[str, deque[tuple[Interval, bool | None]]] = {}
        self._lasting: dict[str, str] = {}
        self._readings: dict[tuple[str, str], deque[Reading]] = {}

    def anew(self) -> States:
        """Return states that know no window, but the same readings."""
        fresh = States(self._plan, self._steady)
        fresh._readings = self._readings
        return fresh

    def fold(self, window: Window) -> None:
        """Take in a window that will not change any more."""
        if window.phase != "steady":
            return
        for group in self._slots.values():
            index = slot_of(group.cut, window)
            if index < group.closed:
                continue
            parts = group.open.setdefault(index, {})
            key = (window.endpoint, window.phase)
            if key in parts:
                parts[key].merge(window)
            else:
                parts[key] = window.copy()

    def close(self, horizon: int) -> None:
        """Judge the windows of the objectives that end by `horizon`; none of their seconds may change."""
        for every, group in self._slots.items():
            while group.closed < len(group.cut) and group.cut[group.closed].end <= horizon:
                slot = group.cut[group.closed]
                parts = group.open.pop(group.closed, {})
                group.closed += 1
                evidence = self._evidence((slot,), parts.values())
                for row in self._requests:
                    if row.every == every:
                        self._note(row, slot, evaluate(_by_whole(row), evidence, merged=True))

    def _note(self, row: Objective, slot: Interval, result: ObjectiveResult) -> None:
        """Remember whether a window was past the limit, and whether the breach has lasted long enough."""
        kept = math.ceil(row.for_ / row.every) + 2
        past = self._past.setdefault(row.name, deque(maxlen=kept))
        past.append((slot, None if result.verdict is Grade.INVALID else result.time_in_violation > 0))
        breach = longest_breach([part for part, _ in past], [answer for _, answer in past])
        if breach is not None and breach.seconds >= row.for_ - 1e-6 and row.name not in self._lasting:
            start, end = format_duration(breach.start), format_duration(breach.end)
            self._lasting[row.name] = f"past the limit from run time {start} to {end}"

    def see(self, readings: Mapping[tuple[str, str], Reading]) -> None:
        """Take in the latest readings of the probes; one that is known already is not taken twice."""
        for key, reading in readings.items():
            kept = self._readings.setdefault(key, deque())
            if not kept or reading.at > kept[-1].at:
                kept.append(reading)
            while kept and kept[0].at < reading.at - READINGS_S:
                kept.popleft()

    def now(self, windows: Sequence[Window], until: float, now: float) -> tuple[ObjectiveState, ...]:
        """Return the state of every objective, with all `windows` so far, complete up to run time `until`."""
        requests = self._evidence(clip(self._steady, until), windows)
        probed = clip(self._steady, now)
        recent = tuple(
            Interval(max(part.start, now - READINGS_S), part.end)
            for part in probed
            if part.end > now - READINGS_S
        )
        readings = self._evidence(recent, ())
        return tuple(
            self._state(row, requests if row.metric in REQUEST_METRICS else readings)
            for row in self._plan.objectives
        )

    def _state(self, row: Objective, evidence: Evidence) -> ObjectiveState:
        if row.metric in REQUEST_METRICS:
            patience = GRACE_S
            result = evaluate(_by_whole(row), evidence, merged=True)
        else:
            found = find_probe(self._plan.scenario.probes, row)
            patience = GRACE_READINGS * found[0].every if found else 0.0
            result = evaluate(row, evidence)
        return self._told(row, result, waiting=total_length(evidence.steady) < patience)

    def _told(self, row: Objective, result: ObjectiveResult, *, waiting: bool) -> ObjectiveState:
        state, reason = result.verdict.value, result.reason
        if row.name in self._lasting:
            state, reason = Grade.FAIL.value, self._lasting[row.name]
        elif result.verdict is Grade.INVALID and waiting:
            state, reason = WAITING, ""
        value = spelled(row.target, result.value) if result.value is not None else ""
        return ObjectiveState(
            row.name, row.statistic or "", row.target.text, state, value, result.n, reason, result.value
        )

    def _evidence(self, steady: Sequence[Interval], windows: Iterable[Window]) -> Evidence:
        scenario = self._plan.scenario
        return Evidence(
            run="",
            scenario=scenario.name,
            objectives=(),
            planned=self._steady,
            steady=tuple(steady),
            windows=tuple(windows),
            readings=tuple(item for kept in self._readings.values() for item in kept),
            model=scenario.traffic.model,
            probes=scenario.probes,
            policy=scenario.verdict,
        )


def series_judged(row: Objective) -> frozenset[str]:
    """Return the series that a row is judged by; none for a row of counts or readings."""
    if not row.is_latency:
        return frozenset()
    clock = clock_of(row)
    outcomes = ("ok", "failed", "timeout") if row.latency_on == "all" else ("ok",)
    return frozenset(f"{clock}.{outcome}" for outcome in outcomes)


def _by_whole(row: Objective) -> Objective:
    """Return the row with windows so long that only its whole phase decides."""
    return row.model_copy(update={"every": ENDLESS, "for_": ENDLESS})
