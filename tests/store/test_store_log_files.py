"""The logs of a run are bounded, and their last lines can be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loadgate.store import log_files
from loadgate.store.log_files import last_lines, rotate_logs, to_rotate


def test_only_logs_over_the_limit_are_rotated() -> None:
    """One at the limit stays."""
    assert to_rotate({"b.log": 11, "a.log": 12, "c.log": 10}, 10) == ("a.log", "b.log")


def test_the_end_of_a_log_is_kept_beside_it(tmp_path: Path) -> None:
    """The last bytes go to NAME.1, in place of what was there; the process goes on at the beginning."""
    log = tmp_path / "master.log"
    (tmp_path / "master.log.1").write_text("of before")
    with log.open("ab", buffering=0) as printing:
        printing.write(b"0123456789abc")
        assert rotate_logs(tmp_path, 10) == []
        assert (tmp_path / "master.log.1").read_bytes() == b"3456789abc"
        printing.write(b"next")
        assert log.read_bytes() == b"next"
        assert rotate_logs(tmp_path, 10) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["master.log", "master.log.1"]


def test_links_and_other_files_are_left_alone(tmp_path: Path) -> None:
    """A link may lead out of the run's folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x" * 50)
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "linked.log").symlink_to(elsewhere)
    (folder / "notes.txt").write_text("x" * 50)
    assert rotate_logs(folder, 10) == []
    assert elsewhere.stat().st_size == (folder / "notes.txt").stat().st_size == 50


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """It is a fault that is told, and no exception: the run goes on."""
    (fault,) = rotate_logs(tmp_path / "none")
    assert "cannot be looked at" in fault


def test_a_full_disk_cuts_a_log_at_twice_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to there it is left alone; from there on it is cut without a copy, and both are said."""
    log = tmp_path / "worker-1.log"

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(log_files, "_copy_end", full)
    log.write_bytes(b"x" * 20)
    assert rotate_logs(tmp_path, 10) == ["worker-1.log: cannot be rotated: No space left on device"]
    assert log.stat().st_size == 20
    log.write_bytes(b"x" * 21)
    assert rotate_logs(tmp_path, 10) == ["worker-1.log: was cut without a copy: No space left on device"]
    assert log.stat().st_size == 0


def test_the_last_lines_reach_over_a_rotation(tmp_path: Path) -> None:
    """Where a log has too few lines, those of its part before come first."""
    log = tmp_path / "master.log"
    log.write_text("one\ntwo\nthree\n")
    assert last_lines(log, 2) == ["two", "three"]
    assert rotate_logs(tmp_path, 13) == []
    log.write_text("four\n")
    assert last_lines(log, 2) == ["three", "four"]
    assert last_lines(tmp_path / "none.log", 2) == []
