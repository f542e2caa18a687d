"""The rules about the generator: a load that was not the planned one voids the run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.judge import marks, summary
from loadgate.judge.generator import achieved, planned_level, remedy
from loadgate.judge.run import void_reasons
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import schema
from loadgate.measure.delta import FleetRow
from loadgate.plan.scenario import Generator
from loadgate.plan.timeline import Segment
from loadgate.plan.units import format_duration, format_share


@pytest.mark.parametrize(("late", "void"), [(29, False), (31, True)])
def test_start_lag_voids_the_run_past_20_ms_at_p99(make: Any, late: int, void: bool) -> None:
    """3000 starts are on time: rank ceil(0.99·3029) = 2999 is one of them, ceil(0.99·3031) = 3001 is not."""
    windows = make.steady({20: 100})
    windows[0].histograms["start_lag"].record(25_000, late)
    assert bool(void_reasons(make.evidence(windows=windows))) is void


def test_pool_wait_never_voids_a_run(make: Any) -> None:
    """No free user is the target's doing: judged, never excused."""
    windows = make.steady({20: 50}, unsent_pool=50)
    for window in windows:
        window.histograms["pool_wait"] = window.histograms["response.ok"].copy()
        window.histograms["pool_wait"].record(29_000_000, 50)
    assert void_reasons(make.evidence(windows=windows)) == ()


@pytest.mark.parametrize(("unsent", "void"), [(1, False), (2, True)])
def test_requests_that_the_generator_never_sent_void_the_run(make: Any, unsent: int, void: bool) -> None:
    """One percent is the limit."""
    windows = make.steady({20: 100 - unsent}, unsent_generator=unsent)
    assert bool(void_reasons(make.evidence(windows=windows))) is void


@pytest.mark.parametrize(("stalls", "void"), [(3, False), (4, True)])
def test_a_stalled_event_loop_voids_the_run(make: Any, stalls: int, void: bool) -> None:
    """Three of 30 worker seconds are a tenth, and that is the limit."""
    fleet = [
        *make.fleet(range(10, 10 + stalls), loop_lag_p99_us=150_000.0),
        *make.fleet(range(10 + stalls, 40)),
    ]
    assert bool(void_reasons(make.evidence(fleet=fleet))) is void


def full_core(make: Any, seconds: int, **more: Any) -> list[Any]:
    """Return the rows of a worker that is at its limit in the first seconds of 30, and idle after."""
    return [
        *make.fleet(range(10, 10 + seconds), cpu=0.95, **more),
        *make.fleet(range(10 + seconds, 40), **more),
    ]


@pytest.mark.parametrize(("seconds", "void"), [(15, False), (16, True)])
def test_a_full_core_voids_a_closed_run(make: Any, seconds: int, void: bool) -> None:
    """Half of 30 seconds at 95 % is the limit: past it the generator measures its own speed."""
    reasons = void_reasons(make.evidence(fleet=full_core(make, seconds), model="closed"))
    assert bool(reasons) is void
    assert all("closed model" in reason and "let the users wait" in reason for reason in reasons)


def test_a_full_core_that_is_in_time_does_not_void_an_open_run(make: Any) -> None:
    """Requests started 100 us after their time, and all were sent: the schedule was kept."""
    fleet = [
        row
        for second in range(10, 40)
        for row in make.fleet([second], cpu=1.0, offered=50 * second, started=50 * second)
    ]
    assert void_reasons(make.evidence(fleet=fleet)) == ()


@pytest.mark.parametrize(("lag_us", "void"), [(4_900, False), (6_000, True)])
def test_a_full_core_that_is_late_voids_an_open_run(make: Any, lag_us: int, void: bool) -> None:
    """5 ms at p99, where a worker with CPU to spare may be 20 ms late."""
    evidence = make.evidence(fleet=full_core(make, 30), windows=make.steady({20: 100}, lag_us=lag_us))
    assert any("on a full core" in reason for reason in void_reasons(evidence)) is void


