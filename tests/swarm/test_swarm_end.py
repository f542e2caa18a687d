"""How runs end: planned, by a signal, or because something died.

The runs are played side by side before the first test, since most of each is waiting.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import psutil
import pytest
from locust_run import STAGING, LocustRun

from beside import beside
from loadgate.staging.server import StagingService

# All runs are played before the first test, on a machine that may be busy with others.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

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


Story = Callable[[LocustRun, StagingService], object]


def scenario(locust: LocustRun, rate: int = 200, hold: str = "60s", *changes: tuple[str, str]) -> Path:
    text = SCENARIO.format(locustfile=STAGING, url=locust.url, rate=rate, hold=hold)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return locust.write("scenario.toml", text)


CONSTANT = ('model = "open"', 'model = "open"\narrivals = "constant"')


# -- the stories --------------------------------------------------------------------------------


def planned(locust: LocustRun, _: StagingService) -> None:
    """Offer 400 arrivals in 4 s at a constant rate, without --run-time."""
    path = scenario(locust, 100, "4s", CONSTANT)
    locust.run("-u", "20", "-r", "20", "--scenario", str(path))


def shared_out(locust: LocustRun, _: StagingService) -> None:
    """The same with two workers."""
    path = scenario(locust, 100, "4s", CONSTANT)
    locust.run("-u", "20", "-r", "20", "--scenario", str(path), "--processes", "2")


def signalled(number: int, locust: LocustRun, _: StagingService) -> None:
    locust.start("-u", "5", "-r", "5", "-t", "60s", "--html", "report.html")
    locust.until_answered(50)
    locust.signal(number)
    locust.wait(60)


def signalled_in_a_shape(number: int, locust: LocustRun, _: StagingService) -> None:
    locust.start("--html", "report.html", locustfile=locust.write("locustfile.py", SHAPED))
    locust.until_answered(50)
    locust.signal(number)
    locust.wait(60)


def master_ended(locust: LocustRun, _: StagingService) -> None:
    locust.start("-u", "6", "-r", "6", "-t", "60s", "--processes", "2")
    locust.until_answered(50)
    master = psutil.Process(locust.process.pid)
    locust.notes["workers"] = len(master.children())
    children = master.children(recursive=True)
    locust.signal(signal.SIGTERM)
    locust.wait(60)
    _, locust.notes["alive"] = psutil.wait_procs(children, timeout=5)


def worker_ended(locust: LocustRun, target: StagingService) -> None:
    locust.start("-u", "6", "-r", "6", "-t", "8s", "--processes", "2")
    locust.until_answered(50)
    psutil.Process(locust.process.pid).children()[0].send_signal(signal.SIGTERM)
    locust.wait(60)
    locust.notes["received"] = target.counts()["received"]


def worker_killed(locust: LocustRun, _: StagingService) -> None:
    locust.start("-u", "6", "-r", "6", "-t", "10s", "--processes", "2")
    locust.until_answered(50)
    psutil.Process(locust.process.pid).children()[0].kill()
    locust.wait(60)


def only_worker_killed(locust: LocustRun, _: StagingService) -> None:
    path = scenario(locust, rate=50, hold="60s")
    locust.start("-u", "5", "-r", "5", "--scenario", str(path), "--processes", "1")
    locust.until_answered(50)
    psutil.Process(locust.process.pid).children()[0].kill()
    locust.wait(50)


def target_dies(locust: LocustRun, target: StagingService) -> None:
    path = scenario(locust, rate=100, hold="6s")
    locust.start("-u", "20", "-r", "20", "--scenario", str(path))
    locust.until_answered(100)
    target.kill()
    locust.wait(60)


def target_hangs(locust: LocustRun, target: StagingService) -> None:
    target.add_fault("hang")
    path = scenario(locust, 50, "4s", ('timeout = "5s"', 'connect_timeout = "1s"\ntimeout = "1s"'))
    locust.run("-u", "20", "-r", "20", "--scenario", str(path))


def closed(locust: LocustRun, _: StagingService) -> None:
    path = locust.write("scenario.toml", CLOSED.format(locustfile=STAGING, url=locust.url))
    locust.run("-u", "6", "-r", "6", "--scenario", str(path))


def mixed(locust: LocustRun, _: StagingService) -> None:
    """A closed plan with a mix of 9 to 1."""
    text = CLOSED.format(locustfile=STAGING, url=locust.url)
    text = text.replace("emotion = 3, reasoning = 1", "emotion = 9, creative = 1").replace("100ms", "20ms")
    locust.run("-u", "6", "-r", "6", "--scenario", str(locust.write("scenario.toml", text)))


def traced(locust: LocustRun, _: StagingService) -> None:
    """Three recorded arrivals."""
    locust.write("trace.csv", "0.5,emotion\n0.75,creative\n1.5,emotion\n")
    text = scenario(locust).read_text()
    stages = text[text.index("[[traffic.stages]]") : text.index("[http]")]
    text = text.replace(stages, "").replace('model = "open"', 'arrivals = "trace"\ntrace = "trace.csv"')
    path = locust.write("scenario.toml", text)
    locust.run("-u", "5", "-r", "5", "--scenario", str(path))


SIGNALS = (signal.SIGINT, signal.SIGTERM)
STORIES: dict[str, Story] = {
    "only_worker_killed": only_worker_killed,
    "worker_killed": worker_killed,
    "worker_ended": worker_ended,
    "target_hangs": target_hangs,
    "target_dies": target_dies,
    "shared_out": shared_out,
    "planned": planned,
    "closed": closed,
    "mixed": mixed,
    "master_ended": master_ended,
    **{f"signalled_{number}": partial(signalled, number) for number in SIGNALS},
    **{f"signalled_in_a_shape_{number}": partial(signalled_in_a_shape, number) for number in SIGNALS},
    "traced": traced,
}
ALONE = ("worker_ended", "target_dies", "target_hangs")
"""Those that break their target, or ask what it counted, and have one of their own."""


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, service: StagingService
) -> Mapping[str, Future[LocustRun]]:
    folder = tmp_path_factory.mktemp("end")

    def play(name: str, story: Story) -> LocustRun:
        (folder / name).mkdir()
        target = StagingService().start() if name in ALONE else service
        run = LocustRun(folder / name, target.url)
        try:
            story(run, target)
        finally:
            run.end()
            if target is not service:
                target.stop()
        return run

    return beside({name: partial(play, name, story) for name, story in STORIES.items()}, at_once=4)


# -- what they show -----------------------------------------------------------------------------


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


def test_a_planned_run_ends_by_itself_with_every_arrival_accounted_for(played) -> None:
    """A 4 s plan at a constant 100/s offers exactly 400 arrivals and ends without --run-time."""
    locust = played["planned"].result()
    assert locust.value("ended") == "planned"
    total = locust.total()
    assert total.counts["arrivals"] == total.counts["ok"] == 400
    assert_complete(locust)


def test_two_workers_share_one_schedule_exactly(played) -> None:
    """The same 400 arrivals are offered by two workers together, each about half of them."""
    locust = played["shared_out"].result()
    assert locust.total().counts["arrivals"] == locust.total().counts["ok"] == 400
    with locust.reader() as reader:
        last = {row.worker: row.offered for row in reader.fleet()}
    assert sum(last.values()) == 400
    assert set(last.values()) == {200}
    assert_complete(locust)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_gracefully(played, number) -> None:
    """SIGINT and SIGTERM alike: final CSV exact, HTML written, books balanced, the end written down."""
    locust = played[f"signalled_{number}"].result()
    assert locust.value("ended") == "interrupted"
    assert (locust.folder / "report.html").stat().st_size > 0
    assert_complete(locust)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_a_shape_is_graceful_too(played, number) -> None:
    """Stock Locust dies of SIGTERM during a headless shape; here it ends as Ctrl-C does."""
    locust = played[f"signalled_in_a_shape_{number}"].result()
    assert locust.returncode == 0, locust.stderr
    assert locust.value("ended") == "interrupted"
    assert (locust.folder / "report.html").stat().st_size > 0
    assert_complete(locust)


def test_sigterm_of_a_master_takes_its_workers_along(played) -> None:
    """The master of forked workers ends them and what they started, and holds their last numbers."""
    locust = played["master_ended"].result()
    assert locust.notes["workers"] == 2
    assert locust.notes["alive"] == []
    assert locust.value("ended") == "interrupted"
    assert_complete(locust)


def test_sigterm_of_a_worker_loses_nothing(played) -> None:
    """A worker that is ended by itself delivers its last delta before it goes; its loss is an event."""
    locust = played["worker_ended"].result()
    total = locust.total().counts
    sent = total["ok"] + total.get("failed", 0) + total.get("unfinished", 0) + total.get("retries", 0)
    assert locust.notes["received"] == sent
    assert "worker_lost" in locust.events()
    assert_complete(locust)


def test_a_killed_worker_is_named_and_the_rest_is_kept(played) -> None:
    """SIGKILL of one of two workers: the run goes on, and the ledger shows the loss."""
    locust = played["worker_killed"].result()
    assert "worker_lost" in locust.events()
    assert "last_delta_missing" in locust.events()
    assert locust.value("flushed") is False


def test_a_master_whose_only_worker_was_killed_ends_by_itself(played) -> None:
    """Nobody is left to make load, so the run ends as died, and never with exit code 0."""
    locust = played["only_worker_killed"].result()
    assert locust.returncode == 30, locust.stderr
    assert locust.value("ended") == "died"
    assert locust.value("flushed") is False


def test_a_target_that_dies_mid_run_is_counted_by_kind_and_hangs_nothing(played) -> None:
    """After the target's death every arrival fails as refused; the run ends as planned."""
    locust = played["target_dies"].result()
    assert locust.value("ended") == "planned"
    with locust.reader() as reader:
        kinds = {failure.kind for failure in reader.failures()}
    assert "connection refused" in kinds
    assert locust.total().counts["failed"] > 100
    assert_complete(locust)


