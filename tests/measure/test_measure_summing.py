"""Packed windows: the same content in other arrays, and sums that equal merging one by one."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure import summing
from loadgate.measure.delta import Delta
from loadgate.measure.exact import check_exact
from loadgate.measure.histogram import Histogram, Part
from loadgate.measure.layout import HIGHEST_US
from loadgate.measure.packed import LOW_BITS, Exact, PackedWindows
from loadgate.measure.summing import Key, summed
from loadgate.measure.window import Count, Series, Window, over_key, windows_merged

VALUES = st.one_of(st.integers(0, 5_000), st.integers(0, 2 * HIGHEST_US), st.sampled_from([0, 2**53]))
"""Latencies (µs): small ones that share counters, any, and the extremes."""


@st.composite
def drawn_windows(draw: st.DrawFn) -> Window:
    """Draw a window whose key many share, whose counters repeat, and which may lack any over-count."""
    window = Window(draw(st.integers(0, 1)), 1, draw(st.sampled_from("ab")), "steady")
    for series in draw(st.sets(st.sampled_from([Series.RESPONSE_OK, Series.SERVICE_OK, Series.CONNECT]))):
        histogram = window.histograms[series.value] = Histogram()
        for value in draw(st.lists(VALUES, max_size=4)):
            histogram.record(value, draw(st.sampled_from([1, 3, 300, 70_000, 2**33])))
    for series in draw(st.sets(st.sampled_from([Series.RESPONSE_OK, Series.SERVICE_OK]))):
        total = window.histogram(series).total
        window.over[over_key(series, 1000)] = draw(st.integers(0, total))
    for name in draw(st.sets(st.sampled_from(list(Count)))):
        window.counts[name.value] = draw(st.integers(0, 2**40))
    return window


def by_key(windows: list[Window], rename: dict[str, str]) -> dict[Key, Window]:
    """Merge windows by their keys, one after the other."""
    groups: dict[Key, list[Window]] = {}
    for window in windows:
        named = window.copy()
        named.endpoint = rename.get(window.endpoint, window.endpoint)
        groups.setdefault((named.second, named.span, named.endpoint, named.phase), []).append(named)
    return {key: windows_merged(group) for key, group in groups.items()}


def content(window: Window) -> tuple[object, ...]:
    """Return what two windows must share, whether zeros and empty histograms are there or left out."""
    histograms = {series: one for series, one in window.histograms.items() if one.total}
    counts = {name: n for name, n in window.counts.items() if n}
    return window.key, window.span, counts, histograms, window.over


@settings(max_examples=150, deadline=None)
@given(
    deltas=st.lists(st.lists(drawn_windows(), max_size=3), max_size=12),
    wired=st.lists(st.booleans(), min_size=12, max_size=12),
    rename=st.sampled_from([{}, {"b": "a"}]),
    few=st.sampled_from([1, 7, 2**20]),
    one_by_one=st.sampled_from([0, 2, 8]),
)
def test_sums_equal_merging_one_by_one(
    deltas: list[list[Window]], wired: list[bool], rename: dict[str, str], few: int, one_by_one: int
) -> None:
    """Whether packed here or off the wire, in however many steps: the same counters and exact numbers."""
    packs = [
        Delta.from_wire(msgpack.unpackb(msgpack.packb(Delta("r", "w", 0, 0, windows).to_wire()))).packed
        if by_wire
        else PackedWindows.of(windows)
        for windows, by_wire in zip(deltas, wired, strict=False)
    ]
    parts: dict[Key, list[Window]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "_FEW", few)
        patch.setattr(summing, "_ONE_BY_ONE", one_by_one)
        for key, window in summed(packs, lambda endpoint: rename.get(endpoint, endpoint)):
            parts.setdefault(key, []).append(window)
    found = {key: content(windows_merged(windows)) for key, windows in parts.items()}
    expected = by_key([window for windows in deltas for window in windows], rename)
    assert found == {key: content(window) for key, window in expected.items()}


def test_a_sum_may_need_any_number_of_bits() -> None:
    """16 histograms of 2**40 times 2**53 - 1 µs each: 2**97 - 2**44 µs in all, and 2**44 values."""
    histogram = Histogram()
    histogram.record(2**53 - 1, 2**40)
    window = Window(0, 1, "a", "steady", histograms={"connect": histogram})
    pack = Delta.from_wire(Delta("r", "w", 0, 0, [window]).to_wire()).packed
    ((_, total),) = summed([pack] * 16, str)
    whole = total.histograms["connect"]
    assert (whole.sum, whole.total, whole.overflow) == (2**97 - 2**44, 2**44, 2**44)


def test_counters_are_never_floats() -> None:
    """2**53 + 1, which no float holds, of this process and 2**40 in unsigned 64 bits make their exact sum."""
    large, small = Histogram(), Histogram()
    large.record(5, 2**53 + 1)
    small.record(5, 2**40)
    here = PackedWindows.of([Window(0, 1, "a", "steady", histograms={"connect": large})])
    there = Delta("r", "w", 0, 0, [Window(0, 1, "a", "steady", histograms={"connect": small})])
    ((_, total),) = summed([here, Delta.from_wire(there.to_wire()).packed], str)
    assert total.histograms["connect"].to_sparse().counts.tolist() == [2**53 + 1 + 2**40]


def test_sums_of_nothing() -> None:
    """No packs, or packs without windows, give nothing."""
    assert list(summed([], str)) == []
    assert list(summed([PackedWindows(), PackedWindows.of([])], str)) == []


def test_windows_without_histograms_are_summed() -> None:
    """Arrivals of which nothing came back yet count all the same."""
    pack = PackedWindows.of([Window(3, 1, "a", "steady", {"arrivals": 2})])
    ((key, window),) = summed([pack, pack], str)
    assert (key, window.counts, window.histograms) == ((3, 1, "a", "steady"), {"arrivals": 4}, {})


@given(st.lists(drawn_windows(), max_size=4))
def test_packing_and_unpacking_lose_nothing(windows: list[Window]) -> None:
    """What was packed comes out again; the sum of an empty series is left out."""
    unpacked = PackedWindows.of(windows).unpack()
    assert [content(window) for window in unpacked] == [content(window) for window in windows]


def test_a_head_tells_the_books() -> None:
    """9 arrivals less 5 ok, 1 lost and 2 unsent leave 1, as the window itself says."""
    window = Window(3, 2, "a", "steady", {"arrivals": 9, "ok": 5, "lost": 1, "unsent_pool": 2})
    (head,) = PackedWindows.of([window]).heads
    assert (head.imbalance, window.imbalance, head.end) == (1, 1, 5)


@settings(max_examples=300)
@given(
    histograms=st.lists(
        st.dictionaries(VALUES, st.sampled_from([1, 2, 2**20, 2**40]), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    change=st.sampled_from([0, 1, -1, 2, 2**12, -(2**12), HIGHEST_US, -HIGHEST_US, 2**60, -(2**60)]),
    to_zero=st.booleans(),
    data=st.data(),
)
def test_many_checks_are_the_single_one(
    histograms: list[dict[int, int]], change: int, to_zero: bool, data: st.DataObject
) -> None:
    """One changed number is accepted by the check of all exactly if `Histogram.from_part` accepts it."""
    window = Window(0, 1, "a", "steady")
    names = list(Series)
    for name, values in zip(names, histograms, strict=False):
        window.histograms[name.value] = Histogram()
        for value, n in values.items():
            window.histograms[name.value].record(value, n)
    packed = PackedWindows.of([window])
    exact = packed.exact.copy()
    at = data.draw(st.integers(0, len(histograms) - 1))
    column = data.draw(st.integers(0, len(Exact._fields) - 1))
    exact[at, column] = 0 if to_zero else max(-(2**62), min(2**62, int(exact[at, column]) + change))
    end = int(packed.lengths[: at + 1].sum())
    start = end - int(packed.lengths[at])
    part = Part(packed.indices[start:end], packed.counts[start:end])
    row = Exact._make(exact[at].tolist())
    sound = row.total == int(part.counts.sum()) and row.sum_high >= 0 and 0 <= row.sum_low < 2**LOW_BITS
    if sound:
        total_us = row.sum_high * 2**LOW_BITS + row.sum_low
        try:
            Histogram.from_part(part, row.total, row.minimum, row.maximum, total_us, row.overflow)
        except MeasureError:
            sound = False
    if sound:
        check_exact(exact, packed.indices, packed.counts, packed.lengths)
    else:
        with pytest.raises(MeasureError):
            check_exact(exact, packed.indices, packed.counts, packed.lengths)


@pytest.mark.parametrize("count", [1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**40])
def test_counts_of_every_width_arrive(count: int) -> None:
    """1, 2, 4 and 8 bytes: the largest count of each width and the smallest of the next are kept."""
    histogram = Histogram()
    histogram.record(1000, count)
    histogram.record(7)
    delta = Delta("r", "w", 0, 0, [Window(0, 1, "a", "steady", histograms={"connect": histogram})])
    arrived = Delta.from_wire(msgpack.unpackb(msgpack.packb(delta.to_wire())))
    assert arrived == delta
    ((_, window),) = summed([arrived.packed, delta.packed], str)
    assert window.histograms["connect"].total == 2 * (count + 1)


def test_a_histogram_takes_counters_in_any_order() -> None:
    """Counters 5 (3 + 1 times) and 2 (2 times), given out of order, are those of 2, 2, 5, 5, 5, 5."""
    histogram, expected = Histogram(), Histogram()
    expected.record_many([2, 2, 5, 5, 5, 5])
    histogram.record_counters(
        np.array([5, 2, 5], np.uint16),
        np.array([3, 2, 1], np.uint8),
        total=6,
        smallest=2,
        largest=5,
        total_us=24,
        overflow=0,
    )
    assert histogram == expected
