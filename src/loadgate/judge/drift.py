"""Does a series creep? What a trend means for a drift rule, in a verdict and in words.

Worse is up or down, as the rule says; slopes are turned so that worse is up before they are judged.

FAIL: a slope is shown (its interval excludes 0), and it grew by more than the rule allows over the run, or it
reaches the limit within the horizon. PASS: not even the steepest slope that the interval leaves open does
either. WARN: shown, and in between; or something else than a slope got worse: a step that stayed, an end
that lies over the beginning. INCONCLUSIVE: the interval is too wide to say. INVALID: no data, or it was
the generator that drifted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

from loadgate.judge.drift_text import spelled_level, spelled_slope, spelled_time
from loadgate.judge.results import Grade, number
from loadgate.judge.trend import Slope, TooLittle, Trend
from loadgate.judge.trend_shapes import CYCLES_NEEDED
from loadgate.plan.drift import Drift
from loadgate.plan.units import format_duration

HORIZON: Final = 4.0
"""Times the length of the series that a projection looks ahead where the rule names no horizon."""
FARTHEST: Final = 100.0
"""Times the length beyond which no number of further hours is promised to settle a slope."""
COVERED_NEEDED: Final = 0.5
_OWN_SHARE: Final = 0.5
"""The share of a slope from which the generator's own slope explains it."""

TARGET, GENERATOR, UNCLEAR = "target", "generator", "unclear"


@dataclass(frozen=True, slots=True)
class DriftResult:
    """What is said of one series; values in SI, times in seconds.

    `reaches` is how long after the end of the series its slope comes to the limit, `soonest` and `latest`
    the same by the ends of its interval (infinite: never); None without a limit. `drifts` says who: the
    target, the generator, or unclear; empty where nothing drifts.
    """

    rule: Drift
    verdict: Grade
    reason: str
    trend: Trend | None = None
    reaches: float | None = None
    soonest: float | None = None
    latest: float | None = None
    drifts: str = ""
    more: float | None = None
    """Seconds of further run that would settle it, where that can be told."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values: SI units, slopes per hour; None for what is infinite."""
        found: dict[str, Any] = {
            "name": self.rule.name,
            "metric": self.rule.metric,
            "endpoint": self.rule.endpoint,
            "statistic": self.rule.statistic,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "drifts": self.drifts,
            "limit": self.rule.limit.text if self.rule.limit else None,
            "growth": self.rule.growth.text,
            "reaches": number(self.reaches),
            "reaches_soonest": number(self.soonest),
            "reaches_latest": number(self.latest),
            "more": number(self.more),
            "notes": list(self.notes),
        }
        return found if self.trend is None else {**found, **_trend_dict(self.trend)}


def _trend_dict(trend: Trend) -> dict[str, Any]:
    slope = trend.slope
    return {
        "slope_per_hour": number(slope.value * 3600),
        "interval_per_hour": [number(slope.low * 3600), number(slope.high * 3600)],
        "confidence": 1 - trend.doubt,
        "start": trend.start,
        "end": trend.end,
        "level": trend.level,
        "first": trend.first,
        "last": trend.last,
        "readings": trend.readings,
        "parts": trend.parts,
        "cycles": len(trend.cycles.troughs) if trend.cycles else 0,
        "steps": [{"at": step.at, "size": step.size} for step in trend.steps],
    }


@dataclass(frozen=True, slots=True)
class _Case:
    """A trend beside its rule, turned so that worse is up."""

    rule: Drift
    trend: Trend

    @property
    def sign(self) -> float:
        return 1.0 if self.rule.rising_is_worse else -1.0

    @property
    def slope(self) -> Slope:
        one = self.trend.slope
        return one if self.rule.rising_is_worse else Slope(-one.value, -one.high, -one.low, one.alike)

    @property
    def floor(self) -> float:
        """Return the growth over the run that is too much."""
        return self.rule.growth.floor(self.trend.first or self.trend.level)

    @property
    def room(self) -> float | None:
        """Return how far the limit is from where the series stands; None without one."""
        return None if self.rule.limit is None else self.sign * (self.rule.limit.value - self.trend.level)

    @property
    def horizon(self) -> float:
        return HORIZON * self.trend.seconds if self.rule.within is None else self.rule.within

    def too_fast(self, rate: float) -> bool:
        """Tell whether a rate (per second, worse is up) is too much."""
        return rate > 0 and rate >= self.allowed

    @property
    def allowed(self) -> float:
        """Return the rate from which it is too much: by the growth over the run, or by the limit."""
        by_growth = self.floor / self.trend.seconds
        return by_growth if self.room is None else min(by_growth, self.room / self.horizon)

    def reaching(self, rate: float) -> float | None:
        """Return in how many seconds a rate brings the series to the limit; None without a limit."""
        if self.room is None:
            return None
        return self.room / rate if rate > 0 else math.inf


