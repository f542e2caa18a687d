"""Sparklines: a few seconds of a number in a few characters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from loadgate.report.snapshot import Moment


def spark(values: Sequence[float | None], steps: str) -> str:
    """Draw a character for each value, from 0 (the first of `steps`) to the largest finite one (the last).

    A blank is a value that is missing; one that is infinite is "!".
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    top = max(finite, default=0.0)
    return "".join(_step(value, top, steps) for value in values)


def _step(value: float | None, top: float, steps: str) -> str:
    if value is None:
        return " "
    if math.isinf(value):
        return "!"
    share = value / top if top > 0 else 0.0
    return steps[min(int(share * len(steps)), len(steps) - 1)]


def lately(trend: Iterable[Moment], until: float, width: int, per: int = 2) -> list[float | None]:
    """Return the worst p95 (µs) of each `per` seconds up to run time `until`, `width` of them.

    None stands for a time in which no request ended.
    """
    moments: Mapping[int, Moment] = {moment.second: moment for moment in trend}
    # Parts keep their place as time goes on, so that a sparkline moves and does not flicker.
    end = math.floor(until / per) * per
    parts = []
    for start in range(end - width * per, end, per):
        found = [moments[second].p95 for second in range(start, start + per) if second in moments]
        known = [value for value in found if value is not None]
        parts.append(max(known, default=None))
    return parts
