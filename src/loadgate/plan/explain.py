"""Say each objective in words: what is measured, what decides, and the evidence it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from loadgate.plan.draft import Draft, looks_like_table, read_draft, read_table
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.reading import read_toml
from loadgate.plan.samples import WINDOWS_NEEDED, expected_readings, expected_requests, need_of, probe_of
from loadgate.plan.scenario import Probe, Scenario
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import format_duration, format_rate, format_share

WIDTH: Final = 80
_WAIT: Final = {
    "response_time": "the response time (from the moment the request was due to the last byte)",
    "service_time": "the service time (from the first byte sent to the last byte received)",
}
_WINDOWED: Final = " (in a window: the highest reading)"
_LATENCY_ON: Final = {
    "adjusted": (
        "A request that failed, timed out, did not finish or found no free user counts as infinitely slow."
    ),
    "ok": "Only acceptable answers count: failures and timeouts do not make it worse.",
    "all": "Every answer counts, failed and timed-out ones with the time they took.",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """One objective in words; `expected` and `enough` are None where no scenario says them."""

    name: str
    measured: str
    target: str
    alert: str
    windows: str
    bad: str
    needed: int | None
    unit: str
    expected: float | None
    at_most: bool
    enough: bool | None
    evidence: str
    left_out: bool = False
    optional: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A table in words, with the planned run where there is one, and the problems of the plan."""

    sla: str
    scenario: str | None
    load: str
    rows: tuple[Explained, ...]
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "sla": self.sla,
            "scenario": self.scenario,
            "load": self.load or None,
            "objectives": [row.as_dict() for row in self.rows],
            "problems": [problem.as_dict() for problem in self.problems],
        }


def explain_file(path: Path, scenario: Path | None = None) -> Explanation:
    """Explain an SLA table, or the table of a scenario; raise PlanError when a file is faulty.

    With a scenario (`path` itself or `scenario`), say too how much evidence its run is expected to give.
    Warnings do not stop it; they are in `problems`.
    """
    raw, fault = read_toml(path, str(path))
    if raw is None:
        raise PlanError([fault] if fault is not None else [])
    if not looks_like_table(raw):
        if scenario is not None:
            hint = "name the SLA table first, or leave --scenario out"
            raise PlanError([Problem(str(path), "", "is a scenario, and --scenario names another", hint)])
        return _of_draft(read_draft(path), None)
    if scenario is not None:
        return _of_draft(read_draft(scenario, sla=path), str(path))
    table = read_table(path, str(path))
    if any(problem.is_error for problem in table.problems):
        raise PlanError(table.problems)
    rows = tuple(explain_row(row) for row in table.objectives)
    return Explanation(str(path), None, "", rows, tuple(table.problems))


def _of_draft(draft: Draft, sla: str | None) -> Explanation:
    """Explain the whole table of a scenario, left-out rows included."""
    if draft.scenario is None or any(problem.is_error for problem in draft.problems):
        raise PlanError(draft.problems)
    scenario = draft.scenario
    timeline = Timeline.of(scenario)
    table = draft.table
    rows = tuple(explain_row(row, scenario, timeline) for row in (table.objectives if table else ()))
    load = describe_load(scenario, timeline)
    return Explanation(sla or (table.file if table else ""), draft.file, load, rows, tuple(draft.problems))


def explain_plan(plan: Plan) -> tuple[Explained, ...]:
    """Explain the objectives of a loaded plan."""
    return tuple(explain_row(row, plan.scenario, plan.timeline) for row in plan.objectives)


def explain_row(
    row: Objective, scenario: Scenario | None = None, timeline: Timeline | None = None
) -> Explained:
    """Say one objective in words, with the planned run's evidence where a scenario is given."""
    need = need_of(row)
    expected, at_most = None, False
    policy = scenario.verdict if scenario is not None else None
    left_out = policy is not None and any(row.matches(word) for word in policy.leave_out)
    if scenario is not None and timeline is not None:
        expected, at_most = _expected(row, scenario, timeline)
    enough = None
    if need.count is None:
        enough = False
    elif expected is not None and (not at_most or expected < need.count):
        enough = expected > row.target.value if row.metric == "throughput" else expected >= need.count
    return Explained(
        name=row.name,
        measured=_measured(row, scenario),
        target=row.target.text,
        alert=row.alert.text if row.alert is not None else "",
        windows=_windows(row, timeline.seconds() if timeline is not None else None),
        bad=_bad(row),
        needed=need.count,
        unit=need.unit,
        expected=expected,
        at_most=at_most,
        enough=None if left_out else enough,
        evidence=_needs(row) + (_gives(row, expected, at_most, enough) if scenario is not None else ""),
        left_out=left_out,
        optional=policy is not None and any(row.matches(word) for word in policy.optional),
    )


