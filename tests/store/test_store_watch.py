"""The watch database: readings, alerts and the journal of actions."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.errors import StoreError
from loadgate.store.watch import ActionStage, AlertChange, Reading, WatchReader, WatchWriter


@pytest.fixture
def watch(tmp_path: Path) -> Path:
    """Give the path of a watch database that is not there yet."""
    return tmp_path / "watch.db"


HIT = Reading(300.0, "cache", "hit_rate", 0.5, "", 0.01)
MISS = Reading(600.0, "cache", "hit_rate", None, "connection refused", 0.02)
SIZE = Reading(600.0, "cache", "size", 12.0, "", 0.02)
CPU = Reading(10.0, "process", "cpu", 1.5, "", 0.001)


def test_readings_come_back_in_order_of_time(watch: Path) -> None:
    """A failed reading keeps its error and has no value."""
    with WatchWriter(watch) as writer:
        writer.readings([HIT, MISS, SIZE])
        writer.readings([CPU])
        writer.readings([])
    with WatchReader(watch) as reader:
        assert reader.readings() == [CPU, HIT, MISS, SIZE]


def test_readings_are_chosen_by_name_and_time(watch: Path) -> None:
    """A probe's name means all its readings; the start is included, the end is not."""
    with WatchWriter(watch) as writer:
        writer.readings([HIT, MISS, SIZE, CPU])
    with WatchReader(watch) as reader:
        assert reader.readings("cache") == [HIT, MISS, SIZE]
        assert reader.readings("cache.hit_rate") == [HIT, MISS]
        assert reader.readings("cache", start=300.0, end=600.0) == [HIT]


def test_a_value_that_is_no_number_is_refused(watch: Path) -> None:
    """NaN and infinity are not readings, and take the others of the same call with them."""
    with WatchWriter(watch) as writer, WatchReader(watch) as reader:
        with pytest.raises(StoreError, match=r"process\.cpu"):
            writer.readings([HIT, CPU._replace(value=float("nan"))])
        assert reader.readings() == []


def test_a_run_that_nobody_watched_has_no_readings(watch: Path) -> None:
    """Without a file the reader finds nothing, and finds what is written once the file is there."""
    with WatchReader(watch) as reader:
        assert (reader.readings(), reader.alerts(), reader.actions()) == ([], [], [])
        assert not watch.exists()
        with WatchWriter(watch) as writer:
            writer.readings([CPU])
        assert reader.readings() == [CPU]


def test_an_alert_and_its_actions_come_back(watch: Path) -> None:
    """Actions refer to the alert that caused them, and tell how far they came."""
    with WatchWriter(watch) as writer:
        first = writer.alert(AlertChange(60.0, "slow", "high", "firing", 0.3, {"limit": 0.2}))
        second = writer.alert(
            AlertChange(90.0, "down", "critical", "firing", None, {}, "2026-01-01T00:00:00Z")
        )
        writer.action(ActionStage(91.0, "disable", "intent", {"url": "/x"}, alert=second))
        writer.action(ActionStage(92.0, "disable", "result", {"status": 200}, alert=second))
        writer.action(ActionStage(93.0, "notify", "intent", {}, alert=first))
    with WatchReader(watch) as reader:
        (slow,) = reader.alerts("slow")
        assert slow == (60.0, "slow", "high", "firing", 0.3, {"limit": 0.2}, None, first)
        assert [alert.id for alert in reader.alerts()] == [first, second]
        assert [(one.step, one.stage) for one in reader.actions(second)] == [
            ("disable", "intent"),
            ("disable", "result"),
        ]
        assert len(reader.actions()) == 3


def test_an_action_needs_an_alert_that_exists(watch: Path) -> None:
    """A journal entry cannot point at nothing."""
    with WatchWriter(watch) as writer, pytest.raises(StoreError):
        writer.action(ActionStage(91.0, "disable", "intent", {}, alert=7))


def test_readers_do_not_disturb_the_writer(watch: Path) -> None:
    """What is written while a reader is open is found by it."""
    with WatchWriter(watch) as writer, WatchReader(watch) as reader:
        writer.readings([CPU])
        assert reader.readings() == [CPU]
        writer.readings([HIT])
        assert reader.readings() == [CPU, HIT]
