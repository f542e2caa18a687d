"""How runs end: planned, by a signal, or because something died."""

from __future__ import annotations

import signal

import psutil
import pytest

ENDPOINTS = ("creative", "emotion", "reasoning")
pytestmark = pytest.mark.system

SCENARIO = """
name       = "test"
locustfile = "{locustfile}"
host       = "{url}"

[traffic]
model = "open"
users = 20
mix   = {{ emotion = 5, creative = 2, reasoning = 3 }}

[[traffic.stages]]
rate = "{rate}/s"
hold = "{hold}"

[http]
timeout = "5s"
"""

SHAPED = """
    from loadgate import Get, LoadUser, request
    from locust import LoadTestShape

    class User(LoadUser):
        @request("health")
        def send(self):
            return Get("/health")

    class Steps(LoadTestShape):
        def tick(self):
            return (4, 4) if self.get_run_time() < 60 else None
"""


def scenario(locust, rate: int = 200, hold: str = "60s"):
    from pathlib import Path

    staging = Path(__file__).parents[2] / "locustfiles" / "staging.py"
    return locust.write(
        "scenario.toml", SCENARIO.format(locustfile=staging, url=locust.url, rate=rate, hold=hold)
    )


def assert_complete(locust) -> None:
    """The books balance, and Locust's final CSV holds every request that was answered."""
    with locust.reader() as reader:
        for endpoint in reader.endpoints():
            assert reader.total(endpoint=endpoint).imbalance == 0
    rows = locust.csv_rows()
    total = locust.total().counts
    answered = total.get("ok", 0) + total.get("failed", 0) + total.get("timeout", 0)
    assert int(rows["Aggregated"]["Request Count"]) == answered > 0
    assert locust.value("flushed") is True
    with locust.reader() as reader:
        last = {row.worker: row.offered for row in reader.fleet()}
    assert sum(last.values()) == total["arrivals"], "the ledger and the books differ"


def test_a_planned_run_ends_by_itself_with_every_arrival_accounted_for(locust) -> None:
    """A 4 s plan at a constant 100/s offers exactly 400 arrivals and ends without --run-time."""
    path = scenario(locust, rate=100, hold="4s")
    path.write_text(path.read_text().replace('model = "open"', 'model = "open"\narrivals = "constant"'))
    locust.run("-u", "20", "-r", "20", "--scenario", str(path))
    assert locust.value("ended") == "planned"
    total = locust.total()
    assert total.counts["arrivals"] == total.counts["ok"] == 400
    assert_complete(locust)


def test_two_workers_share_one_schedule_exactly(locust) -> None:
    """The same 400 arrivals are offered by two workers together, each about half of them."""
    path = scenario(locust, rate=100, hold="4s")
    path.write_text(path.read_text().replace('model = "open"', 'model = "open"\narrivals = "constant"'))
    locust.run("-u", "20", "-r", "20", "--scenario", str(path), "--processes", "2")
    assert locust.total().counts["arrivals"] == locust.total().counts["ok"] == 400
    with locust.reader() as reader:
        last = {row.worker: row.offered for row in reader.fleet()}
    assert sum(last.values()) == 400
    assert set(last.values()) == {200}
    assert_complete(locust)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_gracefully(locust, number) -> None:
    """SIGINT and SIGTERM alike: final CSV exact, HTML written, books balanced, the end written down."""
    locust.start("-u", "5", "-r", "5", "-t", "60s", "--html", "report.html")
    locust.until_answered(50)
    locust.signal(number)
    locust.wait(30)
    assert locust.value("ended") == "interrupted"
    assert (locust.folder / "report.html").stat().st_size > 0
    assert_complete(locust)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_shape_is_graceful_too(locust, number) -> None:
    """Stock Locust dies of SIGTERM during a headless shape; here it ends as Ctrl-C does."""
    locustfile = locust.write("locustfile.py", SHAPED)
    locust.start("--html", "report.html", locustfile=locustfile)
    locust.until_answered(50)
    locust.signal(number)
    locust.wait(30)
    assert locust.returncode == 0, locust.stderr
    assert locust.value("ended") == "interrupted"
    assert (locust.folder / "report.html").stat().st_size > 0
    assert_complete(locust)


def test_sigterm_of_a_master_takes_its_workers_along(locust) -> None:
    """The master of forked workers ends them and what they started, and holds their last numbers."""
    locust.start("-u", "6", "-r", "6", "-t", "60s", "--processes", "2")
    locust.until_answered(50)
    master = psutil.Process(locust.process.pid)
    assert len(master.children()) == 2
    children = master.children(recursive=True)
    locust.signal(signal.SIGTERM)
    locust.wait(30)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert locust.value("ended") == "interrupted"
    assert_complete(locust)


def test_sigterm_of_a_worker_loses_nothing(locust, fresh_service) -> None:
    """A worker that is ended by itself delivers its last delta before it goes; its loss is an event."""
    locust.url = fresh_service.url
    locust.start("-u", "6", "-r", "6", "-t", "8s", "--processes", "2")
    locust.until_answered(50)
    worker = psutil.Process(locust.process.pid).children()[0]
    worker.send_signal(signal.SIGTERM)
    locust.wait(40)
    total = locust.total().counts
    server = fresh_service.counts()["received"]
    assert server == total["ok"] + total.get("failed", 0) + total.get("unfinished", 0) + total.get(
        "retries", 0
    )
    assert "worker_lost" in locust.events()
    assert_complete(locust)


