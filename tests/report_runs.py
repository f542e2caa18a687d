"""Whole stored runs for the reports: made by the store's own writers and judged, without load or service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.annotations import Annotation, annotate
from loadgate.store.database import LedgerRow, open_writer
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.watch import AlertChange, Reading, WatchWriter
from loadgate.store.writer import Event

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
MS = {"emotion": 12.0, "creative": 60.0, "reasoning": 28.0}
RATE = {"emotion": 50, "creative": 20, "reasoning": 30}
ROWS: Sequence[Mapping[str, Any]] = (
    {"metric": "response_time", "endpoint": "emotion", "target": "< 50ms", "alert": "> 200ms", "every": 10.0},
    {
        "metric": "response_time",
        "endpoint": "creative",
        "target": "< 200ms",
        "alert": "> 500ms",
        "every": 10.0,
    },
    {
        "metric": "response_time",
        "endpoint": "reasoning",
        "target": "< 100ms",
        "alert": "> 300ms",
        "every": 10.0,
    },
    {"metric": "error_rate", "target": "< 1%", "alert": "> 5%", "every": 10.0},
    {"metric": "throughput", "target": ">= 90/s", "alert": "< 50/s", "every": 10.0},
    {"metric": "cache_hit_rate", "target": "> 60%", "alert": "< 30%", "every": 10.0},
)
SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u2028"
"""What a hostile target may answer."""


def plan(name: str, ramp: int, steady: int, rows: Iterable[Mapping[str, Any]] = ROWS) -> Plan:
    """Return a plan of a ramp to 100/s, and that rate for `steady` seconds."""
    scenario = {
        "name": name,
        "locustfile": "/somewhere/staging.py",
        "host": "http://127.0.0.1:3000",
        "traffic": {
            "users": 40,
            "arrivals": "constant",
            "mix": {name: float(rate) for name, rate in RATE.items()},
            "stages": [{"rate": 100.0, "ramp": float(ramp), "hold": float(steady)}],
        },
    }
    objectives = tuple(Objective.model_validate(dict(row)) for row in rows)
    return Plan(scenario=Scenario.model_validate(scenario), objectives=objectives, files={})


def window(
    second: int,
    endpoint: str,
    draw: np.random.Generator,
    *,
    slow: float = 1.0,
    failed: int = 0,
    phase: str = "steady",
) -> Window:
    """Return one second of an endpoint: lognormal latencies, with a part of them waiting for a user first."""
    rate = RATE.get(endpoint, 10)
    ok = rate - failed
    service = np.maximum(1, 1000 * MS.get(endpoint, 20.0) * slow * draw.lognormal(0.0, 0.35, ok)).astype(
        np.int64
    )
    response = service + draw.exponential(400 * slow, ok).astype(np.int64)
    hits = int(ok * 0.7)
    found = {
        name: Histogram()
        for name in ("response.ok", "service.ok", "start_lag", "response.hit", "response.miss")
    }
    found["response.ok"].record_many(response)
    found["service.ok"].record_many(service)
    found["start_lag"].record(120, ok)
    found["response.hit"].record_many(np.sort(response)[:hits])
    found["response.miss"].record_many(np.sort(response)[hits:])
    counts = {"arrivals": rate, "ok": ok, "failed": failed, "hits": hits, "misses": ok - hits}
    counts |= {"repeat_hits": hits, "repeat_misses": max(0, int(ok * 0.8) - hits)}
    over = {
        f"{series}>{limit}": int((values > limit).sum())
        for series, values in (("response.ok", response), ("service.ok", service))
        for limit in (50_000, 100_000, 200_000, 300_000, 500_000)
    }
    return Window(
        second, 1, endpoint, phase, counts, {key: one for key, one in found.items() if one.total}, over
    )


def fleet_row(second: int, total: int, worker: str = "w1", cpu: float = 0.2) -> FleetRow:
    """Return a worker's row of a second, with `total` requests so far."""
    return FleetRow(second, worker, total, total, total, 4, 20, cpu, 60_000_000, 120.0, 300.0, 900.0)


