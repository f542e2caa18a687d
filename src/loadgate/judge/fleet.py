"""What became of the workers: who was lost or came later, and what is missing because of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from loadgate.judge.evidence import Evidence
from loadgate.judge.generator import rows_by_worker
from loadgate.judge.results import ObjectiveResult
from loadgate.measure.window import Count
from loadgate.plan.units import format_duration

_TOLD = 5
"""Stretches that a sentence names, the last ones."""
_JOINS_WITHIN = 2.0
"""Seconds by which a new worker's first second may lie before the moment at which it joined."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker that was lost at a run time, and came back at another (None: it did not).

    `left` says that it ended by itself as it should, only too early. `lost` arrivals may have reached the
    target, and their ends are not known; `unoffered` ones were never started.
    """

    worker: str
    at: float
    returned: float | None = None
    left: bool = False
    lost: int = 0
    unoffered: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; times are run time in seconds."""
        return {
            "worker": self.worker,
            "at": self.at,
            "returned": self.returned,
            "left": self.left,
            "lost": self.lost,
            "unoffered": self.unoffered,
        }


def losses(evidence: Evidence) -> tuple[Loss, ...]:
    """Return each time that a worker was lost, in the order in which the master noticed."""
    found: list[Loss] = []
    for event in evidence.events:
        worker = str(event.detail.get("worker", "?"))
        if event.kind == "worker_lost":
            found.append(Loss(worker, event.at, left=bool(event.detail.get("left"))))
        elif event.kind in ("worker_returned", "worker_joined"):
            found = [
                replace(one, returned=event.at) if one.worker == worker and one.returned is None else one
                for one in found
            ]
        elif event.kind == "worker_written_off":
            open_ = [one for one in found if one.worker == worker and one.returned is None]
            if not open_:
                open_ = [Loss(worker, event.at)]
                found += open_
            lost, unoffered = int(event.detail["lost"]), int(event.detail["unoffered"])
            found[found.index(open_[-1])] = replace(open_[-1], lost=lost, unoffered=unoffered)
    return tuple(found)


def lost_workers(evidence: Evidence) -> tuple[str, ...]:
    """Name the workers that were lost and did not come back.

    The master saw them go, or never got their last report (what was in flight then is not known), or they
    were silent before the steady phase ended.
    """
    by_event = {one.worker for one in losses(evidence) if one.returned is None}
    if not evidence.cut_short:
        # A run that was cut short cannot pass anyway, and what it shows of failures still counts.
        missing = (event for event in evidence.events if event.kind == "last_delta_missing")
        by_event |= {str(event.detail.get("worker", "?")) for event in missing}
    last: dict[str, int] = {}
    for row in evidence.fleet:
        last[row.worker] = max(last.get(row.worker, row.second), row.end - 1)
    end = evidence.steady[-1].end if evidence.steady else 0.0
    # Two seconds of grace, as for coverage: the last row of a phase may be skipped.
    silent = {worker for worker, second in last.items() if second + 1 < end - 2}
    return tuple(sorted(by_event | silent))


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A stretch of run time in which nobody made the load, or nobody watched the target, and why."""

    start: float
    end: float
    cause: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; times are run time in seconds."""
        return {"from": self.start, "to": self.end, "cause": self.cause}


def not_measured(evidence: Evidence) -> tuple[NotMeasured, ...]:
    """Return the stretches in which nobody made the load, as the masters noted them."""
    return tuple(
        NotMeasured(float(event.detail["from"]), float(event.detail["to"]), str(event.detail["cause"]))
        for event in evidence.events
        if event.kind == "not_measured"
    )


