"""The numbers of a merged window: latency, errors and cache misses, against sorted lists and hand counts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.histogram import Histogram
from loadgate.measure.levels import (
    edges,
    errors,
    known_errors,
    latency,
    met_by_count,
    misses,
    over_by_histogram,
    repeats,
)
from loadgate.measure.window import Window
from loadgate.plan.sla import Limit

values_us = st.lists(st.integers(1, 2000), max_size=60)


def of(values: list[int]) -> Histogram:
    """Return a histogram of some values."""
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


@given(values_us, st.integers(0, 20), st.sampled_from([5000, 9500, 9990]))
def test_a_percentile_is_the_value_at_its_rank(values: list[int], infinite: int, rank: int) -> None:
    """A law: of the sorted list, with the infinitely slow ones at its end; values under 2048 µs are exact."""
    found = latency(of(values), infinite, None, rank)
    ordered = [*sorted(values), *[math.inf] * infinite]
    if not ordered:
        assert found is None
        return
    place = max(1, -(-rank * len(ordered) // 10_000))
    assert found == pytest.approx(ordered[place - 1] / 1e6)


def test_a_maximum_and_a_mean_are_infinite_with_one_that_is() -> None:
    """2, 4 and 9 µs have the maximum 9 and the mean 5."""
    assert latency(of([2, 4, 9]), 0, "max", None) == pytest.approx(9e-6)
    assert latency(of([2, 4, 9]), 0, "mean", None) == pytest.approx(5e-6)
    assert latency(of([2, 4, 9]), 1, "max", None) == math.inf
    assert latency(of([2, 4, 9]), 1, "mean", None) == math.inf
    assert latency(Histogram(), 0, "max", None) is None


@given(values_us.filter(bool), st.sampled_from(["<", "<=", ">", ">="]), st.integers(1, 2000))
def test_counting_decides_a_limit_as_the_sorted_list_does(values: list[int], op: str, micros: int) -> None:
    """A law: a p95 meets a limit by counting if and only if the value at its rank does."""
    limit = Limit(op=op, value=micros / 1e6, text=f"{op} {micros}us")  # type: ignore[arg-type]
    edge, n = edges(limit)[0], len(values)
    rank = -(-9500 * n // 10_000)
    over = sum(value > edge for value in values)
    exact = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}[op]
    assert met_by_count(limit, over, n - rank) == exact(sorted(values)[rank - 1], micros)


@pytest.mark.parametrize(
    ("text", "found"),
    [("< 50ms", (49_999, 50_000)), ("<= 50ms", (50_000, 50_000)), ("> 50ms", (50_000, 50_000))],
)
def test_the_edges_of_a_limit(text: str, found: tuple[int, int]) -> None:
    """Latencies are whole µs: "< 50ms" is missed from 50,000 µs on."""
    assert edges(Limit.parse(text, "response_time")) == found


@given(values_us, st.integers(0, 2000))
def test_counters_over_a_threshold(values: list[int], threshold: int) -> None:
    """A law: under 2048 µs each value has a counter of its own, so the histogram counts exactly."""
    assert over_by_histogram(of(values), threshold) == sum(value > threshold for value in values)


def test_errors_are_all_but_ok_and_known_ones_leave_the_generators_out() -> None:
    """90 ok; 1 + 2 + 3 + 4 that are the target's doing; 5 unsent and 6 lost by the generator."""
    counts = {"ok": 90, "failed": 1, "timeout": 2, "unsent_pool": 3, "unfinished": 4}
    window = Window(0, 1, "e", "steady", {**counts, "unsent_generator": 5, "lost": 6, "retries": 9})
    assert errors(window) == (21, 111)
    assert known_errors(window) == (10, 100)


def test_misses_are_of_repeated_texts() -> None:
    """First sights are no misses."""
    window = Window(0, 1, "e", "steady", {"repeat_hits": 3, "repeat_misses": 7, "misses": 90})
    assert (misses(window), repeats(window)) == ((7, 10), 10)
