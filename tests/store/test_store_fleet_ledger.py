"""The fleet ledger: one row a second, and windows that are marked where it tells of a loss."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.store.database import LedgerRow, RunReader, open_writer

WHOLE = LedgerRow(second=3, expected=4, reporting=4, late=0, lost=0, unoffered=0)
LOST = replace(WHOLE, reporting=3, lost=1)
UNOFFERED = replace(WHOLE, unoffered=7)


def _marked(database: Path) -> dict[int, bool]:
    """Give the mark of each window by its second."""
    with RunReader(database) as reader:
        return {window.second: window.loss for window in reader.windows()}


def test_ledger_rows_come_back_in_order_of_time(database: Path) -> None:
    """Rows are read as they were written, all of them or those after a second."""
    rows = [replace(WHOLE, second=second) for second in (-1, 0, 5)]
    with open_writer(database) as writer:
        assert writer.commit(ledger=reversed(rows)) == []
        assert writer.revision == 1
    with RunReader(database) as reader:
        assert list(reader.ledger()) == rows
        assert list(reader.ledger(after=0)) == rows[2:]


def test_a_later_row_replaces_what_was_known_of_workers(database: Path) -> None:
    """Workers are as the last row says; of the unoffered arrivals the greater number stays."""
    with open_writer(database) as writer:
        writer.commit(ledger=[replace(WHOLE, reporting=2, late=1, lost=1, unoffered=7)])
        writer.commit(ledger=[replace(WHOLE, expected=5, unoffered=3)])
    with RunReader(database) as reader:
        assert list(reader.ledger()) == [replace(WHOLE, expected=5, unoffered=7)]


@pytest.mark.parametrize("row", [LOST, UNOFFERED])
def test_a_window_is_marked_whichever_comes_first(
    database: Path, build: SimpleNamespace, row: LedgerRow
) -> None:
    """Of the seconds 2, 3 and 4 the one of the loss is marked: told before, with, or after its window."""
    marks = []
    for order in ("before", "with", "after"):
        path = database.with_name(f"{order}.db")
        deltas = [build.delta(1, [build.window(second, [1]) for second in (2, 3, 4)])]
        with open_writer(path) as writer:
            if order == "before":
                writer.commit(ledger=[row])
            writer.commit(deltas, ledger=[row] if order == "with" else [])
            if order == "after":
                writer.commit(ledger=[row])
        marks.append(_marked(path))
    assert marks == [{2: False, 3: True, 4: False}] * 3


def test_late_deltas_keep_the_mark(database: Path, build: SimpleNamespace) -> None:
    """A delta that comes later, and a new writer, add to a marked window without taking the mark away."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(3, [1])])], ledger=[LOST])
        writer.commit([build.delta(2, [build.window(3, [1])])])
    with open_writer(database) as writer:
        writer.commit([build.delta(3, [build.window(3, [1])])])
    with RunReader(database) as reader:
        (window,) = reader.windows()
    assert (window.loss, window.count("ok")) == (True, 3)


def test_a_long_window_is_marked_by_any_of_its_seconds(database: Path, build: SimpleNamespace) -> None:
    """A window of ten seconds from -6 on ends before 4: second 3 is its last; one up to 3 is not marked."""
    windows = [build.window(-6, [1], span=10), build.window(-7, [1], span=10)]
    with open_writer(database) as writer:
        writer.commit([build.delta(1, windows)])
    with open_writer(database) as writer:
        writer.commit(ledger=[LOST])
    assert _marked(database) == {-7: False, -6: True}


def test_a_loss_that_was_none_is_taken_back(database: Path, build: SimpleNamespace) -> None:
    """A worker that was only late unmarks the window again; arrivals that nobody offered stay a loss."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(3, [1])])], ledger=[LOST])
        writer.commit(ledger=[replace(WHOLE, late=1)])
        assert _marked(database) == {3: False}
        writer.commit(ledger=[UNOFFERED])
        writer.commit(ledger=[WHOLE])
    assert _marked(database) == {3: True}


def test_a_new_mark_is_a_change(database: Path, build: SimpleNamespace) -> None:
    """Who follows a run is given a window again when its mark turns, and is not when nothing turned."""
    with open_writer(database) as writer, RunReader(database) as reader:
        writer.commit([build.delta(1, [build.window(second, [1]) for second in (3, 4)])])
        revision, _ = reader.changes(0)
        writer.commit(ledger=[LOST])
        revision, windows = reader.changes(revision)
        assert [(window.second, window.loss) for window in windows] == [(3, True)]
        writer.commit(ledger=[LOST, replace(WHOLE, second=4)])
        assert reader.changes(revision)[1] == []


def test_a_total_over_a_loss_is_marked(database: Path, build: SimpleNamespace) -> None:
    """The mark survives merging: one of three seconds is enough, and none of it is taken from outside."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(second, [1]) for second in (2, 3, 4)])], ledger=[LOST])
    with RunReader(database) as reader:
        assert reader.total().loss
        assert not reader.total(start=4).loss