def judge_trend(rule: Drift, found: Trend | TooLittle) -> DriftResult:
    """Judge what is known of a series by its rule; a series without a trend is INCONCLUSIVE."""
    if isinstance(found, TooLittle):
        reason = f"{rule.name}: {found.reason}: {found.needs}"
        return DriftResult(rule, Grade.INCONCLUSIVE, reason)
    case = _Case(rule, found)
    verdict, why, more = _decided(case)
    slope = case.slope
    reason = ", ".join(part for part in (f"{rule.name} {spelled_slope(rule, found.slope)}", why) if part)
    return DriftResult(
        rule,
        verdict,
        reason,
        found,
        case.reaching(slope.value),
        case.reaching(slope.high),
        case.reaching(slope.low),
        TARGET if verdict in (Grade.FAIL, Grade.WARN) else "",
        more,
        _notes(case),
    )


def _decided(case: _Case) -> tuple[Grade, str, float | None]:
    """Return the verdict, why, and how much longer would settle it."""
    slope, room, trend = case.slope, case.room, case.trend
    if room is not None and room <= 0 and case.rule.limit is not None:
        limit = spelled_level(case.rule, case.rule.limit.value)
        return Grade.FAIL, f"stands at {spelled_level(case.rule, trend.level)}, past its limit {limit}", None
    shown = slope.low > 0
    if shown and case.too_fast(slope.value):
        return _shown(case)
    if trend.falls and case.too_fast(slope.high):
        return Grade.INCONCLUSIVE, _few_cycles(trend), None
    if shown and case.too_fast(slope.high):
        return Grade.WARN, f"{_projected(case)}; but it is shown to drift, and may do so faster", None
    if case.too_fast(slope.high):
        return _open(case)
    return _unless_worse(case)


def _shown(case: _Case) -> tuple[Grade, str, float | None]:
    """Decide about a slope that is shown and too fast."""
    trend = case.trend
    if trend.falls:
        return Grade.INCONCLUSIVE, _few_cycles(trend), None
    if trend.to_come is None:
        return Grade.FAIL, _projected(case), None
    ahead = max(case.sign * trend.to_come, 0.0)
    if case.room is not None and ahead >= case.room:
        return Grade.FAIL, f"{_projected(case)}, although it slows down", None
    end = spelled_level(case.rule, trend.level + case.sign * ahead)
    return Grade.WARN, f"slowing down: it would level off at about {end}", None


def _open(case: _Case) -> tuple[Grade, str, float | None]:
    """Say how much longer would settle a slope: its interval narrows with the time to the power of 3/2."""
    slope, seconds = case.slope, case.trend.seconds
    gap = slope.value if slope.value >= case.allowed else case.allowed - slope.value
    times = (slope.half / gap) ** (2 / 3) if gap > 0 else math.inf
    if not 1 < times <= FARTHEST:
        return Grade.INCONCLUSIVE, "too wide an interval to say, and no longer run would settle it", None
    more = seconds * (times - 1)
    return (
        Grade.INCONCLUSIVE,
        f"too wide an interval to say: about {spelled_time(more)} more would settle it",
        more,
    )


