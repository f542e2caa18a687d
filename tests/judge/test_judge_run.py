"""The rules about a whole run: void, cut short, and the verdict from its rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loadgate.judge.objectives import evaluate
from loadgate.judge.results import SEVERITY, Grade, ObjectiveResult, worst
from loadgate.judge.run import coverage, early_reason, overall, void_reasons
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import judge
from loadgate.measure.delta import Failure
from loadgate.plan.scenario import Generator, VerdictPolicy
from loadgate.store.database import Event


def rows_of(make: Any, *grades: str) -> list[ObjectiveResult]:
    """Return rows of some grades; a grade in small letters is an optional row."""
    return [
        ObjectiveResult(make.objective(), Grade(grade.upper()), "why", optional=grade.islower())
        for grade in grades
    ]


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        (["PASS", "PASS"], "PASS"),
        (["PASS", "WARN"], "WARN"),
        (["WARN", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["INCONCLUSIVE", "INVALID", "PASS"], "INVALID"),
        (["INVALID", "FAIL", "INVALID"], "FAIL"),
        (["PASS", "invalid"], "PASS"),
        (["PASS", "warn"], "PASS"),
        (["PASS", "inconclusive"], "PASS"),
        (["PASS", "fail"], "FAIL"),
        (["INVALID", "fail"], "FAIL"),
        (["invalid", "warn"], "INVALID"),
        (["invalid", "pass"], "PASS"),
        ([], "INVALID"),
    ],
)
def test_the_verdict_is_the_worst_row_that_decides(make: Any, grades: list[str], expected: str) -> None:
    """FAIL, INVALID, INCONCLUSIVE, WARN, PASS from the worst; an optional row decides only when it fails."""
    assert overall(make.evidence(), rows_of(make, *grades), void=False) == expected


def test_severity_orders_all_five() -> None:
    """A FAIL outranks missing data, so a dead target is FAIL; nothing at all is INVALID."""
    assert [grade.value for grade in SEVERITY] == ["FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS"]
    assert set(SEVERITY) == set(Grade)
    assert worst([]) is Grade.INVALID


@pytest.mark.parametrize("grade", list(Grade))
def test_a_void_run_is_invalid_whatever_its_rows_say(make: Any, grade: Grade) -> None:
    """Even a FAIL says nothing about the target when the generator was at fault."""
    assert overall(make.evidence(), rows_of(make, grade.value), void=True) is Grade.INVALID


@pytest.mark.parametrize("ended", ["stopped", "aborted", "died", "interrupted"])
@pytest.mark.parametrize(
    ("grade", "expected"),
    [("PASS", "INVALID"), ("WARN", "INVALID"), ("FAIL", "FAIL"), ("INCONCLUSIVE", "INVALID")],
)
def test_a_run_that_ended_early_can_fail_but_never_pass(
    make: Any, ended: str, grade: str, expected: str
) -> None:
    """Half of a run shows that the target fails, and not that it holds."""
    evidence = make.evidence(ended=ended)
    assert overall(evidence, rows_of(make, grade), void=False) == expected
    assert early_reason(evidence) is not None


def test_a_run_with_less_steady_load_than_planned_never_passes(make: Any) -> None:
    """Though it says that it ended as planned."""
    evidence = make.evidence(planned=[Interval(10, 70)])
    assert overall(evidence, rows_of(make, "PASS"), void=False) is Grade.INVALID
    assert "30s of 1m steady load" in (early_reason(evidence) or "")


def test_a_run_without_a_plan_may_be_stopped_at_any_time(make: Any) -> None:
    """Nothing was planned, so nothing was cut short."""
    evidence = make.evidence(ended="stopped", has_plan=False)
    assert overall(evidence, rows_of(make, "PASS"), void=False) is Grade.PASS


def test_a_run_that_still_goes_on_never_passes(make: Any) -> None:
    """It may be judged at any time, and what fails already fails."""
    evidence = make.evidence(running=True)
    assert overall(evidence, rows_of(make, "PASS"), void=False) is Grade.INVALID
    assert overall(evidence, rows_of(make, "FAIL"), void=False) is Grade.FAIL


def test_a_run_without_an_anchor_is_void(make: Any) -> None:
    """Windows that belong to no time of day are not evidence of that day's release."""
    (reason,) = void_reasons(make.evidence(anchored=False))
    assert "no anchor" in reason