def test_a_commit_that_fails_writes_no_ledger_row(database: Path, build: SimpleNamespace) -> None:
    """Rows and marks belong to the transaction: what is refused with a bad value leaves no trace."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(3, [1])])])
        with pytest.raises(StoreError):
            writer.commit(run_values={"x": float("nan")}, ledger=[LOST])
    with RunReader(database) as reader:
        assert list(reader.ledger()) == []
    assert _marked(database) == {3: False}


@pytest.mark.parametrize("name", ["expected", "reporting", "late", "lost", "unoffered"])
def test_a_negative_number_is_refused(name: str) -> None:
    """There are no fewer workers or arrivals than none, so a bug cannot hide a loss behind a sign."""
    with pytest.raises(StoreError, match=name):
        replace(WHOLE, **{name: -1})


def test_a_run_of_version_1_has_no_ledger_and_no_marks(stored_run: Callable[[str], Path]) -> None:
    """What was not measured then reads as no rows, unmarked windows and zeros in the fleet."""
    with RunReader(stored_run("run-v1") / "run.db") as reader:
        assert list(reader.ledger()) == []
        assert not reader.total().loss
        assert {(row.p99_us, row.clock_offset_us, row.unacknowledged) for row in reader.fleet()} == {
            (0.0, 0.0, 0)
        }


def test_fleet_figures_of_a_second_that_is_reported_twice(database: Path, build: SimpleNamespace) -> None:
    """The greater p99, clock error and backlog stay; the offset is the last that was estimated."""
    given = [(1_500.0, -20.0, 5.0, 2), (900.0, 30.0, 9.0, 1), (10.0, 0.0, 0.0, 0)]
    with open_writer(database) as writer:
        for sequence, (p99, offset, error, backlog) in enumerate(given, 1):
            row = replace(
                build.fleet(3),
                p99_us=p99,
                clock_offset_us=offset,
                clock_error_us=error,
                unacknowledged=backlog,
            )
            writer.commit([build.delta(sequence, fleet=[row])])
    with RunReader(database) as reader:
        (found,) = reader.fleet()
    assert (found.p99_us, found.clock_offset_us, found.clock_error_us, found.unacknowledged) == (
        1_500.0,
        30.0,
        9.0,
        2,
    )


HEALTH = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ("cpu_allowed", "throttled_us", "gc_pause_max_us", "control_p50_us", "control_p99_us"),
            st.floats(0, 1e9),
        ),
        **dict.fromkeys(
            ("fds", "fds_limit", "ports", "ports_limit", "control_n", "control_failures"),
            st.integers(0, 2**40),
        ),
    }
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=HEALTH, second=HEALTH)
def test_the_generators_health_is_kept_and_the_worse_of_two_rows_stays(
    tmp_path_factory: pytest.TempPathFactory, build: SimpleNamespace, first: Any, second: Any
) -> None:
    """Each figure comes back as it was; of two rows of one second, the greater of each."""
    database = tmp_path_factory.mktemp("health") / "run.db"
    with open_writer(database) as writer:
        for sequence, figures in enumerate((first, second), 1):
            writer.commit([build.delta(sequence, fleet=[replace(build.fleet(3), **figures)])])
    with RunReader(database) as reader:
        (found,) = reader.fleet()
    assert {name: getattr(found, name) for name in first} == {
        name: max(first[name], second[name]) for name in first
    }


def test_a_run_of_version_1_tells_no_health(stored_run: Callable[[str], Path]) -> None:
    """All zeros, by which a verdict knows that nobody looked."""
    with RunReader(stored_run("run-v1") / "run.db") as reader:
        rows = list(reader.fleet())
    assert rows
    assert all(
        (row.cpu_allowed, row.fds_limit, row.ports_limit, row.control_n) == (0, 0, 0, 0) for row in rows
    )


LEDGER_ROWS = st.builds(
    LedgerRow,
    second=st.integers(-2, 6),
    expected=st.just(2),
    reporting=st.integers(0, 2),
    late=st.integers(0, 2),
    lost=st.integers(0, 1),
    unoffered=st.integers(0, 1),
)
WINDOWS = st.tuples(st.integers(-3, 6), st.sampled_from([1, 3]))


@settings(max_examples=60, deadline=None)
@given(
    commits=st.lists(st.tuples(st.lists(WINDOWS, max_size=3), st.lists(LEDGER_ROWS, max_size=3)), max_size=6)
)
def test_marks_are_a_function_of_the_ledger(
    build: SimpleNamespace, commits: list[tuple[list[tuple[int, int]], list[LedgerRow]]]
) -> None:
    """However windows and rows come, a window is marked exactly where the rows that stand tell of a loss."""
    lost, unoffered = dict[int, int](), dict[int, int]()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "run.db"
        for sequence, (windows, rows) in enumerate(commits, 1):
            made = [build.window(second, [1], span=span) for second, span in windows]
            with open_writer(database) as writer:
                writer.commit([build.delta(sequence, made)], ledger=rows)
            for row in rows:
                lost[row.second] = row.lost
                unoffered[row.second] = max(unoffered.get(row.second, 0), row.unoffered)
        if not commits:
            return
        connection = sqlite3.connect(database)
        found = connection.execute("SELECT second, span, loss FROM window").fetchall()
        connection.close()
    for second, span, loss in found:
        seconds = range(second, second + span)
        assert loss == any(lost.get(one, 0) + unoffered.get(one, 0) > 0 for one in seconds)
