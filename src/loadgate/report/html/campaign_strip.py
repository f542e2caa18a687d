"""The calendar of a campaign as a strip: phases, the stability clock, runs, and what stopped or restarted it.

A pure function of the campaign's overview. Places are hundredths of the strip's width, from the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

MOST_LABELS: Final = 14
"""Days that have their number below the strip."""
SMALLEST: Final = 0.5
"""Width that a run has at least, so that it is seen."""
MOST_RUNS: Final = 500
"""Runs that are drawn, the newest; the table below has all."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Something on the strip: where, its look, and what it is in words."""

    left: float
    width: float
    look: str
    text: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The whole strip; `counting` are the runs that count for stability."""

    days: tuple[Piece, ...]
    phases: tuple[Piece, ...]
    clock: tuple[Piece, ...]
    counting: tuple[Piece, ...]
    others: tuple[Piece, ...]
    marks: tuple[Piece, ...]
    now: float


def strip_of(content: Mapping[str, Any]) -> Strip:
    """Return the strip of a campaign's overview: it reaches from its start to its end, or to now."""
    scale = _scale(content)
    runs = content["runs"][-MOST_RUNS:]
    return Strip(
        tuple(_days(scale)),
        tuple(
            scale.piece(one["starts_at"], one["ends_at"], one["state"].replace(" ", "-"), one["title"])
            for one in content["phases"]
        ),
        tuple(_clock(content["clock"], content["at"], scale)),
        tuple(_run(one, scale) for one in runs if one["counts"]),
        tuple(_run(one, scale) for one in runs if not one["counts"]),
        tuple(_marks(content, scale)),
        scale.at(content["at"]),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    begin: datetime
    end: datetime

    def at(self, moment: str) -> float:
        share = (datetime.fromisoformat(moment) - self.begin) / (self.end - self.begin)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def piece(self, begin: str, end: str, look: str, text: str, smallest: float = 0.0) -> Piece:
        left, right = self.at(begin), self.at(end)
        width = max(right - left, smallest)
        return Piece(round(min(left, 100 - width), 2), round(width, 2), look, text)


def _scale(content: Mapping[str, Any]) -> _Scale:
    begin = datetime.fromisoformat(content["started_at"])
    ends = [content["at"], *(phase["ends_at"] for phase in content["phases"])]
    end = max(datetime.fromisoformat(one) for one in ends)
    return _Scale(begin, max(end, begin + timedelta(seconds=1)))


def _days(scale: _Scale) -> Iterator[Piece]:
    """Give the days that are labelled; those between are left out where there are many."""
    days = max(1, -(-(scale.end - scale.begin) // timedelta(days=1)))
    step = -(-days // MOST_LABELS)
    for day in range(0, days, step):
        begin = scale.begin + timedelta(days=day)
        end = min(scale.end, begin + timedelta(days=1))
        yield scale.piece(begin.isoformat(), end.isoformat(), "", str(day + 1))


def _clock(clock: Mapping[str, Any], now: str, scale: _Scale) -> Iterator[Piece]:
    """Give the running cycle: what it has behind it, and what it still needs if nothing stops it."""
    stopped = clock["stopped_at"]
    yield scale.piece(
        clock["since"],
        stopped or now,
        "fail" if stopped else "pass",
        f"cycle {clock['cycle']}: {clock['line']}",
    )
    if not stopped and clock["ready_at"] > now:
        yield scale.piece(
            now, clock["ready_at"], "ahead", f"full on {clock['ready_at'][:16].replace('T', ' ')}"
        )


def _run(run: Mapping[str, Any], scale: _Scale) -> Piece:
    verdict = run["verdict"] or "no verdict"
    look = (run["verdict"] or "none").lower()
    return scale.piece(run["started_at"], run["ended_at"], look, f"{run['run']}: {verdict}", SMALLEST)


def _marks(content: Mapping[str, Any], scale: _Scale) -> Iterator[Piece]:
    """Give what happened to the clock."""
    clock = content["clock"]
    for one in clock["stops"]:
        yield Piece(scale.at(one["at"]), 0.0, "stop", f"stop: {one['reason']}")
    for one in content["restarts"]:
        yield Piece(scale.at(one["at"]), 0.0, "restart", f"restart: {one['hotfix']}")
    for one in clock["deployments"]:
        yield Piece(scale.at(one["at"]), 0.0, "deployment", f"deployment: {one['text']}")
