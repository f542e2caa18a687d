"""The line of a watch: what was read last, what was not, and which alerts fire."""

from __future__ import annotations

from loadgate.report.readings import readings_line
from loadgate.store.watch import Reading


def latest(*readings: tuple[str, str, float | None]) -> dict[tuple[str, str], Reading]:
    return {
        (probe, name): Reading(1.0, probe, name, value, "" if value is not None else "answered: 502", 0.1)
        for probe, name, value in readings
    }


def test_readings_come_with_their_units() -> None:
    """CPU in percent of a core, memory in bytes for people, health in words; counters are left out."""
    line = readings_line(
        latest(
            ("health", "up", 1.0),
            ("health", "uptime", 5.0),
            ("process", "cpu", 0.125),
            ("process", "memory", 5e7),
            ("cache", "hits", 9.0),
            ("cache", "hit_rate", 0.625),
        )
    )
    assert line == "health up; process cpu 12.5%, memory 50MB; cache hit rate 62.5%; no alert"


def test_a_reading_that_failed_is_no_data_with_its_reason() -> None:
    """Once for a probe, and never 0."""
    line = readings_line(latest(("cache", "hit_rate", None), ("cache", "hits", None)))
    assert line == "cache no data (answered: 502); no alert"


def test_alerts_that_fire_are_named() -> None:
    """Pending ones are not told yet."""
    line = readings_line(latest(("health", "up", 0.0)), {"down": "firing", "cpu": "pending", "a": "flapping"})
    assert line == "health DOWN; firing: a, down"
