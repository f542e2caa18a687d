"""The last minutes of a growing run second by second, for sparklines and charts.

Only seconds that a commit has touched are worked out again, so that a look costs what is new, not what is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from loadgate.measure.window import Count, Window, windows_merged
from loadgate.report.running import Running
from loadgate.report.snapshot import Moment

TREND_S: Final = 300
"""Seconds that are kept one by one."""


class Trend:
    """Each endpoint's last `TREND_S` seconds; None is all endpoints together."""

    def __init__(self) -> None:
        self._moments: dict[str | None, dict[int, Moment]] = {}

    def take(self, changed: Iterable[Window], running: Running) -> None:
        """Work out again the seconds of windows that have changed and have just been taken into `running`."""
        seconds = {
            window.second for window in changed if window.span == 1 and window.second >= running.horizon
        }
        if not seconds:
            return
        parts: dict[tuple[str | None, int], list[Window]] = {}
        for window in running.between(min(seconds), math.inf):
            if window.second in seconds and window.span == 1:
                parts.setdefault((window.endpoint, window.second), []).append(window)
                parts.setdefault((None, window.second), []).append(window)
        for (endpoint, second), windows in parts.items():
            self._moments.setdefault(endpoint, {})[second] = _moment(second, windows)
        for moments in self._moments.values():
            for second in [second for second in moments if second < running.end - TREND_S]:
                del moments[second]

    def of(self, endpoint: str | None, until: float) -> tuple[Moment, ...]:
        """Return the seconds of an endpoint that end by run time `until`, in order of time."""
        moments = self._moments.get(endpoint, {})
        return tuple(moments[second] for second in sorted(moments) if second + 1 <= until)


def _moment(second: int, windows: list[Window]) -> Moment:
    whole = windows_merged(windows)
    histogram, infinite = whole.response("adjusted")
    p50, p95, p99 = histogram.percentiles((5000, 9500, 9900), infinite)
    return Moment(second, whole.count(Count.OK), p50, p95, p99)
