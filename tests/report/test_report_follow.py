"""Following a run that grows: what is counted, once, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.measure.delta import Failure
from loadgate.report.follow import Follower
from loadgate.store.blocks import LEAST
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder

Make = Callable[..., Any]


def test_a_run_without_a_database_is_one_of_which_nothing_is_known(
    tmp_path: Path, make_plan: Make, make_objective: Make
) -> None:
    """Before the generator has made its database, the view waits and nothing fails."""
    follower = Follower(RunFolder(tmp_path / "none"), make_plan(make_objective()))
    snapshot = follower.refresh({})
    assert not snapshot.begun
    assert snapshot.endpoints == ()
    assert [state.state for state in snapshot.objectives] == ["waiting"]


def test_the_database_is_found_once_it_is_there(
    tmp_path: Path, make_run: Make, make_plan: Make, make_window: Make
) -> None:
    """A follower opened too early reads the run as soon as it can."""
    run = make_run()
    hidden = run.folder.database.rename(run.folder.path / "hidden.db")
    follower = Follower(run.folder, make_plan())
    assert not follower.refresh({}, 1.0).begun
    hidden.rename(run.folder.database)
    run.ship(make_window(0, {5: 3}))
    assert follower.refresh({}, 2.0).total.count("ok") == 3


def test_a_window_that_is_written_again_counts_once(run: Any, make_plan: Make, make_window: Make) -> None:
    """The second worker's part of a second makes the row new: 10 and then 14, not 10 and 14 more."""
    follower = Follower(run.folder, make_plan())
    run.ship(make_window(6, {10: 10}), worker="w1")
    assert follower.refresh({}, 8.0).total.count("ok") == 10
    run.ship(make_window(6, {10: 4}), worker="w2")
    snapshot = follower.refresh({}, 8.0)
    assert snapshot.total.count("ok") == 14
    assert snapshot.total.steady.n == 14


def test_a_refresh_without_news_changes_nothing(run: Any, make_plan: Make, make_window: Make) -> None:
    """Reading twice is reading once."""
    follower = Follower(run.folder, make_plan())
    run.ship(make_window(6, {10: 10}))
    assert follower.refresh({}, 8.0) == follower.refresh({}, 8.0)


def test_totals_of_a_long_run_are_those_of_the_database(run: Any, make_plan: Make, make_window: Make) -> None:
    """Merging old windows away loses nothing: 120 s of two workers, each second in two parts."""
    follower = Follower(run.folder, make_plan())
    for second in range(120):
        phase = "steady" if second >= 5 else "ramp"
        for worker in ("w1", "w2"):
            windows = [
                make_window(second, {second + 1: 2}, name, phase, failed=1)
                for name in ("emotion", "creative")
            ]
            run.second(second, worker, *windows)
        snapshot = follower.refresh({}, second + 1.0)
    with RunReader(run.folder.database) as reader:
        whole, emotion = reader.total(), reader.total(phase="steady", endpoint="emotion")
    assert snapshot.total.count("arrivals") == whole.count("arrivals") == 120 * 2 * 2 * 3
    assert snapshot.total.count("failed") == whole.count("failed") == 120 * 2 * 2
    view = next(view for view in snapshot.endpoints if view.name == "emotion")
    histogram, infinite = emotion.response("adjusted")
    # 115 steady seconds of 2 x 3 requests, a third of them failed.
    assert view.steady.n == histogram.total + infinite == 115 * 6
    assert view.steady.p50 == histogram.percentile(5000, infinite)
    assert view.steady.p95 == math.inf
    assert snapshot.late == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 29), st.sampled_from(["w1", "w2", "w3"]), st.integers(0, 5), st.booleans()),
        max_size=25,
    )
)
def test_in_any_order_of_deltas_and_refreshes_the_totals_are_exact(
    steps: list[tuple[int, str, int, bool]], make_run: Make, make_plan: Make, make_window: Make
) -> None:
    """Law: whatever comes when, within the seconds that are kept apart, totals equal the database's."""
    run = make_run()
    follower = Follower(run.folder, make_plan())
    for second, worker, number, look in steps:
        run.ship(make_window(second, {second + 1: number}, failed=1), worker=worker)
        if look:
            follower.refresh({}, 40.0)
    snapshot = follower.refresh({}, 40.0)
    with RunReader(run.folder.database) as reader:
        total = reader.total()
    for name in ("arrivals", "ok", "failed"):
        assert snapshot.total.count(name) == total.count(name)
    histogram, infinite = total.response("adjusted")
    assert snapshot.total.steady.n == histogram.total + infinite
    assert snapshot.total.steady.p50 == histogram.percentile(5000, infinite)
    follower.close()
    run.writer.close()


