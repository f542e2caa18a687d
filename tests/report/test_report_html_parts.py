"""Cutting a run into the parts of a chart: few enough to draw, and each the exact merger of its windows."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import pairwise

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.measure.delta import Failure
from loadgate.measure.histogram import Histogram, rank_of
from loadgate.measure.window import ALL, Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.report.html import run_charts
from loadgate.report.html import timeline as timeline_module
from loadgate.report.html.fleet import read_fleet, silences, told_spans
from loadgate.report.html.frame import MOST_PARTS, Frame, frame_of
from loadgate.report.html.probes import reading_parts
from loadgate.report.html.timeline import (
    SERIES,
    Span,
    Timeline,
    bands_of,
    joined,
    point_of,
    read_timeline,
)
from loadgate.store.blocks import Horizon
from loadgate.store.database import LedgerRow, RunReader
from loadgate.store.failure_times import FailureTime
from loadgate.store.series_blob import pack_series
from loadgate.store.totals import TOTALLED
from loadgate.store.watch import Reading

# ---- the frame


@pytest.mark.parametrize(
    ("first", "end", "longest", "width", "count"),
    [
        (0, 60, 1, 1, 60),
        (0, 400, 1, 1, 400),
        (0, 401, 1, 2, 201),
        (0, 3600, 10, 10, 360),
        (0, 60, 60, 60, 1),
        (0, 604_800, 60, 1800, 336),
        (0, 70, 7, 7, 10),
        (0, 0, 1, 1, 0),
    ],
)
def test_a_run_is_cut_into_few_parts_of_round_length(first, end, longest, width, count) -> None:
    """At most 400, each a whole number of the longest windows, of a length that people read."""
    frame = frame_of(first, end, longest)
    assert (frame.width, frame.count) == (width, count)


@given(st.integers(0, 10**6), st.integers(1, 10**7), st.sampled_from([1, 7, 10, 60, 4000]))
def test_parts_cover_a_run_whatever_its_length(first, length, longest) -> None:
    """Never more than 400 and one, all of the run in them, and no window of the longest span cut."""
    frame = frame_of(first, first + length, longest)
    assert frame.count <= MOST_PARTS + 1
    assert frame.width % longest == 0
    assert frame.start <= first
    assert frame.start + frame.count * frame.width >= first + length
    assert sum(frame.seconds(part) for part in range(frame.count)) == length


@given(st.integers(0, 5000), st.integers(1, 20_000), st.integers(1, 7000))
def test_a_run_is_read_in_stretches_that_follow_each_other(first, length, most) -> None:
    """From the first part to the end, none longer than asked for where a part is not."""
    frame = frame_of(first, first + length)
    stretches = list(frame.chunks(most))
    assert stretches[0][0] == frame.start
    assert stretches[-1][1] >= frame.end
    assert all(one[1] == other[0] for one, other in pairwise(stretches))
    assert all(end - start <= max(most, 1) for start, end in stretches if most < frame.width)


# ---- windows


def filled(second: int, values: list[int], span: int = 1, phase: str = "steady", **counts: int) -> Window:
    """Return a window of these ok latencies (µs), in both clocks."""
    histogram = Histogram()
    histogram.record_many(values)
    histograms = {"response.ok": histogram, "service.ok": histogram.copy()} if values else {}
    return Window(
        second, span, "emotion", phase, {"arrivals": len(values), "ok": len(values), **counts}, histograms
    )


def test_windows_of_every_span_are_merged_exactly(run) -> None:
    """A part holds all requests of its 60 s: percentiles are those of the sorted list, counts the sums."""
    values = [1000 + 7 * number for number in range(120)]
    run.ship(filled(0, values[:60], span=60))
    run.ship(
        *(
            filled(60 + 10 * number, values[60 + 10 * number : 70 + 10 * number], span=10)
            for number in range(6)
        )
    )
    run.ship(*(filled(120 + second, [2000]) for second in range(60)))
    with RunReader(run.folder.database) as reader:
        timeline = read_timeline(reader)
    assert timeline is not None
    assert (timeline.frame.width, timeline.frame.count) == (60, 3)
    one, other, last = timeline.points["emotion"]
    for point, own in ((one, values[:60]), (other, values[60:])):
        assert point is not None
        expected = [sorted(own)[rank_of(percentile, 60) - 1] for percentile in (5000, 9500, 9900)]
        assert point.percentiles == tuple(expected)
        assert point.counts["ok"] == 60
        assert point.maximum == max(own)
    assert last is not None
    assert last.percentiles == (2000.0, 2000.0, 2000.0)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 10**7), st.sampled_from(["emotion", "creative"])))
)
def test_nothing_is_lost_or_counted_twice(make_run, recorded) -> None:
    """The points of all endpoints hold what was recorded, and so do those of each."""
    run = make_run()
    windows = {}
    for second, value, endpoint in recorded:
        histogram = Histogram()
        histogram.record(value)
        one = Window(second, 1, endpoint, "steady", {"arrivals": 1, "ok": 1}, {"response.ok": histogram})
        windows.setdefault((second, endpoint), Window(second, 1, endpoint, "steady")).merge(one)
    run.ship(*windows.values())
    with RunReader(run.folder.database) as reader:
        timeline = read_timeline(reader)
    if not recorded:
        assert timeline is None
        return
    assert timeline is not None
    apart = {name: [one for one in recorded if one[2] == name] for name in {one[2] for one in recorded}}
    for name, own in {ALL: recorded, **apart}.items():
        points = [point for point in timeline.points[name] if point is not None]
        assert sum(point.counts["ok"] for point in points) == len(own)
        assert max(point.maximum or 0 for point in points) == max(value for _, value, _ in own)
        assert sum(int(point.bands.sum()) for point in points if point.bands is not None) == len(own)
        assert timeline.steady[name].count("ok") == len(own)


def test_what_failed_is_infinitely_slow(make_window) -> None:
    """Ten answers and ten timeouts: the median is an answer, p95 infinite, the slowest answer what it was."""
    point = point_of(make_window(0, {20: 10}, timeout=10))
    assert point.percentiles[0] == pytest.approx(20_000, rel=1e-3)
    assert point.percentiles[1:] == (math.inf, math.inf)
    assert point.maximum == 20_000


def test_the_busiest_endpoints_are_drawn_and_all_are_in_the_sum(run) -> None:
    """Of 20 endpoints twelve are drawn, those asked for first; the sum holds the requests of all."""
    run.ship(*(Window(0, 1, f"e{number:02}", "steady", {"arrivals": 1, "ok": 1}) for number in range(20)))
    with RunReader(run.folder.database) as reader:
        timeline = read_timeline(reader, ["e19", "gone", "e18"])
    assert timeline is not None
    assert list(timeline.points)[:4] == [ALL, "e19", "e18", "e00"]
    assert (len(timeline.points), timeline.endpoints) == (13, 20)
    assert timeline.points[ALL][0].counts["ok"] == 20


def test_the_heat_map_counts_each_latency_in_its_row() -> None:
    """Four rows from one latency to its double: 1100 and 1150 µs share one, 2200 µs is four rows up."""
    histogram = Histogram()
    histogram.record_many([1100, 1150, 2200])
    counted = bands_of(histogram)
    assert counted is not None
    rows = counted.nonzero()[0].tolist()
    assert [int(counted[row]) for row in rows] == [2, 1]
    assert rows[1] - rows[0] == 4


def test_stretches_that_touch_are_one() -> None:
    """In whatever order they come."""
    assert joined([Span(5, 6), Span(1, 2), Span(2, 4)]) == (Span(1, 4), Span(5, 6))


# ---- the fleet and the probes


def spans(*rows: tuple[int, int]) -> list[Span]:
    """Return what rows of (second, seconds) tell of."""
    return [Span(second, second + length) for second, length in rows]


@pytest.mark.parametrize(
    ("told", "end", "gaps"),
    [
        (spans((0, 4)), 4, []),
        (spans((0, 3), (9, 3)), 12, [(3, 9)]),
        # Two pauses in a row, as long as each other.
        (spans((0, 10), (60, 1), (110, 10)), 120, [(10, 60), (61, 110)]),
        # Merged rows of 60 s and 10 s before those of a second.
        (spans((0, 60), (60, 60), (120, 10), (130, 10), (140, 1), (141, 1)), 142, []),
        (spans((0, 60), (60, 60), (120, 60), (600, 60)), 660, [(180, 600)]),
        # To the end of the run.
        (spans((0, 10)), 40, [(10, 40)]),
        # A busy loop leaves out two seconds, not three.
        (spans((0, 1), (3, 1), (7, 1)), 10, [(4, 7)]),
        (spans((7, 1)), 8, []),
        ([], 100, []),
    ],
)
def test_a_silence_is_where_no_row_tells_of_any_second(told, end, gaps) -> None:
    """3 s or more, whatever lies beside it, and also where nobody came back."""
    assert [(one.start, one.end) for one in silences(told, end)] == gaps


def test_a_merged_row_tells_of_the_seconds_that_had_a_report(make_row) -> None:
    """Of ten seconds from 60 on bits 0, 1 and 9 are set: those three, in two stretches."""
    row = replace(make_row(60), span=10, told=0b10_0000_0011)
    assert list(told_spans(row)) == [Span(60, 62), Span(69, 70)]
    assert list(told_spans(make_row(7))) == [Span(7, 8)]


def test_a_fleet_that_never_comes_back_is_silent_to_the_end(run, make_row) -> None:
    """The master expected a worker until second 20; its last row is of second 4, and then nothing came."""
    run.ship(*(filled(second, [1000]) for second in range(5)), fleet=tuple(make_row(n) for n in range(5)))
    run.writer.commit(ledger=[LedgerRow(second, 1, int(second < 5), 0, 0, 0) for second in range(20)])
    with RunReader(run.folder.database) as reader:
        fleet = read_fleet(reader, frame_of(0, 5))
    assert fleet is not None
    assert fleet.silent == (Span(5, 20),)


def test_the_worst_of_a_part_is_kept(run, make_row) -> None:
    """The busiest worker, the mean of all, and the requests under way of a second over its workers."""
    rows = (make_row(0, "w1", cpu=0.2, in_flight=3), make_row(0, "w2", cpu=0.4, in_flight=4))
    run.ship(filled(0, [1000]), fleet=rows)
    with RunReader(run.folder.database) as reader:
        fleet = read_fleet(reader, frame_of(0, 1))
    assert fleet is not None
    (part,) = fleet.parts
    assert part is not None
    assert (part.cpu_max, part.cpu_mean, part.in_flight) == (0.4, pytest.approx(0.3), 7)
    assert fleet.workers == 2


def test_readings_go_into_their_parts_and_failed_ones_are_counted() -> None:
    """A failed attempt is no value: the part without any other stays empty."""
    readings = [
        Reading(0.5, "target", "memory", 100.0, "", 0.1),
        Reading(1.5, "target", "memory", 300.0, "", 0.1),
        Reading(2.5, "target", "memory", None, "timed out", 0.1),
    ]
    (found,) = reading_parts(readings, frame_of(0, 3))
    assert [None if part is None else part.values for part in found.parts] == [[100.0], [300.0], None]
    assert (found.n, found.failed, found.error) == (3, 1, "timed out")
    assert found.silent == (2,)


def test_kinds_of_failure_are_read(run) -> None:
    """A run with failures and no window gives no timeline."""
    run.ship(failures=(Failure("emotion", "failed", "status 500", "", 2, 0.0, 1.0, []),))
    with RunReader(run.folder.database) as reader:
        assert read_timeline(reader) is None


# ---- sums of ten minutes


SOON = Horizon(60, 600)
"""Rows are merged as soon as they may be, so that short runs have sums."""

recorded = st.lists(
    st.tuples(
        st.integers(0, 2100),
        st.integers(1, 10**7),
        st.sampled_from(["emotion", "creative"]),
        st.sampled_from(["response.hit", "response.miss"]),
        st.sampled_from(["steady", "ramp"]),
    ),
    max_size=40,
)


def drawn(timeline: Timeline | None) -> object:
    """Return all that a page shows of a run over time, as plain values."""
    if timeline is None:
        return None
    points = {
        name: [
            point
            and (
                {key: number for key, number in point.counts.items() if number},
                point.percentiles,
                (point.maximum, point.hit_p95, point.miss_p95),
                None if point.bands is None else point.bands.tolist(),
            )
            for point in found
        ]
        for name, found in timeline.points.items()
    }
    steady = {
        name: ({key: number for key, number in one.counts.items() if number}, one.histograms)
        for name, one in timeline.steady.items()
    }
    spectrum = {
        name: (counts, {key: one.encode() for key, one in histograms.items() if one.total and key in SERIES})
        for name, (counts, histograms) in steady.items()
    }
    return timeline.frame, points, spectrum, timeline.phases, timeline.losses, timeline.faults


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=recorded, lost=st.lists(st.integers(0, 2100), max_size=2))
def test_a_page_by_sums_is_the_page_by_rows(make_run, monkeypatch, found, lost) -> None:
    """Points, spectrum, phases and losses are the same, whether parts hold whole sums or are too short."""
    run = make_run()
    scenario = {
        "name": "soak",
        "locustfile": "staging.py",
        "host": "http://127.0.0.1:3000",
        "traffic": {"users": 10, "stages": [{"rate": 5.0, "ramp": 30.0, "hold": 2000.0}]},
    }
    made = Plan(scenario=Scenario.model_validate(scenario), objectives=())
    windows = {}
    for second, value, endpoint, series, phase in found:
        histogram = Histogram()
        histogram.record(value)
        both = {"response.ok": histogram, series: histogram.copy(), "service.ok": histogram.copy()}
        one = Window(second, 1, endpoint, phase, {"arrivals": 1, "ok": 1}, both)
        windows.setdefault((second, endpoint, phase), Window(second, 1, endpoint, phase)).merge(one)
    run.writer.commit(run_values={"plan": orjson.loads(made.to_json())})
    run.ship(filled(40, [1000]), filled(700, [1000]), filled(2790, [1], phase="drain"))
    run.ship(*windows.values())
    rows = {at: LedgerRow(at, 1, 1, 0, 1, 0) for at in lost}
    run.writer.commit(ledger=list(rows.values()))
    while run.writer.compact(run.writer.latest, SOON):
        pass
    with RunReader(run.folder.database) as reader:
        assert (30, 630) in reader.totals()
        for parts in (1, 3, 400):
            monkeypatch.setattr(timeline_module, "frame_of", partial(frame_of, most=parts))
            by_sums = read_timeline(reader)
            with monkeypatch.context() as patch:
                patch.setattr(timeline_module, "_stretches", lambda frame, _, n: frame.chunks(6000 // n))
                patch.setattr(RunReader, "columns", by_rows)
                assert drawn(by_sums) == drawn(read_timeline(reader))


ASKED = RunReader.columns


def by_rows(self, *, totals=(), **asked):
    """Read each row, whatever has a sum."""
    return ASKED(self, **asked)


def test_a_long_run_is_cut_where_its_blocks_begin() -> None:
    """Parts begin where blocks do, at 30 s, and the first takes in the 30 s before: none is cut."""
    frame = frame_of(0, 604_830, 60, block=(30, 630))
    assert (frame.start, frame.width, frame.count) == (30, 1800, 336)
    assert (frame.seconds(0), frame.seconds(1), frame.part_of(0)) == (1830, 1800, 0)


@given(st.integers(0, 2000), st.integers(240_000, 10**6), st.integers(0, 5000))
def test_parts_that_begin_where_blocks_do_cover_a_run_too(first, length, at) -> None:
    """All of the run is in them, and no block lies in two."""
    frame = frame_of(first, first + length, 60, block=(at, at + 600))
    assert (frame.start - at) % 600 == 0
    assert first <= frame.start < first + 600
    assert sum(frame.seconds(part) for part in range(frame.count)) == length
    stretches = list(frame.chunks(2000))
    assert stretches[0][0] == first
    assert stretches[-1][1] >= frame.end
    assert all(one[1] == other[0] for one, other in pairwise(stretches))


def with_hits(second: int) -> Window:
    """Return a window of one answer from a cache."""
    window = filled(second, [1000 + second], hits=1)
    window.histograms["response.hit"] = window.histogram("response.ok").copy()
    return window


@pytest.mark.parametrize("blob", [b"\x02\x00", pack_series({"response.ok": Histogram()})])
def test_a_sum_that_cannot_be_used_is_read_from_its_rows(make_run, blob) -> None:
    """It is damaged, or was made without hits; its rows are whole: nothing lacks, nothing counts twice."""
    run = make_run()
    run.ship(*(with_hits(at) for at in range(0, 1200, 10)))
    run.ship(filled(1990, [1], phase="drain"))
    while run.writer.compact(run.writer.latest, SOON):
        pass
    with RunReader(run.folder.database) as reader:
        whole = read_timeline(reader)
        assert (600, 1200) in reader.totals()
    with closing(sqlite3.connect(run.folder.database)) as database, database:
        database.execute("UPDATE window_total SET histograms = ?", [blob])
    with RunReader(run.folder.database) as reader:
        assert drawn(read_timeline(reader)) == drawn(whole)


def test_sums_hold_every_series_that_is_drawn() -> None:
    """None that a point shows is left to the rows."""
    assert set(SERIES) <= TOTALLED


def test_kinds_of_failure_are_drawn_over_time() -> None:
    """Each in the part of its middle, per second, the most frequent first."""
    frame = Frame(0, 30, 10)
    times = [
        FailureTime(3, 1, "emotion", "failed", "status 503", "", 20),
        FailureTime(10, 10, "emotion", "failed", "status 503", "", 5),
        FailureTime(29, 1, "creative", "timeout", "timeout", "after 2s", 50),
    ]
    (chart,) = run_charts.kinds_over_time(times, frame)
    drawn = [(line.name, list(line.values)) for line in chart.lines]
    assert drawn == [
        ("creative timeout: timeout after 2s", [0.0, 0.0, 5.0]),
        ("emotion failed: status 503", [2.0, 0.5, 0.0]),
    ]
    assert chart.note == ""


def test_no_more_kinds_are_drawn_than_can_be_told_apart() -> None:
    """Six of seven, and the note says so."""
    times = [FailureTime(1, 1, "e", "failed", f"k{n}", "", 10 - n) for n in range(7)]
    (chart,) = run_charts.kinds_over_time(times, Frame(0, 10, 1))
    assert [line.name for line in chart.lines] == [f"e failed: k{n}" for n in range(6)]
    assert chart.note == "the 6 most frequent of 7 kinds"


def test_a_run_without_times_of_failures_has_no_such_chart() -> None:
    """As those of older versions."""
    assert list(run_charts.kinds_over_time([], Frame(0, 10, 1))) == []
