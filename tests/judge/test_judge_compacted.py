"""A run whose old rows were merged is judged as the run of its seconds is."""

from __future__ import annotations

import random
import shutil
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loadgate.judge import objectives
from loadgate.judge.evidence import Evidence
from loadgate.judge.gather import gather
from loadgate.judge.results import Grade
from loadgate.judge.rows import with_late
from loadgate.judge.run import coverage
from loadgate.judge.verdict import judge
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.part import Part, PartColumns
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.report.last_windows import last_windows
from loadgate.store.blocks import Horizon
from loadgate.store.database import LedgerRow, open_writer
from loadgate.store.folder import RunFolder

NOW = datetime(2026, 11, 29, 20, 35, 12, tzinfo=UTC)
LIMITS_US = (20_000, 49_999, 50_000, 200_000)
ROWS = [
    {"metric": "response_time", "endpoint": "a", "target": "< 20ms", "alert": "> 50ms", "every": 7.0},
    {"metric": "response_time", "endpoint": "a", "target": "< 50ms", "every": 30.0, "statistic": "p99"},
    {"metric": "response_time", "target": "< 20ms", "alert": "> 200ms", "every": 10.0, "latency_on": "all"},
    {"metric": "response_time", "target": "< 33ms", "every": 15.0, "statistic": "p50", "latency_on": "ok"},
    {"metric": "service_time", "endpoint": "b", "target": "< 50ms", "every": 45.0, "statistic": "max"},
    {"metric": "service_time", "target": "< 50ms", "every": 60.0, "statistic": "mean", "latency_on": "ok"},
    {"metric": "error_rate", "target": "< 5%", "alert": "> 20%", "every": 20.0},
    {"metric": "error_rate", "endpoint": "b", "target": "< 1%", "every": 1.0},
    {"metric": "error_rate", "endpoint": "a", "target": "< 1%", "every": 120.0},
    {"metric": "throughput", "target": ">= 3/s", "alert": "< 1/s", "every": 25.0},
    {"metric": "throughput", "endpoint": "a", "target": ">= 1/s", "every": 60.0},
    {"metric": "cache_hit_rate", "target": "> 60%", "alert": "< 20%", "every": 12.0},
]


def plan_of(ramp: float, holds: list[float]) -> Plan:
    """Return a plan of steady stages with ramps between them."""
    stages = [{"rate": 5.0 + n, "ramp": ramp, "hold": hold} for n, hold in enumerate(holds)]
    scenario = Scenario.model_validate(
        {
            "name": "soak",
            "locustfile": "staging.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {"users": 10, "stages": stages},
        }
    )
    named = [{**row, "for": 20.0, "name": f"row {n}"} for n, row in enumerate(ROWS)]
    return Plan(scenario=scenario, objectives=tuple(map(Objective.model_validate, named)))


def window(chance: random.Random, second: int, endpoint: str, phase: str) -> Window:
    """Return a second of some requests, or none, of any outcome."""
    made = Window(second, 1, endpoint, phase)
    for clock in ("response", "service"):
        for outcome in ("ok", "failed", "timeout"):
            made.histograms[f"{clock}.{outcome}"] = Histogram()
    for _ in range(chance.randrange(8)):
        outcome = chance.choices(("ok", "failed", "timeout"), (20, 2, 1))[0]
        made.add("arrivals", 1)
        made.add(outcome, 1)
        if outcome == "ok":
            made.add(chance.choice(("repeat_hits", "repeat_misses", "misses")), 1)
            made.add("retries", chance.randrange(3) == 0)
        for clock in ("response", "service"):
            made.histograms[f"{clock}.{outcome}"].record(int(10 ** chance.uniform(3.5, 5.5)))
    made.histograms = {name: one for name, one in made.histograms.items() if one.total}
    for name, one in made.histograms.items():
        values = one.to_sparse()
        for limit in LIMITS_US:
            # Any number will do, as long as it is the sum of its seconds' numbers.
            made.over[f"{name}>{limit}"] = int(values.counts[values.indices > limit % 97 + 300].sum())
    if chance.randrange(20) == 0:
        made.add("arrivals", 1)
        made.add(chance.choice(("unsent_pool", "lost", "unfinished", "unsent_generator")), 1)
    return made


def write(path: Path, plan: Plan, seed: int) -> RunFolder:
    """Write a run of random seconds, some of them without any row."""
    chance, run = random.Random(seed), RunFolder(path)
    path.mkdir(parents=True)
    steady = plan.timeline.steady
    with open_writer(run.database) as writer:
        values: dict[str, Any] = {
            "id": run.id,
            "plan": orjson.loads(plan.to_json()),
            "anchor": {"monotonic": 5.0, "wall": 1_795_379_712.0, "boot_id": "b"},
            "ended": "planned",
            "ended_at_run_time": plan.timeline.end + 3,
            "flushed": True,
            "workers_expected": 2,
        }
        windows, fleet, ledger = [], [], []
        for second in range(int(plan.timeline.end) + 3):
            phases = ["steady"] if any(start - 1 < second < end + 3 for start, end in steady) else []
            phases += ["ramp"] if chance.randrange(5) == 0 else []
            if chance.randrange(40):
                windows += [window(chance, second, name, phase) for name in "ab" for phase in phases]
            for worker in ("w1", "w2"):
                if chance.randrange(30):
                    fleet.append(row(chance, second, worker))
            ledger.append(LedgerRow(second, 2, 2, chance.randrange(30) == 0, chance.randrange(60) == 0, 0))
        writer.commit([Delta(run.id, "w1", 1, 1, windows, [], fleet)], run_values=values, ledger=ledger)
    return run


