"""A target that stands still for five seconds: the schedule sees it, the service time does not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial

import pytest
from locust_run import STAGING, LocustRun

from beside import beside
from loadgate.measure.layout import LOWEST_EQUIVALENT
from loadgate.measure.window import Series
from loadgate.staging.server import StagingService

pytestmark = pytest.mark.system

FROZEN = 5.0
SECONDS = 15
RATE = 100
USERS = 10
ARRIVALS = ("constant", "poisson")

SCENARIO = """
name       = "freeze"
locustfile = "{locustfile}"
host       = "{url}"

[traffic]
model    = "open"
arrivals = "{arrivals}"
users    = {users}
mix      = {{ emotion = 1 }}

[[traffic.stages]]
rate = "{rate}/s"
hold = "{seconds}s"

[http]
timeout = "20s"
"""


def implied_p99() -> float:
    """Work out p99 of the response time from the schedule alone, in seconds.

    Of 1500 arrivals, the 1 % that wait longest are 15. Those due right after the stop wait
    longest, and 100 come each second: the fifteenth of them is due 0.15 s after the stop and
    waits 5 - 0.15 = 4.85 s.
    """
    return FROZEN - 0.01 * RATE * SECONDS / RATE


def freeze(locust: LocustRun, target: StagingService, arrivals: str) -> None:
    """Play a run whose target stands still in its midst; note for how long it did."""
    text = SCENARIO.format(
        locustfile=STAGING, url=locust.url, arrivals=arrivals, users=USERS, rate=RATE, seconds=SECONDS
    )
    path = locust.write("scenario.toml", text)
    locust.start("-u", str(USERS), "-r", str(USERS), "--scenario", str(path))
    locust.until_answered(3 * RATE)
    os.kill(target.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        time.sleep(FROZEN)
    finally:
        os.kill(target.pid, signal.SIGCONT)
    locust.notes["frozen"] = time.monotonic() - began
    locust.wait(90)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[LocustRun]]:
    """Play both runs side by side."""
    folder = tmp_path_factory.mktemp("freeze")

    def play(arrivals: str) -> LocustRun:
        (folder / arrivals).mkdir()
        with StagingService() as target:
            run = LocustRun(folder / arrivals, target.url)
            try:
                freeze(run, target, arrivals)
            finally:
                run.end()
        return run

    return beside({arrivals: partial(play, arrivals) for arrivals in ARRIVALS}, at_once=2)


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_a_five_second_stop_shows_in_response_time_and_hides_in_service_time(played, arrivals: str) -> None:
    """Response-time p99 is within 5 % of 4.85 s; only the 10 requests in flight have a long service time."""
    locust = played[arrivals].result()
    total = locust.total("emotion", phase="steady")
    ok = total.histograms[Series.RESPONSE_OK]
    assert total.counts["ok"] == total.counts["arrivals"]
    p99 = (ok.percentile(9900) or 0) / 1e6
    assert p99 == pytest.approx(implied_p99() + (locust.notes["frozen"] - FROZEN), rel=0.05)
    service = total.histograms[Series.SERVICE_OK].to_sparse()
    slow = int(service.counts[LOWEST_EQUIVALENT[service.indices] > 1_000_000].sum())
    assert 1 <= slow <= USERS
    waits = total.histograms[Series.POOL_WAIT]
    assert (waits.maximum or 0) > 4_000_000
    lag = total.histograms[Series.START_LAG]
    assert (lag.percentile(9900) or 0) < 1_000_000
