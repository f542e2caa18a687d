"""Where the planned end of a run that is taken up moves to, from what is on record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadgate.cli.moved_end import move_end
from loadgate.measure.delta import Delta, FleetRow
from loadgate.plan.plan import Plan, load_plan
from loadgate.store.database import LedgerRow, RunReader, open_writer
from loadgate.store.folder import RunFolder
from loadgate.store.last_look import note_look, prepare_looks
from loadgate.store.run_clock import Now

BOOT = "one start of the machine"


@pytest.fixture
def cut_off(loadgate: Any, tmp_path: Path) -> Callable[..., tuple[RunFolder, Plan]]:
    """Make a run of 60 s steady that was cut off after second 20 of it."""

    def make(**values: Any) -> tuple[RunFolder, Plan]:
        plan = load_plan(loadgate.scenario("http://127.0.0.1:9", hold="60s"))
        folder = RunFolder(tmp_path / "results" / "short-20261124-120000")
        folder.path.mkdir(parents=True)
        folder.plan.write_bytes(plan.to_json())
        anchor = {"monotonic": 1000.0, "wall": 5000.0, "boot_id": BOOT}
        stored = {"id": folder.id, "plan": orjson.loads(plan.to_json()), "anchor": anchor, "ended": None}
        row = FleetRow(20, "worker-1", 1, 1, 1, 0, 1, 0.1, 1, 0.0, 0.0, 0.0)
        delta = Delta(folder.id, "worker-1", 1, 1, [], [], [row])
        with open_writer(folder.database) as writer:
            writer.commit([delta], run_values=stored | values, ledger=[LedgerRow(22, 1, 1, 0, 0, 0)])
        return folder, plan

    return make


def steady_after(folder: RunFolder, plan: Plan, run_time: float) -> tuple[tuple[float, float], ...]:
    """Take the run up at a run time; return what is steady then, by both copies of the plan."""
    new, _ = move_end(folder, plan, Now(1000.0 + run_time, 5000.0 + run_time, BOOT))
    assert Plan.from_json(folder.plan.read_bytes()) == new
    with RunReader(folder.database) as reader:
        assert Plan.from_json(orjson.dumps(reader.value("plan", None))) == new
    return new.timeline.steady


def test_what_may_have_been_offered_before_a_crash_comes_before_the_pause(cut_off) -> None:
    """Reported up to 21, leases 5 s on: 26. It is 100 and the start takes up to 10 s: on from 110."""
    folder, plan = cut_off()
    assert steady_after(folder, plan, 100.0) == ((0.0, 26.0), (110.0, 144.0))
    with RunReader(folder.database) as reader:
        (event,) = [one for one in reader.events() if one.kind == "end_moved"]
    assert event.detail == {"from": 60.0, "to": 144.0, "pause": [26, 110]}


def test_what_may_have_been_offered_while_the_disk_was_full_comes_before_the_pause(cut_off) -> None:
    """Reported up to 21, and looked after at 37.4 while nothing could be written: leases went to 41."""
    folder, plan = cut_off()
    prepare_looks(folder)
    note_look(folder, 5000.0 + 37.4)
    assert steady_after(folder, plan, 100.0) == ((0.0, 41.0), (110.0, 129.0))


def test_a_run_that_was_paused_goes_on_where_it_was(cut_off) -> None:
    """All up to 22.4 is on record, and second 22 counted: on from second 23 of the plan."""
    folder, plan = cut_off(paused_at=22.4)
    assert steady_after(folder, plan, 100.0) == ((0.0, 23.0), (110.0, 147.0))


def test_who_tries_again_finds_what_the_one_before_planned(cut_off) -> None:
    """Its pause to 110 becomes one to 210; a plan.json that it had no time to write is mended."""
    folder, plan = cut_off()
    steady_after(folder, plan, 100.0)
    folder.plan.write_bytes(plan.to_json())
    assert steady_after(folder, plan, 200.0) == ((0.0, 26.0), (210.0, 244.0))


def test_a_run_that_missed_nothing_steady_keeps_its_end(cut_off) -> None:
    """It is said; both copies stay as they were."""
    folder, plan = cut_off(paused_at=70.0)
    assert steady_after(folder, plan, 100.0) == ((0.0, 60.0),)
