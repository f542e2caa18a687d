"""The charts of one run, section by section: pure functions of what was collected."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from loadgate.measure.window import ALL, Count
from loadgate.report.html.charts import (
    Chart,
    Line,
    Value,
    heat_chart,
    in_ms,
    line_of,
    named,
    nines_of,
    per_second,
    ratio,
    rounded,
    spectrum_line,
)
from loadgate.report.html.collect import RunData
from loadgate.report.html.fleet import FleetParts
from loadgate.report.html.frame import Frame
from loadgate.report.html.probes import MOST_READINGS, ReadingPart, ReadingParts
from loadgate.report.html.timeline import Point, Timeline
from loadgate.report.readings import SHARES, SIZES
from loadgate.report.text import clean
from loadgate.store.failure_times import FailureTime

MOST_HEAT_MAPS: Final = 8
Part = TypeVar("Part")
FAILED: Final = (
    ("failed", (Count.FAILED,), "c3"),
    ("timeout", (Count.TIMEOUT,), "c2"),
    ("unsent", (Count.UNSENT_POOL, Count.UNSENT_GENERATOR), "c4"),
    ("unfinished", (Count.UNFINISHED,), "c5"),
    ("lost", (Count.LOST,), "c6"),
)
"""The endings that are not ok: name, counts, and colour."""

MOST_KINDS_DRAWN: Final = 6
LONGEST_NAME: Final = 60


def shown(timeline: Timeline | None) -> Sequence[tuple[str, Sequence[Point | None]]]:
    """Return what is drawn, all endpoints first; the sum is left out where it is the one endpoint."""
    if timeline is None:
        return []
    rows = list(timeline.points.items())
    return rows[1:] if timeline.endpoints == 1 and len(rows) == 2 else rows


def latency_charts(data: RunData) -> list[Chart]:
    """Return the response time over time of each endpoint."""
    if data.timeline is None:
        return []
    return [
        Chart(
            f"latency-{number}",
            named(endpoint),
            "ms",
            (
                line_of("p50", points, lambda point: point.percentiles[0], "c1"),
                line_of("p95", points, lambda point: point.percentiles[1], "c2"),
                line_of("p99", points, lambda point: point.percentiles[2], "c3"),
                line_of("slowest ok", points, lambda point: point.maximum, "c7", dashed=True),
            ),
            log=True,
            frame=data.timeline.frame,
        )
        for number, (endpoint, points) in enumerate(shown(data.timeline))
    ]


def spectrum_charts(data: RunData) -> list[Chart]:
    """Return the percentile spectrum of the steady phase of each endpoint, response against service time."""
    return list(_spectra(data.timeline, data.values.get("model") == "closed")) if data.timeline else []


def _spectra(timeline: Timeline, closed: bool) -> Iterator[Chart]:
    for number, (endpoint, _) in enumerate(shown(timeline)):
        window = timeline.steady.get(endpoint)
        if window is None:
            continue
        response, infinite = window.response("adjusted")
        service, endless = window.response("adjusted", "service")
        places = nines_of(max(response.total + infinite, service.total + endless))
        lines = [
            spectrum_line("service time" if closed else "response time", response, infinite, places, "c2")
        ]
        if not closed:
            lines.append(spectrum_line("service time", service, endless, places, "c1"))
        note = f"{response.total + infinite} requests" + (
            f", {infinite} of them infinite" if infinite else ""
        )
        yield Chart(
            f"spectrum-{number}",
            named(endpoint),
            "ms",
            tuple(lines),
            "spectrum",
            note,
            log=True,
            x=tuple(places),
        )


def heat_charts(data: RunData) -> list[Chart]:
    """Return the heat map of the latencies of each endpoint."""
    if data.timeline is None:
        return []
    return [
        heat_chart(f"heat-{number}", named(endpoint), data.timeline.frame, points)
        for number, (endpoint, points) in enumerate(shown(data.timeline)[:MOST_HEAT_MAPS])
    ]


def load_charts(data: RunData) -> list[Chart]:
    """Return what was planned, offered and achieved, and what went wrong, over time and endpoints."""
    timeline = data.timeline
    if timeline is None or ALL not in timeline.points:
        return []
    frame, points = timeline.frame, timeline.points[ALL]
    lines = [
        Line("offered", per_second(frame, points, (Count.ARRIVALS,)), "c1"),
        Line("ok", per_second(frame, points, (Count.OK,)), "c8"),
    ]
    planned = planned_rates(data.verdict, frame)
    if planned:
        lines.insert(0, Line("planned", planned, "c7", dashed=True))
    return [Chart("rate", "Requests per second", "/s", tuple(lines), frame=frame)]


def planned_rates(verdict: Mapping[str, Any] | None, frame: Frame) -> list[Value]:
    """Return the planned rate in the middle of each part; () in the closed model and without a plan."""
    if verdict is None or verdict["model"] == "closed" or not verdict["phases"]:
        return []
    found: list[Value] = []
    for part, start in enumerate(frame.starts):
        middle = max(start, frame.first) + frame.seconds(part) / 2
        found.append(rounded(_level_at(verdict["phases"], middle)))
    return found if any(value is not None for value in found) else []


def _level_at(phases: Sequence[Mapping[str, Any]], at: float) -> float | None:
    for one in phases:
        end = math.inf if one["end"] is None else one["end"]
        if one["start"] <= at < end and one["level_start"] is not None and one["level_end"] is not None:
            share = 0.0 if math.isinf(end) else (at - one["start"]) / (end - one["start"])
            return float(one["level_start"] + share * (one["level_end"] - one["level_start"]))
    return None


def failure_charts(data: RunData) -> list[Chart]:
    """Return what did not end well over time, by outcome and by kind; () where everything did."""
    timeline = data.timeline
    if timeline is None or ALL not in timeline.points:
        return []
    frame, points = timeline.frame, timeline.points[ALL]
    lines = [
        Line(name, per_second(frame, points, counts), colour, filled=True, stepped=True)
        for name, counts, colour in FAILED
        if any(point is not None and any(point.counts.get(one) for one in counts) for point in points)
    ]
    if not lines:
        return []
    outcomes = Chart("failures", "Requests that did not end ok", "/s", tuple(lines), frame=frame)
    return [outcomes, *kinds_over_time(data.failure_times, frame)]


def kinds_over_time(times: Sequence[FailureTime], frame: Frame) -> Iterator[Chart]:
    """Draw the most frequent kinds of failure, each in the part of its run seconds' middle."""
    found: dict[tuple[str, ...], Counter[int]] = {}
    for one in times:
        parts = found.setdefault((one.endpoint, one.outcome, one.kind, one.message), Counter())
        parts[frame.part_of(one.second + one.span / 2)] += one.number
    ranked = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    lines = [
        Line(
            _kind_name(*fingerprint),
            [rounded(parts[part] / frame.seconds(part)) for part in range(frame.count)],
            f"c{number}",
            stepped=True,
        )
        for number, (fingerprint, parts) in enumerate(ranked[:MOST_KINDS_DRAWN], 1)
    ]
    if lines:
        more = len(ranked) - len(lines)
        note = f"the {len(lines)} most frequent of {len(ranked)} kinds" if more else ""
        yield Chart("failure-kinds", "By kind, as reported", "/s", tuple(lines), note=note, frame=frame)


