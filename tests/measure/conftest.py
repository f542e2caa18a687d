"""Shared by the tests of the measure room: a stretch of recorded requests and a recorder to feed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from loadgate.measure.recorder import Recorder

ANCHOR = 5000.0
PHASES = ("warmup", "ramp", "steady", "drain")
WARMUP_END, STEADY_END = 2.0, 6.0


def phases_of(times: np.ndarray) -> np.ndarray:
    """Say warmup until 2 s, steady until 6 s, then drain."""
    return np.where(times < WARMUP_END, 0, np.where(times < STEADY_END, 2, 3)).astype(np.int8)


@pytest.fixture(scope="session")
def make_recorder() -> Callable[..., Recorder]:
    """Return a function that makes a started recorder whose clock stands at run time 3 s."""

    def make(thresholds: dict[str | None, list[int]] | None = None, **options: int) -> Recorder:
        recorder = Recorder(clock=lambda: ANCHOR + 3.0, **options)
        recorder.start(ANCHOR, phases_of, PHASES, thresholds or {})
        return recorder

    return make
