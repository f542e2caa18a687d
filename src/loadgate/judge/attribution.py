"""What moved first: readings of the target that changed shortly before a row began to break its limit.

This aligns times and nothing more. That the CPU was full eight seconds before the latency rose may be the
cause, or another effect of it; the sentence says "after", and the finding is called a coincidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from statistics import fmean, pstdev
from typing import Any, Final

from loadgate.judge import latency
from loadgate.judge.evidence import STEADY, Books, Evidence
from loadgate.judge.measured import NOTHING, Measured, MeasuredColumns, measured
from loadgate.judge.readings import find_probe
from loadgate.judge.results import Grade, ObjectiveResult, spelled
from loadgate.judge.rows import subject
from loadgate.judge.slots import Interval, slots
from loadgate.measure.columns import Tally
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration, format_number

LOOK_BACK: Final = 120.0
"""Seconds before a breach in which a reading's change is told."""
_OF, _PAST = 5, 3
"""A breach begins with the first second (or window) of `_OF` of which `_PAST` are past the limit."""
_CALM_READINGS: Final = 5
_DEVIATIONS, _LEAST_RISE = 6.0, 0.25
"""Where the SLA table has no row for a reading, it has moved when it is this many standard deviations, and
this share of its mean, over what it was at first."""


@dataclass(frozen=True, slots=True)
class Move:
    """A reading that left its range: at a run time, past a limit in words, with a value in words."""

    reading: str
    at: float
    past: str
    value: str


def coincidences(
    evidence: Evidence, rows: Sequence[ObjectiveResult]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Tell of each row of requests that FAILs what had moved before: kind, sentence and numbers."""
    for row in rows:
        if row.verdict is not Grade.FAIL:
            continue
        began = onset(evidence, row.objective)
        if began is None:
            continue
        for move in moves(evidence, began):
            text = (
                f"{subject(row.objective)} began to break its limit {_when(evidence, row.objective, began)} "
                f"{format_duration(round(began - move.at, 1))} after {move.reading} passed {move.past} "
                f"({move.value}): a coincidence in time, which need not be the cause"
            )
            detail = {
                "objective": row.objective.name,
                "began": began,
                "reading": move.reading,
                "moved": move.at,
            }
            yield "coincidence", text, detail


def _when(evidence: Evidence, objective: Objective, began: float) -> str:
    """Say when a row began to break its limit, at a second or in one of its windows; "8s after" follows."""
    if evidence.digest is None:
        return f"at {format_duration(began)},"
    # Where in the window it began nobody can tell any more, so what follows is the least that it was.
    return f"in the {format_duration(objective.every)} from {format_duration(began)} on, at least"


def onset(evidence: Evidence, objective: Objective) -> float | None:
    """Return the run time at which a row of requests began to be past its limit, seen second by second.

    Of a long run, whose old seconds were merged, it is the start of the row's own window. None for rows of
    readings, where the steady phase began past the limit already (nothing moved then), and where windows are
    longer than a second.
    """
    known: list[tuple[float, bool]] = []
    told = _past_by_second if evidence.digest is None else _past_by_window
    answers = told(evidence, objective)
    for place in count():
        known += islice(answers, max(0, place + _OF - len(known)))
        if place >= len(known):
            return None
        begin, past = known[place]
        if past and sum(answer for _, answer in known[place : place + _OF]) >= _PAST:
            return begin if place else None
    raise AssertionError("unreachable: the seconds end")


def _past_by_window(evidence: Evidence, objective: Objective) -> Iterator[tuple[float, bool]]:
    """Tell of each window of a long run with something to judge, in order, whether it is past the limit."""
    cut = slots(evidence.steady, objective.every)
    parts = evidence.parts_of(objective, cut)
    if parts is None:
        return
    if objective.is_latency:
        windows = latency.measured_parts(objective, parts)
    else:
        windows = MeasuredColumns.by_value(objective, parts.values, parts.n)
    for slot, past, valued in zip(cut, windows.past.tolist(), windows.valued.tolist(), strict=True):
        if valued:
            yield slot.start, past


def _past_by_second(evidence: Evidence, objective: Objective) -> Iterator[tuple[float, bool]]:
    """Tell of each second that has something to judge, in order, whether it is past the row's limit."""
    groups: dict[int, list[Tally]] = {}
    for window in evidence.of(objective.endpoint, STEADY):
        if window.span != 1:
            return
        groups.setdefault(window.second, []).append(window)
    seconds = sorted(groups)
    answers: Iterable[Measured]
    if objective.is_latency:
        answers = latency.by_window(objective, evidence, [Interval(one, one + 1) for one in seconds])
    else:
        answers = (_measured(objective, Books.of(groups[second])) for second in seconds)
    for second, answer in zip(seconds, answers, strict=True):
        if answer.value is not None:
            yield float(second), answer.past


def _measured(objective: Objective, books: Books) -> Measured:
    """Evaluate a rate over a second."""
    if objective.metric == "error_rate" and books.settled:
        return measured(objective, books.bad / books.settled, books.settled)
    if objective.metric == "throughput":
        return measured(objective, float(books.ok), books.ok)
    return NOTHING


def moves(evidence: Evidence, began: float) -> list[Move]:
    """Return the readings that left their range before a moment, the latest first."""
    limits = _limits(evidence)
    series: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for item in evidence.readings:
        if item.value is not None and item.at <= began:
            series.setdefault((item.probe, item.reading), []).append((item.at, item.value))
    found = []
    for (probe, reading), points in series.items():
        limit = limits.get((probe, reading))
        moved = _past_limit(points, limit) if limit is not None else _out_of_range(points)
        if moved is not None and began - moved[0] <= LOOK_BACK:
            at, past, value = moved
            found.append(Move(f"{probe}.{reading}", at, past, value))
    return sorted(found, key=lambda move: (-move.at, move.reading))


def _limits(evidence: Evidence) -> dict[tuple[str, str], Limit]:
    """Return the limits that the SLA table has for readings: the alert threshold, else the target turned."""
    limits = {}
    for objective in evidence.objectives:
        found = find_probe(evidence.probes, objective) if not objective.is_latency else None
        if found is not None and objective.alert is not None and evidence.policy.cpu_of == "core":
            limits[found[0].name, found[1]] = objective.alert
    return limits


def _past_limit(points: Sequence[tuple[float, float]], limit: Limit) -> tuple[float, str, str] | None:
    """Return where a series last crossed its limit, of those points that stay past it to the end."""
    last: tuple[float, float] | None = None
    for at, value in reversed(points):
        if not limit.met(value):
            break
        last = at, value
    if last is None or last[0] == points[0][0]:
        return None
    return last[0], limit.text.lstrip("<>= "), spelled(limit, last[1])


def _out_of_range(points: Sequence[tuple[float, float]]) -> tuple[float, str, str] | None:
    """Return where a series left the range of its first readings for good."""
    if len(points) <= _CALM_READINGS:
        return None
    calm = [value for _, value in points[:_CALM_READINGS]]
    mean = fmean(calm)
    edge = mean + max(_DEVIATIONS * pstdev(calm), _LEAST_RISE * abs(mean))
    if not math.isfinite(edge) or edge == mean:
        return None
    last: tuple[float, float] | None = None
    for at, value in reversed(points[_CALM_READINGS:]):
        if value <= edge:
            break
        last = at, value
    if last is None:
        return None
    return last[0], format_number(round(edge, 3)), format_number(round(last[1], 3))
