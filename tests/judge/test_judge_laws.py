"""Laws that hold for every run: bad requests never help, and no data never passes."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.judge.objectives import evaluate_all
from loadgate.judge.results import SEVERITY, Grade
from loadgate.judge.verdict import judge

NOW = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)
BAD = st.sampled_from(["failed", "timeout", "unsent_pool", "unsent_generator", "unfinished", "lost"])
LATENCIES = st.dictionaries(st.sampled_from([1, 10, 40, 60, 250]), st.integers(1, 30), max_size=3)
SECONDS = st.lists(LATENCIES, min_size=30, max_size=30)


def table(make: Any) -> list[Any]:
    """Return a row of every metric that comes from requests."""
    alert = {"alert": "> 200ms", "for": 10.0}
    return [
        make.objective(statistic="p50", **alert),
        make.objective(statistic="p95", **alert),
        make.objective("service_time", statistic="p99", **alert),
        make.objective(statistic="max", **alert),
        make.objective(statistic="mean", **alert),
        make.objective("error_rate", "< 1%", alert="> 10%", **{"for": 10.0}),
        make.objective("throughput", ">= 20/s", alert="< 10/s", **{"for": 10.0}),
        make.objective("cache_hit_rate", "> 60%", alert="< 30%", **{"for": 10.0}),
    ]


def spoil(windows: list[Any], second: int, cause: str, number: int) -> list[Any]:
    """Return the windows with more bad requests in one second."""
    spoiled = copy.deepcopy(windows)
    for name in ("arrivals", cause):
        spoiled[second].counts[name] = spoiled[second].counts.get(name, 0) + number
    return spoiled


@settings(max_examples=40, deadline=None)
@given(seconds=SECONDS, second=st.integers(0, 29), cause=BAD, number=st.integers(1, 300))
def test_more_bad_requests_never_improve_a_row(
    make: Any, seconds: list[dict[int, int]], second: int, cause: str, number: int
) -> None:
    """Failing fast, dropping and timing out make no row better than before.

    A run that had no requests at all, and so was INVALID, does not count as better.
    """
    windows = [
        make.window(10 + index, ok, over_ms=[50, 200], repeat_hits=2, repeat_misses=1)
        for index, ok in enumerate(seconds)
    ]
    before = evaluate_all(make.evidence(*table(make), windows=windows))
    after = evaluate_all(make.evidence(*table(make), windows=spoil(windows, second, cause, number)))
    for old, new in zip(before, after, strict=True):
        if old.verdict is not Grade.INVALID:
            assert SEVERITY.index(new.verdict) <= SEVERITY.index(old.verdict), new.reason
            assert new.time_in_violation >= old.time_in_violation


@settings(max_examples=40, deadline=None)
@given(seconds=st.sets(st.integers(10, 39)), phase=st.sampled_from(["warmup", "ramp", "steady"]))
def test_no_data_never_passes(make: Any, seconds: set[int], phase: str) -> None:
    """Windows without one request in the steady phase pass no row and no run."""
    windows = [make.window(second, {20: 100} if phase != "steady" else {}, phase=phase) for second in seconds]
    verdict = judge(make.evidence(*table(make), windows=windows), now=NOW)
    assert all(row.verdict is Grade.INVALID and row.n == 0 for row in verdict.rows)
    assert verdict.grade is Grade.INVALID


@settings(max_examples=40, deadline=None)
@given(seconds=SECONDS)
def test_a_row_is_certain_only_of_what_the_sorted_list_says(make: Any, seconds: list[dict[int, int]]) -> None:
    """PASS only where the value at the rank holds, FAIL only where it does not, for whole milliseconds."""
    row = make.objective(statistic="p95")
    values = sorted(ms for ok in seconds for ms, number in ok.items() for _ in range(number))
    if not values:
        return
    windows = [make.window(10 + index, ok, over_ms=[50]) for index, ok in enumerate(seconds)]
    (result,) = evaluate_all(make.evidence(row, windows=windows))
    at_rank = values[-(-95 * len(values) // 100) - 1]
    assert result.verdict in (
        (Grade.PASS, Grade.INCONCLUSIVE) if at_rank < 50 else (Grade.FAIL, Grade.INCONCLUSIVE)
    )
    low, high = result.interval or (0, 0)
    assert low <= (result.value or 0) <= high


def test_one_more_bad_request_makes_no_row_certain(make: Any) -> None:
    """Four quick requests are one too few for p50; a fifth that failed does not make up the number."""
    row = make.objective(statistic="p50", alert="> 200ms")
    windows = [make.window(10, {1: 4}, over_ms=[50, 200])]
    before = evaluate_all(make.evidence(row, windows=windows))[0]
    after = evaluate_all(make.evidence(row, windows=spoil(windows, 0, "failed", 1)))[0]
    assert (before.verdict, after.verdict) == (Grade.INCONCLUSIVE, Grade.INCONCLUSIVE)