def test_a_killed_worker_is_named_and_the_rest_is_kept(locust) -> None:
    """SIGKILL of one of two workers: the run goes on, and the ledger shows the loss."""
    locust.start("-u", "6", "-r", "6", "-t", "10s", "--processes", "2")
    locust.until_answered(50)
    psutil.Process(locust.process.pid).children()[0].kill()
    locust.wait(60)
    assert "worker_lost" in locust.events()
    assert "last_delta_missing" in locust.events()
    assert locust.value("flushed") is False


def test_a_master_whose_only_worker_was_killed_ends_by_itself(locust) -> None:
    """Nobody is left to make load, so the run ends as died, and never with exit code 0."""
    path = scenario(locust, rate=50, hold="60s")
    locust.start("-u", "5", "-r", "5", "--scenario", str(path), "--processes", "1")
    locust.until_answered(50)
    psutil.Process(locust.process.pid).children()[0].kill()
    locust.wait(40)
    assert locust.returncode == 30, locust.stderr
    assert locust.value("ended") == "died"
    assert locust.value("flushed") is False


def test_a_target_that_dies_mid_run_is_counted_by_kind_and_hangs_nothing(locust, fresh_service) -> None:
    """After the target's death every arrival fails as refused; the run ends as planned."""
    locust.url = fresh_service.url
    path = scenario(locust, rate=100, hold="6s")
    locust.start("-u", "20", "-r", "20", "--scenario", str(path))
    locust.until_answered(100)
    fresh_service.kill()
    locust.wait(60)
    assert locust.value("ended") == "planned"
    with locust.reader() as reader:
        kinds = {failure.kind for failure in reader.failures()}
    assert "connection refused" in kinds
    counts = locust.total().counts
    assert counts["failed"] > 100
    assert_complete(locust)


def test_a_hanging_target_ends_in_timeouts_and_unsent_arrivals(locust, fresh_service) -> None:
    """With 20 users and no answers, 20 requests time out again and again, and the rest never starts."""
    locust.url = fresh_service.url
    fresh_service.add_fault("hang")
    path = scenario(locust, rate=50, hold="4s")
    path.write_text(path.read_text().replace('timeout = "5s"', 'connect_timeout = "1s"\ntimeout = "1s"'))
    locust.run("-u", "20", "-r", "20", "--scenario", str(path))
    counts = locust.total().counts
    assert counts.get("ok", 0) == 0
    assert counts["timeout"] >= 20
    assert counts["unsent_pool"] > 0
    assert locust.total().imbalance == 0
    assert locust.value("ended") == "planned"


CLOSED = """
name       = "closed"
locustfile = "{locustfile}"
host       = "{url}"

[traffic]
model = "closed"
wait  = "100ms"
mix   = {{ emotion = 3, reasoning = 1 }}

[[traffic.stages]]
users = 2
hold  = "2s"

[[traffic.stages]]
users = 6
hold  = "2s"
"""


def test_a_closed_plan_follows_its_stages(locust) -> None:
    """Two users, then six, each pausing 100 ms: at most 20, then 60 requests a second, and then an end."""
    from pathlib import Path

    staging = Path(__file__).parents[2] / "locustfiles" / "staging.py"
    path = locust.write("scenario.toml", CLOSED.format(locustfile=staging, url=locust.url))
    locust.run("-u", "6", "-r", "6", "--scenario", str(path))
    assert locust.value("ended") == "planned"
    with locust.reader() as reader:
        rates = [reader.total(start=s, end=s + 1).counts.get("ok", 0) for s in range(4)]
    assert max(rates[:2]) <= 22
    assert 22 < max(rates[2:]) <= 66
    with locust.reader() as reader:
        # Every user follows the plan's mix, whichever class Locust made it of; creative is left out.
        assert reader.endpoints() == ["emotion", "reasoning"]
    assert_complete(locust)


def test_a_closed_plan_sends_its_mix(locust) -> None:
    """A mix of 9 to 1 over two endpoints: the small share lies within four standard errors of a tenth."""
    from pathlib import Path

    staging = Path(__file__).parents[2] / "locustfiles" / "staging.py"
    text = CLOSED.format(locustfile=staging, url=locust.url)
    text = text.replace("emotion = 3, reasoning = 1", "emotion = 9, creative = 1").replace("100ms", "20ms")
    locust.run("-u", "6", "-r", "6", "--scenario", str(locust.write("scenario.toml", text)))
    emotion, creative = (locust.total(name).counts["ok"] for name in ("emotion", "creative"))
    sent = emotion + creative
    assert abs(creative / sent - 0.1) < 4 * (0.1 * 0.9 / sent) ** 0.5


def test_a_recorded_trace_is_played_as_it_is(locust) -> None:
    """Three recorded arrivals with their endpoints are exactly what is sent, and the run ends after them."""
    path = scenario(locust)
    locust.write("trace.csv", "0.5,emotion\n0.75,creative\n1.5,emotion\n")
    text = path.read_text()
    stages = text[text.index("[[traffic.stages]]") : text.index("[http]")]
    text = text.replace(stages, "").replace('model = "open"', 'arrivals = "trace"\ntrace = "trace.csv"')
    path.write_text(text)
    locust.run("-u", "5", "-r", "5", "--scenario", str(path))
    counts = {name: locust.total(name).counts.get("ok", 0) for name in ("emotion", "creative")}
    assert counts == {"emotion": 2, "creative": 1}
    assert locust.total().counts["arrivals"] == 3
    assert locust.value("ended") == "planned"
