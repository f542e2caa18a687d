"""Values over time that somebody wrote down or exported: as points, and as a CSV table of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loadgate.plan.conditions import parse_subject
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.sla import parser_of
from loadgate.plan.units import UnitError, parse_duration

LAST: Final = 10.0
"""Seconds that the only row of a table holds."""

Parse = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Point:
    """A value in SI that holds from `start` to `end`, of so many requests; None is no data."""

    start: float
    end: float
    value: float | None
    requests: int = 1000


class Table:
    """A CSV table: `at` in seconds or as a duration, then a column for each series; empty cells are no data.

    Values are in SI, or have their unit. A row holds until the next one, the last as long as the one before.
    """

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._rows = [row for row in csv.reader(io.StringIO(text)) if row]
        self._problems: list[Problem] = []

    def points(self) -> dict[str, list[Point]]:
        """Return the points of each column by its name; raise PlanError with every problem."""
        head = [cell.strip() for cell in self._rows[0]] if self._rows else []
        if len(head) < 2 or head[0] != "at":
            hint = "the first line names the columns, for example at,emotion.response_time"
            raise PlanError([Problem(self._file, "", "is no table of series", hint)])
        parsers = [self._parser(name) for name in head[1:]]
        times: list[float] = []
        columns: list[list[float | None]] = [[] for _ in parsers]
        for number, row in enumerate(self._rows[1:], 2):
            if len(row) != len(head):
                self._fault(number, f"there are {len(row)} cells, not {len(head)}")
                continue
            at = self._cell(number, row[0], parse_duration)
            if at is None or (times and at <= times[-1]):
                self._fault(number, "its time is not after the one before it", "sort the lines by time")
                continue
            times.append(at)
            for column, cell, parse in zip(columns, row[1:], parsers, strict=True):
                column.append(self._cell(number, cell, parse))
        if self._problems:
            raise PlanError(self._problems)
        ends = [*times[1:], _last_end(times)]
        return {
            name: [Point(*place) for place in zip(times, ends, column, strict=True)]
            for name, column in zip(head[1:], columns, strict=True)
        }

    def _parser(self, name: str) -> Parse:
        try:
            return parser_of(parse_subject(name).metric)
        except UnitError as error:
            self._fault(1, error.message, error.hint)
            return float

    def _cell(self, number: int, cell: str, parse: Parse) -> float | None:
        if not cell.strip():
            return None
        try:
            return _number(cell, parse)
        except UnitError as error:
            self._fault(number, error.message, error.hint)
            return None

    def _fault(self, number: int, message: str, hint: str = "") -> None:
        self._problems.append(Problem(self._file, "", f"line {number}: {message}", hint))


def _number(text: str, parse: Parse) -> float:
    """Read a value in SI, or with its unit."""
    try:
        value = float(text)
    except ValueError:
        return parse(text)
    if not math.isfinite(value):
        raise UnitError(f"'{text}' is no number", "leave the cell empty where there is no data")
    return value


def _last_end(times: list[float]) -> float:
    """Return the time until which the last row holds."""
    if len(times) < 2:
        return times[-1] + LAST if times else 0.0
    return 2 * times[-1] - times[-2]
