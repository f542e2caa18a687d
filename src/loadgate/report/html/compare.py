"""Two runs side by side: what changed, and where it shows; a pure function of what was collected of both.

What is worse and what is noise is said by comparison.json's content alone (`judge/comparison.py`); the charts
lay both runs over each other by run time and by percentile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgate.measure.window import ALL
from loadgate.report import comparison as told
from loadgate.report.cut import verdict_of, worst_first
from loadgate.report.html import view
from loadgate.report.html.charts import Chart, Line, line_of, named, nines_of, per_second, spectrum_line
from loadgate.report.html.collect import RunData
from loadgate.report.html.marks import marks_left_out, marks_of
from loadgate.report.html.page import render
from loadgate.report.html.report import chart_data, without_verdict
from loadgate.report.html.summary import summary_of
from loadgate.report.html.timeline import Point, Timeline
from loadgate.report.text import SYMBOLS, clean

MOST_ROWS: Final = 200


@dataclass(frozen=True)
class Change:
    """A row of the comparison."""

    verdict: str
    symbol: str
    cells: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Compared:
    """What the comparison says; `refused` is why there is none."""

    verdict: str
    symbol: str
    title: str
    reasons: tuple[str, ...]
    rows: tuple[Change, ...]
    notes: tuple[str, ...]
    refused: str = ""
    more: str = ""


def render_two(
    baseline: RunData, candidate: RunData, content: Mapping[str, Any] | None, refused: str = ""
) -> str:
    """Return the page of a candidate beside its baseline; both were cut into the same parts of run time.

    `content` is that of comparison.json, None where the two cannot be compared, and `refused` says why.
    """
    sides = [_safe(baseline), _safe(candidate)]
    charts = [*_spectra(*sides), *_p95(*sides), *_rates(*sides)]
    return render(
        "compare.html",
        chart_data(charts, sides[1]),
        compared=compared(content, refused),
        sides=list(zip(("baseline", "candidate"), (summary_of(side) for side in sides), sides, strict=True)),
        spectra=[chart for chart in charts if chart.kind == "spectrum"],
        more_marks=marks_left_out(sides[1]),
        over_time=[chart for chart in charts if chart.kind == "time"],
        latencies=[(side.id, view.latency_table(side.verdict)) for side in sides],
        environments=[(side.id, view.environment_table(side)) for side in sides],
    )


def _safe(data: RunData) -> RunData:
    """Return a run without its verdict where that is damaged in its depth."""
    try:
        summary_of(data)
        view.latency_table(data.verdict)
        marks_of(data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if data.verdict is None:
            raise
        return without_verdict(data, error)
    return data


def compared(content: Mapping[str, Any] | None, refused: str = "") -> Compared:
    """Return what a comparison says, in the words of the console."""
    if content is None:
        return Compared("NOT COMPARED", "?", "The two runs cannot be compared", (), (), (), clean(refused))
    rows = worst_first(content["rows"], verdict_of)
    return Compared(
        content["verdict"],
        SYMBOLS.get(content["verdict"], "?"),
        told.title(content),
        tuple(told.own_reasons(content)),
        tuple(
            Change(
                row["verdict"],
                SYMBOLS.get(row["verdict"], "?"),
                (told.row_name(row), *told.cells(row)),
                "" if row["verdict"] == "PASS" else clean(row["reason"]),
            )
            for row in rows[:MOST_ROWS]
        ),
        tuple(clean(note) for note in told.notes(content)),
        more=told.more_rows(rows[MOST_ROWS:]),
    )


def _both(baseline: RunData, candidate: RunData) -> Iterator[tuple[str, Timeline, Timeline]]:
    """Give the endpoints that both runs have, the candidate's busiest first."""
    one, other = baseline.timeline, candidate.timeline
    if one is not None and other is not None:
        for endpoint in other.points:
            if endpoint in one.points:
                yield endpoint, one, other


def _spectra(baseline: RunData, candidate: RunData) -> list[Chart]:
    charts = []
    for number, (endpoint, one, other) in enumerate(_both(baseline, candidate)):
        if endpoint not in one.steady or endpoint not in other.steady:
            continue
        (was, lost), (now, gone) = (
            one.steady[endpoint].response("adjusted"),
            other.steady[endpoint].response("adjusted"),
        )
        places = nines_of(max(was.total + lost, now.total + gone))
        lines = (
            spectrum_line("baseline", was, lost, places, "c7"),
            spectrum_line("candidate", now, gone, places, "c2"),
        )
        charts.append(
            Chart(f"spectrum-{number}", named(endpoint), "ms", lines, "spectrum", log=True, x=tuple(places))
        )
    return charts


def _p95(baseline: RunData, candidate: RunData) -> list[Chart]:
    charts = []
    for number, (endpoint, one, other) in enumerate(_both(baseline, candidate)):
        rows: tuple[Sequence[Point | None], ...] = (one.points[endpoint], other.points[endpoint])
        lines = tuple(
            line_of(name, points, lambda point: point.percentiles[1], colour)
            for name, points, colour in zip(
                ("baseline p95", "candidate p95"), rows, ("c7", "c2"), strict=True
            )
        )
        charts.append(Chart(f"p95-{number}", named(endpoint), "ms", lines, log=True, frame=other.frame))
    return charts


def _rates(baseline: RunData, candidate: RunData) -> list[Chart]:
    found = [(one, other) for endpoint, one, other in _both(baseline, candidate) if endpoint == ALL]
    charts = []
    for one, other in found:
        lines = tuple(
            _ok(name, run, colour)
            for name, run, colour in (("baseline ok", one, "c7"), ("candidate ok", other, "c8"))
        )
        charts.append(Chart("rate", "Requests per second that ended ok", "/s", lines, frame=other.frame))
    return charts


def _ok(name: str, timeline: Timeline, colour: str) -> Line:
    return Line(name, per_second(timeline.frame, timeline.points[ALL], ("ok",)), colour)
