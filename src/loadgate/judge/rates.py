"""Rates and shares of requests: error rate, throughput, and the cache hit rate that the client saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, cast

import numpy as np

from loadgate.judge.confidence import share_shown
from loadgate.judge.evidence import Books, Evidence
from loadgate.judge.fleet import not_measured
from loadgate.judge.intervals import Samples
from loadgate.judge.measured import NOTHING, Measured, measured
from loadgate.judge.results import SEVERITY, Grade, ObjectiveResult
from loadgate.judge.rows import decide, invalid, with_late
from loadgate.judge.samples import cells_of, of_shares, summed
from loadgate.judge.slots import Interval, slots, slots_of
from loadgate.measure.columns import Tally
from loadgate.measure.layout import Int64s
from loadgate.measure.levels import errors, known_errors, misses, repeats
from loadgate.measure.part import NO_PARTS
from loadgate.measure.parts import ok_by_slot
from loadgate.measure.window import Count, Counting, Window
from loadgate.plan.sla import Objective

LATE: Final = 0.01
"""The share of ok answers after the end of the phase that is worth a note."""


Counted = Callable[[Counting[Int64s]], tuple[Int64s, Int64s]]
"""Says of windows how many of their requests are bad, and of how many."""


@dataclass(frozen=True)
class Case:
    """A row to judge, its evidence, and whether its windows were merged (`objectives.evaluate`)."""

    objective: Objective
    evidence: Evidence
    merged: bool = False

    @cached_property
    def windows(self) -> tuple[Tally, ...]:
        """Return the row's windows of the steady phase."""
        return self.evidence.of(self.objective.endpoint)

    @property
    def total(self) -> Window:
        """Return the whole steady phase."""
        return self.evidence.total(self.objective.endpoint)


def error_rate(objective: Objective, evidence: Evidence, merged: bool = False) -> ObjectiveResult:
    """Judge (arrivals - ok) / arrivals of the steady phase.

    A window is about the requests that ended in it: (ended - ok) / ended. Over the whole phase both are
    the same number, because the books balance. Where they cannot, because a worker died, the arrivals that
    it took along count as errors; only those of a run that itself died, or goes on, were merely in flight.
    """
    case = Case(objective, evidence, merged)
    in_flight = evidence.ended == "died" or evidence.running
    missing = 0 if in_flight else max(Books.of([case.total]).missing, 0)
    result = _unless_only_lost(_with_errors(case, errors, missing), case)
    return _with_retries(result, case, missing)


def _with_errors(case: Case, counted: Counted, missing: int = 0) -> ObjectiveResult:
    """Judge the row with `counted` saying what the errors of a window are; `missing` are some more."""
    failing = case.objective.alert or case.objective.target

    def evaluate(bad: int, n: int) -> Measured:
        if not n:
            return NOTHING
        return replace(measured(case.objective, bad / n, n), bad=bad, allowed=failing.value)

    return _by_windows(case, counted, evaluate, missing=missing)


def _all_and_retried(windows: Counting[Int64s]) -> tuple[Int64s, Int64s]:
    """Count as errors too, of the ok answers, as many as requests were sent again."""
    bad, n = errors(windows)
    return np.minimum(bad + windows.count(Count.RETRIES), n), n


def _unless_only_lost(result: ObjectiveResult, case: Case) -> ObjectiveResult:
    """Let a row not fail by what the generator took along: nobody knows how lost requests ended.

    The rate lies between that with all of them counted as errors and that without them. Where the two
    decide differently, the row is INCONCLUSIVE.
    """
    books = Books.of([case.total])
    unknown = books.lost + books.unsent_generator
    if not unknown or result.verdict not in (Grade.FAIL, Grade.INCONCLUSIVE, Grade.WARN):
        return result
    without = _with_errors(case, known_errors)
    if SEVERITY.index(without.verdict) <= SEVERITY.index(result.verdict):
        return result
    shown = result.objective.target.spelled(without.value or 0.0)
    reason = (
        f"{result.reason}; {unknown} of these requests were lost or never sent by the generator, and without "
        f"them it is {shown}: run again with the workers that it takes"
    )
    return replace(result, verdict=Grade.INCONCLUSIVE, reason=reason, settled=False)


def _with_retries(result: ObjectiveResult, case: Case, missing: int) -> ObjectiveResult:
    """Let a row pass only if it also would with every retry counted as an error.

    A connection that closes before it answers is stale, or the target dropped the request; the client
    cannot tell, and sends it again.
    """
    retries = case.total.count(Count.RETRIES)
    if not retries:
        return result
    counted = _with_errors(case, _all_and_retried, missing)
    said = (
        f"{retries} requests were sent again after the target closed a connection without an answer; "
        f"counted as errors they would make it {result.objective.target.spelled(counted.value or 0.0)}"
    )
    if result.verdict is not Grade.PASS or counted.verdict is Grade.PASS:
        return replace(result, notes=(*result.notes, said))
    reason = f"{result.reason}; not shown to hold, since {said}: see whether the target drops requests"
    return replace(result, verdict=Grade.WARN, reason=reason, settled=False)


