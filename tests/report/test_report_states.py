"""How the objectives stand while the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadgate.report.follow import Follower
from loadgate.store.watch import Reading

Make = Callable[..., Any]
HEALTH = {"name": "health", "kind": "health", "http": "/health", "every": 1.0}


def _states(snapshot: Any) -> list[str]:
    return [state.state for state in snapshot.objectives]


def test_before_the_steady_phase_every_objective_waits(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """The ramp is not judged, however slow it was."""
    follower = Follower(run.folder, make_plan(make_objective()))
    for second in range(4):
        run.second(second, "w1", make_window(second, {500: 10}, phase="ramp"))
    assert _states(follower.refresh({}, 4.0)) == ["waiting"]


def test_an_objective_stands_as_the_run_so_far_would_be_judged(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """100 requests of 60 ms: p95 is 60 ms, worse than 50 ms, not past 200 ms, and all of them were ok."""
    rows = (
        make_objective(alert="> 200ms"),
        make_objective(target="< 80ms", name="loose"),
        make_objective(alert="> 55ms", name="strict"),
        make_objective("error_rate", "< 5%"),
    )
    follower = Follower(run.folder, make_plan(*rows))
    for second in range(5, 15):
        run.second(second, "w1", make_window(second, {60: 10}))
    snapshot = follower.refresh({}, 15.0)
    assert _states(snapshot) == ["WARN", "PASS", "FAIL", "PASS"]
    assert [state.n for state in snapshot.objectives] == [100, 100, 100, 100]
    # 60 ms lies in a counter of 32 µs: 60,000..60,031 µs.
    assert snapshot.objectives[0].value == "60.031ms"
    assert snapshot.objectives[3].value == "0%"


def test_throughput_is_of_the_complete_seconds(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """Two workers of 50/s, one a second behind: 100/s over the seconds that both have told, not less."""
    follower = Follower(run.folder, make_plan(make_objective("throughput", ">= 100/s")))
    for second in range(5, 15):
        run.second(second, "w1", make_window(second, {5: 50}))
        if second < 14:
            run.second(second, "w2", make_window(second, {5: 50}))
    (state,) = follower.refresh({}, 15.0).objectives
    assert (state.state, state.value) == ("PASS", "100 req/s")


def test_a_breach_that_lasted_long_enough_stays_a_fail(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """Windows of 10 s, `for` 20 s: seconds 5..24 are past 200 ms, and 100 good seconds do not mend that."""
    row = make_objective(alert="> 200ms", **{"for": 20.0})
    follower = Follower(run.folder, make_plan(row))
    for second in range(5, 145):
        run.second(
            second, "w1", make_window(second, {(300 if second < 25 else 1): (1 if second < 25 else 100)})
        )
        snapshot = follower.refresh({}, second + 1.0)
    (state,) = snapshot.objectives
    assert state.state == "FAIL"
    assert "5s" in state.reason
    assert "25s" in state.reason
    # The whole phase alone would pass: 20 of 12,020 requests were slow.
    assert state.value == "1ms"


def test_a_breach_that_was_too_short_leaves_no_mark(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """One window of 10 s is past the limit, and `for` asks for 20 s."""
    row = make_objective(alert="> 200ms", **{"for": 20.0})
    follower = Follower(run.folder, make_plan(row))
    for second in range(5, 145):
        run.second(
            second, "w1", make_window(second, {(300 if second < 15 else 1): (1 if second < 15 else 100)})
        )
        snapshot = follower.refresh({}, second + 1.0)
    assert _states(snapshot) == ["PASS"]


def test_a_row_of_a_probe_waits_for_five_readings(run: Any, make_plan: Make, make_objective: Make) -> None:
    """Readings come one at a time as the latest; the fifth one is evidence enough."""
    plan = make_plan(make_objective("uptime", ">= 99%"), probes=(HEALTH,))
    follower = Follower(run.folder, plan)
    found = []
    for count in range(1, 6):
        reading = Reading(5.0 + count - 0.5, "health", "up", 1.0, "", 0.01)
        for _ in range(2):
            snapshot = follower.refresh({("health", "up"): reading}, 5.0 + count)
        found.append((_states(snapshot)[0], snapshot.objectives[0].n))
    assert found == [("waiting", 1), ("waiting", 2), ("waiting", 3), ("waiting", 4), ("PASS", 5)]


def test_a_row_that_stays_without_data_is_told_as_invalid(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """After the first five steady seconds an endpoint that nobody asks for is no longer waited for."""
    follower = Follower(run.folder, make_plan(make_objective(endpoint="emotoin")))
    for second in range(5, 15):
        run.second(second, "w1", make_window(second, {5: 10}))
        if second == 8:
            assert _states(follower.refresh({}, 9.0)) == ["waiting"]
    (state,) = follower.refresh({}, 15.0).objectives
    assert state.state == "INVALID"
    assert "emotoin" in state.reason
