"""The live view: plain lines for logs, and a screen that fits its terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgate.report.live import open_view
from loadgate.report.screen import screen
from loadgate.report.snapshot import (
    AlertView,
    EndpointView,
    FailureView,
    Latency,
    Moment,
    ObjectiveState,
    Snapshot,
    WorkerView,
)
from loadgate.report.text import ASCII_SYMBOLS, SYMBOLS
from loadgate.store.folder import RunFolder

Make = Callable[..., Any]
INF = float("inf")
FOLDER = RunFolder(Path("/srv/results/hand-20261122-120000"))


def _objective(name: str, state: str) -> ObjectiveState:
    return ObjectiveState(name, "", "< 1%", state, "0.5%", 100)


def _snapshot(now: float, phase: str = "steady", **more: Any) -> Snapshot:
    return Snapshot(now=now, until=now, phase=phase, planned=205.0, model="open", begun=True, **more)


def _busy(endpoints: int = 3, objectives: int = 9) -> Snapshot:
    """Return a snapshot with something in every part."""
    views = tuple(
        EndpointView(
            f"endpoint-{n}", 350.0, Latency(9, 1500.0, 20_000.0, INF), counts={"arrivals": 9, "ok": 8}
        )
        for n in range(endpoints)
    )
    states = ("PASS", "WARN", "FAIL", "INVALID", "waiting")
    rows = tuple(_objective(f"row-{n}", states[n % 5]) for n in range(objectives))
    workers = tuple(WorkerView(f"worker-{n}", 0.5, 1, 5, 120.0, 100.0, silent=n == 3) for n in range(6))
    failure = FailureView("emotion", "failed", "status", "HTTP 503 \x1b[2J", 7)
    return _snapshot(
        60.0, requested=1100.0, endpoints=views, objectives=rows, workers=workers, failures=(failure,) * 3
    )


def test_plain_lines_are_those_of_the_golden_file(
    data: Path, make_plan: Make, make_objective: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line at the start, one each five seconds of run time, notes at once, one at the end; on stderr."""
    plan = make_plan(make_objective(), make_objective("error_rate", "< 1%"))
    states = (_objective("emotion.response_time", "PASS"), _objective("error_rate", "waiting"))
    creative = EndpointView("creative", 40.0, Latency(100, 9_000.0, INF, INF))
    emotion = EndpointView("emotion", 59.6, Latency(100, 2_000.0, 4_859.0, 9_000.0))
    first = _snapshot(
        5.0, "ramp", requested=100.0, endpoints=(creative, emotion), objectives=states, in_flight=3,
        total=EndpointView("all", 99.6, counts={"arrivals": 500, "ok": 494, "failed": 2, "timeout": 1}),
    )  # fmt: skip
    states = (_objective("emotion.response_time", "PASS"), _objective("error_rate", "FAIL"))
    emotion = EndpointView("emotion", 1098.4, Latency(100, 2_000.0, 122_879.0, 150_000.0))
    counts = {"arrivals": 2000, "ok": 1992, "unsent_pool": 3, "unsent_generator": 4, "unfinished": 1}
    second = _snapshot(
        60.9, requested=1100.0, endpoints=(emotion,), objectives=states, in_flight=12,
        total=EndpointView("all", 1098.4, counts=counts),
    )  # fmt: skip
    with open_view(plan, FOLDER) as view:
        view.show(_snapshot(4.9))
        view.note("worker 2 has ended before its master")
        view.note("worker 2 has ended before its master")
        view.show(first)
        view.show(_snapshot(9.9))
        view.show(second)
    captured = capsys.readouterr()
    assert captured.err == (data / "lines.txt").read_text(encoding="utf-8")
    assert captured.out == ""


