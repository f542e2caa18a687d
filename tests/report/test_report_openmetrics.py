"""What a run tells Prometheus: numbers that only grow, buckets that flatter nothing, and listed names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.report.follow import Follower
from loadgate.report.openmetrics import expose, scrape_of
from loadgate.report.openmetrics_names import METRICS, SAMPLE_NAMES
from loadgate.report.openmetrics_numbers import (
    EDGES,
    EDGES_MS,
    MOST_ENDPOINTS,
    SERIES,
    Counters,
    Distribution,
    exact_up_to,
)
from loadgate.report.snapshot import AlertView, Snapshot
from loadgate.store.watch import Reading

Make = Callable[..., Any]
PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def _table(first: str) -> list[list[str]]:
    """Return the cells of the page's table whose heading begins so."""
    lines = PAGE.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def _histogram(*values_us: int) -> Histogram:
    histogram = Histogram()
    histogram.record_many(list(values_us))
    return histogram


def test_a_bucket_holds_what_lies_wholly_under_its_edge() -> None:
    """Counters are 4 µs wide at 5 ms and 64 µs at 100 ms, where 99,968..100,031 lies on the edge."""
    found = Distribution.of(_histogram(1000, 4999, 5000, 99_967, 99_968, 7_200_000_000))
    counts = dict(zip((*EDGES, "+Inf"), found.buckets, strict=True))
    assert (counts["0.001"], counts["0.005"], counts["0.01"], counts["0.1"]) == (1, 2, 3, 4)
    assert (counts["0.2"], counts["60"], counts["+Inf"]) == (5, 5, 6)
    assert found.sum_us == 1000 + 4999 + 5000 + 99_967 + 99_968 + 7_200_000_000


@pytest.mark.parametrize(("edge_ms", "micros"), [(1, 1000), (5, 4999), (100, 99_967), (60_000, 59_998_207)])
def test_an_edge_counts_exactly_up_to(edge_ms: int, micros: int) -> None:
    """1 µs wide below 2048; 64 µs from 65,536; 60 s lies in a counter of 32,768 µs that begins 59,998,208."""
    assert exact_up_to(edge_ms) == micros


@given(st.lists(st.integers(0, 100_000_000), max_size=60))
def test_every_bucket_counts_the_values_up_to_its_exact_limit(values: list[int]) -> None:
    """Law, held against the plain list."""
    found = Distribution.of(_histogram(*values))
    expected = [sum(value <= exact_up_to(edge) for value in values) for edge in EDGES_MS]
    assert list(found.buckets) == [*expected, len(values)]


def test_no_edge_is_off_by_more_than_a_thousandth() -> None:
    """An edge's exact limit is less than 0.1 % under it, and never over it."""
    for edge in EDGES_MS:
        assert 0.999 * edge * 1000 < exact_up_to(edge) <= edge * 1000


def _window(endpoint: str, ok: int, phase: str = "steady") -> Window:
    histogram = Histogram()
    histogram.record(5000, ok)
    return Window(0, 1, endpoint, phase, {"arrivals": ok, "ok": ok}, {"response.ok": histogram})


def test_phases_are_added_up() -> None:
    """Counters are of an endpoint, whatever phase its requests were due in."""
    numbers = Counters().take([_window("emotion", 3, "ramp"), _window("emotion", 4)])
    assert numbers["emotion"].counts["ok"] == 7
    assert numbers["emotion"].distributions["response.ok"].buckets[-1] == 7


def test_numbers_never_go_back() -> None:
    """What is read again from its start, and is less for a while, stays as it was told; more is told."""
    counters = Counters()
    assert counters.take([_window("emotion", 5)])["emotion"].counts["ok"] == 5
    assert counters.take([_window("emotion", 3)])["emotion"].counts["ok"] == 5
    assert counters.take([])["emotion"].counts["ok"] == 5
    assert counters.take([_window("emotion", 6)])["emotion"].counts["ok"] == 6


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_in_any_order_of_totals_every_number_only_grows(totals: list[int]) -> None:
    """Law: what is told is the highest that was ever read."""
    counters = Counters()
    told = [counters.take([_window("a", ok)])["a"].distributions["response.ok"].buckets[-1] for ok in totals]
    assert told == [max(totals[: index + 1]) for index in range(len(totals))]


def test_endpoints_beyond_the_cap_are_one_and_stay_so() -> None:
    """The hundred that came first keep their names, whoever comes later and however they sort."""
    counters = Counters()
    first = [_window(f"m{number:03}", 1) for number in range(MOST_ENDPOINTS)]
    counters.take(first)
    numbers = counters.take([*first, _window("a", 2), _window("z", 3)])
    assert len(numbers) == MOST_ENDPOINTS + 1
    assert numbers["(overflow)"].counts["ok"] == 5


