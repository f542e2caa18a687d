from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.traffic.arrivals import ArrivalSchedule, Trace
from loadgate.traffic.grants import SLOTS


def timeline(*stages: Stage) -> Timeline:
    traffic = Traffic(model="open", users=1, mix={"a": 1.0}, stages=stages)
    return Timeline.of_traffic(traffic, timeout=1.0)


def schedule(*stages: Stage, process: str = "constant", seed: int = 1, weights=(1.0,)) -> ArrivalSchedule:
    return ArrivalSchedule(timeline(*stages), process=process, seed=seed, weights=weights)


def every(step: int, first: int) -> np.ndarray:
    """Hold every step-th slot from the first on."""
    slots = np.zeros(SLOTS, dtype=bool)
    slots[first::step] = True
    return slots


def all_times(of: ArrivalSchedule, seconds: int) -> np.ndarray:
    return np.concatenate([of.second(second).times for second in range(seconds)])


def test_constant_arrivals_are_evenly_spaced_over_the_borders_of_seconds() -> None:
    """At 4/s arrivals stand at 0.125, 0.375, ... s: every gap is 0.25 s, also between two seconds."""
    times = all_times(schedule(Stage(rate=4.0, hold=3.0)), 3)
    assert times.tolist() == pytest.approx([0.125 + 0.25 * k for k in range(12)])


def test_a_slow_constant_rate_skips_seconds() -> None:
    """At 0.5/s the arrivals of 8 s are at 1, 3, 5 and 7 s."""
    times = all_times(schedule(Stage(rate=0.5, hold=8.0)), 8)
    assert times.tolist() == pytest.approx([1.0, 3.0, 5.0, 7.0])


def test_a_ramp_offers_the_area_under_its_rate() -> None:
    """A ramp from 0 to 10/s in 4 s holds 20 arrivals; half of its time holds a quarter of them."""
    times = all_times(schedule(Stage(rate=10.0, ramp=4.0, hold=1.0)), 4)
    assert len(times) == 20
    assert np.count_nonzero(times < 2.0) == 5


def test_nothing_arrives_after_the_end() -> None:
    """A second past the last stage is empty."""
    for process in ("constant", "poisson"):
        assert len(schedule(Stage(rate=100.0, hold=1.0), process=process).second(1)) == 0


def test_poisson_counts_have_the_mean_and_the_variance_of_the_rate() -> None:
    """Over 400 seconds at 50/s, mean and variance of the counts are 50 within four standard errors.

    The standard error of the mean is sqrt(50/400) = 0.35, that of the variance 50 * sqrt(2/399) = 3.5.
    """
    of = schedule(Stage(rate=50.0, hold=400.0), process="poisson")
    counts = np.array([len(of.second(s)) for s in range(400)])
    assert abs(counts.mean() - 50) < 4 * 0.354
    assert abs(counts.var(ddof=1) - 50) < 4 * 3.54


def test_poisson_gaps_are_exponential() -> None:
    """The share of gaps above the mean gap is 1/e, within four standard errors of 20,000 gaps."""
    of = schedule(Stage(rate=100.0, hold=200.0), process="poisson")
    gaps = np.diff(all_times(of, 200))
    share = np.count_nonzero(gaps > 0.01) / len(gaps)
    assert abs(share - np.exp(-1)) < 4 * np.sqrt(np.exp(-1) * (1 - np.exp(-1)) / len(gaps))


@given(
    second=st.integers(0, 20), seed=st.integers(0, 2**32), process=st.sampled_from(["constant", "poisson"])
)
@settings(max_examples=40)
def test_a_second_is_a_pure_function_of_plan_and_seed(second: int, seed: int, process: str) -> None:
    """Two schedules made apart, asked for one second in any order, give the same arrivals."""
    stages = (Stage(rate=200.0, ramp=5.0, hold=16.0),)
    one = schedule(*stages, process=process, seed=seed, weights=(1.0, 2.0))
    other = schedule(*stages, process=process, seed=seed, weights=(1.0, 2.0))
    other.second(second + 1)
    a, b = one.second(second), other.second(second)
    assert a.times.tolist() == b.times.tolist()
    assert a.kinds.tolist() == b.kinds.tolist()
    assert a.slots.tolist() == b.slots.tolist()


@given(workers=st.integers(1, 16), process=st.sampled_from(["constant", "poisson"]))
@settings(max_examples=30)
def test_the_shares_of_all_workers_are_the_schedule(workers: int, process: str) -> None:
    """Slots dealt out to n workers lose no arrival and offer none twice."""
    whole = schedule(Stage(rate=500.0, hold=3.0), process=process).second(1)
    shares = [whole.share(every(workers, index)) for index in range(workers)]
    merged = np.sort(np.concatenate([share.times for share in shares]))
    assert merged.tolist() == whole.times.tolist()


def test_a_worker_of_two_gets_every_second_constant_arrival() -> None:
    """Constant arrivals are dealt out in turn, so each worker's own spacing is even too."""
    whole = schedule(Stage(rate=8.0, hold=1.0)).second(0)
    assert whole.share(every(2, 0)).times.tolist() == pytest.approx([0.0625, 0.3125, 0.5625, 0.8125])


def test_the_mix_decides_the_shares_of_the_kinds() -> None:
    """Weights 5, 2, 3 over 20,000 arrivals: each share is met within four standard errors."""
    of = schedule(Stage(rate=1000.0, hold=20.0), weights=(5.0, 2.0, 3.0))
    kinds = np.concatenate([of.second(s).kinds for s in range(20)])
    for kind, share in enumerate((0.5, 0.2, 0.3)):
        assert abs(np.mean(kinds == kind) - share) < 4 * np.sqrt(share * (1 - share) / 20_000)


def test_a_kind_without_weight_never_arrives() -> None:
    """A weight of 0 is never drawn."""
    of = schedule(Stage(rate=1000.0, hold=5.0), weights=(0.0, 1.0, 0.0))
    assert {k for s in range(5) for k in of.second(s).kinds.tolist()} == {1}


def test_a_trace_is_offered_as_recorded() -> None:
    """Each recorded moment appears once in its second, with its own kind where it names one."""
    trace = Trace(np.array([0.0, 0.5, 1.0, 2.75]), np.array([1, -1, 0, 1]))
    of = ArrivalSchedule(
        timeline(Stage(rate=1.0, hold=3.0)), process="trace", seed=1, weights=(1.0, 0.0), trace=trace
    )
    seconds = [of.second(s) for s in range(4)]
    assert [s.times.tolist() for s in seconds] == [[0.0, 0.5], [1.0], [2.75], []]
    assert seconds[0].kinds.tolist() == [1, 0]
    assert seconds[2].kinds.tolist() == [1]


def test_a_trace_goes_only_with_the_process_trace() -> None:
    """A process without its trace, or a trace without its process, is refused."""
    with pytest.raises(ValueError, match="trace"):
        schedule(Stage(rate=1.0, hold=1.0), process="trace")


def test_a_mix_without_weight_is_refused() -> None:
    """No weight at all leaves nothing to send."""
    with pytest.raises(ValueError, match="positive weight"):
        schedule(Stage(rate=1.0, hold=1.0), weights=(0.0, 0.0))
