"""What goes into a run database comes out of it, exactly once."""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadgate.errors import StoreError
from loadgate.measure.delta import Failure
from loadgate.measure.window import ALL
from loadgate.store.connection import open_for_writing
from loadgate.store.database import Event, RunReader, open_writer
from loadgate.store.failure_table import OTHER
from loadgate.store.schema import run_schema


def test_windows_come_back_as_they_were(database: Path, build: SimpleNamespace) -> None:
    """A stored window has the same key, counts, histograms and over-counts."""
    window = build.window(7, [500, 1_000, 1_001, 20_000])
    window.counts |= {"bytes_received": 900, "hits": 3, "repeat_hits": 2}
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [window])])
    with RunReader(database) as reader:
        (found,) = reader.windows()
    assert build.content(found) == build.content(window)
    assert found.over == {"response.ok>1000": 2}


def test_deltas_of_two_workers_merge_into_one_row(database: Path, build: SimpleNamespace) -> None:
    """Windows of the same second, endpoint and phase become one, whichever commit they came in."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(3, [1_000, 2_000])])])
        writer.commit([build.delta(1, [build.window(3, [4_000])], worker="w2")])
    with RunReader(database) as reader:
        (found,) = reader.windows()
    histogram = found.histogram("response.ok")
    assert (found.count("arrivals"), histogram.total, histogram.sum) == (3, 3, 7_000)
    assert (histogram.minimum, histogram.maximum) == (1_000, 4_000)
    assert found.over == {"response.ok>1000": 2}


def test_a_new_writer_merges_into_stored_rows(database: Path, build: SimpleNamespace) -> None:
    """A writer that starts with an empty memory merges as exactly as the one before."""
    for sequence in (1, 2):
        with open_writer(database) as writer:
            writer.commit([build.delta(sequence, [build.window(3, [1_000])])])
    with RunReader(database) as reader:
        (found,) = reader.windows()
    assert found.histogram("response.ok").total == 2


def test_given_windows_are_left_alone(database: Path, build: SimpleNamespace) -> None:
    """A commit changes nothing that belongs to its caller."""
    first = build.window(3, [1_000])
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [first])])
        writer.commit([build.delta(2, [build.window(3, [9_000])])])
    assert build.content(first) == build.content(build.window(3, [1_000]))


def test_windows_of_another_phase_or_span_stay_apart(database: Path, build: SimpleNamespace) -> None:
    """One second may hold two phases, and a longer window of a worker that was cut off."""
    windows = [
        build.window(3, [1], phase="ramp"),
        build.window(3, [1]),
        build.window(3, [1], span=10),
    ]
    with open_writer(database) as writer:
        writer.commit([build.delta(1, windows)])
    with RunReader(database) as reader:
        keys = [(window.second, window.span, window.phase) for window in reader.windows()]
    assert keys == [(3, 1, "ramp"), (3, 1, "steady"), (3, 10, "steady")]


def test_the_extent_is_from_the_first_window_to_the_end_of_the_last(
    database: Path, build: SimpleNamespace
) -> None:
    """With the longest span; a run without windows has none."""
    with open_writer(database) as writer:
        with RunReader(database) as reader:
            assert reader.extent() is None
        writer.commit([build.delta(1, [build.window(3, [1]), build.window(7, [1], span=10)])])
    with RunReader(database) as reader:
        assert reader.extent() == (3, 17, 10)


def test_a_delta_that_comes_twice_counts_once(database: Path, build: SimpleNamespace) -> None:
    """A duplicate is acknowledged, reported as a duplicate, counted, and changes nothing."""
    delta = build.delta(1, [build.window(3, [1_000])])
    with open_writer(database) as writer:
        first = writer.commit([delta, delta])
        second = writer.commit([delta])
    assert first == [("w1", 1, 1), ("w1", 1, 1)]
    assert first.duplicates == [("w1", 1, 1)]
    assert second == second.duplicates == [("w1", 1, 1)]
    with RunReader(database) as reader:
        assert reader.total().count("arrivals") == 1
        (source,) = reader.sources()
    assert (source.committed, source.duplicates) == (1, 2)


def test_a_restarted_writer_knows_the_deltas_it_has(database: Path, build: SimpleNamespace) -> None:
    """Keys are read back from the database, so a delta sent again after a restart is dropped."""
    delta = build.delta(1, [build.window(3, [1_000])])
    with open_writer(database) as writer:
        writer.commit([delta])
    with open_writer(database) as writer:
        assert writer.commit([delta]).duplicates == [("w1", 1, 1)]
    with RunReader(database) as reader:
        assert reader.total().count("arrivals") == 1


def test_a_new_incarnation_counts_anew(database: Path, build: SimpleNamespace) -> None:
    """The same sequence number of a worker that was started again is another delta."""
    with open_writer(database) as writer:
        answer = writer.commit([build.delta(1, [build.window(3, [1])], incarnation=n) for n in (1, 2)])
    assert (list(answer), answer.duplicates) == ([("w1", 1, 1), ("w1", 2, 1)], [])


def test_missing_deltas_are_an_event_until_they_come(database: Path, build: SimpleNamespace) -> None:
    """A jump in the sequence is a gap at the newest run time known; one that is filled is said so."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(3, [1])])], run_values={"anchor": {"wall": 1_000_000}})
        writer.commit([build.delta(4, [build.window(6, [1])])])
        with RunReader(database) as reader:
            assert reader.sources()[0].gaps == ((2, 3),)
        writer.commit([build.delta(3), build.delta(2)])
    missing = {"worker": "w1", "incarnation": 1, "first": 2, "last": 3}
    with RunReader(database) as reader:
        gap, filled = reader.events()
        assert reader.sources()[0].gaps == ()
    # Second 6 ends at 7; wall time 1,000,007 s is 12 January 1970, 13:46:47.
    assert gap == (7.0, "gap", missing, "1970-01-12T13:46:47.000+00:00")
    assert (filled.kind, filled.detail) == ("gap_filled", missing)