def _kind_name(endpoint: str, outcome: str, kind: str, message: str) -> str:
    """Name a kind in a legend: its first words."""
    text = f"{named(endpoint)} {outcome}: {kind}" + (f" {message}" if message and message != kind else "")
    text = clean(text)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def cache_charts(data: RunData) -> list[Chart]:
    """Return hits and misses over time, and the latency of each; () where no answer told."""
    timeline = data.timeline
    if timeline is None or ALL not in timeline.points:
        return []
    frame, points = timeline.frame, timeline.points[ALL]
    if not any(
        point is not None and (point.counts.get("hits") or point.counts.get("misses")) for point in points
    ):
        return []
    share = ratio(points, Count.REPEAT_HITS, Count.REPEAT_MISSES)
    rates = (
        Line("hits", per_second(frame, points, (Count.HITS,)), "c8"),
        Line("misses", per_second(frame, points, (Count.MISSES,)), "c3"),
    )
    took = (
        line_of("p95 of hits", points, lambda point: point.hit_p95, "c8"),
        line_of("p95 of misses", points, lambda point: point.miss_p95, "c3"),
    )
    charts = [
        Chart("cache", "Hits and misses per second", "/s", rates, frame=frame),
        Chart(
            "cache-share", "Hit rate of repeated requests", "%", (Line("hit rate", share, "c1"),), frame=frame
        ),
        Chart("cache-latency", "Latency of ok answers by cache", "ms", took, log=True, frame=frame),
    ]
    return [chart for chart in charts if not chart.is_empty]


