"""Databases of every version that ever was are read; those of the future are not guessed at."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgate.errors import StoreError
from loadgate.store.connection import open_for_reading, open_for_writing
from loadgate.store.database import RunReader, open_writer
from loadgate.store.schema import Migration, Schema, run_schema, watch_schema
from loadgate.store.watch import Reading, WatchReader


def _later(sql: str) -> Schema:
    """Give the run schema with one more migration."""
    known = run_schema()
    number = known.version + 1
    return Schema(known.kind, known.application_id, (*known.migrations, Migration(number, "later", sql)))


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


LATER = "CREATE TABLE later (x INTEGER);\n-- and a note; with a semicolon\nINSERT INTO later VALUES (1);\n"


def test_migrations_are_numbered_without_holes() -> None:
    """Both databases' migrations count 1, 2, 3 and so on."""
    for schema in (run_schema(), watch_schema()):
        numbers = [migration.number for migration in schema.migrations]
        assert numbers == list(range(1, len(numbers) + 1))


def test_every_migration_is_recorded(database: Path) -> None:
    """A new database lists each migration with its name and time."""
    open_writer(database).close()
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT version, name FROM schema_version ORDER BY version").fetchall()
    connection.close()
    assert rows == [(migration.number, migration.name) for migration in run_schema().migrations]


def test_the_writer_migrates_an_older_database(database: Path) -> None:
    """What is missing is applied, once, and what was there stays."""
    with open_writer(database) as writer:
        writer.commit(run_values={"id": "r1"})
    for _ in range(2):
        opened = open_for_writing(database, _later(LATER))
        assert opened.connection.execute("SELECT count(*) FROM later").fetchone() == (1,)
        assert opened.connection.execute("SELECT value FROM run WHERE key = 'id'").fetchone() == ('"r1"',)
        opened.close()


def test_a_migration_that_fails_leaves_nothing(database: Path) -> None:
    """Half a migration is none: neither its tables nor its record."""
    open_writer(database).close()
    with pytest.raises(StoreError):
        open_for_writing(database, _later("CREATE TABLE later (x);\nINSERT INTO nowhere VALUES (1);\n"))
    opened = open_for_reading(database, run_schema())
    assert "later" not in _tables(opened.connection)
    assert run_schema().version_in(opened.connection) == run_schema().version
    opened.close()


def test_the_reader_migrates_a_copy(database: Path) -> None:
    """An older database is read in the new form, and is itself left as it was; the copy goes away."""
    with open_writer(database) as writer:
        writer.commit(run_values={"id": "r1"})
    before = database.read_bytes()
    opened = open_for_reading(database, _later(LATER))
    assert opened.connection.execute("SELECT x FROM later").fetchone() == (1,)
    assert opened.connection.execute("SELECT value FROM run WHERE key = 'id'").fetchone() == ('"r1"',)
    scratch = opened.scratch
    assert scratch is not None
    opened.close()
    assert not scratch.exists()
    assert database.read_bytes() == before


def test_a_newer_database_asks_for_an_upgrade(database: Path) -> None:
    """Neither reader nor writer touches what a newer Loadgate wrote."""
    open_for_writing(database, _later(LATER)).close()
    for opens in (RunReader, open_writer):
        with pytest.raises(StoreError, match="version") as caught:
            opens(database)
        assert "upgrade" in caught.value.hint


def test_a_stored_run_of_version_1_is_read(stored_run: Callable[[str], Path]) -> None:
    """The run in tests/data/run-v1 answers as it did when it was written; see make_run_v1.py."""
    run = stored_run("run-v1")
    with RunReader(run / "run.db") as reader:
        assert reader.value("id") == "load-20260105-080000"
        total = reader.total(phase="steady", endpoint="emotion")
        (failure,) = reader.failures()
        assert [row.second for row in reader.fleet()] == [0, 1]
        assert [event.kind for event in reader.events()] == ["load_began"]
        assert [(source.worker, source.committed) for source in reader.sources()] == [("w1", 2)]
    histogram = total.histogram("response.ok")
    assert (histogram.total, histogram.minimum, histogram.maximum) == (10_001, 1_000, 100_000_000)
    # 10,000 of 1 ms and one of 100 s; the 10,001st value alone is over 1 s.
    assert histogram.sum == 110_000_000
    assert total.over == {"response.ok>1000000": 1}
    assert (histogram.percentile(9_990), total.count("ok")) == (1_000.0, 10_001)
    assert (failure.message, failure.count, failure.samples) == ("503", 3, ["busy"])


def test_a_stored_run_of_version_1_can_be_taken_up(stored_run: Callable[[str], Path]) -> None:
    """A writer of today brings it to the newest version and adds to it."""
    run = stored_run("run-v1")
    with open_writer(run / "run.db") as writer:
        writer.commit(run_values={"ended": "interrupted"})
    with RunReader(run / "run.db") as reader:
        assert reader.value("ended") == "interrupted"
        assert reader.total(phase="steady").count("ok") == 10_001


def test_a_stored_watch_database_of_version_1_is_read(stored_run: Callable[[str], Path]) -> None:
    """Its one good and one failed reading come back as such."""
    with WatchReader(stored_run("run-v1") / "watch.db") as reader:
        assert reader.readings() == [
            Reading(0.5, "cache", "hit_rate", 0.875, "", 0.002),
            Reading(5.5, "cache", "hit_rate", None, "timed out", 5.0),
        ]