@pytest.mark.parametrize(("sent", "void"), [(2871, False), (2870, True)])
def test_a_full_core_that_falls_behind_voids_an_open_run(make: Any, sent: int, void: bool) -> None:
    """2900 came due between the first and the last row; 99 % of them are 2871."""
    first = make.fleet([10], cpu=1.0, offered=100, started=90, in_flight=10)
    between = make.fleet(range(11, 39), cpu=1.0)
    last = make.fleet([39], cpu=1.0, offered=3000, started=100 + sent - 7, in_flight=7)
    evidence = make.evidence(fleet=[*first, *between, *last])
    assert any("of what came due" in reason for reason in void_reasons(evidence)) is void


def test_what_is_under_way_counts_as_sent(make: Any) -> None:
    """A slow target keeps requests under way; none of them is the generator's fault."""
    first = make.fleet([10], offered=100, started=100, in_flight=0)
    last = make.fleet([20], offered=200, started=150, in_flight=50)
    assert achieved([*first, *last]) == 1.0
    assert achieved(first) is None


def test_the_planned_level_is_that_of_the_steady_phase(make: Any) -> None:
    """30 s at 100/s, without the ramp before; of a run that began to be steady at 25 it is 15 s."""
    segments = (Segment(0, 10, 0, 100, "ramp"), Segment(10, 40, 100, 100, "steady"))
    assert planned_level(make.evidence(segments=segments)) == (3000, 30)
    assert planned_level(make.evidence(segments=segments, steady=[Interval(25, 40)])) == (1500, 15)


@pytest.mark.parametrize(
    ("rate", "random", "void"),
    [(101, False, False), (102, False, True), (110, True, False), (115, True, True)],
)
def test_fewer_arrivals_than_planned_void_the_run(make: Any, rate: float, random: bool, void: bool) -> None:
    """3000 were due in 30 s, and 99 % of the plan are needed.

    Fixed spacing: 101/s is 3030, of which 2999.7 are needed; 102/s is 3060, and 3029.4 less 2 are. Poisson,
    with 5 roots less: 110/s is 3300, so 3267 - 287; 115/s is 3450, so 3415.5 - 293.7.
    """
    evidence = make.evidence(segments=(Segment(10, 40, rate, rate, "steady"),), random_arrivals=random)
    assert any("planned requests were due" in reason for reason in void_reasons(evidence)) is void


@pytest.mark.parametrize(
    ("policy", "void"), [("invalid", True), ("degrade <= 50%", False), ("continue", True)]
)
def test_arrivals_of_a_lost_worker_may_be_missing_where_its_loss_may(
    make: Any, policy: str, void: bool
) -> None:
    """3000 of 5000 planned: two fifths are gone. With "continue" others take the load of lost workers."""
    evidence = make.evidence(
        segments=(Segment(10, 40, 5000 / 30, 5000 / 30, "steady"),),
        generator=Generator(on_worker_loss=policy),
    )
    assert bool(void_reasons(evidence)) is void


@pytest.mark.parametrize(("users", "void"), [(19, True), (20, False), (0, False)])
def test_missing_users_void_a_closed_run(make: Any, users: int, void: bool) -> None:
    """The plan has 20; stock Locust users are not counted, so 0 says nothing."""
    evidence = make.evidence(
        model="closed",
        segments=(Segment(10, 40, 20, 20, "steady"),),
        fleet=make.fleet(range(10, 40), users=users),
    )
    assert any("planned users" in reason for reason in void_reasons(evidence)) is void


def test_a_run_that_was_cut_short_is_not_held_against_its_plan(make: Any) -> None:
    """Its last reports are missing, and it cannot pass; what it shows of failures still counts."""
    segments = (Segment(10, 40, 200, 200, "steady"),)
    assert void_reasons(make.evidence(segments=segments, ended="died")) == ()


# -- what a worker tells of itself ---------------------------------------------------------------

