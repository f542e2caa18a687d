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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from loadgate.judge.confidence import Shown
from loadgate.judge.distributions import fewest_above
from loadgate.judge.results import Grade, ObjectiveResult, Worst, spelled
from loadgate.judge.slots import TOLERANCE, Breach, Interval, longest_breach
from loadgate.measure.parts import Part
from loadgate.plan.samples import DOUBT
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration, format_share


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over some time: `value` in SI (None without samples), and how it meets the limits.

    `holds` says that the target is met, `past` that the row fails here. `exact` tells a limit that was
    compared through exact counts from one compared with the value itself. `bad` are the requests on the
    wrong side of the limit that fails the row, of which a share of `allowed` may be; None where the metric is
    no such share.
    """

    value: float | None
    n: int
    holds: bool
    past: bool
    exact: bool = False
    bad: int | None = None
    allowed: float = 0.0


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
    past = [part.past if part.value is not None else None for part in parts]
    breach = longest_breach(cut, past)
    lasting = breach is not None and breach.seconds >= objective.for_ - TOLERANCE
    sure = not lasting or more_than_noise(objective, cut, parts, doubt)
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
        worst_window=_worst(objective.target, cut, parts),
        time_in_violation=math.fsum(slot.length for slot, answer in zip(cut, past, strict=True) if answer),
        longest_breach=breach.seconds if breach else 0.0,
        windows=len(cut),
        method=method,
        notes=tuple(notes),
        settled=_settled(objective, grade, shown, parts, lasting=lasting),
        confidence=_confidence(shown.doubt if shown else DOUBT),
    )


def with_late(result: ObjectiveResult, parts: Iterable[Part]) -> ObjectiveResult:
    """Let a row not pass where requests came after windows had been evaluated, of which they would be part.

    The value over the phase holds them; whether each window would hold with them cannot be told.
    """
    late = [part.late for part in parts if part.late]
    if not late:
        return result
    said = f"{sum(late)} requests of {len(late)} windows came after these had been evaluated and merged"
    if result.verdict is not Grade.PASS:
        return replace(result, notes=(*result.notes, said))
    reason = (
        f"{result.reason}; {said}, so whether each of them holds cannot be told: see the workers' network"
    )
    return replace(result, verdict=Grade.INCONCLUSIVE, reason=reason, settled=False)


def _settled(
    objective: Objective, grade: Grade, shown: Shown | None, parts: Sequence[Measured], *, lasting: bool
) -> bool:
    """Tell whether more of the same load would not change a row's grade.

    What an interval shows stays, where it is settled, and so do a breach that has lasted `for` and a
    maximum past its limit. A breach that is open at the end may last yet. A value without an interval may
    still turn, unless it holds in every window.
    """
    valued = [part for part in parts if part.value is not None]
    if grade is Grade.FAIL:
        return lasting or objective.statistic == "max" or (shown is not None and shown.settled)
    if grade not in (Grade.PASS, Grade.WARN) or not valued or valued[-1].past:
        return False
    if shown is None:
        return grade is Grade.PASS and all(part.holds for part in valued)
    return shown.target is not None and shown.settled


def _grade(known: Shown, *, lasting: bool, sure: bool) -> Grade:
    """Return the grade of a row with samples."""
    if known.past or (lasting and sure):
        return Grade.FAIL
    if known.past is None or lasting:
        return Grade.INCONCLUSIVE
    return Grade.PASS if known.target else Grade.WARN


def more_than_noise(
    objective: Objective, cut: Sequence[Interval], parts: Sequence[Measured], doubt: float = DOUBT
) -> bool:
    """Tell whether some windows on end, just enough for `for`, show a breach by the binomial bound.

    All of them are past the limit by their values too, but for windows without samples, which neither help
    nor end it. Where the metric is no share of requests, the values alone decide.
    """
    if any(part.value is not None and part.bad is None for part in parts):
        return True
    return any(
        part.past and _stretch_shows(objective.for_, cut, parts, first, doubt)
        for first, part in enumerate(parts)
    )


def _stretch_shows(
    seconds: float, cut: Sequence[Interval], parts: Sequence[Measured], first: int, doubt: float
) -> bool:
    """Tell it of the shortest stretch of so many seconds that begins with a window that is past the limit."""
    lasted, n, bad = 0.0, 0, 0
    for at in range(first, len(parts)):
        slot, part = cut[at], parts[at]
        if part.value is not None and not part.past:
            return False
        lasted, n, bad = lasted + slot.length, n + part.n, bad + (part.bad or 0)
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
