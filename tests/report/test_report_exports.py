"""Exports of what was measured, held against the readers of other people."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from loadgate.errors import UsageError
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.report.exports.arrow import check_arrow, write_arrow
from loadgate.report.exports.hlog import hlog_lines, tag_of
from loadgate.report.exports.table import COLUMNS, row_of, rows_of
from loadgate.report.exports.text import csv_lines, json_lines
from loadgate.store.database import RunReader

Make = Callable[..., Any]
PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
NAMES = [column.name for column in COLUMNS]
WALL = 1_767_600_000.0


def window(
    second: int, *values_us: int, span: int = 1, endpoint: str = "emotion", phase: str = "steady"
) -> Window:
    """Return a window of ok answers."""
    histogram = Histogram()
    histogram.record_many(list(values_us))
    counts = {"arrivals": len(values_us), "ok": len(values_us)}
    series = {"response.ok": histogram, "service.ok": histogram.copy()} if values_us else {}
    return Window(second, span, endpoint, phase, counts, series)


def read_log(folder: Path, windows: list[Window]) -> list[HdrHistogram]:
    """Write an HDR log and have the package read it: each interval with its tag and times (ms)."""
    path = folder / "run.hlog"
    path.write_bytes(b"".join(hlog_lines(windows, "response.ok", "run [1]", WALL)))
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3))
    found = []
    while (one := reader.get_next_interval_histogram()) is not None:
        found.append(one)
    assert reader.get_start_time_sec() == WALL
    return found


def counters(histogram: HdrHistogram) -> dict[int, int]:
    """Return the counters in use by their lowest value."""
    return {
        item.value_iterated_to: item.count_added_in_this_iter_step
        for item in histogram.get_recorded_iterator()
    }


def test_the_reference_reader_reads_an_hdr_log_back(tmp_path: Path) -> None:
    """Windows of 1, 10 and 60 s: each an interval with its tag, its times and every counter."""
    windows = [
        window(0, *range(1000, 1100), 70_000, span=60),
        window(60, 5000, 2_000_000, span=10, endpoint="creative"),
        window(70, 3_600_000_000),
    ]
    found = read_log(tmp_path, windows)
    assert [one.get_tag() for one in found] == ["emotion", "creative", "emotion"]
    starts = [(WALL + second) * 1000 for second in (0, 60, 70)]
    assert [one.get_start_time_stamp() for one in found] == starts
    lengths = [one.get_end_time_stamp() - one.get_start_time_stamp() for one in found]
    assert lengths == [60_000, 10_000, 1000]
    for one, original in zip(found, windows, strict=True):
        assert counters(one) == counters(original.histogram("response.ok").to_hdr())


def test_a_log_whose_start_is_unknown_names_no_moment(tmp_path: Path) -> None:
    """Not 1970 either: it says so, and the reference reader has run time alone."""
    path = tmp_path / "run.hlog"
    path.write_bytes(b"".join(hlog_lines([window(60, 5000)], "response.ok", "run", None)))
    text = path.read_text(encoding="ascii")
    assert "#[The start of this run is not known: times are seconds of run time]\n" in text
    assert "Time:" not in text
    assert "1970" not in text
    found = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3)).get_next_interval_histogram()
    assert counters(found) == counters(window(60, 5000).histogram("response.ok").to_hdr())


def test_percentiles_of_the_reference_reader_are_ours(tmp_path: Path) -> None:
    """Of 1000 values the ranks of p50, p99 and p99.9 are whole, so that every tool must agree."""
    values = [2_000 + 137 * number for number in range(1000)]
    (found,) = read_log(tmp_path, [window(0, *values)])
    ours = window(0, *values).histogram("response.ok").percentiles((5000, 9900, 9990))
    assert [found.get_value_at_percentile(p) for p in (50, 99, 99.9)] == ours


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 3_600_000_000), min_size=1, max_size=40))
def test_any_values_come_back_from_an_hdr_log(
    tmp_path_factory: pytest.TempPathFactory, values: list[int]
) -> None:
    """Law: the counters of the log are those that were stored."""
    (found,) = read_log(tmp_path_factory.mktemp("log"), [window(3, *values)])
    assert counters(found) == counters(window(3, *values).histogram("response.ok").to_hdr())


def test_phases_of_one_second_are_one_interval(tmp_path: Path) -> None:
    """A request counts once; endpoints stay apart; an endpoint without a value has no line."""
    windows = [
        window(4, 1000, 1000, phase="ramp"),
        window(4, 2000),
        window(4, 9, endpoint="a, b"),
        window(4, endpoint="z"),
    ]
    found = read_log(tmp_path, windows)
    assert [(one.get_tag(), one.get_total_count()) for one in found] == [("a%2C%20b", 1), ("emotion", 3)]


@pytest.mark.parametrize(
    ("endpoint", "tag"),
    [
        ("emotion", "emotion"),
        ("GET /a?b=1", "GET%20/a?b=1"),
        ("ä,\n%", "%C3%A4%2C%0A%25"),
        ("(overflow)", "(overflow)"),
    ],
)
def test_a_tag_cannot_end_early(endpoint: str, tag: str) -> None:
    """What would end it is percent-encoded."""
    assert tag_of(endpoint) == tag


@pytest.fixture
def reader(run: Any, make_window: Make) -> Any:
    """A stored run: 3 ok of 10 ms; then one ok of 20 ms and one failed, and two that were never sent."""
    run.second(0, "w1", make_window(0, {10: 3}, phase="ramp"))
    run.second(
        1, "w1", make_window(1, {20: 1}, 'odd, "name"', failed=1), make_window(1, {}, unsent_generator=2)
    )
    with RunReader(run.folder.database) as opened:
        yield opened


def test_csv_is_read_by_its_heading(reader: RunReader) -> None:
    """In order of time and endpoint; an infinite percentile is "inf", a missing one empty."""
    text = b"".join(csv_lines(rows_of(reader))).decode()
    first, second, third = csv.DictReader(io.StringIO(text, newline=""))
    assert list(first) == NAMES
    assert (first["second"], first["phase"], first["ok"], first["wall"]) == ("0", "ramp", "3", "0")
    # 10,000 µs lies in a counter of 8 µs.
    assert (first["response_p95_us"], first["response_ok_min_us"]) == ("10007", "10000")
    assert (third["endpoint"], third["failed"]) == ('odd, "name"', "1")
    assert (third["response_n"], third["response_infinite"]) == ("2", "1")
    assert (third["response_p50_us"], third["response_p95_us"]) == ("20015", "inf")
    assert (second["unsent_generator"], second["response_n"], second["response_p50_us"]) == ("2", "0", "")


def test_json_lines_are_objects(reader: RunReader) -> None:
    """Numbers are numbers; null is told apart by `response_n`."""
    rows = [orjson.loads(line) for line in json_lines(rows_of(reader))]
    assert [list(row) for row in rows] == [NAMES] * 3
    assert [row["response_p95_us"] for row in rows] == [10_007, None, None]
    assert [row["response_n"] for row in rows] == [3, 0, 2]
    assert rows[0]["loss"] is False


def test_a_phase_can_be_chosen(reader: RunReader) -> None:
    """The others are left out."""
    assert [row[0] for row in rows_of(reader, "ramp")] == [0]
    assert [row[0] for row in rows_of(reader, "drain")] == []


@pytest.mark.parametrize(("form", "read"), [("parquet", parquet.read_table), ("arrow", feather.read_table)])
def test_arrow_and_parquet_hold_the_rows(form: Any, read: Any, reader: RunReader, tmp_path: Path) -> None:
    """With types; what is infinite is infinite, what is missing is null."""
    path = tmp_path / "out"
    with path.open("wb") as file:
        write_arrow(rows_of(reader), file, form)
    table = read(path)
    assert table.schema.names == NAMES
    assert table.schema.field("second").type == pyarrow.int64()
    assert table.to_pylist() == [dict(zip(NAMES, row, strict=True)) for row in rows_of(reader)]
    assert table.column("response_p95_us").to_pylist() == [10_007, None, math.inf]


def test_a_table_without_a_row_is_a_table(tmp_path: Path) -> None:
    """An empty run gives the columns, and no row."""
    with (tmp_path / "empty").open("wb") as file:
        write_arrow([], file, "parquet")
    table = parquet.read_table(tmp_path / "empty")
    assert (table.num_rows, table.schema.names) == (0, NAMES)
    assert b"".join(csv_lines([])).decode().strip().split(",") == NAMES


def test_pyarrow_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as caught:
        check_arrow()
    assert "loadgate[arrow]" in caught.value.hint


def test_a_merged_window_is_a_row_of_its_length() -> None:
    """Sixty seconds in one: its span says so."""
    row = dict(zip(NAMES, row_of(window(120, 1000, span=60), WALL), strict=True))
    assert (row["second"], row["span"], row["wall"], row["ok"]) == (120, 60, WALL + 120, 1)


def test_the_page_lists_every_column() -> None:
    """With its type and meaning, in order."""
    lines = PAGE.split("\n| column |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells == [[f"`{column.name}`", column.kind, column.meaning] for column in COLUMNS]
