"""The past of a run: what a master finds that takes it up again, and what it must not touch."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError, UsageError
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.window import Count, Window
from loadgate.plan.scenario import Stage, Traffic
from loadgate.plan.timeline import Timeline
from loadgate.store.blocks import Horizon
from loadgate.store.database import Event, RunReader, open_writer
from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.last_look import last_look, note_look, prepare_looks
from loadgate.store.ledger import Range
from loadgate.swarm.doubts import Doubt
from loadgate.swarm.muster import LOST_NAME, Muster
from loadgate.swarm.past import Past, folder_of, past_of, stock_name, this_machine, versions, write_fault
from loadgate.traffic.arrivals import ArrivalSchedule

ANCHOR: dict[str, Any] = {"monotonic": 500.25, "wall": 1_700_000_000.0, "boot_id": "kernel-1"}
KEY = ("emotion", "steady")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path, "load", datetime(2026, 1, 1, tzinfo=UTC))


def write(folder: RunFolder, *deltas: Delta, ledger: tuple[int, ...] = (), **values: Any) -> None:
    rows = [LedgerRow(second, 1, 1, 0, 0, 0) for second in ledger]
    with open_writer(folder.database) as writer:
        writer.commit(list(deltas), run_values={"id": folder.id} | values, ledger=rows)


def delta_of(
    folder: RunFolder, sequence: int, second: int, arrivals: int = 0, *, worker: str = "worker-1"
) -> Delta:
    counts = {"arrivals": arrivals, "ok": arrivals}
    windows = [Window(second, 1, "emotion", "steady", counts)] if arrivals else []
    row = FleetRow(second, worker, 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)
    return Delta(folder.id, worker, 7, sequence, windows, fleet=[row])


# -- runs that may be taken up ------------------------------------------------------------------


def test_a_run_under_way_can_be_taken_up(folder: RunFolder) -> None:
    """Its run time, its workers' names, how far it was reported and written, and what is on record."""
    write(
        folder,
        delta_of(folder, 1, 3, 40),
        delta_of(folder, 2, 4, 41),
        delta_of(folder, 4, 6, 42),
        delta_of(folder, 1, 4, 5, worker="worker-2"),
        ledger=(0, 1, 2, 3),
        anchor=ANCHOR,
        workers={"client-a": "worker-1", "client-b": "worker-2"},
        ended=None,
    )
    past = past_of(folder)
    assert past is not None
    assert (past.monotonic, past.wall, past.boot_id) == (500.25, 1_700_000_000.0, "kernel-1")
    assert (past.last_second, past.written) == (6, 3)
    # Number 3 of worker-1 is missing and may tell of any second, so none is closed that is on record.
    assert past.offered == {3: 40, 4: 46, 6: 42}
    assert past.reported == {"worker-1": -1, "worker-2": 4}
    assert past.workers == {"client-a": "worker-1", "client-b": "worker-2"}
    assert {
        name: {number: ranges.ranges() for number, ranges in found.items()}
        for name, found in past.reports.items()
    } == {"worker-1": {7: [Range(1, 2), Range(4, 4)]}, "worker-2": {7: [Range(1, 1)]}}


def test_seconds_that_a_late_worker_had_not_reported_are_open_though_the_ledger_has_them(
    folder: RunFolder,
) -> None:
    """worker-2 went to second 2 and the ledger to 4: where it does not come back, 3 to 10 are in doubt.

    Leases went 3 s ahead of the last look, which was at most 2 s after the last second on record, 5.
    """
    first = [delta_of(folder, number, second, 10) for number, second in enumerate(range(6), 1)]
    late = [
        delta_of(folder, number, second, 10, worker="worker-2") for number, second in enumerate(range(3), 1)
    ]
    workers = {"client-a": "worker-1", "client-b": "worker-2"}
    write(folder, *first, *late, ledger=(0, 1, 2, 3, 4), anchor=ANCHOR, workers=workers)
    past = past_of(folder)
    assert past is not None
    assert past.offered == {3: 10, 4: 10, 5: 10}
    left = past.left_by({"worker-2"}, {"worker-1"})
    assert left.doubts == (Doubt(3, 11, 11.0),)
    assert (left.stopped, left.leased_until) == (11.0, 11.0)
    assert past.left_by(set(), {"worker-1", "worker-2"}).doubts == ()