def test_order_inside_a_commit_is_no_gap(database: Path, build: SimpleNamespace) -> None:
    """Deltas that one commit holds in any order, numbered from 0 or from 1, leave no gap event."""
    with open_writer(database) as writer:
        writer.commit([build.delta(n) for n in (2, 1, 0)])
        writer.commit([build.delta(n, worker="w2") for n in (2, 1)])
    with RunReader(database) as reader:
        assert reader.events() == []


def test_a_lost_beginning_is_a_gap(database: Path, build: SimpleNamespace) -> None:
    """A worker first heard of with sequence 3 has two deltas missing."""
    with open_writer(database) as writer:
        writer.commit([build.delta(3)])
    with RunReader(database) as reader:
        assert reader.sources()[0].gaps == ((1, 2),)


def test_a_delta_of_another_run_is_refused(database: Path, build: SimpleNamespace) -> None:
    """It is not acknowledged and not counted; the rest of the commit is."""
    with open_writer(database) as writer:
        writer.commit(run_values={"id": "r1"})
        answer = writer.commit(
            [build.delta(1, [build.window(3, [1])], run="r2"), build.delta(1, [build.window(3, [1])])]
        )
    assert (list(answer), answer.refused) == ([("w1", 1, 1)], [("w1", 1, 1)])
    with RunReader(database) as reader:
        assert reader.total().count("arrivals") == 1
        assert [event.kind for event in reader.events()] == ["foreign_delta"]


def test_a_commit_of_nothing_writes_nothing(database: Path) -> None:
    """It is allowed, acknowledges nothing and keeps the revision."""
    with open_writer(database) as writer:
        assert writer.commit([]) == []
        assert writer.revision == 0


