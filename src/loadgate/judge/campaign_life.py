"""How a run of a campaign lives: what its run database alone says of where it ran, and whether it goes on.

Verdicts come and go while a run is resumed; whether it ended is known to its database only.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from loadgate.errors import LoadgateError
from loadgate.judge.campaign_facts import RunFacts
from loadgate.store.connection import open_for_reading
from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder, is_being_written
from loadgate.store.schema import run_schema
from loadgate.store.values import read_value

DIED: Final = "died"
"""The end of a run that has none and is not written any more; such a run can be resumed."""

UNREADABLE: Final = (
    LoadgateError,
    AttributeError,
    LookupError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
)
"""Whatever a damaged file can lead to: it is a fault of the evidence, and never one of the command."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a run database says: `began` is None before the load, `ended` while it goes on.

    `length` is the run time of its end, in seconds; None where nobody wrote one down.
    """

    began: datetime | None
    ended: str | None
    length: float | None
    host: str
    is_watch: bool


def life_of(folder: RunFolder, now: datetime) -> Life | None:
    """Read it at a moment; None where there is no run database. StoreError when it cannot be read."""
    if not folder.database.is_file():
        return None
    # Not by a RunReader: what that imports, and migrates, would make every look slower.
    opened = open_for_reading(folder.database, run_schema(), as_it_is=True)
    try:
        with told_as_store_errors("read", folder.database):
            anchor, ended, length, host, mode = (
                read_value(opened.connection, key)
                for key in ("anchor", "ended", "ended_at_run_time", "host", "mode")
            )
    finally:
        opened.close()
    if ended is None and not is_being_written(folder, now.timestamp()):
        ended = DIED
    return Life(
        None if anchor is None else datetime.fromtimestamp(float(anchor["wall"]), UTC),
        ended,
        None if length is None else float(length),
        str(host or ""),
        mode == "watch",
    )


def sketch(folder: RunFolder, now: datetime) -> RunFacts | None:
    """Return what its database says of a run that cannot be read whole; None where that says too little.

    One that died, and has no end on record, is taken to have ended now.
    """
    try:
        life = life_of(folder, now)
    except UNREADABLE:
        return None
    if life is None or life.began is None:
        return None
    ended_at = now
    with suppress(OverflowError, ValueError):
        ended_at = now if life.length is None else life.began + timedelta(seconds=life.length)
    return bare_run(
        folder.id, life.host, life.began, ended_at, life.ended, "watch" if life.is_watch else "load"
    )


def unknown_load(folder: RunFolder, host: str, now: datetime) -> RunFacts | None:
    """Return a run of which nothing is known as a load that goes on, where it may still be written."""
    try:
        going = is_being_written(folder, now.timestamp())
    except UNREADABLE:
        going = True
    return bare_run(folder.id, host, now, now, None, "load") if going else None


def bare_run(
    run: str, host: str, began: datetime, ended_at: datetime, ended: str | None, mode: str
) -> RunFacts:
    """Return a run of which no more than this is known: it shows nothing good."""
    return RunFacts(
        run=run,
        scenario="",
        host=host,
        mode=mode,
        stability=False,
        monitored=False,
        started_at=began,
        ended_at=ended_at,
        ended=ended,
        verdict=None,
    )
