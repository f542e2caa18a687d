"""An alert over the death of a control room: each of its changes is told once, by whoever is there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loadgate.cli.watching import Watching
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.window import Window
from loadgate.plan.plan import load_plan
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder
from loadgate.store.watch import WatchReader
from loadgate.watch.alert_feed import stored_plan

pytestmark = pytest.mark.system

RULES = """
[[alert]]
name     = "errors"
when     = "creative.error_rate > 20%"
every    = "2s"
severity = "high"
"""
TOLD = """
[[notify.receiver]]
name       = "tickets"
kind       = "file"
severities = ["high"]
"""


@pytest.fixture
def run(loadgate: Any) -> RunFolder:
    """Give a run without a generator, whose first ten seconds failed."""
    path = loadgate.scenario("http://127.0.0.1:9", hold="60s", more=TOLD)
    path.write_text(path.read_text().replace('"sla.toml"', '"sla.toml"\nalerts = "rules.toml"'))
    loadgate.write("rules.toml", RULES)
    folder = RunFolder(loadgate.folder / "results" / "short-20261124-120000")
    folder.path.mkdir(parents=True)
    folder.plan.write_bytes(load_plan(path).to_json())
    report(folder, range(10), failed=10)
    return folder


def report(folder: RunFolder, seconds: range, *, failed: int) -> None:
    """Let a worker tell of some seconds of 10 requests, of which some failed."""
    counts = {"arrivals": 10, "ok": 10 - failed, "failed": failed}
    with open_writer(folder.database) as writer:
        for second in seconds:
            row = FleetRow(second, "w1", 10, 10, 10, 0, 5, 0.1, 5_000_000, 1.0, 1.0, 1.0)
            window = Window(second, 1, "creative", "steady", counts)
            writer.commit([Delta(folder.id, "w1", 1, second, [window], [], [row])])


def states(folder: RunFolder) -> list[str]:
    with WatchReader(folder.watch_database) as reader:
        return [change.state for change in reader.alerts()]


def test_what_was_told_before_a_control_room_died_is_not_told_again(run: RunFolder) -> None:
    """It fires, is told, and the control room is killed; its successor tells of the end alone."""
    script = Path(__file__).with_name("killed_watching.py")
    died = subprocess.run([sys.executable, script, run.path, "12"], capture_output=True, timeout=60)
    assert died.returncode == -9, died.stderr
    tickets = run.path / "tickets.md"
    before, first = states(run), tickets.read_text()
    assert before[-1] == "firing"
    said: list[str] = []
    watching = Watching(stored_plan(run), run, arm=False, stop_load=lambda _: None, say=said.append)
    try:
        watching.begin(time.monotonic() - 12)
        watching.look()
        watching.look()
        assert (states(run), tickets.read_text(), said) == (before, first, [])
        report(run, range(10, 30), failed=0)
        watching._anchor -= 20
        watching.look()
    finally:
        watching.end()
    assert states(run) == [*before, "resolved"]
    assert [text.split(":")[0] for text in said] == ["HIGH resolved"]
    whole = tickets.read_text()
    assert whole.startswith(first)
    assert "resolved" in whole[len(first) :].lower()
    assert "firing" not in whole[len(first) :].lower()
