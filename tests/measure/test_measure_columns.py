"""Windows by columns: the same content side by side, and sums that equal merging one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure.columns import Columns, ColumnWindows, Encoded, Tally
from loadgate.measure.histogram import Histogram, merged
from loadgate.measure.window import Count, Series, Window, over_key, windows_merged

SERIES = [Series.RESPONSE_OK, Series.SERVICE_OK, Series.START_LAG]


@st.composite
def drawn_windows(draw: st.DrawFn) -> Window:
    """Draw a window that may lack any series, over-count and count."""
    endpoint, phase = draw(st.sampled_from("ab")), draw(st.sampled_from(["steady", "ramp"]))
    window = Window(draw(st.integers(0, 9)), draw(st.integers(1, 3)), endpoint, phase)
    for series in draw(st.sets(st.sampled_from(SERIES))):
        histogram = window.histograms[series.value] = Histogram()
        for value in draw(st.lists(st.integers(0, 9_000), min_size=1, max_size=4)):
            histogram.record(value, draw(st.sampled_from([1, 3, 300, 2**33])))
    for series in draw(st.sets(st.sampled_from(SERIES[:2]))):
        window.over[over_key(series, 1000)] = draw(st.integers(0, 3))
    for name in draw(st.sets(st.sampled_from(list(Count)))):
        window.counts[name.value] = draw(st.integers(1, 2**40))
    window.loss = draw(st.booleans())
    return window


@settings(max_examples=150, deadline=None)
@given(windows=st.lists(drawn_windows(), max_size=6))
def test_what_is_put_into_columns_comes_back(windows: list[Window]) -> None:
    """Every field and every histogram of every window."""
    assert Columns.of(windows).unpack() == windows
    assert list(ColumnWindows(Columns.of(windows))) == windows


@settings(max_examples=150, deadline=None)
@given(windows=st.lists(drawn_windows(), max_size=8), data=st.data())
def test_the_sum_of_a_stretch_equals_merging_its_windows(windows: list[Window], data: st.DataObject) -> None:
    """Counts, histograms, exact numbers, over-counts that are known for all, the time and the loss."""
    first = data.draw(st.integers(0, len(windows)))
    end = data.draw(st.integers(first, len(windows)))
    assert Columns.of(windows).total(first, end) == windows_merged(windows[first:end])


@settings(max_examples=100, deadline=None)
@given(windows=st.lists(drawn_windows(), max_size=6), data=st.data())
def test_part_of_a_column_has_the_histograms_of_those_windows(
    windows: list[Window], data: st.DataObject
) -> None:
    """Their sum is that of the windows' own, and totals and sums are theirs one by one."""
    first = data.draw(st.integers(0, len(windows)))
    end = data.draw(st.integers(first, len(windows)))
    found = Columns.of(windows).column("response.ok", first, end)
    own = [one.histograms["response.ok"] for one in windows[first:end] if "response.ok" in one.histograms]
    whole = Histogram()
    found.add_to(whole)
    assert whole == merged(own)
    assert found.totals.tolist() == [one.total for one in own]
    assert found.sums == [one.sum for one in own]


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.lists(drawn_windows(), max_size=4), max_size=3))
def test_encoded_windows_are_decoded_part_after_part(parts: list[list[Window]]) -> None:
    """The columns of several parts are those of all their windows."""
    encoded = []
    for windows in parts:
        part = Encoded()
        for window in windows:
            part.tallies.append(Columns.of([window]).tallies[0])
            part.histograms.append([(name, found.encode()) for name, found in window.histograms.items()])
        encoded.append(part)
    assert Columns.decoded(encoded).unpack() == [window for windows in parts for window in windows]


def test_counts_of_many_windows_are_arrays() -> None:
    """A number for each window, 0 where nothing was counted; chosen ones keep their order."""
    tallies = [Tally(0, 1, "a", "steady", {"ok": 2}), Tally(1, 1, "a", "steady"), Tally(2, 1, "a", "steady")]
    counts = Columns(tallies, {}).counts
    assert counts.count("ok").tolist() == [2, 0, 0]
    assert counts.chosen(counts.count("ok")).count("ok").tolist() == [0, 2, 2]


def test_an_over_count_that_is_not_told_is_not_zero() -> None:
    """A window with values in the series and without the key: nobody knows how many were over."""
    told, silent = Window(0, 1, "a", "steady"), Window(1, 1, "a", "steady")
    for window in (told, silent):
        window.histograms["response.ok"] = Histogram()
        window.histograms["response.ok"].record(2_000)
    told.over["response.ok>1000"] = 1
    columns = Columns.of([told, silent])
    assert columns.over("response.ok>1000", 0, 1) == [1]
    assert columns.over("response.ok>1000", 0, 2) is None
    assert columns.over("service.ok>1000", 0, 2) == [0, 0]


@pytest.mark.parametrize("series", ["response.ok", "connect"])
def test_a_series_that_nobody_has_is_empty(series: str) -> None:
    """Its column has no window, and adds nothing."""
    whole = Histogram()
    found = Columns([], {}).column(series)
    found.add_to(whole)
    assert (found.windows.size, whole.total) == (0, 0)


def test_the_windows_of_each_endpoint_are_a_stretch() -> None:
    """Two of a, then one of b; where an a comes after the b, no stretch would hold all of a: an error."""
    rows = [Tally(second, 1, endpoint, "steady") for second, endpoint in ((0, "a"), (1, "a"), (0, "b"))]
    assert Columns(rows, {}).stretches == {"a": (0, 2), "b": (2, 3)}
    assert Columns(rows, {}).begins.tolist() == [True, False, True]
    assert Columns([], {}).stretches == {}
    with pytest.raises(MeasureError, match="side by side"):
        _ = Columns([*rows, Tally(2, 1, "a", "steady")], {}).stretches
