"""Workers that are cut off, and workers that die: what the run then holds, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from hosts_net import Net
from hosts_run import WORKERS, Cluster, Load, Outcome, kill, play

pytestmark = pytest.mark.system

LOST_AT = 5.0
MENDED_AT = LOST_AT + 10
TAKEN_OVER_WITHIN = 5.0
"""Seconds after its loss within which a worker's share is with the others."""
LOOKED_AT = (LOST_AT + TAKEN_OVER_WITHIN, MENDED_AT - 1)
"""When the target's books are read during the cut."""
LOST_SECONDS = 2
"""Seconds of its own rate of which a killed worker may take the numbers with it."""

# TCP tries again at growing intervals: after a cut of 10 s it is heard at the latest 12.8 s after its begin.
CUT = Load(rate=120, seconds=22)
KILLED = Load(rate=120, seconds=15)
KILLED_INVALID = Load(rate=120, seconds=15, on_worker_loss="invalid")


def cut(net: Net, folder: Path) -> Outcome:
    """One of three workers loses its link for 10 s: to the master and to the target."""
    cluster = Cluster(net, folder, CUT)
    hosts = [net.host(f"worker-{n}") for n in range(WORKERS)]
    cluster.start(*hosts)
    cluster.at(LOST_AT)
    hosts[0].cut()
    looks = []
    for moment in LOOKED_AT:
        cluster.at(moment)
        looks.append(cluster.books())
    cluster.at(MENDED_AT)
    hosts[0].mend()
    cluster.at(CUT.seconds)
    cluster.notes.update(address=hosts[0].address, looks=looks)
    return cluster.finish()


def killed(load: Load) -> Callable[[Net, Path], Outcome]:
    """One of three workers dies at once, without a word."""

    def story(net: Net, folder: Path) -> Outcome:
        cluster = Cluster(net, folder, load)
        hosts = [net.host(f"worker-{n}") for n in range(WORKERS)]
        cluster.start(*hosts)
        cluster.at(LOST_AT)
        kill(cluster.workers["worker-0"])
        cluster.at(load.seconds)
        return cluster.finish()

    return story


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Outcome]]:
    stories = {"cut": cut, "killed": killed(KILLED), "killed_invalid": killed(KILLED_INVALID)}
    return play(tmp_path_factory.mktemp("losses"), **stories)


both_policies = pytest.mark.parametrize("name", ["killed", "killed_invalid"])


def test_a_worker_that_was_cut_off_delivers_what_it_measured(played) -> None:
    """Nothing of the run is missing at its end, and it agrees with the target to the request."""
    run = played["cut"].result()
    assert run.value("ended") == "planned"
    assert run.value("flushed") is True
    assert run.total().count("lost") == 0
    run.assert_books_agree()


def test_a_worker_that_was_cut_off_is_named_when_it_goes_and_when_it_comes_back(played) -> None:
    """One and the same worker was lost and has returned, and no other."""
    run = played["cut"].result()
    assert len(run.workers_of("worker_lost")) == 1
    assert run.workers_of("worker_lost") == run.workers_of("worker_returned")
    assert run.events("last_delta_missing") == []


def test_the_others_take_over_the_share_of_a_worker_that_was_cut_off(played) -> None:
    """From 5 s after the cut on, while it lasts, the target gets the whole rate, within a tenth of it."""
    early, late = played["cut"].result().notes["looks"]
    expected = CUT.rate * (LOOKED_AT[1] - LOOKED_AT[0])
    assert abs(late.total - early.total - expected) <= expected / 10


def test_no_arrival_is_offered_by_both_the_worker_that_was_cut_off_and_another(played) -> None:
    """No second has an arrival too many; and none too few, but within 5 s of the cut."""
    run = played["cut"].result()
    run.assert_offered_as_scheduled(CUT, gap=(LOST_AT, LOST_AT + TAKEN_OVER_WITHIN))


def test_a_worker_that_comes_back_takes_a_share_again(played) -> None:
    """After the cut the target hears from its address: more than what its lease and its users held back."""
    run = played["cut"].result()
    address = run.notes["address"]
    came = run.books.sources[address] - run.notes["looks"][-1].sources[address]
    assert came > CUT.users / WORKERS + CUT.rate / WORKERS


@both_policies
def test_what_a_killed_worker_takes_with_it_is_counted_and_little(played, name: str) -> None:
    """The run and the target differ by at most what the run calls lost: up to 2 s of a third of the rate."""
    run = played[name].result()
    run.assert_books_agree()
    assert run.total().count("lost") <= LOST_SECONDS * KILLED.rate / WORKERS


@both_policies
def test_the_others_take_over_the_share_of_a_killed_worker(played, name: str) -> None:
    """From 5 s after its death on every second is whole again, and no second has an arrival too many."""
    run = played[name].result()
    assert run.value("ended") == "planned"
    run.assert_offered_as_scheduled(KILLED, gap=(LOST_AT - LOST_SECONDS, LOST_AT + TAKEN_OVER_WITHIN))


def test_a_killed_worker_makes_the_verdict_invalid_by_default(played) -> None:
    """With on_worker_loss = "invalid" the run is void, and the reason names the worker."""
    run = played["killed_invalid"].result()
    (worker,) = run.workers_of("worker_lost")
    verdict = run.verdict()
    assert verdict["verdict"] == "INVALID"
    assert verdict["exit_code"] == 30
    assert any(worker in reason and "lost" in reason for reason in verdict["reasons"]), verdict["reasons"]


def test_a_killed_worker_under_continue_is_told_and_is_no_reason_by_itself(played) -> None:
    """With "continue" the loss voids nothing; in so short a run the load that nobody offered does."""
    run = played["killed"].result()
    (worker,) = run.workers_of("worker_lost")
    verdict = run.verdict()
    voided = [reason for reason in verdict["reasons"] if "the run is void" in reason]
    assert not any("on_worker_loss" in reason for reason in voided)
    assert any("offered by nobody" in reason for reason in voided)
    told = json.dumps([verdict["reasons"], verdict.get("findings", [])])
    assert worker in told
    assert "lost" in told
