"""What a comparison takes of a run: the statistics of its merged parts, and their noise inside it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from loadgate.judge.figures import NEEDED, figures
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.store.kept import KeptRun


def run(parts: list[Window], end: float) -> KeptRun:
    """Return a run whose steady phase is 0 s to `end`."""
    verdict = {"verdict": "PASS", "steady_seconds": end, "steady": [{"start": 0.0, "end": end}]}
    return KeptRun("r", verdict, None, {}, {"emotion": tuple(parts)})


def part(second: int, ms: dict[int, int], **counts: int) -> Window:
    """Return a second with ok answers (latency in ms: how many) and other endings."""
    histogram = Histogram()
    for latency, number in ms.items():
        histogram.record(latency * 1000, number)
    ok = sum(ms.values())
    arrivals = ok + sum(counts.values())
    series = {"response.ok": histogram} if ok else {}
    return Window(second, 1, "emotion", "steady", {"arrivals": arrivals, "ok": ok, **counts}, series)


def of(parts: list[Window], end: float | None = None) -> Any:
    """Return the figures of the one endpoint."""
    return figures(run(parts, end if end is not None else float(len(parts)))).endpoints["emotion"]


def test_every_statistic_is_the_one_worked_out_by_hand() -> None:
    """10,000 of 1 ms and one of 100 s: p50 to p99 are 1 ms, the mean is 110 s / 10,001."""
    row = of([part(0, {1: 5_000}), part(1, {1: 5_000, 100_000: 1})])
    assert [row[name].value for name in ("p50", "p95", "p99")] == [0.001] * 3
    assert row["mean"].value == pytest.approx(110 / 10_001)
    assert (row["error_rate"].value, row["throughput"].value) == (0.0, 10_001 / 2)
    assert row["p99"].n == 10_001


def test_failures_count_as_infinitely_slow() -> None:
    """3 of 100 failed: p95 stands, p99 falls among them, the mean is of ok answers, 3 % are errors."""
    row = of([part(0, {20: 97}, failed=2, timeout=1)])
    assert row["p95"].value == pytest.approx(0.020, rel=1e-3)
    assert row["p99"].value == math.inf
    assert row["mean"].value == pytest.approx(0.020)
    assert row["error_rate"].value == pytest.approx(0.03)


def test_where_nothing_is_ok_every_latency_is_infinite() -> None:
    """And the throughput is 0, whose logarithm is minus infinity."""
    row = of([part(0, {}, failed=100)])
    assert [row[name].value for name in ("p50", "p95", "p99", "mean")] == [math.inf] * 4
    assert row["throughput"].value == 0.0
    assert row["throughput"].log == -math.inf


def test_an_endpoint_without_arrivals_is_not_there() -> None:
    """A part of nothing makes no row."""
    assert figures(run([part(0, {})], 1.0)).endpoints == {}


def test_a_latency_of_zero_has_a_logarithm() -> None:
    """It is taken as the resolution of the clock, 1 µs."""
    assert of([part(0, {0: 100})])["p50"].value == 1e-6


def test_ten_equal_seconds_have_no_noise_inside() -> None:
    """Every part says the same: variance 0, which is not unknown."""
    row = of([part(second, {20: 100}) for second in range(10)])
    assert {name: row[name].within for name in row} == dict.fromkeys(row, 0.0)


def test_what_ended_after_the_steady_phase_counts_but_is_no_part() -> None:
    """Three late answers in second 10 are in the mean; they would look like a drop of the throughput."""
    parts = [part(second, {20: 100}) for second in range(10)] + [part(10, {500: 3})]
    row = of(parts, 10.0)
    assert row["mean"].n == 1003
    assert row["throughput"].value == pytest.approx(100.3)
    assert row["throughput"].within == 0.0


def test_a_part_that_is_shorter_than_the_others_is_none() -> None:
    """A first half part of another latency counts in the whole, and tells nothing of the noise inside."""
    halves = [part(0, {100: 50})]
    for second in range(1, 21, 2):
        double = part(second, {20: 200})
        double.span = 2
        halves.append(double)
    row = of(halves, 21.0)
    assert (row["mean"].n, row["mean"].within) == (2050, 0.0)


def test_seven_seconds_are_too_short_to_tell() -> None:
    """The noise inside such a run is unknown."""
    assert of([part(second, {20: 100}) for second in range(7)])["p95"].within is None


def test_errors_in_a_burst_vary_more_than_errors_that_are_spread() -> None:
    """Ten errors in one second of ten, against one in each: the same share, with another variance."""
    spread = of([part(second, {20: 99}, failed=1) for second in range(10)])["error_rate"]
    burst = of(
        [part(second, {20: 100 - 10 * (second == 4)}, failed=10 * (second == 4)) for second in range(10)]
    )
    assert spread.value == burst["error_rate"].value == pytest.approx(0.01)
    # Residuals 9 and nine times -1: 90 · 10/9 / 1000² = 0.0001; neighbours are not alike.
    assert (spread.within, burst["error_rate"].within) == (0.0, pytest.approx(1e-4))


def test_a_statistic_takes_as_many_requests_as_a_claim_does() -> None:
    """59 for a p95, 299 for a p99: the fewest that can show anything with 95 % confidence."""
    assert (NEEDED["p50"], NEEDED["p95"], NEEDED["p99"]) == (5, 59, 299)