def test_changes_tell_what_commits_touched(database: Path, build: SimpleNamespace) -> None:
    """After a revision come exactly the rows changed since, whole, and the revision to ask with next."""
    with open_writer(database) as writer, RunReader(database) as reader:
        writer.commit([build.delta(1, [build.window(3, [1]), build.window(4, [1])])])
        revision, windows = reader.changes(0)
        assert [window.second for window in windows] == [3, 4]
        assert reader.changes(revision) == (revision, [])
        writer.commit([build.delta(2, [build.window(4, [1]), build.window(5, [1])])])
        newer, windows = reader.changes(revision)
        assert newer == revision + 1
        assert [(window.second, window.count("ok")) for window in windows] == [(4, 2), (5, 1)]


def test_windows_are_chosen_by_time_phase_and_endpoint(database: Path, build: SimpleNamespace) -> None:
    """The start is included, the end is not; several endpoints may be named."""
    windows = [build.window(s, [1], endpoint=e) for s in (1, 2, 3) for e in ("a", "b", "c")]
    windows.append(build.window(2, [1], endpoint="a", phase="ramp"))
    with open_writer(database) as writer:
        writer.commit([build.delta(1, windows)])
    with RunReader(database) as reader:
        chosen = reader.windows(phase="steady", start=2, end=3, endpoint=("a", "c"))
        assert [window.key for window in chosen] == [(2, "a", "steady"), (2, "c", "steady")]
        assert [window.key for window in reader.windows(phase="ramp")] == [(2, "a", "ramp")]
        assert reader.endpoints() == ["a", "b", "c"]


def test_total_merges_all_endpoints_unless_one_is_named(database: Path, build: SimpleNamespace) -> None:
    """Without an endpoint all are merged, and the total covers first to last window."""
    with open_writer(database) as writer:
        windows = [build.window(2, [1, 2], endpoint="a"), build.window(5, [3], endpoint="b")]
        writer.commit([build.delta(1, windows)])
    with RunReader(database) as reader:
        every, one = reader.total(phase="steady"), reader.total(endpoint="a")
        none = reader.total(phase="drain", endpoint="a")
    assert (every.endpoint, every.phase, every.second, every.span) == (ALL, "steady", 2, 4)
    assert (every.count("ok"), every.histogram("response.ok").sum) == (3, 6)
    assert (one.endpoint, one.count("ok"), one.span) == ("a", 2, 1)
    assert (none.endpoint, none.phase, none.span, none.counts) == ("a", "drain", 0, {})


def test_only_the_wanted_series_are_decoded(database: Path, build: SimpleNamespace) -> None:
    """Histograms and over-counts of other series are left out; counts are all there."""
    window = build.window(3, [1])
    window.histograms["service.ok"] = window.histograms["response.ok"]
    window.over["service.ok>1000"] = 0
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [window])])
    with RunReader(database) as reader:
        total = reader.total(series=["service.ok"])
    assert (list(total.histograms), list(total.over), total.count("ok")) == (
        ["service.ok"],
        ["service.ok>1000"],
        1,
    )


def test_failures_add_up_by_kind(database: Path, build: SimpleNamespace) -> None:
    """Counts add, first and last widen, and at most three samples are kept."""
    with open_writer(database) as writer:
        for sequence in range(1, 6):
            failure = Failure(
                "a", "failed", "status", "500", 2, 10.0 - sequence, 10.0 + sequence, [f"s{sequence}"]
            )
            writer.commit([build.delta(sequence, failures=[failure])])
    with RunReader(database) as reader:
        (found,) = reader.failures()
    assert (found.count, found.first, found.last, found.samples) == (10, 5.0, 15.0, ["s1", "s2", "s3"])


