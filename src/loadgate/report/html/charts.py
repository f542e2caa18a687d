"""Charts as plain values: what `assets/charts.js` draws, for a run, a campaign or a live page alike.

A chart says what is drawn, not how: lines with a name, a unit and a colour's role. Latencies are milliseconds
with four digits (the histograms have three); a missing value is null, and an infinite one is null with its
place in `infinite`, so that the page can mark it: it must look like neither a gap nor a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from loadgate.measure.histogram import Histogram
from loadgate.measure.window import ALL
from loadgate.report.html.frame import Frame
from loadgate.report.html.timeline import BANDS, Point, band_limits

Value: TypeAlias = float | int | None
Kind: TypeAlias = Literal["time", "spectrum", "heat"]
STEPS_PER_NINE: Final = 20
"""Points of a percentile spectrum from 90 % to 99 %, from 99 % to 99.9 %, and so on."""
MOST_NINES: Final = 12


@dataclass(frozen=True)
class Line:
    """One line: `colour` names a role of the style sheet, `infinite` the places of infinite values.

    A missing value is a gap, but for a `bridged` line, which has gaps at its `breaks` alone: a reading that
    is taken each minute says nothing between, and has not failed there.
    """

    name: str
    values: Sequence[Value]
    colour: str = "c1"
    infinite: tuple[int, ...] = ()
    dashed: bool = False
    filled: bool = False
    stepped: bool = False
    bridged: bool = False
    breaks: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; what is as usual is left out."""
        told: dict[str, Any] = {"name": self.name, "values": list(self.values), "colour": self.colour}
        if self.infinite:
            told["infinite"] = list(self.infinite)
        if self.breaks:
            told["breaks"] = list(self.breaks)
        told |= {key: True for key in ("dashed", "filled", "stepped", "bridged") if getattr(self, key)}
        return told


@dataclass(frozen=True)
class Chart:
    """One chart; `unit` is "ms", "/s", "%", "B", "cores" or "" and says how values are written."""

    id: str
    title: str
    unit: str
    lines: tuple[Line, ...] = ()
    kind: Kind = "time"
    note: str = ""
    log: bool = False
    frame: Frame | None = None
    x: tuple[float, ...] = ()
    """Places of the points of a spectrum, in nines: 1 is 90 %, 2 is 99 %."""
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for the page."""
        told: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "kind": self.kind,
            "unit": self.unit,
            "log": self.log,
            "lines": [line.to_dict() for line in self.lines],
            **self.more,
        }
        if self.frame is not None:
            told |= {"start": self.frame.start, "step": self.frame.width, "count": self.frame.count}
        if self.x:
            told["x"] = list(self.x)
        return told

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to draw."""
        if self.kind == "heat":
            return not any(self.more["cells"])
        return all(value is None for line in self.lines for value in line.values) and not any(
            line.infinite for line in self.lines
        )

    @property
    def words(self) -> str:
        """What the chart shows, in words, for who cannot see it."""
        if self.kind == "heat":
            return f"{self.title}: how many requests had which latency over time."
        names = ", ".join(line.name for line in self.lines)
        over = "by percentile" if self.kind == "spectrum" else "over run time"
        return f"{self.title}: {names}, {over}."


def rounded(value: float | None) -> float | None:
    """Return a value with four significant digits; None for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


def in_ms(micros: float | None) -> float | None:
    """Return µs as rounded milliseconds; None for what is missing or infinite."""
    return None if micros is None else rounded(micros / 1000)


def line_of(
    name: str,
    points: Sequence[Point | None],
    value: Callable[[Point], float | None],
    colour: str,
    *,
    dashed: bool = False,
) -> Line:
    """Return a line of latencies (µs) as milliseconds, with the places of the infinite ones."""
    found = [None if point is None else value(point) for point in points]
    infinite = tuple(place for place, one in enumerate(found) if one is not None and math.isinf(one))
    return Line(name, [in_ms(one) for one in found], colour, infinite, dashed)


def per_second(frame: Frame, points: Sequence[Point | None], names: Iterable[str]) -> list[Value]:
    """Return the sum of some counts per second of each part; None where nothing was recorded."""
    wanted = tuple(names)
    return [
        None
        if point is None
        else rounded(sum(point.counts.get(name, 0) for name in wanted) / frame.seconds(part))
        for part, point in enumerate(points)
    ]


def ratio(points: Sequence[Point | None], part: str, *others: str) -> list[Value]:
    """Return a count over the sum of it and others in percent; None where there are none."""
    found: list[Value] = []
    for point in points:
        counts = point.counts if point is not None else {}
        whole = sum(counts.get(name, 0) for name in (part, *others))
        found.append(rounded(100 * counts.get(part, 0) / whole) if whole else None)
    return found


def nines_of(n: int) -> list[float]:
    """Return the places of a spectrum of `n` values: evenly in nines, from 0 to that of the last value."""
    if n < 1:
        return []
    last = min(_last_place(n), float(MOST_NINES))
    steps = math.floor(last * STEPS_PER_NINE + 1e-9)
    places = [step / STEPS_PER_NINE for step in range(steps + 1)]
    return places if last - places[-1] < 1e-9 else [*places, last]


def _last_place(n: int) -> float:
    """Return the place of the slowest of `n` values: half of one value is slower."""
    return math.log10(2 * n)


def rank_at(nines: float, n: int) -> int:
    """Return the rank, 1 to `n`, of the value at a place of a spectrum: at 1 it is that of 90 %."""
    return min(n, max(1, n - math.floor(n * math.pow(10.0, -nines) + 1e-6)))


def spectrum_line(
    name: str, histogram: Histogram, infinite: int, places: Sequence[float], colour: str
) -> Line:
    """Return the latency at each place of a spectrum, of the recorded values and the infinite ones."""
    n = histogram.total + infinite
    # Past its last value a line ends: it has no evidence for more nines.
    last = _last_place(n) + 1e-9 if n else -1.0
    ranks = [rank_at(place, n) for place in places if place <= last]
    values = histogram.at_ranks(ranks)
    endless = tuple(place for place, value in enumerate(values) if math.isinf(value))
    drawn: list[Value] = [in_ms(value) for value in values]
    return Line(name, drawn + [None] * (len(places) - len(drawn)), colour, endless)


def heat_chart(
    identity: str, title: str, frame: Frame, points: Sequence[Point | None], note: str = ""
) -> Chart:
    """Return the heat map of the acceptable answers: for each part of time its counts by row of latency.

    `cells` has one list for each part: row, count, row, count; rows count from `lowest`.
    """
    bands = [point.bands if point is not None else None for point in points]
    used = [row for counts in bands if counts is not None for row in counts.nonzero()[0].tolist()]
    lowest, highest = (min(used), max(used)) if used else (0, 0)
    cells = []
    for counts in bands:
        told: list[int] = []
        if counts is not None:
            for row in counts.nonzero()[0].tolist():
                told += [row - lowest, int(counts[row])]
        cells.append(told)
    edges = [rounded(band_limits(row)[0] / 1000) for row in range(lowest, min(highest, BANDS - 1) + 2)]
    return Chart(
        identity,
        title,
        "ms",
        kind="heat",
        log=True,
        frame=frame,
        note=note,
        more={"cells": cells, "edges": edges},
    )


def named(endpoint: str) -> str:
    """Return how an endpoint is called in a title."""
    return "All endpoints" if endpoint == ALL else endpoint