TOLD: dict[str, Any] = {"cpu_allowed": 2.0, "control_n": 1, "control_p50_us": 300.0, "control_p99_us": 300.0}
"""What a worker of this release tells where nothing is wrong."""
LIMITS = [
    ("loop_lag", {"loop_lag_p99_us": 100_000.0}, {"loop_lag_p99_us": 100_001.0}),
    ("throttled", {"throttled_us": 100_000.0}, {"throttled_us": 100_001.0}),
    ("descriptors", {"fds": 90, "fds_limit": 100}, {"fds": 91, "fds_limit": 100}),
    ("ports", {"ports": 900, "ports_limit": 1000}, {"ports": 901, "ports_limit": 1000}),
    ("gc_pause", {"gc_pause_max_us": 100_000.0}, {"gc_pause_max_us": 100_001.0}),
    ("control", {"control_p99_us": 20_000.0}, {"control_p99_us": 20_001.0}),
    ("control", {"control_failures": 0}, {"control_failures": 1}),
    ("start_lag", {"start_lag_p99_us": 20_000.0}, {"start_lag_p99_us": 20_001.0}),
    ("cpu", {"cpu": 0.949}, {"cpu": 0.95}),
]
VOIDING = [limit for limit in LIMITS if limit[0] not in ("start_lag", "cpu")]


def told(make: Any, seconds: range, worker: str = "worker-1", **changes: Any) -> list[FleetRow]:
    """Return rows of a worker that tells all there is."""
    return make.fleet(seconds, worker, **{**TOLD, **changes})


@pytest.mark.parametrize(("kind", "within", "past"), LIMITS)
def test_a_second_is_marked_past_its_limit_and_not_at_it(
    make: Any, kind: str, within: dict[str, Any], past: dict[str, Any]
) -> None:
    """Each witness has one limit; a healthy second has no mark."""
    (good,), (bad,) = told(make, range(10, 11), **within), told(make, range(10, 11), **past)
    assert (marks.marks_of(good), marks.marks_of(bad)) == ((), (kind,))


@pytest.mark.parametrize(("kind", "within", "past"), VOIDING)
@pytest.mark.parametrize(("seconds", "void"), [(3, False), (4, True)])
def test_marks_void_the_run_in_over_a_tenth_of_its_seconds(
    make: Any, kind: str, within: dict[str, Any], past: dict[str, Any], seconds: int, void: bool
) -> None:
    """Three of 30 are a tenth. One reason is given, with the worker and a remedy."""
    fleet = [*told(make, range(10, 10 + seconds), **past), *told(make, range(10 + seconds, 40), **within)]
    reasons = void_reasons(make.evidence(fleet=fleet))
    assert len(reasons) == int(void)
    assert all(
        f"worker-1: {('control' if kind == 'control' else '')}" in reason
        and f"in {seconds} of its 30 steady seconds" in reason
        for reason in reasons
    )


@pytest.mark.parametrize(("seconds", "void"), [(2, False), (3, True)])
def test_two_marked_seconds_never_void_a_run(make: Any, seconds: int, void: bool) -> None:
    """Of 12 steady seconds two are over a tenth, and a machine hiccups; three are enough."""
    steady = [Interval(10, 22)]
    fleet = [
        *told(make, range(10, 10 + seconds), control_p99_us=50_000.0),
        *told(make, range(10 + seconds, 22)),
    ]
    evidence = make.evidence(fleet=fleet, steady=steady, planned=steady, ended="stopped")
    assert any("control" in reason for reason in void_reasons(evidence)) is void


@pytest.mark.parametrize(("seconds", "void"), [(15, False), (16, True)])
def test_one_worker_of_many_is_not_hidden_by_the_others(make: Any, seconds: int, void: bool) -> None:
    """16 of 600 worker seconds are under 3 %, but over half of what worker-7 made."""
    fleet = [row for n in range(1, 21) if n != 7 for row in told(make, range(10, 40), f"worker-{n}")]
    fleet += told(make, range(10, 10 + seconds), "worker-7", control_p99_us=48_000.0)
    fleet += told(make, range(10 + seconds, 40), "worker-7")
    reasons = void_reasons(make.evidence(fleet=fleet, workers_expected=20))
    assert bool(reasons) is void
    assert all("worker-7: control p99 48" in reason for reason in reasons)
    assert all("16 of 600 of all workers" in reason for reason in reasons)


