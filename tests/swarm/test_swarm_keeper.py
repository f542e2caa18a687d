from __future__ import annotations

from loadgate.swarm.keeper import Batch, admit_loss


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