def back_and_dead(folder: RunFolder, told: int) -> dict[int, int]:
    """Let a second master close, at 71.0, a run in which a lost worker came back; return its lost arrivals.

    40 are due a second from 2 on. worker-1 and worker-2 offer half of them each; worker-2 is cut off at 27.0
    and lost at 30.0, and from then on all of it is worker-1's. The first master dies with 60 as the last
    second that came. Both workers meet the second one; worker-2 sends the reports of 27 up to `told` and
    dies at once, worker-1 tells of all up to 66, which is as far as its leases can go, and ends well.
    """
    stages = (Stage(rate=40.0, ramp=2.0, hold=98.0),)
    timeline = Timeline.of_traffic(Traffic(users=1, mix={"a": 1.0}, stages=stages), timeout=5.0)
    schedule = ArrivalSchedule(timeline, process="constant", seed=7, weights=[1])
    due = [len(schedule.second(second).times) for second in range(67)]
    first = [
        delta_of(folder, second + 1, second, number if second >= 30 else number - number // 2)
        for second, number in enumerate(due)
    ]
    other = [
        delta_of(folder, second + 1, second, due[second] // 2, worker="worker-2") for second in range(30)
    ]
    write(
        folder,
        *first[:61],
        *other[:27],
        ledger=tuple(range(58)),
        anchor=ANCHOR | {"monotonic": 0.0},
        workers={"a": "worker-1", "b": "worker-2"},
    )
    with open_writer(folder.database) as writer:
        writer.commit([], events=[Event(30.0, "worker_lost", {"worker": "worker-2", "reported_until": 27})])
    past = past_of(folder)
    assert past is not None
    muster = Muster(folder.id, timeline, schedule, ("emotion",))
    muster.anchor = 0.0
    for client, name in past.workers.items():
        worker = muster.roster.join(client, 65.0, name=name, ready=True)
        worker.seen.update(past.reports[name])
        worker.reported = worker.whole = past.reported_by(name)
        worker.was_before = True
    left = past.left_by(set(), set(past.workers.values()))
    muster.resume(65.0, past.last_second, written=past.written, left=left)
    for delta in other[27 : told + 1]:
        muster.delta("b", delta, 65.0, final=False)
    for delta in first[61:]:
        muster.delta("a", delta, 65.0, final=delta is first[-1])
    muster.left("a", 70.0)
    lost = Counter[int]()
    for window in (window for delta in muster.close(71.0)[0] for window in delta.windows):
        lost[window.second] += window.count(Count.LOST)
    return dict(lost)


@pytest.mark.parametrize("told", [26, 28, 29])
def test_a_lost_worker_that_comes_back_and_dies_takes_along_only_what_it_had_not_told(
    folder: RunFolder, told: int
) -> None:
    """What the others reported since its loss is counted once, though it told of nothing in these seconds."""
    assert back_and_dead(folder, told) == dict.fromkeys(range(told + 1, 30), 20)


def test_a_worker_that_has_yet_to_tell_of_long_ago_leaves_all_of_that_open(folder: RunFolder) -> None:
    """worker-2 told of 0 to 4 and is heard of at 1000: it may have sent something in any second since."""
    first = [delta_of(folder, second + 1, second, 1) for second in range(1001)]
    other = [delta_of(folder, second + 1, second, 1, worker="worker-2") for second in range(5)]
    workers = {"a": "worker-1", "b": "worker-2"}
    write(folder, *first, *other, ledger=tuple(range(999)), anchor=ANCHOR, workers=workers)
    past = past_of(folder)
    assert past is not None
    assert past.reported_by("worker-2") == 4
    assert past.offered == dict.fromkeys(range(5, 1001), 1)
    assert past.left_by({"worker-2"}, {"worker-1"}).doubts[0].first == 5


MERGED, OPEN, END = 60, 70, 80
"""Seconds before which rows are merged, up to which any may be open, and that the first master kept."""


def closed_books(
    root: Path, doubt: Doubt, reported: list[int], horizon: Horizon | None
) -> tuple[int, int, int, int]:
    """Close a run in whose open seconds only so many arrivals of 40 are on record, at 88.0.

    Return how many were planned, are on record, of these lost, and offered by nobody. With a `horizon`, rows
    of before MERGED are merged before the second master comes.
    """
    folder = create_run(root, "load", datetime(2026, 1, 1, tzinfo=UTC))
    stages = (Stage(rate=40.0, ramp=2.0, hold=98.0),)
    timeline = Timeline.of_traffic(Traffic(users=1, mix={"a": 1.0}, stages=stages), timeout=5.0)
    schedule = ArrivalSchedule(timeline, process="constant", seed=7, weights=[1])
    due = [len(schedule.second(second).times) for second in range(88)]
    done = [
        min(reported[second], number) if doubt.first <= second < doubt.end else number
        for second, number in enumerate(due[:END])
    ]
    deltas = [delta_of(folder, second + 1, second, number) for second, number in enumerate(done)]
    write(
        folder,
        *deltas,
        ledger=tuple(range(END)),
        anchor=ANCHOR | {"monotonic": 0.0},
        workers={"a": "worker-1"},
    )
    with open_writer(folder.database) as writer:
        writer.commit([], events=[Event(1.0, "resumed", {"open": doubt.to_dict()})])
        while horizon is not None and writer.compact(MERGED + horizon.full, horizon):
            pass
    past = past_of(folder)
    assert past is not None
    assert horizon is not None or not past.merged
    muster = Muster(folder.id, timeline, schedule, ("emotion",))
    muster.anchor = 0.0
    worker = muster.roster.join("a", 84.0, name="worker-1", ready=True)
    worker.seen.update(past.reports["worker-1"])
    worker.reported = worker.whole = past.reported_by("worker-1")
    left = past.left_by(set(), {"worker-1"})
    muster.resume(84.0, past.last_second, written=past.written, left=left)
    muster.delta("a", delta_of(folder, END + 1, 87), 88.0, final=True)
    muster.left("a", 88.0)
    lost, orders = muster.close(88.0)
    with open_writer(folder.database) as writer:
        writer.commit(lost, ledger=orders.ledger)
    with RunReader(folder.database) as reader:
        windows = list(reader.windows(series=()))
        unoffered = sum(row.unoffered for row in reader.ledger())
    on_record, gone = (
        sum(window.count(count) for window in windows) for count in (Count.ARRIVALS, Count.LOST)
    )
    return sum(due), on_record, gone, unoffered


@given(
    first=st.integers(0, OPEN - 1),
    length=st.integers(1, 15),
    stopped=st.one_of(st.just(-math.inf), st.floats(0.0, OPEN)),
    reported=st.lists(st.sampled_from([0, 13, 39, 40]), min_size=END, max_size=END),
    horizon=st.sampled_from([Horizon(60, 10_000), Horizon(60, 60)]),
)
@settings(max_examples=6)
def test_open_seconds_are_counted_once_though_their_rows_were_merged(
    tmp_path_factory: pytest.TempPathFactory,
    first: int,
    length: int,
    stopped: float,
    reported: list[int],
    horizon: Horizon,
) -> None:
    """Merged or not, all that was planned is on record or nobody's; what may have been sent is lost.

    Of merged seconds it is not known which were short, so more may be said to be lost, and never less.
    """
    root = tmp_path_factory.mktemp("books")
    doubt = Doubt(first, min(first + length, OPEN), stopped)
    planned, on_record, lost, unoffered = closed_books(root, doubt, reported, None)
    assert on_record + unoffered == planned
    again, on_record, lost_merged, unoffered = closed_books(root, doubt, reported, horizon)
    assert on_record + unoffered == again == planned
    assert lost_merged >= lost


def test_a_merged_row_with_an_outage_is_short_of_what_the_outage_took(tmp_path: Path) -> None:
    """Of 18 to 26 open, 24 to 26 are short of all 40 and were nobody's; the others are not short."""
    reported = [40] * 24 + [0] * 3 + [40] * 53
    planned, on_record, lost, unoffered = closed_books(tmp_path, Doubt(18, 27), reported, Horizon(60, 10_000))
    # Seconds 80 to 87, that the worker says it offered nothing in, are nobody's too.
    assert (planned - on_record, lost, unoffered) == (3 * 40 + 8 * 40, 0, 3 * 40 + 8 * 40)


def test_what_is_lost_under_a_second_master_of_the_same_pid_is_written_down_too(folder: RunFolder) -> None:
    """In a container each master has the same pid: its deltas of losses go on after those on record.

    An earlier one wrote 3 of this pid and 9 of another; the next is 4, and the store takes it as new.
    """
    row = FleetRow(1, "worker-1", 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)
    here, elsewhere = os.getpid(), os.getpid() + 1
    write(folder, Delta(folder.id, "worker-1", 7, 1, [], fleet=[row]), ledger=(0,), anchor=ANCHOR)
    gone = [Window(0, 1, "emotion", "steady", {"arrivals": 1, "lost": 1})]
    write(folder, *(Delta(folder.id, LOST_NAME, here, number, gone) for number in (1, 2, 3)))
    write(folder, *(Delta(folder.id, LOST_NAME, elsewhere, number, gone) for number in range(1, 10)))
    past = past_of(folder)
    assert past is not None
    muster = Muster(folder.id)
    muster.anchor = 0.0
    muster.resume(9.0, past.last_second, left=replace(past.left_by(set(), set()), open_books={KEY: 5}))
    ((delta,), _) = muster.close(20.0)
    assert (delta.worker, delta.incarnation, delta.sequence) == (LOST_NAME, here, 4)
    with open_writer(folder.database) as writer:
        writer.commit([delta])
    with RunReader(folder.database) as reader:
        assert sum(window.count(Count.LOST) for window in reader.windows(series=())) == 12 + 5


def test_a_worker_that_never_reported_came_a_moment_ago(folder: RunFolder) -> None:
    """It was heard of when its master died: no second longer ago than two minutes is open for it."""
    row = delta_of(folder, 1, 1000, 10)
    write(folder, row, ledger=tuple(range(1001)), anchor=ANCHOR, workers={"a": "worker-1", "b": "worker-2"})
    past = past_of(folder)
    assert past is not None
    assert past.reported_by("worker-2") == 880


def test_a_run_that_had_only_begun_can_be_taken_up(folder: RunFolder) -> None:
    """Nobody has reported, nothing is written: the second before the first is the last."""
    write(folder, anchor=ANCHOR)
    assert past_of(folder) == Past(500.25, 1_700_000_000.0, "kernel-1", -1, -1)


def test_a_run_of_an_earlier_form_has_no_boot_id(folder: RunFolder) -> None:
    """Then only the wall clock is left to go by."""
    write(folder, anchor={"monotonic": 1.0, "wall": 2.0})
    past = past_of(folder)
    assert past is not None
    assert past.boot_id == ""


def test_arrivals_of_a_longer_window_are_put_to_its_seconds(folder: RunFolder) -> None:
    """10 from second 4 on, over 4 s: 3, 3, 2, 2."""
    window = Window(4, 4, "emotion", "steady", {"arrivals": 10, "ok": 10})
    write(folder, Delta(folder.id, "worker-1", 7, 1, [window]), anchor=ANCHOR)
    past = past_of(folder)
    assert past is not None
    assert past.offered == Counter({4: 3, 5: 3, 6: 2, 7: 2})


# -- runs that are new, ended or damaged --------------------------------------------------------


def test_a_folder_without_a_database_is_a_new_run(tmp_path: Path) -> None:
    """There is nothing to take up."""
    assert past_of(RunFolder(tmp_path / "load-1")) is None


def test_a_database_that_nobody_wrote_is_a_new_run(folder: RunFolder) -> None:
    """The control room makes the folder before the master starts."""
    assert past_of(folder) is None


def test_a_run_whose_time_had_not_begun_is_a_new_run(folder: RunFolder) -> None:
    """Its master died before its users existed: no second of it was granted."""
    write(folder, ended=None, flushed=False)
    assert past_of(folder) is None


@pytest.mark.parametrize("ended", ["planned", "stopped", "interrupted", "died"])
@pytest.mark.parametrize("anchor", [ANCHOR, None])
def test_a_run_that_has_ended_is_not_taken_up(folder: RunFolder, ended: str, anchor: Any) -> None:
    """However it ended, and whether or not its time had begun."""
    write(folder, anchor=anchor, ended=ended)
    with pytest.raises(UsageError, match=rf"has ended \({ended}\)") as caught:
        past_of(folder)
    assert "LOADGATE_RUN" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"\xff" * 500, b"no database at all" * 99])
