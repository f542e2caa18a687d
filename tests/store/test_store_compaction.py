"""Old rows become longer ones, exactly: windows, fleet rows, the ledger, and what comes late."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.parts import definition
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.blocks import Block, Horizon
from loadgate.store.database import LedgerRow, RunReader, RunWriter, open_writer
from loadgate.store.fleet_rows import merged_rows

SOON = Horizon(60, 120)


def plan() -> dict[str, Any]:
    """Return a plan of 1000 s of steady load, with an objective every 15 s."""
    scenario = Scenario.model_validate(
        {
            "name": "soak",
            "locustfile": "staging.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {"users": 10, "stages": [{"rate": 5.0, "hold": 1000.0}]},
        }
    )
    row = {"metric": "error_rate", "target": "< 1%", "every": 15.0}
    objectives = (Objective.model_validate(row),)
    stored: dict[str, Any] = orjson.loads(Plan(scenario=scenario, objectives=objectives).to_json())
    return stored


def fill(writer: RunWriter, build: SimpleNamespace, seconds: int, **values: Any) -> None:
    """Write a run of one request a second, with fleet and ledger rows."""
    windows = [build.window(at, [at + 1], threshold_us=200) for at in range(seconds)]
    rows = [build.fleet(at, finished=at) for at in range(seconds)]
    ledger = [LedgerRow(at, 1, 1, 0, int(at == 33), 5 if at == 44 else 0) for at in range(seconds)]
    delta = build.delta(1, windows, fleet=rows)
    writer.commit([delta], run_values={"id": "r1", "plan": plan(), **values}, ledger=ledger)


def compact(writer: RunWriter, horizon: Horizon = SOON) -> None:
    """Merge all that is old enough."""
    while writer.compact(writer.latest, horizon):
        pass


@pytest.fixture
def compacted(database: Path, build: SimpleNamespace) -> Path:
    """Give a run of 300 s: minutes up to 180, tens up to 240, then seconds."""
    with open_writer(database) as writer:
        fill(writer, build, 300)
        compact(writer)
    return database


def test_old_windows_are_merged_by_age(compacted: Path) -> None:
    """Of 300 s the last minute stays, the minute before it is in tens, the rest in minutes."""
    with RunReader(compacted) as reader:
        spans = Counter(one.span for one in reader.windows())
        assert spans == {60: 3, 10: 6, 1: 60}
        assert reader.value("compacted") == {"middle": 240, "coarse": 180}


def test_nothing_is_merged_within_the_hour(database: Path, build: SimpleNamespace) -> None:
    """As planned, 300 s stay as they are."""
    with open_writer(database) as writer:
        fill(writer, build, 300)
        assert not writer.compact(writer.latest)


def test_a_merged_window_is_the_sum_of_its_seconds(compacted: Path, build: SimpleNamespace) -> None:
    """The first minute has 60 requests of 1 to 60 µs: counts, histogram, over-counts and exact numbers."""
    with RunReader(compacted) as reader:
        first = next(reader.windows())
    expected = build.window(0, list(range(1, 61)), span=60, threshold_us=200)
    assert build.content(first) == build.content(expected)
    assert (first.histogram("response.ok").minimum, first.histogram("response.ok").sum) == (1, 60 * 61 // 2)


def test_a_loss_marks_the_minute_that_it_was_in(compacted: Path) -> None:
    """A worker was lost in second 33 and arrivals went to nobody in 44: that minute is marked, no other."""
    with RunReader(compacted) as reader:
        assert [one.second for one in reader.windows() if one.loss] == [0]


def test_equal_ledger_rows_are_merged_and_the_others_stay(compacted: Path) -> None:
    """The ledger still says which seconds were under loss, and how many arrivals each lost."""
    with RunReader(compacted) as reader:
        rows = [(one.second, one.span, one.lost, one.unoffered) for one in reader.ledger()]
    assert rows[:6] == [
        (0, 33, 0, 0),
        (33, 1, 1, 0),
        (34, 10, 0, 0),
        (44, 1, 0, 5),
        (45, 15, 0, 0),
        (60, 60, 0, 0),
    ]
    assert sum(span for _, span, _, _ in rows) == 300


def test_a_late_ledger_row_takes_its_second_out_of_a_longer_one(compacted: Path) -> None:
    """A worker that is found to have been lost in second 70 marks that second, and its window."""
    with open_writer(compacted) as writer:
        writer.commit(ledger=[LedgerRow(70, 1, 0, 0, 1, 0)])
    with RunReader(compacted) as reader:
        rows = [(one.second, one.span, one.lost) for one in reader.ledger() if 60 <= one.second < 120]
        assert rows == [(60, 10, 0), (70, 1, 1), (71, 49, 0)]
        assert [one.second for one in reader.windows() if one.loss] == [0, 60]


def test_a_merged_fleet_row_keeps_the_worst_and_tells_its_seconds(
    database: Path, build: SimpleNamespace
) -> None:
    """Of ten seconds without the fourth: the last totals, the mean CPU, the worst lag, who told and marks."""
    rows = [
        FleetRow(
            at,
            "w1",
            10 * at,
            10 * at,
            9 * at,
            at,
            5,
            0.1 * at,
            100 + at,
            30_000.0 if at == 2 else 100.0,
            1,
            2,
        )
        for at in range(200)
        if at != 3
    ]
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(199, [1])], fleet=rows)], run_values={"id": "r1"})
        compact(writer, Horizon(60, 600))
    with RunReader(database) as reader:
        first = next(reader.fleet())
    assert (first.second, first.span, first.told, first.seconds) == (0, 10, 0b1111110111, 9)
    assert (first.offered, first.finished, first.in_flight, first.rss) == (90, 81, 9, 109)
    assert first.cpu == pytest.approx(0.1 * (45 - 3) / 9)
    assert first.start_lag_p99_us == 30_000.0
    # Seconds 2 was late; the CPU was full (0.95 of a core) in none of the first nine.
    assert dict(first.marks) == {"start_lag": 0b100}


def test_late_windows_go_into_the_row_that_covers_them(compacted: Path, build: SimpleNamespace) -> None:
    """Requests of a merged minute, of tens, and of a row across two of them: the sums are right."""
    late = [build.window(70, [9]), build.window(185, [9]), build.window(188, [9], span=12)]
    row = build.fleet(70, finished=999)
    with open_writer(compacted) as writer:
        writer.commit([build.delta(2, late, fleet=[row])])
        compact(writer)
    with RunReader(compacted) as reader:
        assert reader.total().counts == {"arrivals": 303, "ok": 303}
        spans = Counter(one.span for one in reader.windows())
        # The long one lies across two tens, and stays beside them.
        assert spans == {60: 3, 10: 6, 1: 60, 12: 1}
        minute = next(reader.windows(start=60))
        assert (minute.second, minute.span, minute.count("ok")) == (60, 60, 61)
        assert [one.finished for one in reader.fleet() if one.second == 60] == [999]


def test_what_comes_after_a_window_was_evaluated_is_counted(compacted: Path, build: SimpleNamespace) -> None:
    """Of the objective every 15 s, the window of second 70 was kept: two requests are late in it."""
    text = _definition()
    with RunReader(compacted) as reader:
        kept, starts, _, parts = reader.kept(text)
        part = parts[starts.tolist().index(60.0)]
        assert (kept, part.counts, part.late) == (16, {"ok": 15}, 0)
    with open_writer(compacted) as writer:
        writer.commit([build.delta(2, [build.window(70, [9, 9]), build.window(250, [9])])])
    with RunReader(compacted) as reader:
        kept = reader.kept(text)
        late = zip(kept.starts.tolist(), kept.parts, strict=True)
        assert [(start, part.late) for start, part in late if part.late] == [(60.0, 2)]


def _definition() -> str:
    return definition(Plan.from_json(orjson.dumps(plan())).objectives[0])


def test_who_follows_the_run_sees_nothing_new(compacted: Path, build: SimpleNamespace) -> None:
    """Merged rows are no news for a reader that had seen their seconds, and a late request is."""
    with RunReader(compacted) as reader:
        revision = reader.revision()
        assert reader.changes(1) == (revision, [])
        with open_writer(compacted) as writer:
            writer.commit([build.delta(2, [build.window(70, [9])])])
        _, changed = reader.changes(revision)
    assert [(one.second, one.span) for one in changed] == [(60, 60)]


def test_a_step_that_fails_changes_nothing_and_can_be_repeated(
    database: Path, build: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full in the middle of a step: all rows are as before, and the next step goes on."""
    with open_writer(database) as writer:
        fill(writer, build, 300)

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr("loadgate.store.compaction.merge_fleet", full)
            with pytest.raises(StoreError):
                writer.compact(writer.latest, SOON)
        with RunReader(database) as reader:
            assert {one.span for one in reader.windows()} == {1}
            assert reader.value("compacted") is None
        compact(writer)
    with RunReader(database) as reader:
        assert reader.total().counts == {"arrivals": 300, "ok": 300}
        assert reader.value("compacted") == {"middle": 240, "coarse": 180}


