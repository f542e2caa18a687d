"""What the keeper does beside committing: tell a loss, and merge old rows within a budget."""

from __future__ import annotations

from pathlib import Path

from loadgate.measure.delta import Delta
from loadgate.measure.window import Window
from loadgate.store.blocks import AS_PLANNED
from loadgate.store.database import RunReader, open_writer
from loadgate.swarm.keeper import Batch, Tidier, admit_loss, budget_of


def test_a_run_that_lost_a_batch_never_ends_as_planned() -> None:
    """Windows that could not be written are gone, so the end must not call the run complete."""
    batch = Batch(values={"ended": "planned", "flushed": True, "id": "run"})
    admit_loss(batch)
    assert batch.values == {"ended": "died", "flushed": False, "id": "run"}


def test_a_run_that_goes_on_has_no_end_to_mend() -> None:
    """The values of the start, where the end is still open, stay as they are."""
    batch = Batch(values={"ended": None, "flushed": False})
    admit_loss(batch)
    assert batch.values == {"ended": None, "flushed": False}


def run_of(database: Path, seconds: int) -> Delta:
    """Return a delta of one request a second."""
    return Delta("r1", "w1", 1, 1, [Window(at, 1, "a", "steady", {"ok": 1}) for at in range(seconds)])


def test_old_rows_are_merged_earlier_past_the_budget(tmp_path: Path) -> None:
    """With a budget of one byte a run of 10 min keeps a minute of seconds, and an event says so once."""
    database = tmp_path / "run.db"
    with open_writer(database) as writer:
        writer.commit([run_of(database, 600)], run_values={"id": "r1"})
        tidier = Tidier(writer, database, budget=1)
        events = [event for now in range(12) for event in tidier.step(float(now))]
        assert [event.kind for event in events] == ["compaction_level"]
        assert events[0].detail["level"] == tidier.level == 7
        assert events[0].detail["full"] == 60
    with RunReader(database) as reader:
        assert reader.value("compacted")["middle"] == 540
        assert reader.total().count("ok") == 600


def test_a_run_within_its_budget_is_merged_as_planned(tmp_path: Path) -> None:
    """Of 3700 s, one minute is older than an hour."""
    database = tmp_path / "run.db"
    with open_writer(database) as writer:
        writer.commit([run_of(database, 3700)], run_values={"id": "r1"})
        tidier = Tidier(writer, database, budget=10**12)
        # How much is free decides too, which here is only told.
        tidier.step(0.0)
        writer.compact(writer.latest, AS_PLANNED)
    with RunReader(database) as reader:
        assert reader.value("compacted")["middle"] >= 60


def test_the_budget_comes_from_the_environment() -> None:
    """A size with a unit; what cannot be read is no budget, since the run measures already."""
    assert budget_of({"LOADGATE_DISK_BUDGET": "400MB"}) == 400_000_000
    assert budget_of({"LOADGATE_DISK_BUDGET": "much"}) is None
    assert budget_of({}) is None
