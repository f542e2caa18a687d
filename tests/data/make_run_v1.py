"""Make tests/data/run-v1, a run of schema version 1 of both databases.

Kept to show what the stored run holds. It must not be run again once a version 2 exists: the run would
then be of that version.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window
from loadgate.store.database import Event, open_writer
from loadgate.store.schema import run_schema, watch_schema
from loadgate.store.watch import Reading, WatchWriter

FOLDER = Path(__file__).parent / "run-v1"
RUN = "load-20260105-080000"
VALUES = {
    "id": RUN,
    "scenario": "load",
    "plan": None,
    "anchor": {"monotonic": 1234.5, "wall": 1767600000.0, "boot_id": "0"},
    "started_at": "2026-01-05T08:00:00+00:00",
    "ended": "planned",
    "ended_at_run_time": 2.0,
    "mode": "standalone",
    "model": "open",
    "flushed": True,
    "versions": {"loadgate": "0.1.0"},
    "workers_expected": 1,
}


def main() -> None:
    """Write 10,000 requests of 1 ms, one of 100 s, three failures, two fleet rows and two readings."""
    if (run_schema().version, watch_schema().version) != (1, 1):
        raise SystemExit("the schema has moved on: keep the stored run as it is")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    (FOLDER / "plan.json").write_text(json.dumps(None) + "\n", encoding="utf-8")
    with open_writer(FOLDER / "run.db") as writer:
        writer.commit(events=[Event(0.0, "load_began", {})], run_values=VALUES)
        writer.commit([_delta(1, [1_000] * 10_000)])
        writer.commit(
            [_delta(2, [100_000_000], Failure("emotion", "failed", "status", "503", 3, 1.1, 1.9, ["busy"]))]
        )
    with WatchWriter(FOLDER / "watch.db") as watch:
        watch.readings(
            [
                Reading(0.5, "cache", "hit_rate", 0.875, "", 0.002),
                Reading(5.5, "cache", "hit_rate", None, "timed out", 5.0),
            ]
        )
    for lock in FOLDER.glob("*.lock"):
        lock.unlink()


def _delta(sequence: int, values_us: list[int], *failures: Failure) -> Delta:
    second = sequence - 1
    histogram = Histogram()
    histogram.record_many(values_us)
    ok, failed = len(values_us), sum(failure.count for failure in failures)
    window = Window(
        second,
        1,
        "emotion",
        "steady",
        {"arrivals": ok + failed, "ok": ok, "failed": failed},
        {"response.ok": histogram},
        {"response.ok>1000000": sum(value > 1_000_000 for value in values_us)},
    )
    row = FleetRow(second, "w1", ok, ok, ok, 0, 10, 0.5, 60_000_000, 100.0, 50.0, 400.0)
    return Delta(RUN, "w1", 0, sequence, [window], list(failures), [row])


if __name__ == "__main__":
    main()