@pytest.fixture
def exposed(run: Any, make_plan: Make, make_objective: Make, make_window: Make) -> dict[str, Any]:
    """Expose ten steady seconds: 9 ok of 10 ms and 1 failed each; the package's parser reads it."""
    plan = make_plan(
        make_objective(alert="> 200ms"), make_objective("error_rate", "< 5%", name='odd "row"\n')
    )
    follower = Follower(run.folder, plan, SERIES)
    for second in range(5, 15):
        run.second(second, "w1", make_window(second, {10: 9}, failed=1))
    snapshot = follower.refresh({}, 15.5)
    readings = {
        ("health", "up"): Reading(14.0, "health", "up", 1.0, "", 0.01),
        ("cache", "entries"): Reading(14.0, "cache", "entries", None, "refused", 0.01),
    }
    scrape = scrape_of(plan, run.folder.id, "1.2.3", snapshot, Counters().take(follower.totals), readings)
    body, content_type = expose(scrape, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    samples: dict[str, Any] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            samples[sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))] = sample.value
    return samples


def test_a_run_is_told_as_it_is(exposed: dict[str, Any]) -> None:
    """Counts, exact percentiles and states are those of the run: p95 of 90 ok and 10 failed is infinite."""
    assert exposed["loadgate_requests_total", "endpoint=emotion", "outcome=ok"] == 90
    assert exposed["loadgate_requests_total", "endpoint=emotion", "outcome=failed"] == 10
    assert exposed["loadgate_arrivals_total", "endpoint=emotion"] == 100
    assert exposed["loadgate_response_seconds_bucket", "endpoint=emotion", "le=0.01", "outcome=ok"] == 0
    assert exposed["loadgate_response_seconds_bucket", "endpoint=emotion", "le=0.02", "outcome=ok"] == 90
    assert exposed["loadgate_response_seconds_sum", "endpoint=emotion", "outcome=ok"] == 0.9
    assert exposed["loadgate_response_steady_seconds", "endpoint=emotion", "quantile=0.5"] == 0.010007
    assert exposed["loadgate_response_steady_seconds", "endpoint=emotion", "quantile=0.95"] == math.inf
    assert exposed["loadgate_objective_value", "objective=response_time"] == math.inf
    assert exposed["loadgate_objective_target", "objective=response_time"] == 0.05
    assert exposed["loadgate_objective_alert", "objective=response_time"] == 0.2
    assert exposed["loadgate_objective_state", "objective=response_time", "state=FAIL"] == 1
    assert exposed["loadgate_objective_state", "objective=response_time", "state=PASS"] == 0
    assert exposed["loadgate_workers", "state=reporting"] == 1
    assert exposed["loadgate_measured_until_seconds",] == 15
    assert exposed["loadgate_run_time_seconds",] == 15.5
    assert exposed["loadgate_run_phase", "phase=steady"] == 1
    assert exposed["loadgate_run_phase", "phase=ramp"] == 0


def test_a_failed_reading_has_no_value(exposed: dict[str, Any]) -> None:
    """It is "no data", never 0."""
    assert exposed["loadgate_probe_reading", "probe=health", "reading=up"] == 1
    assert exposed["loadgate_probe_ok", "probe=cache", "reading=entries"] == 0
    assert ("loadgate_probe_reading", "probe=cache", "reading=entries") not in exposed


def test_names_from_a_plan_are_escaped(exposed: dict[str, Any]) -> None:
    """Quotes and line ends of a row's name come back as they were."""
    assert exposed["loadgate_objective_value", 'objective=odd "row"\n'] == pytest.approx(0.1)


def test_nothing_is_told_that_is_not_listed(exposed: dict[str, Any]) -> None:
    """Every sample's name is one that a query may ask for."""
    assert {name for name, *_ in exposed} <= SAMPLE_NAMES


def test_what_is_not_known_is_left_out(make_plan: Make) -> None:
    """Before the load a scrape says which run it is, and no number."""
    body, content_type = expose(scrape_of(make_plan(), "r", "1"))
    assert content_type.startswith("text/plain")
    assert [line for line in body.decode().splitlines() if not line.startswith("#")] == [
        'loadgate_run_info{host="http://127.0.0.1:3000",model="open",run="r",scenario="hand",version="1"} 1.0'
    ]


def test_a_watch_without_a_load_has_no_numbers_of_one(make_plan: Make) -> None:
    """Alerts and readings are told; rates, workers and objectives are not there, and not 0."""
    alerts = (AlertView("down", "critical", "firing"),)
    watched = Snapshot(9.0, 9.0, phase="", planned=0.0, model="open", begun=True, alerts=alerts)
    readings = {("health", "up"): Reading(8.0, "health", "up", 1.0, "", 0.01)}
    body, _ = expose(scrape_of(make_plan(), "r", "1", watched, {}, readings))
    told = {line.split("{")[0].split(" ")[0] for line in body.decode().splitlines() if line[0] != "#"}
    assert told == {
        "loadgate_run_info",
        "loadgate_run_time_seconds",
        "loadgate_measured_until_seconds",
        "loadgate_run_phase",
        "loadgate_alert_firing",
        "loadgate_probe_reading",
        "loadgate_probe_ok",
    }


def test_the_page_lists_every_metric() -> None:
    """With its kind, labels and meaning, in the order of the code."""
    expected = [
        [f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help]
        for metric in METRICS
    ]
    assert _table("metric") == expected


def test_the_page_lists_every_edge() -> None:
    """With what it counts exactly."""
    expected = [[edge, str(exact_up_to(ms))] for edge, ms in zip(EDGES, EDGES_MS, strict=True)]
    assert _table("`le` (s)") == expected
