"""What simulated workers report: made by the real recorder a few times, and packed anew for each second.

Latencies are random. Whatever workers have in common is packed once a second, since a fleet on one core has
some hundred microseconds for each of its workers.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import fields
from typing import Any, NamedTuple

import msgpack
import numpy as np

from loadgate.measure.delta import VERSION, Delta, FleetRow
from loadgate.measure.recorder import Recorder
from loadgate.measure.window import Count
from loadgate.plan.timeline import PHASES
from loadgate.swarm import messages

ENDPOINTS = ("emotion", "creative", "reasoning")
THRESHOLDS_US = (50_000, 200_000)
"""Limits over which requests are counted, as an SLA table with a target and an alert makes a worker do."""
STATS_EVERY = 3.0
"""Seconds between two of Locust's own reports."""
_STEADY = PHASES.index("steady")
_TEMPLATES = 16


class Template(NamedTuple):
    """One worker's second: what its delta holds of windows, as plain values, and how many requests."""

    windows: dict[str, Any]
    requests: int


def templates(requests: int, number: int = _TEMPLATES) -> list[Template]:
    """Record seconds of so many requests to each endpoint, with log-normal latencies around 40 ms."""
    return [_template(requests, seed) for seed in range(number)]


def _template(requests: int, seed: int) -> Template:
    draw = np.random.default_rng(seed)
    recorder = Recorder()
    thresholds: dict[str | None, tuple[int, ...]] = {None: THRESHOLDS_US}
    recorder.start(1000.0, lambda times: np.full(times.shape, _STEADY, np.int8), PHASES, thresholds)
    for endpoint in ENDPOINTS:
        channel = recorder.channel(endpoint)
        for _ in range(requests):
            due = 1000.0 + float(draw.random()) * 0.3
            begun = due + float(draw.exponential(5e-5))
            sent = begun + float(draw.exponential(2e-5))
            ended = sent + min(float(draw.lognormal(np.log(0.04), 0.5)), 0.6)
            channel.due(due)
            channel.done((due, 0.0, begun, sent, ended, 0.0, 500.0))
    windows = recorder.drain(None)
    counted = sum(window.count(Count.ARRIVALS) for window in windows)
    return Template(Delta("r", "w", 1, 1, windows).to_wire()["windows"], counted)


class Mint:
    """Make the packed messages of a fleet, with what all workers share packed once a second."""

    def __init__(self, requests: int) -> None:
        self.per_second = requests * len(ENDPOINTS)
        self._templates = templates(requests)
        self._packed: dict[tuple[int, int], bytes] = {}
        self._stats: dict[tuple[Any, ...], bytes] = {}
        self._rows: dict[int, list[Any]] = {}
        self._worker_column = [one.name for one in fields(FleetRow)].index("worker")
        self._empty = Delta("r", "w", 1, 1).to_wire()["windows"]

    def delta(self, start: messages.Start, number: int, second: int, sequence: int, *, final: bool) -> bytes:
        """Return what comes before the node id in a worker's report of one second; empty when `final`."""
        pack = msgpack.packb
        return b"".join(
            (
                b"\x93" + pack(messages.DELTA) + b"\x82" + pack("delta") + b"\x88",
                pack("version") + pack(VERSION) + pack("run") + pack(start.run),
                pack("worker") + pack(start.worker) + pack("incarnation") + pack(os.getpid()),
                pack("sequence") + pack(sequence) + pack("failures") + pack([]) + pack("windows"),
                pack(self._empty) if final else self._windows(number, second),
                pack("fleet") + pack([] if final else self._fleet_rows(start.worker, second)),
                pack("final") + pack(final),
            )
        )

    def stats(self, second: int, users: dict[str, int]) -> bytes:
        """Return what comes before the node id in Locust's report of the three seconds up to one."""
        at = (second, *users.items())
        if at not in self._stats:
            self._stats = {key: made for key, made in self._stats.items() if key[0] >= second - 1}
            self._stats[at] = b"\x93" + msgpack.packb("stats") + msgpack.packb(self._report(second, users))
        return self._stats[at]

    def _windows(self, number: int, second: int) -> bytes:
        at = (number % len(self._templates), second)
        if at not in self._packed:
            self._packed = {key: made for key, made in self._packed.items() if key[1] >= second - 2}
            content = self._templates[at[0]].windows
            for window in content["windows"]:
                window[0] = second
            self._packed[at] = msgpack.packb(content)
        return self._packed[at]

    def _fleet_rows(self, worker: str, second: int) -> list[Any]:
        """Return a worker's one row, as it is on the wire."""
        if second not in self._rows:
            done = self.per_second * (second + 1)
            row = FleetRow(
                second=second, worker="", offered=done, started=done, finished=done, in_flight=1, users=3,
                cpu=0.1, rss=90_000_000, start_lag_p99_us=90.0, loop_lag_p99_us=200.0, loop_lag_max_us=900.0,
                p99_us=1e5, clock_offset_us=12.5, clock_error_us=50.0, unacknowledged=1,
            )  # fmt: skip
            self._rows = {second: Delta("r", "w", 1, 1, fleet=[row]).to_wire()["fleet"]}
        rows = self._rows[second]
        rows[0][self._worker_column] = worker
        return rows

    def _report(self, second: int, users: dict[str, int]) -> dict[str, Any]:
        """Return Locust's report, as `RequestStats.serialize_stats` makes it."""
        last = int(time.time())
        n = self.per_second // len(ENDPOINTS)
        entries = [_entry(name, "POST", n, last, seed) for seed, name in enumerate(ENDPOINTS)]
        total = _entry("Aggregated", "", self.per_second, last, second)
        return {
            "stats": entries,
            "stats_total": total,
            "errors": {},
            "user_classes_count": users,
            "user_count": sum(users.values()),
        }


def _entry(name: str, method: str, per_second: int, last: int, seed: int) -> dict[str, Any]:
    seconds = int(STATS_EVERY)
    drawn = np.random.default_rng(seed).lognormal(np.log(40.0), 0.5, per_second * seconds)
    times = Counter(int(value) for value in drawn)
    return {
        "name": name,
        "method": method,
        "last_request_timestamp": float(last),
        "start_time": float(last - seconds),
        "num_requests": per_second * seconds,
        "num_none_requests": 0,
        "num_failures": 0,
        "total_response_time": float(drawn.sum()),
        "max_response_time": float(drawn.max(initial=0.0)),
        "min_response_time": float(drawn.min(initial=0.0)),
        "total_content_length": 500 * per_second * seconds,
        "response_times": dict(times),
        "num_reqs_per_sec": {last - ago: per_second for ago in range(seconds)},
        "num_fail_per_sec": {},
    }
