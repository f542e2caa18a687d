"""Alerts of a run on the disk: live, after a restart, and as a replay."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
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
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder
from loadgate.store.watch import AlertChange, Reading, WatchReader, WatchWriter
from loadgate.watch import alert_feed
from loadgate.watch.alert_feed import LiveAlerts, replay, told_seconds
from loadgate.watch.alerts import AlertWatch

SLOW = {"name": "slow", "when": "emotion.response_time > 200ms", "for": 30.0}
DOWN = {"name": "down", "when": "health.up < 1", "for": 20.0}


class Run:
    """A run that grows second by second, as its master and its probes write it."""

    def __init__(self, path: Path, made: Plan) -> None:
        path.mkdir()
        self.plan = made
        self.folder = RunFolder(path)
        self.folder.plan.write_bytes(made.to_json())
        self._writer = open_writer(self.folder.database)
        self._sequence: dict[str, int] = {}

    def report(self, second: int, *windows: Window, worker: str = "w1") -> None:
        """Let a worker tell of one second."""
        fleet = FleetRow(second, worker, 10, 10, 10, 1, 5, 0.1, 5_000_000, 1.0, 1.0, 1.0)
        number = self._sequence.get(worker, -1) + 1
        self._sequence[worker] = number
        self._writer.commit([Delta("run", worker, 1, number, list(windows), [], [fleet])])

    def merge(self, worker: str, mask: int) -> None:
        """Let a worker have told of the seconds 10 + k of the bits k of a mask, merged into one row."""
        self.report(10, worker=worker)
        with closing(sqlite3.connect(self.folder.database)) as database, database:
            database.execute("UPDATE fleet SET span = 10, told = ? WHERE worker = ?", [mask, worker])

    def probe(self, *readings: Reading) -> None:
        """Write readings."""
        with WatchWriter(self.folder.watch_database) as writer:
            writer.readings(readings)

    def say(self, changes: list[AlertChange]) -> None:
        """Write what the alerts said, as a control room does."""
        with WatchWriter(self.folder.watch_database) as writer:
            for change in changes:
                writer.alert(change)

    def end(self, at: float) -> None:
        """End the run by its plan."""
        values = {"ended": "planned", "ended_at_run_time": at, "flushed": True}
        self._writer.commit([], run_values=values)

    def said(self) -> list[tuple[float, str, str]]:
        """Return what is written of alerts."""
        with WatchReader(self.folder.watch_database) as reader:
            return told(reader.alerts())

    def close(self) -> None:
        """Close the run database."""
        self._writer.close()


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Any]:
    """Give a function that begins a run of a plan with these rules."""
    runs: list[Run] = []

    def make(*entries: dict[str, Any], **more: Any) -> Run:
        runs.append(Run(tmp_path / f"run-{len(runs)}", plan(*entries, **more)))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def up(at: float, value: float) -> Reading:
    """Return a reading of the health probe."""
    return Reading(at, "health", "up", value, "" if value else "no answer", 0.1)


def ms_of(second: int) -> float:
    """Return the latency of a run that is slow from 20 s to 75 s."""
    return 900.0 if 20 <= second < 75 else 20.0


def live(run: Run, seconds: int, restarts: tuple[int, ...] = (), *, forget: bool = False) -> None:
    """Carry out a run of so many seconds, with its alerts; the control room dies at each of `restarts`."""
    alerts = LiveAlerts(run.plan, run.folder)
    for second in range(seconds):
        run.report(second, window(second, ms_of(second)))
        if second % 10 == 0:
            run.probe(up(float(second), 0.0 if 30 <= second < 60 else 1.0))
        run.say(alerts.step(second + 1.2))
        if second in restarts:
            alerts.close()
            if forget:
                (run.folder.path / alert_feed.STATE_FILE).unlink(missing_ok=True)
            alerts = LiveAlerts(run.plan, run.folder)
    run.end(float(seconds))
    run.say(alerts.finish())
    alerts.close()


EXPECTED = [
    (30.0, "slow", "pending"),
    (40.0, "down", "pending"),
    (50.0, "slow", "firing"),
    (50.0, "down", "firing"),
    (70.0, "down", "resolved"),
    (90.0, "slow", "resolved"),
]


def test_a_run_says_what_its_rules_imply(make_run: Any) -> None:
    """Slow from 20 to 75 s, down from 30 to 60 s; each change at the end of the window that made it."""
    run = make_run(SLOW, DOWN, hold=120.0)
    live(run, 120)
    assert sorted(run.said()) == sorted(EXPECTED)
    assert told(replay(run.folder)) == EXPECTED


@pytest.mark.parametrize("forget", [False, True])
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(restarts=st.lists(st.integers(1, 110), max_size=4, unique=True))
def test_a_control_room_that_dies_anywhere_says_the_same(
    make_run: Any, restarts: list[int], forget: bool
) -> None:
    """A law: each change once, at the same time, with its stored state and without it."""
    run = make_run(SLOW, DOWN, hold=120.0)
    live(run, 120, tuple(restarts), forget=forget)
    assert sorted(run.said()) == sorted(EXPECTED)


def test_the_state_that_is_stored_is_never_ahead_of_what_was_written(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a step returned and before its changes were written, the next one says them again."""
    monkeypatch.setattr(alert_feed, "SAVE_EVERY", 1.0)
    run = make_run(SLOW, hold=120.0)
    first = LiveAlerts(run.plan, run.folder)
    lost: list[AlertChange] = []
    for second in range(40):
        run.report(second, window(second, ms_of(second)))
        lost = first.step(second + 1.2)
        if lost:
            break
        run.say(lost)
    first.close()
    with LiveAlerts(run.plan, run.folder) as second_one:
        assert told(second_one.step(second + 1.2)) == told(lost) == [(30.0, "slow", "pending")]