def replaced_workers(evidence: Evidence) -> int:
    """Count the workers that whoever supervised the run started in place of others, which stayed lost.

    It takes a new name, that joined when the other was lost already; each loss is made up for once.
    """
    lost = sorted({one.worker: one.at for one in losses(evidence) if one.returned is None}.values())
    began = _first_seconds(evidence)
    seen: set[str] = set()
    replaced = 0
    for event in evidence.events:
        worker = str(event.detail.get("worker", "?"))
        # One that reported before it joined is an old one, that met another master.
        new = worker not in seen and began.get(worker, math.inf) >= event.at - _JOINS_WITHIN
        if event.kind == "worker_joined" and event.detail.get("restarted") and new:
            replaced += bisect_right(lost, event.at) > replaced
        seen.add(worker)
    return replaced


def _first_seconds(evidence: Evidence) -> dict[str, int]:
    """Return the first second that each worker told of."""
    found: dict[str, int] = {}
    for row in evidence.fleet:
        if row.told:
            first = row.second + (row.told & -row.told).bit_length() - 1
            found[row.worker] = min(found.get(row.worker, first), first)
    return found


def seconds_under_loss(evidence: Evidence) -> frozenset[int]:
    """Return the run seconds in which a worker was lost, or arrivals went to nobody."""
    return frozenset(
        second for row in evidence.ledger if row.loss for second in range(row.second, row.second + row.span)
    )


def offered_by_nobody(evidence: Evidence, *, steady: bool = False) -> int:
    """Count the arrivals of the schedule that no worker offered, over the run or in its steady phase.

    A second belongs to the steady phase where it begins in it.
    """
    return sum(
        row.unoffered
        for row in evidence.ledger
        if not steady or any(float(row.second) in part for part in evidence.steady)
    )


def tagged(evidence: Evidence, rows: Iterable[ObjectiveResult]) -> tuple[ObjectiveResult, ...]:
    """Mark the worst window of each row that lies, in part, under a loss."""
    under = seconds_under_loss(evidence)
    if not under:
        return tuple(rows)
    return tuple(
        replace(row, worst_window=replace(row.worst_window, under_loss=True))
        if row.worst_window is not None
        and any(row.worst_window.start < second + 1 and second < row.worst_window.end for second in under)
        else row
        for row in rows
    )


