"""Histograms: percentiles against the sorted list, merging, forms, exact numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure.histogram import Histogram, Sparse, merged, rank_of
from loadgate.measure.layout import HIGHEST_EQUIVALENT, HIGHEST_US, TOP_INDEX, indices_of

VALUES = st.one_of(st.integers(0, 5000), st.integers(0, HIGHEST_US), st.integers(0, 3 * HIGHEST_US))
LISTS = st.lists(VALUES, max_size=60)
SOME = st.lists(VALUES, min_size=1, max_size=60)
PERCENTILES = st.integers(0, 10_000)


def histogram_of(values: list[int]) -> Histogram:
    """Return the histogram of a list."""
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def highest_equivalent(value: int) -> float:
    """Return the highest value that shares the counter of a value, as percentiles report it."""
    return float(HIGHEST_EQUIVALENT[indices_of([min(value, HIGHEST_US)])[0]])


@pytest.fixture
def stalled() -> Histogram:
    """10,000 answers of 1 ms and one of 100 s."""
    histogram = Histogram()
    histogram.record(1_000, 10_000)
    histogram.record(100_000_000)
    return histogram


def test_histogram_of_one_stall(stalled: Histogram) -> None:
    """Of 10,001 values p99.99 is rank ceil(9999.9999) = 10,000, still 1 ms; only p100 is the stall.

    100 s has a counter of 2**16 µs (1e8 is in 2**26..2**27, cut into 1024): 1525 · 65536 = 99,942,400
    is its lowest, 100,007,935 its highest value.
    """
    assert stalled.percentiles([5000, 9900, 9999, 10_000]) == [1000.0, 1000.0, 1000.0, 100_007_935.0]
    assert (stalled.minimum, stalled.maximum, stalled.total) == (1_000, 100_000_000, 10_001)
    assert stalled.sum == 10_000 * 1_000 + 100_000_000
    assert stalled.mean == 110_000_000 / 10_001


def test_histogram_counts_infinitely_slow_values_in_the_rank(stalled: Histogram) -> None:
    """With 99 more that never ended, n is 10,100: p99 is rank 9,999 (1 ms), p99.02 rank 10,002 (never)."""
    assert stalled.percentile(9900, infinite=99) == 1000.0
    assert stalled.percentile(9902, infinite=99) == math.inf


def test_histogram_that_is_empty() -> None:
    """Nothing recorded has no minimum, maximum, mean or percentile, and a sum and overflow of 0."""
    empty = Histogram()
    assert (empty.total, empty.sum, empty.overflow) == (0, 0, 0)
    assert (empty.minimum, empty.maximum, empty.mean) == (None, None, None)
    assert empty.percentiles([0, 5000, 10_000]) == [None, None, None]
    assert empty.to_sparse().indices.tolist() == []
    assert not empty.counts().any()


def test_histogram_of_infinitely_slow_values_only() -> None:
    """When nothing was answered, every percentile is infinite."""
    assert Histogram().percentiles([1, 10_000], infinite=1) == [math.inf, math.inf]


@pytest.mark.parametrize(
    ("percentile", "samples", "rank"),
    [(0, 10, 1), (1, 10, 1), (9400, 10, 10), (5000, 10, 5), (5001, 10, 6), (9990, 1000, 999), (10_000, 7, 7)],
)
def test_histogram_rank_is_rounded_up(percentile: int, samples: int, rank: int) -> None:
    """The rank is ceil(p·n / 10000), at least 1; p94 of 10 samples is the 10th, not the 9th."""
    assert rank_of(percentile, samples) == rank


@given(SOME, st.lists(PERCENTILES, min_size=1, max_size=6), st.integers(0, 20))
def test_histogram_percentile_is_that_of_the_sorted_list(
    values: list[int], percentiles: list[int], infinite: int
) -> None:
    """A percentile is the highest value equivalent to the sample at that rank of the sorted list."""
    found = histogram_of(values).percentiles(percentiles, infinite)
    ordered = [*sorted(values), *([math.inf] * infinite)]
    for percentile, value in zip(percentiles, found, strict=True):
        sample = ordered[max(1, math.ceil(percentile * len(ordered) / 10_000)) - 1]
        assert value == (math.inf if sample == math.inf else highest_equivalent(int(sample)))


@given(SOME)
def test_histogram_value_at_a_rank_is_that_of_the_sorted_list(values: list[int]) -> None:
    """The n-th value counted from 1, for every rank; past the last one it is infinite."""
    found = histogram_of(values).at_ranks([*range(1, len(values) + 1), len(values) + 1])
    assert found == [*(highest_equivalent(value) for value in sorted(values)), math.inf]


def test_histogram_has_no_rank_before_the_first() -> None:
    """Ranks are counted from 1."""
    with pytest.raises(MeasureError, match="counted from 1"):
        histogram_of([1]).at_ranks([0])


@given(SOME, PERCENTILES)
def test_histogram_percentile_is_the_same_when_dense(values: list[int], percentile: int) -> None:
    """The form that counters are kept in does not show."""
    sparse, dense = histogram_of(values), histogram_of(values)
    dense._dense, dense._parts, dense._pending = sparse.counts(), [], 0
    assert dense.percentile(percentile) == sparse.percentile(percentile)
    assert dense == sparse
    dense.compact()
    assert dense._dense is None
    assert dense == sparse


@given(SOME, st.integers(1, 9_999))
def test_histogram_agrees_with_the_package_at_the_same_rank(values: list[int], percentile: int) -> None:
    """At a percentile that both definitions give the same rank to, the package gives the same value."""
    histogram = histogram_of(values)
    package = histogram.to_hdr()
    rank = rank_of(percentile, len(values))
    same = (rank - 0.25) * 100 / len(values)
    assert package.get_target_count_at_percentile(same) == rank
    assert package.get_value_at_percentile(same) == histogram.percentile(percentile)


@given(LISTS)
def test_histogram_keeps_the_exact_numbers(values: list[int]) -> None:
    """Total, minimum, maximum, sum and overflow are exact, over the range too."""
    histogram = histogram_of(values)
    assert histogram.total == len(values)
    assert histogram.minimum == min(values, default=None)
    assert histogram.maximum == max(values, default=None)
    assert histogram.sum == sum(values)
    assert histogram.overflow == sum(value > HIGHEST_US for value in values)
    assert int(histogram.counts().sum()) == len(values)


def test_histogram_clamps_what_is_over_the_range() -> None:
    """Two hours are counted in the counter of one hour, as overflow, with the maximum kept."""
    histogram = histogram_of([2 * HIGHEST_US, HIGHEST_US])
    assert histogram.to_sparse().indices.tolist() == [TOP_INDEX]
    assert (histogram.overflow, histogram.maximum, histogram.sum) == (1, 2 * HIGHEST_US, 3 * HIGHEST_US)


def test_histogram_keeps_zero() -> None:
    """0 µs is a value of its own: a wait that did not happen."""
    histogram = histogram_of([0, 0, 1])
    assert histogram.percentiles([5000, 10_000]) == [0.0, 1.0]
    assert histogram.minimum == 0


@pytest.mark.parametrize("values", [[-1], [5, -3], [1.5], [float("nan")], [2**60], ["x"]])
def test_histogram_refuses_what_is_no_latency(values: list[object]) -> None:
    """A negative, broken or absurd value is an error, and nothing of its array is recorded."""
    histogram = Histogram()
    with pytest.raises(MeasureError):
        histogram.record_many(values)
    assert histogram == Histogram()


@pytest.mark.parametrize(("value", "n"), [(-1, 1), (2**60, 1), (1, -1)])
def test_histogram_refuses_a_single_value(value: int, n: int) -> None:
    """One value is checked as many are."""
    with pytest.raises(MeasureError):
        Histogram().record(value, n)


@pytest.mark.parametrize("percentile", [-1, 10_001])
def test_histogram_refuses_a_percentile_out_of_range(percentile: int) -> None:
    """A percentile is 0..10000."""
    with pytest.raises(MeasureError):
        Histogram().percentile(percentile)


@given(VALUES, st.integers(0, 50))
def test_histogram_recording_n_is_n_recordings(value: int, n: int) -> None:
    """record(v, n), n times record(v), and record_many of n give the same."""
    at_once, one_by_one = Histogram(), Histogram()
    at_once.record(value, n)
    for _ in range(n):
        one_by_one.record(value)
    assert at_once == one_by_one == histogram_of([value] * n)


@given(LISTS, LISTS)
def test_histogram_merge_is_recording_both(one: list[int], other: list[int]) -> None:
    """A merge is exactly the histogram of both lists, and commutes."""
    left, right = histogram_of(one), histogram_of(other)
    left.merge(histogram_of(other))
    right.merge(histogram_of(one))
    assert left == right == histogram_of(one + other)


@given(LISTS, LISTS, LISTS)
def test_histogram_merge_is_associative(one: list[int], two: list[int], three: list[int]) -> None:
    """Grouping does not matter, and the empty histogram changes nothing."""
    a, b, c = histogram_of(one), histogram_of(two), histogram_of(three)
    assert merged([merged([a, b]), c]) == merged([a, merged([b, c])])
    assert merged([a, Histogram()]) == merged([Histogram(), a]) == a


@given(SOME)
def test_histogram_merge_leaves_the_other_alone(values: list[int]) -> None:
    """What was merged, and a copy, do not change when the result goes on."""
    source = histogram_of(values)
    target, copy = merged([source]), source.copy()
    target.merge(target)
    target.record(7)
    copy.record(7)
    assert source == histogram_of(values)
    assert target == histogram_of([*values, *values, 7])


def test_histogram_merge_of_many_becomes_dense() -> None:
    """Merging 9,000 different values one by one is the same as recording them at once."""
    values = list(range(0, 900_000, 100))
    whole = Histogram()
    for start in range(0, len(values), 10):
        whole.merge(histogram_of(values[start : start + 10]))
    assert whole == histogram_of(values)
    dense = whole.copy()
    dense.merge(whole)
    assert dense == histogram_of(values + values)


@given(LISTS)
def test_histogram_sparse_round_trip(values: list[int]) -> None:
    """The sparse form and the exact numbers give the histogram back."""
    histogram = histogram_of(values)
    sparse = histogram.to_sparse()
    assert (sparse.indices.dtype, sparse.counts.dtype) == (np.int32, np.int64)
    again = Histogram.from_sparse(
        sparse,
        minimum=histogram.minimum,
        maximum=histogram.maximum,
        total_us=histogram.sum,
        overflow=histogram.overflow,
    )
    assert again == histogram


@pytest.mark.parametrize(
    ("indices", "counts", "exact"),
    [
        ([5], [1, 2], (5, 5, 15, 0)),
        ([6, 5], [1, 1], (5, 6, 11, 0)),
        ([5, 5], [1, 1], (5, 5, 10, 0)),
        ([5], [0], (5, 5, 0, 0)),
        ([5], [-1], (5, 5, -5, 0)),
        ([-1], [1], (0, 0, 0, 0)),
        ([30_000], [1], (5, 5, 5, 0)),
        ([TOP_INDEX + 1], [1], (HIGHEST_US, HIGHEST_US, HIGHEST_US, 0)),
        ([5.0], [1], (5, 5, 5, 0)),
        ([5], [1], (None, None, 0, 0)),
        ([5], [1], (4, 5, 5, 0)),
        ([5], [1], (5, 6, 5, 0)),
        ([5], [1], (5, 5, 6, 0)),
        ([5], [1], (5, 5, 5, 1)),
        ([TOP_INDEX], [1], (HIGHEST_US + 1, HIGHEST_US + 1, HIGHEST_US + 1, 0)),
        ([], [], (0, 0, 0, 0)),
        ([], [], (None, None, 1, 0)),
    ],
)
def test_histogram_refuses_sparse_garbage(
    indices: list[int], counts: list[int], exact: tuple[int, int, int, int]
) -> None:
    """Arrays that are no sparse form, and exact numbers that cannot be theirs, are errors."""
    minimum, maximum, total_us, overflow = exact
    sparse = Sparse(np.array(indices), np.array(counts))
    if not indices:
        sparse = Sparse(np.zeros(0, np.int32), np.zeros(0, np.int64))
    with pytest.raises(MeasureError):
        Histogram.from_sparse(sparse, minimum=minimum, maximum=maximum, total_us=total_us, overflow=overflow)
