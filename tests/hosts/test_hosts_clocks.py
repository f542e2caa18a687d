"""Clocks that differ between hosts, and clocks that are set while a run goes on: they change no number."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from hosts_net import Net
from hosts_run import WORKERS, Cluster, Load, Outcome, play

from loadgate.measure.window import Series

pytestmark = pytest.mark.system

LOAD = Load(rate=90, seconds=14)
AHEAD, BESIDE = 1000, 5000
"""Seconds by which two workers' CLOCK_MONOTONIC is ahead of the master's."""
OFFSET_WITHIN_US = 50_000
"""How well an offset must be known. Hosts are microseconds apart; the rest is for a busy machine."""


def shifted(net: Net, folder: Path) -> Outcome:
    """Three workers: one whose clocks are the master's, and two that are far from it.

    `ahead` is another machine, whose wall clock is 240 s slow too. `beside` has the master's own boot id and
    yet another CLOCK_MONOTONIC, as a container with a time namespace has.
    """
    cluster = Cluster(net, folder, LOAD, own_boot_ids=False)
    plain = net.host("plain")
    ahead = net.host("ahead", monotonic=AHEAD)
    beside = net.host("beside", monotonic=BESIDE, own_boot_id=False)
    cluster.start(plain, beside, expect=WORKERS)
    cluster.add_worker(ahead, cluster.clock("ahead", -240))
    cluster.at(LOAD.seconds)
    return cluster.finish()


def stepped(net: Net, folder: Path) -> Outcome:
    """Wall clocks are set in mid-run: one worker's forward, another's back, the master's both ways."""
    cluster = Cluster(net, folder, LOAD)
    hosts = [net.host(f"worker-{n}") for n in range(WORKERS)]
    forward, back, master = (cluster.clock(name) for name in ("forward", "back", "master"))
    cluster.start(hosts[0], clock=master, expect=WORKERS)
    cluster.add_worker(hosts[1], forward)
    cluster.add_worker(hosts[2], back)
    for moment, clock, seconds in ((4, forward, 90), (5, back, -90), (6, master, 90), (9, master, -90)):
        cluster.at(moment)
        clock.set(seconds)
    cluster.at(LOAD.seconds)
    return cluster.finish()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Outcome]]:
    return play(tmp_path_factory.mktemp("clocks"), shifted=shifted, stepped=stepped)


both = pytest.mark.parametrize("name", ["shifted", "stepped"])


@both
def test_clocks_change_no_number(played, name: str) -> None:
    """Each second has exactly its 90 arrivals, every book balances, and the target counted the same."""
    run = played[name].result()
    assert run.value("ended") == "planned"
    assert run.value("flushed") is True
    run.assert_offered_as_scheduled(LOAD)
    run.assert_books_agree()
    assert run.total().count("ok") == LOAD.rate * LOAD.seconds


@both
def test_clocks_make_no_latency(played, name: str) -> None:
    """No response took, or began, seconds late: the target answers within milliseconds."""
    total = played[name].result().total()
    for series in (Series.RESPONSE_OK, Series.SERVICE_OK, Series.START_LAG, Series.POOL_WAIT):
        assert (total.histogram(series).maximum or 0) < 3_000_000, series


@both
def test_clocks_kill_no_worker(played, name: str) -> None:
    """No worker is lost or silent, and the run is judged."""
    run = played[name].result()
    assert run.events("worker_lost", "gap", "last_delta_missing") == []
    assert len(run.last_rows()) == WORKERS
    verdict = run.verdict()
    assert not verdict["void"], verdict["reasons"]


def test_each_workers_offset_is_recorded(played) -> None:
    """The fleet rows know the three offsets: 0, 1000 s and 5000 s, to within 50 ms."""
    run = played["shifted"].result()
    offsets = sorted(abs(row.clock_offset_us) for row in run.last_rows().values())
    for offset, seconds in zip(offsets, (0, AHEAD, BESIDE), strict=True):
        assert abs(offset - seconds * 1_000_000) <= OFFSET_WITHIN_US, offsets
