"""Comparison: is a candidate slower, more faulty or of less throughput than its baseline? A pure function.

A row (a statistic of an endpoint) is worse when its effect is beyond the practical floor *and* the lower
bound of the effect is too. Many rows are looked at, so the bounds are those of Holm's procedure (S. Holm,
1979): the chance that any row of an unchanged target is called worse stays under 5 %, however the rows hang
together. Even so nothing fails at once: it takes a second candidate (the confirming rerun) that is beyond
the floor in the same row.

A row that was not shown to be worse is green only as far as its evidence goes: see `_grade`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson

from loadgate.exit_codes import ExitCode
from loadgate.judge.effects import REQUESTS, Effect, is_share
from loadgate.judge.figures import LATENCIES
from loadgate.judge.likeness import Difference
from loadgate.judge.noise import ALPHA, FEWEST_RUNS
from loadgate.judge.results import SEVERITY, Grade, iso, number, worst
from loadgate.judge.verdict import exit_code
from loadgate.plan.units import format_duration, format_number, format_rate, format_share

SCHEMA_VERSION: Final = 1
"""Version of comparison.json; keys are only ever added to a version."""
TOLERANCE: Final = {False: math.log(1.2), True: 0.01}
"""How much worse a row may still be, for all one knows, and pass: 20 %, or one point of an error rate."""
BLIND: Final = {False: math.log(2), True: 0.1}
"""How much worse a row might be before nothing can be said of it: twice, or ten points of an error rate."""
CALIBRATE: Final = (
    f"promote at least {FEWEST_RUNS} baseline runs, calibrate this machine, or compare with --interleave"
)


_SPELLED_TO = 10_000.0
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Row:
    """What a comparison says of one statistic of one endpoint.

    `change` is "worse", "better", "alike" (neither was shown) or "unclear" (nothing could be). `level` is
    the one of Holm's procedure, one minus the confidence that decides; `p` belongs to it. `again` is the
    effect in the confirming rerun, once there is one.
    """

    effect: Effect
    verdict: Grade
    change: str
    reason: str
    p: float | None = None
    level: float | None = None
    again: Effect | None = None

    @property
    def shown(self) -> bool:
        """Tell whether it was shown to be worse, by itself."""
        return self.change == "worse"

    @property
    def name(self) -> str:
        """Return how people call it: "emotion p95"."""
        return f"{self.effect.endpoint} {self.effect.statistic}"

    def to_dict(self) -> dict[str, Any]:
        """Return the row of comparison.json."""
        effect = self.effect
        bounds = [effect.lower(ALPHA), effect.upper(ALPHA)] if effect.testable else None
        return {
            "endpoint": effect.endpoint,
            "statistic": effect.statistic,
            "unit": _unit(effect.statistic),
            "baseline": _in_unit(effect.statistic, effect.baseline),
            "candidate": _in_unit(effect.statistic, effect.candidate),
            "change": None if effect.problem else number(_raw(effect.statistic, effect.worsening)),
            "infinite": not math.isfinite(effect.worsening),
            "interval": bounds and sorted_numbers(effect.statistic, bounds),
            "worse_by_at_least": self._at_least(),
            "floor": None if effect.problem else number(_raw_size(effect.statistic, effect.floor)),
            "floor_by": None if effect.problem else effect.floor_by,
            "p": self.p,
            "level": self.level,
            "spread": [{"source": s.source, "error": s.error, "df": s.df} for s in effect.spreads],
            "n": effect.n,
            "direction": self.change,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "confirming": None if self.again is None else _confirming(self.again),
        }

    def _at_least(self) -> float | None:
        if not self.effect.testable or self.level is None:
            return None
        return number(_raw_size(self.effect.statistic, self.effect.lower(self.level)))


@dataclass(frozen=True)
class Comparison:
    """What is said of a candidate: its grade and why, and every row.

    `how` is "stored" or "interleaved". `faults` are the reasons for which nothing can be said (void runs);
    `cut` says why a comparison was not finished. `overruled` are conditions that differ and were accepted by
    `--force`; `notes` change nothing.
    """

    how: str
    baseline: str
    candidate: str
    rows: tuple[Row, ...]
    baseline_runs: tuple[str, ...] = ()
    candidate_runs: tuple[str, ...] = ()
    confirming_runs: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    cut: str = ""
    interrupted: bool = False
    overruled: tuple[Difference, ...] = ()
    forced: bool = False
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def awaiting(self) -> tuple[Row, ...]:
        """Return the rows that a confirming rerun has to show again before they fail."""
        return tuple(row for row in self.rows if row.shown and row.verdict is Grade.INCONCLUSIVE)

    @property
    def grade(self) -> Grade:
        """Return the verdict: the worst row's, and no better than INCONCLUSIVE when it was cut short.

        Faults, and no rows, make it INVALID.
        """
        if self.faults:
            return Grade.INVALID
        grades = [row.verdict for row in self.rows] + ([Grade.INCONCLUSIVE] if self.cut else [])
        return worst(grades)

    def exit_code(self, *, strict: bool) -> ExitCode:
        """Return how the command exits; an interrupted one says so, whatever its verdict."""
        return exit_code(self.grade, "interrupted" if self.interrupted else "planned", strict=strict)

    @property
    def reasons(self) -> tuple[str, ...]:
        """List why the verdict is what it is, the most telling first."""
        reasons = [f"nothing can be said: {fault}" for fault in self.faults]
        if self.cut:
            reasons.append(f"the comparison is not complete: {self.cut}")
        if not self.rows and not reasons:
            reasons.append("there is no endpoint to compare: the runs had no steady requests")
        if self.awaiting and not self.faults:
            names = ", ".join(row.name for row in self.awaiting)
            how = "run the candidate again and name that run with --confirm"
            if self.how == "interleaved":
                how = "compare again without --no-rerun"
            reasons.append(f"awaits its confirming rerun ({names}): {how}")
        for row in sorted(self.rows, key=lambda row: SEVERITY.index(row.verdict)):
            if row.verdict is not Grade.PASS:
                reasons.append(f"{row.verdict.value} {row.name}: {row.reason}")
        if self.grade is Grade.PASS:
            reasons.insert(0, f"none of {len(self.rows)} rows is worse by more than its floor")
        return tuple(reasons)

    def to_dict(self, *, strict: bool, now: datetime) -> dict[str, Any]:
        """Return the content of comparison.json, as `comparison.schema.json` describes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "how": self.how,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "baseline_runs": list(self.baseline_runs),
            "candidate_runs": list(self.candidate_runs),
            "confirming_runs": list(self.confirming_runs),
            "verdict": self.grade.value,
            "exit_code": int(self.exit_code(strict=strict)),
            "strict": strict,
            "awaits_confirmation": [[row.effect.endpoint, row.effect.statistic] for row in self.awaiting],
            "reasons": list(self.reasons),
            "rows": [row.to_dict() for row in self.rows],
            "forced": self.forced,
            "differences": [difference.to_dict() for difference in self.overruled],
            "notes": list(self.notes),
            "facts": dict(self.facts),
            "confidence": 1 - ALPHA,
            "compared_at": iso(now.timestamp()),
        }


