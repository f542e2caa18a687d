"""Move the planned end of a run that is taken up, where its plan says so and nothing of it lives.

The plan is stored twice: in run.db, which the verdict reads and which decides, and in plan.json for the
processes. run.db is written first, so a crash in between is mended by the next who takes the run up.
"""

from __future__ import annotations

import math
import os
from typing import Final

import orjson

from loadgate.plan.moved_end import moved
from loadgate.plan.plan import Plan
from loadgate.plan.units import format_duration
from loadgate.store.database import Event, RunReader, open_writer
from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder
from loadgate.store.last_look import last_look
from loadgate.store.run_clock import Anchor, Now
from loadgate.swarm.doubts import leased_until

STARTS_WITHIN: Final = 10
"""Seconds that a generator may take to start: the load that was planned for them comes after them."""


def move_end(folder: RunFolder, plan: Plan, now: Now) -> tuple[Plan, str]:
    """Return the plan by which a run goes on, and what there is to say of its end.

    Everything that was, or may have been, offered comes before the stretch that is left out. StoreError when
    the new plan cannot be written; then nothing has changed.
    """
    with RunReader(folder.database) as reader, reader.snapshot():
        stored, anchor = reader.value("plan", None), Anchor.of(reader.value("anchor", None))
        look = last_look(folder, anchor.wall) if anchor is not None else -math.inf
        start = _may_be_offered_until(reader, look)
    if stored is None or anchor is None:
        return plan, ""
    known = Plan.from_json(orjson.dumps(stored))
    run_time = anchor.run_time(now)
    end = math.ceil(run_time) + STARTS_WITHIN
    new = moved(known, float(start), float(end)) if end > start else None
    if new is None:
        _write_plan(folder, known)
        return known, "the planned end stays: the time without load does not begin in a steady hold"
    detail = {"from": known.timeline.end, "to": new.timeline.end, "pause": [start, end]}
    with open_writer(folder.database) as writer:
        value = orjson.loads(new.to_json())
        writer.commit([], events=[Event(run_time, "end_moved", detail)], run_values={"plan": value})
    _write_plan(folder, new)
    by = format_duration(round(new.timeline.end - known.timeline.end, 3))
    return new, f"the planned end moves by {by}, to {format_duration(round(new.timeline.end, 3))} of run time"


def _may_be_offered_until(reader: RunReader, look: float) -> int:
    """Return the run second from which on nothing was offered, or counted as offered by nobody.

    `look` is the last run time at which a master is known to have gone on while nothing could be written.
    """
    reported = max((math.ceil(row.end) for row in reader.fleet()), default=0)
    counted = max((row.second + 1 for row in reader.ledger()), default=0)
    paused = reader.value("paused_at", None)
    if paused is not None:
        # It was left in good order: all that was offered is on record.
        return max(reported, counted, math.floor(float(paused)) + 1)
    return max(leased_until(reported - 1, look), counted)


def _write_plan(folder: RunFolder, plan: Plan) -> None:
    content = plan.to_json()
    with told_as_store_errors("write", folder.plan):
        if folder.plan.read_bytes() == content:
            return
        draft = folder.path / ".plan.new"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder.plan)
