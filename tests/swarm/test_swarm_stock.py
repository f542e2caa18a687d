"""Stock `locust` commands with the plugin loaded: everything is recorded, and Locust agrees."""

from __future__ import annotations

import pytest

from loadgate.measure.histogram import merged
from loadgate.measure.window import Series

ENDPOINTS = ("creative", "emotion", "reasoning")
pytestmark = pytest.mark.system


def received(service) -> dict[str, int]:
    return {name: route["received"] for name, route in service.counts()["routes"].items()}


def locust_bucket(microseconds: float) -> float:
    """Round as Locust does: whole milliseconds below 100, tens below 1000, hundreds below 10,000."""
    milliseconds = microseconds / 1000
    digits = 0 if milliseconds < 100 else -1 if milliseconds < 1000 else -2
    return round(milliseconds, digits)


def assert_percentiles_agree(run) -> None:
    """Hold Locust's percentiles against the run database's: equal within Locust's own rounding."""
    rows = run.csv_rows()
    for endpoint in ENDPOINTS:
        histogram = run.total(endpoint).histograms[Series.RESPONSE_OK]
        for column, rank in (("50%", 5000), ("95%", 9500), ("99%", 9900)):
            ours = histogram.percentile(rank)
            theirs = float(rows[endpoint][column])
            step = 1 if theirs < 100 else 10 if theirs < 1000 else 100
            assert abs(theirs - locust_bucket(ours)) <= step, (endpoint, column, ours, theirs)


def test_locusts_own_statistics_show_what_was_recorded(locust, fresh_service) -> None:
    """Counts of the CSV, of the run database and of the server's own log are the same numbers."""
    locust.url = fresh_service.url
    locust.run("-u", "10", "-r", "10", "-t", "4s")
    assert locust.returncode == 0, locust.stderr
    rows, server = locust.csv_rows(), received(fresh_service)
    for endpoint in ENDPOINTS:
        window = locust.total(endpoint)
        assert window.counts["ok"] == window.counts["arrivals"] > 0
        assert int(rows[endpoint]["Request Count"]) == window.counts["ok"]
        assert server[endpoint] == window.counts["ok"] + window.counts.get("retries", 0)
    assert int(rows["Aggregated"]["Request Count"]) == locust.total().counts["ok"]
    assert_percentiles_agree(locust)


def test_a_run_without_a_plan_is_closed_steady_and_complete(locust) -> None:
    """Without a plan all of the run is the steady phase, and response time is service time."""
    locust.run("-u", "5", "-r", "5", "-t", "4s")
    assert locust.value("ended") == "planned"
    assert locust.value("model") == "closed"
    assert locust.value("mode") == "standalone"
    assert locust.value("flushed") is True
    assert locust.total(phase="steady").counts == locust.total().counts
    total = locust.total()
    assert total.histograms[Series.RESPONSE_OK] == total.histograms[Series.SERVICE_OK]


def test_json_output_is_exact_and_does_not_empty_the_summary(locust) -> None:
    """`--json` prints every request, and the summary printed after it is not zeroed."""
    locust.run("-u", "5", "-r", "5", "-t", "4s", "--json", "--json-file", "out")
    rows = locust.json_rows()
    for endpoint in ENDPOINTS:
        assert rows[endpoint]["num_requests"] == locust.total(endpoint).counts["ok"]
    import json

    saved = {row["name"]: row for row in json.loads((locust.folder / "out.json").read_text())}
    assert {n: r["num_requests"] for n, r in saved.items()} == {n: r["num_requests"] for n, r in rows.items()}


def test_forked_workers_are_recorded_exactly_and_draw_differently(locust, fresh_service) -> None:
    """With --processes 2, master, CSV, JSON and the server agree, and no worker repeats another's texts.

    Each worker draws its own fresh texts, so the server misses at least as often as two
    workers' fresh draws say; were the seeds the same, half of them would be hits.
    """
    locust.url = fresh_service.url
    locust.run("-u", "10", "-r", "10", "-t", "4s", "--processes", "2", "--json")
    assert locust.returncode == 0, locust.stderr
    assert locust.value("mode") == "distributed"
    assert locust.value("flushed") is True
    rows, server = locust.csv_rows(), received(fresh_service)
    for endpoint in ENDPOINTS:
        counts = locust.total(endpoint).counts
        assert counts["ok"] == counts["arrivals"] > 0
        assert int(rows[endpoint]["Request Count"]) == counts["ok"]
        assert locust.json_rows()[endpoint]["num_requests"] == counts["ok"]
        assert server[endpoint] == counts["ok"] + counts.get("retries", 0)
    with locust.reader() as reader:
        assert {row.worker for row in reader.fleet()} == {"worker-1", "worker-2"}
    emotion = locust.total("emotion").counts
    fresh = 0.1 * emotion["ok"]
    assert emotion["misses"] > 0.8 * fresh


