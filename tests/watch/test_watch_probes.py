"""From an answer of the target to readings, for each kind of probe."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.scenario import Probe
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Answer, Value, cache, failed, health, json_values, read_answer, readings_of

HEALTHY = {"ok": True, "service": "web-server", "time": "now", "uptime": 5856, "ready": True, "metrics": {}}
STATS = {
    "totalEntries": 12,
    "totalMemory": "8.42 KB",
    "hits": 100,
    "misses": 60,
    "totalRequests": 160,
    "hitRate": "62.50%",
    "sets": 60,
    "avgAccessCount": "8.33",
    "oldestEntry": {"key": "a", "createdAt": "b"},
}
NO_PROXY = {"ok": False, "error": "No proxy target configured"}


def answer(document: object, status: int = 200) -> Answer:
    """Return the document as JSON."""
    return Answer(status, orjson.dumps(document))


def wrapped(document: object) -> dict[str, object]:
    """Put a document into the wrapped envelope."""
    return {"type": "auto", "content": document, "timestamp": "2026-11-22T18:36:10.026Z"}


@pytest.mark.parametrize("document", [HEALTHY, wrapped(HEALTHY)])
def test_a_healthy_answer_is_up_in_both_envelopes(document):
    """Up is 1 and uptime is kept as the target gives it."""
    assert health(answer(document)) == (Value("up", 1.0), Value("uptime", 5856.0))


@pytest.mark.parametrize(
    "change", [{"ok": False}, {"ready": False}, {"ready": None}, {"ok": "false"}, {"ok": 0}]
)
def test_a_service_that_says_no_is_down(change):
    """A 200 does not outvote the service's own word."""
    up, uptime = health(answer({**HEALTHY, **change}))
    assert up.value == 0.0
    assert up.error.startswith("not up: '")
    assert uptime.value is None


def test_a_service_that_says_no_inside_of_data_is_down():
    """The plain envelope keeps the service's words in `data`."""
    up, _ = health(answer({"success": True, "data": {"ready": False}}))
    assert up.value == 0.0


@pytest.mark.parametrize(
    ("given_answer", "said"),
    [
        (Answer(200, b"OK"), "not JSON"),
        (Answer(200, b""), "not JSON"),
        (Answer(200, b"[]"), "not up: the answer is JSON, but no object"),
        (answer(HEALTHY, 503), "answered: 503"),
        (answer(NO_PROXY, 502), "answered: 502 No proxy target configured"),
        (Answer(204, b""), "answered: 204"),
    ],
)
def test_any_other_answer_is_down_with_the_reason(given_answer, said):
    """Up is 0, not missing: the service was asked and is not well."""
    up, uptime = health(given_answer)
    assert up.value == 0.0
    assert up.error.startswith(said)
    assert uptime == Value("uptime", None, up.error)


def test_a_health_answer_without_uptime_is_still_up():
    """Only the reading that is not there is missing."""
    up, uptime = health(answer({"ok": True}))
    assert up == Value("up", 1.0)
    assert uptime == Value("uptime", None, "no such field: 'uptime'")


@pytest.mark.parametrize(
    "document", [{"success": True, "data": STATS}, wrapped({"success": True, "data": STATS})]
)
def test_cache_statistics_with_numbers_as_text(document):
    """The hit rate is text with a percent sign; all come out as numbers."""
    assert cache(answer(document)) == (
        Value("hits", 100.0),
        Value("misses", 60.0),
        Value("hit_rate", 0.625),
        Value("entries", 12.0),
        Value("total_requests", 160.0),
    )


def test_a_cache_field_that_is_missing_costs_only_itself():
    """The others are read, and the error names the field."""
    stats = {key: value for key, value in STATS.items() if key != "hits"} | {"misses": True}
    found = {item.reading: item for item in cache(answer({"data": stats}))}
    assert found["hits"] == Value("hits", None, "no such field: 'hits' in data")
    assert found["misses"] == Value("misses", None, "data.misses: not a number: true")
    assert found["entries"].value == 12.0


def test_a_release_without_cache_statistics_is_a_finding():
    """The 502 is no data for every reading, in the target's own words, and raises nothing."""
    probe = Probe(name="cache", http="/api/v1/cache/stats", every=60.0)
    values = read_answer(probe, answer(NO_PROXY, 502))
    assert [item.reading for item in values] == ["hits", "misses", "hit_rate", "entries", "total_requests"]
    assert {(item.value, item.error) for item in values} == {
        (None, "answered: 502 No proxy target configured")
    }


def test_a_json_probe_reads_what_its_paths_name():
    """Each reading stands by itself."""
    document = {"timestamp": "t", "processes": [{"name": "web", "memory": "120 MB", "healthy": True}]}
    paths = {"memory": "processes[0].memory", "well": "processes[0].healthy", "second": "processes[1].memory"}
    assert json_values(answer(document), paths) == (
        Value("memory", 120e6),
        Value("well", None, "processes[0].healthy: not a number: true"),
        Value("second", None, "no such item: [1] in processes, which has 1"),
    )


def test_an_attempt_that_failed_is_no_data_for_each_reading():
    """Never 0, except for `up`: no answer in time is not up."""
    late = NoReading(Reason.TIMEOUT, "5 s")
    values = {"a": "x", "b": "y"}
    json_probe = Probe(name="numbers", kind="json", http="/n", values=values, every=10.0)
    assert failed(json_probe, late) == (
        Value("a", None, "no answer in time: 5 s"),
        Value("b", None, "no answer in time: 5 s"),
    )
    health_probe = Probe(name="health", http="/health", every=10.0)
    assert failed(health_probe, late) == (
        Value("up", 0.0, "no answer in time: 5 s"),
        Value("uptime", None, "no answer in time: 5 s"),
    )


def test_each_kind_names_its_readings():
    """A process probe has five, whatever the target says."""
    probe = Probe(name="process", process="listening", every=60.0)
    assert readings_of(probe) == ("cpu", "memory", "anon", "processes", "cores")


json_documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "ok", "hits", "content", "type", "timestamp", "x"]), inner)
    ),
    max_leaves=8,
)


@given(json_documents, st.sampled_from([200, 502]), st.sampled_from(["health", "cache", "json"]))
def test_no_answer_can_break_a_probe(document, status, kind):
    """Whatever comes, an attempt gives all its readings, and an error exactly where the value is not good."""
    values = {"hits": "data.hits"} if kind == "json" else {}
    probe = Probe(name="p", kind=kind, http="/x", values=values, every=1.0)
    found = read_answer(probe, answer(document, status))
    assert tuple(item.reading for item in found) == readings_of(probe)
    for item in found:
        bad = item.value is None or (item.reading == "up" and item.value == 0)
        assert bool(item.error) == bad
