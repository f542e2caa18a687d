"""The points of alert rules are kept, and a replay goes by them where the seconds are merged."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from alert_series import plan, told, window
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder
from loadgate.store.watch import AlertChange, Point, Reading, WatchReader, WatchWriter
from loadgate.watch import alert_feed
from loadgate.watch.alert_feed import LiveAlerts, replay
from loadgate.watch.kept_points import key_of

SLOW = {"name": "slow", "when": "emotion.response_time > 200ms", "for": 20.0, "keep_firing_for": 20.0}
RARE = {"name": "rare", "when": "throughput < 20/s", "no_data": "fire"}
MINUTE = {"name": "minute", "when": "emotion.response_time > 200ms", "every": 60.0}
BURN = {"name": "burn", "burn": {"objective": "error_rate", "windows": ["slow"]}, "every": 10.0}
RULES = (SLOW, RARE, MINUTE, BURN)
LENGTH = 1200


def seconds_of(levels: Sequence[str], length: int = LENGTH) -> list[Window]:
    """Return a window for each second; a level is 20 s of a target that is well, slow, failing or silent."""
    made = []
    for second in range(length):
        level = levels[second // 20 % len(levels)]
        if level == "silent":
            continue
        one = window(second, 900.0 if level == "slow" else 20.0, ok=5 if level == "failing" else 50)
        if level == "failing":
            one.counts["failed"] = 45
            one.counts["arrivals"] = one.counts.get("arrivals", 0) + 45
        made.append(one)
    return made


def store(
    path: Path, made: Plan, windows: Iterable[Window], seconds: Iterable[int], length: int = LENGTH
) -> RunFolder:
    """Store a run that has ended, with these windows, whose worker told of these seconds."""
    path.mkdir()
    folder = RunFolder(path)
    folder.plan.write_bytes(made.to_json())
    fleet = [FleetRow(second, "w1", 10, 10, 10, 1, 5, 0.1, 5_000_000, 1.0, 1.0, 1.0) for second in seconds]
    with open_writer(folder.database) as writer:
        writer.commit([Delta("run", "w1", 1, 0, list(windows), [], fleet)])
        writer.commit(
            [], run_values={"ended": "planned", "ended_at_run_time": float(length), "flushed": True}
        )
    return folder


def merged(windows: Iterable[Window], span: int) -> list[Window]:
    """Merge windows into longer ones that begin at multiples of their length."""
    found: dict[int, Window] = {}
    for one in windows:
        start = one.second // span * span
        if start not in found:
            found[start] = Window(start, span, one.endpoint, one.phase)
        found[start].merge(Window(start, span, one.endpoint, one.phase, one.counts, one.histograms, one.over))
    return list(found.values())


def watched(folder: RunFolder, made: Plan) -> list[AlertChange]:
    """Let live alerts look at a stored run, in steps, and keep their points; return what they said."""
    with WatchWriter(folder.watch_database) as writer:
        said: list[AlertChange] = []
        with LiveAlerts(made, folder, writer.points) as alerts:
            for now in (100.0, 333.0, 700.0, float(LENGTH) + 20):
                for change in alerts.step(now):
                    writer.alert(change)
                    said.append(change)
            for change in alerts.finish():
                writer.alert(change)
                said.append(change)
    return said


def in_order(changes: Iterable[AlertChange]) -> list[tuple[Any, ...]]:
    """Return what is written of changes, by time and rule."""
    return sorted((one.at, one.rule, one.state, one.value, repr(dict(one.detail))) for one in changes)


LEVELS = st.lists(st.sampled_from(["well", "slow", "failing", "silent"]), min_size=1, max_size=30)


@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(levels=LEVELS)
def test_a_replay_of_kept_points_is_what_was_said(
    tmp_path_factory: pytest.TempPathFactory, levels: list[str]
) -> None:
    """A law: whatever the target did, once its seconds are merged to minutes, and the points packed."""
    base = tmp_path_factory.mktemp("points")
    made = plan(*RULES, hold=float(LENGTH))
    windows = seconds_of(levels)
    whole = store(base / "whole", made, windows, range(LENGTH))
    said = watched(whole, made)
    assert in_order(replay(whole)) == in_order(said)
    old = store(base / "old", made, merged(windows, 60), range(0, LENGTH, 60))
    shutil.copy(whole.watch_database, old.watch_database)
    with WatchWriter(old.watch_database) as writer:
        writer.compact(1e6)
    notes: dict[str, list[str]] = {}
    assert in_order(replay(old, notes=notes)) == in_order(said)
    assert notes == {}


def test_what_was_kept_of_no_rule_is_said(tmp_path: Path) -> None:
    """Without points, a rule of minutes is told from rows of minutes, and one of 10 s says nothing."""
    made = plan(SLOW, MINUTE, hold=float(LENGTH))
    old = store(tmp_path / "old", made, merged(seconds_of(["slow"]), 60), range(0, LENGTH, 60))
    notes: dict[str, list[str]] = {}
    assert told(replay(old, notes=notes)) == [(60.0, "minute", "firing")]
    (line,) = notes["slow"]
    assert "rule 'slow' was not evaluated from run time 0s to 20m" in line


def test_points_of_another_rule_of_the_name_are_not_taken(tmp_path: Path) -> None:
    """The limit was another one while the run went on."""
    made = plan(SLOW, hold=float(LENGTH))
    windows = seconds_of(["slow"])
    whole = store(tmp_path / "whole", made, windows, range(LENGTH))
    assert watched(whole, made)
    other = plan({**SLOW, "when": "emotion.response_time > 100ms"}, hold=float(LENGTH))
    old = store(tmp_path / "old", other, merged(windows, 60), range(0, LENGTH, 60))
    shutil.copy(whole.watch_database, old.watch_database)
    notes: dict[str, list[str]] = {}
    assert replay(old, notes=notes) == []
    assert list(notes) == ["slow"]


def test_a_gap_in_the_points_is_said(tmp_path: Path) -> None:
    """From 10m to 11m nothing was kept; before and after it the rule is told as it was."""
    made = plan(SLOW, hold=float(LENGTH))
    windows = seconds_of([*["well"] * 59, "slow", "slow"][::-1])
    whole = store(tmp_path / "whole", made, windows, range(LENGTH))
    said = watched(whole, made)
    assert [change.state for change in said] == ["pending", "firing", "resolved"]
    with WatchReader(whole.watch_database) as reader:
        points = reader.points(key_of(made.alerts[0]))
    old = store(tmp_path / "old", made, merged(windows, 60), range(0, LENGTH, 60))
    with WatchWriter(old.watch_database) as writer:
        writer.points(point for point in points if not 600 <= point.start < 660)
    notes: dict[str, list[str]] = {}
    assert told(replay(old, notes=notes)) == told(said)
    (line,) = notes["slow"]
    assert "from run time 10m to 11m" in line


def test_a_control_room_that_comes_too_late_says_what_it_did_not_see(tmp_path: Path) -> None:
    """The seconds up to 10m are merged when it starts; what it cannot tell of them is no silence."""
    made = plan({**SLOW, "no_data": "resolve"}, hold=float(LENGTH))
    windows = seconds_of(["slow"])
    old = merged([one for one in windows if one.second < 600], 60)
    recent = [one for one in windows if one.second >= 600]
    folder = store(tmp_path / "run", made, [*old, *recent], [*range(0, 600, 60), *range(600, LENGTH)])
    with LiveAlerts(made, folder) as alerts:
        found = alerts.step(float(LENGTH))
        assert told(found) == [(610.0, "slow", "pending"), (620.0, "slow", "firing")]
        (line,) = alerts.unread
    assert "from run time 0s to 10m" in line


def test_a_control_room_without_its_state_follows_the_points(tmp_path: Path) -> None:
    """It says nothing again, and goes on where the rule stood, though the seconds are merged."""
    made = plan(SLOW, hold=float(LENGTH))
    windows = seconds_of(["slow"])
    whole = store(tmp_path / "whole", made, windows, range(LENGTH))
    said = watched(whole, made)
    assert told(said) == [(10.0, "slow", "pending"), (20.0, "slow", "firing")]
    old = store(tmp_path / "old", made, merged(windows, 60), range(0, LENGTH, 60))
    shutil.copy(whole.watch_database, old.watch_database)
    with WatchWriter(old.watch_database) as writer, LiveAlerts(made, old, writer.points) as again:
        assert again.step(float(LENGTH) + 20) == []
        assert again.standing == {"slow": "firing"}
        assert again.unread == []


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.floats(0, 150), max_size=5), levels=LEVELS)
def test_a_control_room_that_dies_and_forgets_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[float], levels: list[str]
) -> None:
    """A law: with its points and without its state, anywhere; rules on readings too."""
    base = tmp_path_factory.mktemp("dies")
    down = {"name": "down", "when": "health.up < 1", "for": 20.0}
    length = 300
    made = plan(SLOW, RARE, down, hold=float(length))
    folder = store(base / "run", made, seconds_of(levels, length), range(length), length)
    said: list[AlertChange] = []
    now = 0.0
    with WatchWriter(folder.watch_database) as writer:
        bad = (levels[at // 20 % len(levels)] == "silent" for at in range(0, length, 10))
        writer.readings(
            Reading(10.0 * n, "health", "up", float(not is_bad), "", 0.1) for n, is_bad in enumerate(bad)
        )
        expected = replay(folder)
        for step in steps:
            now += step
            with LiveAlerts(made, folder, writer.points) as alerts:
                for at in (now, now + 61.0, now + 61.0):
                    for change in alerts.step(at):
                        writer.alert(change)
                        said.append(change)
                now += 61.0
            (folder.path / alert_feed.STATE_FILE).unlink(missing_ok=True)
        with LiveAlerts(made, folder, writer.points) as alerts:
            said += alerts.finish()
    assert in_order(said) == in_order(expected)


def test_points_that_cannot_be_written_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rules stand is not written ahead of them, and the next time both are."""
    monkeypatch.setattr(alert_feed, "SAVE_EVERY", 1.0)
    made = plan(SLOW, hold=float(LENGTH))
    folder = store(tmp_path / "run", made, seconds_of(["well"]), range(LENGTH))
    kept: list[Point] = []
    full = True

    def keep(points: Sequence[Point]) -> None:
        if full:
            raise StoreError("the disk is full")
        kept.extend(points)

    with LiveAlerts(made, folder, keep) as alerts:
        alerts.step(100.0)
        before = (folder.path / alert_feed.STATE_FILE).read_bytes()
        with pytest.raises(StoreError):
            alerts.step(200.0)
        assert (folder.path / alert_feed.STATE_FILE).read_bytes() == before
        full = False
        alerts.step(300.0)
        alerts.step(400.0)
    assert [point.start for point in kept][:3] == [0.0, 10.0, 20.0]
    assert (folder.path / alert_feed.STATE_FILE).read_bytes() != before


def test_a_week_of_points_is_a_few_megabytes(tmp_path: Path) -> None:
    """Six rules at 30 s to 5 minutes have 74,000 windows a week; packed, each takes under 12 bytes."""
    path = tmp_path / "watch.db"
    points = [
        Point(
            "slow",
            30.0 * n,
            30.0 * n + 30,
            30.0,
            0.031 + (n * 7919 % 1000) / 1e6,
            16_500 + n % 97,
            False,
            True,
        )
        for n in range(20 * 120)
    ]
    with WatchWriter(path) as writer:
        writer.points(points)
        while writer.compact(1e6):
            pass
    with WatchReader(path) as reader:
        ((size, n),) = reader._rows("SELECT sum(length(data)), sum(n) FROM alert_point_block", [])
        assert reader.points("slow") == points
    assert n == len(points)
    assert size / n < 12