def cache_hit_rate(objective: Objective, evidence: Evidence, merged: bool = False) -> ObjectiveResult:
    """Judge the answers marked as cached among those to a text that had been sent before."""
    case = Case(objective, evidence, merged)
    if not repeats(case.total):
        return invalid(
            objective,
            "no ok answer to a repeated text was seen: let the traffic repeat some of its texts, "
            "and see that answers say whether they were cached",
        )
    failing = objective.alert or objective.target

    def evaluate(missed: int, n: int) -> Measured:
        if not n:
            return NOTHING
        found = measured(objective, (n - missed) / n, n)
        return replace(found, bad=missed, allowed=1 - failing.value)

    return _by_windows(case, misses, evaluate, of_good=True)


def throughput(objective: Objective, evidence: Evidence) -> ObjectiveResult:
    """Judge the ok responses per second of the steady phase.

    The count is the smaller of two: answers that arrived within the phase, and answers to requests that
    were due in it. So neither a backlog from before the phase nor one that the target works off after it
    can lift the rate. A window counts the answers that arrived in it.
    """
    books = evidence.books(objective.endpoint, "steady")
    within = sum(evidence.ok_within(part, objective.endpoint) for part in evidence.steady)
    answered = min(within, books.ok)
    whole = measured(objective, answered / evidence.seconds, books.settled)
    cut = slots(evidence.steady, objective.every)
    kept = evidence.parts_of(objective, cut)
    if kept is None:
        counts = ok_by_slot(cut, evidence.of(objective.endpoint, None))
    else:
        counts = kept.n.tolist()
    gaps = not_measured(evidence)
    parts = [
        # A window in which nobody made the load, and nothing came back, says nothing of the target.
        NOTHING
        if not count and any(gap.start <= slot.start and slot.end <= gap.end for gap in gaps)
        else measured(objective, count / slot.length, count)
        for slot, count in zip(cut, counts, strict=True)
    ]
    notes = []
    if books.ok - within > LATE * books.ok:
        notes.append(
            f"{books.ok - within} ok answers came only after the steady phase and are not in the rate"
        )
    result = decide(objective, whole, cut, parts, method="ok answers / steady seconds", notes=notes)
    return with_late(result, NO_PARTS if kept is None else kept)


def _by_windows(
    case: Case,
    counted: Counted,
    evaluate: Callable[[int, int], Measured],
    *,
    missing: int = 0,
    of_good: bool = False,
) -> ObjectiveResult:
    """Judge a share of requests: by its windows, by its value over the phase, and by what its samples show.

    `missing` bad ones are in no window.
    """
    objective, evidence = case.objective, case.evidence
    cut = slots(evidence.steady, objective.every)
    kept = evidence.parts_of(objective, cut)
    by_slot = counted(kept if kept is not None else _Summed(case, cut))
    bad, n = (int(number) + missing for number in counted(cast(Counting[Int64s], case.total)))
    shown = None
    if n:
        samples = _samples(case, counted, missing, alike=of_good)
        samples = replace(samples, merged=case.merged, doubt=evidence.doubt)
        shown = share_shown(objective, samples, evidence.seconds, of_good=of_good)
    result = decide(
        objective,
        evaluate(bad, n),
        cut,
        [evaluate(int(wrong), int(number)) for wrong, number in zip(*by_slot, strict=True)],
        shown=shown,
        doubt=evidence.doubt,
        unit_of_n="repeated requests" if of_good else "requests",
        method="exact count",
    )
    return with_late(result, NO_PARTS if kept is None else kept)


class _Summed:
    """The counts of a row's windows, added up by slot."""

    def __init__(self, case: Case, cut: Sequence[Interval]) -> None:
        self._counts = case.evidence.counts(case.objective.endpoint)
        self._at = slots_of(cut, case.windows) if cut else []
        self._slots = len(cut)

    def count(self, name: str) -> Int64s:
        """Return a count of each slot."""
        return summed(self._at, self._counts.count(name), self._slots).astype(np.int64)


def _samples(case: Case, counted: Counted, missing: int, *, alike: bool) -> Samples:
    """Return the samples of the interval, of the bad ones and all requests by window."""
    bad, n = (
        values.astype(np.float64)
        for values in counted(_Summed(case, cells_of(case.evidence, case.objective.endpoint)))
    )
    good = n - bad
    bad[-1] += missing
    return of_shares(good, bad, alike=alike)