def _expected(row: Objective, scenario: Scenario, timeline: Timeline) -> tuple[float | None, bool]:
    """Return the expected evidence of a row (a rate for throughput), and whether it is an upper bound."""
    need = need_of(row)
    if need.unit == "readings":
        probe: Probe | None = probe_of(row, scenario.probes)
        return (float(expected_readings(probe, timeline)) if probe is not None else 0.0), False
    requests, at_most = expected_requests(row.endpoint, scenario.traffic, timeline)
    if row.metric == "throughput":
        return (requests / timeline.seconds() if requests is not None else None), at_most
    return requests, at_most or (row.metric == "cache_hit_rate" and requests is not None)


def describe_load(scenario: Scenario, timeline: Timeline) -> str:
    """Describe the planned load in one line."""
    steady = format_duration(round(timeline.seconds(), 3))
    if scenario.traffic.model == "closed":
        most = max((stage.users or 0 for stage in scenario.traffic.stages), default=0)
        return f"{steady} steady of {format_duration(timeline.end)}, up to {most} users, closed model"
    whole = format_duration(round(timeline.end, 3))
    return f"{steady} steady of {whole}, about {_grouped(timeline.arrivals())} requests judged"


def _grouped(count: float) -> str:
    """Write a count with a space between thousands."""
    return f"{round(count):,}".replace(",", " ")


def _measured(row: Objective, scenario: Scenario | None) -> str:
    """Say what the row measures, and over what."""
    where = f"of '{row.endpoint}'" if row.endpoint else "of all endpoints together"
    over = "over the steady phase"
    if row.is_latency:
        return f"{_statistic(row)} of {_WAIT[row.metric]} {where}, {over}. {_LATENCY_ON[row.latency_on]}"
    if row.metric == "error_rate":
        return f"The share of requests {where} that got no acceptable answer, of all that were due, {over}."
    if row.metric == "throughput":
        return f"Acceptable answers {where} per second, {over}."
    if row.metric == "cache_hit_rate":
        return (
            f"Of the requests {where} that repeat an earlier text, the share answered from the cache, {over}."
        )
    if row.metric == "cpu":
        core = (
            "100% is one core"
            if scenario is None or scenario.verdict.cpu_of == "core"
            else ("100% is all cores that it may use")
        )
        return f"CPU time of the target's processes per second, {over}: the mean{_WINDOWED}. {core}."
    if row.metric == "memory":
        return f"Resident memory of the target's processes, {over}: the mean{_WINDOWED}."
    if row.metric == "uptime":
        return f"The share of good health readings, of all that were due, {over}."
    probe, reading = row.probe_reading or ("", "")
    return f"The reading '{reading}' of the probe '{probe}', {over}: the mean."


def _statistic(row: Objective) -> str:
    """Say a statistic in words."""
    if row.statistic == "max":
        return "The longest"
    if row.statistic == "mean":
        return "The mean"
    return f"The {row.statistic}"


def _windows(row: Objective, steady: float | None) -> str:
    """Say when the row fails, passes and warns; `steady` are the planned seconds, where they are known."""
    every, held = format_duration(row.every), format_duration(row.for_)
    past = row.alert.text if row.alert is not None else f"not {row.target.text}"
    fails = f"Fails when {past} over the whole phase, or for {held} in its windows of {every}."
    if steady is not None and steady < row.for_:
        fails = f"Fails when {past} over the whole phase, which is too short for a breach of {held} in it."
    between = " Between target and alert threshold it warns." if row.alert is not None else ""
    return fails + between


