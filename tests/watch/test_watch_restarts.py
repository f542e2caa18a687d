"""Signs that the target restarted."""

from __future__ import annotations

import pytest

from loadgate.plan.probe import Probe
from loadgate.store.watch import Reading
from loadgate.watch.probes import Value
from loadgate.watch.restarts import OTHERS, Restart, RestartWatch, restarts_in


def probe(name: str, kind: str, **more: object) -> Probe:
    """Make a probe, as far as restarts are concerned."""
    return Probe(name=name, kind=kind, every=1.0, **more)


def stored(name: str, *rows: tuple[float, dict[str, float | None]]) -> list[Reading]:
    """Make the stored readings of attempts: a run time, and the values by reading."""
    return [
        Reading(at, name, reading, value, "" if value is not None else "gone", 0.01)
        for at, values in rows
        for reading, value in values.items()
    ]


def test_uptime_that_goes_back_is_a_restart():
    """In whatever unit it comes; growing is no sign."""
    watch = RestartWatch(probe("health", "health"))
    assert watch.values(0.0, [Value("up", 1.0), Value("uptime", 60_000.0)]) is None
    assert watch.values(30.0, [Value("up", 1.0), Value("uptime", 90_000.0)]) is None
    seen = watch.values(60.0, [Value("up", 1.0), Value("uptime", 4_000.0)])
    assert seen == Restart(60.0, "health", "uptime went back from 90000 to 4000")
    assert watch.values(90.0, [Value("up", 1.0), Value("uptime", 34_000.0)]) is None


def test_a_restart_during_an_outage_is_seen_afterwards():
    """Readings that failed tell nothing and make nothing forgotten."""
    watch = RestartWatch(probe("health", "health"))
    watch.values(0.0, [Value("up", 1.0), Value("uptime", 100.0)])
    assert watch.values(30.0, [Value("up", 0.0, "gone"), Value("uptime", None, "gone")]) is None
    seen = watch.values(60.0, [Value("up", 1.0), Value("uptime", 3.0)])
    assert seen is not None
    assert seen.at == 60.0


def test_a_cache_counter_that_goes_down_is_one_restart():
    """Several counters that go down in one attempt are one sign; a hit rate or entries may fall freely."""
    watch = RestartWatch(probe("cache", "cache"))
    first = [Value("hits", 100.0), Value("misses", 50.0), Value("hit_rate", 0.66), Value("entries", 40.0)]
    watch.values(0.0, first)
    calm = [Value("hits", 110.0), Value("misses", 60.0), Value("hit_rate", 0.5), Value("entries", 2.0)]
    assert watch.values(5.0, calm) is None
    seen = watch.values(10.0, [Value("hits", 1.0), Value("misses", 0.0)])
    assert seen == Restart(10.0, "cache", "hits went back from 110 to 1")


def test_a_process_that_was_replaced_is_a_restart():
    """One worker that stays means that the service lived on; nothing found is no sign by itself."""
    watch = RestartWatch(probe("process", "process"))
    assert watch.identity(0.0, frozenset({1, 2})) is None
    assert watch.identity(1.0, frozenset({2, 3})) is None
    assert watch.identity(2.0, frozenset()) is None
    seen = watch.identity(3.0, frozenset({4}))
    assert seen is not None
    assert (seen.at, seen.probe) == (3.0, "process")


def test_other_readings_may_go_anywhere():
    """A json probe has no counters that are known to only grow."""
    watch = RestartWatch(probe("numbers", "json"))
    watch.values(0.0, [Value("uptime", 5.0)])
    assert watch.values(1.0, [Value("uptime", 1.0)]) is None


def test_a_counter_of_the_plan_that_goes_back_is_a_restart():
    """Only the declared ones: other values may fall."""
    watch = RestartWatch(probe("numbers", "json", values={"jobs": "a", "queue": "b"}, counters=("jobs",)))
    assert watch.values(0.0, [Value("jobs", 5.0), Value("queue", 9.0)]) is None
    assert watch.values(1.0, [Value("jobs", 6.0), Value("queue", 1.0)]) is None
    assert watch.values(2.0, [Value("jobs", 0.0), Value("queue", 1.0)]) == Restart(
        2.0, "numbers", "jobs went back from 6 to 0"
    )
    assert watch.count == 1


def test_stored_readings_show_the_restarts_that_were_seen():
    """What a health probe read goes back, and the count of a process probe goes up; in order of time."""
    readings = [
        *stored("health", (0.0, {"up": 1.0, "uptime": 900.0}), (30.0, {"up": 0.0, "uptime": None})),
        *stored("health", (60.0, {"up": 1.0, "uptime": 12.0}), (90.0, {"up": 1.0, "uptime": 42.0})),
        *stored("process", (0.0, {"restarts": 0.0}), (20.0, {"restarts": None}), (40.0, {"restarts": 1.0})),
        *stored("process", (65.0, {"restarts": 1.0})),
        *stored("gone", (0.0, {"uptime": 9.0}), (1.0, {"uptime": 1.0})),
    ]
    assert restarts_in(readings, [probe("health", "health"), probe("process", "process")]) == (
        Restart(40.0, "process", OTHERS),
        Restart(60.0, "health", "uptime went back from 900 to 12"),
    )


@pytest.mark.parametrize("values", [(3.0,), (1.0, None, 2.0), (None, None), ()])
def test_readings_that_only_grow_show_no_restart(values):
    """Nor do readings that are missing."""
    rows = [(float(at), {"uptime": value}) for at, value in enumerate(values)]
    assert restarts_in(stored("health", *rows), [probe("health", "health")]) == ()
