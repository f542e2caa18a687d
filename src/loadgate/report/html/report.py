"""The report of one run: html from what was collected, and the file in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadgate.report.html import run_charts, view
from loadgate.report.html.charts import Chart
from loadgate.report.html.collect import RunData, collect
from loadgate.report.html.marks import marks_left_out, marks_of
from loadgate.report.html.page import render
from loadgate.report.html.summary import summary_of
from loadgate.store.folder import RunFolder


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, what it says, its charts, its tables."""

    id: str
    title: str
    intro: str = ""
    lines: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[view.Table, ...] = ()
    empty: str = ""
    """What is said where there is nothing to show."""


def write_report(folder: RunFolder) -> Path:
    """Write a run's report.html into its folder, whole or not at all, and return its path.

    Raises OSError when it cannot be written, and UsageError where the chart library is missing.
    """
    path, draft = folder.report, folder.report.with_name(f".{folder.report.name}.new")
    try:
        draft.write_text(render_run(collect(folder)), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def render_run(data: RunData) -> str:
    """Return the page of a run; one whose verdict has unreadable parts is shown without its verdict."""
    try:
        return _page(data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if data.verdict is None:
            raise
        return _page(without_verdict(data, error))


def without_verdict(data: RunData, error: Exception) -> RunData:
    """Return what is left of a run whose verdict is damaged in its depth: its alerts go with it."""
    told = f"no verdict to show, nor its alerts: {data.verdict_file} is damaged ({error!r})"
    return replace(data, verdict=None, alerts=(), missing=(told, *data.missing))


def _page(data: RunData) -> str:
    sections = sections_of(data)
    kinds, more_kinds = view.kinds_of(data)
    return render(
        "run.html",
        chart_data([chart for section in sections for chart in section.charts], data),
        summary=summary_of(data),
        sections=sections,
        missing=data.missing,
        findings=view.lines_of(data.verdict, "findings"),
        alerts=view.lines_of(data.verdict, "alerts"),
        kinds=kinds,
        more_kinds=more_kinds,
        plan=view.plan_text(data),
        marks=[mark for mark in marks_of(data) if mark.kind != "phase"],
        more_marks=marks_left_out(data),
    )


def chart_data(charts: Sequence[Chart], data: RunData) -> Mapping[str, Any]:
    """Return what the page's script draws."""
    return {
        "charts": [chart.to_dict() for chart in charts],
        "marks": [mark.to_dict() for mark in marks_of(data)],
        "anchor": data.anchor,
    }


def sections_of(data: RunData) -> list[Section]:
    """Return the sections below the first screen, in their order."""
    return [*_latencies(data), *_outcomes(data), *_surroundings(data)]


def _latencies(data: RunData) -> list[Section]:
    """Return how long answers took: over time, by rank, and how many there were of each."""
    return [
        Section(
            "latency",
            "Latency over time",
            _latency_intro(data),
            charts=tuple(run_charts.latency_charts(data)),
            tables=_some(view.latency_table(data.verdict)),
            empty="No request was recorded.",
        ),
        Section(
            "spectrum",
            "Percentile spectrum",
            "The steady phase, from the fastest request to the slowest: each step to the right is "
            "ten times rarer. "
            "Response time counts from the intended start, service time from the first byte sent: "
            "the room between them is waiting.",
            charts=tuple(run_charts.spectrum_charts(data)),
            empty="No request of a steady phase was recorded.",
        ),
        Section(
            "heat",
            "Latency heat map",
            "How many ok answers had which response time: two bands are two kinds of answer, "
            "which no percentile shows.",
            charts=tuple(run_charts.heat_charts(data)),
            empty="No request was recorded.",
        ),
    ]


def _outcomes(data: RunData) -> list[Section]:
    """Return what was asked for, and what came of it."""
    content = data.verdict
    return [
        Section(
            "load",
            "Load",
            "What was offered, and what came back ok.",
            tuple(view.lines_of(content, "books")),
            tuple(run_charts.load_charts(data)),
            _some(view.books_table(content)),
            "No load was recorded.",
        ),
        Section(
            "failures", "Failures", charts=tuple(run_charts.failure_charts(data)), empty="No request failed."
        ),
        Section(
            "cache", "Cache", charts=tuple(run_charts.cache_charts(data)), empty="No answer told of a cache."
        ),
    ]


def _surroundings(data: RunData) -> list[Section]:
    """Return the target and the generator, and what happened to them."""
    content = data.verdict
    return [
        Section(
            "target",
            "Target",
            charts=tuple(run_charts.probe_charts(data)),
            tables=_some(view.readings_table(data)),
            empty="No probe read the target.",
        ),
        Section(
            "generator",
            "Generator",
            "The generator's own health: where it is short of something, the numbers above are not "
            "the target's.",
            tuple(view.lines_of(content, "generator")),
            tuple(run_charts.fleet_charts(data)),
            _some(view.workers_table(content)),
            "No worker reported.",
        ),
        Section(
            "happenings",
            "Events",
            tables=_some(view.happenings_table(data)),
            empty="Nothing was noted.",
        ),
        Section("environment", "Plan and machine", tables=(view.environment_table(data),)),
    ]


def _latency_intro(data: RunData) -> str:
    timeline = data.timeline
    if timeline is None:
        return ""
    width = "1 s" if timeline.frame.width == 1 else f"{timeline.frame.width} s"
    drawn = len([name for name in timeline.points if name != "*"])
    more = (
        f" The {drawn} busiest of {timeline.endpoints} endpoints are drawn."
        if drawn < timeline.endpoints
        else ""
    )
    return (
        f"Each point holds every request that ended in its {width}, merged exactly. What failed, timed out "
        f"or never ended counts as infinitely slow (▲ at the upper edge).{more}"
    )


def _some(table: view.Table | None) -> tuple[view.Table, ...]:
    return () if table is None else (table,)
