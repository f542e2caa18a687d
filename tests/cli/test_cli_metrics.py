"""`--metrics-port` and `loadgate metrics`, proved against a real Prometheus where there is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from made_runs import plan

from commands import HEAD
from loadgate.cli.outlets import Listening, Outlets
from loadgate.cli.serving import Asked, Server, Told
from loadgate.errors import UsageError
from loadgate.measure.window import Window
from loadgate.report.openmetrics_names import METRICS
from loadgate.report.openmetrics_numbers import Distribution
from loadgate.store.database import RunReader
from loadgate.store.watch import Reading, WatchReader

ROOT = Path(__file__).parents[2]
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus (Debian package prometheus)"
)

# A second of warm-up, three of load, and then nothing, so that every number has come to rest.
STAGES = """
[[traffic.stages]]
rate  = "50/s"
hold  = "1s"
phase = "warmup"

[[traffic.stages]]
rate = "100/s"
hold = "3s"

[[traffic.stages]]
rate  = "0/s"
hold  = "3s"
phase = "warmup"

[http]
timeout = "2s"

[[probes]]
name   = "prom"
kind   = "prometheus"
http   = "{prometheus}"
values = {{ scraped = "up{{job='loadgate'}}", ok = "sum(loadgate_requests_total{{outcome='ok'}})" }}
every  = "1s"
"""
SLA = """
    [[objective]]
    metric   = "response_time"
    endpoint = "emotion"
    target   = "< 5s"
    every    = "30s"

    [[objective]]
    metric = "error_rate"
    target = "< 50%"
    every  = "30s"
"""
CONFIG = """
    global:
      scrape_interval: 1s
      evaluation_interval: 1s
    rule_files: [rules.yml]
    scrape_configs:
      - job_name: loadgate
        static_configs:
          - targets: ["127.0.0.1:{port}"]
"""


def free_port() -> int:
    """Find a port that is free just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Prometheus:
    """A real Prometheus that scrapes one address each second."""

    def __init__(self, folder: Path, scraped: int) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=error",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 30
        while not self._is_ready():
            assert self._process.poll() is None, "prometheus has ended"
            assert time.monotonic() < deadline, "prometheus is not ready"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def end(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)

    def ask(self, path: str, **asked: str) -> Any:
        """Ask its API."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=asked).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def last(self, expr: str) -> dict[tuple[str, ...], float]:
        """Return the newest sample of each series of the last minutes, by its labels but job and instance."""
        found = {}
        for one in self.ask("query", query=f"last_over_time({expr}[5m])")["result"]:
            labels = {k: v for k, v in one["metric"].items() if k not in ("job", "instance", "__name__")}
            found[tuple(value for _, value in sorted(labels.items()))] = float(one["value"][1])
        return found


@dataclass
class Scraped:
    """A run that has ended, what Prometheus knows of it, and what it stored itself."""

    prometheus: Prometheus
    totals: dict[str, Window]
    steady: dict[str, Window]
    verdict: dict[str, Any]
    readings: list[Reading]


@pytest.fixture(scope="module")
def scraped(shared, service) -> Iterator[Scraped]:
    """Scrape a short run against the staging service, which reads the same Prometheus by a probe."""
    port = free_port()
    shared.write("sla.toml", SLA)
    shared.write("prometheus.yml", CONFIG.format(port=port))
    shared.run("metrics", "rules", "sla.toml", "-o", "rules.yml").expect(0, out="", err="")
    prometheus = Prometheus(shared.folder, port)
    try:
        locustfile = ROOT / "locustfiles" / "staging.py"
        text = f"{HEAD}{STAGES}".format(
            name="scraped", locustfile=locustfile, host=service.url, prometheus=prometheus.url
        )
        path = shared.write("scraped.toml", text)
        running = shared.start("run", path, "--metrics-port", str(port))
        done = running.wait()
        assert f"metrics for Prometheus: http://127.0.0.1:{port}/metrics" in done.err, done
        folder = running.folder_of_run()
        with RunReader(folder.database) as reader, WatchReader(folder.watch_database) as watch:
            names = reader.endpoints()
            yield Scraped(
                prometheus,
                {name: reader.total(endpoint=name) for name in names},
                {name: reader.total(endpoint=name, phase="steady") for name in names},
                running.verdict(),
                watch.readings(),
            )
    finally:
        prometheus.end()


@pytest.mark.system
@needs_prometheus
def test_prometheus_counts_what_the_run_database_holds(scraped: Scraped) -> None:
    """Each endpoint's arrivals and outcomes, to the last request."""
    assert sorted(scraped.totals) == ["creative", "emotion", "reasoning"]
    counted = scraped.prometheus.last("loadgate_requests_total")
    arrivals = scraped.prometheus.last("loadgate_arrivals_total")
    for name, total in scraped.totals.items():
        assert total.count("ok") > 50
        assert arrivals[name,] == total.count("arrivals")
        for outcome in ("ok", "failed", "timeout", "unsent_pool", "unsent_generator", "unfinished", "lost"):
            assert counted[name, outcome] == total.count(outcome)


@pytest.mark.system
@needs_prometheus
@pytest.mark.parametrize("clock", ["response", "service"])
def test_prometheus_has_the_buckets_of_the_run_database(scraped: Scraped, clock: str) -> None:
    """Every bucket and the sum of both clocks, and a quantile of Prometheus' own lies in the right bucket."""
    buckets = scraped.prometheus.last(f'loadgate_{clock}_seconds_bucket{{outcome="ok"}}')
    sums = scraped.prometheus.last(f'loadgate_{clock}_seconds_sum{{outcome="ok"}}')
    for name, total in scraped.totals.items():
        ours = Distribution.of(total.histogram(f"{clock}.ok"))
        theirs = sorted((float(key[1]), value) for key, value in buckets.items() if key[0] == name)
        assert [value for _, value in theirs] == list(ours.buckets)
        assert sums[name, "ok"] == ours.sum_us / 1e6


