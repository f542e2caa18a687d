"""Slopes and levels of a series in words: "memory +3.1 MB/h [2.6, 3.7], reaches 1 GB in 6.2 days"."""

from __future__ import annotations

import math
from typing import Final

from loadgate.judge.trend import Slope
from loadgate.judge.trend_shapes import DAY
from loadgate.plan.drift import SHARES, Drift
from loadgate.plan.sla import LATENCIES
from loadgate.plan.units import BYTE_UNITS, DURATION_UNITS, format_number

HOUR: Final = 3600.0
_BYTES: Final = tuple((unit, float(BYTE_UNITS[unit])) for unit in ("GB", "MB", "kB", "B"))
_SECONDS: Final = tuple((unit, float(DURATION_UNITS[unit])) for unit in ("s", "ms", "us"))


def scale_of(rule: Drift, size: float) -> tuple[str, float]:
    """Return the unit in which a value of this size (SI) of the rule's series reads best, and its factor."""
    if rule.metric in LATENCIES:
        units = _SECONDS
    elif rule.metric == "memory" or (rule.limit is not None and rule.limit.unit in BYTE_UNITS):
        units = _BYTES
    elif rule.metric in SHARES:
        units = (("%", 0.01),)
    elif rule.metric == "throughput":
        units = (("req/s", 1.0),)
    else:
        units = (("", 1.0),)
    return next(((unit, factor) for unit, factor in units if abs(size) >= factor), units[-1])


def short(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return format_number(value)
    return format_number(round(value, digits - 1 - math.floor(math.log10(abs(value)))))


def spelled_level(rule: Drift, value: float) -> str:
    """Write a value (SI) of the series: "1.02 GB"."""
    unit, factor = scale_of(rule, value)
    return f"{short(value / factor)} {unit}".strip()


def spelled_slope(rule: Drift, slope: Slope) -> str:
    """Write a slope per hour with its bounds in the same unit: "+3.1 MB/h [2.6, 3.7]"."""
    value, low, high = (end * HOUR for end in (slope.value, slope.low, slope.high))
    unit, factor = scale_of(rule, max(abs(end) for end in (value, low, high) if math.isfinite(end)))
    sign = "+" if value > 0 else ""
    per = "/h" if "/" not in unit else " per h"
    text = f"{sign}{short(value / factor)} {unit}".strip()
    return f"{text}{per} [{short(low / factor)}, {short(high / factor)}]"


def spelled_time(seconds: float) -> str:
    """Write how far ahead something is: "6.2 days", "3.4 hours", "12 minutes"."""
    for size, noun in ((DAY, "days"), (HOUR, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size or noun == "minutes":
            return f"{short(seconds / size, 2)} {noun}"
    return f"{short(seconds, 2)} seconds"
