"""From the windows and readings of a stored run to what is said of each series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from loadgate.judge.drift import DriftResult
from loadgate.judge.drift_series import Frame, control_of, drift, line_of
from loadgate.judge.evidence import Evidence
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import judge
from loadgate.measure.window import Window
from loadgate.plan.drift import Drift
from loadgate.plan.timeline import Segment

MINUTES = 200
LENGTH = MINUTES * 60
STEADY = (Interval(0.0, float(LENGTH)),)
MB = 1e6

Levels = Callable[[int], float]


def flat(_: int) -> float:
    """Return the level of a healthy memory."""
    return 300 * MB


class Runs:
    """Builders of a run of 200 minutes, a window a minute."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def window(self, minute: int, latency_ms: int = 20, ok: int = 6000, **counts: int) -> Window:
        """Return a minute of 6000 good requests of one latency."""
        one: Window = self.make.window(minute * 60, {latency_ms: ok}, **counts)
        return replace(one, span=60)

    def evidence(self, memory: Levels = flat, **changes: Any) -> Evidence:
        """Return the run; `memory` gives the level of each minute."""
        values: dict[str, Any] = {
            "steady": STEADY,
            "planned": STEADY,
            "windows": [self.window(minute) for minute in range(MINUTES)],
            "fleet": self.fleet(lambda _: 300.0),
            "probes": [self.make.probe("process", 60.0)],
            "readings": self.readings(memory),
        }
        found: Evidence = self.make.evidence(**{**values, **changes})
        return found

    def readings(self, memory: Levels) -> list[Any]:
        """Return a reading each minute, with 1 MB of noise."""
        noise = np.random.default_rng(2).uniform(-1, 1, MINUTES) * MB
        levels = [None if np.isnan(memory(at)) else memory(at) + noise[at] for at in range(MINUTES)]
        return list(self.make.readings("process", "memory", levels, start=30.0, every=60.0))

    def fleet(self, control_us: Levels) -> list[Any]:
        """Return a fleet row each minute, with the control's latency."""
        return [
            self.make.fleet([at * 60], control_n=60, control_p50_us=100.0, control_p99_us=control_us(at))[0]
            for at in range(MINUTES)
        ]


@pytest.fixture(scope="module")
def runs(make: Any) -> Runs:
    """Give the builders."""
    return Runs(make)


def judged(rule: Drift, evidence: Evidence, **more: Any) -> DriftResult:
    """Return what is said of one rule."""
    (found,) = drift([rule], evidence, **more)
    return found


def growing(minute: int) -> float:
    """Grow by 30 MB an hour."""
    return 300 * MB + 0.5 * MB * minute


# ---- readings


def test_a_flat_memory_passes(runs: Runs) -> None:
    """300 MB +- 1 for 200 minutes."""
    assert judged(Drift(metric="memory"), runs.evidence()).verdict is Grade.PASS


def test_a_growing_memory_fails(runs: Runs) -> None:
    """30 MB/h for 190 minutes after the start has settled."""
    found = judged(Drift(metric="memory", limit="< 1GB"), runs.evidence(growing))
    assert found.verdict is Grade.FAIL
    assert found.trend is not None
    assert found.trend.slope.value * 3600 == pytest.approx(30 * MB, rel=0.03)
    assert found.trend.start >= 600  # 5 % of the run
    assert found.reaches == pytest.approx(20 * 3600, rel=0.05)


def test_a_named_reading_is_followed(runs: Runs) -> None:
    """`process.memory` is the same series by its probe's name."""
    rule = Drift(metric="process.memory", growth="5%")
    assert judged(rule, runs.evidence(growing)).verdict is Grade.FAIL


@pytest.mark.parametrize("probes", [[], None])
def test_without_readings_the_rule_is_invalid(runs: Runs, probes: Sequence[Any] | None) -> None:
    """No probe, or one that read nothing, is no PASS."""
    changes: dict[str, Any] = {"readings": []} if probes is None else {"probes": []}
    assert judged(Drift(metric="memory"), runs.evidence(**changes)).verdict is Grade.INVALID


def test_missing_readings_never_pass(runs: Runs) -> None:
    """A memory that was flat in the 90 % that were read may have been anything in the rest."""
    found = judged(Drift(metric="memory"), runs.evidence(lambda at: np.nan if 100 <= at < 120 else 300 * MB))
    assert found.verdict is Grade.INVALID
    assert "90% of the series is there" in found.reason


