"""The answer cache: time to live, bound, statistics as strings."""

from __future__ import annotations

import pytest

from loadgate.staging.cache import Cache, format_memory


def put(cache: Cache, key: str, now: float, size: int = 10) -> None:
    """Store `size` bytes under a key that is also its label."""
    cache.set(key, b"x" * size, label=key, created_at=f"at {now}", now=now)


def test_an_entry_lives_for_its_time_and_not_a_moment_longer():
    """Set at 0 with a life of 10: read at 9.9, gone at 10."""
    cache = Cache(ttl=10)
    put(cache, "a", 0)
    assert cache.get("a", 9.9) is not None
    assert cache.get("a", 10) is None
    assert cache.stats()["expirations"] == 1
    assert len(cache) == 0


def test_the_oldest_entry_makes_room():
    """A bound of two keeps the two newest; the eviction is a delete."""
    cache = Cache(bound=2)
    for now, key in enumerate("abc"):
        put(cache, key, now)
    assert cache.get("a", 3) is None
    assert cache.get("b", 3) is not None
    stats = cache.stats()
    assert (stats["totalEntries"], stats["deletes"], stats["sets"]) == (2, 1, 3)
    assert stats["oldestEntry"] == {"key": "b", "createdAt": "at 1"}
    assert stats["newestEntry"] == {"key": "c", "createdAt": "at 2"}


def test_rates_sizes_and_means_are_strings():
    """5 hits of 8 are "62.50%"; 5 reads of 3 entries "1.67"; 3 x (1023 + 1) bytes "3.00 KB"."""
    cache = Cache()
    for key in "abc":
        assert cache.get(key, 0) is None
        put(cache, key, 0, size=1023)
    for key in "aabbc":
        cache.get(key, 1)
    stats = cache.stats()
    assert stats["hitRate"] == "62.50%"
    assert stats["avgAccessCount"] == "1.67"
    assert stats["totalMemory"] == "3.00 KB"
    assert (stats["hits"], stats["misses"], stats["totalRequests"]) == (5, 3, 8)


def test_an_empty_cache_says_so():
    """Nothing asked, nothing held."""
    stats = Cache().stats()
    assert (stats["hitRate"], stats["avgAccessCount"], stats["totalMemory"]) == ("0.00%", "0.00", "0.00 B")
    assert stats["oldestEntry"] is None


def test_purging_drops_only_what_has_expired():
    """At 12, the entry of 0 is over its 10 s and that of 5 is not."""
    cache = Cache(ttl=10)
    put(cache, "a", 0)
    put(cache, "b", 5)
    assert cache.purge(12) == 1
    assert cache.get("b", 12) is not None


def test_setting_a_key_again_replaces_it_and_makes_it_the_newest():
    """Two misses of the same key at once leave one entry."""
    cache = Cache()
    put(cache, "a", 0)
    put(cache, "b", 1)
    put(cache, "a", 2)
    stats = cache.stats()
    assert (stats["totalEntries"], stats["deletes"]) == (2, 0)
    assert stats["newestEntry"] == {"key": "a", "createdAt": "at 2"}


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.00 B"), (1023, "1023.00 B"), (1024, "1.00 KB"), (3 * 1024 * 1024, "3.00 MB")]
)
def test_memory_is_written_in_units_of_1024(size: int, text: str):
    """The unit is the largest that leaves at least 1."""
    assert format_memory(size) == text
