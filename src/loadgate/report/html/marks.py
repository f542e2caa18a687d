"""What is marked in every chart over time (phases, alerts, gaps, annotations), and the list of it all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from loadgate.plan.units import format_duration
from loadgate.report.alerts import summary_lines
from loadgate.report.html.collect import RunData
from loadgate.report.text import clean, counted

MOST_MARKS: Final = 400
_WEIGHTS: Final = ("phase", "alert", "gap", "note")
"""The kinds of marks, those first that stay the longest where there are too many."""
MOST_LISTED: Final = 200
LONGEST_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Mark:
    """Something over a stretch of run time; a moment where `end` is None."""

    kind: str
    """ "phase", "alert", "gap" or "note"."""
    start: float
    end: float | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for the page."""
        return {"kind": self.kind, "start": self.start, "end": self.end, "text": self.text}


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of the list: run time in seconds (None before the run began), kind, and what it was."""

    at: float | None
    kind: str
    text: str


def marks_of(data: RunData) -> list[Mark]:
    """Return the marks of a run in order of time, at most `MOST_MARKS` of them.

    Where there are more, annotations are left out first and phases last; of one kind the earliest stay.
    """
    return sorted(_by_weight(data)[:MOST_MARKS], key=lambda mark: (mark.start, mark.kind))


def marks_left_out(data: RunData) -> str:
    """Say how many marks are not drawn, by kind: "30 notes"; "" where all are."""
    found = Counter(mark.kind for mark in _by_weight(data)[MOST_MARKS:])
    named = ", ".join(counted(found[kind], kind) for kind in _WEIGHTS if found[kind])
    return f"not drawn in the charts: {named}" if named else ""


def _by_weight(data: RunData) -> list[Mark]:
    found = [*_phases(data), *_alerts(data), *_gaps(data), *_notes(data)]
    return sorted(found, key=lambda mark: (_WEIGHTS.index(mark.kind), mark.start))


def happenings(data: RunData) -> list[Happening]:
    """Return everything that happened to a run, in order of time."""
    found = [Happening(mark.start, mark.kind, mark.text) for mark in (*_alerts(data), *_gaps(data))]
    found += [Happening(note.at, note.kind, clean(note.text)) for note in data.annotations]
    found += [Happening(event.at, "event", _event(event.kind, event.detail)) for event in data.events]
    return sorted(found, key=_moment)


def listed(data: RunData) -> tuple[list[Happening], int]:
    """Return what is listed of them, in order of time, and how many are left out.

    Where there are more than `MOST_LISTED`, alerts and gaps stay before all else.
    """
    found = happenings(data)
    kept = sorted(found, key=lambda one: one.kind not in ("alert", "gap"))[:MOST_LISTED]
    return sorted(kept, key=_moment), len(found) - len(kept)


def _moment(one: Happening) -> float:
    return -math.inf if one.at is None else one.at


def _phases(data: RunData) -> Iterator[Mark]:
    """Give the planned phases as far as the run came, else those that were recorded."""
    planned = data.verdict["phases"] if data.verdict is not None else []
    over = _end_of(data)
    if planned:
        for one in planned:
            if one["start"] < over:
                yield Mark("phase", one["start"], min(over, one["end"] or math.inf), one["phase"])
        last = planned[-1]["end"]
        if last is not None and last < over:
            yield Mark("phase", last, over, "drain")
    elif data.timeline is not None:
        for name, span in data.timeline.phases.items():
            yield Mark("phase", span.start, span.end, clean(name))


def _end_of(data: RunData) -> float:
    return float(data.timeline.frame.end) if data.timeline is not None else 0.0


def _alerts(data: RunData) -> Iterator[Mark]:
    lines = summary_lines(data.alerts)
    for alert, text in zip(data.alerts, lines, strict=True):
        over = alert.get("resolved_at")
        yield Mark("alert", alert["fired_at"], _end_of(data) if over is None else over, _short(text))


def _gaps(data: RunData) -> Iterator[Mark]:
    for span in data.timeline.losses if data.timeline is not None else ():
        length = format_duration(float(span.end - span.start))
        yield Mark(
            "gap", span.start, span.end, f"load lost for {length}: a worker was lost, or nobody offered it"
        )
    for span in data.timeline.unreadable if data.timeline is not None else ():
        yield Mark("gap", span.start, span.end, "what was measured here cannot be read")
    for span in data.fleet.silent if data.fleet is not None else ():
        length = format_duration(float(span.end - span.start))
        yield Mark("gap", span.start, span.end, f"no worker reported for {length}")


def _notes(data: RunData) -> Iterator[Mark]:
    for note in data.annotations:
        if note.at is not None:
            yield Mark("note", note.at, None, _short(f"{note.kind}: {note.text}"))


def _event(kind: str, detail: Mapping[str, Any]) -> str:
    told = orjson.dumps(detail, default=str).decode() if detail else ""
    return _short(f"{kind} {told}")


def _short(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= LONGEST_TEXT else shown[: LONGEST_TEXT - 1] + "…"
