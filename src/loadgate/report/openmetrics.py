"""A run in Prometheus' words: OpenMetrics text of a moment, by the `prometheus-client` package.

`scrape_of` takes what there is to tell from a snapshot, in the thread that follows the run; `expose` writes
it, in whatever thread is asked. Nothing here reads a clock or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from loadgate.measure.recorder import OVERFLOW_ENDPOINT
from loadgate.measure.window import ALL, ENDINGS, Count
from loadgate.plan.plan import Plan
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import PHASES
from loadgate.report.openmetrics_names import BY_NAME, METRICS, Metric
from loadgate.report.openmetrics_numbers import CLOCKS, EDGES, MOST_ENDPOINTS, OUTCOMES, Numbers
from loadgate.report.snapshot import EndpointView, Latency, ObjectiveState, Snapshot, WorkerView
from loadgate.store.watch import Reading

STATES: Final = ("PASS", "WARN", "FAIL", "INVALID", "INCONCLUSIVE", "waiting")
MOST_WORKERS: Final = 100
"""Workers of which each is told by itself; the numbers of the fleet hold all of them."""

Labels = tuple[str, ...]
Samples = dict[str, list[tuple[Labels, Any]]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """All that is told at one moment, by the name of its metric; nothing in it is ever written to."""

    samples: Mapping[str, list[tuple[Labels, Any]]] = field(default_factory=dict)


def scrape_of(
    plan: Plan,
    run: str,
    version: str,
    snapshot: Snapshot | None = None,
    numbers: Mapping[str, Numbers] | None = None,
    readings: Mapping[tuple[str, str], Reading] | None = None,
) -> Scrape:
    """Take what there is to tell of a run at this moment; without a snapshot that is its name alone."""
    samples: Samples = {metric.name: [] for metric in METRICS}
    scenario = plan.scenario
    model = scenario.traffic.model
    samples["loadgate_run"] = [((run, scenario.name, scenario.host, model, version), 1)]
    for row in plan.objectives:
        _tell_row(samples, row)
    if snapshot is not None:
        _tell_time(samples, snapshot)
        if snapshot.planned:
            # A watch has no load, of which 0 would say that it stands still.
            _tell_load(samples, snapshot)
            _tell_endpoints(samples, snapshot)
            _tell_objectives(samples, snapshot.objectives)
            _tell_fleet(samples, snapshot)
        for alert in snapshot.alerts:
            _tell(samples, "loadgate_alert_firing", int(alert.fires), alert.rule, alert.severity)
    for endpoint, counted in (numbers or {}).items():
        _tell_numbers(samples, endpoint, counted)
    for (probe, name), reading in sorted((readings or {}).items()):
        _tell(samples, "loadgate_probe_ok", int(reading.value is not None), probe, name)
        if reading.value is not None:
            _tell(samples, "loadgate_probe_reading", reading.value, probe, name)
    return Scrape(samples)


def expose(scrape: Scrape, accept: str = "") -> tuple[bytes, str]:
    """Write a scrape in the format that the `Accept` header asks for; return it with its content type."""
    encoder, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(scrape))
    return encoder(registry), content_type


class _Once(Collector):
    """Give the families of one scrape."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def describe(self) -> Iterable[Family]:
        """Have no names to hold against others: this is alone in its registry."""
        return []

    def collect(self) -> Iterator[Family]:
        """Give every family that has something to tell."""
        for name, samples in self._scrape.samples.items():
            if samples:
                yield _family(BY_NAME[name], samples)


def _family(metric: Metric, samples: list[tuple[Labels, Any]]) -> Family:
    if metric.kind == "info":
        info = InfoMetricFamily(metric.name, metric.help)
        for labels, _ in samples:
            info.add_metric((), dict(zip(metric.labels, labels, strict=True)))
        return info
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, one in samples:
            edges = zip((*EDGES, "+Inf"), one.buckets, strict=True)
            histogram.add_metric(labels, buckets=list(edges), sum_value=one.sum_us / 1e6)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _tell(samples: Samples, name: str, value: Any, *labels: str) -> None:
    samples[name].append((labels, value))


def _tell_time(samples: Samples, snapshot: Snapshot) -> None:
    _tell(samples, "loadgate_run_time_seconds", snapshot.now if snapshot.begun else 0.0)
    _tell(samples, "loadgate_measured_until_seconds", snapshot.until)
    for phase in PHASES:
        now = snapshot.begun and snapshot.phase == phase
        _tell(samples, "loadgate_run_phase", int(now), phase)