def row(chance: random.Random, second: int, worker: str) -> FleetRow:
    """Return a fleet row with some marks."""
    lag = chance.choice((100.0, 100.0, 30_000.0))
    cpu = chance.choice((0.2, 0.99))
    return FleetRow(
        second, worker, second, second, second, 1, 5, cpu, 50_000_000, lag, 500.0, 900.0, cpu_allowed=1.0
    )


def merge(run: RunFolder, horizon: Horizon) -> RunFolder:
    """Merge the old rows of a copy of a run."""
    copy = RunFolder(run.path.with_name("merged"))
    shutil.rmtree(copy.path, ignore_errors=True)
    shutil.copytree(run.path, copy.path)
    with open_writer(copy.database) as writer:
        while writer.compact(writer.latest, horizon):
            pass
    return copy


def told(evidence: Evidence) -> list[tuple[Any, ...]]:
    """Return what a verdict says of the windows of each row, and the value over the phase."""
    found = []
    for one in evidence.objectives:
        result = objectives.evaluate(one, evidence)
        worst = result.worst_window
        # A mean over the phase and a breach's chance are not asked here: their interval comes from cells.
        found.append(
            (
                one.name,
                result.value,
                result.n,
                None if worst is None else astuple(worst),
                result.time_in_violation,
                result.longest_breach,
                result.windows,
                result.verdict is Grade.INVALID,
                # The status of a throughput counts by due time, its verdict by arrival.
                one.metric == "throughput" or last_windows(one, evidence),
            )
        )
    return found


# A smaller run says no more than the seed does, and takes minutes to find.
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32),
    ramp=st.sampled_from([0.0, 7.0, 30.0, 12.4, 12.6]),
    holds=st.sampled_from([[380.0], [100.0, 240.0], [61.5, 200.0]]),
    horizon=st.sampled_from([Horizon(60, 120), Horizon(60, 3600), Horizon(90, 200)]),
)
def test_the_windows_of_a_merged_run_are_those_of_its_seconds(
    tmp_path: Path, seed: int, ramp: float, holds: list[float], horizon: Horizon
) -> None:
    """Value, worst window, time in violation and longest breach of every row are the same to the last bit."""
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    run = write(tmp_path / "run", plan_of(ramp, holds), seed)
    whole, merged = gather(run), gather(merge(run, horizon))
    assert whole.digest is None
    assert merged.digest is not None
    assert told(merged) == told(whole)
    assert coverage(merged) == coverage(whole)
    one, other = (judge(evidence, now=NOW).to_dict() for evidence in (merged, whole))
    assert [one[key] for key in ("fleet", "books", "latencies")] == [
        other[key] for key in ("fleet", "books", "latencies")
    ]
    assert one["generator"]["marked"] == other["generator"]["marked"]


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Give a run whose rows are all but the last minute merged."""
    run = write(tmp_path_factory.mktemp("runs") / "run", plan_of(30.0, [380.0]), 1)
    return merge(run, Horizon(60, 120))


def row_of(**more: Any) -> Objective:
    """Return a row of the table for endpoint a."""
    base = {"metric": "response_time", "endpoint": "a", "target": "< 20ms", "alert": "> 50ms", "every": 7.0}
    return Objective.model_validate({**base, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"every": 5.0},
        {"target": "< 21ms"},
        {"statistic": "p99"},
        {"metric": "error_rate", "target": "< 1%", "alert": "> 2%", "every": 90.0},
    ],
)
def test_windows_that_were_not_kept_cannot_be_judged(merged: RunFolder, more: dict[str, Any]) -> None:
    """A finer `every`, another limit of a percentile, or windows across rows: INVALID, with the reason."""
    (result,) = judge(gather(merged, objectives=[row_of(**more)]), now=NOW).rows
    assert result.verdict is Grade.INVALID
    assert "the run keeps windows of 1m now" in result.reason


@pytest.mark.parametrize(
    "more",
    [
        {"for": 600.0},
        {"every": 60.0, "statistic": "p99"},
        {"every": 120.0, "target": "< 77ms"},
        {"metric": "error_rate", "target": "< 13%", "alert": "> 50%", "every": 1.0, "endpoint": "b"},
    ],
)
def test_windows_that_rows_or_kept_ones_show_are_judged(merged: RunFolder, more: dict[str, Any]) -> None:
    """Whole minutes of any limit, and kept windows of what only counts with any limit."""
    (result,) = judge(gather(merged, objectives=[row_of(**more)]), now=NOW).rows
    assert "the run keeps windows" not in result.reason
    assert result.windows > 0


def test_a_row_whose_windows_lack_late_requests_cannot_pass(make: Any) -> None:
    """Of a row that passes, three requests came after a window had been evaluated: INCONCLUSIVE, and why."""
    result = objectives.evaluate(make.objective(), make.evidence())
    assert result.verdict is Grade.PASS
    late = with_late(result, PartColumns.of([Part(0.02, 10), Part(0.02, 10, late=3)]))
    assert late.verdict is Grade.INCONCLUSIVE
    assert "3 requests of 1 windows came after these had been evaluated" in late.reason
    assert with_late(result, PartColumns.of([Part(0.02, 10)])) is result
