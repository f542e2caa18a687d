"""A writer that is killed loses nothing that it acknowledged, and leaves a database that reads."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadgate.store.database import RunReader

# Commits deltas of two windows for ever, from the sequence number given on, each acknowledged on
# standard output once its commit has returned.
WRITER = """
import sys
from pathlib import Path
from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.store.database import open_writer

def window(second, endpoint):
    histogram = Histogram()
    histogram.record_many([1_000, 2_000])
    return Window(second, 1, endpoint, "steady", {"arrivals": 2, "ok": 2}, {"response.ok": histogram})

with open_writer(Path(sys.argv[1])) as writer:
    sequence = int(sys.argv[2])
    while True:
        second = sequence // 3
        failure = Failure("a", "failed", "status", "500", 1, 0.0, 1.0, [])
        windows = [window(second, "a"), window(second, "b")]
        writer.commit([Delta("r1", "w1", 0, sequence, windows, [failure], [])])
        print(sequence, flush=True)
        sequence += 1
"""


def _write_until_killed(database: Path, first: int, acknowledgements: int) -> list[int]:
    """Run a writer, kill it after some acknowledgements, and return all that it gave."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(database), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(acknowledgements)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    # A line that the kill cut short acknowledges nothing.
    return [int(line) for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")]


@pytest.mark.system
def test_what_was_acknowledged_outlives_kill_9(database: Path) -> None:
    """Over four kills at random points, with the last delta sent again, each counts exactly once."""
    chance = random.Random(20)
    first = 1
    for _ in range(4):
        acknowledged = _write_until_killed(database, first, chance.randint(1, 60))
        with RunReader(database) as reader:
            (source,) = reader.sources()
            total = reader.total()
            (failure,) = reader.failures()
        # The commit that the kill met is there whole or not at all.
        assert source.committed in (acknowledged[-1], acknowledged[-1] + 1)
        assert (source.last_sequence, source.gaps) == (source.committed, ())
        assert total.count("ok") == 4 * source.committed
        assert total.histogram("response.ok").sum == 6_000 * source.committed
        assert failure.count == source.committed
        # A worker sends again what it saw no acknowledgement of, and here one more.
        first = acknowledged[-1]