def _tell_load(samples: Samples, snapshot: Snapshot) -> None:
    _tell(samples, "loadgate_run_planned_seconds", snapshot.planned)
    planned = "loadgate_planned_users" if snapshot.model == "closed" else "loadgate_planned_rate"
    _tell(samples, planned, snapshot.requested)
    _tell(samples, "loadgate_in_flight", snapshot.in_flight)
    _tell(samples, "loadgate_late_windows", snapshot.late)


def _tell_numbers(samples: Samples, endpoint: str, numbers: Numbers) -> None:
    counts = numbers.counts
    for ending in ENDINGS:
        _tell(samples, "loadgate_requests", counts[ending], endpoint, str(ending))
    for name, count in (
        ("loadgate_arrivals", Count.ARRIVALS),
        ("loadgate_retries", Count.RETRIES),
        ("loadgate_received_bytes", Count.BYTES_RECEIVED),
        ("loadgate_rate_limited", Count.RATE_LIMITED),
    ):
        _tell(samples, name, counts[count], endpoint)
    for name, hits, misses in (
        ("loadgate_cache_answers", Count.HITS, Count.MISSES),
        ("loadgate_cache_repeats", Count.REPEAT_HITS, Count.REPEAT_MISSES),
    ):
        _tell(samples, name, counts[hits], endpoint, "hit")
        _tell(samples, name, counts[misses], endpoint, "miss")
    for clock in CLOCKS:
        for outcome in OUTCOMES:
            found = numbers.distributions[f"{clock}.{outcome}"]
            _tell(samples, f"loadgate_{clock}_seconds", found, endpoint, outcome)


def _tell_endpoints(samples: Samples, snapshot: Snapshot) -> None:
    """Tell the rates and percentiles of each endpoint, and of all together as "*"."""
    for view in (*snapshot.endpoints[:MOST_ENDPOINTS], snapshot.total):
        # Percentiles cannot be added up, so those beyond are not told; their counters are, together.
        if view.name == OVERFLOW_ENDPOINT:
            continue
        _tell_view(samples, ALL if view is snapshot.total else view.name, view)


def _tell_view(samples: Samples, endpoint: str, view: EndpointView) -> None:
    _tell(samples, "loadgate_ok_rate", view.ok_rate, endpoint)
    for name, latency in (("recent", view.recent), ("steady", view.steady)):
        for quantile, value in _quantiles(latency):
            if value is not None:
                _tell(samples, f"loadgate_response_{name}_seconds", value / 1e6, endpoint, quantile)


def _quantiles(latency: Latency) -> tuple[tuple[str, float | None], ...]:
    return (("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99))


def _tell_row(samples: Samples, row: Objective) -> None:
    alert = row.alert.text if row.alert is not None else ""
    labels = (row.name, row.metric, row.endpoint or ALL, row.statistic or "", row.target.text, alert)
    _tell(samples, "loadgate_objective", 1, *labels)
    _tell(samples, "loadgate_objective_target", row.target.value, row.name)
    if row.alert is not None:
        _tell(samples, "loadgate_objective_alert", row.alert.value, row.name)


def _tell_objectives(samples: Samples, objectives: Iterable[ObjectiveState]) -> None:
    for row in objectives:
        for state in STATES:
            _tell(samples, "loadgate_objective_state", int(row.state == state), row.name, state)
        _tell(samples, "loadgate_objective_samples", row.n, row.name)
        if row.number is not None:
            _tell(samples, "loadgate_objective_value", row.number, row.name)


def _tell_fleet(samples: Samples, snapshot: Snapshot) -> None:
    reporting = [worker for worker in snapshot.workers if not worker.silent]
    _tell(samples, "loadgate_workers_expected", snapshot.expected)
    _tell(samples, "loadgate_workers", len(reporting), "reporting")
    _tell(samples, "loadgate_workers", len(snapshot.workers) - len(reporting), "silent")
    if reporting:
        _tell(samples, "loadgate_generator_cpu_cores", sum(worker.cpu for worker in reporting))
        for lag in ("start_lag", "loop_lag"):
            worst = max(getattr(worker, f"{lag}_p99_us") for worker in reporting)
            _tell(samples, f"loadgate_generator_{lag}_seconds", worst / 1e6)
    for worker in reporting[:MOST_WORKERS]:
        _tell_worker(samples, worker)


def _tell_worker(samples: Samples, worker: WorkerView) -> None:
    for name, value in (
        ("cpu_cores", worker.cpu),
        ("in_flight", worker.in_flight),
        ("users", worker.users),
        ("start_lag_seconds", worker.start_lag_p99_us / 1e6),
        ("loop_lag_seconds", worker.loop_lag_p99_us / 1e6),
    ):
        _tell(samples, f"loadgate_worker_{name}", value, worker.name)
