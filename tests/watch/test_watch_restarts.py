"""Signs that the target restarted."""

from __future__ import annotations

from loadgate.watch.probes import Value
from loadgate.watch.restarts import Restart, RestartWatch


def test_uptime_that_goes_back_is_a_restart():
    """In whatever unit it comes; growing is no sign."""
    watch = RestartWatch("health", "health")
    assert watch.values(0.0, [Value("up", 1.0), Value("uptime", 60_000.0)]) is None
    assert watch.values(30.0, [Value("up", 1.0), Value("uptime", 90_000.0)]) is None
    seen = watch.values(60.0, [Value("up", 1.0), Value("uptime", 4_000.0)])
    assert seen == Restart(60.0, "health", "uptime went back from 90000 to 4000")
    assert watch.values(90.0, [Value("up", 1.0), Value("uptime", 34_000.0)]) is None


def test_a_restart_during_an_outage_is_seen_afterwards():
    """Readings that failed tell nothing and make nothing forgotten."""
    watch = RestartWatch("health", "health")
    watch.values(0.0, [Value("up", 1.0), Value("uptime", 100.0)])
    assert watch.values(30.0, [Value("up", 0.0, "gone"), Value("uptime", None, "gone")]) is None
    seen = watch.values(60.0, [Value("up", 1.0), Value("uptime", 3.0)])
    assert seen is not None
    assert seen.at == 60.0


def test_a_cache_counter_that_goes_down_is_one_restart():
    """Several counters that go down in one attempt are one sign; a hit rate or entries may fall freely."""
    watch = RestartWatch("cache", "cache")
    first = [Value("hits", 100.0), Value("misses", 50.0), Value("hit_rate", 0.66), Value("entries", 40.0)]
    watch.values(0.0, first)
    calm = [Value("hits", 110.0), Value("misses", 60.0), Value("hit_rate", 0.5), Value("entries", 2.0)]
    assert watch.values(5.0, calm) is None
    seen = watch.values(10.0, [Value("hits", 1.0), Value("misses", 0.0)])
    assert seen == Restart(10.0, "cache", "hits went back from 110 to 1")


def test_a_process_that_was_replaced_is_a_restart():
    """One worker that stays means that the service lived on; nothing found is no sign by itself."""
    watch = RestartWatch("process", "process")
    assert watch.identity(0.0, frozenset({1, 2})) is None
    assert watch.identity(1.0, frozenset({2, 3})) is None
    assert watch.identity(2.0, frozenset()) is None
    seen = watch.identity(3.0, frozenset({4}))
    assert seen is not None
    assert (seen.at, seen.probe) == (3.0, "process")


def test_other_readings_may_go_anywhere():
    """A json probe has no counters that are known to only grow."""
    watch = RestartWatch("numbers", "json")
    watch.values(0.0, [Value("uptime", 5.0)])
    assert watch.values(1.0, [Value("uptime", 1.0)]) is None
