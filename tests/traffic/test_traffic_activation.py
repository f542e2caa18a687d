from __future__ import annotations

import pytest

from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.traffic.activation import next_active


def timeline(*stages: Stage) -> Timeline:
    traffic = Traffic(model="closed", mix={"a": 1.0}, stages=stages)
    return Timeline.of_traffic(traffic, timeout=1.0)


def test_a_user_below_the_level_is_active_now() -> None:
    """With 3 users wanted, users 0, 1 and 2 are active and user 3 never is."""
    of = timeline(Stage(users=3, hold=10.0))
    assert [next_active(of, n, 4.0) for n in range(4)] == [4.0, 4.0, 4.0, None]


def test_a_ramp_activates_users_one_by_one() -> None:
    """A ramp from 0 to 10 users in 5 s wants more than n users from n/2 seconds on."""
    of = timeline(Stage(users=10, ramp=5.0, hold=5.0))
    assert [next_active(of, n, 0.0) for n in (0, 4, 9)] == pytest.approx([0.0, 2.0, 4.5], abs=1e-5)


def test_a_user_pauses_through_a_lower_stage() -> None:
    """User 5 is active in the first and third stage of 10, 2, 10 users; in the second it waits for 20 s."""
    of = timeline(Stage(users=10, hold=10.0), Stage(users=2, hold=10.0), Stage(users=10, hold=10.0))
    assert next_active(of, 5, 3.0) == 3.0
    assert next_active(of, 5, 12.0) == 20.0
    assert next_active(of, 5, 31.0) is None


def test_a_ramp_down_deactivates_from_the_top() -> None:
    """Going from 11 to 1 users in 10 s, half-way 6 are wanted: user 5 is active, user 6 is not."""
    of = timeline(Stage(users=11, hold=10.0), Stage(users=1, ramp=10.0))
    assert next_active(of, 5, 15.0) == 15.0
    assert next_active(of, 6, 15.0) is None
