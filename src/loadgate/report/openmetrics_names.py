"""The names of what Loadgate tells Prometheus: each metric with its kind, labels and meaning.

The exporter writes nothing that is not in this list, the generated rules and the shipped dashboard ask for
nothing else, and `docs/metrics.md` is held against it by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A family of series. A counter's samples end in `_total`, an info's in `_info`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def samples(self) -> tuple[str, ...]:
        """Return the names that a query asks for."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        return (f"{self.name}{suffix}",)


METRICS: Final = (
    Metric(
        "loadgate_run",
        "info",
        ("run", "scenario", "host", "model", "version"),
        "the run that is told of; always 1",
    ),
    Metric("loadgate_run_time_seconds", "gauge", (), "run time of now; it goes on while nothing is measured"),
    Metric("loadgate_run_planned_seconds", "gauge", (), "planned length of the load"),
    Metric(
        "loadgate_measured_until_seconds",
        "gauge",
        (),
        "run time up to which every reporting worker has told what it measured",
    ),
    Metric(
        "loadgate_run_phase",
        "gauge",
        ("phase",),
        "1 for the phase of now, 0 for the others; all 0 before the load",
    ),
    Metric(
        "loadgate_planned_rate", "gauge", (), "arrivals per second that the plan asks for now; open model"
    ),
    Metric("loadgate_planned_users", "gauge", (), "users that the plan asks for now; closed model"),
    Metric("loadgate_arrivals", "counter", ("endpoint",), "arrivals that were due"),
    Metric(
        "loadgate_requests",
        "counter",
        ("endpoint", "outcome"),
        "arrivals that have ended, by how: each ends in exactly one outcome",
    ),
    Metric("loadgate_retries", "counter", ("endpoint",), "requests sent once more on a new connection"),
    Metric("loadgate_received_bytes", "counter", ("endpoint",), "bytes received"),
    Metric(
        "loadgate_cache_answers",
        "counter",
        ("endpoint", "result"),
        "ok answers that said whether they came from the cache: hit or miss",
    ),
    Metric(
        "loadgate_cache_repeats",
        "counter",
        ("endpoint", "result"),
        "the same of texts that had been sent before: what cache_hit_rate is judged by",
    ),
    Metric("loadgate_rate_limited", "counter", ("endpoint",), "answers by which the target limited the rate"),
    Metric(
        "loadgate_response_seconds",
        "histogram",
        ("endpoint", "outcome"),
        "response times: from the moment a request was due",
    ),
    Metric(
        "loadgate_service_seconds",
        "histogram",
        ("endpoint", "outcome"),
        "service times: from the first byte sent",
    ),
    Metric(
        "loadgate_response_recent_seconds",
        "gauge",
        ("endpoint", "quantile"),
        "exact percentile of the response time over the last 10 complete seconds, as it is judged",
    ),
    Metric(
        "loadgate_response_steady_seconds",
        "gauge",
        ("endpoint", "quantile"),
        "exact percentile of the response time over the steady phase so far, as it is judged",
    ),
    Metric(
        "loadgate_ok_rate", "gauge", ("endpoint",), "ok answers per second over the last 5 complete seconds"
    ),
    Metric("loadgate_in_flight", "gauge", (), "requests under way, by the latest reports"),
    Metric(
        "loadgate_objective",
        "info",
        ("objective", "metric", "endpoint", "statistic", "target", "alert"),
        "a row of the SLA table in words; always 1",
    ),
    Metric(
        "loadgate_objective_state",
        "gauge",
        ("objective", "state"),
        "1 for what the run so far would be judged as, 0 for the other states",
    ),
    Metric(
        "loadgate_objective_value",
        "gauge",
        ("objective",),
        "the value of a row so far (s, bytes, share or per second); absent without data",
    ),
    Metric(
        "loadgate_objective_target", "gauge", ("objective",), "the target of a row, in the unit of its value"
    ),
    Metric("loadgate_objective_alert", "gauge", ("objective",), "the alert threshold of a row that has one"),
    Metric("loadgate_objective_samples", "gauge", ("objective",), "requests or readings behind the value"),
    Metric(
        "loadgate_alert_firing", "gauge", ("rule", "severity"), "1 while an alert rule of the run is firing"
    ),
    Metric(
        "loadgate_probe_reading",
        "gauge",
        ("probe", "reading"),
        "the last reading of a probe (SI units); absent when the last attempt failed",
    ),
    Metric(
        "loadgate_probe_ok", "gauge", ("probe", "reading"), "1 when the last attempt at a reading succeeded"
    ),
    Metric("loadgate_workers_expected", "gauge", (), "workers that the plan wants"),
    Metric("loadgate_workers", "gauge", ("state",), "workers that have ever reported: reporting or silent"),
    Metric("loadgate_generator_cpu_cores", "gauge", (), "CPU of all reporting workers, in cores"),
    Metric(
        "loadgate_generator_start_lag_seconds",
        "gauge",
        (),
        "the worst p99 of start lag among the workers: how late the generator itself is",
    ),
    Metric(
        "loadgate_generator_loop_lag_seconds",
        "gauge",
        (),
        "the worst p99 of loop lag among the workers",
    ),
    Metric("loadgate_worker_cpu_cores", "gauge", ("worker",), "CPU of a worker, in cores"),
    Metric("loadgate_worker_in_flight", "gauge", ("worker",), "requests under way of a worker"),
    Metric("loadgate_worker_users", "gauge", ("worker",), "users of a worker"),
    Metric("loadgate_worker_start_lag_seconds", "gauge", ("worker",), "p99 of start lag of a worker"),
    Metric("loadgate_worker_loop_lag_seconds", "gauge", ("worker",), "p99 of loop lag of a worker"),
    Metric(
        "loadgate_late_windows",
        "gauge",
        (),
        "windows that came too late for these numbers; the verdict has them",
    ),
)
"""Every metric, in the order in which it is told."""

BY_NAME: Final = {metric.name: metric for metric in METRICS}
SAMPLE_NAMES: Final = frozenset(name for metric in METRICS for name in metric.samples)
"""Every name that a query may ask for."""
