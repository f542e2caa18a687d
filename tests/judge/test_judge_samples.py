"""Too few samples are INCONCLUSIVE, and what may be missing from a row keeps it from passing."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.objectives import evaluate
from loadgate.judge.results import Grade
from loadgate.judge.samples import fewest


@pytest.mark.parametrize(
    ("metric", "more", "number"),
    [
        ("response_time", {"statistic": "p95", "target": "< 50ms"}, 59),
        ("response_time", {"statistic": "p99.9", "target": "< 50ms"}, 2995),
        ("response_time", {"statistic": "max", "target": "< 50ms"}, 1),
        ("error_rate", {"target": "< 0.1%", "alert": "> 1%"}, 299),
        ("error_rate", {"target": "< 1%"}, 299),
        ("error_rate", {"target": "<= 0%"}, 1),
        ("cache_hit_rate", {"target": "> 60%", "alert": "< 30%"}, 3),
        ("throughput", {"target": ">= 10/s"}, 1),
    ],
)
def test_how_many_samples_a_row_takes(make: Any, metric: str, more: dict[str, str], number: int) -> None:
    """0.95^59 and 0.99^299 are the first powers under 0.05, and 0.3^3 = 0.027 is."""
    assert fewest(make.objective(metric, **more)) == number


@pytest.mark.parametrize(
    ("number", "ms", "grade"),
    [(58, 20, Grade.INCONCLUSIVE), (59, 20, Grade.PASS), (58, 100, Grade.INCONCLUSIVE), (2, 300, Grade.FAIL)],
)
def test_too_few_samples_neither_pass_nor_warn(make: Any, number: int, ms: int, grade: Grade) -> None:
    """59 are the fewest of a p95; past the alert threshold even two are enough to fail."""
    row = make.objective(target="< 50ms", alert="> 200ms")
    result = evaluate(row, make.evidence(row, windows=[make.window(12, {ms: number})]))
    assert result.verdict is grade
    assert ("takes 59: 1 more" in result.reason) is (number == 58)


@pytest.mark.parametrize(("retries", "grade"), [(29, Grade.PASS), (30, Grade.WARN)])
def test_an_error_rate_passes_only_with_its_retries_as_errors(make: Any, retries: int, grade: Grade) -> None:
    """Of 3000 requests 29 are under 1 %, and 30 are not: the target may have dropped each of them."""
    row = make.objective("error_rate", "< 1%", alert="> 5%")
    windows = make.steady({20: 100})
    windows[4].counts["retries"] = retries
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
