"""The small bar beside an objective: where its value lies between target and alert, without a script.

A pure function of a row of verdict.json. Positions are hundredths of the bar's width, from the left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 100.0
SMALLEST: Final = 0.8
"""Width that an interval has at least, so that it is seen."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the bar: `kind` is "good" (the target holds), "between" or "bad" (past the alert)."""

    kind: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """What is drawn: the zones, the value (None without data), its interval, and the bar in words.

    `beyond` is "left" or "right" where the value lies outside of what the bar shows.
    """

    zones: tuple[Zone, ...]
    value: float | None
    beyond: str
    interval: Zone | None
    words: str


def bar_of(row: Mapping[str, Any], words: str) -> Bar | None:
    """Return the bar of an objective's row; None where its limits are no numbers.

    The bar reaches as far beyond target and alert threshold as they are apart, but not below zero.
    """
    target, alert = row["target_value"], row["alert_value"]
    if target is None or not math.isfinite(target) or (alert is not None and not math.isfinite(alert)):
        return None
    upward = str(row["target"]).lstrip().startswith(">")
    low, high = _range(target, alert)
    shown = _Scale(low, high)
    value, beyond = _value(row, shown)
    return Bar(_zones(target, alert, shown, upward=upward), value, beyond, _interval(row, shown), words)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(min(max(share, 0.0), 1.0) * WIDTH, 2)


def _range(target: float, alert: float | None) -> tuple[float, float]:
    """Return the values at the ends of the bar."""
    other = target if alert is None else alert
    apart = abs(other - target) or abs(target) * 0.5 or 1.0
    low, high = min(target, other) - apart, max(target, other) + apart
    return (max(low, 0.0) if min(target, other) >= 0 else low), high


def _zones(target: float, alert: float | None, scale: _Scale, *, upward: bool) -> tuple[Zone, ...]:
    """Return the zones from left to right; without an alert threshold what misses the target is bad."""
    edges = sorted({scale.at(target), scale.at(target if alert is None else alert)})
    kinds = ["good", "between", "bad"] if len(edges) > 1 else ["good", "bad"]
    if upward:
        kinds.reverse()
    cuts = [0.0, *edges, WIDTH]
    return tuple(
        Zone(kind, left, round(right - left, 2))
        for kind, left, right in zip(kinds, cuts, cuts[1:], strict=False)
    )


def _value(row: Mapping[str, Any], scale: _Scale) -> tuple[float | None, str]:
    if row.get("infinite"):
        return WIDTH, "right"
    value = row["value"]
    if value is None or not math.isfinite(value):
        return None, ""
    beyond = "left" if value < scale.low else "right" if value > scale.high else ""
    return scale.at(value), beyond


def _interval(row: Mapping[str, Any], scale: _Scale) -> Zone | None:
    """Return where the value lies with the row's confidence; an infinite end reaches to the edge."""
    ends = row["interval"]
    if not ends or ends[0] is None:
        return None
    left = scale.at(ends[0])
    right = WIDTH if ends[1] is None else scale.at(ends[1])
    left = min(left, WIDTH - SMALLEST)
    return Zone("interval", left, round(max(right - left, SMALLEST), 2))