# ---- rows


def decide(effects: Sequence[Effect]) -> tuple[Row, ...]:
    """Judge the rows of one candidate together; a row that is shown to be worse awaits its confirmation."""
    worse = _holm([effect.p_worse() if effect.testable else None for effect in effects])
    better = _holm([effect.p_better() if effect.testable else None for effect in effects])
    return tuple(
        _row(effect, *found, improved=other[2])
        for effect, found, other in zip(effects, worse, better, strict=True)
    )


def confirm(first: Sequence[Row], second: Sequence[Row]) -> tuple[Row, ...]:
    """Join the rows of a candidate with those of its confirming rerun.

    A row FAILs when one of both shows it to be worse and the other is beyond the floor in it too.
    """
    again = {row.effect.key: row for row in second}
    joined = [_joined(row, again.pop(row.effect.key, None)) for row in first]
    return (*joined, *again.values())


def _holm(values: Sequence[float | None]) -> list[tuple[float | None, float | None, bool]]:
    """Return for each p-value itself, the level that it was held against, and whether it was rejected.

    From the smallest on: alpha / m, alpha / (m - 1), ... until one is not below its level; the later ones
    stay at that level. None is no test, and takes no part of alpha.
    """
    ordered = sorted((p, index) for index, p in enumerate(values) if p is not None)
    found: list[tuple[float | None, float | None, bool]] = [(None, None, False)] * len(values)
    level, going = ALPHA, True
    for position, (p, index) in enumerate(ordered):
        if going:
            level = ALPHA / (len(ordered) - position)
            going = p < level
        found[index] = (p, level, going)
    return found


