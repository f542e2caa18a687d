"""The load over time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.plan.scenario import Http, Scenario, Stage, Traffic
from loadgate.plan.timeline import PHASES, Timeline


def timeline(*stages: Stage, model: str = "open", timeout: float = 30.0) -> Timeline:
    """Make the timeline of some stages."""
    traffic = Traffic(model=model, users=500, stages=stages)  # type: ignore[arg-type]
    scenario = Scenario(
        name="t",
        locustfile=Path("t.py"),
        host="http://127.0.0.1:1",
        traffic=traffic,
        http=Http(timeout=timeout),
    )
    return Timeline.of(scenario)


GATE = (Stage(rate=1000.0, ramp=4.0, hold=2.0, phase="warmup"), Stage(rate=3000.0, ramp=10.0, hold=20.0))
"""Borders at 4, 6, 16 and 36 s; areas 2000, 2000, 20000 and 60000 arrivals."""


def test_stages_become_segments_with_phases() -> None:
    """Ramps are phase ramp and start at the level before; holds are steady unless they say warmup."""
    parts = timeline(*GATE).segments
    assert [(p.start, p.end, p.level_start, p.level_end, p.phase) for p in parts] == [
        (0.0, 4.0, 0.0, 1000.0, "ramp"),
        (4.0, 6.0, 1000.0, 1000.0, "warmup"),
        (6.0, 16.0, 1000.0, 3000.0, "ramp"),
        (16.0, 36.0, 3000.0, 3000.0, "steady"),
    ]


def test_counts_at_the_borders_are_the_areas_below_the_levels() -> None:
    """4*1000/2 = 2000, + 2*1000, + 10*(1000+3000)/2, + 20*3000; constant outside of the run."""
    counts = timeline(*GATE).cumulative(np.array([-5.0, 0.0, 4.0, 6.0, 16.0, 36.0, 99.0]))
    assert counts.tolist() == [0.0, 0.0, 2000.0, 4000.0, 24_000.0, 84_000.0, 84_000.0]


def test_counts_inside_a_ramp_are_quadratic() -> None:
    """Half-way up from 0 to 1000/s in 4 s: a quarter of 2000. At 11 s: 4000 + 5*1000 + 200*25/2 = 11500."""
    line = timeline(*GATE)
    assert line.cumulative(2.0) == 500.0
    assert line.cumulative(11.0) == 11_500.0


def test_the_inverse_gives_the_borders_back() -> None:
    """The time by which so many arrivals are expected; beyond the total never."""
    times = timeline(*GATE).inverse([0.0, 500.0, 2000.0, 4000.0, 11_500.0, 24_000.0, 84_000.0, 84_001.0])
    assert times.tolist() == [0.0, 2.0, 4.0, 6.0, 11.0, 16.0, 36.0, math.inf]


def test_phases_change_at_the_borders() -> None:
    """A border belongs to the segment that starts there; before 0 is the first one's, at the end drain."""
    codes = timeline(*GATE).phases_of(np.array([-1.0, 0.0, 3.999, 4.0, 6.0, 15.999, 16.0, 35.999, 36.0, 1e9]))
    names = [PHASES[code] for code in codes]
    assert names == ["ramp", "ramp", "ramp", "warmup", "ramp", "ramp", "steady", "steady", "drain", "drain"]
    assert codes.dtype == np.int8


def test_levels_follow_the_ramps() -> None:
    """Linear in a ramp, constant in a hold, nothing outside of the run."""
    levels = timeline(*GATE).level_at(np.array([-1.0, 1.0, 5.0, 11.0, 16.0, 36.0]))
    assert levels.tolist() == [0.0, 250.0, 1000.0, 2000.0, 3000.0, 0.0]
    assert timeline(*GATE).level_at(1.0) == 250.0


def test_ends_totals_and_steady_stretches() -> None:
    """Drain lasts as long as the request timeout; steady neighbours are one stretch."""
    line = timeline(
        Stage(rate=10.0, hold=5.0), Stage(rate=20.0, hold=5.0), Stage(rate=10.0, ramp=2.0, hold=4.0)
    )
    assert (line.end, line.drain_end, line.total) == (16.0, 46.0, 220.0)
    assert line.steady == ((0.0, 10.0), (12.0, 16.0))
    assert (line.seconds(), line.arrivals()) == (14.0, 190.0)
    assert (line.seconds("ramp"), line.arrivals("ramp")) == (2.0, 30.0)


