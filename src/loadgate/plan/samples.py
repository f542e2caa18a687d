"""How much evidence an objective needs, and how much of it a planned run is expected to give.

To say with 95 % confidence (one-sided) that at least a share p of all requests is good, the fewest samples,
none of them bad, are n with p^n <= 0.05, that is n >= ln(0.05) / ln(p): 59 for p95, 299 for p99, 2995 for
p99.9. It is the zero-failure case of the exact binomial (Clopper-Pearson) bound; with bad ones it takes more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadgate.plan.scenario import Probe, Traffic
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Timeline

DOUBT: Final = 0.05
"""One minus the confidence of a claim."""
WINDOWS_NEEDED: Final = 20
"""Windows of one second from which the noise of a run is estimated, and so the interval of a row."""
READINGS_NEEDED: Final = 5
"""Readings of a probe that a row needs, by definition: readings are judged without an interval."""


@dataclass(frozen=True, slots=True)
class Need:
    """The fewest samples for a claim: `count` of `unit`; None: no number is enough, 0: none is asked."""

    count: int | None
    unit: str


def samples_needed(share: float, doubt: float = DOUBT) -> int | None:
    """Return the fewest samples that can show that at least `share` (0..1) is good; None for a share of 1.

    `doubt` is one minus the confidence.
    """
    if share >= 1:
        return None
    if share <= 0:
        return 1
    return max(1, math.ceil(math.log(doubt) / math.log(share)))


def need_of(row: Objective, doubt: float = DOUBT) -> Need:
    """Return what a row needs: requests, repeated requests, or readings; `doubt` as in `samples_needed`."""
    if row.is_latency:
        return Need(samples_needed(row.rank / 10_000, doubt) if row.rank is not None else 1, "requests")
    if row.metric == "error_rate":
        return Need(samples_needed(1 - row.target.value, doubt), "requests")
    if row.metric == "cache_hit_rate":
        return Need(samples_needed(row.target.value, doubt), "requests that repeat an earlier text")
    if row.metric == "throughput":
        return Need(0, "requests")
    return Need(READINGS_NEEDED, "readings")


def has_interval(row: Objective) -> bool:
    """Tell whether a row's value has an interval: shares of requests, percentiles and means have one.

    A maximum is what was seen, a throughput what came, and readings are judged by their number.
    """
    return row.metric in ("error_rate", "cache_hit_rate") or (row.is_latency and row.statistic != "max")


def expected_requests(
    endpoint: str | None, traffic: Traffic, timeline: Timeline
) -> tuple[float | None, bool]:
    """Return the expected requests of an endpoint in the steady phase, and whether that is an upper bound.

    None where the plan does not say: no mix, or a closed model without a wait.
    """
    if timeline.trace is not None and (count := timeline.trace.count_of(endpoint)) is not None:
        return float(count), False
    share = traffic.share_of(endpoint)
    if share is None:
        return None, False
    if traffic.model == "open":
        return timeline.arrivals() * share, False
    pause = sum(traffic.wait) / 2
    return (timeline.arrivals() / pause * share, True) if pause > 0 else (None, True)


def probe_of(row: Objective, probes: Sequence[Probe]) -> Probe | None:
    """Return the probe that a row's readings come from; None where no probe gives them.

    uptime: the health probe. cpu, memory: the process probe, else one whose `values` name such a reading.
    """
    named = row.probe_reading
    if named is not None:
        probe = next((probe for probe in probes if probe.name == named[0]), None)
        return probe if probe is not None and named[1] in probe.readings else None
    if row.metric == "uptime":
        return next((probe for probe in probes if probe.kind == "health"), None)
    process = next((probe for probe in probes if probe.kind == "process"), None)
    return process or next((p for p in probes if row.metric in p.values), None)


def expected_readings(probe: Probe, timeline: Timeline) -> int:
    """Count the readings that are sure to fall into the steady phase, wherever in it the first one lands.

    That is floor(length / every) of each steady stretch; a whole multiple but for rounding counts as one.
    """
    return sum(math.floor((end - start) / probe.every + 1e-9) for start, end in timeline.steady)
