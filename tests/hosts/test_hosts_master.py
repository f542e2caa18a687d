"""A master that dies, and one that takes up where another left off."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from hosts_net import Net
from hosts_run import WORKERS, Cluster, Load, Outcome, kill, play

from loadgate.swarm.leases import LEASE

pytestmark = pytest.mark.system

DIES_AT = 6.0
QUIET_AFTER = 4.0
"""Seconds after the master's death from which its workers start nothing: the lease, and a little."""
WRITTEN_UP_TO = 3.0
"""Seconds before the master's death of which it may not have been told, or not have written, everything."""
WHOLE_AFTER = 1.0 + LEASE + 1.0
"""Seconds after the second master took the run up from which the load is whole: it gives out no second that
the first may have given out, which did so up to a lease ahead."""
RESUMED = "resumed"
"""The event by which a run tells that another master took it up."""

ORPHANED = Load(rate=90, seconds=60)
RESUMED_LOAD = Load(rate=90, seconds=26)


def orphaned(net: Net, folder: Path) -> Outcome:
    """The master dies at second 6 of 60, and nobody takes its place."""
    cluster = Cluster(net, folder, ORPHANED)
    cluster.start(*(net.host(f"worker-{n}") for n in range(WORKERS)))
    cluster.at(DIES_AT)
    kill(cluster.master)
    looks = []
    for seconds in (QUIET_AFTER, QUIET_AFTER + 4):
        cluster.at(DIES_AT + seconds)
        looks.append(cluster.books())
    cluster.notes["looks"] = looks
    return cluster.leave()


def resumed(net: Net, folder: Path) -> Outcome:
    """The master dies at second 6, and another takes up its run at once."""
    cluster = Cluster(net, folder, RESUMED_LOAD)
    cluster.start(*(net.host(f"worker-{n}") for n in range(WORKERS)))
    cluster.at(DIES_AT)
    kill(cluster.master)
    cluster.start_master(expect=WORKERS, run=cluster.run())
    cluster.at(RESUMED_LOAD.seconds)
    return cluster.finish()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Outcome]]:
    return play(tmp_path_factory.mktemp("master"), orphaned=orphaned, resumed=resumed)


def test_workers_stop_when_their_master_is_dead(played) -> None:
    """From 4 s after its death the target receives nothing more."""
    early, late = played["orphaned"].result().notes["looks"]
    assert early.total > 0
    assert late.received == early.received


def test_a_run_whose_master_was_killed_is_readable_and_claims_nothing_that_was_not(played) -> None:
    """It holds what was measured up to 3 s before, and of no endpoint more than the target counted."""
    run = played["orphaned"].result()
    for endpoint in run.endpoints():
        total = run.total(endpoint)
        assert total.count("ok") <= run.books.answered[endpoint]
        sent = total.count("ok") + total.count("failed") + total.count("timeout")
        assert sent <= run.books.received[endpoint] + total.count("retries")
    assert run.total().count("ok") >= ORPHANED.rate * (DIES_AT - WRITTEN_UP_TO)
    assert max(run.arrivals_by_second().values()) <= ORPHANED.rate


def test_a_run_whose_master_was_killed_never_passes(played) -> None:
    """Its verdict is INVALID, and says that it died."""
    verdict = played["orphaned"].result().verdict()
    assert verdict["verdict"] == "INVALID"
    assert verdict["exit_code"] == 30
    assert any("died" in reason or "still goes on" in reason for reason in verdict["reasons"])


def test_a_second_master_takes_the_workers_back_and_ends_the_run_as_planned(played) -> None:
    """The same workers, and no others, deliver all that is theirs to the end."""
    run = played["resumed"].result()
    assert run.value("ended") == "planned"
    assert run.value("flushed") is True
    assert len(run.last_rows()) == WORKERS
    assert all(row.second >= RESUMED_LOAD.seconds - 2 for row in run.last_rows().values())


def test_a_resumed_run_counts_nothing_twice(played) -> None:
    """Every endpoint balances and agrees with the target; no second has an arrival too many."""
    run = played["resumed"].result()
    run.assert_books_agree()
    (event,) = run.events(RESUMED)
    assert event.at + WHOLE_AFTER < RESUMED_LOAD.seconds - 5, (
        "the second master came too late to show anything"
    )
    run.assert_offered_as_scheduled(RESUMED_LOAD, gap=(DIES_AT, event.at + WHOLE_AFTER))


def test_a_resumed_run_names_its_gap(played) -> None:
    """An event tells of the second master, after the death of the first; the verdict tells of it as well."""
    run = played["resumed"].result()
    (event,) = run.events(RESUMED)
    assert event.at >= DIES_AT
    verdict = run.verdict()
    assert "resumed" in str([verdict["reasons"], verdict.get("findings", [])])