def test_a_hanging_target_ends_in_timeouts_and_unsent_arrivals(played) -> None:
    """With 20 users and no answers, 20 requests time out again and again, and the rest never starts."""
    locust = played["target_hangs"].result()
    counts = locust.total().counts
    assert counts.get("ok", 0) == 0
    assert counts["timeout"] >= 20
    assert counts["unsent_pool"] > 0
    assert locust.total().imbalance == 0
    assert locust.value("ended") == "planned"


def test_a_closed_plan_follows_its_stages(played) -> None:
    """Two users, then six, each pausing 100 ms: at most 20, then 60 requests a second, and then an end."""
    locust = played["closed"].result()
    assert locust.value("ended") == "planned"
    with locust.reader() as reader:
        rates = [reader.total(start=s, end=s + 1).counts.get("ok", 0) for s in range(4)]
    assert max(rates[:2]) <= 22
    assert 22 < max(rates[2:]) <= 66
    with locust.reader() as reader:
        # Every user follows the plan's mix, whichever class Locust made it of; creative is left out.
        assert reader.endpoints() == ["emotion", "reasoning"]
    assert_complete(locust)


def test_a_closed_plan_sends_its_mix(played) -> None:
    """A mix of 9 to 1 over two endpoints: the small share lies within four standard errors of a tenth."""
    locust = played["mixed"].result()
    emotion, creative = (locust.total(name).counts["ok"] for name in ("emotion", "creative"))
    sent = emotion + creative
    assert abs(creative / sent - 0.1) < 4 * (0.1 * 0.9 / sent) ** 0.5


def test_a_recorded_trace_is_played_as_it_is(played) -> None:
    """Three recorded arrivals with their endpoints are exactly what is sent, and the run ends after them."""
    locust = played["traced"].result()
    counts = {name: locust.total(name).counts.get("ok", 0) for name in ("emotion", "creative")}
    assert counts == {"emotion": 2, "creative": 1}
    assert locust.total().counts["arrivals"] == 3
    assert locust.value("ended") == "planned"