def test_failures_past_the_limit_are_counted_as_other(database: Path, build: SimpleNamespace) -> None:
    """1000 kinds are told apart; each later one counts in one row of its endpoint and outcome."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, failures=[build.failure(f"m{n}") for n in range(1_000)])])
    with open_writer(database) as writer:
        late = [build.failure("late 1"), build.failure("late 2", count=4), build.failure("m7", count=2)]
        writer.commit([build.delta(2, failures=late)])
    with RunReader(database) as reader:
        failures = reader.failures()
    assert len(failures) == 1_001
    counts = {failure.message: failure.count for failure in failures}
    assert (counts[OTHER], counts["m7"], sum(counts.values())) == (5, 3, 1_007)


def test_what_user_code_failed_past_the_limit_is_still_told_apart(
    database: Path, build: SimpleNamespace
) -> None:
    """After 1000 kinds two more of the user's own code keep their kind, in one row, also once reopened."""
    for first in (0, 1):
        with open_writer(database) as writer:
            if not first:
                writer.commit([build.delta(1, failures=[build.failure(f"m{n}") for n in range(1_000)])])
            late = [
                replace(build.failure(f"id {first}{n}"), kind="the user code raised KeyError")
                for n in range(2)
            ]
            writer.commit([build.delta(2 + first, failures=[*late, build.failure(f"late {first}")])])
    with RunReader(database) as reader:
        found = {(one.kind, one.count) for one in reader.failures() if one.message == OTHER}
        assert sum(one.count for one in reader.failures() if one.is_of_user_code) == 4
    assert found == {("the user code raised KeyError", 4), (OTHER, 2)}


def test_the_kinds_of_user_code_are_bounded_too(database: Path, build: SimpleNamespace) -> None:
    """Past 2000 rows only the beginning of a kind stays, which still says whose failure it is."""
    with open_writer(database) as writer:
        for sequence in range(1, 4):
            failures = [
                replace(build.failure("m"), kind=f"the user code raised E{sequence}x{n}") for n in range(1000)
            ]
            writer.commit([build.delta(sequence, failures=failures)])
    with RunReader(database) as reader:
        failures = reader.failures()
    assert len(failures) == 2_001
    assert (failures[0].kind, failures[0].count) == ("the user code raised", 1_000)


def test_endpoints_past_the_limit_are_one(database: Path, build: SimpleNamespace) -> None:
    """100 endpoints are told apart over all workers; windows of later ones merge, and none is lost."""
    windows = [build.window(1, [1], endpoint=f"e{n}") for n in range(103)]
    with open_writer(database) as writer:
        writer.commit([build.delta(1, windows[:101])])
    with open_writer(database) as writer:
        writer.commit([build.delta(2, windows[101:])])
    with RunReader(database) as reader:
        assert len(reader.endpoints()) == 101
        assert reader.total(endpoint="(overflow)").count("ok") == 3
        assert reader.total().count("ok") == 103


