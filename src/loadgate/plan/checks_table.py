"""Rules of an SLA table by itself: impossible, duplicate and shadowed rows, and names that match nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadgate.plan.problems import Problem
from loadgate.plan.scenario import LONGEST, VerdictPolicy
from loadgate.plan.sla import HIGHER_IS_BETTER, METRICS, PER_ENDPOINT, Limit, Objective
from loadgate.plan.strict import suggest

Rows = Sequence[tuple[int, Objective]]
"""Objectives with their index in the file (rows with a fault of their own are not among them)."""


def check_table(file: str, rows: Rows) -> Iterator[Problem]:
    """Check every row by itself, then the rows against each other."""
    for index, row in rows:
        yield from check_row(file, f"objective[{index}]", row)
    yield from _names(file, rows)
    yield from _overlaps(file, rows)


def check_row(file: str, key: str, row: Objective) -> Iterator[Problem]:
    """Check one row by itself."""
    yield from _row(file, key, row)
    yield from _limit(file, f"{key}.target", row, row.target)
    if row.alert is not None:
        yield from _limit(file, f"{key}.alert", row, row.alert)
        yield from _pair(file, f"{key}.alert", row, row.alert)


def _row(file: str, key: str, row: Objective) -> Iterator[Problem]:
    """Check that a row asks only for what its metric has."""
    if row.endpoint is not None and row.metric not in PER_ENDPOINT:
        message = f"{row.metric} is not measured per endpoint"
        yield Problem(file, f"{key}.endpoint", message, "leave it out")
    if not row.is_latency and "latency_on" in row.model_fields_set and row.latency_on != "adjusted":
        message = f"{row.metric} is not a latency, so latency_on would not be read"
        yield Problem(file, f"{key}.latency_on", message, "leave it out")
    if row.for_ < row.every:
        message = f"is shorter than a window (every = {row.every:g}s)"
        yield Problem(file, f"{key}.for", message, "make it at least `every`")


def _limit(file: str, key: str, row: Objective, limit: Limit) -> Iterator[Problem]:
    """Check that a limit points the right way and can both hold and not hold."""
    good_is_high = row.metric in HIGHER_IS_BETTER
    target = key.endswith("target")
    if row.metric in METRICS and limit.upward != (good_is_high == target):
        sense = "more is better" if good_is_high else "less is better"
        turned = limit.text.replace(
            limit.op, (limit.op.replace("<", ">") if "<" in limit.op else limit.op.replace(">", "<")), 1
        )
        message = f"'{limit.text}' points the wrong way: for {row.metric} {sense}"
        yield Problem(file, key, message, f'write "{turned}"')
        return
    if row.is_latency and not 1e-6 <= limit.value <= LONGEST:
        yield Problem(
            file, key, f"'{limit.text}' is outside of what is recorded (1us to 1h)", 'for example "< 50ms"'
        )
    elif row.metric in ("error_rate", "cache_hit_rate", "uptime"):
        yield from _trivial(file, key, row, limit, top=1.0)
    elif row.metric in METRICS and not row.is_latency:
        yield from _trivial(file, key, row, limit, top=None)


def _trivial(file: str, key: str, row: Objective, limit: Limit, top: float | None) -> Iterator[Problem]:
    """Report a limit that holds for every possible value, or for none, of 0 to `top`."""
    below = limit.met(0.0) and limit.upward
    above = top is not None and limit.met(top) and not limit.upward
    if below or above:
        message = f"'{limit.text}' always holds, so the row would decide nothing"
        yield Problem(
            file, key, message, f"{row.metric} lies between 0 and {'100%' if top else 'any number'}"
        )
    elif (top is not None and limit.upward and not limit.met(top)) or (
        not limit.upward and not limit.met(0.0)
    ):
        message = f"'{limit.text}' can never hold"
        yield Problem(
            file, key, message, f"{row.metric} lies between 0 and {'100%' if top else 'any number'}"
        )


def _pair(file: str, key: str, row: Objective, alert: Limit) -> Iterator[Problem]:
    """Check that no value both meets the target and is past the alert threshold."""
    target = row.target
    if alert.upward == target.upward:
        if row.metric not in METRICS:
            message = f"'{alert.text}' points the same way as the target '{target.text}'"
            yield Problem(file, key, message, "the alert threshold lies on the other side")
        return
    inside = alert.value > target.value if target.upward else alert.value < target.value
    if inside or (alert.value == target.value and alert.inclusive and target.inclusive):
        message = f"'{alert.text}' lies inside the target '{target.text}': a row could pass and fail at once"
        yield Problem(file, key, message, "move the alert threshold to the far side of the target")


def _names(file: str, rows: Rows) -> Iterator[Problem]:
    """Check that every row has a name of its own, and none the name of a metric that is not its own."""
    seen: dict[str, int] = {}
    for index, row in rows:
        if row.name in seen and not _same(row, dict(rows)[seen[row.name]]):
            message = f"objective[{seen[row.name]}] is called '{row.name}' too"
            yield Problem(
                file, f"objective[{index}].name", message, 'give one of them a name = "..." of its own'
            )
        if row.name in METRICS and row.name != row.metric:
            message = f"'{row.name}' is the name of another metric"
            yield Problem(file, f"objective[{index}].name", message, "choose another name")
        seen.setdefault(row.name, index)


def _same(one: Objective, other: Objective) -> bool:
    """Tell whether two rows judge the same number over the same windows."""
    return _measured(one) == _measured(other) and one.statistic == other.statistic


def _measured(row: Objective) -> tuple[object, ...]:
    """Return what a row looks at, whatever the statistic and the limits."""
    return row.metric, row.endpoint, row.latency_on, row.every, row.for_


def _overlaps(file: str, rows: Rows) -> Iterator[Problem]:
    """Report duplicate rows, and rows that a stricter one always decides first."""
    for place, (index, row) in enumerate(rows):
        for other_index, other in rows[:place]:
            if _same(row, other):
                message = f"judges the same as objective[{other_index}] ('{other.name}')"
                yield Problem(file, f"objective[{index}]", message, "keep one of the two")
            elif _shadows(other, row) or _shadows(row, other):
                loose, strict = (index, other) if _shadows(other, row) else (other_index, row)
                message = f"is shadowed: it holds whenever '{strict.name}' ({strict.statistic}) holds"
                yield Problem(file, f"objective[{loose}]", message, "leave it out", "warning")


def _shadows(strict: Objective, loose: Objective) -> bool:
    """Tell whether one latency row implies another: a higher percentile under the same or a lower limit."""
    if _measured(strict) != _measured(loose) or not strict.is_latency:
        return False
    ranks = [10_000 if row.statistic == "max" else row.rank for row in (strict, loose)]
    if ranks[0] is None or ranks[1] is None or ranks[0] < ranks[1]:
        return False
    tighter = strict.target.value <= loose.target.value
    if strict.alert is None:
        return tighter
    # Past the loose row's threshold must mean past the strict one's too.
    worst = loose.alert if loose.alert is not None else loose.target
    return tighter and strict.alert.value <= worst.value


def check_policy(file: str, verdict: VerdictPolicy, rows: Sequence[Objective]) -> Iterator[Problem]:
    """Check that every name in `optional` and `leave_out` means a row, and that a row is left to judge."""
    known = list(dict.fromkeys(name for row in rows for name in (row.name, row.metric)))
    for field, words in (("optional", verdict.optional), ("leave_out", verdict.leave_out)):
        for index, word in enumerate(words):
            if not any(row.matches(word) for row in rows):
                key = f"verdict.{field}[{index}]"
                yield Problem(file, key, f"no row is called '{word}'", suggest(word, known, "rows"))
    for word in set(verdict.optional) & set(verdict.leave_out):
        message = f"'{word}' is left out, so it cannot be optional too"
        yield Problem(file, "verdict.optional", message, "name it once")
    if rows and all(any(row.matches(word) for word in verdict.leave_out) for row in rows):
        yield Problem(file, "verdict.leave_out", "leaves no row to judge", "keep at least one")
