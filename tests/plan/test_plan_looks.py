"""When a run is looked at that may end early, and with how much doubt each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.looks import look_at, looks
from loadgate.plan.plan import load_plan

PLANNED = st.floats(1, 700_000)
"""Seconds of a steady phase: from one to a week and more."""


@given(planned=PLANNED)
def test_the_doubt_of_all_looks_together_is_5_percent(planned: float) -> None:
    """However many there are: what bounds the chance that any of them is wrong."""
    assert math.fsum(look.doubt for look in looks(planned)) == pytest.approx(0.05)


@given(planned=PLANNED)
def test_looks_come_in_order_and_the_last_one_is_the_planned_end(planned: float) -> None:
    """Numbered from 1, each later than the one before, none within the last tenth but the end."""
    found = looks(planned)
    assert [(look.number, look.of) for look in found] == [(n + 1, len(found)) for n in range(len(found))]
    assert found[-1].after == planned
    assert all(20 <= look.after <= 0.9 * planned for look in found[:-1])
    assert [look.after for look in found] == sorted({look.after for look in found})


@given(planned=PLANNED)
def test_a_run_may_pass_when_half_of_it_was_run(planned: float) -> None:
    """Not before: what was not seen by then may only be rare."""
    assert all(look.may_pass == (look.after >= planned / 2) for look in looks(planned))


def test_the_looks_of_a_minute() -> None:
    """After 20, 30 and 45 s with a sixth of 5 % each, and at the end with half of it."""
    assert [(look.after, round(look.doubt, 5)) for look in looks(60.0)] == [
        (20.0, 0.00833),
        (30.0, 0.00833),
        (45.0, 0.00833),
        (60.0, 0.025),
    ]


@pytest.mark.parametrize("planned", [5.0, 20.0, 22.0])
def test_a_short_run_is_only_judged_at_its_end(planned: float) -> None:
    """With the whole of the doubt, as a run without looks: nothing is spent that could not be used."""
    (only,) = looks(planned)
    assert (only.after, only.doubt, only.may_pass) == (planned, 0.05, True)


@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0.0, 1), (20.0, 1), (29.9, 1), (30.0, 2), (44.0, 2), (59.0, 3), (60.0, 4), (70.0, 4)],
)
def test_the_look_of_a_moment_is_the_last_one_whose_time_had_come(seconds: float, number: int) -> None:
    """A run that stopped between two looks is judged with the doubt of the earlier one."""
    assert look_at(seconds, 60.0).number == number


CERTAIN = ("[[probes]]", "[verdict]\nstop_when_certain = true\n\n[[probes]]")


def warned(write: Callable[..., Path], *swaps: tuple[str, str]) -> list[str]:
    """Return what a plan that may end early is warned of."""
    return [f"{one.key}: {one.message}" for one in load_plan(write(CERTAIN, *swaps)).warnings]


def test_a_plan_of_ten_minutes_may_end_early(write: Callable[..., Path]) -> None:
    """Nothing is wrong with it."""
    assert load_plan(write(CERTAIN)).scenario.verdict.stop_when_certain
    assert warned(write) == []


def test_a_plan_that_is_too_short_to_be_looked_at_is_warned_of(write: Callable[..., Path]) -> None:
    """The first look would come at its end."""
    told = warned(write, ('hold = "10m"', 'hold = "21s"'), ('every = "10s"', 'every = "1s"'))
    assert told == [
        "verdict.stop_when_certain: the steady phase (21s) is too short to be looked at before its end"
    ]


def test_a_trace_ends_early_only_when_it_fails(write: Callable[..., Path], tmp_path: Path) -> None:
    """Its busiest minute may be yet to come."""
    (tmp_path / "trace.csv").write_text("".join(f"{n / 1100}\n" for n in range(66_000)))
    stage = '[[traffic.stages]]\nrate = "1100/s"\nramp = "30s"\nhold = "10m"\n'
    told = warned(write, (stage, ""), ("users = 400", 'users = 400\narrivals = "trace"\ntrace = "trace.csv"'))
    assert told == ["verdict.stop_when_certain: a run of a recorded trace ends early only when it fails"]


def test_a_plan_that_may_end_early_takes_more_requests(write: Callable[..., Path]) -> None:
    """At its end 2.5 % of doubt are left: 0.95^72 <= 0.025 < 0.95^71, where 59 would do for 5 %."""
    few = ('rate = "1100/s"', 'rate = "1/s"'), ('hold = "10m"', 'hold = "2m"')
    out = ("[[probes]]", '[verdict]\nleave_out = ["throughput"]\n\n[[probes]]')
    plain = [one.message for one in load_plan(write(*few, out)).warnings]
    early = warned(
        write, *few, ("stop_when_certain = true\n", 'stop_when_certain = true\nleave_out = ["throughput"]\n')
    )
    assert not any("claim" in message for message in plain)
    assert any("needs 72 requests for a 97.5% claim" in message for message in early)
