"""What ends a run early whose plan says `stop_when_certain`; when it is looked at is in `plan.looks`."""

from __future__ import annotations

from collections.abc import Sequence

from loadgate.judge.evidence import STEADY, Evidence
from loadgate.judge.objectives import evaluate_all
from loadgate.judge.results import Grade, ObjectiveResult
from loadgate.judge.run import void_reasons
from loadgate.plan.timeline import Segment


def outcome(evidence: Evidence, now: float, *, may_pass: bool = True) -> str | None:
    """Say why a run needs no more load at run time `now`; None while it does.

    A void run is never decided: it says nothing of the target, and its cause may pass. Without `may_pass`,
    or at a look that is too early for that, a run only ends for the worse.
    """
    if not evidence.seconds or void_reasons(evidence):
        return None
    known = evaluate_all(evidence)
    if failed(known):
        return "a row that decides is past its limit for sure"
    if not may_pass or not evidence.look or not evidence.look.may_pass:
        return None
    if all_begun(evidence.segments, now) and passed(evaluate_all(evidence.cautious())):
        return "every row that decides is settled"
    return None


def failed(rows: Sequence[ObjectiveResult]) -> bool:
    """Tell whether some row fails the run for sure: FAIL is the worst that there is, so no other can help."""
    return any(row.verdict is Grade.FAIL and row.settled and row.decides for row in rows)


def passed(rows: Sequence[ObjectiveResult]) -> bool:
    """Tell whether every required row is settled, and for the good; there must be one."""
    required = [row for row in rows if not row.optional]
    good = (Grade.PASS, Grade.WARN)
    return bool(required) and all(row.settled and row.verdict in good for row in required)


def all_begun(segments: Sequence[Segment], now: float) -> bool:
    """Tell whether the load has reached each of its planned steady levels before run time `now`."""
    levels = {part.level_start for part in segments if part.phase == STEADY and part.length > 0}
    begun = {part.level_start for part in segments if part.phase == STEADY and part.start < now}
    return levels <= begun