HTTP_USERS = """
    from locust import FastHttpUser, HttpUser, task
    import loadgate.swarm.plugin

    class Slow(HttpUser):
        @task
        def health(self):
            self.client.get("/health", name="health")

    class Fast(FastHttpUser):
        @task
        def missing(self):
            self.client.get("/nowhere", name="missing")
"""


def test_stock_user_classes_are_recorded_too(locust) -> None:
    """HttpUser and FastHttpUser requests are in the run database, failures by their kind."""
    locustfile = locust.write("locustfile.py", HTTP_USERS)
    locust.run("-u", "4", "-r", "4", "-t", "4s", locustfile=locustfile)
    rows = locust.csv_rows()
    health, missing = locust.total("health"), locust.total("missing")
    assert health.counts["ok"] == int(rows["health"]["Request Count"]) > 0
    assert missing.counts["failed"] == int(rows["missing"]["Failure Count"]) > 0
    assert "ok" not in missing.counts or missing.counts["ok"] == 0
    with locust.reader() as reader:
        assert {f.endpoint for f in reader.failures()} == {"missing"}


FLOW = """
    from locust import task
    from loadgate import LoadUser

    class Shopper(LoadUser):
        @task
        def visit(self):
            answer = self.client.get("/health", name="first")
            assert answer.json()["ok"] is True
            self.client.post("/api/v1/emotions/analyze", json={"text": "fine"}, name="second")
"""


def test_a_flow_counts_each_of_its_requests(locust) -> None:
    """A task method that sends two requests makes an arrival of each, under its own endpoint."""
    locustfile = locust.write("locustfile.py", FLOW)
    locust.run("-u", "3", "-r", "3", "-t", "4s", locustfile=locustfile)
    first, second = locust.total("first").counts, locust.total("second").counts
    assert first["ok"] == first["arrivals"] > 0
    assert abs(first["ok"] - second["ok"]) <= 3


BROKEN = """
    from loadgate import Get, LoadUser, request

    class Broken(LoadUser):
        @request("broken")
        def send(self):
            raise RuntimeError("no such text")

    class Empty(LoadUser):
        @request("empty")
        def send(self):
            return None

    class Puzzled(LoadUser):
        @request("puzzled", check=lambda response: response.json()["nothing"])
        def send(self):
            return Get("/health")
"""


def test_user_code_that_raises_is_a_counted_failure_and_stops_no_user(locust) -> None:
    """A task or a check that raises fails its own request; the user goes on with the next."""
    locustfile = locust.write("locustfile.py", BROKEN)
    locust.run("-u", "3", "-r", "3", "-t", "4s", locustfile=locustfile)
    broken, puzzled = locust.total("broken").counts, locust.total("puzzled").counts
    assert broken["failed"] == broken["arrivals"] > 1
    assert puzzled["failed"] == puzzled["arrivals"] > 1
    with locust.reader() as reader:
        kinds = {f.endpoint: f.kind for f in reader.failures()}
    assert kinds["empty"] == "the user code raised TypeError"
    assert kinds["broken"] == "the user code raised RuntimeError (locustfile.py, line 7 in send)"
    assert locust.returncode == 1, "failures are Locust's own exit code 1"
    assert kinds["puzzled"] == "the check raised KeyError (locustfile.py, line 15 in <lambda>)"


LISTENER = """
    from locust import events
    from loadgate import Get, LoadUser, request

    seen = []

    @events.request.add_listener
    def note(name, response_time, exception, **rest):
        seen.append((name, exception))

    @events.test_stop.add_listener
    def tell(**rest):
        print("SEEN", len(seen), {name for name, _ in seen})

    class User(LoadUser):
        @request("health")
        def send(self):
            return Get("/health")
"""


def test_a_listener_of_the_users_own_sees_every_request(locust) -> None:
    """Locust's request event is fired for a listener in the locustfile, and counts nothing twice."""
    locustfile = locust.write("locustfile.py", LISTENER)
    locust.run("-u", "2", "-r", "2", "-t", "4s", locustfile=locustfile)
    ok = locust.total("health").counts["ok"]
    assert f"SEEN {ok} " in locust.stdout
    assert int(locust.csv_rows()["health"]["Request Count"]) == ok


def test_merged_windows_are_the_whole_run(locust) -> None:
    """The second windows of an endpoint add up to its total: nothing is lost between them."""
    locust.run("-u", "3", "-r", "3", "-t", "4s")
    with locust.reader() as reader:
        windows = list(reader.windows(endpoint="emotion"))
    total = locust.total("emotion")
    assert len(windows) >= 2
    assert merged(w.histograms[Series.RESPONSE_OK] for w in windows) == total.histograms[Series.RESPONSE_OK]
