"""Rates and shares of requests: error rate, throughput, and the cache hit rate that the client saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from loadgate.judge.evidence import Books, Evidence
from loadgate.judge.results import SEVERITY, Grade, ObjectiveResult
from loadgate.judge.rows import NOTHING, Measured, decide, invalid, measured
from loadgate.judge.slots import slots
from loadgate.measure.window import Count, Window
from loadgate.plan.sla import Objective

LATE: Final = 0.01
"""The share of ok answers after the end of the phase that is worth a note."""


def error_rate(objective: Objective, evidence: Evidence) -> ObjectiveResult:
    """Judge (arrivals - ok) / arrivals of the steady phase.

    A window is about the requests that ended in it: (ended - ok) / ended. Over the whole phase both are
    the same number, because the books balance. Where they cannot, because a worker died, the arrivals that
    it took along count as errors; only those of a run that itself died, or goes on, were merely in flight.
    """
    total = evidence.total(objective.endpoint)
    books = Books.of([total])
    whole = _errors(objective, total)
    if evidence.ended != "died" and not evidence.running and books.missing > 0:
        whole = measured(objective, (books.arrivals - books.ok) / books.arrivals, books.arrivals)
    result = _by_windows(objective, evidence, lambda window: _errors(objective, window), whole=whole)
    result = _unless_only_lost(replace(result, bad=max(result.n - books.ok, 0)), evidence, books)
    return _with_retries(result, books, total.count(Count.RETRIES))


def _errors(objective: Objective, window: Window) -> Measured:
    books = Books.of([window])
    return measured(objective, books.bad / books.settled, books.settled) if books.settled else NOTHING


def _unless_only_lost(result: ObjectiveResult, evidence: Evidence, books: Books) -> ObjectiveResult:
    """Let a row not fail by what the generator took along: nobody knows how lost requests ended.

    The rate lies between that with all of them counted as errors and that without them. Where the two
    decide differently, the row is INCONCLUSIVE.
    """
    unknown = books.lost + books.unsent_generator
    if not unknown or result.verdict not in (Grade.FAIL, Grade.WARN):
        return result
    without = _by_windows(
        result.objective, evidence, lambda window: _errors(result.objective, _known(window))
    )
    if SEVERITY.index(without.verdict) <= SEVERITY.index(result.verdict):
        return result
    shown = result.objective.target.spelled(without.value or 0.0)
    reason = (
        f"{result.reason}; {unknown} of these requests were lost or never sent by the generator, and without "
        f"them it is {shown}: run again with the workers that it takes"
    )
    return replace(result, verdict=Grade.INCONCLUSIVE, reason=reason)


def _known(window: Window) -> Window:
    """Return a window without the arrivals whose end the generator cannot tell; it shares the rest."""
    counts = dict(window.counts)
    unknown = counts.pop(str(Count.LOST), 0) + counts.pop(str(Count.UNSENT_GENERATOR), 0)
    counts[str(Count.ARRIVALS)] = counts.get(str(Count.ARRIVALS), 0) - unknown
    return Window(window.second, window.span, window.endpoint, window.phase, counts)


def _with_retries(result: ObjectiveResult, books: Books, retries: int) -> ObjectiveResult:
    """Let a row pass only if it also would with every retry counted as an error.

    A connection that closes before it answers is stale, or the target dropped the request; the client
    cannot tell, and sends it again.
    """
    if not retries:
        return result
    target = result.objective.target
    rate = min(1.0, (books.arrivals - books.ok + retries) / books.arrivals) if books.arrivals else 0.0
    said = (
        f"{retries} requests were sent again after the target closed a connection without an answer; "
        f"counted as errors they would make it {target.spelled(rate)}"
    )
    if result.verdict is not Grade.PASS or target.met(rate):
        return replace(result, notes=(*result.notes, said))
    reason = f"{result.reason}; not shown to hold, since {said}: see whether the target drops requests"
    return replace(result, verdict=Grade.WARN, reason=reason)


def cache_hit_rate(objective: Objective, evidence: Evidence) -> ObjectiveResult:
    """Judge the answers marked as cached among those to a text that had been sent before."""
    if not _repeats(evidence.total(objective.endpoint)):
        return invalid(
            objective,
            "no ok answer to a repeated text was seen: let the traffic repeat some of its texts, "
            "and see that answers say whether they were cached",
        )
    return _by_windows(objective, evidence, lambda window: _hit_rate(objective, window), "repeated requests")


def _hit_rate(objective: Objective, window: Window) -> Measured:
    repeats = _repeats(window)
    return measured(objective, window.count(Count.REPEAT_HITS) / repeats, repeats) if repeats else NOTHING


def _repeats(window: Window) -> int:
    return window.count(Count.REPEAT_HITS) + window.count(Count.REPEAT_MISSES)


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
    counts = [evidence.ok_within(slot, objective.endpoint) for slot in cut]
    parts = [measured(objective, count / slot.length, count) for slot, count in zip(cut, counts, strict=True)]
    notes = []
    if books.ok - within > LATE * books.ok:
        notes.append(
            f"{books.ok - within} ok answers came only after the steady phase and are not in the rate"
        )
    return decide(objective, whole, cut, parts, method="ok answers / steady seconds", notes=notes)


def _by_windows(
    objective: Objective,
    evidence: Evidence,
    evaluate: Callable[[Window], Measured],
    unit_of_n: str = "requests",
    whole: Measured | None = None,
) -> ObjectiveResult:
    """Judge a row that is a function of one window, whatever its length; `whole` is given for the phase."""
    cut = slots(evidence.steady, objective.every)
    parts = [evaluate(window) for window in evidence.by_slot(cut, objective.endpoint)]
    if whole is None:
        whole = evaluate(evidence.total(objective.endpoint))
    return decide(objective, whole, cut, parts, unit_of_n=unit_of_n, method="exact count")