def test_a_worker_that_is_late_half_of_the_time_is_not_hidden_either(make: Any) -> None:
    """Over all requests 1 % is not late, so the exact rule says nothing."""
    fleet = [row for n in range(1, 20) for row in told(make, range(10, 40), f"worker-{n}")]
    fleet += told(make, range(10, 40), "worker-20", start_lag_p99_us=34_000.0)
    (reason,) = void_reasons(make.evidence(fleet=fleet, workers_expected=20))
    assert "worker-20: start lag p99 up to 34ms; past 20ms in 30 of its 30 steady seconds" in reason


def test_lateness_that_the_exact_rule_voids_is_told_once(make: Any) -> None:
    """With the worker that was worst."""
    evidence = make.evidence(
        windows=make.steady({20: 100}, lag_us=30_000),
        fleet=told(make, range(10, 40), start_lag_p99_us=30_000.0),
    )
    (reason,) = void_reasons(evidence)
    assert "worst was worker-1 with p99 30ms" in reason


def test_pool_wait_marks_nothing(make: Any) -> None:
    """All users busy all the time: the rows of a healthy worker whose target is slow."""
    assert marks.marks_of(told(make, range(10, 11), in_flight=10, users=10, p99_us=29_000_000.0)[0]) == ()


@pytest.mark.parametrize(("cpu", "void"), [(0.28, False), (0.29, True)])
def test_a_full_quota_is_a_full_core(make: Any, cpu: float, void: bool) -> None:
    """0.3 cores are allowed; 95 % of them are 0.285. In the closed model that voids."""
    evidence = make.evidence(fleet=told(make, range(10, 40), cpu=cpu, cpu_allowed=0.3), model="closed")
    reasons = void_reasons(evidence)
    assert bool(reasons) is void
    assert all("of the 0.3 cores that it may use" in reason for reason in reasons)


def test_more_cores_than_one_help_no_worker(make: Any) -> None:
    """A worker is one thread: 0.95 of a core is all, on a machine of eight."""
    assert marks.cpu_share(told(make, range(10, 11), cpu=0.95, cpu_allowed=8.0)[0]) == 0.95


@pytest.mark.parametrize(
    ("cpu", "workers", "sent", "said"),
    [
        (0.75, 1, 3000, "add 1 worker,"),  # 0.75 / 0.7 = 1.07: two in all
        (0.98, 2, 3000, "add 1 worker,"),  # 1.96 / 0.7 = 2.8: three
        (1.00, 2, 2000, "add 3 workers,"),  # two thirds were sent: 3.0 / 0.7 = 4.3: five
        (0.30, 1, 3000, "worker-1 used only 30% of its CPU, so it waited for something else"),
    ],
)
def test_the_remedy_counts_workers_by_the_cpu_they_used(
    make: Any, cpu: float, workers: int, sent: int, said: str
) -> None:
    """Each is to use 70 %; what was due and not sent takes as much CPU as what was sent."""
    fleet = [
        row
        for n in range(1, workers + 1)
        for second, offered, started in ((10, 0, 0), (39, 3000, sent))
        for row in told(
            make,
            range(second, second + 1),
            f"worker-{n}",
            cpu=cpu,
            offered=offered,
            started=started,
            in_flight=0,
        )
    ]
    assert said in remedy(make.evidence(fleet=fleet, workers_expected=workers))


@pytest.mark.parametrize(("made", "void"), [(15, False), (14, True)])
def test_a_silent_control_voids_the_run(make: Any, made: int, void: bool) -> None:
    """About 30 requests are made in 30 s; under half of them is no witness."""
    fleet = [
        *told(make, range(10, 10 + made)),
        *told(make, range(10 + made, 40), control_n=0, control_p99_us=0.0),
    ]
    reasons = void_reasons(make.evidence(fleet=fleet))
    assert bool(reasons) is void
    assert all(f"only {made} control requests ended in 30 steady seconds" in reason for reason in reasons)


@pytest.mark.parametrize("change", [{"cpu_allowed": 0.0}, {}])
def test_no_control_is_asked_of_a_run_that_made_none(make: Any, change: dict[str, float]) -> None:
    """A run of an older release, or one whose plan says so."""
    silent = told(make, range(10, 40), control_n=0, control_p50_us=0.0, control_p99_us=0.0, **change)
    assert void_reasons(make.evidence(fleet=silent, generator=Generator(control=bool(change)))) == ()


