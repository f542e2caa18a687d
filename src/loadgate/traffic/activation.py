"""When a user of a closed-model plan is active: a pure function of the stages and its number."""

from __future__ import annotations

from loadgate.plan.timeline import Timeline


def next_active(timeline: Timeline, number: int, now: float) -> float | None:
    """Return the run time, `now` or later, at which the stages want more than `number` users.

    Users are numbered from 0, so user n is active while the level is above n. None when the
    stages never want it again.
    """
    for segment in timeline.segments:
        if segment.end <= now:
            continue
        start = max(now, segment.start)
        span = segment.end - segment.start
        slope = (segment.level_end - segment.level_start) / span if span > 0 else 0.0
        level = segment.level_start + slope * (start - segment.start)
        if level > number:
            return start
        if slope > 0 and segment.level_end > number:
            crossing = segment.start + (number - segment.level_start) / slope
            # The level must be above the number, not at it; a microsecond later it is.
            return min(max(start, crossing) + 1e-6, segment.end)
    return None
