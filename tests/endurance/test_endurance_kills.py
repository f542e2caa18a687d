"""SIGKILL at random moments: what the run says in the end is what the service counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import Drill, Outcome, assert_the_books_agree

pytestmark = pytest.mark.system

SECONDS = 26


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Three kills in 26 s: master, worker and control room."""
    folder = tmp_path_factory.mktemp("kills")
    return Drill(folder, kills=3, seconds=SECONDS, pause=(3.0, 5.0), seed=1).carry_out()


def test_a_run_under_kills_ends_with_the_totals_of_the_service(short: Outcome) -> None:
    """No arrival is counted twice, none is forgotten, and what is in doubt is named."""
    assert set(short.killed) == {"control room", "master", "worker-1"}
    assert_the_books_agree(short)


def test_a_run_under_kills_tells_what_happened_to_it(short: Outcome) -> None:
    """The verdict names the gaps without load, the gap without a control room, and what is lost."""
    kinds = [finding["kind"] for finding in short.verdict["findings"]]
    assert {"resumed", "not_measured", "not_watched", "workers_lost", "unoffered"} <= set(kinds)


def test_a_clock_that_jumps_changes_no_duration(short: Outcome) -> None:
    """Each resumed control room has its wall clock 90 s ahead or behind; run time is another clock's."""
    assert SECONDS <= short.lasted < SECONDS + 5.0 + 15.0


def test_a_run_that_missed_more_than_a_hundredth_does_not_pass(short: Outcome) -> None:
    """Seconds without a worker are more than 1% of 26: the run is void, however well the target did."""
    assert short.unoffered > short.scheduled / 100
    assert short.verdict["verdict"] == "INVALID"


@pytest.mark.endurance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [7])
def test_thirty_kills_in_one_run(tmp_path: Path, seed: int) -> None:
    """Ten of each part, a few seconds apart."""
    outcome = Drill(tmp_path, kills=30, seconds=260, pause=(5.0, 9.0), seed=seed).carry_out()
    assert len(outcome.killed) == 30
    assert_the_books_agree(outcome)
