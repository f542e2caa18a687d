"""Workers that are late, stopped, killed or new: what the others do, and what the run then holds.

The stories are played side by side, each with a target, a master and workers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from swarm_fleet import RATE, STAGING, USERS, Fleet, play

# The stories are played before the first test, on a machine that may be busy with others.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

WAY = 3
"""Second of run time at which something happens."""
BUSY = STOPPED = 6
"""Seconds that a worker computes, or is stopped."""
SECONDS = {"busy": 13, "stopped": 18, "one_killed": 10, "all_killed": 60, "joined": 30}
"""How long each open-model plan is; on a busy machine a worker takes many seconds to start."""
CLOSED_USERS, WAIT = 6, 0.1
TAKEN_OVER_WITHIN, CLOSED_SECONDS = 8, 15

COMPUTES = """
import os, time
from pathlib import Path
from loadgate import LoadUser, Post, request

def check(response):
    '''Compute for a while, in the one process that finds the word to do so.'''
    try:
        os.unlink(Path(__file__).with_name("compute"))
    except FileNotFoundError:
        return None
    until = time.monotonic() + {busy}
    while time.monotonic() < until:
        sum(range(1000))

class User(LoadUser):
    @request("emotion", check=check)
    def send(self):
        return Post("/api/v1/emotions/analyze", json={{"text": "what a day"}})
"""
CLOSED = """
name       = "fleet"
locustfile = "{locustfile}"
host       = "{url}"

[traffic]
model = "closed"
wait  = "{wait}s"
mix   = {{ emotion = 1 }}

[[traffic.stages]]
users = {users}
hold  = "{seconds}s"
"""


def two_workers(fleet: Fleet, scenario: Path, locustfile: Path = STAGING, users: int = USERS) -> None:
    fleet.master(scenario, expect=2, locustfile=locustfile, users=users)
    for name in ("one", "two"):
        fleet.worker(name, locustfile=locustfile)
    fleet.at(WAY)


def busy(fleet: Fleet) -> None:
    """The loop of one of two workers is blocked by a check."""
    locustfile = fleet.folder / "locustfile.py"
    locustfile.write_text(COMPUTES.format(busy=BUSY), encoding="utf-8")
    scenario = fleet.write(locustfile=locustfile, seconds=SECONDS["busy"])
    two_workers(fleet, scenario, locustfile=locustfile)
    (fleet.folder / "compute").touch()
    fleet.ended("master")


def stopped(fleet: Fleet) -> None:
    """One of two workers stands still, and goes on."""
    two_workers(fleet, fleet.write(seconds=SECONDS["stopped"]))
    fleet.stop("one")
    fleet.at(WAY + STOPPED)
    fleet.go_on("one")
    fleet.ended("master")


def one_killed(fleet: Fleet) -> None:
    two_workers(fleet, fleet.write(seconds=SECONDS["one_killed"]))
    fleet.kill("one")
    fleet.ended("master")


def all_killed(fleet: Fleet) -> None:
    two_workers(fleet, fleet.write(seconds=SECONDS["all_killed"]))
    for name in ("one", "two"):
        fleet.kill(name)
    fleet.notes["code"] = fleet.ended("master")


def joined(fleet: Fleet) -> None:
    """A second worker comes to a run of one."""
    fleet.master(fleet.write(seconds=SECONDS["joined"]), expect=1)
    fleet.worker("one")
    fleet.at(WAY)
    fleet.worker("two")
    fleet.ended("master")


def closed(fleet: Fleet) -> None:
    """One of two workers of a closed model dies."""
    scenario = fleet.write(CLOSED, seconds=CLOSED_SECONDS, users=CLOSED_USERS, wait=WAIT)
    two_workers(fleet, scenario, users=CLOSED_USERS)
    fleet.kill("one")
    fleet.ended("master")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Fleet]]:
    stories = (joined, all_killed, stopped, busy, closed, one_killed)
    return play(tmp_path_factory.mktemp("late"), {story.__name__: story for story in stories}, at_once=3)


# -- busy ---------------------------------------------------------------------------------------


def test_a_worker_whose_event_loop_is_busy_is_not_lost(played) -> None:
    """It beats from a thread of its own: nobody was lost, and none of its slots went to anybody else."""
    fleet = played["busy"].result()
    assert fleet.events("worker_lost", "worker_returned", "last_delta_missing") == []
    assert [row for row in fleet.ledger() if row.lost or row.unoffered] == []
    half = RATE * SECONDS["busy"] // 2
    assert list(fleet.offered().values()) == [half, half]


def test_no_arrival_of_a_busy_workers_share_is_forgotten(played) -> None:
    """Every arrival of the schedule is in the books; those of the blocked seconds started late, or never."""
    fleet = played["busy"].result()
    assert fleet.counts()["arrivals"] == RATE * SECONDS["busy"]
    fleet.assert_books_agree()


def test_a_worker_that_was_busy_starts_nothing_of_three_seconds_ago(played) -> None:
    """It was blocked from the fourth second on, for 6 s: at least two of them it never offers; at most all.

    Of the last ones it starts what it has heard of by then: its timer and the leases that came wait for the
    same event loop.
    """
    unsent = played["busy"].result().counts()["unsent_generator"]
    assert 2 * RATE // 2 <= unsent <= (BUSY + 1) * RATE // 2


# -- stopped ------------------------------------------------------------------------------------


def test_a_worker_that_stands_still_is_lost_and_comes_back(played) -> None:
    """One worker was lost and has returned, and all that it measured has arrived."""
    fleet = played["stopped"].result()
    told = [(event.kind, event.detail["worker"]) for event in fleet.events("worker_lost", "worker_returned")]
    name = fleet.name_of("one")
    assert told == [("worker_lost", name), ("worker_returned", name)]
    assert fleet.value("ended") == "planned"
    assert fleet.value("flushed") is True


def test_the_share_of_a_worker_that_stands_still_goes_to_the_other(played) -> None:
    """At the latest 4.5 s after the stop, until it goes on, the other offers the whole rate."""
    fleet = played["stopped"].result()
    other = fleet.name_of("two")
    begin, end = WAY + 5, WAY + STOPPED
    offered = fleet.offered(end - 1)[other] - fleet.offered(begin - 1)[other]
    # Rows are taken shortly after their second, so a few arrivals more or less lie between two.
    assert offered >= 0.9 * RATE * (end - begin)


def test_a_worker_that_stood_still_starts_nothing_after_its_lease(played) -> None:
    """Each arrival of the schedule was offered once: those granted to it before it stopped are unsent."""
    fleet = played["stopped"].result()
    counts = fleet.counts()
    assert counts["arrivals"] + sum(row.unoffered for row in fleet.ledger()) == RATE * SECONDS["stopped"]
    assert 0 < counts["unsent_generator"] <= 5 * RATE // 2
    assert counts["lost"] == 0


def test_a_worker_that_stood_still_takes_a_share_again(played) -> None:
    """In the last 3 s each offers at least a third of the rate, and together every arrival."""
    fleet = played["stopped"].result()
    end = SECONDS["stopped"]
    before, after = fleet.offered(end - 4), fleet.offered(end - 1)
    assert min(after[worker] - before[worker] for worker in after) >= 3 * RATE / 3
    assert [fleet.arrivals(second) for second in range(end - 3, end)] == 3 * [RATE]


def test_a_run_with_a_worker_that_stood_still_agrees_with_the_target(played) -> None:
    """What the run calls sent is what the target received, to the request."""
    played["stopped"].result().assert_books_agree()


# -- killed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", ["one_killed", "all_killed"])
def test_a_run_that_lost_a_worker_for_good_is_invalid(played, story: str) -> None:
    """By default the loss voids the run, whatever its rows say: exit code 30, and the reason names it."""
    fleet = played[story].result()
    code, verdict = fleet.verdict()
    assert (code, verdict["verdict"], verdict["void"]) == (30, "INVALID", True)
    assert any(fleet.name_of("one") in reason for reason in verdict["reasons"]), verdict["reasons"]


def test_a_run_without_workers_ends_by_itself(played) -> None:
    """The master ends with exit code 30 long before the plan's end, and says how the run ended."""
    fleet = played["all_killed"].result()
    assert fleet.notes["code"] == 30
    assert fleet.value("ended") == "died"
    assert fleet.value("flushed") is False
    assert len(fleet.ledger()) < SECONDS["all_killed"]


