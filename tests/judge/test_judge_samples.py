"""What an interval is made of, and rows whose requests may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loadgate.judge.objectives import evaluate
from loadgate.judge.results import Grade
from loadgate.judge.samples import Latencies, cells_of
from loadgate.judge.slots import Interval


def latencies(make: Any, windows: list[Any], **changes: Any) -> Latencies:
    """Return the adjusted response times of a run."""
    return Latencies(make.evidence(windows=windows, **changes), None, "adjusted", "response")


def test_a_window_is_a_second_of_the_steady_phase(make: Any) -> None:
    """Endpoints come together, other phases are left out, what ended late is in the last second."""
    windows = [
        make.window(10, {20: 3}, failed=1),
        make.window(10, {20: 2}, endpoint="creative"),
        make.window(10, {20: 9}, phase="ramp"),
        make.window(50, {20: 4}, timeout=2),
    ]
    found = latencies(make, windows)
    assert found.n.tolist() == [5, *[0] * 28, 4]
    assert found.infinite.tolist() == [1, *[0] * 28, 2]


def test_compacted_seconds_stay_whole(make: Any) -> None:
    """Windows of 10 s make windows of 10 s of all of them: 30 s have three."""
    windows = [
        make.window(10, {20: 5}),
        make.window(20, {20: 7}),
        make.window(30, {20: 9}),
        make.window(39, {20: 1}),
    ]
    for window in windows[:3]:
        window.span = 10
    assert cells_of(make.evidence(windows=windows), None) == (
        Interval(10, 20),
        Interval(20, 30),
        Interval(30, 40),
    )
    assert latencies(make, windows).n.tolist() == [5, 7, 10]


def test_counts_over_a_threshold_are_exact_or_not_at_all(make: Any) -> None:
    """One window that did not count over 50 ms is enough to go by the histograms."""
    windows = [make.window(10, {20: 5, 60: 2}, over_ms=[50]), make.window(11, {60: 1}, over_ms=[50])]
    over = latencies(make, windows).over(50_000)
    assert over is not None
    assert over.tolist()[:2] == [2, 1]
    del windows[1].over["response.ok>50000"]
    found = latencies(make, windows)
    assert found.over(50_000) is None
    assert found.over_by_histogram(50_000).tolist()[:2] == [2, 1]


def test_a_counter_counts_as_over_when_its_highest_value_is(make: Any) -> None:
    """60 ms lies in 60,000..60,031 µs: not over 60,031 µs, but over 60,030."""
    found = latencies(make, [make.window(10, {60: 1})])
    assert (found.over_by_histogram(60_031)[0], found.over_by_histogram(60_030)[0]) == (0, 1)


def test_the_own_percentile_shares_out_what_is_on_it(make: Any) -> None:
    """10 of 40 at 300 ms: 5 % are 2, a fifth of those, from each window a fifth of its own.

    Less 5 % of its requests: 0.2·10 - 0.5 = 1.5 in the slow second, 0 - 0.5 in the other three.
    """
    windows = [make.window(10, {300: 10}), *(make.window(second, {20: 10}) for second in (11, 12, 13))]
    samples = latencies(make, windows).of_percentile(9500)
    assert samples.own is not None
    assert np.allclose(samples.own[:4], [1.5, -0.5, -0.5, -0.5])


@pytest.mark.parametrize(
    ("number", "ms", "grade"),
    [(58, 20, Grade.INCONCLUSIVE), (59, 20, Grade.PASS), (58, 100, Grade.INCONCLUSIVE), (2, 300, Grade.FAIL)],
)
def test_too_few_samples_neither_pass_nor_warn(make: Any, number: int, ms: int, grade: Grade) -> None:
    """59 are the fewest of a p95; two that are both past the threshold are enough to fail (5 % of 5 %)."""
    row = make.objective(target="< 50ms", alert="> 200ms")
    result = evaluate(row, make.evidence(row, windows=[make.window(12, {ms: number})]))
    assert result.verdict is grade
    assert ("1 more requests would settle it" in result.reason) is (number == 58)


def test_the_interval_of_a_percentile_is_that_of_its_counters(make: Any) -> None:
    """All of 3000 at 20 ms: over 19,999 µs they all are, over 20,015 µs none is."""
    row = make.objective()
    result = evaluate(row, make.evidence(row, windows=make.steady({20: 100})))
    assert result.interval == pytest.approx((0.019999, 0.020015))


def test_an_interval_without_an_upper_end_is_null_in_the_verdict(make: Any) -> None:
    """With 10 requests no limit can be shown to hold."""
    row = make.objective()
    result = evaluate(row, make.evidence(row, windows=[make.window(12, {20: 10})]))
    low, high = result.to_dict(0.0)["interval"]
    assert (low, high) == (pytest.approx(19.999), None)


def test_a_mean_has_bounds_and_a_maximum_has_none(make: Any) -> None:
    """10 and 30 ms in turn: 30 windows, mean 20 ms, sums of 1000 and 3000 ms.

    The deviation of their total is sqrt(2·30/29·15·1000²) = 5571 ms; t of 0.4·29 = 11.6 degrees of freedom
    is 1.78 to 1.80 in the tables. For 3000 requests that is 20 ms and 3.3 ms up or down.
    """
    windows = [make.window(second, {10 if second % 2 else 30: 100}) for second in range(10, 40)]
    mean, most = make.objective(statistic="mean"), make.objective(statistic="max")
    found = make.evidence(mean, windows=windows)
    interval = evaluate(mean, found).interval
    assert interval is not None
    assert interval == pytest.approx((0.0167, 0.0233), abs=0.0001)
    assert evaluate(most, found).interval is None


@pytest.mark.parametrize(("retries", "grade"), [(15, Grade.PASS), (30, Grade.WARN)])
def test_an_error_rate_passes_only_with_its_retries_as_errors(make: Any, retries: int, grade: Grade) -> None:
    """15 of 3000, one in every other second, are shown to be under 1 %; 30, one a second, are on the edge."""
    row = make.objective("error_rate", "< 1%", alert="> 5%")
    windows = make.steady({20: 100})
    for window in windows[:: 30 // retries]:
        window.counts["retries"] = 1
    result = evaluate(row, make.evidence(row, windows=windows))
    assert result.verdict is grade
    assert (result.value, "sent again" in "".join([result.reason, *result.notes])) == (0, True)


@pytest.mark.parametrize(("ended", "value"), [("planned", 40 / 3040), ("died", 0.0)])
def test_arrivals_that_a_dead_worker_took_along_are_errors(make: Any, ended: str, value: float) -> None:
    """40 of 3040 arrivals have no end; only in a run that itself died were they merely in flight."""
    row = make.objective("error_rate", "< 1%", alert="> 5%")
    windows = make.steady({20: 100})
    windows[-1].counts["arrivals"] += 40
    result = evaluate(row, make.evidence(row, windows=windows, flushed=False, ended=ended))
    assert result.value == value


@pytest.mark.parametrize(("workers", "grade"), [(1, Grade.PASS), (2, Grade.INVALID)])
def test_an_endpoint_beside_an_overflow_may_lack_some(make: Any, workers: int, grade: Grade) -> None:
    """One worker keeps an endpoint or does not; a second one may have counted it as overflow."""
    row = make.objective(endpoint="emotion")
    windows = [*make.steady({20: 100}), make.window(12, {900: 10}, endpoint="(overflow)")]
    assert evaluate(row, make.evidence(row, windows=windows, workers_expected=workers)).verdict is grade


def test_the_overflow_itself_is_never_judged(make: Any) -> None:
    """It is no endpoint, but whatever did not fit."""
    row = make.objective(endpoint="(overflow)")
    windows = [*make.steady({20: 100}), *make.steady({20: 10}, endpoint="(overflow)")]
    assert evaluate(row, make.evidence(row, windows=windows)).verdict is Grade.INVALID
