"""The disk before a run and while it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.cli.disk_check import DiskWatch, Room, check_disk, look_at
from loadgate.errors import UsageError
from loadgate.plan.disk_budget import estimate_disk
from loadgate.plan.plan import Plan
from loadgate.plan.results import Results
from loadgate.plan.scenario import Probe, Scenario, Stage, Traffic

ROOT = Path("results")


def plan(hold: float = 86_400.0, budget: int | None = None) -> Plan:
    """Return a plan of 100/s at one endpoint."""
    traffic = Traffic(stages=(Stage(rate=100.0, hold=hold),), users=10, mix={"e": 1.0})
    scenario = Scenario(
        name="d",
        locustfile=Path("none.py"),
        host="http://127.0.0.1",
        traffic=traffic,
        results=Results(budget=budget),
    )
    return Plan(scenario=scenario)


def checked(made: Plan, free: int | None) -> list[str]:
    """Check a plan with so much free disk; return what was said."""
    said: list[str] = []
    check_disk(made, ROOT, said.append, free=lambda _: free)
    return said


def test_what_a_long_run_needs_is_said() -> None:
    """With what is free; nothing more where there is plenty."""
    (line,) = checked(plan(), 10**12)
    assert line.startswith("disk: needs about ")
    assert line.endswith(" for 1d30s; 1TB free at results")


def test_a_short_run_says_nothing() -> None:
    """A gate of a minute has nothing to declare."""
    assert checked(plan(60.0), 10**12) == []


def test_too_little_room_is_refused() -> None:
    """Less than the estimate: the run could not be kept."""
    needed = estimate_disk(plan()).total
    with pytest.raises(UsageError, match="the run needs about") as caught:
        checked(plan(), int(needed) - 1_000)
    assert "--results" in caught.value.hint
    assert len(checked(plan(), int(needed) + 1_000)) == 2
    assert len(checked(plan(), int(2 * needed) + 1_000)) == 1


def test_a_run_that_is_gone_on_with_needs_what_it_does_not_take_yet() -> None:
    """Of its estimate what is stored already is there."""
    needed = int(estimate_disk(plan()).total)
    said: list[str] = []
    check_disk(plan(), ROOT, said.append, stored=needed // 2, free=lambda _: needed)
    assert "by now; " in said[0]
    with pytest.raises(UsageError, match="more of disk"):
        check_disk(plan(), ROOT, said.append, stored=needed // 2, free=lambda _: needed // 2 - 1_000)


def test_a_budget_is_what_has_to_be_free() -> None:
    """Also where the estimate is more: older seconds are merged sooner then."""
    found = estimate_disk(plan())
    budget = int((found.least + found.total) / 2)
    said = checked(plan(budget=budget), 3 * budget)
    assert "kept within its budget of" in said[0]
    with pytest.raises(UsageError, match="the run needs"):
        checked(plan(budget=budget), budget - 1)


def test_a_budget_that_cannot_be_kept_is_refused() -> None:
    """Merging to minutes is as far as it goes."""
    with pytest.raises(UsageError, match="does not hold 7d30s of this plan"):
        checked(plan(7 * 86_400.0, budget=20_000_000), 10**12)


def test_a_probe_that_reads_too_often_for_so_long_is_refused() -> None:
    """30 days of 3 readings a second are 7.8 million; every 8 s they are under a million."""
    probes = (Probe(name="health", http="/health", every=1.0),)
    made = plan(30 * 86_400.0)
    made = made.model_copy(update={"scenario": made.scenario.model_copy(update={"probes": probes})})
    with pytest.raises(UsageError, match="probe health takes 7776090 readings in 30d30s") as caught:
        checked(made, 10**15)
    assert "every 8s" in caught.value.hint


def test_what_many_readings_take_is_said() -> None:
    """Ten probes of three readings every 5 s are 3.6 million in a week: 760 MB at 210 bytes each."""
    probes = tuple(Probe(name=f"p{n}", kind="health", http="/health", every=5.0) for n in range(10))
    made = plan(7 * 86_400.0)
    made = made.model_copy(update={"scenario": made.scenario.model_copy(update={"probes": probes})})
    line = checked(made, 10**12)[0]
    assert "about 3600000 readings in all" in line
    assert "about 760MB of memory" in line


def test_a_disk_that_does_not_tell_stops_nothing() -> None:
    """It is said."""
    assert "not known" in checked(plan(), None)[0]


def test_a_run_over_its_budget_is_told_once() -> None:
    """And again only after it had been a tenth under it."""
    watch = DiskWatch(1_000, low=100)
    assert watch.look(Room(1_000, 500)) == []
    (over,) = watch.look(Room(1_001, 500))
    assert "over its budget" in over
    assert watch.look(Room(950, 500)) == []
    assert watch.look(Room(1_001, 500)) == []
    assert watch.look(Room(899, 500)) == []
    assert len(watch.look(Room(1_001, 500))) == 1


def test_a_disk_that_runs_full_is_told_once() -> None:
    """Whatever the run itself takes; a disk that does not tell says nothing."""
    watch = DiskWatch(1_000, low=100)
    (short,) = watch.look(Room(10, 99))
    assert "only 99B free" in short
    assert watch.look(Room(10, 105)) == []
    assert watch.look(Room(10, None)) == []
    assert watch.look(Room(10, 99)) == []
    assert watch.look(Room(10, 111)) == []
    assert len(watch.look(Room(10, 99))) == 1


def test_a_folder_is_looked_at(tmp_path: Path) -> None:
    """What its files take on the disk, and what is free there; one that is gone takes nothing."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.log").write_bytes(b"x" * 10_000)
    found = look_at(tmp_path)
    assert 10_000 <= found.used < 100_000
    assert found.free is not None
    assert look_at(tmp_path / "none").used == 0
