"""The load over time: levels, phases and the expected number of arrivals, exactly.

The level is linear in each segment, so the cumulative count is piecewise quadratic:
c(t) = c0 + a·dt + (b − a)/(2·length)·dt², with a and b the levels at the segment's ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loadgate.plan.scenario import Scenario, Traffic
from loadgate.plan.trace import Trace, read_trace

PHASES: Final = ("warmup", "ramp", "steady", "drain")
"""Phases by code; `Timeline.phases_of` gives indices into this."""
DRAIN: Final = PHASES.index("drain")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of run time with one phase and a level that is linear from start to end.

    Times are seconds of run time, half-open [start, end); levels are arrivals per second (open model) or
    active users (closed model).
    """

    start: float
    end: float
    level_start: float
    level_end: float
    phase: str

    @property
    def length(self) -> float:
        """Return the seconds of the segment."""
        return self.end - self.start

    @property
    def area(self) -> float:
        """Return the arrivals of the segment (open model) or its user-seconds (closed model)."""
        return (self.level_start + self.level_end) / 2 * self.length


class Timeline:
    """The planned load: segments, phases, and the cumulative count with its inverse.

    In the closed model the level is active users, and counts are user-seconds. With a trace the counts are
    the recorded arrivals and the one segment's level is their mean rate. An open-ended timeline has no plan:
    its level and counts are NaN.
    """

    def __init__(self, segments: tuple[Segment, ...], *, timeout: float, trace: Trace | None = None) -> None:
        self.segments = segments
        self.end = segments[-1].end if segments else 0.0
        self.drain_end = self.end + timeout
        self.trace = trace
        self._starts = np.array([part.start for part in segments], dtype=np.float64)
        self._lengths = np.array([part.length for part in segments], dtype=np.float64)
        self._levels = np.array([part.level_start for part in segments], dtype=np.float64)
        ends = np.array([part.level_end for part in segments], dtype=np.float64)
        bounded = math.isfinite(self.end)
        self._slopes = (ends - self._levels) / self._lengths if bounded else np.zeros(len(segments))
        self._counts = np.concatenate([[0.0], np.cumsum([part.area for part in segments])])
        self._phases = np.array([PHASES.index(part.phase) for part in segments], dtype=np.int8)

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Make the timeline of a scenario; with a trace, read it (PlanError when it is not usable)."""
        return cls.of_traffic(scenario.traffic, timeout=scenario.http.timeout)

    @classmethod
    def of_traffic(cls, traffic: Traffic, *, timeout: float, trace: Trace | None = None) -> Self:
        """Make the timeline of a traffic table; `timeout` in seconds is the length of the drain."""
        if traffic.arrivals == "trace" and traffic.trace is not None:
            trace = trace if trace is not None else read_trace(traffic.trace)
            end = math.nextafter(float(trace.times[-1]), math.inf)
            level = len(trace.times) / end if end > 1e-6 else math.inf
            return cls((Segment(0.0, end, level, level, "steady"),), timeout=timeout, trace=trace)
        segments: list[Segment] = []
        now = level = 0.0
        for stage in traffic.stages:
            goal = stage.rate if traffic.model == "open" else stage.users
            after = float(goal if goal is not None else 0.0)
            if stage.ramp > 0:
                segments.append(Segment(now, now + stage.ramp, level, after, "ramp"))
                now += stage.ramp
            if stage.hold > 0:
                segments.append(Segment(now, now + stage.hold, after, after, stage.phase))
                now += stage.hold
            level = after
        return cls(tuple(segments), timeout=timeout)

    @classmethod
    def open_ended(cls) -> Self:
        """Make the timeline of a run without a plan: all steady, no end, no known level."""
        return cls((Segment(0.0, math.inf, math.nan, math.nan, "steady"),), timeout=0.0)

    @property
    def total(self) -> float:
        """Return the expected arrivals of the run (user-seconds in the closed model)."""
        return float(len(self.trace.times)) if self.trace is not None else float(self._counts[-1])

    @property
    def steady(self) -> tuple[tuple[float, float], ...]:
        """Return the judged stretches as (start, end); neighbours are one stretch."""
        stretches: list[tuple[float, float]] = []
        for part in self.segments:
            if part.phase != "steady":
                continue
            if stretches and stretches[-1][1] == part.start:
                stretches[-1] = (stretches[-1][0], part.end)
            else:
                stretches.append((part.start, part.end))
        return tuple(stretches)

    def seconds(self, phase: str = "steady") -> float:
        """Return the planned seconds of a phase."""
        return math.fsum(part.length for part in self.segments if part.phase == phase)

    def arrivals(self, phase: str = "steady") -> float:
        """Return the expected arrivals of a phase (user-seconds in the closed model)."""
        if self.trace is not None:
            return self.total if phase == "steady" else 0.0
        return math.fsum(part.area for part in self.segments if part.phase == phase)

    @overload
    def level_at(self, t: float) -> float: ...
    @overload
    def level_at(self, t: Floats) -> Floats: ...
    def level_at(self, t: float | Floats) -> float | Floats:
        """Return the level at run time `t`; 0 before the start and from the end on."""
        times = np.asarray(t, dtype=np.float64)
        if not self.segments:
            levels = np.zeros(times.shape)
        else:
            index = self._segment_of(times)
            levels = self._levels[index] + self._slopes[index] * (times - self._starts[index])
            levels = np.where((times < 0) | (times >= self.end), 0.0, levels)
        return float(levels) if times.ndim == 0 else levels

    @overload
    def cumulative(self, t: float) -> float: ...
    @overload
    def cumulative(self, t: Floats) -> Floats: ...
    def cumulative(self, t: float | Floats) -> float | Floats:
        """Return the expected arrivals from 0 to `t`; constant before the start and after the end.

        With a trace: the recorded arrivals at or before `t`.
        """
        times = np.asarray(t, dtype=np.float64)
        if self.trace is not None:
            counts = np.searchsorted(self.trace.times, times, side="right").astype(np.float64)
        elif not self.segments:
            counts = np.zeros(times.shape)
        else:
            inside = np.clip(times, 0.0, self.end)
            index = self._segment_of(inside)
            passed = np.minimum(inside - self._starts[index], self._lengths[index])
            counts = self._counts[index] + passed * (self._levels[index] + self._slopes[index] * passed / 2)
        return float(counts) if times.ndim == 0 else counts

    def inverse(self, n: ArrayLike) -> Floats:
        """Return the earliest run time by which `n` arrivals are expected; inf beyond the total.

        With a trace: the time of arrival number ceil(n), counted from 1.
        """
        counts = np.asarray(n, dtype=np.float64)
        if self.trace is not None:
            order = np.maximum(np.ceil(counts).astype(np.int64) - 1, 0)
            recorded = self.trace.times[np.minimum(order, len(self.trace.times) - 1)]
            return np.where(order < len(self.trace.times), recorded, math.inf)
        if not self.segments:
            return np.full(counts.shape, math.inf)
        index = np.searchsorted(self._counts[1:], counts, side="left").clip(0, len(self.segments) - 1)
        wanted = np.maximum(counts - self._counts[index], 0.0)
        level, slope = self._levels[index], self._slopes[index]
        # 2n / (a + sqrt(a² + 2sn)) is the root that loses no digits when the slope is small or zero.
        below = level + np.sqrt(np.maximum(level * level + 2 * slope * wanted, 0.0))
        passed = np.divide(2 * wanted, below, out=np.zeros_like(wanted), where=below > 0)
        times = self._starts[index] + np.minimum(passed, self._lengths[index])
        return np.where(counts > self._counts[-1], math.inf, times)

    def phases_of(self, times: ArrayLike) -> NDArray[np.int8]:
        """Return the phase code of each run time: drain from the end on, before 0 the first segment's."""
        at = np.asarray(times, dtype=np.float64)
        if not self.segments:
            return np.full(at.shape, DRAIN, dtype=np.int8)
        return np.where(at >= self.end, np.int8(DRAIN), self._phases[self._segment_of(at)])

    def _segment_of(self, times: Floats) -> NDArray[np.intp]:
        """Return the index of each time's segment, the first or last one outside of the run."""
        return np.clip(np.searchsorted(self._starts, times, side="right") - 1, 0, len(self.segments) - 1)
