"""What ends a run early, what does not, and how such a run is judged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from loadgate.judge.evidence import Evidence
from loadgate.judge.looks import all_begun, outcome
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import judge, schema
from loadgate.plan.scenario import VerdictPolicy
from loadgate.plan.timeline import Segment

NOW = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)
BETTER = "every row that decides is settled"
WORSE = "a row that decides is past its limit for sure"


def so_far(
    make: Any, *rows: Any, ok_ms: Any = None, seconds: int = 30, planned: int = 60, **more: Any
) -> Evidence:
    """Return a run of `planned` steady seconds from 10 on, of which so many have been run: 100/s of 20 ms."""
    windows = more.pop("windows", None)
    if windows is None:
        windows = [make.window(10 + second, ok_ms or {20: 100}) for second in range(seconds)]
    values = {
        "windows": windows,
        "fleet": make.fleet(range(10, 10 + seconds)),
        "planned": (Interval(10, 10 + planned),),
        "steady": (Interval(10, 10 + seconds),),
        "segments": (Segment(0, 10, 0, 100, "ramp"), Segment(10, 10 + planned, 100, 100, "steady")),
        "policy": VerdictPolicy(stop_when_certain=True),
        "running": True,
        "flushed": False,
        "ended": "died",
    }
    return make.evidence(*rows, **{**values, **more})


def ended(make: Any, *rows: Any, **more: Any) -> Evidence:
    """Return such a run that was ended early."""
    values = {"running": False, "flushed": True, "ended": "planned", "decided_at": 40.0}
    return so_far(make, *rows, **{**values, **more})


def slow(make: Any, **more: Any) -> Any:
    """Return the row that most of these tests are about: p95 under 50 ms, alert over 200 ms."""
    return make.objective(alert="> 200ms", **more)


def errors(make: Any, **more: Any) -> Any:
    """Return a row of errors: target under 1 %, alert over 5 %."""
    return make.objective("error_rate", "< 1%", alert="> 5%", **more)


def test_a_clearly_good_run_needs_no_more_load_once_half_of_it_was_run(make: Any) -> None:
    """After 30 of 60 s, and not after 20: what comes rarely may not have come yet."""
    rows = slow(make), errors(make)
    assert outcome(so_far(make, *rows, seconds=30), 40.0) == BETTER
    assert outcome(so_far(make, *rows, seconds=20), 30.0) is None


def test_a_clearly_bad_run_ends_at_the_first_look(make: Any) -> None:
    """After 20 s; the other rows cannot change the verdict any more."""
    assert outcome(so_far(make, slow(make), errors(make), ok_ms={400: 100}, seconds=20), 30.0) == WORSE


def test_a_row_that_is_neither_met_nor_missed_for_sure_keeps_the_run_going(make: Any) -> None:
    """5 % of the requests are over the target: the p95 may be on either side of it."""
    straddling = {20: 95, 60: 5}
    assert outcome(so_far(make, slow(make), ok_ms=straddling), 40.0) is None
    assert outcome(so_far(make, slow(make), errors(make), ok_ms=straddling), 40.0) is None


def test_a_row_that_misses_its_target_for_sure_and_not_its_alert_is_settled(make: Any) -> None:
    """WARN is as certain as PASS where more load would not change it."""
    assert outcome(so_far(make, slow(make), ok_ms={100: 100}), 40.0) == BETTER


def test_an_optional_row_is_not_waited_for_and_its_failure_counts(make: Any) -> None:
    """Without a reading it is INVALID and holds nothing up; FAIL is FAIL."""
    policy = VerdictPolicy(stop_when_certain=True, optional=("uptime", "error_rate"))
    rows = slow(make), make.objective("uptime", ">= 99%")
    assert outcome(so_far(make, *rows, policy=policy), 40.0) == BETTER
    assert outcome(so_far(make, *rows), 40.0) is None
    bad = [make.window(10 + second, {20: 80}, failed=20) for second in range(30)]
    assert outcome(so_far(make, errors(make), policy=policy, windows=bad), 40.0) == WORSE


def test_rows_that_are_all_optional_settle_nothing(make: Any) -> None:
    """There would be no row that decides."""
    policy = VerdictPolicy(stop_when_certain=True, optional=("response_time",))
    assert outcome(so_far(make, slow(make), policy=policy), 40.0) is None


def test_requests_that_hang_count_as_failed_at_a_look(make: Any) -> None:
    """Every tenth has no answer yet: all others are good, and the run goes on to see what becomes of it."""
    windows = [make.window(10 + second, {20: 100}) for second in range(30)]
    for window in windows:
        window.counts["arrivals"] += 10
    assert outcome(so_far(make, errors(make), windows=windows), 40.0) is None
    assert outcome(so_far(make, slow(make), windows=windows), 40.0) is None


def test_requests_that_hang_do_not_fail_a_run(make: Any) -> None:
    """They may still be answered well, however many they are."""
    windows = [make.window(10 + second, {20: 50}) for second in range(30)]
    for window in windows:
        window.counts["arrivals"] += 50
    assert outcome(so_far(make, errors(make), windows=windows), 40.0) is None


def test_a_breach_that_is_open_may_last_yet(make: Any) -> None:
    """The last window is past the alert threshold, though the whole of the run is fine."""
    row = slow(make, statistic="p50", every=1.0)

    def past_in(*seconds: int) -> Evidence:
        windows = [make.window(10 + n, {400: 100} if n in seconds else {20: 100}) for n in range(30)]
        return so_far(make, row, windows=windows)

    assert outcome(past_in(2, 11, 23), 40.0) == BETTER
    assert outcome(past_in(2, 11, 29), 40.0) is None


def test_a_breach_that_lasted_long_enough_ends_the_run(make: Any) -> None:
    """The row FAILs by `for`, whatever follows."""
    row = slow(make, statistic="p50", every=1.0, **{"for": 5.0})
    windows = [make.window(10 + second, {400: 100} if second < 6 else {20: 100}) for second in range(30)]
    assert outcome(so_far(make, row, windows=windows), 40.0) == WORSE


@pytest.mark.parametrize(("rate", "why"), [(100, BETTER), (60, None), (30, None)])
def test_a_value_without_an_interval_never_ends_a_run_for_the_worse(
    make: Any, rate: int, why: str | None
) -> None:
    """A throughput of 100/s holds in each window; one that is too low so far may still come right."""
    row = make.objective("throughput", ">= 80/s", alert="< 50/s", **{"for": 300.0})
    assert outcome(so_far(make, row, ok_ms={20: rate}), 40.0) == why


def test_a_value_without_an_interval_must_hold_in_every_window(make: Any) -> None:
    """The throughput over all is enough, but in its first window it was not."""
    row = make.objective("throughput", ">= 80/s", alert="< 50/s")
    windows = [make.window(10 + second, {20: 70 if second < 10 else 120}) for second in range(30)]
    assert outcome(so_far(make, row, windows=windows), 40.0) is None


def test_a_maximum_past_its_limit_stays_past_it(make: Any) -> None:
    """One slow request decides a row of a maximum."""
    windows = [make.window(10 + second, {20: 100}) for second in range(29)]
    windows.append(make.window(39, {400: 1}))
    assert outcome(so_far(make, slow(make, statistic="max"), windows=windows), 40.0) == WORSE


def test_a_void_run_is_not_decided(make: Any) -> None:
    """Seconds without a report, or a late generator, say nothing of the target, for better or worse."""
    assert outcome(so_far(make, slow(make), fleet=make.fleet(range(10, 30))), 40.0) is None
    late = [make.window(10 + second, {400: 100}, lag_us=50_000) for second in range(30)]
    assert outcome(so_far(make, slow(make), windows=late), 40.0) is None


def test_levels_that_are_yet_to_come_keep_a_good_run_going(make: Any) -> None:
    """100/s is fine, but 200/s follows; a failure ends the run all the same."""
    steps = (Segment(10, 40, 100, 100, "steady"), Segment(40, 70, 200, 200, "steady"))
    assert outcome(so_far(make, slow(make), segments=steps), 40.0) is None
    assert outcome(so_far(make, slow(make), segments=steps, ok_ms={400: 100}), 40.0) == WORSE
    assert not all_begun(steps, 40.0)
    assert all_begun(steps, 40.1)


def test_a_trace_never_ends_for_the_better(make: Any) -> None:
    """Its busiest minute may be yet to come."""
    assert outcome(so_far(make, slow(make)), 40.0, may_pass=False) is None
    assert outcome(so_far(make, slow(make), ok_ms={400: 100}), 40.0, may_pass=False) == WORSE


def test_a_run_that_was_decided_passes_and_says_so(make: Any) -> None:
    """It is not one that was cut short: 30 of 60 s are all that it takes, with the doubt of its look."""
    verdict = judge(ended(make, slow(make), errors(make)), now=NOW)
    content = verdict.to_dict()
    jsonschema.validate(content, schema())
    assert (verdict.grade, content["ended"], content["exit_code"]) == (Grade.PASS, "planned", 0)
    assert content["decided"] == {"after": 30.0, "of": 60.0, "look": 2, "looks": 4, "doubt": 0.05 / 6}
    assert verdict.reasons[-1] == (
        "decided after 30s of 1m planned steady load, at look 2 of 4: each bound has 99.17% confidence"
    )
    assert [row["confidence"] for row in content["objectives"]] == [0.9917, 0.9917]
    assert "(99.17% bounds" in content["objectives"][0]["reason"]


def test_a_run_that_failed_early_fails(make: Any) -> None:
    """And nothing is said of a run that could never pass."""
    verdict = judge(ended(make, slow(make), ok_ms={400: 100}, seconds=20), now=NOW)
    assert verdict.grade is Grade.FAIL
    assert not any("never pass" in reason for reason in verdict.reasons)


def test_a_run_that_turned_out_well_after_it_failed_early_does_not_pass(make: Any) -> None:
    """What was under way was good: the row holds now, on a third of the planned load."""
    verdict = judge(ended(make, slow(make), seconds=20), now=NOW)
    assert (verdict.grade, verdict.rows[0].verdict) == (Grade.INVALID, Grade.PASS)
    assert "run it again" in verdict.reasons[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"decided_at": None},
        {"policy": VerdictPolicy()},
        {"ended": "interrupted"},
        {"ended": "died"},
        {"ended": "stopped"},
    ],
)
def test_no_other_early_end_passes(make: Any, changes: dict[str, Any]) -> None:
    """Only the plan's own leave makes half a run whole."""
    verdict = judge(ended(make, slow(make), **changes), now=NOW)
    assert verdict.grade is Grade.INVALID
    assert verdict.to_dict()["decided"] is None


def test_a_run_that_came_to_its_end_is_judged_with_what_doubt_is_left(make: Any) -> None:
    """2.5 % at each side where there were looks, the whole of 5 % without them."""
    row = slow(make)
    whole = judge(ended(make, row, seconds=60, decided_at=None), now=NOW).rows[0]
    plain = judge(ended(make, row, seconds=60, decided_at=None, policy=VerdictPolicy()), now=NOW).rows[0]
    assert (whole.verdict, whole.confidence) == (Grade.PASS, 0.975)
    assert (plain.verdict, plain.confidence) == (Grade.PASS, 0.95)


def test_a_look_takes_more_evidence_than_the_end(make: Any) -> None:
    """None bad of 300 shows < 1 % with 95 % confidence, since 0.99^300 <= 0.05, and not with 99.17 %."""
    row = make.objective("error_rate", "< 1%", alert="> 5%")
    few = {"windows": [make.window(10 + second, {20: 10}) for second in range(30)], "segments": ()}
    once = ended(make, row, planned=30, decided_at=None, policy=VerdictPolicy(), **few)
    assert judge(once, now=NOW).grade is Grade.PASS
    assert judge(ended(make, row, **few), now=NOW).grade is Grade.WARN