def test_a_restart_that_a_probe_saw_cuts_the_series(runs: Runs, make: Any) -> None:
    """A leak that a restart at half time brings back is found on both sides of it."""
    evidence = runs.evidence(lambda at: 300 * MB + 0.5 * MB * (at % 100))
    restarts = make.readings(
        "process", "restarts", [float(at >= 100) for at in range(MINUTES)], start=30.0, every=60.0
    )
    evidence = replace(evidence, readings=(*evidence.readings, *restarts))
    assert Frame(evidence).cuts == (100 * 60 + 30.0,)
    found = judged(Drift(metric="memory"), evidence)
    assert found.verdict is Grade.FAIL
    assert found.trend is not None
    assert found.trend.parts == 2
    assert found.trend.slope.value * 3600 == pytest.approx(30 * MB, rel=0.1)


def test_a_deployment_cuts_the_series(runs: Runs) -> None:
    """A deployment that takes 40 MB more is no leak, once it is told."""
    evidence = runs.evidence(lambda at: (340 if at >= 100 else 300) * MB)
    assert judged(Drift(metric="memory"), evidence).verdict is Grade.WARN
    assert judged(Drift(metric="memory"), evidence, cuts=[6000.0]).verdict is Grade.PASS


def test_a_change_of_the_load_cuts_the_series(runs: Runs) -> None:
    """More load takes more memory: the planned levels say when."""
    segments = (Segment(0, 6000, 100, 100, "steady"), Segment(6000, LENGTH, 200, 200, "steady"))
    assert Frame(runs.evidence(segments=segments)).cuts == (6000.0,)


def test_an_excluded_stretch_is_left_out(runs: Runs) -> None:
    """A fault that was made from minute 180 on is excluded by the rule, or by the caller."""
    evidence = runs.evidence(lambda at: (900 if at >= 180 else 300) * MB)
    away = Interval(180 * 60.0, float(LENGTH))
    assert judged(Drift(metric="memory"), evidence).verdict is not Grade.PASS
    assert judged(Drift(metric="memory"), evidence, excluded=[away]).verdict is Grade.PASS
    assert judged(Drift(metric="memory", exclude=["3h..4h"]), evidence).verdict is Grade.PASS


# ---- windows


