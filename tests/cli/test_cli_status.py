"""`loadgate status`: how a run stands, from any terminal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_runs

from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder


def test_a_finished_run(told: Any, tmp_path: Path) -> None:
    """Exit 0 whatever its verdict is, with its rows and that nobody has to do anything."""
    made_runs.make_run(tmp_path / "results", 0, ms=2000.0)
    done = told("status", "latest").expect(0, out=r"ENDED \(planned\)", err="")
    assert "FAIL stored" in done.out
    assert "emotion.response_time p95" in done.out


def test_the_json_has_everything(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Of a run that a process here writes: the state, the writer, the run so far."""
    run = stored(ended=None)
    with open_writer(run.database):
        found = told("status", run.id, "--json").expect(0, err="").json
    assert (found["run"], found["state"], found["ended"]) == (run.id, "running", None)
    assert [hand["held"] for hand in found["writers"]] == [True, False]
    assert found["measured_until"] == 10.0
    assert set(found["disk"]) == {"used", "free", "budget"}


def test_a_run_that_nobody_writes_is_told_as_such(told: Any, stored: Callable[..., RunFolder]) -> None:
    """It has just been written, and not by a process of this machine: it may be one of another."""
    run = stored(ended=None)
    told("status", run.id).expect(0, out="ELSEWHERE")


def test_status_changes_nothing(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Every file of the run is what it was."""
    run = stored()

    def content() -> dict[str, bytes]:
        paths = (path for path in run.path.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
        return {path.name: path.read_bytes() for path in paths}

    before = content()
    told("status", run.id).expect(0)
    assert {name: raw for name, raw in content().items() if raw} == {
        n: raw for n, raw in before.items() if raw
    }


def test_a_run_of_a_newer_version_is_refused(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Exit 2, with what to do."""
    run = stored()
    with sqlite3.connect(run.database) as connection:
        connection.execute("INSERT INTO schema_version (version, name) VALUES (99, 'later')")
    connection.close()
    told("status", run.id).expect(2, out="", err=r"schema version 99[\s\S]*upgrade")
