"""What a run is asked again and again while it goes on costs the same after a week as after a minute.

SQLite's own plan of each statement is the oracle: one that reads a whole table says SCAN.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgate.store.database import RunReader, open_writer
from loadgate.store.watch import Reading, WatchReader, WatchWriter

GROWING = ("window", "fleet", "ledger", "probe", "probe_block")
"""The tables that grow with a run."""


class Statements:
    """Every statement that connections made from now on carry out, with its values put in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        connect = sqlite3.connect

        def traced(database: str, **options: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(database, **options)  # type: ignore[call-overload]
            connection.set_trace_callback(self.said.append)
            return connection

        monkeypatch.setattr(sqlite3, "connect", traced)

    def scanned(self, database: Path) -> list[str]:
        """Return the steps that read the whole of a growing table."""
        with sqlite3.connect(database) as connection:
            asked = [one for one in self.said if one.startswith("SELECT") and "FROM" in one]
            plans = [connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in asked]
        steps = [step[3] for plan in plans for step in plan]
        return [one for one in steps if one.startswith("SCAN") and one.split()[1] in GROWING]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda reader: reader.changes(5), id="the windows that changed"),
        pytest.param(lambda reader: [*reader.fleet(after=5)], id="the fleet's newest rows"),
        pytest.param(lambda reader: [*reader.ledger(after=5)], id="the ledger's newest rows"),
        pytest.param(lambda reader: [*reader.windows(start=5, end=9)], id="the windows of some seconds"),
    ],
)
def test_what_is_new_in_a_run_is_found_by_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[RunReader], object]
) -> None:
    """No part of the run that is known already is read once more."""
    database = tmp_path / "run.db"
    with open_writer(database) as writer:
        writer.commit(run_values={"id": "polled"})
    statements = Statements(monkeypatch)
    with RunReader(database) as reader:
        ask(reader)
    assert any("FROM " in one for one in statements.said)
    assert statements.scanned(database) == []


@pytest.mark.parametrize("name", ["cache", "cache.hit_rate", "a.b.c"])
def test_new_readings_are_found_by_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Readings of one name and a stretch of time, in rows and in packed hours, are searched for."""
    database = tmp_path / "watch.db"
    with WatchWriter(database) as writer:
        writer.readings([Reading(1.0, "cache", "hit_rate", 0.5, "", 0.01)])
    statements = Statements(monkeypatch)
    with WatchReader(database) as reader:
        reader.readings(name, start=0.0, end=9.0)
    assert sum("FROM probe" in one for one in statements.said) == 2
    assert statements.scanned(database) == []


def test_the_oracle_sees_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All readings at once are a scan, and are told as one: the rules above can fail."""
    database = tmp_path / "watch.db"
    with WatchWriter(database) as writer:
        writer.readings([Reading(1.0, "cache", "hit_rate", 0.5, "", 0.01)])
    statements = Statements(monkeypatch)
    with WatchReader(database) as reader:
        reader.readings()
    assert statements.scanned(database)


def test_a_name_with_dots_means_a_probe_or_one_of_its_readings(tmp_path: Path) -> None:
    """A probe "a.b" with the reading "c" and a probe "a" with the reading "b.c" are both named "a.b.c"."""
    database = tmp_path / "watch.db"
    whole = Reading(1.0, "a.b.c", "up", 1.0, "", 0.01)
    one = Reading(2.0, "a.b", "c", 1.0, "", 0.01)
    other = Reading(3.0, "a", "b.c", 1.0, "", 0.01)
    with WatchWriter(database) as writer:
        writer.readings([whole, one, other, Reading(4.0, "a.b", "d", 1.0, "", 0.01)])
    with WatchReader(database) as reader:
        assert reader.readings("a.b.c") == [whole, one, other]
