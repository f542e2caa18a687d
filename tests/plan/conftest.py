"""Plans on disk for the tests of `plan/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).parents[2] / "scenarios"

TABLE = """
[[objective]]
metric = "response_time"
endpoint = "emotion"
target = "< 50ms"
alert = "> 200ms"
every = "30s"

[[objective]]
metric = "throughput"
target = ">= 1000/s"
alert = "< 500/s"
every = "60s"

[[objective]]
metric = "cpu"
target = "< 50%"
alert = "> 80%"
every = "60s"
"""

SCENARIO = """
name = "load"
locustfile = "traffic.py"
sla = "sla.toml"
host = "http://127.0.0.1:3000"

[traffic]
users = 400
mix = { emotion = 5, creative = 2, reasoning = 3 }

[[traffic.stages]]
rate = "1100/s"
ramp = "30s"
hold = "10m"

[[probes]]
name = "process"
process = "listening"
every = "10s"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a scenario (with replacements), its table and its locustfile; return the scenario's path."""

    def make(*swaps: tuple[str, str], scenario: str = SCENARIO, table: str = TABLE) -> Path:
        for old, new in swaps:
            assert old in scenario or old in table, f"{old!r} is in neither file"
            scenario, table = scenario.replace(old, new), table.replace(old, new)
        (tmp_path / "traffic.py").write_text("class User: ...\n")
        (tmp_path / "sla.toml").write_text(table)
        path = tmp_path / "load.toml"
        path.write_text(scenario)
        return path

    return make


@pytest.fixture
def scenarios() -> Path:
    """Return the folder of the shipped scenarios."""
    return SCENARIOS
