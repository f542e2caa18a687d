"""The bucket layout."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure import layout


def test_layout_small_values_have_a_counter_each() -> None:
    """Below 2048 µs the counter is the value itself, zero included."""
    values = np.arange(2048)
    assert (layout.indices_of(values) == values).all()
    assert layout.indices_of(values).dtype == np.int32


def test_layout_first_wide_counters() -> None:
    """From 2048 µs on two values share a counter, from 4096 µs on four."""
    assert layout.indices_of([2048, 2049, 2050, 4095, 4096, 4099, 4100]).tolist() == [
        2048,
        2048,
        2049,
        3071,
        3072,
        3072,
        3073,
    ]
    assert (layout.LOWEST_EQUIVALENT[2048], layout.HIGHEST_EQUIVALENT[2048]) == (2048, 2049)
    assert (layout.LOWEST_EQUIVALENT[3072], layout.HIGHEST_EQUIVALENT[3072]) == (4096, 4099)


def test_layout_has_the_size_and_range_of_the_package() -> None:
    """The number of counters, and the last value of the last one, are those of the package."""
    package = HdrHistogram(layout.LOWEST_US, layout.HIGHEST_US, layout.SIGNIFICANT_DIGITS)
    assert package.counts_len == layout.COUNTERS
    assert layout.HIGHEST_EQUIVALENT[-1] == 2**32 - 1


@given(st.lists(st.integers(0, layout.HIGHEST_US), min_size=1))
def test_layout_agrees_with_the_package(values: list[int]) -> None:
    """Counter, lowest and highest equivalent value of any value are those of the package."""
    package = HdrHistogram(layout.LOWEST_US, layout.HIGHEST_US, layout.SIGNIFICANT_DIGITS)
    for value, index in zip(values, layout.indices_of(values).tolist(), strict=True):
        assert index == package._counts_index_for(value)
        assert layout.LOWEST_EQUIVALENT[index] == package.get_lowest_equivalent_value(value)
        assert layout.HIGHEST_EQUIVALENT[index] == package.get_highest_equivalent_value(value)


@given(st.integers(0, layout.HIGHEST_US))
def test_layout_is_precise_to_a_thousandth(value: int) -> None:
    """A counter holds its values and is at most a thousandth of them wide."""
    index = int(layout.indices_of([value])[0])
    lowest, highest = int(layout.LOWEST_EQUIVALENT[index]), int(layout.HIGHEST_EQUIVALENT[index])
    assert lowest <= value <= highest
    assert (highest - lowest) * 1000 <= max(value, 1)


@pytest.mark.parametrize("values", [[-1], [layout.HIGHEST_US + 1], [1.5]])
def test_layout_refuses_what_has_no_counter(values: list[float]) -> None:
    """A negative, too large or broken value is an error, never a wrong counter."""
    with pytest.raises(MeasureError):
        layout.indices_of(values)


def test_layout_of_nothing() -> None:
    """No values have no counters."""
    assert layout.indices_of([]).tolist() == []
