"""The rules about the run as a whole: when it is void, and its verdict from its rows.

A void run says nothing about the target, whatever its rows say: the generator could not make the load,
part of the time was not recorded, or the counts contradict each other. Each rule below gives a reason with
the remedy. What the target causes never voids a run: no free user in the pool (pool wait) is judged.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgate.judge.evidence import Evidence
from loadgate.judge.fleet import losses, lost_workers, offered_by_nobody, replaced_workers
from loadgate.judge.generator import generator_faults, load_allowed_to_miss
from loadgate.judge.results import Grade, ObjectiveResult, worst
from loadgate.judge.slots import TOLERANCE, Interval, total_length
from loadgate.plan.units import format_duration, format_share

COVERAGE_NEEDED: Final = 0.99
"""The share of the steady phase, in worker seconds, that must have been reported."""

USER_CODE_ALLOWED: Final = 1e-4
"""The share of the requests that the user's own code may fail: one odd answer must not void a week."""
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the steady phase the workers reported: a share of worker seconds, and the seconds short."""

    share: float
    seconds: int
    short: tuple[int, ...]
    """The first run second of the phase with a worker missing, and all later ones."""


def coverage(evidence: Evidence) -> Coverage:
    """Measure how much of the steady phase was reported, from the fleet rows of each run second.

    A worker covers a second with a row for it. A row may skip one second when the worker's loop was busy,
    so a second between two reported ones is covered too, and the first and last of the phase beside one.
    Losses that the policy allows are not missed: only the workers that have to remain count.
    """
    reported = _reported(evidence)
    allowed = evidence.generator.loss_allowed
    required = max(1, evidence.workers_expected - math.floor(evidence.workers_expected * allowed + TOLERANCE))
    total, covered = 0, 0.0
    short = []
    for part in evidence.steady:
        seconds = _whole_seconds(part)
        present = np.zeros(len(seconds), np.int32)
        for rows in reported.values():
            present += _covers(rows, seconds)
        shares = [n * min(1.0, k / required) for k, n in enumerate(np.bincount(present).tolist())]
        total, covered = total + len(seconds), covered + math.fsum(shares)
        short += (np.flatnonzero(present < required) + seconds.start).tolist()
    return Coverage(covered / total if total else 0.0, total, tuple(short))


def _whole_seconds(part: Interval) -> range:
    """Return the run seconds that lie whole in an interval; the one it begins in when none does."""
    first, end = math.ceil(part.start - TOLERANCE), math.floor(part.end + TOLERANCE)
    return range(first, end) if end > first else range(math.floor(part.start), math.floor(part.start) + 1)


def _reported(evidence: Evidence) -> dict[str, dict[int, int]]:
    """Return which seconds each worker told of: by the first second of its rows, bits as in `told`."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in evidence.fleet:
        own = found[row.worker]
        own[row.second] = own.get(row.second, 0) | row.told
    return found


def _covers(rows: Mapping[int, int], phase: range) -> NDArray[np.bool_]:
    """Tell of each second of a phase whether a worker with these rows reported it."""
    # With the second before the phase and the one after it.
    told = np.zeros(len(phase) + 2, np.bool_)
    for first, bits in rows.items():
        length = bits.bit_length()
        if bits == (1 << length) - 1:
            at = first - phase.start + 1
            told[max(0, at) : max(0, at + length)] = True
            continue
        for place in range(length):
            at = first + place - phase.start + 1
            if bits >> place & 1 and 0 <= at < told.size:
                told[at] = True
    before, here, after = told[:-2], told[1:-1], told[2:]
    answer: NDArray[np.bool_] = here | (before & after)
    answer[-1] |= before[-1]
    answer[0] |= after[0]
    return answer


