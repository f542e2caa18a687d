"""A planned end that moves: what nobody offered comes later, and what was before stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.plan.moved_end import moved
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario, Stage, Traffic
from loadgate.traffic.arrivals import ArrivalSchedule

STAGES = (
    Stage(rate=50.0, ramp=10.0, hold=20.0, phase="warmup"),
    Stage(rate=100.0, ramp=10.0, hold=60.0),
    Stage(rate=20.0, ramp=5.0, hold=15.0),
)
"""Warm-up from 10 to 30, steady from 40 to 100 and from 105 to 120."""


def plan(arrivals: str = "poisson") -> Plan:
    traffic = Traffic(stages=STAGES, users=10, arrivals=arrivals)
    scenario = Scenario(name="s", locustfile=Path("none.py"), host="http://127.0.0.1", traffic=traffic)
    return Plan(scenario=scenario)


def schedule(made: Plan) -> ArrivalSchedule:
    traffic = made.scenario.traffic
    process = "constant" if traffic.arrivals == "constant" else "poisson"
    return ArrivalSchedule(made.timeline, process=process, seed=3, weights=[1.0, 2.0])


def test_what_was_planned_comes_after_the_stretch() -> None:
    """From 70 to 300 nobody offered: 30 steady seconds before it, 30 after it, and the rest 230 s later."""
    new = moved(plan(), 70.0, 300.0)
    assert new is not None
    assert new.timeline.steady == ((40.0, 70.0), (300.0, 330.0), (335.0, 350.0))
    assert new.timeline.end == 350.0
    assert new.timeline.level_at(np.array([69.0, 70.0, 299.0, 300.0])).tolist() == [100.0, 0.0, 0.0, 100.0]
    assert new.timeline.total == plan().timeline.total
    assert Plan.from_json(new.to_json()) == new


def test_a_stretch_that_begins_with_the_hold_leaves_its_ramp() -> None:
    """Nothing of the hold was offered: all of it is moved."""
    new = moved(plan(), 40.0, 50.0)
    assert new is not None
    assert new.timeline.steady == ((50.0, 110.0), (115.0, 130.0))
    assert new.timeline.total == plan().timeline.total


@pytest.mark.parametrize("start", [5.0, 20.0, 35.0, 102.0, 120.0, 500.0])
def test_only_a_steady_hold_is_cut(start: float) -> None:
    """In a warm-up, a ramp, or after the end there is nothing to make up for."""
    assert moved(plan(), start, 600.0) is None


def test_a_pause_that_is_planned_already_is_part_of_the_stretch() -> None:
    """Somebody who tried before planned a pause to 90; now it is 110, so it gets 20 s longer."""
    once = moved(plan(), 70.0, 90.0)
    assert once is not None
    again = moved(once, 70.0, 110.0)
    assert again is not None
    assert again.timeline.steady == ((40.0, 70.0), (110.0, 140.0), (145.0, 160.0))
    assert moved(once, 70.0, 90.0) is None, "as long as that one lasts it is enough"


@settings(max_examples=25)
@given(st.integers(40, 99), st.integers(1, 1000), st.sampled_from(["poisson", "constant"]))
def test_the_schedule_before_the_stretch_stays_and_the_seconds_of_load_are_the_same(
    start: int, length: int, arrivals: str
) -> None:
    """Each arrival before it is the same one, in it there is none, and no steady second is gained or lost."""
    old = plan(arrivals)
    new = moved(old, float(start), float(start + length))
    assert new is not None
    assert new.timeline.seconds("steady") == pytest.approx(old.timeline.seconds("steady"))
    assert new.timeline.end == pytest.approx(old.timeline.end + length)
    before, after = schedule(old), schedule(new)
    for second in (*range(0, start, 7), start - 1):
        one, other = before.second(second), after.second(second)
        assert one.times.tolist() == other.times.tolist()
        assert (one.kinds.tolist(), one.slots.tolist()) == (other.kinds.tolist(), other.slots.tolist())
    assert len(after.second(start)) == len(after.second(start + length - 1)) == 0
    assert (start + length >= new.timeline.end) or len(after.second(start + length)) > 0
