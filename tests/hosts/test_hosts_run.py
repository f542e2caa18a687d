"""A run over several hosts: everybody offers its part, and everything that reached the target is in it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from hosts_net import Net
from hosts_run import WORKERS, Cluster, Load, Outcome, play

pytestmark = pytest.mark.system

CALM = Load(rate=90, seconds=12)
JOINED = Load(rate=90, seconds=18)
JOINS_AT = 4.0
LOOKED_AT = (13.0, 17.0)


def undisturbed(net: Net, folder: Path) -> Outcome:
    """Three workers, and nothing happens."""
    cluster = Cluster(net, folder, CALM)
    cluster.start(*(net.host(f"worker-{n}") for n in range(WORKERS)))
    cluster.at(CALM.seconds)
    return cluster.finish()


def joined(net: Net, folder: Path) -> Outcome:
    """A fourth worker is added at second 4; the target's books are read twice near the end."""
    cluster = Cluster(net, folder, JOINED)
    cluster.start(*(net.host(f"worker-{n}") for n in range(WORKERS)))
    late = net.host("late")
    cluster.at(JOINS_AT)
    cluster.add_worker(late)
    looks = []
    for moment in LOOKED_AT:
        cluster.at(moment)
        looks.append(cluster.books().sources)
    cluster.notes.update(looks=looks, late=late.address)
    return cluster.finish()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Outcome]]:
    return play(tmp_path_factory.mktemp("run"), undisturbed=undisturbed, joined=joined)


def test_an_undisturbed_run_holds_exactly_what_the_target_counted(played) -> None:
    """Endpoint by endpoint: every arrival was answered, and received by the target = arrivals + retries."""
    run = played["undisturbed"].result()
    assert run.value("ended") == "planned"
    assert run.value("flushed") is True
    assert run.endpoints() == sorted(run.books.received) == ["creative", "emotion", "reasoning"]
    for endpoint in run.endpoints():
        total = run.total(endpoint)
        assert total.count("arrivals") == total.count("ok") == run.books.answered[endpoint]
        assert run.books.received[endpoint] == total.count("ok") + total.count("retries")


def test_the_arrivals_of_all_hosts_together_are_the_schedule(played) -> None:
    """At a constant 90/s each of the 12 seconds has exactly 90 arrivals, whoever offered them."""
    run = played["undisturbed"].result()
    run.assert_offered_as_scheduled(CALM)
    assert run.total().count("arrivals") == 90 * 12


def test_the_target_saw_an_equal_share_from_each_address(played) -> None:
    """Three addresses reached the target, each with a third of the 1080 arrivals within a tenth of it."""
    run = played["undisturbed"].result()
    third = CALM.rate * CALM.seconds / WORKERS
    assert len(run.books.sources) == WORKERS
    assert all(abs(n - third) <= third / 10 for n in run.books.sources.values()), run.books.sources
    assert sorted(row.started for row in run.last_rows().values()) == sorted(run.books.sources.values())


def test_an_undisturbed_run_is_judged_without_a_doubt_about_its_workers(played) -> None:
    """No worker is reported lost or late, and the run is not void."""
    run = played["undisturbed"].result()
    assert run.events("worker_lost", "gap", "last_delta_missing", "stranger", "unreadable_delta") == []
    verdict = run.verdict()
    assert not verdict["void"], verdict["reasons"]
    assert verdict["verdict"] == "PASS", verdict["reasons"]


def test_a_worker_that_joins_takes_a_share(played) -> None:
    """Nine seconds after it was started, a quarter of the load comes from it, within a third of that."""
    run = played["joined"].result()
    before, after = run.notes["looks"]
    came = {address: after[address] - before.get(address, 0) for address in after}
    assert len(came) == WORKERS + 1
    share = came[run.notes["late"]] / sum(came.values())
    assert abs(share - 1 / 4) <= 1 / 12, came


def test_a_worker_that_joins_disturbs_neither_the_schedule_nor_the_books(played) -> None:
    """Each second still has exactly 90 arrivals, and the target counted the same."""
    run = played["joined"].result()
    assert run.value("ended") == "planned"
    run.assert_offered_as_scheduled(JOINED)
    run.assert_books_agree()
    assert not run.verdict()["void"], run.verdict()["reasons"]