def test_a_good_run_is_not_void(make: Any) -> None:
    """The run that the other tests spoil has nothing wrong with it."""
    assert void_reasons(make.evidence()) == ()


def test_a_run_of_zero_requests_is_void(make: Any) -> None:
    """No request was made, so nothing can be said."""
    assert "no request was made" in void_reasons(make.evidence(windows=[]))[0]


@pytest.mark.parametrize(
    ("missing", "flushed", "void"), [(1, True, True), (-1, True, True), (1, False, False), (-1, False, True)]
)
def test_books_that_do_not_balance_void_the_run(make: Any, missing: int, flushed: bool, void: bool) -> None:
    """One arrival without an end; only in a run that was never flushed may it still be in flight."""
    windows = make.steady({20: 100})
    windows[3].counts["arrivals"] += missing
    ended = "planned" if flushed else "died"
    assert bool(void_reasons(make.evidence(windows=windows, flushed=flushed, ended=ended))) is void


def test_books_that_balance_only_over_the_run_void_it(make: Any) -> None:
    """An end booked in another phase than its arrival would leave the steady phase wrong."""
    windows = [*make.steady({20: 100}), make.window(41, {20: 10}, phase="ramp")]
    windows[0].counts["arrivals"] += 1
    windows[-1].counts["arrivals"] -= 1
    assert "in the steady phase" in void_reasons(make.evidence(windows=windows))[0]


@pytest.mark.parametrize(
    ("seconds", "share"),
    [
        ([*range(10, 40)], 1.0),
        ([*range(10, 20), *range(21, 40)], 1.0),
        ([*range(11, 39)], 1.0),
        ([*range(10, 20), *range(22, 40)], 28 / 30),
        ([*range(10, 25)], 15 / 30),
        ([*range(12, 40)], 28 / 30),
        ([], 0.0),
    ],
)
def test_coverage_is_the_share_of_reported_seconds(make: Any, seconds: list[int], share: float) -> None:
    """A single second between two reported ones, or at the edge beside one, is covered; two are not."""
    evidence = make.evidence(fleet=make.fleet(seconds))
    assert coverage(evidence).share == pytest.approx(share)
    assert bool(void_reasons(evidence)) is (share < 0.99)


@pytest.mark.parametrize(
    ("policy", "share"),
    [("invalid", 0.75), ("degrade <= 25%", 0.75), ("degrade <= 50%", 1.0), ("continue", 1.0)],
)
def test_a_loss_that_the_policy_allows_is_no_gap(make: Any, policy: str, share: float) -> None:
    """One of two workers is gone for half of the phase: a quarter of the worker seconds is missing."""
    fleet = [*make.fleet(range(10, 40), "worker-1"), *make.fleet(range(10, 25), "worker-2")]
    evidence = make.evidence(fleet=fleet, workers_expected=2, generator=Generator(on_worker_loss=policy))
    assert coverage(evidence).share == share
    assert bool(void_reasons(evidence)) is (share < 1)


def test_a_lost_worker_voids_the_run_unless_it_returned(make: Any) -> None:
    """The master's events name it."""
    lost = Event(20.0, "worker_lost", {"worker": "worker-1"})
    back = Event(21.0, "worker_returned", {"worker": "worker-1"})
    assert "worker-1" in void_reasons(make.evidence(events=[lost]))[0]
    assert void_reasons(make.evidence(events=[lost, back])) == ()


def test_reports_that_never_arrived_void_the_run(make: Any) -> None:
    """They held arrivals and ends alike, so the books balance without them."""
    assert "never arrived (2 of worker worker-1)" in void_reasons(make.evidence(gaps={"worker-1": 2}))[0]
    assert void_reasons(make.evidence(gaps={"worker-1": 2}, flushed=False, ended="died")) == ()