def _unless_worse(case: _Case) -> tuple[Grade, str, float | None]:
    """Let a series without a slope pass, unless it got worse in another way."""
    trend, rule = case.trend, case.rule
    worse = [step for step in trend.steps if case.sign * step.size >= case.floor]
    if worse:
        step = max(worse, key=lambda one: case.sign * one.size)
        sign = "+" if step.size > 0 else "-"
        said = f"a step of {sign}{spelled_level(rule, abs(step.size))} at {format_duration(round(step.at))}"
        return Grade.WARN, f"{said} stayed; no slope beside it", None
    if case.sign * trend.gain >= case.floor > 0:
        sign = "+" if trend.gain > 0 else "-"
        gain = f"{sign}{spelled_level(rule, abs(trend.gain))}"
        return Grade.WARN, f"no steady slope, but {gain} since the last restart or step", None
    if trend.covered < COVERED_NEEDED:
        said = f"only {100 * trend.covered:.0f}% of it lies in stretches long enough for a slope"
        return Grade.INCONCLUSIVE, said, None
    return Grade.PASS, "", None


def _projected(case: _Case) -> str:
    """Say when the limit is reached; or, where it is not within the horizon, what it grew by."""
    at, limit = case.reaching(case.slope.value), case.rule.limit
    if limit is not None and at is not None and at <= case.horizon:
        return f"reaches {spelled_level(case.rule, limit.value)} in {spelled_time(at)}"
    change, allowed = case.trend.change, case.rule.growth.text
    sign = "+" if change > 0 else "-"
    over = spelled_time(case.trend.seconds)
    than = "less than" if abs(change) < case.floor else "not less than"
    return f"{sign}{spelled_level(case.rule, abs(change))} over {over}, {than} the {allowed} that it may"


def _few_cycles(trend: Trend) -> str:
    times = "once" if trend.falls == 1 else f"{trend.falls} times"
    return (
        f"it fell back {times} without a known restart, and it takes {CYCLES_NEEDED} cycles to follow their "
        "troughs: run longer, or annotate the restarts"
    )


def _notes(case: _Case) -> tuple[str, ...]:
    """Return what else is worth knowing of the series."""
    trend, rule = case.trend, case.rule
    found = [
        f"from {spelled_level(rule, trend.first)} at first to {spelled_level(rule, trend.last)} at last",
    ]
    if trend.cycles is not None:
        every = spelled_time(trend.cycles.seconds)
        found.append(
            f"troughs of {len(trend.cycles.troughs)} cycles of about {every}, "
            f"peaks {spelled_level(rule, trend.cycles.swing)} over them"
        )
    if trend.daily:
        found.append(f"a daily cycle of {spelled_level(rule, trend.daily)} up and down is taken off")
    if trend.parts > 1:
        found.append(f"{trend.parts} stretches between restarts, each with its own level and one slope")
    if trend.levelled_at is not None:
        found.append(f"it grew at first; judged from {format_duration(round(trend.levelled_at))} on")
    return tuple(found)


# ---- whose drift it is


def attribute(result: DriftResult, control: Trend | TooLittle | None) -> DriftResult:
    """Tell whether a series that got worse did so because of the generator.

    `control` is the trend of the generator's own share of the same quantity, in the same unit and direction:
    the latency of its requests to a server that does nothing, or what it offered. A control that is shown to
    rise by half of the slope or more makes the result INVALID; one that may, INCONCLUSIVE.
    """
    if result.verdict not in (Grade.FAIL, Grade.WARN) or result.trend is None:
        return result
    if control is None or isinstance(control, TooLittle):
        return _with(result, UNCLEAR, "nothing tells whether the generator drifted: it has no control series")
    case, own = _Case(result.rule, result.trend), _Case(result.rule, control).slope
    said = f"the generator's own: {spelled_slope(result.rule, control.slope)}"
    least = _OWN_SHARE * case.slope.value
    if case.slope.value <= 0 or own.high < least:
        return _with(result, TARGET, said)
    if own.low > 0 and own.value >= least:
        reason = f"{result.reason}; but it is the generator that drifts ({said}): restart its workers"
        return replace(_with(result, GENERATOR, said), verdict=Grade.INVALID, reason=reason)
    reason = f"{result.reason}; but the generator may have drifted as much ({said})"
    return replace(_with(result, UNCLEAR, said), verdict=Grade.INCONCLUSIVE, reason=reason)


def _with(result: DriftResult, drifts: str, note: str) -> DriftResult:
    return replace(result, drifts=drifts, notes=(*result.notes, note))
