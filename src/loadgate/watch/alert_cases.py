"""Hand-written series, and what the rules should say of them: unit tests for alert rules.

A TOML file gives values and expectations, a CSV file only values. A value stands for the window's value
itself: nothing is merged. Where several fall into a window of the rule, the worst of them is its value; where
one spans several windows, it is the value of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, StrictInt, ValidationError, field_validator

from loadgate.measure.window import ALL, Count, Window
from loadgate.plan.alerts import AlertRule
from loadgate.plan.conditions import Subject, parse_subject
from loadgate.plan.fields import PlanModel, PlanPath, Seconds
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.reading import parse_toml, read_text
from loadgate.plan.sla import parser_of
from loadgate.plan.strict import problems_of
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import UnitError, format_duration
from loadgate.store.watch import AlertChange
from loadgate.watch.alert_points import Point, Table
from loadgate.watch.alert_state import RuleState, move
from loadgate.watch.alerts import change_of, in_order
from loadgate.watch.series import RequestSampler, Sample, Sampler, WindowSampler

TOLD: Final = ("firing", "resolved", "flapping")
"""States that people are told of: of these, an unexpected one is a failure."""
MOST_VALUES: Final = 1_000_000

_REPEATED = re.compile(r"(.*?)\s+x\s*(\d{1,7})", re.ASCII)


class Expected(PlanModel):
    """One `[[expect]]`: a change of state at a run time."""

    alert: str = Field(description="name of the rule", examples=["emotion-slow"])
    state: Literal["pending", "inactive", "firing", "resolved", "flapping"] = Field(
        description="the state that it takes", examples=["firing"]
    )
    at: Seconds = Field(description="run time of the change", examples=["2m30s"])

    @property
    def text(self) -> str:
        """Say it in a few words."""
        return f"{self.alert} {self.state} at {format_duration(self.at)}"


class GivenSeries(PlanModel):
    """One `[[series]]`: values at equal distances."""

    name: str = Field(description="what is measured, as in `when`", examples=["emotion.response_time"])
    every: Seconds = Field(default=10.0, gt=0, description="time from one value to the next")
    start: Seconds = Field(default=0.0, description="run time of the first value")
    values: str = Field(description="values, `VALUE xN` for N of them, `_` for none", examples=["90ms x6, _"])
    requests: StrictInt = Field(default=1000, ge=1, description="requests behind each value, for burn rates")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        parse_subject(name)
        return name

    def points(self) -> list[Point]:
        """Return the values with their times; UnitError for one that is no value of the metric."""
        parse = parser_of(parse_subject(self.name).metric)
        found: list[Point] = []
        for item in self.values.split(","):
            text, count = item.strip(), 1
            if match := _REPEATED.fullmatch(text):
                text, count = match[1], int(match[2])
            if len(found) + count > MOST_VALUES:
                raise UnitError(f"there are more than {MOST_VALUES} values", "write a shorter series")
            value = None if text == "_" else parse(text)
            for _ in range(count):
                at = self.start + len(found) * self.every
                found.append(Point(at, at + self.every, value, self.requests))
        return found


class Case(PlanModel):
    """A file of hand-written series and expectations."""

    scenario: PlanPath | None = Field(default=None, description="the scenario that the rules belong to")
    series: tuple[GivenSeries, ...] = Field(description="the values")
    expect: tuple[Expected, ...] = Field(description="every firing, flapping and resolving that is due")


@dataclass(frozen=True)
class Given:
    """Series by the name of what is measured; `expected` is None where a file says nothing of it."""

    points: Mapping[str, Sequence[Point]]
    expected: tuple[Expected, ...] | None = None
    scenario: Path | None = None

    @property
    def end(self) -> float:
        """Return the run time at which the last value ends."""
        return max((point.end for points in self.points.values() for point in points), default=0.0)


def read_given(path: Path) -> Given:
    """Read a TOML or CSV file of hand-written series; raise PlanError with every problem."""
    text, fault = read_text(path, str(path), "")
    if fault is not None:
        raise PlanError([fault])
    if path.suffix == ".csv":
        return Given(Table(str(path), text).points())
    return _read_toml(text, path)


def _read_toml(text: str, path: Path) -> Given:
    raw, fault = parse_toml(text, str(path))
    if fault is not None:
        raise PlanError([fault])
    try:
        case = Case.model_validate(raw, context={"toml": True, "base": path.absolute().parent})
    except ValidationError as error:
        raise PlanError(problems_of(error, Case, str(path))) from error
    points: dict[str, list[Point]] = {}
    problems = []
    for index, series in enumerate(case.series):
        key = f"series[{index}]"
        if not series.values.strip():
            problems.append(
                Problem(str(path), f"{key}.values", "there are no values", 'for example "90ms x6"')
            )
            continue
        try:
            new = series.points()
        except UnitError as error:
            problems.append(Problem(str(path), f"{key}.values", error.message, error.hint))
            continue
        points.setdefault(series.name, []).extend(new)
    if problems:
        raise PlanError(problems)
    return Given(points, case.expect, case.scenario)


class GivenSampler(WindowSampler):
    """The samples of a rule on values that somebody wrote down."""

    def __init__(self, rule: AlertRule, timeline: Timeline, points: Sequence[Point]) -> None:
        super().__init__(rule, timeline)
        self._points = sorted(
            (point for point in points if point.value is not None), key=lambda one: one.start
        )
        self._first = 0

    def sample(self, start: float, end: float) -> Sample:
        """Return the worst of the values that hold in a window."""
        while self._first < len(self._points) and self._points[self._first].end <= start + 1e-9:
            self._first += 1
        values = []
        for point in self._points[self._first :]:
            if point.start >= end - 1e-9:
                break
            values.append(point.value)
        empty = Sample(start, end, self.counting(start, end))
        found = [value for value in values if value is not None]
        limit = self.rule.limit
        if not found or limit is None or empty.seconds <= 0:
            return empty
        return self.compared(replace(empty, value=max(found) if limit.upward else min(found), n=len(found)))


def say(
    rules: Iterable[AlertRule], given: Given, timeline: Timeline, until: float | None = None
) -> list[AlertChange]:
    """Return all that some rules say of hand-written series; UnitError for a rule that they cannot feed."""
    chosen = tuple(rules)
    changes: list[AlertChange] = []
    for rule in chosen:
        state = RuleState()
        points = points_of(rule.subject, given)
        sampler = _sampler(rule, timeline, points)
        for sample in sampler.close(given.end if until is None else until):
            moved = move(rule, state, sample)
            state = moved.state
            if moved.said is not None:
                changes.append(change_of(rule, sample, moved))
    return in_order(changes, chosen)


def points_of(subject: Subject, given: Given) -> list[Point]:
    """Return the values of what a rule is about: by its own name, its statistic left out, or its reading."""
    names = {subject.name}
    if subject.probe and subject.reading:
        names.add(f"{subject.probe}.{subject.reading}")
    found: list[Point] = []
    for name, points in given.points.items():
        if name in names or parse_subject(name).name in names:
            found += points
    return found


def _sampler(rule: AlertRule, timeline: Timeline, points: Sequence[Point]) -> Sampler:
    if rule.burn is None:
        return GivenSampler(rule, timeline, points)
    if rule.burn.over is not None:
        raise UnitError(
            f"rule '{rule.name}' counts slow requests, which values do not tell",
            "test it with a recorded run",
        )
    sampler = RequestSampler(rule, timeline)
    good, bad = (
        (Count.OK, Count.FAILED)
        if rule.subject.metric == "error_rate"
        else (Count.REPEAT_HITS, Count.REPEAT_MISSES)
    )
    phase = rule.phases[0] if rule.phases else "steady"
    for point in points:
        if point.value is None:
            continue
        share = point.value if rule.subject.metric == "error_rate" else 1 - point.value
        number = round(share * point.requests)
        window = Window(int(point.start), max(1, int(point.end) - int(point.start)), ALL, phase)
        window.endpoint = rule.subject.endpoint or ALL
        window.add(good, point.requests - number)
        window.add(bad, number)
        for piece in _cut(window, rule.every):
            sampler.take(piece)
    return sampler


def _cut(window: Window, every: float) -> list[Window]:
    """Cut a made-up window where one of the rule's ends; its requests go to the first piece in proportion."""
    pieces = []
    at, counts = window.second, dict(window.counts)
    while at < window.end:
        end = min(window.end, int((at // every + 1) * every))
        share = (end - at) / (window.end - at)
        part = {name: round(number * share) for name, number in counts.items()}
        counts = {name: number - part[name] for name, number in counts.items()}
        pieces.append(Window(at, end - at, window.endpoint, window.phase, part))
        at = end
    return pieces


def differences(changes: Sequence[AlertChange], expected: Sequence[Expected]) -> list[str]:
    """Return what was expected and did not come, and what people were told that was not expected."""
    said = {(one.rule, one.state, round(one.at, 3)) for one in changes}
    due = {(one.alert, one.state, round(one.at, 3)) for one in expected}
    missing = [f"expected, but did not come: {one.text}" for one in expected if _key(one) not in said]
    extra = [
        f"came, but was not expected: {one.rule} {one.state} at {format_duration(one.at)}"
        for one in changes
        if one.state in TOLD and (one.rule, one.state, round(one.at, 3)) not in due
    ]
    return missing + extra


def _key(one: Expected) -> tuple[str, str, float]:
    return one.alert, one.state, round(one.at, 3)