def test_a_run_that_is_taken_up_again_goes_on(database: Path, build: SimpleNamespace) -> None:
    """A writer that died after some steps: the next one merges the rest, and keeps the windows once."""
    with open_writer(database) as writer:
        fill(writer, build, 300)
        writer.compact(writer.latest, SOON)
    with open_writer(database) as writer:
        compact(writer)
    with RunReader(database) as reader:
        assert Counter(one.span for one in reader.windows()) == {60: 3, 10: 6, 1: 60}
        kept = reader.kept(_definition())
        assert (kept.evaluated, kept.parts.n.tolist()) == (16, [15] * 16)


def test_a_plan_that_cannot_be_read_leaves_rows_as_they_are(database: Path, build: SimpleNamespace) -> None:
    """Without the plan nobody knows which windows to keep: nothing is merged, and the reason is told."""
    with open_writer(database) as writer:
        fill(writer, build, 300, plan={"no": "plan"})
        assert not writer.compact(writer.latest, SOON)
        assert "is not a plan" in writer.compaction_refused


def test_the_write_ahead_log_stays_small_while_a_reader_is_open(
    database: Path, build: SimpleNamespace
) -> None:
    """A reader that stays open, and reads now and then, does not let the log grow without bound."""
    with open_writer(database) as writer:
        writer.commit(run_values={"id": "r1"})
        with RunReader(database) as reader:
            for at in range(200):
                values = list(range(1, 400_000, 1999))
                writer.commit([build.delta(at + 1, [build.window(at, values)])])
                writer.compact(writer.latest, SOON)
                reader.revision()
            log = database.with_name("run.db-wal").stat().st_size
    assert log < 8 * 2**20