def _row(effect: Effect, p: float | None, level: float | None, rejected: bool, *, improved: bool) -> Row:
    if effect.problem:
        return Row(effect, effect.problem_grade, "unclear", effect.problem)
    if rejected and level is not None:
        bound, sure = _spelled_change(effect.statistic, effect.lower(level)), round(1 - level, 4)
        reason = (
            f"{summary(effect)}: with {format_share(sure)} confidence worse by at least {bound}, "
            f"over the floor of {_floor(effect)}; awaits its confirming rerun"
        )
        return Row(effect, Grade.INCONCLUSIVE, "worse", reason, p, level)
    grade, reason = _grade(effect)
    change = "better" if improved else "unclear" if effect.beyond or not effect.testable else "alike"
    return Row(effect, grade, change, reason, p, level)


def _grade(effect: Effect) -> tuple[Grade, str]:
    """Grade a row that was not shown to be worse.

    What looks worse (the estimate is beyond the floor) is INCONCLUSIVE, and so is what may be twice as bad
    for all one knows. What may be worse by more than the tolerance is WARN, as is a row without any spread.
    """
    told = summary(effect)
    if not effect.spreads:
        if effect.beyond:
            return Grade.INCONCLUSIVE, f"{told}, over the floor of {_floor(effect)}; {_no_spread()}"
        return Grade.WARN, f"{told}, within the floor of {_floor(effect)}; but {_no_spread()}"
    upper = effect.upper(ALPHA)
    share = is_share(effect.statistic)
    most = f"it may be worse by up to {_spelled_change(effect.statistic, upper)}"
    if effect.beyond:
        reason = f"{told}, over the floor of {_floor(effect)}, but not shown: the noise is as large; {most}"
        return Grade.INCONCLUSIVE, f"{reason}; {_remedy(effect)}"
    if upper >= max(BLIND[share], effect.floor):
        return Grade.INCONCLUSIVE, f"{told}, but the noise hides everything: {most}; {_remedy(effect)}"
    if upper > max(TOLERANCE[share], effect.floor):
        return Grade.WARN, f"{told}, not shown to be unchanged: {most}; {_remedy(effect)}"
    return Grade.PASS, f"{told}, within the floor of {_floor(effect)}; {most}"


def _joined(first: Row, second: Row | None) -> Row:
    """Join a row with itself in the confirming rerun."""
    if second is None:
        reason = f"{first.reason}; the confirming rerun has no such row"
        return replace(first, verdict=worst([first.verdict, Grade.INCONCLUSIVE]), reason=reason)
    again = second.effect
    if (first.shown and again.beyond) or (second.shown and first.effect.beyond):
        change = _spelled_change(again.statistic, _toward(again), signed=True)
        told = f"{summary(first.effect)}, and {change} in the confirming rerun"
        reason = f"{told}: a regression over the floor of {_floor(first.effect)}"
        return replace(first, verdict=Grade.FAIL, change="worse", reason=reason, again=again)
    if first.shown and not again.problem:
        change = _spelled_change(again.statistic, _toward(again), signed=True)
        reason = f"{summary(first.effect)}, not confirmed: {change} in the confirming rerun"
        grade = worst([Grade.WARN, second.verdict])
        return replace(first, verdict=grade, change="unclear", reason=reason, again=again)
    if second.shown:
        reason = f"only the confirming rerun shows it, and awaits a rerun of its own: {second.reason}"
        return replace(second, reason=reason, again=again)
    if SEVERITY.index(second.verdict) < SEVERITY.index(first.verdict):
        return replace(
            second, effect=first.effect, reason=f"in the confirming rerun: {second.reason}", again=again
        )
    return replace(first, again=again)