@pytest.mark.parametrize(("ended", "void"), [("planned", True), ("died", False)])
def test_a_run_that_ended_well_without_its_last_reports_is_void(make: Any, ended: str, void: bool) -> None:
    """Nobody says who was lost, and yet not all was written; a run that died says so itself."""
    assert bool(void_reasons(make.evidence(flushed=False, ended=ended))) is void


@pytest.mark.parametrize(("offered", "finished", "void"), [(3000, 3000, 0), (3001, 3000, 1), (3001, 3001, 2)])
def test_windows_that_lack_what_the_workers_counted_void_the_run(
    make: Any, offered: int, finished: int, void: int
) -> None:
    """The windows hold 3000 arrivals and answers; the ledger's counts go on from second to second."""
    fleet = [*make.fleet(range(10, 39)), *make.fleet([39], offered=offered, finished=finished)]
    assert len(void_reasons(make.evidence(fleet=fleet))) == void


@pytest.mark.parametrize(("ended", "void"), [("planned", True), ("interrupted", False)])
def test_a_last_report_that_never_came_is_a_lost_worker(make: Any, ended: str, void: bool) -> None:
    """What was in flight is not known then; a run that was cut short may still fail by what is known."""
    missing = Event(41.0, "last_delta_missing", {"worker": "worker-1"})
    evidence = make.evidence(events=[missing], flushed=False, ended=ended)
    assert any("worker-1" in reason for reason in void_reasons(evidence)) is void


@pytest.mark.parametrize("word", ["memory", "emotion.response_time", "response_time"])
def test_a_row_is_optional_by_its_name_or_its_metric(make: Any, word: str) -> None:
    """`optional = ["response_time"]` means every row of that metric."""
    row = make.objective(endpoint="emotion")
    result = evaluate(row, make.evidence(row, policy=VerdictPolicy(optional=(word,))))
    assert result.optional is (word != "memory")


def of_user(
    count: int, kind: str = "the user code raised KeyError (locustfile.py, line 7 in send)"
) -> Failure:
    return Failure("emotion", "failed", kind, "", count, 11.0, 12.0, ["'text'"])


def test_errors_of_the_locustfile_void_the_run(make: Any) -> None:
    """They say nothing of the target: type, place and count are named, and what to do."""
    reasons = void_reasons(make.evidence(failures=(of_user(2),)))
    assert len(reasons) == 1
    assert "failed 2 of 3000 requests" in reasons[0]
    assert "KeyError (locustfile.py, line 7 in send), 2 times" in reasons[0]
    assert "mend it" in reasons[0]


@pytest.mark.parametrize(
    ("kind", "void"),
    [
        ("the check raised KeyError (locustfile.py, line 9 in valid)", True),
        ("the check returned a value of type int", True),
        ("the check returned False", False),
        ("no emotion", False),
        ("HTTP 503", False),
        ("a flow gave up after a failed answer: KeyError", False),
    ],
)
def test_only_what_is_the_users_own_code_voids(make: Any, kind: str, void: bool) -> None:
    """An answer that a check refuses is the target's failure, and is judged."""
    assert bool(void_reasons(make.evidence(failures=(of_user(30, kind),)))) is void


def test_one_odd_answer_in_ten_thousand_does_not_void_a_run(make: Any) -> None:
    """30 s of 1000 requests are 30,000, so three are few enough, and four are too many."""
    windows = make.steady({20: 1000})
    assert void_reasons(make.evidence(windows=windows, failures=(of_user(3),))) == ()
    assert len(void_reasons(make.evidence(windows=windows, failures=(of_user(4),)))) == 1


def test_a_run_whose_own_code_fails_is_invalid_and_not_failed(make: Any) -> None:
    """Its error rate is past the alert threshold, and the target is not blamed for it."""
    objective = make.objective("error_rate", "< 1%", alert="> 5%")
    windows = make.steady({20: 50}, failed=50)
    evidence = make.evidence(objective, windows=windows, failures=(of_user(1500),))
    verdict = judge(evidence, now=datetime(2026, 11, 24, tzinfo=UTC))
    assert verdict.grade is Grade.INVALID
    assert verdict.exit_code == 30
    assert verdict.to_dict()["failures"][0]["count"] == 1500
