"""The points that are kept of an alert rule's windows, and the samples that they stand for.

A point has all of a sample that can move a rule or be told of it, so that a replay of the points says what
the live engine said.
"""

from __future__ import annotations

import hashlib

import orjson

from loadgate.plan.alerts import AlertRule
from loadgate.plan.units import format_duration
from loadgate.store.watch import Point
from loadgate.watch.series import Sample


def key_of(rule: AlertRule) -> str:
    """Return what the points of a rule are kept under: its name, and what tells it from its namesakes."""
    content = orjson.dumps(rule.model_dump(mode="json", by_alias=True), option=orjson.OPT_SORT_KEYS)
    return f"{rule.name}#{hashlib.sha256(content).hexdigest()[:12]}"


def point_of(key: str, sample: Sample) -> Point:
    """Return the point that stands for a sample of the rule of a key."""
    return Point(
        key,
        sample.start,
        sample.end,
        sample.seconds,
        sample.value,
        sample.n,
        sample.past,
        sample.clear,
        sample.pair.long if sample.pair is not None else None,
        sample.short,
        sample.bad,
        sample.of,
    )


def sample_of(rule: AlertRule, point: Point) -> Sample:
    """Return the sample that a point stands for; the rule must be the one that it is of."""
    pairs = rule.burn.pairs if rule.burn is not None else ()
    return Sample(
        point.start,
        point.end,
        point.seconds,
        point.value,
        point.n,
        point.past,
        point.clear,
        next((pair for pair in pairs if pair.long == point.pair), None),
        point.short,
        point.bad,
        point.of,
    )


def not_told(name: str, start: float, end: float) -> str:
    """Say that a rule was not looked at in some run time."""
    return (
        f"rule '{name}' was not evaluated from run time {format_duration(start)} to {format_duration(end)}: "
        "nobody evaluated it then, and the seconds are merged since"
    )
