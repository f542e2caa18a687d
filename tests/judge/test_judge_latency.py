"""Latency rows: exact counts, infinitely slow requests, windows and their worst."""

from __future__ import annotations

import math
from typing import Any

import pytest

from loadgate.judge.latency import BY_HISTOGRAM, EXACT, measure
from loadgate.judge.objectives import evaluate
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval


@pytest.mark.parametrize(
    ("ok_ms", "statistic", "value"),
    [
        ({20: 95, 60: 5}, "p95", 0.02),
        ({20: 94, 60: 6}, "p95", 0.060031),
        ({1: 10_000, 100_000: 1}, "p99.99", 0.001),
        ({1: 10_000, 100_000: 1}, "max", 100.0),
        ({10: 1, 30: 3}, "mean", 0.025),
    ],
)
def test_the_value_is_that_of_the_whole_phase(
    make: Any, ok_ms: dict[int, int], statistic: str, value: float
) -> None:
    """A percentile is the highest value equivalent to the sample at rank ceil(p·n); the others are exact.

    60 ms lies in a counter of 32 µs (32,768..65,535 µs have 1024 counters): its highest value is 60,031 µs.
    20 ms lies in one of 16 µs (16,384..32,767 µs): 20,000..20,015 µs, and 1 ms has a counter of its own.
    """
    found = measure(make.objective(statistic=statistic), make.window(10, ok_ms))
    assert found.value == pytest.approx(value, abs=0.000016)
    assert found.n == sum(ok_ms.values())


@pytest.mark.parametrize(
    ("slow", "grade"),
    [(4, Grade.PASS), (5, Grade.WARN), (6, Grade.WARN)],
)
def test_p95_passes_while_surely_less_than_five_of_a_hundred_are_over(
    make: Any, slow: int, grade: Grade
) -> None:
    """With k of n over T the p95 is at most T if and only if k <= n - ceil(0.95·n).

    That holds with 5 of 100, but 150 of 3000 do not show that at most 5 % are over. 120 do: a binomial number
    with mean 150 and standard deviation 11.9 is that low in 0.7 % of all cases.
    """
    windows = make.steady({20: 100 - slow, 60: slow}, over_ms=[50, 200])
    row = make.objective(alert="> 200ms")
    result = evaluate(row, make.evidence(row, windows=windows))
    assert (result.verdict, result.method) == (grade, EXACT)
    assert measure(row, windows[0]).holds is (slow <= 5)


def test_a_limit_inside_a_counter_is_decided_by_the_exact_count(make: Any) -> None:
    """49,990 µs lies in the counter 49,984..50,015 µs, so the value shown is over 50 ms, but none was."""
    window = make.window(10, {20: 1})
    window.histograms["response.ok"].record(49_990, 99)
    window.counts.update(arrivals=100, ok=100)
    row = make.objective()
    assert measure(row, window).holds is False
    window.over["response.ok>50000"] = 0
    result = evaluate(row, make.evidence(row, windows=[window]))
    assert (result.verdict, result.value) == (Grade.PASS, 0.050015)
    assert any("upper edge" in note for note in result.notes)


def test_a_limit_that_was_not_counted_is_compared_with_the_histogram(make: Any) -> None:
    """Judging a stored run by another table falls back to the percentile, and the row says so."""
    row = make.objective(target="< 25ms")
    result = evaluate(row, make.evidence(row, windows=make.steady({20: 100}, over_ms=[50])))
    assert (result.verdict, result.method) == (Grade.PASS, BY_HISTOGRAM)


@pytest.mark.parametrize("cause", ["failed", "timeout", "unfinished", "unsent_pool"])
@pytest.mark.parametrize(("bad", "grade"), [(4, Grade.PASS), (5, Grade.INCONCLUSIVE), (6, Grade.FAIL)])
def test_what_the_target_did_not_serve_is_infinitely_slow(
    make: Any, cause: str, bad: int, grade: Grade
) -> None:
    """Six of a hundred without an answer make the p95 infinite, however fast the others are.

    With five it is on the edge: one less of 3000 and it is 20 ms, one more and it is infinite.
    """
    row = make.objective(alert="> 200ms")
    windows = make.steady({20: 100 - bad}, over_ms=[50, 200], **{cause: bad})
    result = evaluate(row, make.evidence(row, windows=windows))
    assert (result.verdict, result.n) == (grade, 3000)
    assert math.isinf(result.value or 0) is (grade is Grade.FAIL)


def test_latency_on_ok_leaves_failures_out_when_the_table_asks_for_it(make: Any) -> None:
    """With `latency_on = "ok"` half of the requests may fail without touching the row."""
    row = make.objective(latency_on="ok")
    result = evaluate(row, make.evidence(row, windows=make.steady({20: 50}, failed=50)))
    assert (result.verdict, result.n) == (Grade.PASS, 1500)


def test_without_one_ok_request_an_ok_latency_is_invalid(make: Any) -> None:
    """No data never passes: a percentile of nothing is not 0."""
    row = make.objective(latency_on="ok")
    result = evaluate(row, make.evidence(row, windows=make.steady({}, failed=100)))
    assert (result.verdict, result.value, result.n) == (Grade.INVALID, None, 0)


@pytest.mark.parametrize("statistic", ["max", "mean"])
def test_maximum_and_mean_are_infinite_with_one_request_unanswered(make: Any, statistic: str) -> None:
    """One timeout among 3000 is the maximum, and no mean of it is finite."""
    row = make.objective(statistic=statistic)
    windows = [*make.steady({20: 100}), make.window(39, {}, endpoint="creative", timeout=1)]
    assert evaluate(row, make.evidence(row, windows=windows)).value == math.inf