def make(
    root: Path,
    name: str = "gate",
    *,
    ramp: int = 5,
    steady: int = 60,
    slow: float = 1.0,
    failing: bool = False,
    invalid: bool = False,
    with_watch: bool = True,
    judged: bool = True,
    minute: int = 0,
) -> RunFolder:
    """Store a run and judge it: good as it stands, of a target that fails half-way, or with a lost worker."""
    moment = START.replace(minute=minute)
    run = create_run(root, name, moment)
    planned = plan(name, ramp, steady)
    run.plan.write_bytes(planned.to_json())
    draw = np.random.default_rng(7)
    end = ramp + steady
    windows, rows, ledger = _measured(ramp, end, draw, slow, failing=failing, invalid=invalid)
    events = [
        Event(0.0, "worker_joined", {"worker": "w1"}),
        Event(float(end), "draining", {"ended": "planned"}),
    ]
    with open_writer(run.database) as writer:
        delta = Delta(run.id, "w1", 0, 1, windows, _failures(end) if failing else [], rows)
        values = _values(run.id, planned, moment, end)
        writer.commit([delta], run_values=values, events=events, ledger=ledger)
    if with_watch:
        _watch(run, end, draw, failing=failing)
    if judged:
        write(run, judge(gather(run), now=moment))
    return run


def _measured(
    ramp: int, end: int, draw: np.random.Generator, slow: float, *, failing: bool, invalid: bool
) -> tuple[list[Window], list[FleetRow], list[LedgerRow]]:
    """Return what two workers told of each second: a bad quarter of a minute, or eight dead seconds."""
    windows: list[Window] = []
    rows: list[FleetRow] = []
    ledger, seconds = [], 0
    for second in range(end):
        bad = failing and end // 2 <= second < end // 2 + 15
        dead = invalid and end // 2 <= second < end // 2 + 8
        phase = "ramp" if second < ramp else "steady"
        ledger.append(LedgerRow(second, 2, 1 if dead else 2, 0, int(dead), 40 if dead else 0))
        if dead:
            continue
        seconds += 1
        rows += [fleet_row(second, 50 * seconds, "w1"), fleet_row(second, 50 * seconds, "w2", 0.35)]
        for endpoint in RATE:
            much = slow * (9.0 if bad and endpoint == "creative" else 1.0)
            failed = 40 if bad and endpoint == "emotion" else 0
            windows.append(window(second, endpoint, draw, slow=much, failed=failed, phase=phase))
    return windows, rows, ledger


def _failures(end: int) -> list[Failure]:
    """Return the failures of the bad stretch; their texts are hostile."""
    first, last = end / 2, end / 2 + 14.5
    away = [f"HTTP 503 {SCRIPT}"]
    busy = [SCRIPT, '{"error": "busy"}']
    return [
        Failure("emotion", "failed", "status 503", "upstream is away", 590, first, last, away),
        Failure("emotion", "failed", f"check {SCRIPT}", SCRIPT, 10, first, last, busy),
    ]


def _values(run: str, planned: Plan, moment: datetime, end: int) -> dict[str, Any]:
    """Return the run's own values, as the generator writes them."""
    return {
        "id": run,
        "scenario": planned.scenario.name,
        "plan": json.loads(planned.to_json()),
        "host": "http://127.0.0.1:3000",
        "anchor": {"monotonic": 100.0, "wall": moment.timestamp(), "boot_id": "0"},
        "started_at": moment.isoformat(),
        "ended": "planned",
        "ended_at_run_time": float(end),
        "mode": "distributed",
        "model": "open",
        "flushed": True,
        "versions": {"loadgate": "0.1.0", "locust": "2.47.0", "python": "3.11"},
        "machine": {"node": "bench-1", "system": "Linux", "cores": 8},
        "workers_expected": 2,
    }


def _watch(run: RunFolder, end: int, draw: np.random.Generator, *, failing: bool) -> None:
    """Store the readings of two probes, an alert of a run that fails, and two annotations."""
    with WatchWriter(run.watch_database) as writer:
        readings = []
        for second in range(end):
            readings.append(
                Reading(second + 0.5, "target", "cpu", float(0.3 + 0.1 * draw.random()), "", 0.01)
            )
            readings.append(Reading(second + 0.5, "target", "memory", 3.0e8 + second * 2e5, "", 0.01))
            up = None if failing and 40 < second < 44 else 1.0
            readings.append(
                Reading(second + 0.7, "health", "up", up, "timed out" if up is None else "", 0.01)
            )
        writer.readings(readings)
        if failing:
            fired = end / 2 + 5
            text = f"error_rate is 8% <b>{SCRIPT}"
            writer.alert(
                AlertChange(fired, "errors", "critical", "firing", 0.08, {"text": text, "limit": "> 5%"})
            )
            writer.alert(
                AlertChange(fired + 20, "errors", "critical", "resolved", 0.0, {"text": "fine again"})
            )
    annotate(run, Annotation(end * 0.3, START.isoformat(), "note", "cache was emptied"))
    annotate(
        run,
        Annotation(end * 0.45, START.isoformat(), "deployment", "release <script>window.hacked = 1</script>"),
    )
