"""Files that are not what they should be are told, with a hint; nothing crashes and nothing reads as 0."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadgate.errors import StoreError
from loadgate.store.database import RunReader, open_writer
from loadgate.store.watch import WatchReader, WatchWriter


def _filled(path: Path, build: SimpleNamespace) -> None:
    with open_writer(path) as writer:
        windows = [build.window(second, list(range(1, 3_000, 11))) for second in range(50)]
        writer.commit([build.delta(1, windows)])


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _scramble(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(bytes(range(251)) * (size // 251))


def _empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [_truncate, _scramble, _empty])
@pytest.mark.parametrize("opens", [RunReader, open_writer])
def test_a_damaged_file_is_told(
    database: Path, build: SimpleNamespace, damage: Callable[[Path], None], opens: Callable[[Path], object]
) -> None:
    """Truncated, garbage or empty: reader and writer both refuse it, and say what can be done."""
    _filled(database, build)
    damage(database)
    with pytest.raises(StoreError, match=r"run\.db") as caught:
        opens(database)
    assert "copy" in caught.value.hint


def test_damage_in_the_middle_is_told_when_it_is_read(database: Path, build: SimpleNamespace) -> None:
    """Pages that are overwritten raise a StoreError from the query that meets them."""
    _filled(database, build)
    with database.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (database.stat().st_size - 4_096))
    with pytest.raises(StoreError), RunReader(database) as reader:
        list(reader.windows())


@pytest.mark.parametrize("column", ["histograms", "over"])
def test_a_damaged_value_is_told(database: Path, build: SimpleNamespace, column: str) -> None:
    """A blob or JSON text that cannot be decoded is an error, not an empty histogram."""
    _filled(database, build)
    connection = sqlite3.connect(database)
    connection.execute(f"UPDATE window SET {column} = substr({column}, 1, length({column}) - 3)")
    connection.commit()
    connection.close()
    with RunReader(database) as reader, pytest.raises(StoreError):
        reader.total()


def test_a_missing_database_is_told(database: Path) -> None:
    """A run that never began has no database to read."""
    with pytest.raises(StoreError, match="no run database"):
        RunReader(database)


def test_another_programs_database_is_told(database: Path) -> None:
    """An SQLite file without Loadgate's mark is refused, and left as it is."""
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for opens in (RunReader, open_writer):
        with pytest.raises(StoreError, match="no run database of Loadgate"):
            opens(database)


def test_the_two_databases_are_not_mixed_up(tmp_path: Path) -> None:
    """A watch database is not read as a run database, nor the other way round."""
    open_writer(tmp_path / "run.db").close()
    WatchWriter(tmp_path / "watch.db").close()
    with pytest.raises(StoreError, match="no run database of Loadgate"):
        RunReader(tmp_path / "watch.db")
    with (
        pytest.raises(StoreError, match="no watch database of Loadgate"),
        WatchReader(tmp_path / "run.db") as reader,
    ):
        reader.readings()


def test_a_database_without_tables_is_an_empty_run(database: Path) -> None:
    """A reader that comes before the tables waits: it finds nothing, then what is written later."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("VACUUM")
    connection.close()
    assert database.stat().st_size > 0
    with RunReader(database) as reader:
        assert (list(reader.windows()), reader.failures(), reader.events(), reader.sources()) == (
            [],
            [],
            [],
            [],
        )
        assert (reader.total().counts, reader.changes(0), reader.value("id", "none")) == ({}, (0, []), "none")
        with open_writer(database) as writer:
            writer.commit(run_values={"id": "r1"})
        assert reader.value("id") == "r1"


def test_a_finished_run_reads_from_a_folder_that_cannot_be_written(build: SimpleNamespace) -> None:
    """A results folder kept as an artefact, read-only, still answers."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from loadgate.store.database import RunReader\n"
        "from loadgate.store.schema import run_schema\n"
        "run_schema()  # while the package may still be read\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "with RunReader(Path(sys.argv[1])) as reader: print(reader.total().span)\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        database = Path(folder) / "run.db"
        _filled(database, build)
        database.chmod(0o444)
        os.chmod(folder, 0o555)
        done = subprocess.run([sys.executable, "-c", code, str(database)], capture_output=True, text=True)
    assert done.stdout.strip() == "50", done.stderr
