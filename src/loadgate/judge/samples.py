"""How many samples it takes before a row may say anything but FAIL.

With n samples, none of them bad, the share of bad ones may still be anything up to 1 - 0.05^(1/n) (95 %,
one-sided; `plan.samples`). Where that is past the alert threshold, the interval straddles it, and the row is
INCONCLUSIVE. This is the least that is asked of any row: with some bad samples it takes more.
"""

from __future__ import annotations

from dataclasses import replace

from loadgate.judge.results import Grade, ObjectiveResult, spelled
from loadgate.judge.rows import subject
from loadgate.plan.samples import samples_needed
from loadgate.plan.sla import Objective


def fewest(objective: Objective) -> int:
    """Return the fewest samples that can show that a row is not past its alert threshold.

    Without one it is the target. A percentile has an upper bound only from ln(0.05) / ln(p) samples on,
    wherever the threshold lies. Rows that are no shares of samples, and thresholds that no number of samples
    can exclude, ask for one.
    """
    limit = objective.alert or objective.target
    if objective.is_latency and objective.rank is not None:
        share = objective.rank / 10_000
    elif objective.metric == "error_rate":
        share = 1 - limit.value
    elif objective.metric == "cache_hit_rate":
        share = limit.value
    else:
        return 1
    return samples_needed(share) or 1


def enough(result: ObjectiveResult) -> ObjectiveResult:
    """Return the row, or INCONCLUSIVE in its place when there are too few samples; a FAIL stays.

    Bad samples do not count towards them: none of them can make a row more certain of its target.
    """
    needed = fewest(result.objective) + result.bad
    if result.verdict not in (Grade.PASS, Grade.WARN) or result.n >= needed:
        return result
    shown = spelled(result.objective.target, result.value)
    reason = (
        f"{subject(result.objective)} is {shown} over {result.n} requests: too few to say so with 95% "
        f"confidence, which takes {needed}: {needed - result.n} more; run longer or at a higher rate"
    )
    return replace(result, verdict=Grade.INCONCLUSIVE, reason=reason)
