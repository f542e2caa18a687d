"""The law of fleet rows that arrive: the check in bulk believes what the check value by value believes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure.delta import FleetRow, _row_by_value, _row_from_wire, _row_to_wire

ROW = FleetRow(
    second=3, worker="w", offered=7, started=6, finished=5, in_flight=1, users=2, cpu=0.5, rss=10**8,
    start_lag_p99_us=90.0, loop_lag_p99_us=200.0, loop_lag_max_us=900.0, clock_offset_us=-12.5,
)  # fmt: skip
ODD = [
    *[-1, 0, 2**60, 2**60 + 1, -(2**60), -(2**60) - 1, 10**400],
    *[-1.0, -0.0, 1e308, 5e-324, math.inf, -math.inf, math.nan],
    *[True, None, "", "w", "w" * 4096, "w" * 4097, b"w", [], {}],
]
places = st.integers(0, len(_row_to_wire(ROW)) - 1)


def _outcome(check: Any, values: object) -> str:
    """Say what a check makes of a row: the row, or that it is refused."""
    try:
        return repr(check(values))
    except MeasureError:
        return "refused"


@given(changes=st.dictionaries(places, st.sampled_from(ODD), max_size=4))
@example(changes={7: 1e308, 9: 1e308})
@example(changes={7: math.nan, 9: -1.0})
def test_both_checks_of_a_row_agree(changes: dict[int, Any]) -> None:
    """Whatever stands in whichever places, both give the same row or both refuse it."""
    values = _row_to_wire(ROW)
    for place, value in changes.items():
        values[place] = value
    assert _outcome(_row_from_wire, values) == _outcome(_row_by_value, values)


@pytest.mark.parametrize("values", [None, 3, "row", {}, [], [1], [*_row_to_wire(ROW), 1]])
def test_what_is_no_row_is_refused(values: object) -> None:
    """Another form than a list of as many values as a row has is no row."""
    with pytest.raises(MeasureError):
        _row_from_wire(values)


def test_a_row_that_ran_backwards_in_clock_alone_is_believed() -> None:
    """Of all figures only the offset of the clock, and the second, may be negative."""
    row = replace(ROW, second=-2, clock_offset_us=-5.0)
    assert _row_from_wire(_row_to_wire(row)) == row
