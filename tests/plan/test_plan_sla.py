"""Objectives and their limits."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from loadgate.plan.sla import Limit, Objective, named, statistic_rank
from loadgate.plan.units import UnitError


@pytest.mark.parametrize(
    ("text", "metric", "value", "unit"),
    [
        ("< 50ms", "response_time", 0.05, "ms"),
        ("<=1.5s", "service_time", 1.5, "s"),
        ("< 1m30s", "response_time", 90.0, "s"),
        ("< 0.1%", "error_rate", 0.001, "%"),
        (">= 1000/s", "throughput", 1000.0, "req/s"),
        (">= 60 req/m", "throughput", 1.0, "req/min"),
        ("< 500MB", "memory", 5e8, "MB"),
        ("< 1GiB", "memory", 2.0**30, "GiB"),
        ("< 50%", "cpu", 0.5, "%"),
        (">= 99%", "uptime", 0.99, "%"),
        ("< 40", "queue.depth", 40.0, ""),
        ("> -5", "queue.depth", -5.0, ""),
        ("< 5ms", "queue.delay", 0.005, "ms"),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_metric(text: str, metric: str, value: float, unit: str) -> None:
    """SI inside, the written unit for people; a probe's reading takes any unit or none."""
    limit = Limit.parse(text, metric)
    assert (limit.value, limit.unit) == (value, unit)


@pytest.mark.parametrize(
    ("text", "si", "shown"),
    [
        ("< 50ms", 0.042, 42.0),
        ("< 1m30s", 61.5, 61.5),
        ("< 500MB", 1.5e9, 1500.0),
        ("< 0.1%", 0.0005, 0.05),
        (">= 60/m", 2.0, 120.0),
        ("< 50ms", math.inf, math.inf),
    ],
)
def test_a_value_is_shown_in_the_unit_of_the_text(text: str, si: float, shown: float) -> None:
    """0.042 s beside "< 50ms" is 42; infinity stays infinite."""
    metric = {"%": "error_rate", "B": "memory", "m": "throughput"}.get(text[-1], "response_time")
    assert Limit.parse(text, metric).shown(si) == pytest.approx(shown)


@pytest.mark.parametrize(
    ("text", "met"), [("< 5", (True, False, False)), ("<= 5", (True, True, False)),
                      ("> 5", (False, False, True)), (">= 5", (False, True, True))]
)  # fmt: skip
def test_the_border_counts_as_the_operator_says(text: str, met: tuple[bool, ...]) -> None:
    """Below, at and above the value; NaN meets nothing."""
    limit = Limit.parse(text, "a.b")
    assert tuple(limit.met(value) for value in (4.9, 5.0, 5.1)) == met
    assert not limit.met(math.nan)


@pytest.mark.parametrize("text", ["50ms", "= 50ms", "== 50ms", "<", "< fast", "< 50", "< -1ms", "", "=< 5ms"])
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    """An operator, a number and a unit; the hint shows one for this metric."""
    with pytest.raises(UnitError, match=r'for example "< 50ms"'):
        Limit.parse(text, "response_time")


@pytest.mark.parametrize(
    ("statistic", "rank"), [("p50", 5000), ("p95", 9500), ("p99.9", 9990), ("p99.99", 9999), ("max", None)]
)
def test_percentiles_are_whole_ten_thousandths(statistic: str, rank: int | None) -> None:
    """p99.9 is 9990; the maximum and the mean have no rank."""
    assert statistic_rank(statistic) == rank


@pytest.mark.parametrize("statistic", ["p100", "p49", "p9", "99", "p99.999", "P95", "median", "", "p٩٥"])
def test_other_statistics_are_refused(statistic: str) -> None:
    """From p50 to p99.99, two decimals at most."""
    with pytest.raises((UnitError, ValidationError)):
        Objective(metric="response_time", statistic=statistic, target="< 50ms", every=30.0)


def test_names_get_the_statistic_only_where_they_collide() -> None:
    """Two percentiles of one endpoint are told apart; a name of one's own stays."""
    rows = [
        Objective(metric="response_time", endpoint="a", statistic=statistic, target="< 50ms", every=30.0)
        for statistic in ("p95", "p99")
    ]
    rows.append(Objective(metric="response_time", endpoint="b", target="< 50ms", every=30.0))
    rows.append(Objective(metric="throughput", target="> 5/s", every=30.0, name="mine"))
    names = [row.name for row in named(rows)]
    assert names == ["a.response_time.p95", "a.response_time.p99", "b.response_time", "mine"]


def test_a_row_is_meant_by_its_name_or_its_metric() -> None:
    """So `leave_out = ["response_time"]` means all of that metric."""
    row = Objective(metric="response_time", endpoint="a", target="< 50ms", every=30.0)
    assert [row.matches(word) for word in ("a.response_time", "response_time", "a", "throughput")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_for_is_a_minute_or_two_windows() -> None:
    """The larger of the two, unless it is given."""
    target = Limit.parse("< 50%", "cpu")
    assert Objective(metric="cpu", target=target, every=10.0).for_ == 60.0
    assert Objective(metric="cpu", target=target, every=300.0).for_ == 600.0
    assert Objective(metric="cpu", target=target, every=10.0, for_=20.0).for_ == 20.0