def test_a_restart_goes_on_from_where_the_rules_stood(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for no window that was looked at before: a week is not read again."""
    monkeypatch.setattr(alert_feed, "SAVE_EVERY", 1.0)
    run = make_run(SLOW, DOWN, hold=120.0)
    with LiveAlerts(run.plan, run.folder) as alerts:
        for second in range(100):
            run.report(second, window(second, ms_of(second)))
            run.say(alerts.step(second + 1.2))
    asked: list[float] = []
    read = RunReader.windows

    def noted(reader: RunReader, **chosen: Any) -> Iterator[Window]:
        asked.append(chosen["start"])
        return read(reader, **chosen)

    monkeypatch.setattr(RunReader, "windows", noted)
    with LiveAlerts(run.plan, run.folder) as again:
        again.step(101.0)
    # The minute in which it goes on, since older seconds may be merged to minutes.
    assert min(asked) == 60.0


def test_readings_alone_are_enough(make_run: Any) -> None:
    """Without a load there is no run database, and the rules on probes work all the same."""
    run = make_run(SLOW, DOWN, hold=120.0)
    run.close()
    for path in run.folder.path.glob("run.db*"):
        path.unlink()
    found: list[AlertChange] = []
    with LiveAlerts(run.plan, run.folder) as alerts:
        for second in range(0, 90, 10):
            run.probe(up(float(second), 0.0 if 30 <= second < 60 else 1.0))
            found += alerts.step(second + 8.0)
        assert alerts.finish() == []
    assert told(found) == [(at, rule, state) for at, rule, state in EXPECTED if rule == "down"]
    assert told(replay(run.folder)) == told(found)


def test_a_second_waits_for_every_worker(make_run: Any) -> None:
    """The slow half is another worker's, and it tells of it two seconds later: both are judged together."""
    run = make_run({**SLOW, "for": 0.0}, hold=120.0)
    with LiveAlerts(run.plan, run.folder) as alerts:
        for second in range(12):
            run.report(second, window(second, 20.0))
            if second >= 4:
                run.report(second - 4, window(second - 4, 900.0), worker="w2")
            assert alerts.step(second + 1.0) == []
        # w2 has told up to 7 s, so the window to 10 s is still open at 14 s.
        assert alerts.step(14.0) == []
        for second in (8, 9, 10, 11):
            run.report(second, window(second, 900.0), worker="w2")
        assert told(alerts.step(15.0)) == [(10.0, "slow", "firing")]


def test_a_worker_that_hangs_holds_an_alert_up_for_ten_seconds_at_most(make_run: Any) -> None:
    """w2 told of one second and then nothing more."""
    run = make_run({**SLOW, "for": 0.0}, hold=120.0)
    with LiveAlerts(run.plan, run.folder) as alerts:
        run.report(0, window(0, 900.0), worker="w2")
        for second in range(25):
            run.report(second, window(second, 900.0))
            found = alerts.step(second + 1.0)
            if found:
                break
        assert told(found) == [(10.0, "slow", "firing")]
        assert second + 1.0 <= 20.0


def test_a_report_that_comes_far_too_late_changes_nothing_that_was_said(make_run: Any) -> None:
    """The live alerts stay as they are; a control room that starts again sets right how the rule stands."""
    run = make_run({**SLOW, "for": 0.0}, hold=120.0)
    with LiveAlerts(run.plan, run.folder) as alerts:
        for second in range(20):
            run.report(second, *([window(second, 900.0)] if second < 10 else []))
            run.say(alerts.step(second + 1.2))
        assert run.said() == [(10.0, "slow", "firing")]
        run.report(3, *(window(second, 20.0, ok=1000) for second in range(10)), worker="w2")
        for second in range(20, 25):
            run.report(second)
            assert alerts.step(second + 1.2) == []
    (run.folder.path / alert_feed.STATE_FILE).unlink(missing_ok=True)
    with LiveAlerts(run.plan, run.folder) as again:
        (set_right,) = again.step(26.0)
    assert (set_right.rule, set_right.state) == ("slow", "resolved")
    assert "its series changed" in set_right.detail["text"]


def test_a_database_that_cannot_be_read_just_now_costs_nothing(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step fails, and the next one says everything."""
    run = make_run({**SLOW, "for": 0.0}, DOWN, hold=120.0)
    with LiveAlerts(run.plan, run.folder) as alerts:
        for second in range(20):
            run.report(second, window(second, 900.0))
        run.probe(up(0.0, 1.0), up(10.0, 1.0))

        def broken(*_: Any) -> list[Reading]:
            raise StoreError("busy")

        with monkeypatch.context() as patch:
            patch.setattr(WatchReader, "readings", broken)
            with pytest.raises(StoreError):
                alerts.step(21.0)
        assert told(alerts.step(21.0)) == [(10.0, "slow", "firing")]


def test_a_damaged_state_is_read_from_the_series_again(make_run: Any) -> None:
    """Half a file, or one of other rules, is as good as none."""
    run = make_run(SLOW, hold=120.0)
    for second in range(60):
        run.report(second, window(second, ms_of(second)))
    (run.folder.path / alert_feed.STATE_FILE).write_text('{"version": 1, "rules"')
    with LiveAlerts(run.plan, run.folder) as alerts:
        assert told(alerts.step(60.0)) == [(30.0, "slow", "pending"), (50.0, "slow", "firing")]


def test_a_run_without_rules_says_nothing_and_writes_nothing(make_run: Any) -> None:
    """No file is left behind."""
    run = make_run(hold=120.0)
    run.report(0, window(0))
    with LiveAlerts(run.plan, run.folder) as alerts:
        assert alerts.step(1000.0) == []
        assert alerts.finish() == []
    assert not (run.folder.path / alert_feed.STATE_FILE).exists()


def test_a_replay_of_a_run_that_goes_on_stops_where_all_have_told(make_run: Any) -> None:
    """At 35 s one window is violated: it is pending."""
    run = make_run(SLOW, hold=120.0)
    for second in range(35):
        run.report(second, window(second, ms_of(second)))
    assert told(replay(run.folder)) == [(30.0, "slow", "pending")]


def test_other_rules_can_be_asked_of_a_stored_run(make_run: Any) -> None:
    """They were not there while it ran."""
    run = make_run(SLOW, hold=120.0)
    live(run, 120)
    other = [replace_for(rule) for rule in run.plan.alerts]
    assert told(replay(run.folder, other)) == [(30.0, "slow", "firing"), (90.0, "slow", "resolved")]


def replace_for(rule: Any) -> Any:
    """Return the rule without a `for`."""
    return rule.model_copy(update={"for_": 0.0})


def test_a_replay_reads_a_long_run_in_pieces(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of 7 s it says the same."""
    run = make_run(SLOW, DOWN, hold=120.0)
    live(run, 120)
    monkeypatch.setattr(alert_feed, "PIECE", 7.0)
    monkeypatch.setattr(alert_feed, "READINGS_PIECE", 11.0)
    assert told(replay(run.folder)) == EXPECTED


QUIET = {"name": "quiet", "when": "throughput < 5/s", "every": 10.0}


@pytest.mark.parametrize(
    ("mask", "seconds"), [(0b1, [10]), (0b1000000000, [19]), (0b1101, [10, 12, 13]), (0, [])]
)
def test_a_merged_row_tells_of_the_seconds_that_had_one(mask: int, seconds: list[int]) -> None:
    """Bit k of `told` stands for second 10 + k, and for no other."""
    row = FleetRow(10, "w1", 10, 10, 10, 1, 5, 0.1, 5_000_000, 1.0, 1.0, 1.0, span=10, told=mask)
    assert told_seconds(row) == seconds


@pytest.mark.parametrize(
    ("masks", "unread"),
    [
        ([0b1111111111], False),
        ([0b1000000000], True),
        ([0b0000011111], True),
        ([0b0000011111, 0b1111100000], False),
    ],
)
def test_merged_seconds_that_nobody_told_of_are_not_judged(
    make_run: Any, masks: list[int], unread: bool
) -> None:
    """Only its last second told is not all of ten; two workers may tell of all between them."""
    run = make_run(QUIET, hold=120.0)
    for number, mask in enumerate(masks):
        name = f"w{number}"
        run.merge(name, mask)
    run.end(40.0)
    notes: dict[str, list[str]] = {}
    replay(run.folder, notes=notes)
    assert bool(notes) is unread


def test_a_run_that_died_has_told_up_to_the_last_second_of_a_merged_row(make_run: Any) -> None:
    """A row of 10..20 whose worker told of 10, 11 and 12 reaches to 13 s."""
    run = make_run(QUIET, hold=120.0)
    run.merge("w1", 0b111)
    series = alert_feed._Series(run.folder, AlertWatch(run.plan.alerts, run.plan.timeline))
    assert series.reached() == 13.0
    series.close()
