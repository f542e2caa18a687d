"""What probes saw of a target over days: when somebody looked, and when it was down. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from loadgate.judge.campaign_facts import Span
from loadgate.store.watch import Reading

UP: Final = "up"
"""The reading of a health probe: 1 when the target says that it is well."""
_GAP: Final = 3.0
"""Intervals of the fastest probe without any reading from which on nobody looked."""
_SHORTEST_GAP: Final = 5.0


def observed(readings: Iterable[Reading], began: datetime, every: float) -> tuple[Span, ...]:
    """Return the times in which some probe had readings; `every` is the fastest one's interval, in seconds.

    Readings that are further apart than three intervals leave a gap: a slow probe beside it bridges
    nothing. A failed reading of another kind than `up` is no look at the target.
    """
    times = sorted(reading.at for reading in readings if reading.value is not None)
    longest = max(_GAP * every, _SHORTEST_GAP)
    spans: list[list[float]] = []
    for at in times:
        if spans and at - spans[-1][1] <= longest:
            spans[-1][1] = at
        else:
            spans.append([at, at])
    return tuple((_wall(began, begin), _wall(began, end)) for begin, end in spans)


def downtimes(readings: Iterable[Reading], began: datetime) -> tuple[Span, ...]:
    """Return the times in which the target was down: from the first bad reading of `up` to the next good one.

    The last one of a series counts to its last bad reading.
    """
    by_probe: dict[str, list[Reading]] = {}
    for reading in readings:
        if reading.reading == UP and reading.value is not None:
            by_probe.setdefault(reading.probe, []).append(reading)
    spans: list[Span] = []
    for series in by_probe.values():
        since: float | None = None
        last = 0.0
        for reading in sorted(series, key=lambda one: one.at):
            last = reading.at
            if reading.value:
                if since is not None:
                    spans.append((_wall(began, since), _wall(began, reading.at)))
                since = None
            elif since is None:
                since = reading.at
        if since is not None:
            spans.append((_wall(began, since), _wall(began, last)))
    return tuple(sorted(spans))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Join spans that touch or overlap, in order."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def covered(spans: Iterable[Span], begin: datetime, end: datetime) -> float:
    """Return the seconds of [begin, end] that the spans cover."""
    total = timedelta()
    for first, last in merged(spans):
        total += max(timedelta(), min(last, end) - max(first, begin))
    return total.total_seconds()


def _wall(began: datetime, at: float) -> datetime:
    return began + timedelta(seconds=at)
