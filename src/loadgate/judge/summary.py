"""The numbers that a verdict reports beside its rows: latencies, books, the generator, the phases."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, Final, get_args

from loadgate.judge.evidence import Evidence
from loadgate.judge.fleet import lost_workers
from loadgate.judge.generator import rows_by_worker, steady_rows
from loadgate.judge.marks import control_latency, cpu_share, loop_lag, marked, marks_in
from loadgate.judge.results import number
from loadgate.judge.run import coverage
from loadgate.measure.delta import FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import ALL, Clock, LatencyOn, Series, Window

PERCENTILES: Final = {"p50_ms": 5000, "p90_ms": 9000, "p95_ms": 9500, "p99_ms": 9900, "p99_9_ms": 9990}


def latencies(evidence: Evidence) -> dict[str, Any]:
    """Return both clocks in milliseconds of each endpoint, and of all as "*", over the steady phase.

    Under each clock stand "ok", "all" and "adjusted", as `latency_on` names them.
    """
    endpoints: list[str | None] = [None, *(name for name in evidence.endpoints if evidence.of(name))]
    return {
        ALL if endpoint is None else endpoint: {
            clock: {on: latency(evidence.total(endpoint), on, clock) for on in get_args(LatencyOn)}
            for clock in get_args(Clock)
        }
        for endpoint in endpoints
    }


def latency(window: Window, latency_on: LatencyOn, clock: Clock) -> dict[str, Any]:
    """Return one summary; a number is null where it is infinite (`infinite` requests are) or `n` is 0."""
    histogram, infinite = window.response(latency_on, clock)
    return {"n": histogram.total + infinite, "infinite": infinite, **_summary(histogram, infinite)}


def _summary(histogram: Histogram, infinite: int = 0) -> dict[str, float | None]:
    found = {name: _ms(histogram.percentile(rank, infinite)) for name, rank in PERCENTILES.items()}
    found["max_ms"] = None if infinite else _ms(histogram.maximum)
    found["mean_ms"] = None if infinite else _ms(histogram.mean)
    return found


def _ms(micros: float | None) -> float | None:
    return None if micros is None else number(micros / 1000)


def books(evidence: Evidence) -> dict[str, Any]:
    """Return where the arrivals went: over the run and in its steady phase, by endpoint and of all ("*")."""
    endpoints: list[str | None] = [None, *evidence.endpoints]
    return {
        scope: {
            ALL if endpoint is None else endpoint: evidence.books(endpoint, phase).to_dict()
            for endpoint in endpoints
        }
        for scope, phase in (("run", None), ("steady", "steady"))
    }


def generator(evidence: Evidence) -> dict[str, Any]:
    """Return the health of the generator over the steady phase; lags in milliseconds, CPU in cores.

    What was achieved is what came due and was sent: neither unsent nor lost with its worker.
    """
    total = evidence.total(None)
    books = evidence.books(None, "steady")
    arrivals, sent = books.arrivals, books.arrivals - books.unsent - books.lost
    by_worker = rows_by_worker(evidence)
    return {
        "mode": evidence.mode,
        "model": evidence.model,
        "workers_expected": evidence.workers_expected,
        "workers_lost": list(lost_workers(evidence)),
        "offered_per_second": arrivals / evidence.seconds if evidence.seconds else None,
        "achieved_per_second": sent / evidence.seconds if evidence.seconds else None,
        "achieved_share": sent / arrivals if arrivals else None,
        "start_lag": _summary(total.histogram(Series.START_LAG)),
        "pool_wait": _summary(total.histogram(Series.POOL_WAIT)),
        "control": _control(steady_rows(evidence)),
        "marked": {
            "seconds": _marked_seconds(steady_rows(evidence)),
            "worker_seconds": sum(_any_mark(row).bit_count() for row in steady_rows(evidence)),
            "by": {kind: found.seconds for kind, found in marked(by_worker).items()},
        },
        "workers": [_worker(name, rows) for name, rows in by_worker.items()],
    }


def _seconds(rows: Iterable[FleetRow]) -> int:
    """Count the seconds that some rows of one worker told of."""
    return sum(row.seconds for row in rows)


def _any_mark(row: FleetRow) -> int:
    """Return which seconds of a row are marked by any witness, as bits."""
    return reduce(or_, marks_in(row).values(), 0)


def _marked_seconds(rows: Iterable[FleetRow]) -> int:
    """Count the run seconds that are marked in any worker."""
    found: dict[int, int] = {}
    for row in rows:
        if marks := _any_mark(row):
            found[row.second] = found.get(row.second, 0) | marks
    seconds = set[int]()
    for second, marks in found.items():
        seconds.update(second + place for place in range(marks.bit_length()) if marks >> place & 1)
    return len(seconds)


def _worker(name: str, rows: list[FleetRow]) -> dict[str, Any]:
    """Return one worker's health; what a run's release did not measure is null."""
    last, told = rows[-1], rows[-1].cpu_allowed > 0
    lag = loop_lag(rows, 9900)
    shares = [cpu_share(row) for row in rows]
    mean = math.fsum(share * row.seconds for share, row in zip(shares, rows, strict=True))
    more = {
        "cpu_allowed": last.cpu_allowed,
        "cpu_share_mean": mean / _seconds(rows),
        "cpu_share_max": max(shares),
        "throttled_ms": math.fsum(row.throttled_us for row in rows) / 1000,
        "descriptors_max": max(row.fds for row in rows),
        "descriptors_limit": last.fds_limit,
        "ports_max": max(row.ports for row in rows),
        "ports_limit": last.ports_limit,
        "gc_pause_max_ms": max(row.gc_pause_max_us for row in rows) / 1000,
    }
    return {
        "worker": name,
        "seconds": _seconds(rows),
        "cpu_mean": math.fsum(row.cpu * row.seconds for row in rows) / _seconds(rows),
        "cpu_max": max(row.cpu for row in rows),
        "rss_max": max(row.rss for row in rows),
        "loop_lag_max_ms": max(row.loop_lag_max_us for row in rows) / 1000,
        "loop_lag_p99_ms": None if lag is None else lag / 1000,
        **{key: value if told else None for key, value in more.items()},
        "control": _control(rows),
        "marked": {kind: found.seconds for kind, found in marked({name: rows}).items()},
    }


def _control(rows: list[FleetRow]) -> dict[str, Any] | None:
    """Return what the control requests took in milliseconds; null where none was made."""
    n = sum(row.control_n for row in rows)
    if not n:
        return None
    return {
        "n": n,
        "failures": sum(row.control_failures for row in rows),
        "p50_ms": _ms(control_latency(rows, 5000)),
        "p99_ms": _ms(control_latency(rows, 9900)),
    }


def covered(evidence: Evidence) -> dict[str, Any]:
    """Return how much of the steady phase was reported; `share` is of worker seconds."""
    found = coverage(evidence)
    return {"share": found.share, "seconds": found.seconds, "seconds_short": len(found.short)}


def phases(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the planned segments; levels are arrivals per second, or users in the closed model."""
    return [
        {
            "phase": segment.phase,
            "start": segment.start,
            "end": number(segment.end),
            "level_start": number(segment.level_start),
            "level_end": number(segment.level_end),
        }
        for segment in evidence.segments
    ]


def failures(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the kinds of failure, the most frequent first; the samples stay in the run database."""
    ordered = sorted(evidence.failures, key=lambda failure: (-failure.count, failure.fingerprint))
    return [
        {
            "endpoint": failure.endpoint,
            "outcome": failure.outcome,
            "kind": failure.kind,
            "message": failure.message,
            "count": failure.count,
            "first": failure.first,
            "last": failure.last,
        }
        for failure in ordered[:MOST_FAILURES]
    ]


MOST_FAILURES: Final = 50
"""Kinds of failure that a verdict lists."""
