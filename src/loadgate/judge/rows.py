"""From measured values to the verdict of one row: the rule that all metrics share.

A row is FAIL past the alert threshold over the whole phase, or for `for` in its windows; PASS when the
target holds; WARN in between; INVALID without evidence. Where the value has an interval, all of the interval
must lie past the threshold, or within the target; one that straddles the threshold is INCONCLUSIVE, one that
straddles only the target WARN.

Windows are judged by their values: an interval of each would hide what a week of windows shows. But a lasting
breach must be more than the noise of few requests. With one slow request among ten in each of two windows a
p95 is past its threshold twice, and over a week that happens by chance alone. So some stretch of it, no
longer than `for` takes, has to show by the binomial bound that too many of its requests were bad; a lasting
breach that does not is INCONCLUSIVE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadgate.judge.confidence import Shown
from loadgate.judge.distributions import fewest_above
from loadgate.judge.measured import Measured, MeasuredColumns
from loadgate.judge.results import Grade, ObjectiveResult, Worst, spelled
from loadgate.judge.slots import TOLERANCE, Breach, Interval, longest_breach
from loadgate.measure.part import PartColumns
from loadgate.plan.samples import DOUBT
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration, format_share


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
    shown: Shown | None = None,
    doubt: float = DOUBT,
    unit_of_n: str = "requests",
    method: str = "",
    notes: Sequence[str] = (),
) -> ObjectiveResult:
    """Judge a row by its value over the phase and by its windows (`parts`, one per slot of `cut`).

    `shown` is what the interval of the value shows; without it the value itself is compared. `doubt` is one
    minus the confidence of a lasting breach. `whole` must have samples: a row without any is `invalid`, which
    only its metric can explain.
    """
    if whole.value is None or whole.n <= 0:
        return invalid(objective, "there is no data", notes=notes)
    windows = MeasuredColumns.of(parts)
    past = windows.past.tolist()
    answers = zip(past, windows.valued.tolist(), strict=True)
    breach = longest_breach(cut, (answer if valued else None for answer, valued in answers))
    lasting = breach is not None and breach.seconds >= objective.for_ - TOLERANCE
    sure = not lasting or more_than_noise(objective, cut, windows, doubt)
    known = shown or Shown((whole.value, whole.value), whole.holds, whole.past)
    grade = _grade(known, lasting=lasting, sure=sure)
    value = spelled(objective.target, whole.value)
    return ObjectiveResult(
        objective,
        grade,
        f"{subject(objective)} is {value}{_between(objective, shown)} over {whole.n} {unit_of_n}: "
        f"{_why(objective, grade, known, breach, sure=sure)}",
        value=whole.value,
        n=whole.n,
        interval=shown.interval if shown else None,
        worst_window=_worst(objective.target, cut, windows),
        time_in_violation=math.fsum(slot.length for slot, answer in zip(cut, past, strict=True) if answer),
        longest_breach=breach.seconds if breach else 0.0,
        windows=len(cut),
        method=method,
        notes=tuple(notes),
        settled=_settled(objective, grade, shown, windows, lasting=lasting),
        confidence=_confidence(shown.doubt if shown else DOUBT),
    )


def with_late(result: ObjectiveResult, parts: PartColumns) -> ObjectiveResult:
    """Let a row not pass where requests came after windows had been evaluated, of which they would be part.

    The value over the phase holds them; whether each window would hold with them cannot be told.
    """
    late = parts.late[parts.late > 0]
    if not late.size:
        return result
    said = f"{late.sum()} requests of {late.size} windows came after these had been evaluated and merged"
    if result.verdict is not Grade.PASS:
        return replace(result, notes=(*result.notes, said))
    reason = (
        f"{result.reason}; {said}, so whether each of them holds cannot be told: see the workers' network"
    )
    return replace(result, verdict=Grade.INCONCLUSIVE, reason=reason, settled=False)


def _settled(
    objective: Objective, grade: Grade, shown: Shown | None, windows: MeasuredColumns, *, lasting: bool
) -> bool:
    """Tell whether more of the same load would not change a row's grade.

    What an interval shows stays, where it is settled, and so do a breach that has lasted `for` and a
    maximum past its limit. A breach that is open at the end may last yet. A value without an interval may
    still turn, unless it holds in every window.
    """
    valued = np.flatnonzero(windows.valued)
    if grade is Grade.FAIL:
        return lasting or objective.statistic == "max" or (shown is not None and shown.settled)
    if grade not in (Grade.PASS, Grade.WARN) or not valued.size or windows.past[valued[-1]]:
        return False
    if shown is None:
        return grade is Grade.PASS and bool(windows.holds[valued].all())
    return shown.target is not None and shown.settled


def _grade(known: Shown, *, lasting: bool, sure: bool) -> Grade:
    """Return the grade of a row with samples."""
    if known.past or (lasting and sure):
        return Grade.FAIL
    if known.past is None or lasting:
        return Grade.INCONCLUSIVE
    return Grade.PASS if known.target else Grade.WARN


def more_than_noise(
    objective: Objective, cut: Sequence[Interval], windows: MeasuredColumns, doubt: float = DOUBT
) -> bool:
    """Tell whether some windows on end, just enough for `for`, show a breach by the binomial bound.

    All of them are past the limit by their values too, but for windows without samples, which neither help
    nor end it. Where the metric is no share of requests, the values alone decide.
    """
    if not windows.is_share:
        return True
    past = np.flatnonzero(windows.past & windows.valued).tolist()
    return any(_stretch_shows(objective.for_, cut, windows, first, doubt) for first in past)


def _stretch_shows(
    seconds: float, cut: Sequence[Interval], windows: MeasuredColumns, first: int, doubt: float
) -> bool:
    """Tell it of the shortest stretch of so many seconds that begins with a window that is past the limit."""
    lasted, n, bad = 0.0, 0, 0
    for at in range(first, len(windows)):
        part = windows[at]
        if part.value is not None and not part.past:
            return False
        lasted, n, bad = lasted + cut[at].length, n + part.n, bad + (part.bad or 0)
        if part.value is not None and lasted >= seconds - TOLERANCE:
            return bad >= fewest_above(n, part.allowed, doubt)
    return False


def _confidence(doubt: float) -> float:
    """Return the confidence of a bound, rounded to what anybody would read."""
    return round(1 - doubt, 4)


def _between(objective: Objective, shown: Shown | None) -> str:
    """Write the interval of a value, as a part of a sentence."""
    if shown is None:
        return ""
    low, high = (spelled(objective.target, end) for end in shown.interval)
    return f" ({format_share(_confidence(shown.doubt))} bounds {low} and {high})"


def _why(objective: Objective, grade: Grade, known: Shown, breach: Breach | None, *, sure: bool) -> str:
    """Say what decided the row."""
    if known.past:
        return threshold(objective)
    if breach is not None and (grade is Grade.FAIL or not sure):
        lasted = (
            f"{threshold(objective)} for {format_duration(breach.seconds)} on end (run time "
            f"{format_duration(breach.start)} to {format_duration(breach.end)}), "
            f"and {format_duration(objective.for_)} are enough to fail"
        )
        return lasted if sure else f"{lasted}, but its windows have too few requests to tell it from chance"
    if known.past is None:
        limit = f"the alert threshold {objective.alert.text}" if objective.alert else objective.target.text
        return f"on which side of {limit} it is cannot be told: {known.settled_by}"
    if grade is Grade.PASS:
        short = f", past the threshold for {format_duration(breach.seconds)} only" if breach else ""
        return f"the target {objective.target.text} holds{short}"
    alert = objective.alert.text if objective.alert else ""
    missed = "worse than" if known.target is False else "not shown to meet"
    return f"{missed} the target {objective.target.text}, not past the alert threshold {alert}"


def _worst(target: Limit, cut: Sequence[Interval], windows: MeasuredColumns) -> Worst | None:
    """Return the window that is farthest on the wrong side of the target; the first one of equals."""
    valued = np.flatnonzero(windows.valued)
    if not valued.size:
        return None
    values = windows.values[valued]
    at = int(valued[values.argmin() if target.upward else values.argmax()])
    return Worst(cut[at].start, cut[at].end, float(windows.values[at]), int(windows.n[at]))
