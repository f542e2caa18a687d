"""The readings of the probes over time, by the parts of a frame: lowest, mean and highest of each part."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from loadgate.report.html.frame import Frame
from loadgate.store.watch import Reading

MOST_READINGS: Final = 16
"""Readings that are drawn; what every target has comes first."""
FIRST: Final = ("memory", "cpu", "up", "hit_rate")


@dataclass(slots=True)
class ReadingPart:
    """The readings of one part, in SI."""

    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The mean of the readings."""
        return math.fsum(self.values) / len(self.values)


@dataclass(frozen=True)
class ReadingParts:
    """One reading of one probe over time; `failed` attempts gave no value, `error` is the last one's."""

    probe: str
    reading: str
    frame: Frame
    parts: tuple[ReadingPart | None, ...]
    n: int
    failed: int
    error: str = ""
    silent: tuple[int, ...] = ()
    """The parts in which every attempt failed."""

    @property
    def name(self) -> str:
        """The name by which plans call it."""
        return f"{self.probe}.{self.reading}"

    @property
    def values(self) -> list[float]:
        """All values, in order of time."""
        return [value for part in self.parts if part is not None for value in part.values]


def reading_parts(readings: Iterable[Reading], frame: Frame | None) -> tuple[ReadingParts, ...]:
    """Put readings, in order of time, into the parts of a frame; () without any.

    Those that lie before the first window or after the last belong to the first and the last part.
    """
    if frame is None:
        return ()
    apart: dict[tuple[str, str], list[Reading]] = {}
    for one in readings:
        apart.setdefault((one.probe, one.reading), []).append(one)
    ordered = sorted(apart, key=lambda key: (_rank(key[1]), key))
    return tuple(_parts(key, apart[key], frame) for key in ordered)


def _rank(reading: str) -> int:
    return FIRST.index(reading) if reading in FIRST else len(FIRST)


def _parts(key: tuple[str, str], readings: list[Reading], frame: Frame) -> ReadingParts:
    found: dict[int, ReadingPart] = {}
    for one in readings:
        if one.value is not None:
            found.setdefault(frame.part_of(one.at), ReadingPart()).values.append(one.value)
    failed = [one for one in readings if one.value is None]
    silent = sorted({frame.part_of(one.at) for one in failed} - found.keys())
    return ReadingParts(
        key[0],
        key[1],
        frame,
        tuple(found.get(number) for number in range(frame.count)),
        len(readings),
        len(failed),
        failed[-1].error if failed else "",
        tuple(silent),
    )
