"""Windows: merging, what is judged, over-counts."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import (
    ALL,
    ENDINGS,
    TIMED_SERIES,
    Count,
    LatencyOn,
    Series,
    Window,
    over_key,
    sum_windows,
    windows_merged,
)


def histogram_of(*values: int) -> Histogram:
    """Return the histogram of some values."""
    histogram = Histogram()
    histogram.record_many(list(values))
    return histogram


@st.composite
def drawn_windows(draw: st.DrawFn) -> Window:
    """Draw a one-second window of one endpoint, with or without an over-count of its answers."""
    values = draw(st.lists(st.integers(0, 200_000), max_size=8))
    window = Window(draw(st.integers(0, 5)), 1, "emotion", "steady")
    window.add(Count.OK, len(values))
    window.add(Count.ARRIVALS, draw(st.integers(0, 9)))
    if values:
        window.histograms[Series.RESPONSE_OK] = histogram_of(*values)
    if draw(st.booleans()):
        window.over[over_key(Series.RESPONSE_OK, 50_000)] = sum(value > 50_000 for value in values)
    return window


@pytest.fixture
def window() -> Window:
    """Four good answers of 1 to 4 ms, a failure of 5 ms, a timeout of 30 s, and more that never ended."""
    counts = {
        "ok": 4,
        "failed": 1,
        "timeout": 1,
        "unfinished": 2,
        "unsent_pool": 3,
        "unsent_generator": 7,
        "lost": 9,
    }
    return Window(
        second=10,
        span=1,
        endpoint="emotion",
        phase="steady",
        counts={**counts, "arrivals": 27},
        histograms={
            "response.ok": histogram_of(1000, 2000, 3000, 4000),
            "response.failed": histogram_of(5000),
            "response.timeout": histogram_of(30_000_000),
            "service.ok": histogram_of(900, 900, 900, 900),
        },
        over={"response.ok>2000": 2, "response.failed>2000": 1, "response.timeout>2000": 1},
    )


def test_window_adjusted_takes_what_was_not_answered_as_infinite(window: Window) -> None:
    """Failed 1, timeout 1, unfinished 2 and unsent by the pool 3 are 7 infinite ones beside 4 answers."""
    histogram, infinite = window.response("adjusted")
    assert (histogram.total, infinite) == (4, 7)
    assert (
        histogram.percentile(3600, infinite) == 4001.0
    )  # rank ceil(0.36 · 11) = 4; 4000 shares a counter with 4001
    assert histogram.percentile(3700, infinite) == math.inf  # rank ceil(0.37 · 11) = 5


def test_window_ok_and_all(window: Window) -> None:
    """ "ok" has only good answers; "all" has failures and timeouts with the time they took."""
    assert window.response("ok")[0].total == 4
    histogram, infinite = window.response("all")
    assert (histogram.total, histogram.maximum, infinite) == (6, 30_000_000, 0)
    assert window.histogram("response.ok").total == 4


def test_window_service_clock(window: Window) -> None:
    """The service clock reads the service series and counts the same requests as infinite."""
    histogram, infinite = window.response("adjusted", "service")
    assert (histogram.maximum, infinite) == (900, 7)


def test_window_refuses_an_unknown_latency_on(window: Window) -> None:
    """Only the three known ways to choose latencies are taken."""
    assert get_args(LatencyOn) == ("adjusted", "ok", "all")
    with pytest.raises(MeasureError):
        window.response("good")  # type: ignore[arg-type]


def test_window_over_counts_are_exact(window: Window) -> None:
    """Over 2 ms: 2 of the good answers; with all outcomes 2 + 1 + 1; adjusted 2 + 7 infinite ones."""
    assert window.response_over(2000, "ok") == 2
    assert window.response_over(2000, "all") == 4
    assert window.response_over(2000, "adjusted") == 9


def test_window_over_count_that_was_not_taken_is_not_zero(window: Window) -> None:
    """A threshold that was not counted gives None where there are values, 0 where there are none."""
    assert window.over_count("response.ok", 1234) is None
    assert window.response_over(1234, "adjusted") is None
    assert window.over_count("response.hit", 1234) == 0


def test_window_books(window: Window) -> None:
    """27 arrivals = 4 ok + 1 failed + 1 timeout + 10 unsent + 2 unfinished + 9 lost."""
    assert window.unsent == 10
    assert window.sent == 8
    assert window.imbalance == 0
    window.add(Count.ARRIVALS, 1)
    assert window.imbalance == 1
    assert len(ENDINGS) == 7


def test_window_merge_drops_an_over_count_that_one_side_lacks(window: Window) -> None:
    """A sum over only some of the values would be a wrong number; none is better."""
    other = Window(11, 1, "emotion", "steady", histograms={"response.ok": histogram_of(9000)})
    window.merge(other)
    assert "response.ok>2000" not in window.over
    assert window.over["response.failed>2000"] == 1


def test_window_merge_covers_both(window: Window) -> None:
    """The span of a merge reaches from the first to the last second."""
    window.merge(Window(4, 2, "emotion", "steady", {"ok": 1}))
    assert (window.second, window.span, window.end) == (4, 7, 11)
    assert window.count(Count.OK) == 5
    assert window.key == (4, "emotion", "steady")


@pytest.mark.parametrize(("endpoint", "phase"), [("creative", "steady"), ("emotion", "drain")])
def test_window_refuses_to_mix(window: Window, endpoint: str, phase: str) -> None:
    """Another endpoint or phase is only merged into a window that is of all."""
    with pytest.raises(MeasureError):
        window.merge(Window(10, 1, endpoint, phase))


def test_windows_merged_over_endpoints_and_phases(window: Window) -> None:
    """Where they differ the result is of ALL; the windows themselves stay as they were."""
    before = window.copy()
    whole = windows_merged([window, Window(12, 1, "creative", "steady", {"ok": 6})])
    assert (whole.endpoint, whole.phase, whole.second, whole.span) == (ALL, "steady", 10, 3)
    assert whole.count(Count.OK) == 10
    whole.histograms["response.ok"].record(1)
    assert window == before


def test_a_loss_survives_merging(window: Window) -> None:
    """One window in whose time a worker was lost is enough for the total; a copy keeps it."""
    lossy = Window(11, 1, "emotion", "steady", loss=True)
    assert windows_merged([window, lossy]).loss
    assert windows_merged([lossy, window]).loss
    assert not windows_merged([window, window]).loss
    assert lossy.copy().loss
    assert sum_windows([window, lossy], 10, 12).loss
    assert not sum_windows([window, lossy], 10, 11).loss


def test_windows_merged_of_nothing() -> None:
    """No windows give an empty one of no length."""
    assert windows_merged([]) == Window(0, 0, ALL, ALL)


@given(st.lists(drawn_windows(), min_size=1, max_size=6), st.data())
def test_windows_merge_in_any_order_and_grouping(windows: list[Window], data: st.DataObject) -> None:
    """Merging commutes and associates, over-counts included."""
    whole = windows_merged(windows)
    assert windows_merged(data.draw(st.permutations(windows))) == whole
    cut = data.draw(st.integers(0, len(windows)))
    parts = [windows_merged(part) for part in (windows[:cut], windows[cut:]) if part]
    assert windows_merged(parts) == whole


@given(st.lists(drawn_windows(), max_size=6))
def test_windows_over_count_is_exact_or_absent(windows: list[Window]) -> None:
    """A merged over-count is that of all values, when every window with values counted; else absent."""
    whole = windows_merged(windows)
    key = over_key(Series.RESPONSE_OK, 50_000)
    with_values = [window for window in windows if window.histogram(Series.RESPONSE_OK).total]
    if all(key in window.over for window in with_values):
        assert whole.over.get(key, 0) == sum(window.over[key] for window in with_values)
    else:
        assert key not in whole.over


def test_sum_windows_chooses_by_time_endpoint_and_phase() -> None:
    """The end is excluded; other endpoints and phases are left out; the span is what was asked for."""
    windows = [
        Window(0, 1, "emotion", "warmup", {"ok": 1}),
        Window(1, 1, "emotion", "steady", {"ok": 2}),
        Window(1, 1, "creative", "steady", {"ok": 4}),
        Window(2, 1, "emotion", "steady", {"ok": 8}),
    ]
    total = sum_windows(windows, 0, 2, endpoint="emotion", phases=["steady"])
    assert (total.count(Count.OK), total.second, total.span, total.endpoint) == (2, 0, 2, "emotion")
    assert sum_windows(windows, 0, 3).count(Count.OK) == 15
    assert sum_windows(windows, 5, 9).counts == {}


def test_sum_windows_refuses_to_split() -> None:
    """A compacted window that is partly outside cannot be told apart."""
    with pytest.raises(MeasureError):
        sum_windows([Window(0, 60, "emotion", "steady")], 0, 30)


def test_window_timed_series() -> None:
    """The over-counts are taken of the response and service series."""
    assert len(TIMED_SERIES) == 8
    assert Series.START_LAG not in TIMED_SERIES


def test_window_count_keys_are_plain_text(window: Window) -> None:
    """Counts that were added by their enum name come out as text that any writer takes."""
    window.add(Count.HITS, 2)
    assert all(type(name) is str for name in window.counts)


def test_window_compacts_without_a_change() -> None:
    """Compacting changes no content."""
    window = Window(0, 1, "emotion", "steady", histograms={"connect": histogram_of(*range(0, 900_000, 100))})
    before = window.copy()
    window.compact()
    assert window == before
