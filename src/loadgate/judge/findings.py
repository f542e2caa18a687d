"""Findings: what the evidence shows beside the rows, without changing any of them.

A finding explains a verdict (the rate limit was met, a process was short of CPU) or doubts a number (the
server counts cache hits otherwise than the client).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loadgate.judge import fleet
from loadgate.judge.evidence import Evidence
from loadgate.judge.generator import rows_by_worker
from loadgate.judge.readings import source_of
from loadgate.judge.results import Grade, ObjectiveResult
from loadgate.measure.recorder import OVERFLOW_ENDPOINT
from loadgate.measure.window import Count
from loadgate.plan.scenario import Probe
from loadgate.plan.sla import LATENCIES
from loadgate.plan.units import format_duration, format_number, format_share
from loadgate.watch.counters import Growth, hit_rate
from loadgate.watch.restarts import restarts_in

SHORT_OF_CPU: Final = 0.9
"""The mean CPU, in cores, from which a process that has one core is taken to be short of it."""
POINTS_APART: Final = 0.05
"""The difference of two hit rates that is worth a finding."""
LIMITED_METRICS: Final = ("error_rate", "throughput", *LATENCIES)
"""The rows that a rate limit of the target can fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader of the verdict has to know: a stable kind, a sentence, and its numbers."""

    kind: str
    message: str
    detail: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return {"kind": self.kind, "message": self.message, "detail": self.detail}


def find_all(evidence: Evidence, rows: Sequence[ObjectiveResult], *, void: bool) -> tuple[Finding, ...]:
    """Return all findings of a run, the ones that explain most first."""
    found = [rate_limit(evidence), *cpu_short(evidence, rows, void=void)]
    found += [*cache(evidence), *restarts(evidence)]
    found += [Finding(kind, message, detail) for kind, message, detail in fleet.stories(evidence)]
    found += [
        overflow(evidence),
        retries(evidence),
        standalone(evidence),
        *(Finding("note", note) for note in evidence.notes),
    ]
    return tuple(finding for finding in found if finding is not None)


def rate_limit(evidence: Evidence) -> Finding | None:
    """Say that the target's rate limit was met, and from how many addresses the rate could be offered.

    One address is sustained at the answers other than 429 per second and address of the steady phase; the
    offered rate over that is the number of addresses needed.
    """
    limited = int(evidence.counts(None, None).count(Count.RATE_LIMITED).sum())
    exhausted = int(evidence.counts(None, None).count(Count.RATE_LIMIT_EXHAUSTED).sum())
    if not limited and not exhausted:
        return None
    detail: dict[str, Any] = {
        "rate_limited": limited,
        "rate_limit_exhausted": exhausted,
        "source_addresses": evidence.source_addresses,
    }
    met = f"{limited} answers were 429 and {exhausted} said that no request was left"
    text = f"the run met the target's rate limit: {met}, from {_addresses(evidence.source_addresses)}"
    books = evidence.books(None, "steady")
    steady_limited = int(evidence.counts(None).count(Count.RATE_LIMITED).sum())
    accepted = books.ok + books.failed - steady_limited
    if evidence.seconds <= 0 or accepted <= 0:
        return Finding(
            "rate_limit", f"{text}; raise the limit for the test, or send from more addresses", detail
        )
    offered = books.arrivals / evidence.seconds
    sustained = accepted / evidence.seconds / evidence.source_addresses
    # At the limit, what is offered now is already too much for the addresses there are.
    needed = max(math.ceil(offered / sustained - 1e-9), evidence.source_addresses + 1)
    detail |= {"offered_per_second": offered, "sustained_per_address": sustained, "addresses_needed": needed}
    text += (
        f"; one address was sustained at {format_number(round(sustained, 1))} req/s, so the offered "
        f"{format_number(round(offered, 1))} req/s need at least {_addresses(needed)}: "
        "set traffic.source_addresses, or raise the limit for the test"
    )
    return Finding("rate_limit", text, detail)


def _addresses(number: int) -> str:
    return "1 source address" if number == 1 else f"{number} source addresses"


def limited_row(row: ObjectiveResult) -> bool:
    """Tell whether a rate limit explains a row that does not pass."""
    return row.objective.metric in LIMITED_METRICS and row.verdict in (Grade.FAIL, Grade.WARN)


def cpu_short(evidence: Evidence, rows: Sequence[ObjectiveResult], *, void: bool) -> Iterator[Finding]:
    """Name the processes that were short of CPU, where that can explain a slow or a void run."""
    slow = any(row.verdict is not Grade.PASS and row.objective.metric in LIMITED_METRICS for row in rows)
    if not slow and not void:
        return
    for worker, of_worker in rows_by_worker(evidence).items():
        mean = math.fsum(row.cpu for row in of_worker) / len(of_worker)
        if mean > SHORT_OF_CPU:
            text = (
                f"worker {worker} used {format_number(round(mean * 100))}% of a core: "
                "the generator was short of CPU; add workers, or move it to a machine of its own"
            )
            yield Finding("generator_cpu", text, {"process": f"worker {worker}", "cores": mean})
    mean_target = _target_cpu(evidence)
    if mean_target is not None and mean_target >= SHORT_OF_CPU:
        used_cpu = f"the target used {format_number(round(mean_target * 100))}% of a core"
        text = f"{used_cpu}: it may be what was short of CPU"
        yield Finding("target_cpu", text, {"process": "target", "cores": mean_target})


def _target_cpu(evidence: Evidence) -> float | None:
    """Return the mean CPU of the target over the steady phase in cores, where a probe reads it."""
    for probe in evidence.probes:
        if probe.kind == "process" or "cpu" in probe.values:
            good = [item.value for item in source_of(probe, "cpu", evidence).good if item.value is not None]
            if good:
                return math.fsum(good) / len(good)
    return None


def server_hits(evidence: Evidence, probe: Probe) -> tuple[float | None, Growth | None]:
    """Return the server's hit rate by the steady readings of a cache probe, and the differences behind it.

    `resets` of these are restarts of the target, or of its cache.
    """
    steady = [item for item in evidence.readings if any(item.at in part for part in evidence.steady)]
    return hit_rate(steady, probe.name)


def cache(evidence: Evidence) -> Iterator[Finding]:
    """Hold the client's view of the cache against the server's counters, over the same seconds and texts.

    Both rates are of all answers, since the server does not know which texts are repeats.
    """
    for probe in evidence.probes:
        if probe.kind != "cache":
            continue
        server_rate, server = server_hits(evidence, probe)
        if server is None:
            continue
        for reset in server.resets:
            text = (
                f"the cache counters of probe {probe.name} went down at run time {format_duration(reset.at)}"
            )
            detail: dict[str, Any] = {"at": reset.at, "before": reset.before, "after": reset.after}
            yield Finding("target_restart", f"{text}: the target restarted, or its cache was emptied", detail)
        client_hits, client_misses = _client_hits(evidence, server)
        if server.resets or server_rate is None or not (client_hits + client_misses):
            continue
        client_rate = client_hits / (client_hits + client_misses)
        if abs(server_rate - client_rate) > POINTS_APART:
            detail = {"client": client_rate, "server": server_rate, "probe": probe.name}
            yield Finding("cache_hit_rate", _apart(client_rate, server_rate), detail)


def restarts(evidence: Evidence) -> Iterator[Finding]:
    """Name each restart of the target that probes saw, in whatever phase; those of a cache are `cache`'s."""
    probes = [probe for probe in evidence.probes if probe.kind != "cache"]
    for restart in restarts_in(evidence.readings, probes):
        text = (
            f"the target restarted, as probe {restart.probe} saw at run time "
            f"{format_duration(round(restart.at, 3))}: {restart.sign}"
        )
        detail = {"at": restart.at, "probe": restart.probe, "sign": restart.sign}
        yield Finding("target_restart", text, detail)


