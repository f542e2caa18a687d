"""Objectives on the readings of commands, logs, Prometheus queries and counters; restarts as findings."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.findings import find_all
from loadgate.judge.readings import reading
from loadgate.judge.results import Grade

PROM = {"kind": "prometheus", "http": "http://prom:9090"}
COMMAND = {"kind": "command", "command": ("queue",)}
LOG = {"kind": "log", "file": "service.log", "pattern": "ERROR"}


@pytest.mark.parametrize(
    ("name", "more", "metric", "target", "good", "bad"),
    [
        ("prom", PROM | {"values": {"queue": "q"}}, "prom.queue", "< 10", 3.0, 30.0),
        ("prom", PROM | {"values": {"memory": "m"}}, "memory", "< 500MB", 4e8, 6e8),
        ("prom", PROM | {"values": {"cpu": "c"}}, "cpu", "< 50%", 0.2, 0.9),
        ("queue", COMMAND, "queue.value", "< 5ms", 0.001, 0.02),
        ("queue", COMMAND, "queue.exit_status", "<= 0", 0.0, 3.0),
        ("queue", COMMAND | {"values": {"length": "n"}}, "queue.length", "< 10", 3.0, 30.0),
        ("log", LOG, "log.total", "<= 0", 0.0, 1.0),
        ("log", LOG, "log.matches", "<= 0", 0.0, 1.0),
        (
            "jobs",
            {"kind": "json", "http": "/x", "values": {"done": "d"}, "counters": ("done",)},
            "jobs.done_rate",
            "> 5",
            6.0,
            1.0,
        ),
    ],
)
def test_each_kind_of_reading_can_be_judged(
    make: Any, name: str, more: Any, metric: str, target: str, good: float, bad: float
) -> None:
    """Good throughout passes, bad throughout fails, and a silent probe is INVALID, never green."""
    row = make.objective(metric, target)
    probe = make.probe(name, **more)
    read = metric.partition(".")[2] or metric
    for value, grade in ((good, Grade.PASS), (bad, Grade.FAIL), (None, Grade.INVALID)):
        readings = make.readings(name, read, [value] * 30)
        assert reading(row, make.evidence(row, probes=[probe], readings=readings)).verdict is grade


def test_a_reading_that_its_kind_does_not_have_is_invalid(make: Any) -> None:
    """As the plan's own check says before the run."""
    row = make.objective("log.errors", "<= 0")
    found = reading(row, make.evidence(row, probes=[make.probe("log", **LOG)]))
    assert found.verdict is Grade.INVALID
    assert "no probe named log that reads errors" in found.reason


def test_a_restart_that_probes_saw_is_a_finding(make: Any) -> None:
    """In any phase, each one; a cache's counters have a finding of their own."""
    readings = [
        *make.readings("health", "uptime", [100.0, 200.0, 5.0, 105.0], start=0.0),
        *make.readings("process", "restarts", [0.0, None, 1.0, 1.0], start=0.5),
        *make.readings("cache", "hits", [5.0, 6.0, 1.0, 2.0], start=20.0),
        *make.readings("cache", "misses", [5.0, 6.0, 1.0, 2.0], start=20.0),
    ]
    probes = [
        make.probe("health", http="/health"),
        make.probe("process", process="listening"),
        make.probe("cache", http="/stats"),
    ]
    evidence = make.evidence(probes=probes, readings=readings)
    found = [item for item in find_all(evidence, [], void=False) if item.kind == "target_restart"]
    assert [item.message.partition(":")[0] for item in found] == [
        "the cache counters of probe cache went down at run time 22s",
        "the target restarted, as probe health saw at run time 2s",
        "the target restarted, as probe process saw at run time 2.5s",
    ]
    assert found[1].detail == {"at": 2.0, "probe": "health", "sign": "uptime went back from 200 to 5"}
