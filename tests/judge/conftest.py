"""Evidence made by hand: a run of 30 s of steady load, all of it good, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from loadgate.judge.evidence import Evidence
from loadgate.judge.slots import Interval
from loadgate.measure.delta import FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.scenario import Probe
from loadgate.plan.sla import Objective
from loadgate.store.watch import Reading

START, END = 10, 40


class Make:
    """Builders of evidence; times are run seconds, latencies whole milliseconds."""

    def objective(self, metric: str = "response_time", target: str = "< 50ms", **more: Any) -> Objective:
        """Return a row of the table, `every` 10 s unless it says otherwise."""
        return Objective.model_validate({"metric": metric, "target": target, "every": 10.0, **more})

    def window(
        self,
        second: int,
        ok_ms: Mapping[int, int] | None = None,
        *,
        endpoint: str = "emotion",
        phase: str = "steady",
        over_ms: Sequence[int] | None = None,
        lag_us: int = 100,
        **counts: int,
    ) -> Window:
        """Return a second with `ok_ms` (latency in ms: how many) and other endings, its books balanced.

        `over_ms` are the limits whose exact over-counts it carries.
        """
        ok_ms = ok_ms or {}
        histogram, lag = Histogram(), Histogram()
        for latency, number in ok_ms.items():
            histogram.record(latency * 1000, number)
        ok = sum(ok_ms.values())
        lag.record(lag_us, ok)
        endings = ("failed", "timeout", "unsent_pool", "unsent_generator", "unfinished", "lost")
        ended = ok + sum(counts.get(name, 0) for name in endings)
        over = {}
        for limit in over_ms or ():
            number = sum(n for latency, n in ok_ms.items() if latency > limit)
            over[f"response.ok>{limit * 1000}"] = over[f"service.ok>{limit * 1000}"] = number
        histograms = (
            {"response.ok": histogram, "service.ok": histogram.copy(), "start_lag": lag} if ok else {}
        )
        return Window(second, 1, endpoint, phase, {"arrivals": ended, "ok": ok, **counts}, histograms, over)

    def steady(self, ok_ms: Mapping[int, int], **more: Any) -> list[Window]:
        """Return the same second for the whole of the steady phase."""
        return [self.window(second, ok_ms, **more) for second in range(START, END)]

    def fleet(self, seconds: Iterable[int], worker: str = "worker-1", **changes: Any) -> list[FleetRow]:
        """Return a healthy worker's rows of some seconds."""
        values: dict[str, Any] = {
            "offered": 100,
            "started": 100,
            "finished": 100,
            "in_flight": 2,
            "users": 10,
            "cpu": 0.2,
            "rss": 50_000_000,
            "start_lag_p99_us": 100.0,
            "loop_lag_p99_us": 500.0,
            "loop_lag_max_us": 900.0,
        }
        return [FleetRow(second=second, worker=worker, **{**values, **changes}) for second in seconds]

    def probe(self, name: str, every: float = 1.0, **more: Any) -> Probe:
        """Return a probe that reads every second unless told otherwise."""
        return Probe.model_validate({"name": name, "every": every, **more})

    def readings(
        self,
        probe: str,
        reading: str,
        values: Sequence[float | None],
        *,
        start: float = 10.0,
        every: float = 1.0,
    ) -> list[Reading]:
        """Return readings from `start` on; None is an attempt that failed."""
        return [
            Reading(
                start + index * every, probe, reading, value, "" if value is not None else "timed out", 0.01
            )
            for index, value in enumerate(values)
        ]

    def evidence(self, *objectives: Objective, **changes: Any) -> Evidence:
        """Return a run of 100 good requests a second, each of 20 ms, with what a test changes in it."""
        values: dict[str, Any] = {
            "run": "gate-20261122-203512",
            "scenario": "gate",
            "objectives": objectives,
            "planned": (Interval(START, END),),
            "steady": (Interval(START, END),),
            "windows": tuple(self.steady({20: 100})),
            "fleet": tuple(self.fleet(range(START, END))),
            "anchor_wall": 1_795_379_712.0,
            "ended_at": 42.0,
            "host": "http://127.0.0.1:3000",
        }
        merged = {**values, **changes}
        for name in ("windows", "fleet", "readings", "probes", "events", "steady", "planned"):
            merged[name] = tuple(merged.get(name, ()))
        return Evidence(**merged)


@pytest.fixture(scope="session")
def make() -> Make:
    """Give the builders of evidence."""
    return Make()


@pytest.fixture(scope="session")
def evidence(make: Make) -> Callable[..., Evidence]:
    """Give the builder of a good run."""
    return make.evidence