def stories(evidence: Evidence) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Tell what happened to the fleet: kind, sentence and numbers of each finding."""
    yield from _lost(evidence)
    for event in evidence.events:
        at = format_duration(round(max(event.at, 0.0), 1))
        if event.kind == "resumed":
            until = float(event.detail.get("measured_until", 0))
            cause = str(event.detail.get("cause", "its master died"))
            text = (
                f"the run was resumed at {at} by another master, after one that had measured until "
                f"{format_duration(until)} died ({cause})"
            )
            yield "resumed", text, {"at": event.at, "measured_until": until, "cause": cause}
        elif event.kind == "open_seconds_closed":
            lost, never = int(event.detail["lost"]), int(event.detail["unoffered"])
            text = (
                f"around masters and workers that died, {lost} requests are lost (they may have reached the "
                f"target, and nobody knows how they ended) and {never} were never made"
            )
            yield "open_seconds", text, {"lost": lost, "unoffered": never}
        elif event.kind == "worker_joined" and event.at > 0:
            worker = str(event.detail.get("worker", "?"))
            yield "worker_joined", f"{worker} joined at {at}", {"worker": worker, "at": event.at}
        elif event.kind == "worker_refused":
            host, reason = str(event.detail.get("host", "?")), str(event.detail.get("reason", ""))
            text = f"a worker on {host} was refused at {at}: {reason}"
            yield "worker_refused", text, {"host": host, "at": event.at}
    yield from _not_measured(evidence)
    if (number := offered_by_nobody(evidence)) > 0:
        seconds = sum(row.span for row in evidence.ledger if row.unoffered > 0)
        text = (
            f"{number} planned arrivals were offered by nobody, in {seconds} s in which their share of the "
            "schedule was between two workers, or the run had no master"
        )
        yield "unoffered", text, {"arrivals": number, "seconds": seconds}


def _not_measured(evidence: Evidence) -> Iterator[tuple[str, str, dict[str, Any]]]:
    found = not_measured(evidence)
    if found:
        said = "; ".join(
            f"{format_duration(one.start)} to {format_duration(one.end)} ({one.cause})"
            for one in found[-_TOLD:]
        )
        more = f"{len(found) - _TOLD} stretches before, and " if len(found) > _TOLD else ""
        text = f"not measured, since nobody made the load: {more}{said}"
        yield "not_measured", text, {"stretches": [one.to_dict() for one in found]}
    if evidence.control_gaps:
        said = "; ".join(
            f"{format_duration(round(start, 1))} to {format_duration(round(end, 1))}"
            for start, end in evidence.control_gaps[-_TOLD:]
        )
        text = (
            f"not watched, since the run had no control room: {said}; what was not read then is not counted "
            "as bad"
        )
        yield "not_watched", text, {"stretches": [list(gap) for gap in evidence.control_gaps]}


def _lost(evidence: Evidence) -> Iterator[tuple[str, str, dict[str, Any]]]:
    found = losses(evidence)
    names = lost_workers(evidence)
    silent = [name for name in names if name not in {one.worker for one in found}]
    if not found and not silent:
        return
    said = [_told(one) for one in found] + [f"{name} fell silent" for name in silent]
    replaced = replaced_workers(evidence)
    of = f"{len(names)} workers" if replaced else f"{len(names)} of {evidence.workers_expected} workers"
    head = f"{of} were lost" if names else "no worker stayed lost"
    if names and replaced:
        head += f", {replaced} started in their place"
    detail = {"workers": list(names), "losses": [one.to_dict() for one in found]}
    yield "workers_lost", f"{head}: {'; '.join(said)}", detail


def _told(one: Loss) -> str:
    at = format_duration(round(max(one.at, 0.0), 1))
    if one.returned is not None:
        after = format_duration(round(one.returned - one.at, 1))
        return f"{one.worker} was lost at {at} and came back after {after}"
    how = "left" if one.left else "was lost"
    parts = [f"{one.worker} {how} at {at}"]
    if one.lost:
        parts.append(f"{one.lost} requests are lost with it")
    if one.unoffered:
        parts.append(f"{one.unoffered} it was to make were never made")
    return ", ".join(parts)


def fleet(evidence: Evidence) -> dict[str, Any]:
    """Return the fleet's story in numbers, for verdict.json."""
    return {
        "losses": [one.to_dict() for one in losses(evidence)],
        "lost_requests": int(evidence.counts(None, None).count(Count.LOST).sum()),
        "unoffered": offered_by_nobody(evidence),
        "seconds_under_loss": len(seconds_under_loss(evidence)),
        "seconds_late": sum(row.span for row in evidence.ledger if row.late > 0),
        "p99_spread": _spread(evidence),
        "clock_offset_max_ms": _greatest(abs(row.clock_offset_us) for row in evidence.fleet),
        "clock_error_max_ms": _greatest(row.clock_error_us for row in evidence.fleet),
    }


def _greatest(micros: Iterable[float]) -> float:
    return max(micros, default=0.0) / 1000


def _spread(evidence: Evidence) -> dict[str, Any] | None:
    """Return the workers whose p99 is lowest and highest: the median of their steady seconds' p99."""
    medians = {
        worker: median(row.p99_us for row in rows if row.p99_us > 0) / 1000
        for worker, rows in rows_by_worker(evidence).items()
        if any(row.p99_us > 0 for row in rows)
    }
    if len(medians) < 2:
        return None
    low, high = min(medians, key=lambda w: medians[w]), max(medians, key=lambda w: medians[w])
    ratio = medians[high] / medians[low] if medians[low] > 0 else math.inf
    return {
        "lowest": {"worker": low, "p99_ms": medians[low]},
        "highest": {"worker": high, "p99_ms": medians[high]},
        "ratio": ratio,
    }
