"""What differs between two plans is named by its key, and nothing else is."""

from __future__ import annotations

from pathlib import Path

from loadgate.plan.differences import differences
from loadgate.plan.plan import Plan
from loadgate.plan.problems import Problem
from loadgate.plan.scenario import Http, Scenario, Stage, Traffic


def plan(*, host: str = "http://127.0.0.1", users: int = 4, team: str = "a", hold: float = 60.0) -> Plan:
    traffic = Traffic(stages=(Stage(rate=50.0, hold=hold),), users=users)
    http = Http(headers={"X-Team": team})
    return Plan(
        scenario=Scenario(name="s", locustfile=Path("none.py"), host=host, traffic=traffic, http=http)
    )


def test_equal_plans_do_not_differ() -> None:
    """Nor do those that were only read from other text, or told other warnings."""
    read = plan().model_copy(update={"files": {"s.toml": "0"}, "warnings": (Problem("s.toml", "", "hm"),)})
    assert differences(plan(), read) == []
    assert differences(plan(), Plan.from_json(plan().to_json())) == []


def test_each_key_that_differs_is_named_with_both_values() -> None:
    """In the order of their names; stages count from 1."""
    assert differences(plan(), plan(host="http://b", users=8, hold=30.0)) == [
        "host: http://127.0.0.1 and http://b",
        "traffic.stages[1].hold: 60.0 and 30.0",
        "traffic.users: 4 and 8",
    ]


def test_a_header_that_differs_is_named_without_its_values() -> None:
    """They may be secrets."""
    assert differences(plan(team="one"), plan(team="two")) == ["http.headers.X-Team differs"]


def test_a_trace_that_holds_something_else_differs() -> None:
    """Its path is the same, and its arrivals are not."""
    traffic = Traffic(arrivals="trace", trace=Path("/t.csv"), users=1)
    scenario = plan().scenario.model_copy(update={"traffic": traffic})
    one = Plan(scenario=scenario, files={"/t.csv": "11"})
    other = Plan(scenario=scenario, files={"/t.csv": "22"})
    assert differences(one, other) == ["trace_sha256: 11 and 22"]