def test_no_endpoint_means_all_endpoints_merged(make: Any) -> None:
    """300 of 600 at 20 ms and 300 at 80 ms have a p50 of 20 ms and a p95 of 80 ms."""
    windows = [
        *make.steady({20: 10}, endpoint="emotion"),
        *make.steady({80: 10}, endpoint="creative"),
    ]
    middle, high = make.objective(statistic="p50"), make.objective(statistic="p95")
    found = make.evidence(middle, windows=windows)
    assert evaluate(middle, found).value == pytest.approx(0.02, rel=1e-3)
    assert evaluate(high, found).value == pytest.approx(0.08, rel=1e-3)


def test_only_the_steady_phase_is_judged(make: Any) -> None:
    """Slow requests that were due in the ramp change nothing, even when they ended in the steady phase."""
    row = make.objective()
    windows = [*make.steady({20: 100}), make.window(10, {900: 1000}, phase="ramp")]
    assert evaluate(row, make.evidence(row, windows=windows)).verdict is Grade.PASS


def test_a_late_end_stays_in_the_evidence(make: Any) -> None:
    """Requests due in the phase that ended in the drain are judged, in the last window.

    180 of 3000 make the p95 15 s; that all of them came in one window makes it uncertain.
    """
    row = make.objective(target="< 50ms", alert="> 200ms")
    windows = [*make.steady({20: 94}), make.window(55, {15_000: 180})]
    result = evaluate(row, make.evidence(row, windows=windows))
    assert (result.verdict, result.n) == (Grade.INCONCLUSIVE, 3000)
    assert result.value == pytest.approx(15, rel=1e-3)
    assert result.worst_window is not None
    assert (result.worst_window.start, result.worst_window.end) == (30, 40)


def test_a_breach_of_the_alert_for_long_enough_fails_a_phase_that_looks_fine(make: Any) -> None:
    """Windows 20..30 and 30..40 are past 200 ms: 20 s, as long as `for`; the p50 of the phase is fine."""
    row = make.objective(statistic="p50", alert="> 200ms", **{"for": 20.0})
    windows = [
        make.window(second, {20: 1000 if second < 20 else 40, 300: 0 if second < 20 else 60})
        for second in range(10, 40)
    ]
    result = evaluate(row, make.evidence(row, windows=windows))
    assert result.value == pytest.approx(0.02, rel=1e-3)
    assert (result.verdict, result.time_in_violation, result.longest_breach) == (Grade.FAIL, 20, 20)
    assert "20s" in result.reason


def test_a_shorter_breach_is_reported_as_time_in_violation(make: Any) -> None:
    """One window of 10 s past the threshold does not fail a row whose `for` is 20 s.

    Of 400 s 10 are slow, 2.5 % of the requests: the p50 of the phase is far from it.
    """
    row = make.objective(statistic="p50", alert="> 200ms", **{"for": 20.0})
    windows = [
        make.window(second, {300: 100} if 30 <= second < 40 else {20: 100}) for second in range(10, 410)
    ]
    steady = (Interval(10, 410),)
    result = evaluate(row, make.evidence(row, windows=windows, steady=steady, planned=steady))
    assert (result.verdict, result.time_in_violation) == (Grade.PASS, 10)
    assert result.worst_window is not None
    assert (result.worst_window.start, result.worst_window.end, result.worst_window.n) == (30, 40, 1000)


@pytest.mark.parametrize(("slow", "grade"), [(1, Grade.INCONCLUSIVE), (2, Grade.FAIL)])
def test_a_lasting_breach_of_few_requests_has_to_be_more_than_chance(
    make: Any, slow: int, grade: Grade
) -> None:
    """Two windows of 10 s with `slow` of 10 requests past 200 ms: 2 of 20, or 4 of 20, where 5 % may be.

    Of 20 with 5 % two or more come in 26 % of all cases, four or more in 1.6 %. Either way the p95 of 10 is
    the slowest of them, so that both windows are past it. The phase has 2000 requests and is fine.
    """
    row = make.objective(alert="> 200ms", **{"for": 20.0})
    windows = [make.window(second, {20: 100}) for second in range(10, 20)]
    windows += [make.window(second, {20: 100}) for second in range(40, 50)]
    few = {20: 10 - slow, 300: slow}
    windows += [make.window(25, few), make.window(35, few)]
    steady = (Interval(10, 50),)
    result = evaluate(row, make.evidence(row, windows=windows, steady=steady, planned=steady))
    assert (result.verdict, result.longest_breach) == (grade, 20)
    assert ("tell it from chance" in result.reason) is (slow == 1)


def test_without_an_alert_worse_than_the_target_fails(make: Any) -> None:
    """The row has no room for WARN."""
    row = make.objective(target="< 10ms")
    assert evaluate(row, make.evidence(row)).verdict is Grade.FAIL


def test_the_closed_model_says_that_waits_are_not_in_the_response_time(make: Any) -> None:
    """In the closed model response time equals service time, and the row says so."""
    row = make.objective()
    notes = evaluate(row, make.evidence(row, model="closed")).notes
    assert any("equals the service time" in note for note in notes)


@pytest.mark.parametrize(("target", "ok"), [("< 20ms", False), ("<= 20ms", True)])
def test_a_value_on_the_limit_meets_only_an_inclusive_one(make: Any, target: str, ok: bool) -> None:
    """Where the values over 19,999 µs were counted too, 20 ms is not below 20 ms."""
    window = make.window(10, {20: 100})
    window.over = {"response.ok>19999": 100, "response.ok>20000": 0}
    assert measure(make.objective(target=target), window).holds is ok
