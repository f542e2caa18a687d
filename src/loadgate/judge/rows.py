"""From measured values to the verdict of one row: the rule that all metrics share.

A row is FAIL past the alert threshold over the whole phase, or for `for` in its windows; PASS when the
target holds; WARN in between; INVALID without evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgate.judge.results import Grade, ObjectiveResult, Worst, spelled
from loadgate.judge.slots import TOLERANCE, Breach, Interval, longest_breach
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over some time: `value` in SI (None without samples), and how it meets the limits.

    `holds` says that the target is met, `past` that the row fails here. `exact` tells a limit that was
    compared through exact counts from one compared with the value itself.
    """

    value: float | None
    n: int
    holds: bool
    past: bool
    exact: bool = False


NOTHING = Measured(None, 0, holds=False, past=False)
"""What a time without samples measures: nothing, which meets no target and is past no threshold."""


def measured(objective: Objective, value: float | None, n: int) -> Measured:
    """Compare a value (SI) with the limits of a row."""
    if value is None:
        return NOTHING
    holds = objective.target.met(value)
    past = objective.alert.met(value) if objective.alert else not holds
    return Measured(value, n, holds, past)


def threshold(objective: Objective) -> str:
    """Name the limit that fails a row: its alert threshold, or the target where it has none."""
    if objective.alert:
        return f"past the alert threshold {objective.alert.text}"
    return f"worse than the target {objective.target.text}, and the row has no alert threshold"


def subject(objective: Objective) -> str:
    """Name what a row judges: "p95 response_time of emotion"."""
    statistic = f"{objective.statistic} " if objective.statistic else ""
    where = f" of {objective.endpoint}" if objective.endpoint else ""
    return f"{statistic}{objective.metric}{where}"


def invalid(objective: Objective, reason: str, *, n: int = 0, notes: Sequence[str] = ()) -> ObjectiveResult:
    """Return a row that cannot be judged, with the reason and the remedy; it shows no value."""
    return ObjectiveResult(objective, Grade.INVALID, reason, n=n, notes=tuple(notes))


def decide(
    objective: Objective,
    whole: Measured,
    cut: Sequence[Interval],
    parts: Sequence[Measured],
    *,
    unit_of_n: str = "requests",
    method: str = "",
    notes: Sequence[str] = (),
) -> ObjectiveResult:
    """Judge a row by its value over the phase and by its windows (`parts`, one per slot of `cut`).

    `whole` must have samples: a row without any is `invalid`, which only its metric can explain.
    """
    if whole.value is None or whole.n <= 0:
        return invalid(objective, "there is no data", notes=notes)
    past = [part.past if part.value is not None else None for part in parts]
    breach = longest_breach(cut, past)
    lasting = breach is not None and breach.seconds >= objective.for_ - TOLERANCE
    if whole.past or lasting:
        grade = Grade.FAIL
    else:
        grade = Grade.PASS if whole.holds else Grade.WARN
    shown = spelled(objective.target, whole.value)
    head = f"{subject(objective)} is {shown} over {whole.n} {unit_of_n}"
    return ObjectiveResult(
        objective,
        grade,
        f"{head}: {_why(objective, grade, whole, breach)}",
        value=whole.value,
        n=whole.n,
        worst_window=_worst(objective.target, cut, parts),
        time_in_violation=math.fsum(slot.length for slot, answer in zip(cut, past, strict=True) if answer),
        longest_breach=breach.seconds if breach else 0.0,
        windows=len(cut),
        method=method,
        notes=tuple(notes),
    )


def _why(objective: Objective, grade: Grade, whole: Measured, breach: Breach | None) -> str:
    """Say what decided the row."""
    if whole.past:
        return threshold(objective)
    if grade is Grade.FAIL and breach is not None:
        return (
            f"{threshold(objective)} for {format_duration(breach.seconds)} on end (run time "
            f"{format_duration(breach.start)} to {format_duration(breach.end)}), "
            f"and {format_duration(objective.for_)} are enough to fail"
        )
    if grade is Grade.PASS:
        short = f", past the threshold for {format_duration(breach.seconds)} only" if breach else ""
        return f"the target {objective.target.text} holds{short}"
    alert = objective.alert.text if objective.alert else ""
    return f"worse than the target {objective.target.text}, not past the alert threshold {alert}"


def _worst(target: Limit, cut: Sequence[Interval], parts: Sequence[Measured]) -> Worst | None:
    """Return the window that is farthest on the wrong side of the target; the first one of equals."""
    valued = [
        Worst(slot.start, slot.end, part.value, part.n)
        for slot, part in zip(cut, parts, strict=True)
        if part.value is not None
    ]
    if not valued:
        return None
    return min(valued, key=lambda window: window.value if target.upward else -window.value)
