"""The list of runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from loadgate.report.listing import print_runs

ROWS: list[dict[str, Any]] = [
    {"run": "soak-20261122-203512", "verdict": None, "started_at": "2026-11-22T20:35:12+00:00", "ended": None,
     "model": "open", "host": "http://10.0.0.7:3000", "scenario": "soak", "mode": "distributed"},
    {"run": "gate-20261122-113000", "verdict": "FAIL", "started_at": "2026-11-22T13:30:00.250+02:00",
     "ended": "interrupted", "model": "closed", "host": "http://127.0.0.1:3000"},
    {"run": "gate-20261121-090000", "verdict": None, "fault": "run.db is\ndamaged"},
]  # fmt: skip


def test_runs_are_listed_as_in_the_golden_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order given, times in UTC, "-" for what is not known, and the reason for what cannot be read."""
    print_runs(ROWS, Path("/srv/results"))
    captured = capsys.readouterr()
    assert captured.out == (data / "runs.txt").read_text(encoding="utf-8")
    assert captured.err == ""


def test_no_runs_is_a_note_and_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    """stdout stays empty; the note names the folder and what to do."""
    print_runs([], Path("/srv/results"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "/srv/results" in captured.err
    assert "loadgate run" in captured.err


def test_a_terminal_gets_the_verdict_in_colour(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbol, word and colour."""
    monkeypatch.setattr(sys, "stdout", terminal)
    print_runs(ROWS, Path("/srv/results"))
    assert "\x1b[1;31m✗ FAIL\x1b[0m" in terminal.getvalue()
