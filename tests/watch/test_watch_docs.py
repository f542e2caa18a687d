"""docs/probes.md names what the probes read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.watch.parse import Reason
from loadgate.watch.probes import READINGS

PAGE = (Path(__file__).parents[2] / "docs" / "probes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "info"), [(kind, info) for kind, infos in READINGS.items() for info in infos]
)
def test_each_reading_is_in_the_page_with_its_unit(kind, info):
    """A row of the table in the section of its kind."""
    section = PAGE.split(f"\n## `{kind}`", 1)[1].split("\n## ", 1)[0]
    assert f"| `{info.name}` | {info.unit} |" in section


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_in_the_page(reason):
    """Who meets an error text can look it up."""
    assert f"| `{reason}` |" in PAGE