def test_a_latency_that_climbs_fails(runs: Runs) -> None:
    """From 20 to 40 ms over the run, while the control is flat."""
    windows = [runs.window(at, 20 + at // 10) for at in range(MINUTES)]
    found = judged(Drift(metric="response_time"), runs.evidence(windows=windows))
    assert (found.verdict, found.drifts) == (Grade.FAIL, "target")
    assert found.trend is not None
    assert found.trend.slope.value * 3600 == pytest.approx(0.006, rel=0.05)


def test_a_latency_that_the_generator_makes_is_invalid(runs: Runs) -> None:
    """The control climbs by the same 20 ms: the generator drifts."""
    windows = [runs.window(at, 20 + at // 10) for at in range(MINUTES)]
    evidence = runs.evidence(windows=windows, fleet=runs.fleet(lambda at: 300 + 100.0 * at))
    found = judged(Drift(metric="response_time", endpoint="emotion"), evidence)
    assert (found.verdict, found.drifts) == (Grade.INVALID, "generator")


def test_a_flat_latency_passes(runs: Runs) -> None:
    """20 ms all along."""
    assert judged(Drift(metric="service_time", statistic="p99"), runs.evidence()).verdict is Grade.PASS


def test_the_percentile_of_a_slot_is_that_of_its_requests(runs: Runs) -> None:
    """Two minutes of 90 % at 20 ms and 10 % at 80 ms: the p50 is 20 ms and the p95 80, to three digits."""
    windows = [replace(runs.make.window(at * 60, {20: 90, 80: 10}), span=60) for at in range(MINUTES)]
    frame = Frame(runs.evidence(windows=windows))
    for statistic, level in (("p50", 0.020), ("p95", 0.080)):
        line = line_of(Drift(metric="response_time", statistic=statistic), frame)
        assert len(line.values) == 100
        assert line.values == pytest.approx(level, rel=1e-3)
        assert line.share == 1.0


def test_a_growing_error_rate_fails(runs: Runs) -> None:
    """From none to 3 % over the run."""
    windows = [runs.window(at, failed=at) for at in range(MINUTES)]
    found = judged(Drift(metric="error_rate"), runs.evidence(windows=windows))
    assert found.verdict is Grade.FAIL


def test_no_errors_at_all_pass(runs: Runs) -> None:
    """An error rate of 0 is flat."""
    assert judged(Drift(metric="error_rate"), runs.evidence()).verdict is Grade.PASS


def test_a_falling_throughput_is_the_targets_when_the_load_stayed(runs: Runs) -> None:
    """6000 arrivals a minute, of which ever fewer are answered well."""
    windows = [runs.window(at, ok=6000 - 10 * at, failed=10 * at) for at in range(MINUTES)]
    found = judged(Drift(metric="throughput"), runs.evidence(windows=windows))
    assert (found.verdict, found.drifts) == (Grade.FAIL, "target")
    assert found.trend is not None
    assert found.trend.slope.value * 3600 == pytest.approx(-10.0, rel=0.02)


def test_a_falling_throughput_is_the_generators_when_it_offers_less(runs: Runs) -> None:
    """Ever fewer arrivals are the generator's doing, in the open model."""
    windows = [runs.window(at, ok=6000 - 10 * at) for at in range(MINUTES)]
    found = judged(Drift(metric="throughput"), runs.evidence(windows=windows))
    assert (found.verdict, found.drifts) == (Grade.INVALID, "generator")
    closed = judged(Drift(metric="throughput"), runs.evidence(windows=windows, model="closed"))
    assert (closed.verdict, closed.drifts) == (Grade.FAIL, "unclear")


def test_minutes_that_were_not_measured_are_no_zero(runs: Runs) -> None:
    """A master that was away for 40 minutes leaves a gap: no fall of the throughput, and no PASS."""
    windows = [runs.window(at) for at in range(MINUTES) if not 100 <= at < 140]
    found = judged(Drift(metric="throughput"), runs.evidence(windows=windows))
    assert found.verdict is Grade.INVALID
    assert "80% of the series is there" in found.reason


@pytest.mark.parametrize("metric", ["response_time", "error_rate", "throughput", "cache_hit_rate"])
def test_an_endpoint_that_was_never_asked_is_invalid(runs: Runs, metric: str) -> None:
    """A rule that matches nothing does not pass."""
    found = judged(Drift(metric=metric, endpoint="nowhere"), runs.evidence())
    assert found.verdict is Grade.INVALID


def test_a_run_without_steady_load_is_invalid(runs: Runs) -> None:
    """Nothing was run: nothing is said."""
    found = judged(Drift(metric="memory"), runs.evidence(steady=[]))
    assert found.verdict is Grade.INVALID


def test_rules_are_judged_each_by_itself(runs: Runs) -> None:
    """The results come in the order of the rules."""
    rules = [Drift(metric="memory"), Drift(metric="response_time")]
    found = drift(rules, runs.evidence(growing))
    assert [one.verdict for one in found] == [Grade.FAIL, Grade.PASS]


# ---- in the verdict


def verdict_of(runs: Runs, memory: Levels, **changes: Any) -> Any:
    """Judge a run of which one row holds and a rule follows the memory."""
    row = runs.make.objective("memory", "< 900MB", alert="> 1GB", every=600.0)
    rule = Drift(metric="memory", limit="< 1GB")
    fleet = runs.make.fleet(range(LENGTH))
    evidence = runs.evidence(memory, objectives=(row,), drift=(rule,), fleet=fleet, **changes)
    return judge(evidence, now=datetime(2026, 1, 5, tzinfo=UTC))


def test_what_creeps_fails_a_run_whose_rows_all_hold(runs: Runs) -> None:
    """The rule decides like a required row, is among the reasons, and stands in verdict.json."""
    verdict = verdict_of(runs, growing)
    assert verdict.grade is Grade.FAIL
    assert any(reason.startswith("FAIL drift of memory") for reason in verdict.reasons)
    (told,) = verdict.to_dict()["drift"]
    assert (told["name"], told["verdict"], told["drifts"]) == ("memory", "FAIL", "target")


def test_a_rule_without_data_is_never_green(runs: Runs) -> None:
    """No reading of the memory: INVALID, like a row without data."""
    assert verdict_of(runs, growing, readings=()).grade is Grade.INVALID


def test_a_rule_that_holds_changes_nothing(runs: Runs) -> None:
    """A flat memory leaves the verdict to the rows."""
    verdict = verdict_of(runs, flat)
    assert verdict.grade is verdict.rows[0].verdict
    assert [one["verdict"] for one in verdict.to_dict()["drift"]] == ["PASS"]


def test_lateness_is_compared_over_equal_times(runs: Runs) -> None:
    """Seconds of 0 and 200 us beside minutes of 200 us at the worst are the same lateness throughout."""
    rows = runs.fleet(lambda _: 300.0)
    old = [replace(one, start_lag_p99_us=200.0, span=60, told=2**60 - 1) for one in rows]
    new = [
        replace(old[-1], second=old[-1].second + 60 + at, start_lag_p99_us=200.0 * (at == 30), span=1, told=1)
        for at in range(60)
    ]
    steady = (Interval(0.0, MINUTES * 60.0 + 60),)
    frame = Frame(runs.evidence(fleet=old + new, steady=steady, planned=steady))
    line = control_of(Drift(metric="response_time", statistic="p99"), frame)
    assert line is not None
    assert len(line.values) == MINUTES + 60
    assert line.values == pytest.approx(500e-6)