def test_a_control_without_any_answer_says_so(make: Any) -> None:
    """Its own machine did not answer: nothing that was measured then can be believed."""
    fleet = told(make, range(10, 40), control_failures=1, control_p50_us=0.0, control_p99_us=0.0)
    (reason,) = void_reasons(make.evidence(fleet=fleet))
    assert "worker-1: control without any answer, 30 of 30 without an answer" in reason
    assert "could not reach a server on its own machine" in reason


def test_a_slow_control_that_always_answered_is_not_told_to_reach_its_server(make: Any) -> None:
    """A merged minute with 10 of 60 s at 30 ms and no failure: the number is past the limit it is held to."""
    steady = [Interval(0, 60)]
    (row,) = told(make, range(1), control_n=60, control_p99_us=30_000.0)
    row = replace(row, span=60, told=(1 << 60) - 1, marks=(("control", (1 << 10) - 1),))
    evidence = make.evidence(fleet=[row], steady=steady, planned=steady, ended="stopped")
    (reason,) = (one for one in void_reasons(evidence) if "control" in one)
    assert "worker-1: control p99 30" in reason
    assert "past 20ms or unanswered in 10 of its 60 steady seconds" in reason
    assert "could not reach" not in reason


def test_what_a_merged_row_was_held_back_for_is_told_with_its_seconds(make: Any) -> None:
    """Sixty seconds of 110 ms each are 6.6 s in all, and not 6.6 s in any one of them."""
    steady = [Interval(0, 60)]
    (row,) = told(make, range(1), control_n=60, throttled_us=6_600_000.0)
    row = replace(row, span=60, told=(1 << 60) - 1, marks=(("throttled", (1 << 60) - 1),))
    evidence = make.evidence(fleet=[row], steady=steady, planned=steady, ended="stopped")
    (reason,) = (one for one in void_reasons(evidence) if "CPU quota" in one)
    assert "held back for its CPU quota for 6.6s in 60s;" in reason


def test_a_cause_is_named_with_its_own_remedy(make: Any) -> None:
    """A quota is raised, descriptors are allowed, addresses are added, memory is kept less of."""
    for changes, words in (
        (
            {"throttled_us": 300_000.0, "cpu_allowed": 0.5},
            ("300ms a second", "may use 0.5 cores", "raise its quota"),
        ),
        ({"fds": 1000, "fds_limit": 1024}, ("1000 of 1024 descriptors", "past 90%", "ulimit -n")),
        ({"ports": 28_000, "ports_limit": 28_232}, ("28000 of 28232 local ports", "source_addresses")),
        ({"gc_pause_max_us": 150_000.0}, ("garbage collections of up to 150ms", "50 MB")),
        ({"loop_lag_p99_us": 148_000.0, "cpu": 0.9}, ("loop lag p99 148ms", "past 100ms", "add 1 worker")),
    ):
        (reason,) = void_reasons(make.evidence(fleet=told(make, range(10, 40), **changes)))
        assert all(word in reason for word in words), reason


def test_marked_seconds_are_those_of_any_worker(make: Any) -> None:
    """Of every phase, in order, each with its causes."""
    fleet = [
        *told(make, range(5, 6), fds=95, fds_limit=100),
        *told(make, range(12, 13), "worker-2", control_failures=1, cpu=1.0),
        *told(make, range(12, 13), loop_lag_p99_us=200_000.0),
        *told(make, range(13, 40)),
    ]
    assert marks.marked_seconds(make.evidence(fleet=fleet)) == {
        5: ("descriptors",),
        12: ("loop_lag", "cpu", "control"),
    }


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=60))
def test_marks_matter_by_all_seconds_or_by_half_of_one_worker(seconds: list[tuple[str, bool]]) -> None:
    """The rule, written out again: at least 3, and over 10 % of all or over 50 % of some worker's."""
    by_worker: dict[str, list[FleetRow]] = {}
    for second, (worker, bad) in enumerate(seconds):
        row = FleetRow(second, worker, 0, 0, 0, 0, 0, 0.1, 1, 0.0, 150_000.0 if bad else 0.0, 0.0)
        by_worker.setdefault(worker, []).append(row)
    bad_of = {name: [bad for worker, bad in seconds if worker == name] for name in by_worker}
    total = sum(map(sum, bad_of.values()))
    half = any(2 * sum(bad) > len(bad) for bad in bad_of.values())
    found = marks.marked(by_worker).get("loop_lag")
    assert (found.seconds if found else 0) == total
    assert bool(found and found.matters) is (total >= 3 and (10 * total > len(seconds) or half))


