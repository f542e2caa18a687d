"""What the verdicts of one run say together: never more than the run's own table does."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.campaign_facts import RowFacts
from loadgate.judge.campaign_verdicts import Said, is_by_own_table, said

NAME = "emotion.response_time"
ROW = {
    "name": NAME,
    "metric": "response_time",
    "endpoint": "emotion",
    "statistic": "p95",
    "every": 10.0,
    "for": 60.0,
    "latency_on": "adjusted",
    "alert": None,
}
PLAN = {
    "scenario": {"verdict": {"optional": []}},
    "objectives": [ROW | {"target": {"op": "<", "text": "< 1s", "value": 1.0}}],
}


def verdict(grade: str, *grades: str, target: str = "< 1s", **changes: Any) -> dict[str, Any]:
    """Return a verdict of rows of the plan's name, all by a target."""
    row = ROW | {"target": target, "value_text": "20ms", "optional": False} | changes
    rows = [row | {"verdict": one} for one in grades or (grade,)]
    return {"verdict": grade, "reasons": [grade], "steady_seconds": 10.0, "objectives": rows}


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "< 100s"},
        {"statistic": "p50"},
        {"every": 60.0},
        {"for": 600.0},
        {"endpoint": "creative"},
        {"latency_on": "service"},
        {"alert": "> 9s"},
        {"optional": True},
        {"name": "other"},
    ],
)
def test_a_table_with_another_row_is_another_table(changes: dict[str, Any]) -> None:
    """Whatever differs may make it laxer."""
    assert is_by_own_table(verdict("PASS"), PLAN)
    assert not is_by_own_table(verdict("PASS", **changes), PLAN)


def test_a_table_with_more_or_fewer_rows_is_another_table() -> None:
    """Also one that has a row twice."""
    assert not is_by_own_table(verdict("PASS", "PASS", "PASS"), PLAN)
    assert not is_by_own_table(verdict("PASS") | {"objectives": []}, PLAN)


@pytest.mark.parametrize("grade", ["PASS", "WARN", "INCONCLUSIVE", "INVALID"])
def test_another_table_alone_judges_nothing(grade: str) -> None:
    """The run is one that nobody judged."""
    assert said([verdict(grade, target="< 100s")], PLAN) == Said()


def test_a_fail_by_another_table_counts_and_leaves_the_own_rows_open() -> None:
    """Its other rows show nothing: the plan's own row was not judged."""
    stricter = verdict("FAIL", name="other", target="< 1ms")
    found = said([stricter], PLAN)
    assert found.verdict == "FAIL"
    assert found.rows == (
        RowFacts(NAME, "INVALID", "not judged", "< 1s"),
        RowFacts("other", "FAIL", "20ms", "< 1ms"),
    )


def test_the_worst_counts_with_the_rows_of_the_own_table() -> None:
    """PASS by its own table and a laxer row in one that is INCONCLUSIVE, or WARN, and PASS in a laxer one."""
    lax = verdict("INCONCLUSIVE", "PASS", target="< 100s")
    assert said([verdict("PASS"), lax], PLAN).verdict == "INCONCLUSIVE"
    found = said([lax, verdict("WARN")], PLAN)
    assert found.verdict == "INCONCLUSIVE"
    assert found.rows == (RowFacts(NAME, "WARN", "20ms", "< 1s"),)
