"""Old readings and points are packed without loss, and what is past a cap is dropped and counted."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.plan.disk_budget import READING, READING_FRESH
from loadgate.store import watch_bounds
from loadgate.store.packed_columns import pack, unpack
from loadgate.store.watch import (
    ActionStage,
    AlertChange,
    Dropped,
    Notice,
    Point,
    Reading,
    WatchReader,
    WatchWriter,
)
from loadgate.store.watch_desk import WatchDesk

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
READINGS = st.builds(
    Reading,
    at=st.floats(0, 40_000),
    probe=st.sampled_from(["health", "a.b"]),
    reading=st.sampled_from(["up", "b.c", "c"]),
    value=st.none() | NUMBERS,
    error=st.sampled_from(["", "no answer", "\u00fcber"]),
    took=st.floats(0, 5),
)
POINTS = st.builds(
    Point,
    rule=st.just("slow"),
    start=st.floats(0, 40_000),
    end=st.floats(0, 40_000),
    seconds=st.floats(0, 600),
    value=st.none() | st.floats(allow_nan=False),
    n=st.integers(0, 2**53),
    past=st.none() | st.booleans(),
    clear=st.none() | st.booleans(),
    pair=st.none() | st.floats(1, 1e6),
    short=st.floats(0, 1e6),
    bad=st.integers(0, 2**40),
    of=st.integers(0, 2**40),
)
TOGETHER = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def compacted(path: Path, now: float) -> None:
    """Let a writer do all there is to do at a run time."""
    with WatchWriter(path) as writer:
        while writer.compact(now):
            pass


def sqlite_rows(path: Path, table: str) -> int:
    """Count the rows of a table."""
    with WatchReader(path) as reader:
        return int(reader._rows(f"SELECT count(*) FROM {table}", [])[0][0])


@given(st.lists(st.lists(st.floats(width=64), min_size=3, max_size=3), max_size=4))
def test_columns_come_back_bit_for_bit(columns: list[list[float]]) -> None:
    """A law: NaN, infinities and negative zero too."""
    back = unpack(pack([np.array(column) for column in columns]))
    assert [struct.pack("<3d", *column) for column in back] == [
        struct.pack("<3d", *column) for column in columns
    ]


@pytest.mark.parametrize(
    "damage", [b"", b"\x02\x01\0\0\0\x01xx", b"\x01\x01\0\0\0\x02", b"\x01\xff\xff\xff\xff\xff"]
)
def test_a_damaged_block_is_refused(damage: bytes) -> None:
    """Cut short, of another version, not deflated, or of a size that nothing has."""
    with pytest.raises(StoreError):
        unpack(damage)
    whole = pack([np.arange(100.0)])
    with pytest.raises(StoreError):
        unpack(whole[:-5])


@TOGETHER
@given(
    readings=st.lists(READINGS, max_size=30), late=st.lists(READINGS, max_size=5), now=st.floats(0, 60_000)
)
def test_readings_are_the_same_before_and_after(
    tmp_path_factory: pytest.TempPathFactory, readings: list[Reading], late: list[Reading], now: float
) -> None:
    """A law: whatever is asked for, whenever it is packed, and what is written late joins its hour."""
    path = tmp_path_factory.mktemp("watch") / "watch.db"
    whole = path.with_name("whole.db")
    for target in (path, whole):
        with WatchWriter(target) as writer:
            writer.readings(readings)
    compacted(path, now)
    for target in (path, whole):
        with WatchWriter(target) as writer:
            writer.readings(late)
    compacted(path, now)
    with WatchReader(path) as packed, WatchReader(whole) as plain:
        for name in ("health", "a.b", "a.b.c", "health.up", "none"):
            for start, end in ((None, None), (3_000.0, 20_000.0), (7_200.0, None)):
                assert packed.readings(name, start, end) == plain.readings(name, start, end)
        assert sorted(packed.readings(), key=repr) == sorted(plain.readings(), key=repr)


@TOGETHER
@given(points=st.lists(POINTS, max_size=30, unique_by=lambda one: one.start), now=st.floats(0, 60_000))
def test_points_are_the_same_before_and_after(
    tmp_path_factory: pytest.TempPathFactory, points: list[Point], now: float
) -> None:
    """A law: in order of time, infinitely slow and without data too; one that comes again changes nothing."""
    path = tmp_path_factory.mktemp("watch") / "watch.db"
    expected = sorted(points, key=lambda one: one.start)
    with WatchWriter(path) as writer:
        writer.points(points)
    compacted(path, now)
    with WatchWriter(path) as writer:
        writer.points([one._replace(n=7) for one in points])
    compacted(path, now)
    with WatchReader(path) as reader:
        found = reader.points("slow")
    assert found == expected


def test_recent_rows_are_left_as_they_are(tmp_path: Path) -> None:
    """The last two hours, and the hour that is not over."""
    path = tmp_path / "watch.db"
    with WatchWriter(path) as writer:
        writer.readings([Reading(at, "p", "x", 1.0, "", 0.1) for at in (0.0, 3599.9, 3600.0, 9000.0)])
    compacted(path, 10_799.0)
    assert sqlite_rows(path, "probe") == 4
    compacted(path, 10_800.0)
    assert sqlite_rows(path, "probe") == 2


def noisy(hours: int, every: float = 5.0) -> list[Reading]:
    """Return the readings of a process probe as they come: late by a moment, and each a little different."""
    random.seed(1)
    found = []
    for slot in range(int(hours * 3600 / every)):
        at, took = slot * every + random.random() / 100, random.uniform(0.001, 0.003)
        values = {
            "cpu": random.gauss(0.4, 0.02),
            "memory": float(4096 * random.randint(40_000, 41_000)),
            "cores": 2.0,
        }
        found += [Reading(at, "process", name, value, "", took) for name, value in values.items()]
    return found


def test_a_reading_takes_what_the_disk_estimate_says(tmp_path: Path) -> None:
    """As a row with its index, and packed."""
    path = tmp_path / "watch.db"
    readings = noisy(10)
    before = 80_000  # a database without any
    with WatchWriter(path) as writer:
        writer.readings(readings)
    assert (path.stat().st_size - before) / len(readings) < READING_FRESH
    compacted(path, 1e6)
    with WatchReader(path) as reader:
        size = reader._rows("SELECT sum(length(data)) FROM probe_block", [])[0][0]
    # A block lies on whole pages of 4096 bytes: half of one more, for the 10 blocks.
    assert (size + 10 * 2048) / len(readings) < READING


def test_readings_past_the_cap_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest hours of the probe that has too many; the others stay."""
    monkeypatch.setattr(watch_bounds, "MOST_READINGS", 5)
    path = tmp_path / "watch.db"
    rows = [Reading(hour * 3600.0 + n, "busy", "x", 1.0, "", 0.1) for hour in range(4) for n in range(2)]
    with WatchWriter(path) as writer:
        writer.readings([*rows, Reading(0.0, "calm", "x", 1.0, "", 0.1)])
    compacted(path, 1e6)
    with WatchReader(path) as reader:
        assert reader.readings("busy") == rows[4:]
        assert len(reader.readings("calm")) == 1
        assert reader.dropped() == [Dropped("readings", "busy", 4, 7200.0)]


