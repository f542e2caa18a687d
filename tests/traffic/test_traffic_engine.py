from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadgate.traffic.arrivals import SLOTS
from loadgate.traffic.engine import Place


@given(workers=st.integers(1, 64))
def test_the_workers_share_out_every_slot_once(workers: int) -> None:
    """No slot of the schedule is left over, and none belongs to two workers."""
    slots = [slot for index in range(workers) for slot in Place("run", "w", index, workers).slots()]
    assert sorted(slots) == list(range(SLOTS))


def test_a_worker_that_joined_late_has_no_share() -> None:
    """The shares were given out before it came; it offers nothing rather than something twice."""
    assert list(Place("run", "w", 2, 0).slots()) == []
