"""The reference page lists every key."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.plan.drift import Drift
from loadgate.plan.fields import PlanModel
from loadgate.plan.results import Results
from loadgate.plan.scenario import Generator, Http, Probe, Scenario, Stage, Traffic, VerdictPolicy
from loadgate.plan.sla import METRICS, Limit, Objective
from loadgate.plan.smoke import Smoke, SmokeRequest
from loadgate.plan.soak import Soak
from loadgate.plan.strict import keys_of
from loadgate.plan.units import BYTE_UNITS, DURATION_UNITS

PAGE = (Path(__file__).parents[2] / "docs" / "plans.md").read_text()


def section(heading: str) -> str:
    """Return the text below a heading, up to the next one."""
    text = PAGE.split(f"\n{heading}\n", 1)[1]
    return text.split("\n#", 1)[0]


def rows(heading: str) -> list[str]:
    """Return the first cells of a section's table, but for its heading."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| `")]
    return [line.split("|")[1].strip().strip("`") for line in lines]


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## Scenario", Scenario),
        ("### [traffic]", Traffic),
        ("### [[traffic.stages]]", Stage),
        ("### [http]", Http),
        ("### [verdict]", VerdictPolicy),
        ("### [generator]", Generator),
        ("### [[probes]]", Probe),
        ("### [[drift]]", Drift),
        ("### [results]", Results),
        ("### [smoke]", Smoke),
        ("### [soak]", Soak),
        ("### [[smoke.request]]", SmokeRequest),
        ("## SLA table", Objective),
    ],
)
def test_every_key_has_its_row(heading: str, model: type[PlanModel]) -> None:
    """In the order of the models or not: the same keys, none more (the metrics follow the objective's)."""
    found = set(rows(heading)) - (set(METRICS) | {"probe.reading"} if model is Objective else set())
    assert found == set(keys_of(model))


def test_every_metric_has_its_row() -> None:
    """And so has a probe's reading."""
    assert {*METRICS, "probe.reading"} <= set(rows("## SLA table"))


def test_the_parts_of_a_limit_are_named() -> None:
    """They are seen in the snapshot."""
    assert all(f"`{key}`" in section("## SLA table") for key in keys_of(Limit))


def test_every_unit_is_listed() -> None:
    """Durations and sizes."""
    text = section("## Quantities")
    assert all(f"`{unit}`" in text for unit in [*DURATION_UNITS, *BYTE_UNITS])


@pytest.mark.parametrize(
    "model",
    [
        Scenario,
        Traffic,
        Stage,
        Http,
        VerdictPolicy,
        Generator,
        Probe,
        Objective,
        Drift,
        Results,
        Smoke,
        SmokeRequest,
        Soak,
    ],
)
def test_every_key_says_what_it_is(model: type[PlanModel]) -> None:
    """Hints are made from the descriptions."""
    assert all(field.description for field in model.model_fields.values())