def void_reasons(evidence: Evidence) -> tuple[str, ...]:
    """Return why the run is void, with what to do; empty for a run that can be judged."""
    if not evidence.books().arrivals:
        return ("no request was made: see that the locustfile has tasks and that the load was started",)
    if not evidence.anchored:
        return ("the run database holds no anchor: it was damaged, or the load never began; run again",)
    if not evidence.seconds:
        return ()
    return (
        *_user_code(evidence),
        *_unbalanced(evidence),
        *_uncovered(evidence),
        *_gaps(evidence),
        *_missing_windows(evidence),
        *_lost_workers(evidence),
        *_offered_by_nobody(evidence),
        *generator_faults(evidence),
    )


def _user_code(evidence: Evidence) -> list[str]:
    """Check that the user's own code, and not the target, failed no more than one request in ten thousand.

    Such requests count as failed, so that the books balance; more of them would be judged as the target's.
    """
    found = sorted(
        (failure for failure in evidence.failures if failure.is_of_user_code),
        key=lambda failure: (-failure.count, failure.fingerprint),
    )
    number, arrivals = sum(failure.count for failure in found), evidence.books().arrivals
    if number <= USER_CODE_ALLOWED * arrivals:
        return []
    named = "; ".join(
        f"{failure.endpoint}: {failure.kind}, {failure.count} times" for failure in found[:_NAMED]
    )
    more = f"; and {len(found) - _NAMED} more kinds" if len(found) > _NAMED else ""
    return [
        f"the locustfile's own code failed {number} of {arrivals} requests, which says nothing of the target "
        f"({named}{more}): mend it, let a check return a word for an answer that it does not like, and run "
        "again; the workers' logs have the traceback"
    ]


def _unbalanced(evidence: Evidence) -> list[str]:
    """Check per endpoint, over the run and in its steady phase, that every arrival has one end.

    A run that died, or still goes on, has requests without an end: they were in flight.
    """
    reasons = []
    for endpoint in evidence.endpoints:
        for phase in (None, "steady"):
            books = evidence.books(endpoint, phase)
            if books.missing < 0 or (books.missing and evidence.flushed):
                where = "in the steady phase" if phase else "over the run"
                reasons.append(
                    f"the books of {endpoint} do not balance {where}: {books.arrivals} arrivals, "
                    f"{books.settled} ends: records were lost or counted twice; run again, and report this"
                )
                break
    return reasons


def _uncovered(evidence: Evidence) -> list[str]:
    """Check that the workers reported 99 % of the steady phase."""
    found = coverage(evidence)
    if found.share >= COVERAGE_NEEDED - TOLERANCE:
        return []
    if not evidence.fleet:
        return ["no worker reported anything: see the logs of the workers"]
    first = f", first at run time {format_duration(found.short[0])}" if found.short else ""
    return [
        f"coverage is {format_share(found.share)} of the steady phase, "
        f"and it takes {format_share(COVERAGE_NEEDED)}: "
        f"{len(found.short)} of {found.seconds} seconds lack a worker's report{first}; see the workers' logs"
    ]


def _gaps(evidence: Evidence) -> list[str]:
    """Check that nothing a worker shipped is missing; a growing run may still get it."""
    if not evidence.flushed:
        whole = evidence.cut_short or evidence.running or lost_workers(evidence)
        return [] if whole else ["the workers' last reports never arrived: see their logs and the network"]
    if not evidence.gaps:
        return []
    named = ", ".join(f"{number} of worker {worker}" for worker, number in evidence.gaps.items())
    return [f"reports of the workers never arrived ({named}): see the logs of the workers and the network"]


def _missing_windows(evidence: Evidence) -> list[str]:
    """Check that the windows hold at least the arrivals and the ends that the workers' ledger counted.

    The ledger's last row may come before the last window, so the windows may hold more. While a run was
    not flushed the ledger may be ahead of them.
    """
    if not evidence.flushed:
        return []
    offered: dict[str, int] = defaultdict(int)
    finished: dict[str, int] = defaultdict(int)
    for row in evidence.fleet:
        offered[row.worker] = max(offered[row.worker], row.offered)
        finished[row.worker] = max(finished[row.worker], row.finished)
    books = evidence.books()
    ended = books.ok + books.failed + books.timeout
    reasons = []
    for what, counted, kept in (
        ("arrivals", sum(offered.values()), books.arrivals),
        ("answers", sum(finished.values()), ended),
    ):
        if kept < counted:
            reasons.append(
                f"the workers counted {counted} {what} and the run database holds {kept}: part of what was "
                "measured is missing; run again, and report this"
            )
    return reasons


