"""Drift rules of a plan: what they follow, and how far is too far."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from loadgate.plan.drift import Drift, Growth, parse_stretch, usual_rules
from loadgate.plan.units import UnitError


@pytest.mark.parametrize(
    ("metric", "text", "value", "relative"),
    [
        ("memory", "50MB", 50e6, False),
        ("memory", "5%", 0.05, True),
        ("response_time", "5ms", 0.005, False),
        ("response_time", "10%", 0.1, True),
        ("cpu", "2%", 0.02, False),
        ("error_rate", "0.1%", 0.001, False),
        ("throughput", "10/s", 10.0, False),
        ("pool.depth", "3", 3.0, False),
    ],
)
def test_growth_is_in_the_unit_of_its_metric(metric: str, text: str, value: float, relative: bool) -> None:
    """A percentage is of the level, but for metrics that are shares themselves."""
    found = Growth.parse(text, metric)
    assert (found.value, found.relative) == (pytest.approx(value), relative)


@pytest.mark.parametrize(
    ("metric", "text"), [("memory", "5"), ("memory", "5ms"), ("cpu", "0%"), ("response_time", "0s")]
)
def test_other_growths_are_refused(metric: str, text: str) -> None:
    """A growth needs a unit of its metric and is more than nothing."""
    with pytest.raises(UnitError):
        Growth.parse(text, metric)


def test_a_rule_has_usual_values() -> None:
    """Latencies are followed at their p95; memory may grow by 5 %, an error rate by 0.1 points."""
    assert Drift(metric="response_time").statistic == "p95"
    assert Drift(metric="memory").growth.floor(200e6) == pytest.approx(10e6)
    assert Drift(metric="error_rate").growth.floor(0.5) == pytest.approx(0.001)
    assert Drift(metric="memory").within is None


@pytest.mark.parametrize(
    ("keys", "rising"),
    [
        ({"metric": "memory"}, True),
        ({"metric": "throughput"}, False),
        ({"metric": "disk.free"}, True),
        ({"metric": "disk.free", "limit": "> 1GB"}, False),
        ({"metric": "disk.free", "worse": "falling"}, False),
    ],
)
def test_which_way_is_worse(keys: dict[str, Any], rising: bool) -> None:
    """The rule says so, else its limit, else the metric."""
    assert Drift.model_validate(keys).rising_is_worse is rising


@pytest.mark.parametrize(
    "keys",
    [
        {"metric": "memry"},
        {"metric": "memory", "statistic": "p95"},
        {"metric": "response_time", "statistic": "p5"},
        {"metric": "memory", "limit": "1GB"},
        {"metric": "memory", "limit": "< 5ms"},
        {"metric": "memory", "growth": "5ms"},
        {"metric": "memory", "within": "0s"},
        {"metric": "memory", "exclude": ["2d"]},
        {"metric": "memory", "exclude": ["2d..1d"]},
        {"metric": "memory", "exclude": "2d..3d"},
        {"metric": "memory", "surprise": 1},
    ],
)
def test_faults_of_a_rule_are_refused(keys: dict[str, Any]) -> None:
    """Each key is held to its metric and unit."""
    with pytest.raises(ValidationError):
        Drift.model_validate(keys)


def test_numbers_without_unit_are_refused_in_a_file() -> None:
    """In TOML a quantity is text with a unit."""
    for key, value in (("limit", 1e9), ("growth", 5e7), ("within", 3600)):
        with pytest.raises(ValidationError):
            Drift.model_validate({"metric": "memory", key: value}, context={"toml": True})


def test_a_rule_survives_being_stored() -> None:
    """What a run keeps of a rule gives the rule back."""
    rule = Drift.model_validate(
        {"metric": "memory", "limit": "< 1GB", "growth": "5%", "exclude": ["1d..1d2h"], "settle": "10m"}
    )
    assert Drift.model_validate_json(rule.model_dump_json()) == rule
    assert rule.exclude == ((86_400.0, 93_600.0),)


def test_a_stretch_of_run_time() -> None:
    """From..to, each a duration."""
    assert parse_stretch("90m..2h") == (5400.0, 7200.0)


def test_a_rule_has_the_name_of_its_series() -> None:
    """As an objective has, with the statistic."""
    assert Drift(metric="response_time", endpoint="emotion").name == "emotion.response_time p95"
    assert Drift(metric="memory").name == "memory"


def test_the_usual_rules_begin_with_the_usual_metrics() -> None:
    """Whatever the order in which they are known, the others follow."""
    found = usual_rules(("pool.depth", "cpu", "memory", "error_rate"))
    assert [rule.metric for rule in found] == ["error_rate", "memory", "cpu", "pool.depth"]
