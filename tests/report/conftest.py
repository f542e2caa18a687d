"""Plans, windows and run databases made by hand, for whatever reads a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.database import RunWriter, open_writer
from loadgate.store.folder import RunFolder, create_run

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DATA = Path(__file__).parent.parent / "data" / "report"


class Run:
    """A run that a test writes by hand: its folder, its plan and its writer."""

    def __init__(self, root: Path) -> None:
        self.folder: RunFolder = create_run(root, "hand", NOON)
        self.writer: RunWriter = open_writer(self.folder.database)
        self.sequences: dict[str, int] = {}
        self.writer.commit(
            run_values={"id": self.folder.id, "anchor": {"monotonic": 0.0, "wall": 0.0, "boot_id": ""}}
        )

    def ship(
        self,
        *windows: Window,
        worker: str = "w1",
        fleet: tuple[FleetRow, ...] = (),
        failures: tuple[Failure, ...] = (),
    ) -> None:
        """Commit one delta of a worker."""
        sequence = self.sequences.get(worker, 0)
        self.sequences[worker] = sequence + 1
        delta = Delta(self.folder.id, worker, 1, sequence, list(windows), list(failures), list(fleet))
        self.writer.commit([delta])

    def second(self, second: int, worker: str = "w1", *windows: Window) -> None:
        """Commit the windows of a second with the worker's fleet row, as a worker does each second."""
        self.ship(*windows, worker=worker, fleet=(fleet_row(second, worker),))


def fleet_row(second: int, worker: str = "w1", **changes: Any) -> FleetRow:
    """Return a healthy worker's row."""
    values: dict[str, Any] = {
        "offered": 10,
        "started": 10,
        "finished": 10,
        "in_flight": 2,
        "users": 5,
        "cpu": 0.25,
        "rss": 50_000_000,
        "start_lag_p99_us": 100.0,
        "loop_lag_p99_us": 500.0,
        "loop_lag_max_us": 900.0,
    }
    return FleetRow(second=second, worker=worker, **{**values, **changes})


def window(
    second: int,
    ok_ms: Mapping[int, int],
    endpoint: str = "emotion",
    phase: str = "steady",
    **counts: int,
) -> Window:
    """Return a second with ok answers (latency in ms: how many) and other endings, its books balanced."""
    histogram = Histogram()
    for latency, number in ok_ms.items():
        histogram.record(latency * 1000, number)
    ok = sum(ok_ms.values())
    endings = ("failed", "timeout", "unsent_pool", "unsent_generator", "unfinished", "lost")
    arrivals = ok + sum(counts.get(name, 0) for name in endings)
    histograms = {"response.ok": histogram, "service.ok": histogram.copy()} if ok else {}
    return Window(second, 1, endpoint, phase, {"arrivals": arrivals, "ok": ok, **counts}, histograms)


def objective(metric: str = "response_time", target: str = "< 50ms", **more: Any) -> Objective:
    """Return a row of the table, `every` 10 s unless it says otherwise."""
    return Objective.model_validate({"metric": metric, "target": target, "every": 10.0, **more})


def plan(*objectives: Objective, probes: tuple[Mapping[str, Any], ...] = (), **traffic: Any) -> Plan:
    """Return a plan: 5 s of ramp to 100/s, 200 s steady at 100/s; `traffic` changes that."""
    scenario = {
        "name": "hand",
        "locustfile": "hand.py",
        "host": "http://127.0.0.1:3000",
        "traffic": {"users": 10, "stages": [{"rate": 100.0, "ramp": 5.0, "hold": 200.0}], **traffic},
        "probes": list(probes),
    }
    return Plan(scenario=Scenario.model_validate(scenario), objectives=objectives)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Make an empty run with an anchor."""
    return Run(tmp_path / "results")


@pytest.fixture
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Run]:
    """Make as many empty runs as a test asks for."""
    return lambda: Run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def make_window() -> Callable[..., Window]:
    """Make windows by hand."""
    return window


@pytest.fixture
def make_row() -> Callable[..., FleetRow]:
    """Make fleet rows by hand."""
    return fleet_row


@pytest.fixture
def make_objective() -> Callable[..., Objective]:
    """Make rows of the SLA table by hand."""
    return objective


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """Make plans by hand."""
    return plan


@pytest.fixture
def data() -> Path:
    """Name the folder of the golden files."""
    return DATA


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Be a colour terminal of 80 columns and 24 lines; the test puts it in the place of a stream."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()