def test_fleet_rows_come_back(database: Path, build: SimpleNamespace) -> None:
    """Rows are read in order of time; a second that is reported twice keeps the later figures."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, fleet=[build.fleet(2), build.fleet(1)])])
        writer.commit([build.delta(2, fleet=[build.fleet(2, finished=15)])])
    with RunReader(database) as reader:
        assert list(reader.fleet()) == [build.fleet(1), build.fleet(2, finished=15)]
        assert [row.second for row in reader.fleet(after=1)] == [2]


def test_run_values_are_json(database: Path) -> None:
    """Any JSON value comes back; one that was never set is the default; null is None."""
    with open_writer(database) as writer:
        writer.commit(run_values={"ended": None, "plan": {"a": [1, 2.5, "ä"]}})
        assert writer.value("plan") == {"a": [1, 2.5, "ä"]}
    with RunReader(database) as reader:
        assert reader.value("plan") == {"a": [1, 2.5, "ä"]}
        assert reader.value("ended", "default") is None
        assert reader.value("mode", "default") == "default"


def test_a_value_that_json_would_lose_is_an_error(database: Path, build: SimpleNamespace) -> None:
    """NaN is refused, and with it the whole commit; the next commit works."""
    with open_writer(database) as writer:
        with pytest.raises(StoreError, match="JSON"):
            writer.commit([build.delta(1, [build.window(1, [1])])], run_values={"x": float("nan")})
        assert writer.commit([build.delta(1, [build.window(1, [1])])]).duplicates == []
    with RunReader(database) as reader:
        assert reader.total().count("ok") == 1


def test_events_keep_their_order(database: Path) -> None:
    """Events come back as written; wall time is worked out from the anchor unless it is given."""
    with open_writer(database) as writer:
        writer.commit(events=[Event(1.5, "no_anchor", {})])
        writer.commit(
            events=[Event(0.25, "b", {"n": 1}), Event(9.0, "a", {}, "2026-01-01T00:00:00+00:00")],
            run_values={"anchor": {"monotonic": 5.0, "wall": 86_400.0, "boot_id": "x"}},
        )
    with RunReader(database) as reader:
        assert reader.events() == [
            (1.5, "no_anchor", {}, None),
            (0.25, "b", {"n": 1}, "1970-01-02T00:00:00.250+00:00"),
            (9.0, "a", {}, "2026-01-01T00:00:00+00:00"),
        ]


def test_a_full_disk_fails_the_commit_whole(database: Path, build: SimpleNamespace) -> None:
    """Nothing of the commit stays, the error says what to do, and the same deltas can come again."""
    many = build.delta(2, [build.window(second, list(range(1, 5_000, 7))) for second in range(200)])
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(0, [1])])])
        (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
        writer._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="disk is full") as caught:
            writer.commit([many])
        assert "free some space" in caught.value.hint
        with RunReader(database) as reader:
            assert reader.total().count("ok") == 1
        writer._connection.execute("PRAGMA max_page_count = 1000000")
        assert writer.commit([many]).duplicates == []
    with RunReader(database) as reader:
        # 1, 8, 15 .. 4999 are 715 values a window.
        assert reader.total().count("ok") == 1 + 200 * 715


def test_a_reader_never_blocks_the_writer(database: Path, build: SimpleNamespace) -> None:
    """A commit passes while a reader holds a moment, which the reader keeps until it lets go."""
    with open_writer(database) as writer, RunReader(database) as reader:
        writer.commit([build.delta(1, [build.window(1, [1])])])
        with reader.snapshot():
            assert reader.total().count("ok") == 1
            writer.commit([build.delta(2, [build.window(1, [1])])])
            assert reader.total().count("ok") == 1
        assert reader.total().count("ok") == 2


def test_a_writer_may_live_in_a_thread(database: Path, build: SimpleNamespace) -> None:
    """Opened and used in one native thread, it is read from another."""

    def work() -> None:
        with open_writer(database) as writer:
            writer.commit([build.delta(1, [build.window(1, [1])])])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with RunReader(database) as reader:
        assert reader.total().count("ok") == 1


def test_there_is_one_writer_at_a_time(database: Path) -> None:
    """A second writer is refused with the first one's process id, until the first closes."""
    with open_writer(database), pytest.raises(StoreError, match=f"process {os.getpid()} is writing it"):
        open_writer(database)
    open_writer(database).close()


def test_every_commit_is_synced(database: Path) -> None:
    """The writer uses SQLite's FULL mode (2) and the write-ahead log."""
    opened = open_for_writing(database, run_schema())
    try:
        assert opened.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert opened.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        opened.close()


def test_the_window_table_reads_as_plain_sql(database: Path, build: SimpleNamespace) -> None:
    """Counts are columns, so that `sqlite3 run.db` answers questions without Loadgate."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(1, [1, 2_000]), build.window(2, [1])])])
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("SELECT sum(ok), max(over) FROM window").fetchone() == (
            3,
            '{"response.ok>1000":1}',
        )
    finally:
        connection.close()
