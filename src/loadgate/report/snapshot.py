"""What a live view shows at one moment of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

WAITING: Final = "waiting"
"""The state of an objective that nothing can be said of yet."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in µs over `n` requests, as judged: inf where the rank is among the infinitely slow.

    None when there was no request.
    """

    n: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of run time of an endpoint: ok answers that ended in it, percentiles as in `Latency`."""

    second: int
    ok: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint: rates per second over the last 5 s, latencies, and the counts of the run so far.

    `trend` are the last complete seconds one by one, the newest last; a second without requests is left out.
    """

    name: str
    ok_rate: float = 0.0
    recent: Latency = field(default_factory=Latency)
    steady: Latency = field(default_factory=Latency)
    counts: Mapping[str, int] = field(default_factory=dict)
    trend: tuple[Moment, ...] = ()

    def count(self, name: str) -> int:
        """Return a count of the run so far; 0 when nothing was counted."""
        return self.counts.get(name, 0)

    @property
    def unsent(self) -> int:
        """Return the arrivals that never started, whoever caused it."""
        return self.count("unsent_pool") + self.count("unsent_generator")

    @property
    def waiting(self) -> int:
        """Return the arrivals without an end so far: waiting for a user, or in flight."""
        ends = ("ok", "failed", "timeout", "unfinished", "lost")
        return max(0, self.count("arrivals") - sum(self.count(name) for name in ends) - self.unsent)


@dataclass(frozen=True, slots=True)
class WorkerView:
    """The latest report of one worker: CPU in cores, lags in µs; `silent` when it no longer reports."""

    name: str
    cpu: float
    in_flight: int
    users: int
    start_lag_p99_us: float
    loop_lag_p99_us: float
    silent: bool = False


@dataclass(frozen=True, slots=True)
class FailureView:
    """One kind of failure and how often it was seen."""

    endpoint: str
    outcome: str
    kind: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class ObjectiveState:
    """How an objective stands so far: "waiting", or the verdict that the run so far would give it.

    `number` is the value in SI units; None where there is none.
    """

    name: str
    statistic: str
    target: str
    state: str
    value: str = ""
    n: int = 0
    reason: str = ""
    number: float | None = None

    @property
    def title(self) -> str:
        """Return the name with the statistic: "emotion.response_time p95"."""
        if not self.statistic or self.name.endswith(f".{self.statistic}"):
            return self.name
        return f"{self.name} {self.statistic}"


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert rule and its state: "inactive", "pending", "firing" or "flapping"."""

    rule: str
    severity: str
    state: str

    @property
    def fires(self) -> bool:
        """Tell whether it is firing, also where it does so again and again."""
        return self.state in ("firing", "flapping")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run at run time `now`; what was measured is complete up to `until`.

    `requested` is the planned level: arrivals per second, or users in the closed model. `late` counts the
    windows that came too late for the totals here; the verdict has them.
    """

    now: float
    until: float
    phase: str
    planned: float
    model: str
    begun: bool = False
    requested: float = 0.0
    endpoints: tuple[EndpointView, ...] = ()
    total: EndpointView = EndpointView("all")
    in_flight: int = 0
    workers: tuple[WorkerView, ...] = ()
    failures: tuple[FailureView, ...] = ()
    objectives: tuple[ObjectiveState, ...] = ()
    late: int = 0
    alerts: tuple[AlertView, ...] = ()
    expected: int = 0
    """Workers that the plan wants; 0 where it does not say."""

    @property
    def reporting(self) -> int:
        """Return the workers that report."""
        return sum(not worker.silent for worker in self.workers)

    @property
    def elapsed(self) -> float:
        """Return the seconds of the planned load that have passed."""
        return min(max(self.now, 0.0), self.planned)

    @property
    def remaining(self) -> float:
        """Return the seconds of the planned load that are left; the drain comes after them."""
        return max(0.0, self.planned - self.elapsed)