def _lost_workers(evidence: Evidence) -> list[str]:
    """Check that no more workers were lost than the scenario allows."""
    lost = lost_workers(evidence)
    allowed = evidence.generator.loss_allowed
    # One that was started in another's place makes up for it, unless no loss at all is allowed.
    missing = max(len(lost) - replaced_workers(evidence), 0) if allowed > 0 else len(lost)
    share = min(missing / evidence.workers_expected, 1.0)
    if not lost or share <= evidence.generator.loss_allowed + TOLERANCE:
        return []
    return [
        f"{len(lost)} of {evidence.workers_expected} workers were lost ({', '.join(lost)}), "
        f'and on_worker_loss is "{evidence.generator.on_worker_loss}": '
        "see the logs of the lost workers and run again"
    ]


def _offered_by_nobody(evidence: Evidence) -> list[str]:
    """Check that no more than 1 % of the steady arrivals, and what the policy allows, had no worker at all.

    Unlike what a random schedule is expected to hold, this number is known exactly.
    """
    missing = offered_by_nobody(evidence, steady=True)
    due = evidence.books(None, "steady").arrivals + missing
    allowed = 1 - COVERAGE_NEEDED * (1 - load_allowed_to_miss(evidence))
    if missing <= allowed * due + TOLERANCE:
        return []
    lost = ", ".join(sorted({one.worker for one in losses(evidence)})) or "none was seen to be lost"
    return [
        f"{missing} of {due} planned requests of the steady phase were offered by nobody "
        f"(limit {format_share(round(allowed, 4))}), because workers or the master were gone "
        f"(workers: {lost}): see their logs and run again"
    ]


def early_reason(evidence: Evidence) -> str | None:
    """Say why a run that was cut short cannot pass; None for a run that went as planned."""
    if evidence.running:
        return "the run still goes on: judge it again when it has ended"
    if not evidence.cut_short:
        return None if evidence.seen_enough else _TURNED
    planned, run = total_length(evidence.planned), evidence.seconds
    part = f"{format_duration(run)} of {format_duration(planned)} steady load were run"
    how = {
        "planned": "the run was shorter than planned",
        "stopped": "the run was stopped early",
        "aborted": f"the alert {evidence.aborted_by or 'of a rule'} ended the load",
        "interrupted": "the run was interrupted",
        "died": "the run died before it had written its end",
    }[evidence.ended]
    return f"{how} ({part}): such a run can fail but never pass; run it to its end"


_TURNED: Final = (
    "the run ended early because a row was past its limit for sure, and with all that was under way then it "
    "is not: such a run can fail but never pass; run it again"
)


def overall(evidence: Evidence, rows: Sequence[ObjectiveResult], *, void: bool) -> Grade:
    """Return the verdict of a run: void is INVALID, else the worst row that decides.

    No rows, or no row that passes among the optional ones alone, is INVALID; so is a run that was cut short
    and does not FAIL.
    """
    if void or not rows:
        return Grade.INVALID
    deciding = [row.verdict for row in rows if row.decides]
    if not deciding:
        # Every row is optional: green still takes one that has data and holds.
        passed = any(row.verdict is Grade.PASS for row in rows)
        deciding = [Grade.PASS if passed else Grade.INVALID]
    grade = worst(deciding)
    whole = not evidence.cut_short and not evidence.running and evidence.seen_enough
    if grade is not Grade.FAIL and not whole:
        return Grade.INVALID
    return grade
