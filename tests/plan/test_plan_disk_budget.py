"""What a run will store, worked out from its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.disk_budget import about, database_budget, disk_budget, estimate_disk
from loadgate.plan.plan import Plan, load_plan
from loadgate.plan.results import Results
from loadgate.plan.scenario import Probe, Scenario, Stage, Traffic
from loadgate.store.disk_need import Disk, level_of

SHIPPED = Path(__file__).parents[2] / "scenarios"
DAY = 86_400.0


def plan(hold: float, rate: float = 100.0, endpoints: int = 1, **more: Any) -> Plan:
    """Return a plan of a constant rate."""
    mix = {f"e{number}": 1.0 for number in range(endpoints)}
    traffic = Traffic(stages=(Stage(rate=rate, hold=hold),), users=10, mix=mix)
    return Plan(
        scenario=Scenario(
            name="d", locustfile=Path("none.py"), host="http://127.0.0.1", traffic=traffic, **more
        )
    )


def test_rows_are_counted_by_their_age() -> None:
    """Two days: 3600 of 1 s, (86,400 - 3600) / 10 of 10 s and 86,400 / 60 and a drain's of 60 s."""
    made = plan(2 * DAY)
    # 30 s of drain: one row of a minute more. 700 bytes and 165 n^0.4 of 100, 1000 and 6000 requests.
    rows = {1: 3600, 10: 8280, 60: 1441}
    expected = sum(number * (700 + 165 * (100 * span) ** 0.4) for span, number in rows.items())
    assert estimate_disk(made).parts["windows"] == pytest.approx(expected, rel=1e-3)


def test_a_week_of_the_shipped_soak_is_a_few_hundred_megabytes() -> None:
    """Three endpoints at 1100/s; most of it are windows, and readings and points are a few MB."""
    found = estimate_disk(load_plan(SHIPPED / "soak.toml"))
    assert 250e6 < found.total < 600e6
    assert found.parts["windows"] > found.total / 2
    assert found.parts["readings"] + found.parts["alerts"] < 20e6
    assert found.least < found.total


def test_ten_probes_at_five_seconds_stay_under_sixty_megabytes() -> None:
    """10 probes of 3 readings (up, uptime, restarts) are 3.6 million readings a week."""
    probes = tuple(Probe(name=f"p{n}", kind="health", http="/health", every=5.0) for n in range(10))
    found = estimate_disk(plan(7 * DAY, probes=probes))
    # 6 readings a second: 10,800 s as rows of 120 bytes, the rest (594,030 s) packed to 12.
    assert found.parts["readings"] == pytest.approx(6 * (10_800 * 120 + 594_030 * 12))
    assert found.parts["readings"] < 60e6


@given(st.floats(60, 30 * DAY), st.floats(1, 5000), st.integers(1, 20))
def test_more_of_anything_needs_more(hold: float, rate: float, endpoints: int) -> None:
    """A law: a longer run, a higher rate and more endpoints never need less; and merging never needs more."""
    found = estimate_disk(plan(hold, rate, endpoints))
    assert found.least <= found.total
    assert found.total <= estimate_disk(plan(hold * 1.5, rate, endpoints)).total
    assert found.total <= estimate_disk(plan(hold, rate * 1.5, endpoints)).total
    assert found.total <= estimate_disk(plan(hold, rate, endpoints + 1)).total * (1 + 1e-9)


def test_a_plan_without_a_mix_has_some_endpoints() -> None:
    """Nobody knows how many, so it is taken to have five."""
    assert estimate_disk(plan(DAY, endpoints=0)).total == pytest.approx(
        estimate_disk(plan(DAY, endpoints=5)).total
    )


def test_the_budget_is_the_plans_own_or_the_estimate() -> None:
    """A stated one is what the run is held to."""
    assert disk_budget(plan(DAY, results=Results(budget=400_000_000))) == 400_000_000
    made = plan(DAY)
    assert disk_budget(made) == pytest.approx(estimate_disk(made).total, abs=1)


def test_sizes_are_told_with_two_digits() -> None:
    """An estimate has no more."""
    assert [about(size) for size in (0, 999, 483_200_000, 1_060_000)] == ["0B", "1kB", "480MB", "1.1MB"]


@pytest.mark.parametrize(
    ("text", "fault"), [("400", "no unit"), ("1MB", "less than 20MB"), ("many", "not a size")]
)
def test_a_budget_is_a_size(text: str, fault: str) -> None:
    """With a unit, and no less than any run takes."""
    with pytest.raises(ValueError, match=fault):
        Results.model_validate({"budget": text}, context={"toml": True})


def test_the_database_gets_what_the_rest_of_the_folder_leaves_of_the_budget() -> None:
    """A day at 100/s: readings and rules are none; two logs of 1 MB, and half of the write-ahead logs."""
    made = plan(DAY)
    parts = estimate_disk(made).parts
    left = disk_budget(made) - parts["logs"] - parts["write-ahead logs"] / 2
    assert database_budget(made) == pytest.approx(left, abs=1)


def test_a_budget_that_is_small_leaves_the_database_half_of_it() -> None:
    """Of 30 MB, logs and a write-ahead log would leave less than 15."""
    assert database_budget(plan(7 * DAY, results=Results(budget=30_000_000))) == 15_000_000


def test_a_short_run_without_a_budget_has_none_to_keep_to() -> None:
    """Nothing of a gate is merged early because its estimate was low; one that is stated is kept to."""
    assert database_budget(plan(1200)) is None
    assert database_budget(plan(1200, results=Results(budget=30_000_000))) is not None


def test_a_week_as_it_is_stored_is_merged_no_earlier_than_planned() -> None:
    """280 MB are what the shipped soak may come to; merging early begins at four fifths of the budget."""
    made = load_plan(SHIPPED / "soak.toml")
    budget = database_budget(made)
    assert budget is not None
    assert level_of(Disk(used=int(280e6), free=10**12, budget=budget)) == 0