def test_space_is_given_back_where_the_disk_is_short(database: Path, build: SimpleNamespace) -> None:
    """After old rows were merged, the pages that nothing uses go back to the disk."""
    with open_writer(database) as writer:
        values = list(range(1, 400_000, 999))
        windows = [build.window(at, values) for at in range(300)]
        writer.commit([build.delta(1, windows)], run_values={"id": "r1"})
        compact(writer)
        before, used = _unused_pages(database), writer.bytes_used()
        writer.give_back(100_000)
        assert before > 0
        assert _unused_pages(database) == 0
        assert writer.bytes_used() <= used + 2**20


def _unused_pages(database: Path) -> int:
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    finally:
        connection.close()


seconds = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["steady", "ramp"]), st.sampled_from(["a", "b"])),
    max_size=30,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(seconds, min_size=1, max_size=6), horizon=st.sampled_from([SOON, Horizon(60, 600)]))
def test_however_rows_come_and_are_merged_the_sums_stay(
    tmp_path_factory: pytest.TempPathFactory,
    build: SimpleNamespace,
    commits: list[list[tuple[int, str, str]]],
    horizon: Horizon,
) -> None:
    """Commits in any order of time, with merging between them: each phase's and endpoint's total is exact."""
    path = tmp_path_factory.mktemp("law") / "run.db"
    expected: Counter[tuple[str, str]] = Counter()
    with open_writer(path) as writer:
        writer.commit(run_values={"id": "r1", "plan": plan()})
        for number, found in enumerate(commits, 1):
            windows = {key: build.window(key[0], [key[0] + 1], key[2], key[1]) for key in found}
            writer.commit([Delta("r1", "w1", 1, number, list(windows.values()), [], [])])
            expected.update((key[1], key[2]) for key in windows)
            compact(writer, horizon)
    with RunReader(path) as reader:
        for (phase, endpoint), number in expected.items():
            total = reader.total(phase=phase, endpoint=endpoint)
            assert (total.count("ok"), total.histogram("response.ok").total) == (number, number)


def test_a_merged_row_has_the_worst_control_where_the_control_marked_a_second() -> None:
    """Of 60 s ten took 30 ms, past 20: the row says 30 ms, with ten marks; without a mark, the mean."""
    block = Block(0, 60)
    row = FleetRow(0, "w1", 0, 0, 0, 1, 5, 0.2, 5, 100.0, 500.0, 900.0, control_n=1)
    slow = [replace(row, second=at, control_p99_us=30_000.0 if at < 10 else 100.0) for at in range(60)]
    found = merged_rows(slow, block)
    assert found.control_p99_us == 30_000.0
    assert dict(found.marks)["control"] == (1 << 10) - 1
    quick = [replace(one, control_p99_us=300.0 if one.second < 10 else 60.0) for one in slow]
    # 10 times 300 and 50 times 60 are 6000, over 60 answers.
    assert merged_rows(quick, block).control_p99_us == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("late", "expected"), [((1, 1, 50.0), (10, 1, 500.0)), ((12, 3, 700.0), (12, 3, 700.0))]
)
def test_another_part_of_a_merged_second_adds_nothing_twice(
    database: Path, build: SimpleNamespace, late: tuple[int, int, float], expected: tuple[int, int, float]
) -> None:
    """Ten seconds of one control request and 50 us held back each, one unanswered; second 3 comes again."""
    names = ("control_n", "control_failures", "throttled_us")
    rows = [
        replace(build.fleet(at), control_n=1, control_failures=int(at == 3), throttled_us=50.0)
        for at in range(10)
    ]
    windows = [build.window(at, [1]) for at in range(200)]
    with open_writer(database) as writer:
        writer.commit([build.delta(1, windows, fleet=rows)], run_values={"id": "r1", "plan": plan()})
        compact(writer, Horizon(60, 3600))
        again = replace(build.fleet(3), **dict(zip(names, late, strict=True)))
        writer.commit([build.delta(2, fleet=[again])])
    with RunReader(database) as reader:
        found = next(reader.fleet())
    assert found.span == 10
    assert tuple(getattr(found, name) for name in names) == expected
    assert dict(found.marks)["control"] == 1 << 3