def test_a_damaged_database_is_told(tmp_path: Path, content: bytes) -> None:
    """It is not taken for a new run, whose windows would be written over it."""
    folder = RunFolder(tmp_path)
    folder.database.write_bytes(content)
    with pytest.raises(StoreError):
        past_of(folder)
    assert folder.database.read_bytes() == content


@pytest.mark.parametrize(
    "anchor",
    [
        7,
        "now",
        [],
        {},
        {"monotonic": 1.0},
        {"monotonic": None, "wall": 1.0},
        {"monotonic": "soon", "wall": 1.0},
    ],
)
def test_a_damaged_start_of_run_time_is_told(folder: RunFolder, anchor: object) -> None:
    """Without it no second of the run means anything; it is not a new run either."""
    write(folder, anchor=anchor)
    with pytest.raises(StoreError, match="start of its run time is damaged") as caught:
        past_of(folder)
    assert caught.value.hint


def test_reading_the_past_changes_nothing(folder: RunFolder) -> None:
    """Another master may still be at work."""
    write(folder, delta_of(folder, 1, 3, 40), anchor=ANCHOR)
    before = folder.database.read_bytes()
    past_of(folder)
    assert folder.database.read_bytes() == before


# -- run time 0 ---------------------------------------------------------------------------------


def past_at(monotonic: float, wall: float, boot_id: str = "kernel-1") -> Past:
    return Past(monotonic, wall, boot_id, 10)


