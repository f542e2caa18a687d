"""One writer of the watch database, used by many threads."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from loadgate.errors import StoreError
from loadgate.store.watch import ActionStage, AlertChange, Notice, Reading, WatchReader, WatchWriter
from loadgate.store.watch_desk import WatchDesk


def test_threads_write_through_one_desk(tmp_path: Path) -> None:
    """Each gets the id of its own entry, and nothing is lost."""
    path = tmp_path / "watch.db"
    ids: list[int] = []
    with WatchDesk(path) as desk:

        def write(number: int) -> None:
            ids.append(desk.action(ActionStage(float(number), "step", "intent", {"n": number})))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with WatchReader(path) as reader:
        assert sorted(ids) == list(range(1, 21))
        assert sorted(row.detail["n"] for row in reader.actions()) == list(range(20))


def test_everything_a_writer_takes_a_desk_takes(tmp_path: Path) -> None:
    """Readings, alerts, actions and notices."""
    path = tmp_path / "watch.db"
    with WatchDesk(path) as desk:
        desk.readings([Reading(1.0, "health", "up", 1.0, "", 0.1)])
        assert desk.alert(AlertChange(1.0, "r", "low", "firing", None, {})) == 1
        assert desk.action(ActionStage(1.0, "s", "intent", {}, 1)) == 1
        assert desk.notice(Notice(1.0, "k", "team", "delivered", {})) == 1
    with WatchReader(path) as reader:
        counts = [
            len(rows) for rows in (reader.readings(), reader.alerts(), reader.actions(), reader.notices())
        ]
        assert counts == [1, 1, 1, 1]


def test_what_the_database_refuses_reaches_the_caller(tmp_path: Path) -> None:
    """In its own thread, as an error of the store; the desk goes on."""
    with WatchDesk(tmp_path / "watch.db") as desk:
        with pytest.raises(StoreError):
            desk.action(ActionStage(1.0, "s", "intent", {}, alert=7))
        assert desk.alert(AlertChange(1.0, "r", "low", "firing", None, {})) == 1


def test_a_closed_desk_takes_nothing(tmp_path: Path) -> None:
    """And may be closed again; another writer may open the database then."""
    desk = WatchDesk(tmp_path / "watch.db")
    desk.close()
    desk.close()
    with pytest.raises(StoreError, match="is closed"):
        desk.notice(Notice(1.0, "k", "team", "delivered", {}))
    WatchWriter(tmp_path / "watch.db").close()


def test_a_second_desk_is_refused(tmp_path: Path) -> None:
    """One writer a file, and no thread is left behind."""
    before = threading.active_count()
    with WatchDesk(tmp_path / "watch.db"), pytest.raises(StoreError):
        WatchDesk(tmp_path / "watch.db")
    assert threading.active_count() == before


def test_a_writer_can_be_lent(tmp_path: Path) -> None:
    """To who opens and closes one of its own; the desk stays open, and another database is refused."""
    path = tmp_path / "watch.db"
    with WatchDesk(path) as desk:
        with desk.lend(path) as lent:
            lent.readings([Reading(1.0, "health", "up", 1.0, "", 0.1)])
            assert lent.alert(AlertChange(1.0, "r", "low", "firing", None, {})) == 1
        assert desk.alert(AlertChange(2.0, "r", "low", "resolved", None, {})) == 2
        with pytest.raises(StoreError):
            desk.lend(tmp_path / "other.db")
    with WatchReader(path) as reader:
        assert len(reader.readings()) == 1


def test_notices_are_read_in_order(tmp_path: Path) -> None:
    """With their details; a run that nobody watched has none."""
    path = tmp_path / "watch.db"
    with WatchReader(path) as reader:
        assert reader.notices() == []
    first = Notice(1.0, "k1", "team", "failed", {"covers": [[1, "firing"]], "text": "down"}, "wall")
    second = Notice(2.0, "k1", "team", "delivered", {"covers": [[1, "firing"]]})
    with WatchWriter(path) as writer:
        writer.notice(first)
        writer.notice(second)
    with WatchReader(path) as reader:
        assert reader.notices() == [first._replace(id=1), second._replace(id=2)]


def test_a_watch_database_of_the_first_version_has_no_notices(tmp_path: Path) -> None:
    """It is read by way of a migrated copy, and is itself left as it was."""
    before = (Path(__file__).parents[1] / "data" / "run-v1" / "watch.db").read_bytes()
    old = tmp_path / "watch.db"
    old.write_bytes(before)
    with WatchReader(old) as reader:
        assert reader.notices() == []
        assert reader.readings()
    assert old.read_bytes() == before