def probe_charts(data: RunData) -> list[Chart]:
    """Return the readings of the probes over time."""
    return [_reading(number, one) for number, one in enumerate(data.readings[:MOST_READINGS])]


def _reading(number: int, reading: ReadingParts) -> Chart:
    unit, scale = reading_unit(reading.reading)

    def scaled(take: Callable[[list[float]], float]) -> Callable[[ReadingPart], Value]:
        return lambda part: rounded(take(part.values) * scale)

    line = partial(line_of_parts, reading.parts)
    lines = [line_of_parts(reading.parts, "mean", lambda part: rounded(part.mean * scale), "c1")]
    if any(part is not None and len(part.values) > 1 for part in reading.parts):
        lines += [
            line("highest", scaled(max), "c2", dashed=True),
            line("lowest", scaled(min), "c7", dashed=True),
        ]
    lines = [replace(one, bridged=True, breaks=reading.silent) for one in lines]
    note = f"{reading.failed} of {reading.n} readings failed" if reading.failed else ""
    return Chart(f"probe-{number}", reading.name, unit, tuple(lines), frame=reading.frame, note=note)


def line_of_parts(
    parts: Sequence[Part | None],
    name: str,
    take: Callable[[Part], Value],
    colour: str,
    *,
    dashed: bool = False,
    stepped: bool = False,
) -> Line:
    """Return a line of what is taken of each part; None where there is none."""
    values = [None if part is None else take(part) for part in parts]
    return Line(name, values, colour, dashed=dashed, stepped=stepped)


def reading_unit(reading: str) -> tuple[str, float]:
    """Return the unit in which a reading is drawn, and what its SI values are multiplied with."""
    if reading in SHARES:
        return "%", 100.0
    return ("B", 1.0) if reading in SIZES else ("", 1.0)


def fleet_charts(data: RunData) -> list[Chart]:
    """Return the generator's own health over time: CPU, lateness, what is under way, and who reported."""
    fleet = data.fleet
    if fleet is None:
        return []
    frame, parts = fleet.frame, fleet.parts

    line = partial(line_of_parts, parts)
    lags = (
        line("start lag p99, worst worker", lambda part: in_ms(part.start_lag) if part.rows else None, "c2"),
        line(
            "loop lag, longest", lambda part: in_ms(part.loop_lag) if part.rows else None, "c7", dashed=True
        ),
    )
    cpu = (
        line("busiest worker", lambda part: rounded(part.cpu_max) if part.rows else None, "c3"),
        line("mean", lambda part: rounded(part.cpu_mean), "c1"),
    )
    flying = (line("under way", lambda part: part.in_flight if part.rows else None, "c1"),)
    charts = [
        Chart("generator-cpu", "CPU of the workers", "cores", cpu, frame=frame),
        Chart("generator-lag", "Lateness of the generator", "ms", lags, frame=frame),
        Chart("generator-flight", "Requests under way", "", flying, frame=frame),
    ]
    if any(part is not None and part.expected is not None for part in parts):
        charts.append(_workers(fleet))
    return [chart for chart in charts if not chart.is_empty]


def _workers(fleet: FleetParts) -> Chart:
    line = partial(line_of_parts, fleet.parts)
    lines = [
        line("expected", lambda part: part.expected, "c7", dashed=True, stepped=True),
        line("reporting, fewest", lambda part: part.reporting, "c8", stepped=True),
    ]
    if any(part is not None and part.lost for part in fleet.parts):
        lines.append(line("lost, most", lambda part: part.lost, "c3", stepped=True))
    return Chart("fleet", "Workers", "", tuple(lines), frame=fleet.frame)