@pytest.mark.system
@needs_prometheus
def test_prometheus_has_the_exact_percentiles(scraped: Scraped) -> None:
    """Of the steady phase, as the verdict has them: not those of a bucket."""
    theirs = scraped.prometheus.last("loadgate_response_steady_seconds")
    for name, steady in scraped.steady.items():
        histogram, infinite = steady.response("adjusted")
        ours = histogram.percentiles((5000, 9500, 9900), infinite)
        assert [theirs[name, quantile] for quantile in ("0.5", "0.95", "0.99")] == [
            value / 1e6 for value in ours if value is not None
        ]
    value = scraped.prometheus.last("loadgate_objective_value")
    rows = {row["name"]: row for row in scraped.verdict["objectives"]}
    assert value["emotion.response_time",] == theirs["emotion", "0.95"]
    assert value["emotion.response_time",] == pytest.approx(rows["emotion.response_time"]["value"], rel=1e-9)
    assert value["error_rate",] == pytest.approx(rows["error_rate"]["value"] / 100)


@pytest.mark.system
@needs_prometheus
def test_counters_never_went_back(scraped: Scraped) -> None:
    """Over the whole run Prometheus saw no reset of any counter."""
    names = [name for metric in METRICS if metric.kind in ("counter", "histogram") for name in metric.samples]
    asked = " + ".join(f"sum(resets({name}[5m]))" for name in names)
    assert len(scraped.prometheus.ask("query", query=f"sum(changes({names[0]}[5m])) > 2")["result"]) == 1
    assert [one["value"][1] for one in scraped.prometheus.ask("query", query=asked)["result"]] == ["0"]


@pytest.mark.system
@needs_prometheus
def test_prometheus_follows_the_rules_of_the_table(scraped: Scraped) -> None:
    """Each was evaluated without an error."""
    (group,) = scraped.prometheus.ask("rules")["groups"]
    assert len(group["rules"]) == 7
    assert {(rule["health"], rule.get("lastError", "")) for rule in group["rules"]} == {("ok", "")}


@pytest.mark.system
@needs_prometheus
def test_the_prometheus_probe_reads_a_real_prometheus(scraped: Scraped) -> None:
    """It saw the run being scraped, and at last the sum of all good answers."""
    good = [one for one in scraped.readings if one.value is not None]
    assert {one.value for one in good if one.reading == "scraped"} == {1.0}
    assert [one for one in good if one.reading == "ok"][-1].value == sum(
        total.count("ok") for total in scraped.totals.values()
    )


def test_a_port_in_use_is_told_before_any_load(told, loadgate, service) -> None:
    """Exit 2 with the option's name, and no run is stored."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = told("run", loadgate.scenario(service.url), "--metrics-port", port)
    done.expect(2, out="", err=rf"loadgate: --metrics-port: port {port} on 127.0.0.1 is in use\n")
    assert not (loadgate.folder / "results").exists()


@pytest.mark.parametrize("host", ["999.1.1.1", "203.0.113.9", "not a name"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    """Before any load, with the option's name."""
    with pytest.raises(UsageError, match="--metrics-port"):
        Server(host, 0, {}, "--metrics-port")


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serve pages until the test has ended."""
    servers: list[Server] = []

    def make(pages: Any) -> Server:
        servers.append(Server("127.0.0.1", 0, pages, "--test"))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def test_pages_are_served_by_method_and_path(serve: Callable[..., Server]) -> None:
    """HEAD as GET without its body; another path is 404, another method 405."""

    def page(asked: Asked) -> Told:
        return Told(f"{asked.method} {asked.query}".encode())

    server = serve({("GET", "/a"): page})
    assert httpx.get(f"{server.url}/a?x=1").text == "GET x=1"
    head = httpx.head(f"{server.url}/a?x=1")
    assert (head.status_code, head.headers["content-length"], head.text) == (200, "7", "")
    assert httpx.get(f"{server.url}/b").status_code == 404
    assert httpx.post(f"{server.url}/a").status_code == 405


def test_before_a_run_there_is_nothing_to_scrape(tmp_path: Path) -> None:
    """503, so that Prometheus says `up` 0; the address is said once it is bound."""
    said: list[str] = []
    outlets = Outlets(plan(), Listening(metrics_port=0), said.append)
    try:
        assert httpx.get(said[0].removeprefix("metrics for Prometheus: ")).status_code == 503
    finally:
        outlets.close()


def test_nothing_is_served_that_nobody_asked_for() -> None:
    """Without a port there is no server, and nothing more is kept of a run."""
    outlets = Outlets(plan(), Listening(), lambda _text: None)
    assert (outlets.open, outlets.series) == (False, ())


def test_every_metric_is_listed(told) -> None:
    """By the name that a query asks for."""
    done = told("metrics", "list").expect(0, err="")
    assert "loadgate_requests_total" in done.out
    assert "loadgate_run_info" in done.out


def test_rules_of_a_table_with_errors_are_not_made(told, loadgate) -> None:
    """Exit 2, with the file and the key."""
    path = loadgate.write(
        "bad.toml", '[[objective]]\nmetric = "response_time"\ntarget = "50"\nevery = "1s"\n'
    )
    told("metrics", "rules", path).expect(2, out="", err=r"bad\.toml: objective.*target")