def test_the_verdict_reports_the_generators_health(make: Any) -> None:
    """Achieved to offered, the control, the marks, each worker's use of what it has; as in the schema."""
    fleet = [
        *told(make, range(10, 39), cpu=0.3, fds=40, fds_limit=1024, ports=12, ports_limit=28_232),
        *told(make, range(39, 40), cpu=0.6, control_p99_us=25_000.0, control_n=2, control_failures=1),
    ]
    windows = make.steady({20: 95}, unsent_generator=4, lost=1)
    found = summary.generator(make.evidence(fleet=fleet, windows=windows))
    assert (found["offered_per_second"], found["achieved_per_second"], found["achieved_share"]) == (
        100,
        95,
        0.95,
    )
    assert found["marked"] == {"seconds": 1, "worker_seconds": 1, "by": {"control": 1}}
    assert (found["control"]["n"], found["control"]["failures"]) == (31, 1)
    # 30 answers: ranks 15 and 30 of 29 times 0.3 ms and once 25 ms (histograms round up by 0.1 %).
    assert found["control"]["p50_ms"] == pytest.approx(0.3, rel=0.001)
    assert found["control"]["p99_ms"] == pytest.approx(25.0, rel=0.001)
    (worker,) = found["workers"]
    assert (worker["cpu_share_mean"], worker["cpu_share_max"], worker["cpu_allowed"]) == (
        pytest.approx(9.3 / 30),
        0.6,
        2.0,
    )
    assert (worker["descriptors_max"], worker["ports_max"], worker["ports_limit"]) == (40, 12, 0)
    rules = schema()
    jsonschema.validate(found, {**rules["properties"]["generator"], "$defs": rules["$defs"]})


def test_what_an_older_run_did_not_measure_is_null(make: Any) -> None:
    """Not 0: nobody looked."""
    found = summary.generator(make.evidence())
    (worker,) = found["workers"]
    assert (worker["cpu_allowed"], worker["descriptors_max"], worker["control"], found["control"]) == (
        None,
    ) * 4
    rules = schema()
    jsonschema.validate(found, {**rules["properties"]["generator"], "$defs": rules["$defs"]})


PAGE = (Path(__file__).parents[2] / "docs" / "verdict.md").read_text(encoding="utf-8")


def test_the_page_of_verdicts_has_a_row_for_each_mark() -> None:
    """In the order of the code."""
    table = PAGE.split("### The generator as a witness", 1)[1].split("A run of a release", 1)[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(marks.KINDS)


@pytest.mark.parametrize(
    "limit",
    [
        f"| `start_lag` | p99 over {format_duration(marks.START_LAG_LIMIT_US / 1e6)} |",
        f"| `loop_lag` | p99 over {format_duration(marks.LOOP_LAG_LIMIT_US / 1e6)} |",
        f"| `cpu` | {format_share(marks.FULL_CORE)} of what it may use",
        f"for over {format_duration(marks.THROTTLED_LIMIT_US / 1e6)}, over all CPUs",
        f"a garbage collection over {format_duration(marks.GC_LIMIT_US / 1e6)}",
        f"over {format_share(marks.SHORT_LIMIT)} of the process's limit",
        f"over {format_share(marks.SHORT_LIMIT)} of the local ports",
        f"took over {format_duration(marks.CONTROL_LIMIT_US / 1e6)}",
        f"over {format_share(marks.MARKED_LIMIT)} of all worker seconds, or over "
        f"{format_share(marks.MARKED_HALF)} of one worker's; at least {marks.MARKED_LEAST}",
    ],
)
def test_the_limits_on_the_page_are_those_of_the_code(limit: str) -> None:
    """Each stands there as it is."""
    assert limit in PAGE
