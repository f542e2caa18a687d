"""Error rate, throughput and cache hit rate, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.objectives import evaluate
from loadgate.judge.results import Grade
from loadgate.store.database import Event


@pytest.mark.parametrize(
    ("bad", "value", "grade"),
    [
        ({}, 0.0, Grade.PASS),
        ({"failed": 1}, 0.01, Grade.INCONCLUSIVE),
        ({"timeout": 2}, 0.02, Grade.FAIL),
        ({"unsent_pool": 1, "unfinished": 1}, 0.02, Grade.FAIL),
        ({"lost": 1, "unsent_generator": 1}, 0.02, Grade.INCONCLUSIVE),
        ({"lost": 1, "failed": 2}, 0.03, Grade.FAIL),
    ],
)
def test_every_arrival_without_an_ok_answer_is_an_error(
    make: Any, bad: dict[str, int], value: float, grade: Grade
) -> None:
    """(arrivals - ok) / arrivals: 1 of 100 is 1 %, on the edge of "> 1%"; 2 of 100 are past it.

    60 of 3000 are: of a binomial number with mean 30 and standard deviation 5.4.
    Nobody knows how requests ended that the generator took along, so these alone fail no row.
    """
    row = make.objective("error_rate", "< 0.1%", alert="> 1%")
    windows = make.steady({20: 100 - sum(bad.values())}, **bad)
    result = evaluate(row, make.evidence(row, windows=windows))
    assert (result.value, result.verdict, result.n) == (value, grade, 3000)


def test_throughput_is_ok_answers_per_steady_second(make: Any) -> None:
    """100 ok answers a second for 30 s are 100 req/s, over all endpoints unless one is named."""
    windows = [*make.steady({20: 70}), *make.steady({20: 30}, endpoint="creative", failed=50)]
    total = make.objective("throughput", ">= 100/s")
    named = make.objective("throughput", ">= 31/s", endpoint="creative")
    found = make.evidence(total, windows=windows)
    assert (evaluate(total, found).value, evaluate(total, found).verdict) == (100, Grade.PASS)
    assert (evaluate(named, found).value, evaluate(named, found).verdict) == (30, Grade.FAIL)


def test_a_backlog_worked_off_after_the_phase_does_not_lift_the_throughput(make: Any) -> None:
    """50 answers a second within the phase and 1500 in the drain are 50 req/s, not 100."""
    row = make.objective("throughput", ">= 100/s", alert="< 60/s")
    windows = [*make.steady({20: 50}), make.window(45, {9000: 1500})]
    result = evaluate(row, make.evidence(row, windows=windows))
    assert (result.value, result.verdict) == (50, Grade.FAIL)
    assert any("1500 ok answers came only after" in note for note in result.notes)


def test_a_backlog_from_before_the_phase_does_not_lift_the_throughput(make: Any) -> None:
    """100 answers a second to steady requests, and 50 more to requests of the ramp, are 100 req/s."""
    row = make.objective("throughput", ">= 100/s")
    windows = [*make.steady({20: 100}), *make.steady({900: 50}, phase="ramp")]
    assert evaluate(row, make.evidence(row, windows=windows)).value == 100


def test_a_steady_slow_service_keeps_its_throughput(make: Any) -> None:
    """With answers 5 s late the phase's last 5 s of requests end after it, and the ramp's end within it."""
    row = make.objective("throughput", ">= 100/s")
    windows = [make.window(second, {5000: 100}, phase="ramp") for second in range(10, 15)]
    windows += [make.window(second, {5000: 100}) for second in range(15, 45)]
    assert evaluate(row, make.evidence(row, windows=windows)).value == 100


def test_a_service_that_answers_nothing_has_a_throughput_of_zero(make: Any) -> None:
    """3000 requests and no ok answer are evidence: 0 req/s is past the threshold, not missing."""
    row = make.objective("throughput", ">= 100/s", alert="< 50/s")
    result = evaluate(row, make.evidence(row, windows=make.steady({}, failed=100)))
    assert (result.value, result.verdict, result.n) == (0, Grade.FAIL, 3000)


def test_the_worst_window_of_a_rate_is_the_lowest(make: Any) -> None:
    """More is better here: 60 a second in 20..30 is the worst of 100, 60 and 100."""
    row = make.objective("throughput", "> 80/s", alert="< 70/s")
    windows = [make.window(second, {20: 60 if 20 <= second < 30 else 100}) for second in range(10, 40)]
    result = evaluate(row, make.evidence(row, windows=windows))
    assert result.worst_window is not None
    assert (result.worst_window.start, result.worst_window.value) == (20, 60)
    assert (result.verdict, result.time_in_violation) == (Grade.PASS, 10)


@pytest.mark.parametrize(
    ("hits", "misses", "value", "grade"),
    [(70, 30, 0.7, Grade.PASS), (60, 40, 0.6, Grade.WARN), (28, 72, 0.28, Grade.FAIL)],
)
def test_the_hit_rate_is_over_repeated_texts_only(
    make: Any, hits: int, misses: int, value: float, grade: Grade
) -> None:
    """Answers to fresh texts, which can only miss, are not in it.

    28 of 100 are 2.4 standard deviations of 3000 from 30 %; 60 % are on the edge of the target.
    """
    row = make.objective("cache_hit_rate", "> 60%", alert="< 30%")
    windows = make.steady({20: 100}, repeat_hits=hits, repeat_misses=misses, hits=hits, misses=misses + 500)
    result = evaluate(row, make.evidence(row, windows=windows))
    assert (result.value, result.verdict) == (pytest.approx(value), grade)


def test_a_hit_rate_without_repeats_is_invalid(make: Any) -> None:
    """Zero of zero is no data, and the reason says what to do."""
    row = make.objective("cache_hit_rate", "> 60%")
    result = evaluate(row, make.evidence(row))
    assert result.verdict is Grade.INVALID
    assert "repeat" in result.reason


def test_an_endpoint_that_the_run_did_not_have_is_named_with_those_it_had(make: Any) -> None:
    """A misspelt endpoint never passes."""
    row = make.objective(endpoint="emotoin")
    result = evaluate(row, make.evidence(row))
    assert result.verdict is Grade.INVALID
    assert "'emotoin'; it had: emotion (did you mean emotion?)" in result.reason


def test_an_endpoint_with_requests_in_another_phase_only_is_invalid(make: Any) -> None:
    """Requests of the ramp are no evidence for the steady phase."""
    row = make.objective(endpoint="creative")
    windows = [*make.steady({20: 100}), make.window(5, {20: 100}, endpoint="creative", phase="ramp")]
    assert evaluate(row, make.evidence(row, windows=windows)).verdict is Grade.INVALID


@pytest.mark.parametrize("metric", ["response_time", "error_rate", "throughput", "cache_hit_rate"])
def test_windows_kept_too_coarse_are_refused(make: Any, metric: str) -> None:
    """Windows of 60 s cannot be judged every 10 s."""
    target = {
        "response_time": "< 50ms",
        "error_rate": "< 1%",
        "throughput": "> 1/s",
        "cache_hit_rate": "> 1%",
    }
    row = make.objective(metric, target[metric])
    window = make.window(0, {20: 100})
    window.span = 60
    result = evaluate(row, make.evidence(row, windows=[window]))
    assert result.verdict is Grade.INVALID
    assert "too coarse" in result.reason


GAP = Event(30.0, "not_measured", {"from": 20, "to": 30, "cause": "the master died"})


def with_hole(make: Any, **changes: Any) -> Any:
    """A run of 100 a second from 10 to 40 whose seconds 20 to 29 have nothing."""
    windows = [window for window in make.steady({20: 100}) if not 20 <= window.second < 30]
    return {"windows": windows, **changes}


def test_a_window_that_nobody_measured_is_no_window_of_throughput(make: Any) -> None:
    """20 to 30 was a gap of the generator: no violation. The rate over the phase still counts its seconds."""
    row = make.objective("throughput", ">= 60/s", alert="< 50/s")
    result = evaluate(row, make.evidence(row, **with_hole(make, events=[GAP])))
    assert result.value == pytest.approx(2000 / 30)
    assert result.time_in_violation == 0.0
    assert result.worst_window.value == pytest.approx(100.0)


def test_a_window_without_answers_counts_where_the_load_was_made(make: Any) -> None:
    """The same hole without a gap is the target's: 10 s at nothing."""
    row = make.objective("throughput", ">= 60/s", alert="< 50/s")
    result = evaluate(row, make.evidence(row, **with_hole(make)))
    assert result.time_in_violation == 10.0


def test_a_window_that_lies_only_partly_in_a_gap_counts(make: Any) -> None:
    """The gap ends at 29, a second before the window does: nothing is excused."""
    gap = Event(29.0, "not_measured", {"from": 20, "to": 29, "cause": "the master died"})
    row = make.objective("throughput", ">= 60/s", alert="< 50/s")
    result = evaluate(row, make.evidence(row, **with_hole(make, events=[gap])))
    assert result.time_in_violation == 10.0


def test_answers_in_a_gap_are_not_left_out(make: Any) -> None:
    """One answer came in 20 to 30: it is a window like any other."""
    changes = with_hole(make, events=[GAP])
    changes["windows"] = [*changes["windows"], make.window(25, {20: 1})]
    row = make.objective("throughput", ">= 60/s", alert="< 50/s")
    result = evaluate(row, make.evidence(row, **changes))
    assert result.time_in_violation == 10.0
