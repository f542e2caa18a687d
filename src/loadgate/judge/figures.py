"""Figures: what a comparison takes of a run, one number for each endpoint and statistic.

Percentiles are adjusted: failed, timed-out, unfinished and pool-caused unsent requests count as infinitely
slow, as the verdict has it by default. The mean is of ok answers alone, since one failure would make the
other kind infinite; failures show in the percentiles and in the error rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgate.judge.evidence import Books
from loadgate.judge.noise import correlation, variance_of_mean
from loadgate.measure.window import Count, Window, windows_merged
from loadgate.plan.samples import samples_needed
from loadgate.store.kept import KeptRun

PERCENTILES: Final = {"p50": 5000, "p95": 9500, "p99": 9900}
LATENCIES: Final = (*PERCENTILES, "mean")
STATISTICS: Final = (*LATENCIES, "error_rate", "throughput")
"""What is compared of each endpoint, in this order."""
RESOLUTION_S: Final = 1e-6
"""Seconds that a latency is at least: the unit of the histograms, so that every latency has a logarithm."""

NEEDED: Final = {name: samples_needed(rank / 10_000) or 1 for name, rank in PERCENTILES.items()} | {
    "mean": samples_needed(0.5) or 1,
    "error_rate": 1,
    "throughput": 1,
}
"""Requests of a run without which a statistic says nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic of one endpoint in one run: seconds, a share, or a rate per second.

    `value` is infinite where the percentile falls among failures (the mean: where no answer was ok), and
    None without data. `n` requests are behind it. `within` is the variance that comes from inside the run,
    of the value's logarithm (of an error rate itself); None where the run is too short to tell.
    """

    value: float | None
    n: int
    within: float | None = None

    @property
    def log(self) -> float:
        """Return the logarithm; -inf for a throughput of 0."""
        if not self.value:
            return -math.inf
        return math.log(self.value)


@dataclass(frozen=True)
class RunFigures:
    """All figures of one run, by endpoint and statistic; `seconds` is its steady length."""

    id: str
    seconds: float
    endpoints: Mapping[str, Mapping[str, Figure]]


def figures(run: KeptRun) -> RunFigures:
    """Work out every statistic of every endpoint of a run."""
    found = {}
    for endpoint, parts in run.parts.items():
        whole = windows_merged(parts)
        if not whole.count(Count.ARRIVALS):
            continue
        inner = _inside(parts, run.steady)
        found[endpoint] = {
            **{name: _percentile(whole, inner, rank) for name, rank in PERCENTILES.items()},
            "mean": _mean(whole, inner),
            "error_rate": _error_rate(whole, inner),
            "throughput": _throughput(whole, inner, run.seconds),
        }
    return RunFigures(run.id, run.seconds, found)


def _inside(parts: Sequence[Window], steady: Iterable[tuple[float, float]]) -> list[Window]:
    """Return the parts that lie whole in a steady interval and are as long as most: those that compare."""
    spans = sorted(part.span for part in parts)
    usual = spans[len(spans) // 2] if spans else 0
    intervals = list(steady)
    return [
        part
        for part in parts
        if part.span == usual
        and any(start <= part.second and part.end <= end + 1e-6 for start, end in intervals)
    ]


def _percentile(whole: Window, inner: Sequence[Window], rank: int) -> Figure:
    logs = [value for part in inner if (value := _log(_percentile_of(part, rank))) is not None]
    histogram, infinite = whole.response("adjusted")
    return Figure(_percentile_of(whole, rank), histogram.total + infinite, variance_of_mean(logs))


def _percentile_of(window: Window, rank: int) -> float | None:
    histogram, infinite = window.response("adjusted")
    micros = histogram.percentile(rank, infinite)
    return None if micros is None else max(micros / 1e6, RESOLUTION_S)


def _mean(whole: Window, inner: Sequence[Window]) -> Figure:
    logs = [value for part in inner if (value := _log(_mean_of(part))) is not None]
    value = _mean_of(whole)
    return Figure(math.inf if value is None else value, whole.count(Count.ARRIVALS), variance_of_mean(logs))


def _mean_of(window: Window) -> float | None:
    micros = window.response("ok")[0].mean
    return None if micros is None else max(micros / 1e6, RESOLUTION_S)


def _log(value: float | None) -> float | None:
    return math.log(value) if value is not None and math.isfinite(value) else None


def _error_rate(whole: Window, inner: Sequence[Window]) -> Figure:
    """Return (arrivals - ok) / arrivals, and its variance over correlated parts: errors come in bursts."""
    books = Books.of([whole])
    return Figure((books.arrivals - books.ok) / books.arrivals, books.arrivals, _ratio_variance(inner))


def _ratio_variance(parts: Sequence[Window]) -> float:
    """Return the variance of a ratio estimated over AR(1) parts; 0 where they are too few to tell."""
    pairs = [(part.count(Count.ARRIVALS), part.count(Count.OK)) for part in parts]
    whole = sum(arrivals for arrivals, _ in pairs)
    if len(pairs) < 2 or not whole:
        return 0.0
    share = sum(arrivals - ok for arrivals, ok in pairs) / whole
    residuals = [(arrivals - ok) - share * arrivals for arrivals, ok in pairs]
    rho = correlation(residuals)
    squares = math.fsum(residual * residual for residual in residuals)
    return squares * len(pairs) / (len(pairs) - 1) / whole**2 * (1 + rho) / (1 - rho)


def _throughput(whole: Window, inner: Sequence[Window], seconds: float) -> Figure:
    """Return ok answers to requests due in the steady phase, per steady second."""
    ok = whole.count(Count.OK)
    rates = [part.count(Count.OK) / part.span for part in inner]
    mean = math.fsum(rates) / len(rates) if rates else 0.0
    spread = variance_of_mean(rates)
    within = spread / mean**2 if spread is not None and mean > 0 else None
    return Figure(ok / seconds if seconds > 0 else None, whole.count(Count.ARRIVALS), within)
