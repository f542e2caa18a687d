"""How often a worker speaks, by the size of its fleet: one master hears them all.

Up to a few hundred workers each speaks as often as is of any use. Beyond that the intervals grow with the
fleet, so that what the master hears in a second grows slower than the fleet, up to the longest interval at
which the promises about a dead worker still hold: its share begins to move within 5 s of its death
(`leases.SILENT_AFTER` is two beats and more), and at most 2 s of its rate are in doubt.
"""

from __future__ import annotations

from typing import Final

BEAT: Final = (0.25, 0.7)
"""Least and greatest seconds between two beats of a worker."""
HEARTBEAT: Final = (1.0, 3.0)
"""Least and greatest seconds between two of Locust's own heartbeats, which tell a worker's state and CPU."""
STATISTICS: Final = (3.0, 9.0)
"""Least and greatest seconds between two of Locust's own reports, for its console and web page."""
ANSWERS: Final = (0.0, 30.0)
"""Least and greatest seconds between two answers to a worker's heartbeats; it needs one in five minutes."""
PINGS: Final = (5.0, 30.0)
"""Least and greatest seconds between two bursts of questions for the master's time."""
FEW, _GREATEST_FROM = 300, 1000
"""Workers up to which an interval is the least one, and from which it is the greatest."""
_MOST_PUT_OFF = 1.5
"""Intervals after a beat within which the next one comes, whatever was said meanwhile."""
_ON_ITS_WAY = 0.25
"""Seconds that a beat may be under way, or wait for its thread's turn."""


def interval(bounds: tuple[float, float], workers: int) -> float:
    """Return the seconds between two messages of a kind in a fleet of so many workers."""
    least, greatest = bounds
    grown = (workers - FEW) / (_GREATEST_FROM - FEW)
    return least + (greatest - least) * min(max(grown, 0.0), 1.0)


def next_beat(beat: float, said: float, every: float) -> float:
    """Return when the next beat is due, after one at `beat`, of a worker that said something else at `said`.

    That shows as well that it lives, and puts the beat off until `every` seconds later: a worker of a large
    fleet, which reports each second, then beats once a second too. But what it said may never arrive, over a
    connection that is broken, so the beat is never put off for long.
    """
    return min(max(beat, said) + every, beat + _MOST_PUT_OFF * every)


def death_within(workers: int) -> float:
    """Return the seconds after its last word in which a worker may have gone on: a beat and its way."""
    return interval(BEAT, workers) + _ON_ITS_WAY
