"""The windows of an objective by columns say what the windows themselves say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.part import NO_PARTS, Part, PartColumns, spread

NUMBERS = st.integers(0, 10**12)
PARTS = st.builds(
    Part,
    value=st.one_of(st.none(), st.just(float("inf")), st.floats(0, 3600)),
    n=NUMBERS,
    over=st.one_of(st.none(), NUMBERS),
    over_alert=st.one_of(st.none(), NUMBERS),
    bad=NUMBERS,
    counts=st.dictionaries(st.sampled_from(["ok", "infinite", "failed"]), NUMBERS, max_size=2),
    late=NUMBERS,
)


@given(parts=st.lists(PARTS, max_size=8))
def test_columns_give_back_the_windows(parts: list[Part]) -> None:
    """What was put in comes out, one by one and all in order, None and infinity included."""
    columns = PartColumns.of(parts)
    assert list(columns) == parts
    assert [columns[number] for number in range(len(columns))] == parts
    assert columns.count("infinite").tolist() == [part.infinite for part in parts]


@given(parts=st.lists(PARTS, min_size=1, max_size=8), other=PARTS, data=st.data())
def test_one_window_is_replaced_and_no_other(parts: list[Part], other: Part, data: st.DataObject) -> None:
    """The columns that were there stay as they were."""
    at = data.draw(st.integers(0, len(parts) - 1))
    columns = PartColumns.of(parts)
    assert list(columns.with_others({at: other})) == [*parts[:at], other, *parts[at + 1 :]]
    assert list(columns) == parts
    assert columns.with_others({}) is columns


def test_windows_that_are_spread_leave_nothing_between_them() -> None:
    """Numbers that no group has are windows without samples; the later of two groups holds."""
    first, second, third = (Part(float(number), number) for number in (1, 2, 3))
    groups = [
        (np.array([0, 2]), PartColumns.of([first, second])),
        (np.array([2]), PartColumns.of([third])),
    ]
    assert list(spread(4, groups)) == [first, Part(), third, Part()]
    assert list(spread(0, [])) == list(NO_PARTS) == []