def test_one_step_makes_a_bounded_number_of_blocks(tmp_path: Path) -> None:
    """A database of 20 hours that was never packed takes three steps of eight."""
    path = tmp_path / "watch.db"
    with WatchWriter(path) as writer:
        writer.readings([Reading(hour * 3600.0, "p", "x", 1.0, "", 0.1) for hour in range(20)])
        assert [writer.compact(1e6) for _ in range(3)] == [True, True, False]
        assert sqlite_rows(path, "probe_block") == 20


def test_changes_past_the_cap_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of the rule that changes too often, with their actions; a day's last hours always stay."""
    monkeypatch.setattr(watch_bounds, "MOST_CHANGES", 10)
    path = tmp_path / "watch.db"
    with WatchWriter(path) as writer:
        for number in range(30):
            state = "resolved" if number % 2 else "firing"
            row = writer.alert(AlertChange(number * 1000.0, "busy", "low", state, 1.0, {}))
            writer.action(ActionStage(number * 1000.0, "step", "result", {}, row))
        writer.alert(AlertChange(0.0, "calm", "low", "firing", 1.0, {}))
        while writer.compact(29_000.0):
            pass
    with WatchReader(path) as reader:
        # 21 could go; those younger than four hours (from 14,600 s on) stay.
        kept = [change.at for change in reader.alerts("busy")]
        assert kept == [number * 1000.0 for number in range(15, 30)]
        assert len(reader.actions()) == 15
        assert len(reader.alerts("calm")) == 1
        assert reader.dropped() == [Dropped("changes", "busy", 15, 14_000.0)]


def test_notices_that_a_restart_needs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed attempts go, and what was told of alerts that are gone; what tells of a kept alert stays."""
    monkeypatch.setattr(watch_bounds, "MOST_NOTICES", 3)
    path = tmp_path / "watch.db"
    with WatchWriter(path) as writer:
        known = writer.alert(AlertChange(0.0, "r", "low", "firing", 1.0, {}))
        for at, stage, covers in (
            (1.0, "failed", [[known, "firing"]]),
            (2.0, "delivered", [[known, "firing"]]),
            (3.0, "delivered", [[999, "firing"]]),
            (4.0, "delivered", [[0, "daily:2026-11-24"]]),
            (99_000.0, "failed", [[known, "resolved"]]),
        ):
            writer.notice(Notice(at, "k", "team", stage, {"covers": covers}))
        writer.compact(100_000.0)
    with WatchReader(path) as reader:
        assert [one.at for one in reader.notices()] == [2.0, 4.0, 99_000.0]
        assert reader.dropped() == [Dropped("notices", "team", 2, 3.0)]


def test_a_desk_compacts_beside_its_writing(tmp_path: Path) -> None:
    """It is asked for and not waited for; it is done before the desk is closed."""
    path = tmp_path / "watch.db"
    with WatchDesk(path) as desk:
        desk.readings([Reading(hour * 3600.0, "p", "x", 1.0, "", 0.1) for hour in range(6)])
        desk.points([Point("slow", 0.0, 10.0, 10.0, math.inf, 3, True, False)])
        desk.compact(1e6)
        desk.compact(1e6)
    assert sqlite_rows(path, "probe") == 0
    with WatchReader(path) as reader:
        assert reader.points("slow") == [Point("slow", 0.0, 10.0, 10.0, math.inf, 3, True, False)]


def test_a_run_that_nobody_watched_has_no_points(tmp_path: Path) -> None:
    """And nothing of it was dropped."""
    with WatchReader(tmp_path / "watch.db") as reader:
        assert (reader.points("slow"), reader.dropped()) == ([], [])
