"""Builders of small deltas, and the run of schema version 1 that is stored beside the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window

DATA = Path(__file__).parent.parent / "data"


def _window(
    second: int,
    values_us: list[int],
    endpoint: str = "emotion",
    phase: str = "steady",
    span: int = 1,
    threshold_us: int = 1_000,
) -> Window:
    """Make a window of requests that were all ok, with the given response times."""
    histogram = Histogram()
    histogram.record_many(values_us)
    over = {f"response.ok>{threshold_us}": sum(value > threshold_us for value in values_us)}
    counts = {"arrivals": len(values_us), "ok": len(values_us)}
    return Window(second, span, endpoint, phase, counts, {"response.ok": histogram}, over)


def _delta(
    sequence: int,
    windows: list[Window] | None = None,
    worker: str = "w1",
    incarnation: int = 1,
    run: str = "r1",
    failures: list[Failure] | None = None,
    fleet: list[FleetRow] | None = None,
) -> Delta:
    return Delta(run, worker, incarnation, sequence, windows or [], failures or [], fleet or [])


def _failure(message: str, count: int = 1, at: float = 1.0, endpoint: str = "emotion") -> Failure:
    return Failure(endpoint, "failed", "status", message, count, at, at, [f"sample of {message}"])


def _fleet(second: int, worker: str = "w1", finished: int = 10) -> FleetRow:
    return FleetRow(second, worker, 12, 11, finished, 1, 5, 0.25, 50_000_000, 120.0, 300.5, 900.0)


def _content(window: Window) -> tuple[object, ...]:
    """Give what two windows must share to be equal, whether zeros are stated or left out."""
    return (
        window.second,
        window.span,
        window.endpoint,
        window.phase,
        {name: n for name, n in window.counts.items() if n},
        {name: histogram for name, histogram in window.histograms.items() if histogram.total},
        window.over,
    )


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Give the builders `window`, `delta`, `failure`, `fleet`, and `content` to compare windows by."""
    return SimpleNamespace(window=_window, delta=_delta, failure=_failure, fleet=_fleet, content=_content)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Give the path of a run database that is not there yet."""
    return tmp_path / "run.db"


@pytest.fixture
def stored_run(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a stored run, so that reading it leaves the original alone, and give the copy's folder."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(DATA / name, tmp_path / name))

    return copy