def _worse(row: Objective) -> str:
    """Say in words what does not meet a target: "50ms or more", "less than 99%"."""
    value = row.target.spelled(row.target.value)
    if row.target.upward:
        return f"less than {value}" if row.target.inclusive else f"{value} or less"
    return f"more than {value}" if row.target.inclusive else f"{value} or more"


def _bad(row: Objective) -> str:
    """Say what counts against the row."""
    if row.is_latency:
        what = f"a request that takes {_worse(row)}"
        what += ", or is not answered well" if row.latency_on == "adjusted" else ""
        if row.rank is not None:
            return f"{what}; at most {format_share(1 - row.rank / 10_000)} of them may be"
        return f"{what}; not one may be" if row.statistic == "max" else what
    return {
        "error_rate": "a request that failed, timed out, was not sent, did not finish or was lost",
        "throughput": f"a mean of {_worse(row)}: arrivals that were not answered well do not count",
        "cache_hit_rate": "a repeated request that the service computed anew",
        "uptime": "a health reading that was due and did not say that the service is well",
    }.get(row.metric, f"a mean of {_worse(row)}")


def _needs(row: Objective) -> str:
    """Say how much evidence the row needs."""
    need = need_of(row)
    if row.metric == "throughput":
        return f"Needs an offered rate above {row.target.spelled(row.target.value)}."
    if need.count is None:
        return f"No number of samples can show {row.target.text}."
    if need.unit == "readings":
        return f"Needs {need.count} readings, and 95% of those that were due."
    if row.statistic == "max":
        return "Needs at least 1 request; no number of them supports a claim about a max."
    judged = "PASS and FAIL take the one-sided 95% bounds of the value, not the value alone."
    if row.statistic == "mean":
        return f"Needs at least 1 request, and {WINDOWS_NEEDED} s for the bounds of a mean. {judged}"
    return f"Needs {need.count} {need.unit}, none of them bad, for a 95% one-sided claim. {judged}"


def _gives(row: Objective, expected: float | None, at_most: bool, enough: bool | None) -> str:
    """Say how much the planned run is expected to give, and whether that is enough."""
    if expected is None:
        return " The plan does not say how many the run will give."
    if row.metric == "throughput":
        closed = " at most, as fast as the target answers" if at_most else ""
        verdict = "enough" if expected > row.target.value * 1.05 else "too close" if enough else "not enough"
        return f" The run offers {format_rate(expected)}{closed}: {verdict}."
    count = _grouped(expected)
    bound = "at most" if at_most else "about"
    verdict = {True: "enough", False: "not enough", None: "it depends on the run"}[enough]
    if row.metric == "cache_hit_rate" and enough is None:
        verdict = "how many of them repeat a text depends on the corpus"
    return f" The run is expected to give {bound} {count}: {verdict}."


def render(explanation: Explanation, width: int = WIDTH) -> str:
    """Write an explanation for people, at most `width` columns wide."""
    count = len(explanation.rows)
    lines = [f"SLA table {explanation.sla}: {count} {plural('objective', count)}"]
    if explanation.scenario is not None:
        lines.append(
            fill(f"Planned run {explanation.scenario}: {explanation.load}", width, subsequent_indent="  ")
        )
    for number, row in enumerate(explanation.rows, 1):
        mark = "  (left out of this run)" if row.left_out else "  (optional)" if row.optional else ""
        lines += ["", f"{number}. {row.name}: {_heading(row)}{mark}"]
        entries: Sequence[tuple[str, str]] = (
            ("Measured", row.measured),
            ("Decides", row.windows),
            ("Bad is", row.bad + "."),
            ("Evidence", "" if row.left_out else row.evidence),
        )
        lines += [
            fill(text, width, initial_indent=f"   {label:<9} ", subsequent_indent=" " * 13)
            for label, text in entries
            if text
        ]
    return "\n".join(lines)


def _heading(row: Explained) -> str:
    """Say target and alert threshold on one line."""
    return f"target {row.target}" + (f", alert {row.alert}" if row.alert else ", no alert threshold")


def plural(word: str, count: int) -> str:
    """Return the word for a count."""
    return word if count == 1 else word + "s"
