"""A day of a soak, time-compressed: bounded disk and memory, and a verdict that finds the outage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "endurance.py"


@pytest.fixture(scope="module")
def day() -> dict[str, Any]:
    """Simulate a day of 3 endpoints in 720 seconds of rows: the day is 120 times shorter.

    Rows of a second stay for 60 s and those of ten for 12 min, and the outage lasts 90 s.
    """
    arguments = ["--days", "1", "--endpoints", "3", "--scale", "120", "--json"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_day_stays_within_its_bounds(day: dict[str, Any]) -> None:
    """Memory under 200 MB and flat after the first hour, in the writer and in the verdict."""
    # How long the verdict takes is for `make endurance` on an idle machine to say.
    assert [one for one in day["missed"] if "the verdict takes" not in one or "memory" in one] == []


def test_the_outage_is_found(day: dict[str, Any]) -> None:
    """Nothing answered in the middle: the error rate fails by its windows, and the verdict says when."""
    (errors,) = [row for row in day["verdict"]["verdict"]["objectives"] if row["name"] == "error_rate"]
    assert errors["verdict"] == "FAIL"
    assert errors["worst_window"]["value"] == 100
    assert 360 <= errors["worst_window"]["start"] <= 480
