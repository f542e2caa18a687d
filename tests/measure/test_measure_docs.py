"""The page of recorded series and counts is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.measure import layout, records
from loadgate.measure.window import Count, Series

PAGE = Path(__file__).parents[2] / "docs" / "measurement.md"


@pytest.mark.parametrize("name", [*Series, *Count])
def test_docs_name_each_series_and_count_with_its_unit(name: str) -> None:
    """Each has a row of a table: its name, its unit and its meaning."""
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    _, _, unit, meaning, _ = rows[0]
    assert unit.strip()
    assert meaning.strip()


def test_docs_name_nothing_else() -> None:
    """The tables of series and counts hold no name that is no longer recorded."""
    names = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")}
    assert names == {*map(str, Series), *map(str, Count)}


def test_docs_give_the_range() -> None:
    """The range, the number of counters and the limits on the page are those of the code."""
    text = PAGE.read_text()
    assert f"{layout.COUNTERS:,} counters" in text
    assert f"{layout.HIGHEST_US:,} µs" in text
    assert records.EARLY_S == 1e-3
    assert "more than 1 ms before" in text