def test_a_window_that_changes_too_late_is_told_and_then_read_again(
    run: Any, make_plan: Make, make_window: Make
) -> None:
    """A worker that was cut off for a minute: its windows count as late, then the run is read anew."""
    follower = Follower(run.folder, make_plan())
    for second in range(60):
        run.ship(make_window(second, {10: 1}))
    assert follower.refresh({}, 60.0).total.count("ok") == 60
    run.ship(make_window(2, {10: 5}), worker="w2")
    late = follower.refresh({}, 61.0)
    assert (late.total.count("ok"), late.late) == (60, 1)
    anew = follower.refresh({}, 72.0)
    assert (anew.total.count("ok"), anew.late) == (65, 0)


def test_who_was_away_while_old_seconds_were_merged_counts_none_twice(
    run: Any, make_plan: Make, make_window: Make
) -> None:
    """Read at 15, merged up to 140 at 200: seconds 10 to 14 are in rows with some that were not seen yet."""
    follower = Follower(run.folder, make_plan())
    for second in range(15):
        run.ship(make_window(second, {10: 1}))
    assert follower.refresh({}, 15.0).total.count("ok") == 15
    for second in range(15, 200):
        run.ship(make_window(second, {10: 1}))
    while run.writer.compact(200.0, LEAST):
        pass
    assert follower.refresh({}, 200.0).total.count("ok") == 200


def test_recent_percentiles_are_of_the_last_ten_complete_seconds(
    run: Any, make_plan: Make, make_window: Make
) -> None:
    """Seconds 0..9 were slow, 10..19 fast: at 20 s only the fast ones are recent, both are in the total."""
    follower = Follower(run.folder, make_plan())
    for second in range(20):
        run.second(second, "w1", make_window(second, {(100 if second < 10 else 1): 10}))
    view = follower.refresh({}, 20.5).total
    # 1 ms lies in a counter of 1 µs width, 100 ms in one of 64 µs: up to 100,031 µs.
    assert (view.recent.n, view.recent.p50, view.recent.p99) == (100, 1000.0, 1000.0)
    assert (view.steady.n, view.steady.p99) == (200, 100_031.0)


def test_what_failed_is_infinitely_slow(run: Any, make_plan: Make, make_window: Make) -> None:
    """Six failures among 100 requests: rank 95 falls among them, rank 50 does not."""
    follower = Follower(run.folder, make_plan())
    run.second(6, "w1", make_window(6, {10: 94}, failed=4, timeout=2))
    view = follower.refresh({}, 7.0).total
    assert view.recent.p50 == 10_007.0
    assert view.recent.p95 == math.inf
    assert (view.count("failed"), view.count("timeout")) == (4, 2)


def test_the_achieved_rate_is_of_ok_answers_in_the_last_five_seconds(
    run: Any, make_plan: Make, make_window: Make
) -> None:
    """Seconds of 10, 20, ..., 100 ok answers: the last five have 60+70+80+90+100 = 400, so 80 per second."""
    follower = Follower(run.folder, make_plan())
    for second in range(10):
        run.second(second, "w1", make_window(second, {5: 10 * (second + 1)}, failed=7))
    assert follower.refresh({}, 10.2).total.ok_rate == 80.0


def test_the_first_seconds_are_a_rate_of_what_there_is(run: Any, make_plan: Make, make_window: Make) -> None:
    """After two seconds of 30 answers each the rate is 30 per second, not 60 / 5."""
    follower = Follower(run.folder, make_plan())
    for second in range(2):
        run.second(second, "w1", make_window(second, {5: 30}))
    assert follower.refresh({}, 2.0).total.ok_rate == 30.0