def test_the_target_saw_no_more_than_a_run_with_a_killed_worker_says(played) -> None:
    """Beyond what was reported as sent, it received at most what is called lost."""
    fleet = played["one_killed"].result()
    counts = fleet.counts()
    sent = sum(counts[end] for end in ("ok", "failed", "timeout", "unfinished")) + counts["retries"]
    assert fleet.total().imbalance == 0
    assert sent <= fleet.notes["received"] <= sent + counts["lost"]


# -- new ----------------------------------------------------------------------------------------


def test_a_worker_that_joins_late_takes_a_share(played) -> None:
    """It is named and offers something, and both together offer the schedule: all of it, once."""
    fleet = played["joined"].result()
    name = fleet.name_of("two")
    assert [event.detail["worker"] for event in fleet.events("worker_joined")] == [name]
    assert fleet.offered()[name] > 0
    assert fleet.counts()["arrivals"] == RATE * SECONDS["joined"]
    assert [row.unoffered for row in fleet.ledger() if row.unoffered] == []
    fleet.assert_books_agree()


# -- the closed model ---------------------------------------------------------------------------


def test_the_users_of_a_killed_worker_are_taken_over(played) -> None:
    """From 8 s after its death on, the other has all 6 users, and each of them sends about 10 a second."""
    fleet = played["closed"].result()
    begin, end = WAY + TAKEN_OVER_WITHIN, CLOSED_SECONDS
    with fleet.reader() as reader:
        # In the last second the users may be gone already.
        rows = [row for row in reader.fleet() if begin <= row.second < end - 1]
    sent = sum(fleet.arrivals(second) for second in range(begin, end))
    assert {row.worker for row in rows} == {fleet.name_of("two")}
    assert {row.users for row in rows} == {CLOSED_USERS}
    # Three users, who are all that would be left, send at most 30 a second.
    most = CLOSED_USERS / WAIT * (end - begin)
    assert 0.6 * most < sent <= most + CLOSED_USERS


def test_no_user_is_active_that_the_plan_does_not_want(played) -> None:
    """While two workers have 3 users each, they send no more than 6 users can."""
    fleet = played["closed"].result()
    sent = [fleet.arrivals(second) for second in range(CLOSED_SECONDS)]
    assert max(sent) <= CLOSED_USERS / WAIT + CLOSED_USERS