def _apart(client_rate: float, server_rate: float) -> str:
    return (
        f"client and server disagree on the cache: {format_share(round(client_rate, 4))} of the answers were "
        f"marked as cached, and the server counted {format_share(round(server_rate, 4))} hits: "
        "other clients use it, or the mark is not true"
    )


def _client_hits(evidence: Evidence, server: Growth) -> tuple[int, int]:
    """Count the hits and misses that the client saw in the seconds between the server's readings."""
    inside = [
        window
        for window in evidence.of(None, None)
        if server.start <= window.second + window.span / 2 < server.end
    ]
    return sum(w.count(Count.HITS) for w in inside), sum(w.count(Count.MISSES) for w in inside)


def overflow(evidence: Evidence) -> Finding | None:
    """Say that there were more endpoints than are kept apart."""
    number = evidence.books(OVERFLOW_ENDPOINT).arrivals
    if not number:
        return None
    text = (
        f"{number} requests have endpoints beyond those that a worker keeps apart, and count as "
        f"{OVERFLOW_ENDPOINT}: give requests of one kind one name"
    )
    return Finding("overflow", text, {"requests": number})


def retries(evidence: Evidence) -> Finding | None:
    """Say how many requests were sent a second time; the target counts those too."""
    number = int(evidence.counts(None, None).count(Count.RETRIES).sum())
    if not number:
        return None
    text = (
        f"{number} requests were sent twice, since the target closed a reused connection before it answered"
    )
    return Finding("retries", f"{text}: it counts that many more than the arrivals sent", {"retries": number})


def standalone(evidence: Evidence) -> Finding | None:
    """Note that the process that made the load wrote the database as well."""
    if evidence.mode != "standalone":
        return None
    return Finding("standalone", "standalone: one process made the load and also wrote what it measured")