def test_rates_end_where_the_slowest_worker_has_reported(
    run: Any, make_plan: Make, make_window: Make
) -> None:
    """One worker is two seconds behind: its missing part must not look like a loss of load."""
    follower = Follower(run.folder, make_plan())
    for second in range(10):
        run.second(second, "w1", make_window(second, {5: 10}))
        if second < 8:
            run.second(second, "w2", make_window(second, {5: 10}))
    snapshot = follower.refresh({}, 10.0)
    assert snapshot.until == 8.0
    assert snapshot.total.ok_rate == 20.0


def test_a_worker_that_no_longer_reports_is_silent_and_holds_nothing_up(
    run: Any, make_plan: Make, make_row: Make
) -> None:
    """Its last row is five seconds older than the newest: the others decide, nothing of it is in flight."""
    follower = Follower(run.folder, make_plan())
    run.ship(worker="w1", fleet=tuple(make_row(second, "w1", in_flight=3) for second in range(10)))
    run.ship(worker="w2", fleet=tuple(make_row(second, "w2", in_flight=4) for second in range(5)))
    snapshot = follower.refresh({}, 10.0)
    assert [(worker.name, worker.silent) for worker in snapshot.workers] == [("w1", False), ("w2", True)]
    assert (snapshot.until, snapshot.in_flight) == (10.0, 3)


@pytest.mark.parametrize(("now", "reporting"), [(25.0, 2), (25.1, 1), (26.1, 0), (400.0, 0)])
def test_workers_that_all_stop_are_silent(
    now: float, reporting: int, run: Any, make_plan: Make, make_row: Make
) -> None:
    """Each 15 s after the last second that it told of ended, at 10 s and 11 s, though no other goes on."""
    follower = Follower(run.folder, make_plan())
    run.ship(worker="w1", fleet=tuple(make_row(second, "w1", in_flight=3) for second in range(10)))
    run.ship(worker="w2", fleet=tuple(make_row(second, "w2", in_flight=4) for second in range(11)))
    snapshot = follower.refresh({}, now)
    assert (snapshot.reporting, snapshot.in_flight) == (reporting, {2: 7, 1: 4, 0: 0}[reporting])


def test_a_worker_is_not_silent_for_being_done(run: Any, make_plan: Make, make_row: Make) -> None:
    """After the planned 205 s nothing is due: whoever told of second 190 or later is no silent worker."""
    follower = Follower(run.folder, make_plan())
    run.ship(worker="w1", fleet=tuple(make_row(second, "w1") for second in range(195)))
    assert follower.refresh({}, 1000.0).reporting == 1


@pytest.mark.parametrize(
    ("now", "phase", "level", "elapsed"),
    [(2.0, "ramp", 40.0, 2.0), (100.0, "steady", 100.0, 100.0), (206.0, "drain", 0.0, 205.0)],
)
def test_phase_and_level_are_those_of_the_plan_now(
    now: float, phase: str, level: float, elapsed: float, run: Any, make_plan: Make
) -> None:
    """A ramp of 5 s to 100/s asks for 40/s after 2 s; after 205 s nothing is asked for."""
    snapshot = Follower(run.folder, make_plan()).refresh({}, now)
    assert (snapshot.phase, snapshot.requested, snapshot.elapsed) == (phase, level, elapsed)
    assert snapshot.remaining == 205.0 - elapsed


def test_kinds_of_failure_are_told(run: Any, make_plan: Make, make_window: Make) -> None:
    """The most frequent kind comes first."""
    failures = (
        Failure("emotion", "failed", "status", "503", 2, 6.0, 6.5),
        Failure("emotion", "timeout", "total", "30s", 1, 6.0, 6.0),
    )
    follower = Follower(run.folder, make_plan())
    run.ship(make_window(6, {5: 1}, failed=2, timeout=1), failures=failures)
    found = follower.refresh({}, 7.0).failures
    assert [(row.kind, row.count) for row in found] == [("status", 2), ("total", 1)]
