"""A target that stands still for five seconds: the schedule sees it, the service time does not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from loadgate.measure.window import Series

pytestmark = pytest.mark.system

FROZEN = 5.0
SECONDS = 30
RATE = 100
USERS = 10

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

    Of 3000 arrivals, the 1 % that wait longest are 30. Those due right after the stop wait
    longest, and 100 come each second: the thirtieth of them is due 0.3 s after the stop and
    waits 5 - 0.3 = 4.7 s.
    """
    return FROZEN - 0.01 * RATE * SECONDS / RATE


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_a_five_second_stop_shows_in_response_time_and_hides_in_service_time(
    locust, fresh_service, arrivals: str
) -> None:
    """Response-time p99 is within 5 % of 4.7 s; only the 10 requests in flight have a long service time."""
    locust.url = fresh_service.url
    staging = Path(__file__).parents[2] / "locustfiles" / "staging.py"
    path = locust.write(
        "scenario.toml",
        SCENARIO.format(
            locustfile=staging, url=locust.url, arrivals=arrivals, users=USERS, rate=RATE, seconds=SECONDS
        ),
    )
    locust.start("-u", str(USERS), "-r", str(USERS), "--scenario", str(path))
    locust.until_answered(800)
    os.kill(fresh_service.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        time.sleep(FROZEN)
    finally:
        os.kill(fresh_service.pid, signal.SIGCONT)
    frozen = time.monotonic() - began
    locust.wait(90)
    total = locust.total("emotion", phase="steady")
    ok = total.histograms[Series.RESPONSE_OK]
    assert total.counts["ok"] == total.counts["arrivals"]
    p99 = (ok.percentile(9900) or 0) / 1e6
    assert p99 == pytest.approx(implied_p99() + (frozen - FROZEN), rel=0.05)
    service = total.histograms[Series.SERVICE_OK].to_sparse()
    slow = int(service.counts[_values(service.indices) > 1_000_000].sum())
    assert 1 <= slow <= USERS
    waits = total.histograms[Series.POOL_WAIT]
    assert (waits.maximum or 0) > 4_000_000
    lag = total.histograms[Series.START_LAG]
    assert (lag.percentile(9900) or 0) < 1_000_000


def _values(indices):
    from loadgate.measure.layout import LOWEST_EQUIVALENT

    return LOWEST_EQUIVALENT[indices]
