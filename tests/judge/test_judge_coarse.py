"""Seconds that a worker merged itself cannot be divided between the windows of an objective."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadgate.errors import StoreError
from loadgate.judge.gather import gather
from loadgate.judge.objectives import evaluate
from loadgate.judge.results import Grade
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.blocks import Horizon
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder

LIMITS_US = (50_000, 100_000)


def row(**more: Any) -> Objective:
    """Return p95 < 50 ms, judged every 5 s."""
    base = {"metric": "response_time", "statistic": "p95", "target": "< 50ms", "alert": "> 100ms"}
    return Objective.model_validate({**base, "every": 5.0, "for": 10.0, **more})


def window(second: int, span: int, quick: int, slow: int = 0) -> Window:
    """Return a row of requests of 10 ms and of 500 ms."""
    made = Window(second, span, "a", "steady")
    histogram = Histogram()
    histogram.record_many([10_000] * quick + [500_000] * slow)
    for clock in ("response", "service"):
        made.histograms[f"{clock}.ok"] = histogram
        made.over |= {f"{clock}.ok>{limit}": slow for limit in LIMITS_US}
    made.add("arrivals", quick + slow)
    made.add("ok", quick + slow)
    return made


def write(path: Path, objective: Objective, long: Window | None) -> RunFolder:
    """Write 600 s of 20 requests each; `long` stands in the place of its seconds."""
    stages = [{"rate": 20.0, "hold": 600.0}]
    scenario = Scenario.model_validate(
        {
            "name": "soak",
            "locustfile": "staging.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {"users": 10, "stages": stages},
        }
    )
    plan, run = Plan(scenario=scenario, objectives=(objective,)), RunFolder(path)
    path.mkdir(parents=True)
    covered = range(long.second, long.end) if long else ()
    windows = [window(second, 1, 20) for second in range(600) if second not in covered]
    values = {
        "id": run.id,
        "plan": orjson.loads(plan.to_json()),
        "anchor": {"monotonic": 5.0, "wall": 1_795_379_712.0, "boot_id": "b"},
        "ended": "planned",
        "ended_at_run_time": 603,
        "flushed": True,
        "workers_expected": 1,
    }
    fleet = [FleetRow(at, "w1", at, at, at, 1, 5, 0.2, 5, 100.0, 500.0, 900.0) for at in range(603)]
    delta = Delta(run.id, "w1", 1, 1, [*windows, *([long] if long else [])], [], fleet)
    with open_writer(run.database) as writer:
        writer.commit([delta], run_values=values)
    return run


def compact(run: RunFolder) -> None:
    """Merge all rows but those of the last minutes."""
    with open_writer(run.database) as writer:
        while writer.compact(writer.latest, Horizon(60, 120)):
            pass


PATHS = ["whole", "by pieces", "merged by minutes", "merged by ten seconds"]


def read(run: RunFolder, path: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Judge the one row of a run that is read in one of four ways."""
    if path == "by pieces":
        monkeypatch.setattr("loadgate.judge.digest.MOST_ROWS", 0)
    elif path != "whole":
        monkeypatch.setattr(
            "loadgate.store.compaction._MOST_ROWS", 0 if path == "merged by ten seconds" else 10**6
        )
        compact(run)
    evidence = gather(run)
    assert (evidence.digest is None) is (path == "whole")
    return evaluate(evidence.objectives[0], evidence)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("more", "long"),
    [
        ({}, window(120, 60, 1150, 50)),
        ({}, window(0, 600, 11_950, 50)),
        # Shorter than the windows, and in two of them: 115 to 130, and 130 to 145 in windows from 10 on.
        ({"every": 25.0}, window(120, 10, 150, 50)),
        ({"metric": "error_rate", "statistic": None, "target": "< 1%", "alert": None}, window(120, 60, 1200)),
        ({"metric": "throughput", "statistic": None, "target": ">= 1/s", "alert": None}, window(120, 60, 9)),
    ],
)
def test_a_row_that_lies_in_several_windows_is_too_coarse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, Any], long: Window
) -> None:
    """However the run is read: INVALID, with how long the row is, and never a PASS over the other windows."""
    given = {name: value for name, value in more.items() if value is not None}
    base = {"metric": "response_time", "statistic": "p95", "target": "< 50ms", "alert": "> 100ms"}
    kept = {name: value for name, value in base.items() if more.get(name, value) is not None}
    objective = Objective.model_validate({"every": 5.0, "for": 10.0, **kept, **given})
    result = read(write(tmp_path / "run", objective, long), path, monkeypatch)
    assert result.verdict is Grade.INVALID
    length = {10: "10s", 60: "1m", 600: "10m"}[long.span]
    assert f"the run keeps windows of {length} now" in result.reason


@pytest.mark.parametrize("path", PATHS)
def test_a_row_that_lies_in_one_window_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """50 of 1200 requests are slow: 4.2 % of the windows' minute from 120 to 180, which p95 allows."""
    run = write(tmp_path / "run", row(every=60.0), window(120, 60, 1150, 50))
    result = read(run, path, monkeypatch)
    assert "the run keeps windows" not in result.reason
    assert (result.windows, result.n) == (10, 12_000)


@pytest.mark.parametrize("path", PATHS)
def test_seconds_alone_are_never_too_coarse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """All requests took 10 ms, in 120 windows of 5 s: PASS."""
    result = read(write(tmp_path / "run", row(), None), path, monkeypatch)
    assert (result.verdict, result.windows) == (Grade.PASS, 120)


def test_a_long_row_that_comes_after_its_windows_were_kept_is_told(tmp_path: Path) -> None:
    """Windows up to second 540 are kept; a row of 535 to 595 comes then: none of its requests is passed over.

    It lies in windows that are not kept yet, which are too coarse.
    """
    run = write(tmp_path / "run", row(), None)
    compact(run)
    late = Delta(run.id, "w2", 1, 1, [window(535, 60, 100, 50)], [], [])
    with open_writer(run.database) as writer:
        writer.commit([late])
    with sqlite3.connect(run.database) as database:
        found = database.execute("SELECT start, late FROM objective_window WHERE late > 0").fetchall()
    assert found == [(535.0, 150)]
    evidence = gather(run)
    result = evaluate(evidence.objectives[0], evidence)
    assert result.verdict is Grade.INVALID
    assert "the run keeps windows of 1m now" in result.reason


@pytest.mark.parametrize("which", ["bad > 0", "n = 0"])
def test_a_kept_window_that_is_missing_is_damage(tmp_path: Path, which: str) -> None:
    """One window has slow requests, one none at all: without its row neither is taken for a quiet one."""
    run = write(tmp_path / "run", row(), None)
    with sqlite3.connect(run.database) as database:
        database.execute("DELETE FROM window WHERE second >= 200 AND second < 205")
    slow = Delta(run.id, "w2", 1, 1, [window(100, 1, 0, 3)], [], [])
    with open_writer(run.database) as writer:
        writer.commit([slow])
    compact(run)
    assert gather(run).digest is not None
    with sqlite3.connect(run.database) as database:
        assert database.execute(f"DELETE FROM objective_window WHERE {which}").rowcount == 1
    with pytest.raises(StoreError, match="107 of 108 are there"):
        gather(run)
