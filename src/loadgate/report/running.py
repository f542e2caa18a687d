"""The windows of a growing run: the newest ones apart, all older ones merged into totals."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from loadgate.judge.slots import Interval
from loadgate.measure.window import Window, series_of

KEPT_S: Final = 30
"""Seconds of windows that are kept apart: what may still be rewritten, and what the view asks for."""
COMPACTED_S: Final = 3600
"""Age from which a changed longer window is the same seconds compacted, not something new."""

Key = tuple[int, int, str, str]
Total = tuple[str, str, int | None]


class Running:
    """Windows by time, in memory that does not grow with the run.

    A window that is written again replaces what was known of it, as long as it is among the newest
    `KEPT_S` seconds. One that changes later cannot be taken apart from its total any more: it is counted in
    `late` and left out. Totals are kept apart by the steady interval that they were measured in (None for
    the time outside of all).
    """

    def __init__(
        self, steady: Sequence[Interval], series: Collection[str], folded: Callable[[Window], None]
    ) -> None:
        """Keep the histograms of `series` alone; call `folded` with each window that is merged away."""
        self._steady = tuple(steady)
        self._series = frozenset(series)
        self._folded = folded
        self._newest: dict[Key, Window] = {}
        self._totals: dict[Total, Window] = {}
        self.horizon = 0
        """The first second that is not merged into the totals."""
        self.end = 0
        """The end of the newest window."""
        self.late = 0
        self.merged = 0
        """Windows that went into the totals so far."""

    def take(self, windows: Iterable[Window]) -> None:
        """Take in new and rewritten windows; their histograms are kept, so nothing else may change them."""
        for window in windows:
            if window.second >= self.horizon:
                key = (window.second, window.span, window.endpoint, window.phase)
                self._newest[key] = self._slim(window)
                self.end = max(self.end, window.end)
            elif window.span == 1 or window.end > self.end - COMPACTED_S:
                self.late += 1
        self._fold(self.end - KEPT_S)

    def _slim(self, window: Window) -> Window:
        """Return the window with the wanted histograms alone, sharing them."""
        return replace(
            window,
            histograms={name: found for name, found in window.histograms.items() if name in self._series},
            over={key: number for key, number in window.over.items() if series_of(key) in self._series},
        )

    def _fold(self, horizon: int) -> None:
        """Merge the windows that begin before `horizon` into the totals."""
        if horizon <= self.horizon:
            return
        self.horizon = horizon
        for key in sorted(key for key in self._newest if key[0] < horizon):
            window = self._newest.pop(key)
            self._folded(window)
            self.merged += 1
            where = self._total_of(window)
            if where in self._totals:
                self._totals[where].merge(window)
            else:
                self._totals[where] = window.copy()

    def _total_of(self, window: Window) -> Total:
        for index, part in enumerate(self._steady):
            if math.floor(part.start) <= window.second < part.end:
                return window.endpoint, window.phase, index
        return window.endpoint, window.phase, None

    def totals(self, before: float = math.inf) -> list[Window]:
        """Return everything so far: one window per endpoint, phase and steady interval, as copies.

        Of the newest seconds, only those before run time `before` are in.
        """
        whole = {where: window.copy() for where, window in self._totals.items()}
        for window in self._newest.values():
            if window.second >= before:
                continue
            where = self._total_of(window)
            if where in whole:
                whole[where].merge(window)
            else:
                whole[where] = window.copy()
        return list(whole.values())

    def between(self, start: float, end: float) -> list[Window]:
        """Return the newest windows whose middle lies in start <= middle < end; they are to be read only."""
        return [window for window in self._newest.values() if start <= window.second + window.span / 2 < end]
