"""Stored runs with a plan and a verdict, made by the store's writer: no load, no service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run

SECONDS = 10
RATE = 100
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
SLA = Objective.model_validate(
    {"metric": "response_time", "endpoint": "emotion", "target": "< 1s", "every": 10.0}
)


def plan(**traffic: Any) -> Plan:
    """Return a plan of ten seconds at 100/s."""
    scenario = {
        "name": "load",
        "locustfile": "/somewhere/staging.py",
        "host": "http://127.0.0.1:3000",
        "traffic": {
            "users": 10,
            "arrivals": "constant",
            "mix": {"emotion": 1.0},
            "stages": [{"rate": float(RATE), "hold": float(SECONDS)}],
            **traffic,
        },
    }
    files = {"/somewhere/staging.py": "a" * 64}
    return Plan(scenario=Scenario.model_validate(scenario), objectives=(SLA,), files=files)


def make_run(
    root: Path,
    number: int,
    ms: float = 20.0,
    *,
    failed: int = 0,
    endpoint: str = "emotion",
    ended: str = "planned",
    changes: Mapping[str, Any] | None = None,
    planned: Plan | None = None,
    verdict: bool = True,
) -> RunFolder:
    """Store and judge the run of minute `number`: lognormal latencies around `ms`, `failed` a second.

    `changes` replace values of its `run` table.
    """
    moment = START + timedelta(minutes=number)
    run = create_run(root, "load", moment)
    planned = planned or plan()
    run.plan.write_bytes(planned.to_json())
    draw = np.random.default_rng(7)
    rows = [_second(second, ms, failed, endpoint, draw) for second in range(SECONDS)]
    values = {
        "id": run.id,
        "scenario": "load",
        "plan": json.loads(planned.to_json()),
        "host": "http://127.0.0.1:3000",
        "anchor": {"monotonic": 100.0, "wall": moment.timestamp(), "boot_id": "0"},
        "started_at": moment.isoformat(),
        "ended": ended,
        "ended_at_run_time": float(SECONDS),
        "mode": "distributed",
        "model": "open",
        "flushed": True,
        "versions": {"loadgate": "0.1.0"},
        "machine": {"node": "here", "system": "Linux", "cores": 2},
        "workers_expected": 1,
        **(changes or {}),
    }
    delta = Delta(run.id, "w1", 0, 1, [row[0] for row in rows], [], [row[1] for row in rows])
    with open_writer(run.database) as writer:
        writer.commit([delta], run_values=values)
    if verdict:
        write(run, judge(gather(run), now=moment))
    return run


def _second(
    second: int, ms: float, failed: int, endpoint: str, draw: np.random.Generator
) -> tuple[Window, FleetRow]:
    took, lag = Histogram(), Histogram()
    ok = RATE - failed
    micros = np.maximum(1, ms * 1000 * draw.lognormal(0.0, 0.2, ok)).astype(np.int64)
    took.record_many(micros)
    lag.record(100, ok)
    series = {"response.ok": took, "service.ok": took.copy(), "start_lag": lag}
    counts = {"arrivals": RATE, "ok": ok, "failed": failed}
    slow = int((micros > 1_000_000).sum())
    over = {"response.ok>1000000": slow, "service.ok>1000000": slow}
    window = Window(second, 1, endpoint, "steady", counts, series, over)
    total = RATE * (second + 1)
    row = FleetRow(second, "w1", total, total, total, 0, 10, 0.1, 60_000_000, 100.0, 100.0, 500.0)
    return window, row
