"""docs/alerts.md lists every key of the rules, and the constants of burn rates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadgate.plan.alert_files import read_rules
from loadgate.plan.alerts import AlertEntry
from loadgate.plan.burn import SHORT, SHORTEST, SPEEDS, Burn, least_run, pairs_of
from loadgate.plan.fields import PlanModel
from loadgate.plan.strict import keys_of
from loadgate.plan.units import format_duration, format_number, format_share
from loadgate.watch.alert_cases import Expected, GivenSeries

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table whose first heading is this."""
    table = PAGE.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    ("head", "model"),
    [
        ("key", AlertEntry),
        ("key of `burn`", Burn),
        ("key of `[[series]]`", GivenSeries),
        ("key of `[[expect]]`", Expected),
    ],
)
def test_every_key_has_its_row(head: str, model: type[PlanModel]) -> None:
    """The same keys, none more."""
    assert {row[0].strip("`") for row in rows(head)} == set(keys_of(model))
    assert all(field.description for field in model.model_fields.values())


def test_the_constants_are_those_of_the_code() -> None:
    """Share, windows and factor of each pair; what a week makes of them; and the shortest run."""
    week = {pair.speed: pair for pair in pairs_of(604_800.0, 0.001, ("fast", "medium", "slow"))}
    found = {row[0]: row[1:] for row in rows("pair")}
    assert set(found) == set(SPEEDS)
    for speed, (share, part) in SPEEDS.items():
        assert found[speed] == [
            format_share(share),
            f"T / {round(1 / part)}",
            f"T / {round(1 / part / SHORT)}",
            format_number(week[speed].factor),
            f"{format_duration(week[speed].long)} and {format_duration(week[speed].short)}",
            format_duration(round(least_run((speed,)), 3)),
        ]
    assert "under 10 s" in PAGE
    assert SHORTEST == 10.0


def test_every_shipped_rule_is_told_with_its_severity() -> None:
    """The table of the shipped rules is the file."""
    path = ROOT / "scenarios" / "alerts" / "staging.toml"
    entries = [entry for _, entry in read_rules(path, str(path)).entries]
    assert [(row[0].strip("`"), row[2].partition(":")[0]) for row in rows("rule")] == [
        (entry.name, entry.severity) for entry in entries
    ]
