"""Recorded arrivals: a CSV or JSON Lines file with one arrival per line.

CSV: `seconds[,endpoint]`, with an optional heading `at[,endpoint]`.
JSON Lines: `{"at": seconds, "endpoint": name}`, `[seconds, name]` or `seconds`.
Seconds count from the start of the run, never decrease, and are bare numbers.
Either every line names an endpoint or none does.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.reading import read_text

SHOWN: Final = 20
"""Faulty lines that are listed; the rest is counted."""
HEADINGS: Final = ("at", "time", "seconds")


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals of a recorded trace: seconds since the start, and the endpoint of each or None."""

    times: NDArray[np.float64]
    endpoints: tuple[str, ...] | None

    def count_of(self, endpoint: str | None) -> int | None:
        """Count the arrivals of one endpoint (of all for None); None where the trace names no endpoints."""
        if endpoint is None:
            return len(self.times)
        return None if self.endpoints is None else self.endpoints.count(endpoint)


def read_trace(path: Path) -> Trace:
    """Read and check a trace; raise PlanError with every faulty line, by number."""
    text, fault = read_text(path, str(path), "")
    if fault is not None:
        raise PlanError([fault])
    lines = _csv(text) if path.suffix.lower() == ".csv" else _jsonl(text)
    if path.suffix.lower() not in (".csv", ".jsonl", ".ndjson"):
        hint = "name it .csv (seconds,endpoint) or .jsonl"
        raise PlanError([Problem(str(path), "", "is neither a CSV nor a JSON Lines file", hint)])
    times, endpoints, faults = _collect(lines)
    if not times and not faults:
        faults.append("holds no arrivals")
    if faults:
        more = [f"and {len(faults) - SHOWN} more faulty lines"] if len(faults) > SHOWN else []
        hint = "one arrival per line: seconds since the start, then optionally the endpoint"
        raise PlanError([Problem(str(path), "", text, hint) for text in faults[:SHOWN] + more])
    named = tuple(endpoints) if endpoints[0] else None
    return Trace(np.array(times, dtype=np.float64), named)


def _collect(lines: Iterator[tuple[int, Any, Any]]) -> tuple[list[float], list[str], list[str]]:
    """Gather times, endpoints and faults; a faulty line gives no arrival."""
    times: list[float] = []
    endpoints: list[str] = []
    faults: list[str] = []
    for number, at, endpoint in lines:
        fault = _fault(at, endpoint)
        if not fault and times and at < times[-1]:
            fault = f"{at:g} s is before the arrival above it ({times[-1]:g} s)"
        if not fault and endpoints and bool(endpoint) != bool(endpoints[0]):
            fault = "either every line names an endpoint or none does"
        if fault:
            faults.append(f"line {number}: {fault}")
        else:
            times.append(float(at))
            endpoints.append(endpoint or "")
    return times, endpoints, faults


def _fault(at: Any, endpoint: Any) -> str:
    """Say what is wrong with one line's values, or nothing."""
    if isinstance(at, str):
        return at
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        return f"{at!r} is not a number of seconds"
    if at < 0:
        return f"{at:g} s is negative"
    if endpoint is not None and (not isinstance(endpoint, str) or not endpoint.strip()):
        return f"{endpoint!r} is not the name of an endpoint"
    return ""


def _csv(text: str) -> Iterator[tuple[int, Any, Any]]:
    """Yield (line, seconds or a fault, endpoint) of a CSV file; empty lines are skipped."""
    reader = csv.reader(text.splitlines())
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if not any(cells) or (reader.line_num == 1 and cells[0].lower() in HEADINGS):
            continue
        at: Any
        try:
            at = float(cells[0])
        except ValueError:
            at = f"'{cells[0]}' is not a number of seconds"
        if len(cells) > 2:
            at = f"{len(cells)} columns where one or two are expected"
        yield reader.line_num, at, cells[1] if len(cells) == 2 and cells[1] else None


def _jsonl(text: str) -> Iterator[tuple[int, Any, Any]]:
    """Yield (line, seconds or a fault, endpoint) of a JSON Lines file; empty lines are skipped."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, f"not JSON: {error}", None
            continue
        if isinstance(value, dict) and "at" in value and set(value) <= {"at", "endpoint"}:
            at, endpoint = value["at"], value.get("endpoint")
        elif isinstance(value, list) and 1 <= len(value) <= 2:
            at, endpoint = value[0], value[1] if len(value) == 2 else None
        elif isinstance(value, int | float):
            at, endpoint = value, None
        else:
            at, endpoint = 'neither {"at": seconds, "endpoint": name} nor [seconds, name] nor seconds', None
        if isinstance(at, str) and not isinstance(value, str) and isinstance(value, dict | list):
            at = at if at.startswith("neither") else f"{at!r} is not a number of seconds"
        yield number, at, endpoint
