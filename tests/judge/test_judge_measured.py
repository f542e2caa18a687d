"""Many windows at once are held against the limits of a row as one window is."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge.latency import measured_parts
from loadgate.judge.measured import NOTHING, Measured, MeasuredColumns, measured
from loadgate.judge.slots import Breach, Interval, longest_breach
from loadgate.measure.part import Part, PartColumns
from loadgate.plan.sla import Objective

VALUES = st.one_of(st.none(), st.just(math.inf), st.sampled_from([0.0, 0.1, 0.2, 0.3]))
SHARES = {"p50": Fraction(1, 2), "p99": Fraction(99, 100), "p99.9": Fraction(999, 1000)}


def row(statistic: str, target: str, alert: str | None) -> Objective:
    """Make a row of response times."""
    values = {"metric": "response_time", "statistic": statistic, "target": target, "every": 30.0}
    return Objective.model_validate(values | ({"alert": alert} if alert else {}))


LIMITS = st.sampled_from(
    [("< 100ms", "> 200ms"), ("<= 100ms", ">= 200ms"), ("< 200ms", None), ("> 100ms", "< 50ms")]
)


def by_hand(objective: Objective, part: Part) -> Measured:
    """Judge one window as the rule says: k of n over T meet T where n - ceil(pn) may.

    The oracle of the columns, in exact fractions.
    """
    if part.n == 0:
        return NOTHING
    assert part.value is not None
    plain = measured(objective, part.value, part.n)
    if objective.statistic not in SHARES:
        return plain
    share = SHARES[objective.statistic]
    allowed = part.n - max(1, math.ceil(share * part.n))
    holds, past, exact = plain.holds, plain.past, part.over is not None
    if part.over is not None:
        holds = (part.over + part.infinite <= allowed) != objective.target.upward
        past = not holds
        if objective.alert is not None:
            past = plain.past
            if part.over_alert is not None:
                past = (part.over_alert + part.infinite <= allowed) != objective.alert.upward
    return Measured(part.value, part.n, holds, past, exact, part.bad, pytest.approx(float(1 - share)))


@given(
    statistic=st.sampled_from([*SHARES, "max", "mean"]),
    limits=LIMITS,
    parts=st.lists(
        st.builds(
            Part,
            value=st.sampled_from([0.0, 0.1, 0.15, 0.2, 0.3, math.inf]),
            n=st.integers(0, 300),
            over=st.one_of(st.none(), st.integers(0, 20)),
            over_alert=st.one_of(st.none(), st.integers(0, 20)),
            bad=st.integers(0, 20),
            counts=st.sampled_from([{}, {"infinite": 1}, {"infinite": 3}]),
        ),
        max_size=6,
    ),
)
def test_latency_windows_are_judged_by_counting(
    statistic: str, limits: tuple[str, str | None], parts: list[Part]
) -> None:
    """Every window says what the rule says by hand, whatever was counted and whatever limits there are."""
    objective = row(statistic, *limits)
    found = measured_parts(objective, PartColumns.of(parts))
    assert list(found) == [by_hand(objective, part) for part in parts]


@given(values=st.lists(VALUES, max_size=6), limits=LIMITS)
def test_values_are_compared_as_one_value_is(
    values: list[float | None], limits: tuple[str, str | None]
) -> None:
    """A window without a value is nothing: it meets no target and is past no threshold."""
    objective = row("mean", *limits)
    whole = PartColumns.of(Part(value, 7) for value in values)
    found = MeasuredColumns.by_value(objective, whole.values, whole.n)
    assert list(found) == [measured(objective, value, 7) for value in values]
    assert list(MeasuredColumns.of(list(found))) == list(found)


def by_definition(cut: list[Interval], past: list[bool | None]) -> Breach | None:
    """Look at every stretch of windows: both ends past, and no recovery in it; the first of the longest."""
    best: Breach | None = None
    for first in range(len(cut)):
        for last in range(first, len(cut)):
            if past[first] and past[last] and False not in past[first : last + 1]:
                seconds = math.fsum(part.length for part in cut[first : last + 1])
                if best is None or seconds > best.seconds + 1e-6:
                    best = Breach(cut[first].start, cut[last].end, seconds)
    return best


@given(past=st.lists(st.sampled_from([True, False, None]), max_size=12), gap=st.booleans())
def test_the_longest_breach_is_the_longest_stretch_without_a_recovery(
    past: list[bool | None], gap: bool
) -> None:
    """Windows without samples neither begin nor end one, and the time between steady intervals is no part."""
    cut = [
        Interval(30.0 * at + 100 * (gap and at > 5), 30.0 * (at + 1) + 100 * (gap and at > 5))
        for at in range(len(past))
    ]
    assert longest_breach(cut, past) == by_definition(cut, past)