def _no_spread() -> str:
    return f"how far like runs spread is not known: {CALIBRATE}"


def _remedy(effect: Effect) -> str:
    if any(spread.source == "pairs" for spread in effect.spreads):
        return "take more or longer blocks; `loadgate calibrate` says how many"
    return "take more baseline runs, longer runs, or --interleave; `loadgate calibrate` says how many"


# ---- numbers for people and machines


def summary(effect: Effect) -> str:
    """Say what changed from what to what."""
    change = _spelled_change(effect.statistic, _toward(effect), signed=True)
    one, other = (spelled(effect.statistic, value) for value in (effect.baseline, effect.candidate))
    return f"{one} to {other} ({change})"


def _toward(effect: Effect) -> float:
    """Return the change on its scale as it is, not as it is felt: less throughput is less."""
    return -effect.worsening if effect.statistic == "throughput" else effect.worsening


def spelled(statistic: str, value: float | None) -> str:
    """Write a value (SI) for people."""
    if value is None:
        return "no data"
    if not math.isfinite(value):
        return "infinite"
    if statistic in LATENCIES:
        return format_duration(value)
    return format_share(value) if is_share(statistic) else format_rate(value)


def _spelled_change(statistic: str, change: float, *, signed: bool = False) -> str:
    """Write a change: a log ratio as a percentage, a difference of shares in points."""
    if not math.isfinite(change):
        return "infinitely much"
    size = change * 100 if is_share(statistic) else _grown(change) * 100
    if size >= _SPELLED_TO:
        return "over 100 times"
    sign = "+" if signed and size >= 0 else ""
    return f"{sign}{format_number(round(size, 2) + 0.0)}{' points' if is_share(statistic) else '%'}"


def _floor(effect: Effect) -> str:
    why = " (this machine's noise)" if effect.floor_by == "noise" else ""
    return _spelled_change(effect.statistic, effect.floor) + why


def _unit(statistic: str) -> str:
    if statistic == REQUESTS:
        return ""
    return "ms" if statistic in LATENCIES else "%" if is_share(statistic) else "req/s"


def _in_unit(statistic: str, value: float | None) -> float | None:
    factor = 1000 if statistic in LATENCIES else 100 if is_share(statistic) else 1
    return None if value is None else number(value * factor)


def _raw(statistic: str, worsening: float) -> float:
    """Return a worsening as a change of the value: a share of it, or of an error rate the difference."""
    if is_share(statistic):
        return worsening
    return _grown(-worsening if statistic == "throughput" else worsening)


def _raw_size(statistic: str, size: float) -> float:
    return size if is_share(statistic) else _grown(size)


def _grown(log_ratio: float) -> float:
    """Return a log ratio as a share of the value, as large as a float can hold."""
    return math.inf if math.isinf(log_ratio) and log_ratio > 0 else math.expm1(min(log_ratio, _LARGEST_LOG))


def sorted_numbers(statistic: str, bounds: Sequence[float]) -> list[float | None]:
    """Return bounds of a worsening as those of the change, the lower first."""
    return [number(value) for value in sorted(_raw(statistic, bound) for bound in bounds)]


def _confirming(again: Effect) -> dict[str, Any]:
    return {
        "candidate": _in_unit(again.statistic, again.candidate),
        "change": None if again.problem else number(_raw(again.statistic, again.worsening)),
        "beyond_floor": again.beyond,
    }


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of comparison.json."""
    loaded: dict[str, Any] = orjson.loads(
        files("loadgate.judge").joinpath("comparison.schema.json").read_bytes()
    )
    return loaded
