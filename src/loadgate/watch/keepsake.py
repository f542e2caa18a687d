"""Keep what was known when an alert made something happen: one JSON file in the run's folder.

It is written before anything is done to the target, since afterwards the target shows something else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from loadgate.errors import LoadgateError
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.watch import AlertChange, WatchReader

LOOK_BACK: Final = 120.0
"""Seconds of windows and readings that are kept."""
_ALERTS_MOST: Final = 100


def evidence_path(run: RunFolder, alert: int | None) -> Path:
    """Name the file of an alert's evidence."""
    return run.path / f"evidence-{alert if alert is not None else 'manual'}.json"


def keep_evidence(
    run: RunFolder, change: AlertChange, now: float, verdict: Mapping[str, Any] | None = None
) -> Path:
    """Write the alert, the last two minutes of windows and readings, and `verdict`, the judgement so far.

    A file that is there stays: what was seen first is the evidence. `now` is run time. A part that cannot be
    read is named in the file instead. OSError when it cannot be written.
    """
    path = evidence_path(run, change.id)
    if path.exists():
        return path
    content: dict[str, Any] = {
        "schema_version": 1,
        "run": run.id,
        "at": now,
        "alert": _plain(change),
        "verdict": dict(verdict) if verdict is not None else None,
    }
    for name, read in (("watch", _watched), ("windows", _windows)):
        try:
            content[name] = read(run, now)
        except LoadgateError as error:
            content[name] = {"error": error.message}
    draft = path.with_name(f"{path.name}.new")
    data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def _watched(run: RunFolder, now: float) -> dict[str, Any]:
    with WatchReader(run.watch_database) as reader:
        readings = [reading._asdict() for reading in reader.readings(start=now - LOOK_BACK)]
        return {"readings": readings, "alerts": [_plain(row) for row in reader.alerts()[-_ALERTS_MOST:]]}


def _windows(run: RunFolder, now: float) -> list[dict[str, Any]]:
    """Return the counts of the last windows; the histograms themselves stay in the run database."""
    if not run.database.exists():
        return []
    with RunReader(run.database) as reader:
        return [
            {
                "second": window.second,
                "span": window.span,
                "endpoint": window.endpoint,
                "phase": window.phase,
                "counts": {str(name): n for name, n in window.counts.items()},
            }
            for window in reader.windows(start=now - LOOK_BACK, series=())
        ]


def _plain(change: AlertChange) -> dict[str, Any]:
    return {**change._asdict(), "detail": dict(change.detail)}
