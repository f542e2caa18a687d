"""The rules about the generator: a load that was not the planned one voids the run."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.generator import achieved, planned_level
from loadgate.judge.run import void_reasons
from loadgate.judge.slots import Interval
from loadgate.plan.scenario import Generator
from loadgate.plan.timeline import Segment


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
