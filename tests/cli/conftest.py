"""What the tests of the commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loadgate_command import Done, Loadgate

from loadgate.cli.main import run_cli
from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.staging.server import StagingService
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run


@pytest.fixture
def loadgate(tmp_path: Path) -> Iterator[Loadgate]:
    """Commands in the test's own folder; whatever they started ends with the test."""
    with Loadgate(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loadgate]:
    """A folder that the tests of one file share."""
    with Loadgate(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture(scope="module")
def service() -> Iterator[StagingService]:
    """A service that the tests of one file share, and leave whole."""
    with StagingService() as running:
        yield running


@pytest.fixture
def fresh_service() -> Iterator[StagingService]:
    """A service that a test may break."""
    with StagingService() as running:
        yield running


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run a command that starts no load in this process, which saves the start of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOADGATE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("LOADGATE_SCENARIO", raising=False)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        words = tuple(map(str, arguments))
        code = run_cli(list(words))
        sys.stdout.flush()
        said = capfd.readouterr()
        return Done(words, int(code), said.out, said.err)

    return run


def _second(second: int) -> tuple[Window, FleetRow]:
    """Return one second of 100 emotion requests, each answered well after 1 ms."""
    took, lag = Histogram(), Histogram()
    took.record(1_000, 100)
    lag.record(100, 100)
    series = {"response.ok": took, "service.ok": took.copy(), "start_lag": lag}
    window = Window(second, 1, "emotion", "steady", {"arrivals": 100, "ok": 100}, series, {})
    return window, FleetRow(second, "local", 100, 100, 100, 0, 10, 0.1, 60_000_000, 100.0, 100.0, 500.0)


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., RunFolder]:
    """Store a run of ten seconds without a plan: 1000 emotion requests of 1 ms, all of them good."""

    def make(minute: int = 0, ended: str | None = "planned") -> RunFolder:
        moment = datetime(2026, 1, 5, 8, minute, tzinfo=UTC)
        run = create_run(tmp_path / "results", "load", moment)
        rows = [_second(second) for second in range(10)]
        values = {
            "id": run.id,
            "scenario": "load",
            "plan": None,
            "host": "http://127.0.0.1:3000",
            "anchor": {"monotonic": 100.0, "wall": moment.timestamp(), "boot_id": "0"},
            "started_at": moment.isoformat(),
            "ended": ended,
            "ended_at_run_time": 10.0,
            "mode": "standalone",
            "model": "closed",
            "flushed": True,
            "versions": {},
            "workers_expected": 1,
        }
        delta = Delta(run.id, "local", 0, 1, [row[0] for row in rows], [], [row[1] for row in rows])
        with open_writer(run.database) as writer:
            writer.commit([delta], run_values=values)
        return run

    return make
