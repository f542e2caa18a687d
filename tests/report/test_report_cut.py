"""Long lists of rows are cut for people: nothing bad is cut for something better, and what is cut is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.report.cut import left_out, worst_first

WORDS = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS")


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.integers(0, 30))
def test_nothing_that_is_cut_is_worse_than_what_is_shown(words: list[str], most: int) -> None:
    """By the order FAIL, INVALID, INCONCLUSIVE, WARN, PASS, wherever a list is cut."""
    ordered = worst_first(words, str)
    assert sorted(ordered) == sorted(words)
    for cut in ordered[most:]:
        assert all(WORDS.index(shown) <= WORDS.index(cut) for shown in ordered[:most])


def test_equals_stay_in_the_order_of_the_table() -> None:
    """And a word that is no verdict is never cut: it comes before all."""
    given_rows = [("PASS", 1), ("FAIL", 2), ("what", 3), ("FAIL", 4), ("PASS", 5)]
    assert [n for _, n in worst_first(given_rows, lambda row: row[0])] == [3, 2, 4, 1, 5]


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([], ""),
        (["PASS"], "and 1 more row, none worse"),
        (["PASS", "WARN", "PASS"], "and 3 more rows: 1 WARN, 2 PASS"),
        (["FAIL", "FAIL"], "and 2 more rows: 2 FAIL"),
    ],
)
def test_what_is_left_out_is_told_by_its_verdicts(verdicts: list[str], said: str) -> None:
    """The kind word only where all of them pass."""
    assert left_out(verdicts, passing="none worse") == said