def test_on_the_same_kernel_the_stored_moment_holds() -> None:
    """Whatever was done to the wall clock meanwhile."""
    assert past_at(500.25, 1e9).anchor_on("kernel-1", 9999.0, 5.0) == 500.25


def test_after_a_reboot_the_wall_clock_tells() -> None:
    """600 s after run time 0, on a machine that is up for 42 s: run time 0 was at -558."""
    assert past_at(50_000.0, 1_000_000.0).anchor_on("kernel-2", 42.0, 1_000_600.0) == -558.0


@pytest.mark.parametrize(("stored", "now"), [("", ""), ("", "kernel-2"), ("kernel-1", "")])
def test_a_kernel_that_is_not_known_is_another_one(stored: str, now: str) -> None:
    """Two unknown ones are not the same."""
    assert past_at(500.0, 1000.0, stored).anchor_on(now, 100.0, 1060.0) == 40.0


@given(st.floats(0, 1e7), st.floats(1e9, 2e9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_run_time_goes_on_over_a_reboot(anchor: float, wall: float, up: float, passed: float) -> None:
    """Run time by the new clock is the wall time since run time 0, to a microsecond."""
    moment = past_at(anchor, wall).anchor_on("kernel-2", up, wall + passed)
    assert up - moment == pytest.approx(passed, abs=1e-6)


# -- the folder of a run ------------------------------------------------------------------------


def test_a_given_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control room has made it."""
    monkeypatch.setenv("LOADGATE_RUN", str(tmp_path / "load-1"))
    assert folder_of(None) == RunFolder(tmp_path / "load-1")


def test_a_folder_is_made_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under stock locust, named after what runs."""
    monkeypatch.delenv("LOADGATE_RUN", raising=False)
    monkeypatch.delenv("LOADGATE_SCENARIO", raising=False)
    monkeypatch.setenv("LOADGATE_RESULTS", str(tmp_path))
    folder = folder_of(None)
    assert folder.path.parent == tmp_path
    assert folder.id.startswith("locust-")
    assert past_of(folder) is None


def test_a_run_that_never_began_says_why(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error and in its folder, in whose database nobody has written yet."""
    monkeypatch.setenv("LOADGATE_RUN", str(folder.path))
    write_fault(None, "no workers came", "start them", 40)
    assert capsys.readouterr().err == "loadgate: no workers came\n  start them\n"
    with RunReader(folder.database) as reader:
        keys = ("ended", "flushed", "fault", "fault_hint", "fault_exit_code")
        found = [reader.value(key) for key in keys]
    assert found == ["died", False, "no workers came", "start them", 40]


def test_a_run_that_never_began_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under stock locust it is made for that."""
    monkeypatch.delenv("LOADGATE_RUN", raising=False)
    monkeypatch.delenv("LOADGATE_SCENARIO", raising=False)
    monkeypatch.setenv("LOADGATE_RESULTS", str(tmp_path))
    write_fault(None, "no workers came", "start them", 40)
    (made,) = tmp_path.iterdir()
    with RunReader(RunFolder(made).database) as reader:
        assert reader.value("fault") == "no workers came"


def test_what_was_sent_while_nothing_could_be_written_is_never_said_to_be_nobodys(folder: RunFolder) -> None:
    """The last report on record is of 100, the last look was at 399.9: leases went to 403 at the most.

    The sign stays from master to master, and is of the run's own time, not of this machine's clock.
    """
    write(folder, delta_of(folder, 1, 100, 40), ledger=(97,), anchor=ANCHOR, workers={"a": "worker-1"})
    prepare_looks(folder)
    before = past_of(folder)
    assert before is not None
    assert (before.left_by({"worker-1"}, set()).stopped, before.last_known) == (106.0, 100)
    note_look(folder, ANCHOR["wall"] + 399.9)
    prepare_looks(folder)
    past = past_of(folder)
    assert past is not None
    left = past.left_by({"worker-1"}, set())
    assert (left.stopped, left.leased_until, left.doubts) == (403.0, 403.0, (Doubt(101, 403, 403.0),))
    assert past.last_known == 398


def test_a_look_from_before_the_last_report_changes_nothing(folder: RunFolder) -> None:
    """The disk took it all again since."""
    write(folder, delta_of(folder, 1, 100, 40), anchor=ANCHOR, workers={"a": "worker-1"})
    prepare_looks(folder)
    note_look(folder, ANCHOR["wall"] + 50.0)
    past = past_of(folder)
    assert past is not None
    assert (past.left_by({"worker-1"}, set()).stopped, past.last_known) == (106.0, 100)


def test_a_run_without_a_sign_of_looks_is_taken_up_by_its_reports(folder: RunFolder) -> None:
    """One of an earlier form has no such file, and a disk may refuse it: noting a look is no fault then."""
    note_look(folder, ANCHOR["wall"] + 50.0)
    assert last_look(folder, ANCHOR["wall"]) == -math.inf


def test_a_damaged_run_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be mended; what is said on standard error is enough."""
    (tmp_path / "run.db").write_bytes(b"x" * 5000)
    monkeypatch.setenv("LOADGATE_RUN", str(tmp_path))
    write_fault(None, "no workers came", "start them", 40)
    assert (tmp_path / "run.db").read_bytes() == b"x" * 5000


def test_a_fault_is_not_written_over_a_run(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another master measured stays as it is."""
    write(folder, anchor=ANCHOR)
    monkeypatch.setenv("LOADGATE_RUN", str(folder.path))
    write_fault(None, "no workers came", "start them", 40)
    with RunReader(folder.database) as reader:
        assert reader.value("ended", None) is None


def test_a_run_without_a_plan_is_named_by_its_locustfile() -> None:
    """The first one; a program's run is called locust."""
    assert stock_name(SimpleNamespace(parsed_locustfiles=["a/traffic.py", "b.py"])) == "traffic"
    assert stock_name(SimpleNamespace(parsed_locustfiles=None)) == "locust"


def test_a_run_says_what_made_it() -> None:
    """The versions of what makes and measures the load, and the machine."""
    assert {"python", "loadgate", "locust", "gevent", "numpy", "hdrhistogram"} == set(versions())
    assert {"node", "system", "cores"} == set(this_machine())


def test_a_stop_that_a_master_took_is_not_forgotten_with_it(folder: RunFolder) -> None:
    """It is an event of the run; a run that nobody asked to stop has none."""
    write(folder, anchor=ANCHOR)
    past = past_of(folder)
    assert past is not None
    assert not past.stop_asked
    with open_writer(folder.database) as writer:
        writer.commit([], events=[Event(12.0, "stop_asked", {})])
    past = past_of(folder)
    assert past is not None
    assert past.stop_asked
