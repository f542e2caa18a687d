"""What the charts and bars of a report are drawn from: values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.histogram import Histogram, rank_of
from loadgate.report.html.bars import bar_of
from loadgate.report.html.charts import (
    Chart,
    Line,
    heat_chart,
    line_of,
    nines_of,
    per_second,
    rank_at,
    ratio,
    rounded,
    spectrum_line,
)
from loadgate.report.html.collect import RunData
from loadgate.report.html.frame import Frame, frame_of
from loadgate.report.html.probes import reading_parts
from loadgate.report.html.run_charts import planned_rates, probe_charts
from loadgate.report.html.timeline import point_of
from loadgate.store.watch import Reading

# ---- the percentile spectrum


@pytest.mark.parametrize(
    ("percentile", "nines"), [(0, 0.0), (9000, 1.0), (9900, 2.0), (9990, 3.0), (9999, 4.0)]
)
@given(n=st.integers(1, 10**7))
def test_a_place_of_the_spectrum_is_the_percentile_of_that_many_nines(percentile, nines, n) -> None:
    """The rank at 1, 2, 3 and 4 nines is the rank of p90, p99, p99.9 and p99.99 as the histogram has it."""
    assert rank_at(nines, n) == rank_of(percentile, n)


@given(st.integers(1, 10**9))
def test_the_spectrum_ends_at_the_slowest_value(n) -> None:
    """Its last place is that of rank n, its first that of rank 1, and it has at most 20 places a nine."""
    places = nines_of(n)
    assert (rank_at(places[0], n), rank_at(places[-1], n)) == (1, n)
    assert places == sorted(places)
    assert len(places) <= 12 * 20 + 2


def test_a_spectrum_of_nothing_has_no_place() -> None:
    """Instead of a zero."""
    assert nines_of(0) == []
    assert spectrum_line("service time", Histogram(), 0, [0.0, 1.0], "c1").values == [None, None]


def test_a_spectrum_marks_the_infinite_and_ends_where_its_evidence_does() -> None:
    """Nine values and one infinite: at 0 nines the fastest, from 90 % on the infinite one, then nothing."""
    histogram = Histogram()
    histogram.record_many([1000 * number for number in range(1, 10)])
    line = spectrum_line("response time", histogram, 1, [0.0, 1.0, 1.2, 2.0], "c2")
    assert line.values == [1.0, pytest.approx(9.0, rel=1e-3), None, None]
    assert line.infinite == (2,)


# ---- lines


def test_an_infinite_latency_is_neither_a_number_nor_a_gap(make_window) -> None:
    """Its value is null and its place is told; a part without any request is null alone."""
    points = [point_of(make_window(0, {10: 1})), None, point_of(make_window(2, {}, failed=1))]
    line = line_of("p50", points, lambda point: point.percentiles[0], "c1")
    assert (line.values, line.infinite) == ([pytest.approx(10, rel=1e-3), None, None], (2,))
    assert line.to_dict()["infinite"] == [2]


def test_rates_are_per_second_of_what_a_part_covers(make_window) -> None:
    """Two parts of 60 s, the last of them cut to 30 s: 120 and 60 arrivals are both 2 a second."""
    frame = frame_of(0, 90, 60)
    points = [point_of(make_window(0, {10: 120})), point_of(make_window(60, {10: 60})), None]
    assert per_second(frame, points, ("arrivals",)) == [2.0, 2.0, None]


def test_the_hit_rate_leaves_a_part_without_answers_empty(make_window) -> None:
    """3 hits of 4 are 75 %; no answer at all is no rate, and not 0 %."""
    points = [
        point_of(make_window(0, {1: 4}, repeat_hits=3, repeat_misses=1)),
        point_of(make_window(1, {1: 1})),
        None,
    ]
    assert ratio(points, "repeat_hits", "repeat_misses") == [75.0, None, None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (math.inf, None), (math.nan, None), (12.34567, 12.35), (0.00012345, 0.0001234)],
)
def test_what_is_drawn_has_four_digits(value, expected) -> None:
    """What JSON cannot hold is null."""
    assert rounded(value) == expected


def test_the_planned_rate_is_that_in_the_middle_of_a_part() -> None:
    """A ramp from 0 to 100 over 10 s in parts of 5 s: 25 and 75, then 100, then nothing planned."""
    phases = [
        {"phase": "ramp", "start": 0.0, "end": 10.0, "level_start": 0.0, "level_end": 100.0},
        {"phase": "steady", "start": 10.0, "end": 15.0, "level_start": 100.0, "level_end": 100.0},
    ]
    verdict = {"model": "open", "phases": phases}
    assert planned_rates(verdict, Frame(0, 20, 5)) == [25.0, 75.0, 100.0, None]
    assert planned_rates(verdict | {"model": "closed"}, Frame(0, 20, 5)) == []


def test_a_chart_of_nothing_knows_that_it_is_empty() -> None:
    """Null values draw nothing; an infinite one does."""
    assert Chart("a", "A", "ms", (Line("p50", [None]),)).is_empty
    assert not Chart("a", "A", "ms", (Line("p50", [None], infinite=(0,)),)).is_empty


def test_the_heat_map_has_the_counts_of_each_part_by_row(make_window) -> None:
    """Rows count from the lowest that is used; a part without answers has none."""
    points = [point_of(make_window(0, {1: 2, 2: 3})), None]
    chart = heat_chart("heat", "All", frame_of(0, 2), points)
    assert chart.more["cells"] == [[0, 2, 4, 3], []]
    edges = chart.more["edges"]
    assert len(edges) == 6
    assert edges[0] <= 1.0 < edges[1]
    assert edges[4] <= 2.0 < edges[5]


def test_a_reading_that_is_taken_now_and_then_is_one_line() -> None:
    """Between two readings nothing failed: the line goes on, but for the part in which an attempt failed."""
    readings = [Reading(float(at), "target", "cpu", None if at == 4 else 0.5, "", 0.1) for at in (0, 2, 4, 6)]
    (chart,) = probe_charts(RunData("a", readings=reading_parts(readings, frame_of(0, 7))))
    (line,) = chart.lines
    assert list(line.values) == [50.0, None, 50.0, None, None, None, 50.0]
    assert (line.bridged, line.breaks) == (True, (4,))
    assert line.to_dict()["breaks"] == [4]


# ---- bars


def row(value, target="< 50ms", alert="> 200ms", interval=None, **more):
    """Return the parts of a row of verdict.json that a bar shows."""
    limits = {"target_value": 50.0, "alert_value": 200.0 if alert else None}
    return (
        {"value": value, "target": target, "alert": alert, "interval": interval, "infinite": False}
        | limits
        | more
    )


def test_a_bar_reaches_beyond_its_limits_as_far_as_they_are_apart() -> None:
    """Target 50, alert 200: it goes from 0 to 350, so that 35 lies at 10 %."""
    bar = bar_of(row(35.0, interval=[17.5, 70.0]), "words")
    assert bar is not None
    assert [(zone.kind, zone.left) for zone in bar.zones] == [
        ("good", 0.0),
        ("between", 14.29),
        ("bad", 57.14),
    ]
    assert sum(zone.width for zone in bar.zones) == pytest.approx(100)
    assert (bar.value, bar.beyond) == (10.0, "")
    assert bar.interval is not None
    assert (bar.interval.left, bar.interval.width) == (5.0, 15.0)


def test_a_bar_whose_large_values_are_good_is_the_other_way_round() -> None:
    """Throughput: target 1000, alert 500: it goes from 0 to 1500, bad first."""
    limits = {"target_value": 1000.0, "alert_value": 500.0}
    bar = bar_of(row(750.0, ">= 1000/s", "< 500/s", **limits), "")
    assert bar is not None
    assert [zone.kind for zone in bar.zones] == ["bad", "between", "good"]
    assert bar.value == 50.0


@pytest.mark.parametrize(
    ("changes", "value", "beyond"),
    [
        ({"value": 1000.0}, 100.0, "right"),
        ({"value": None, "infinite": True}, 100.0, "right"),
        ({"value": None}, None, ""),
    ],
)
def test_what_lies_outside_of_a_bar_is_told(changes, value, beyond) -> None:
    """An arrow for what is beyond its end or infinite, and nothing at all without data."""
    bar = bar_of(row(0.0) | changes, "")
    assert bar is not None
    assert (bar.value, bar.beyond) == (value, beyond)


def test_without_an_alert_threshold_what_misses_the_target_is_bad() -> None:
    """Two zones, and an infinite end of an interval reaches to the edge."""
    bar = bar_of(row(30.0, alert=None, interval=[25.0, None]), "")
    assert bar is not None
    assert [zone.kind for zone in bar.zones] == ["good", "bad"]
    assert bar.interval is not None
    assert bar.interval.left + bar.interval.width == pytest.approx(100)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 1e9),
    st.one_of(st.none(), st.floats(0, 1e9)),
)
def test_nothing_is_drawn_outside_of_a_bar(value, target, alert) -> None:
    """Whatever the numbers are."""
    bar = bar_of(
        row(value, alert=alert and "> x", target_value=target, alert_value=alert, interval=[0, value]), ""
    )
    assert bar is not None
    shown = [*bar.zones, *([bar.interval] if bar.interval else [])]
    assert all(0 <= zone.left <= 100 and zone.left + zone.width <= 100.1 for zone in shown)
    assert bar.value is not None
    assert 0 <= bar.value <= 100