def test_a_run_that_never_began_says_no_numbers(make_plan: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was measured, so nothing is added up."""
    with open_view(make_plan(), FOLDER) as view:
        view.show(Snapshot(now=60.0, until=0.0, phase="steady", planned=205.0, model="open"))
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 40), (60, 20), (40, 12), (20, 6), (10, 1)])
@pytest.mark.parametrize("endpoints", [0, 1, 3, 40])
@pytest.mark.parametrize("objectives", [0, 9, 40])
def test_the_screen_fits(width: int, height: int, endpoints: int, objectives: int, make_plan: Make) -> None:
    """No line is wider and there are no more lines than the terminal has, whatever there is to show."""
    drawn = screen(_busy(endpoints, objectives), make_plan(), FOLDER, width, height, SYMBOLS)
    lines = drawn.plain.split("\n")
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_an_ordinary_terminal_shows_everything(make_plan: Make) -> None:
    """At 80 x 24, three endpoints and nine objectives are all there, each state in a word."""
    text = screen(_busy(), make_plan(), FOLDER, 80, 23, SYMBOLS).plain
    assert all(f"endpoint-{n}" in text for n in range(3))
    assert all(f"row-{n}" in text for n in range(9))
    assert {"PASS", "WARN", "FAIL", "INVALID", "waiting"} <= set(text.split())
    assert "∞" in text
    assert "steady" in text
    assert "start lag" in text
    assert "\x1b" not in text


def _watched() -> Snapshot:
    """Return a busy snapshot of 30 s of trend with a rise, alerts, and two workers missing."""
    busy = _busy(2, 4)
    trend = tuple(Moment(second, 350, p95=1000.0 * (1 + max(0, second - 44))) for second in range(30, 60))
    broken = (*trend[:-4], *(Moment(second, 0, p95=INF) for second in range(56, 60)))
    first, second = busy.endpoints
    return replace(
        busy,
        endpoints=(replace(first, trend=trend), replace(second, trend=broken)),
        alerts=(
            AlertView("slow-memory", "low", "pending"),
            AlertView("emotion-slow", "high", "firing"),
            AlertView("down", "critical", "flapping"),
            AlertView("calm", "critical", "inactive"),
        ),
        expected=7,
    )


@pytest.mark.parametrize(
    ("file", "width", "symbols"),
    [
        ("screen-80.txt", 80, SYMBOLS),
        ("screen-120.txt", 120, SYMBOLS),
        ("screen-ascii.txt", 80, ASCII_SYMBOLS),
    ],
)
def test_the_screen_is_that_of_the_golden_file(
    file: str, width: int, symbols: dict[str, str], data: Path, make_plan: Make
) -> None:
    """Sparklines, the alerts that fire with the gravest first, the fleet with the silent workers first."""
    text = screen(_watched(), make_plan(), FOLDER, width, 23, symbols).plain
    assert text + "\n" == (data / file).read_text(encoding="utf-8")


def test_what_cannot_be_told_apart_by_colour_is_told_in_words(
    terminal: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With NO_COLOR the screen has no colour, and says the same."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", terminal)
    with open_view(make_plan(), FOLDER) as view:
        view.show(_watched())
    written = terminal.getvalue()
    assert "down (critical) is flapping" in written
    assert not re.search(r"\x1b\[[0-9;]*3[0-7][0-9;]*m", written)


def test_where_room_is_short_the_worst_objectives_stay(make_plan: Make) -> None:
    """Of 40 rows on a small terminal, those that fail are shown, and how many are not."""
    text = screen(_busy(1, 40), make_plan(), FOLDER, 80, 16, SYMBOLS).plain
    assert "✗ FAIL" in text
    assert "✓ PASS" not in text
    assert re.search(r"and \d+ more: .*PASS", text)


def test_a_terminal_is_left_as_it_was_after_a_fault(
    terminal: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor is hidden while the screen is drawn, and shown again when an exception leaves the block."""
    monkeypatch.setattr(sys, "stderr", terminal)

    def interrupted() -> None:
        with open_view(make_plan(), FOLDER) as view:
            view.show(_busy())
            view.note("something happened")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    written = terminal.getvalue()
    assert "something happened" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_a_dumb_terminal_gets_lines(terminal: Any, make_plan: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot move its cursor is treated as a log."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", terminal)
    with open_view(make_plan(), FOLDER) as view:
        view.show(_busy())
    assert "\x1b" not in terminal.getvalue()
    assert "load ended" in terminal.getvalue()