def test_a_ramp_down_to_nothing_is_counted_exactly() -> None:
    """From 10/s to 0 in 4 s: 20 arrivals, 15 of them in the first half, none after."""
    line = timeline(Stage(rate=10.0, hold=1.0), Stage(rate=0.0, ramp=4.0, hold=3.0))
    assert line.cumulative(np.array([1.0, 3.0, 5.0, 8.0])).tolist() == [10.0, 25.0, 30.0, 30.0]
    assert line.inverse([10.0, 25.0, 30.0, 30.5]).tolist() == [1.0, 3.0, 5.0, math.inf]


def test_a_closed_model_counts_users() -> None:
    """The level is active users, so counts are user-seconds."""
    line = timeline(Stage(users=50, ramp=10.0, hold=20.0), model="closed")
    assert line.level_at(5.0) == 25.0
    assert line.total == 250.0 + 1000.0


def test_an_open_ended_run_is_all_steady() -> None:
    """A run without a plan has no end, no known level and no drain."""
    line = Timeline.open_ended()
    assert (line.end, line.drain_end, line.steady) == (math.inf, math.inf, ((0.0, math.inf),))
    assert [PHASES[code] for code in line.phases_of([-1.0, 0.0, 1e12])] == ["steady"] * 3
    assert math.isnan(line.level_at(1.0))
    assert math.isnan(line.cumulative(1.0))


STAGES = st.lists(
    st.builds(
        Stage,
        rate=st.floats(min_value=0.5, max_value=5000.0),
        ramp=st.just(0.0) | st.floats(min_value=0.1, max_value=1000.0),
        hold=st.floats(min_value=0.1, max_value=10_000.0),
    ),
    min_size=1,
    max_size=6,
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(STAGES, st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=1, max_size=50))
def test_inverse_and_cumulative_undo_each_other(stages: tuple[Stage, ...], parts: list[float]) -> None:
    """Exact but for rounding: 1e-9 of the time."""
    line = timeline(*stages)
    times = np.array(parts) * line.end
    np.testing.assert_allclose(line.inverse(line.cumulative(times)), times, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(STAGES, st.lists(st.floats(min_value=-10.0, max_value=70_000.0), min_size=2, max_size=50))
def test_counts_never_fall(stages: tuple[Stage, ...], times: list[float]) -> None:
    """The cumulative count and its inverse are monotone, and end at the total."""
    line = timeline(*stages)
    counts = line.cumulative(np.sort(np.array(times)))
    assert np.all(np.diff(counts) >= 0)
    assert line.cumulative(line.end) == pytest.approx(line.total, rel=1e-12)
    assert np.all(np.diff(line.inverse(np.linspace(0, line.total, 100))) >= 0)


@settings(max_examples=60, deadline=None)
@given(STAGES)
def test_phases_add_up_to_the_total(stages: tuple[Stage, ...]) -> None:
    """Every planned arrival has exactly one phase."""
    line = timeline(*stages)
    assert sum(line.arrivals(phase) for phase in PHASES) == pytest.approx(line.total, rel=1e-12)


def traced(tmp_path: Path, text: str, name: str = "arrivals.csv") -> Timeline:
    """Make the timeline of a trace."""
    path = tmp_path / name
    path.write_text(text)
    traffic = Traffic(arrivals="trace", trace=path, users=1)
    return Timeline.of_traffic(traffic, timeout=5.0)


def test_a_trace_is_one_steady_segment_to_its_last_arrival(tmp_path: Path) -> None:
    """The last arrival is the last steady moment, and the total is the number of arrivals."""
    line = traced(tmp_path, "0.5\n1\n1\n4\n")
    assert len(line.segments) == 1
    assert line.end == pytest.approx(4.0)
    assert [PHASES[code] for code in line.phases_of([0.0, 4.0, 4.001])] == ["steady", "steady", "drain"]
    assert (line.total, line.arrivals(), line.level_at(2.0)) == (4.0, 4.0, pytest.approx(1.0))


def test_a_trace_counts_its_own_arrivals(tmp_path: Path) -> None:
    """Cumulative is how many came at or before; the inverse is the time of arrival number n."""
    line = traced(tmp_path, "0.5\n1\n1\n4\n")
    assert line.cumulative(np.array([0.0, 0.5, 1.0, 3.9, 4.0, 9.0])).tolist() == [0, 1, 3, 3, 4, 4]
    assert line.inverse([0.5, 1, 2, 3, 4, 5]).tolist() == [0.5, 0.5, 1.0, 1.0, 4.0, math.inf]
