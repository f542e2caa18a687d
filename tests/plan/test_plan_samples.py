"""The evidence that objectives need and runs give."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.samples import expected_readings, expected_requests, need_of, probe_of, samples_needed
from loadgate.plan.scenario import Probe, Stage, Traffic
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Timeline


@pytest.mark.parametrize(
    ("rank", "count"), [(5000, 5), (9500, 59), (9900, 299), (9990, 2995), (9999, 29_956)]
)
def test_a_percentile_needs_its_textbook_count(rank: int, count: int) -> None:
    """59 for p95, 299 for p99, 2995 for p99.9; 0.5^5 = 0.03 <= 0.05 < 0.5^4."""
    assert samples_needed(rank / 10_000) == count


@given(st.integers(1, 9990))
def test_the_count_is_the_smallest_that_leaves_five_percent_doubt(rank: int) -> None:
    """p^n <= 0.05 < p^(n-1), in exact fractions."""
    share, count = Fraction(rank, 10_000), samples_needed(rank / 10_000)
    assert count is not None
    assert share**count <= Fraction(1, 20) < share ** (count - 1)


def test_certainty_needs_more_than_any_number() -> None:
    """No count shows that nothing ever fails."""
    assert samples_needed(1.0) is None


@pytest.mark.parametrize(
    ("row", "count", "unit"),
    [
        (Objective(metric="response_time", target="< 1s", every=1), 59, "requests"),
        (Objective(metric="response_time", statistic="max", target="< 1s", every=1), 1, "requests"),
        (Objective(metric="error_rate", target="< 0.1%", every=1), 2995, "requests"),
        (
            Objective(metric="cache_hit_rate", target="> 60%", every=1),
            6,
            "requests that repeat an earlier text",
        ),
        (Objective(metric="throughput", target="> 1/s", every=1), 0, "requests"),
        (Objective(metric="uptime", target="> 99%", every=1), 5, "readings"),
        (Objective(metric="cache.entries", target="> 9", every=1), 5, "readings"),
    ],
)
def test_each_metric_needs_its_own_evidence(row: Objective, count: int, unit: str) -> None:
    """Error rate under 0.1% is p = 0.999; readings are five by definition."""
    need = need_of(row)
    assert (need.count, need.unit) == (count, unit)


def test_an_endpoint_gets_its_share_of_the_steady_arrivals() -> None:
    """100/s for 60 s of steady load, half of it emotion: 3000; the warm-up does not count."""
    stages = (Stage(rate=100.0, ramp=10.0, hold=10.0, phase="warmup"), Stage(rate=100.0, hold=60.0))
    traffic = Traffic(users=1, mix={"emotion": 5.0, "creative": 2.0, "reasoning": 3.0}, stages=stages)
    line = Timeline.of_traffic(traffic, timeout=1.0)
    assert expected_requests("emotion", traffic, line) == (3000.0, False)
    assert expected_requests(None, traffic, line) == (6000.0, False)


def test_without_a_mix_an_endpoint_is_not_known() -> None:
    """The classes' own weights decide then, and they are not read here."""
    traffic = Traffic(users=1, stages=(Stage(rate=100.0, hold=60.0),))
    assert expected_requests("emotion", traffic, Timeline.of_traffic(traffic, timeout=1.0)) == (None, False)


def test_a_closed_model_has_an_upper_bound_by_its_wait() -> None:
    """10 users for 60 s, 1 s to 3 s between requests: at most 300."""
    traffic = Traffic(model="closed", wait=(1.0, 3.0), stages=(Stage(users=10, hold=60.0),))
    assert expected_requests(None, traffic, Timeline.of_traffic(traffic, timeout=1.0)) == (300.0, True)


@pytest.mark.parametrize(("every", "count"), [(1.0, 25), (5.0, 5), (0.1, 250), (30.0, 0), (7.0, 3)])
def test_readings_are_counted_that_are_sure_to_come(every: float, count: int) -> None:
    """25 s hold three intervals of 7 s, wherever the first reading lands; the warm-up counts for nothing."""
    stages = (Stage(rate=9.0, hold=5.0, phase="warmup"), Stage(rate=9.0, hold=25.0))
    line = Timeline.of_traffic(Traffic(users=1, stages=stages), timeout=1.0)
    assert expected_readings(Probe(name="health", http="/health", every=every), line) == count


def test_readings_come_from_the_probe_that_has_them() -> None:
    """Uptime from health, cpu from the process, or from a json reading of that name."""
    health = Probe(name="health", http="/h", every=1.0)
    process = Probe(name="process", process="listening", every=1.0)
    custom = Probe(name="app", kind="json", http="/m", values={"memory": "m[0]", "queue": "q"}, every=1.0)
    probes = (health, custom)
    assert probe_of(Objective(metric="uptime", target="> 9%", every=1), probes) is health
    assert probe_of(Objective(metric="memory", target="< 9MB", every=1), probes) is custom
    assert probe_of(Objective(metric="memory", target="< 9MB", every=1), (*probes, process)) is process
    assert probe_of(Objective(metric="cpu", target="< 9%", every=1), probes) is None
    assert probe_of(Objective(metric="app.queue", target="< 9", every=1), probes) is custom
    assert probe_of(Objective(metric="app.other", target="< 9", every=1), probes) is None
