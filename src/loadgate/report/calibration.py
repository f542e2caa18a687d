"""A calibration for people: the noise of each statistic, and what it takes to see past it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from loadgate.plan.units import format_duration
from loadgate.report.text import clean, columns, console_for


def print_calibration(content: Mapping[str, Any], path: Path) -> None:
    """Print the content of a calibration on stdout; `path` is the file it was written to."""
    console = console_for(sys.stdout)
    for line in render(content):
        console.print(Text(line))
    console.print(Text(f"written to {path}"))


def render(content: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines: standard deviations, then how long to look."""
    runs, seconds = len(content["runs"]), format_duration(content["seconds"])
    yield f"{clean(content['scenario'])}: noise of {runs} runs of {seconds} steady load"
    yield ""
    rows = [("ENDPOINT", "STATISTIC", "BETWEEN RUNS", "WITHIN A RUN", "ALTOGETHER", "NOISE FLOOR")]
    for endpoint, table in content["noise"].items():
        for statistic, noise in table.items():
            shown = [_share(statistic, noise[key]) for key in ("between", "within", "total", "floor")]
            rows.append((clean(endpoint), statistic, *shown))
    yield from columns(rows, (2, 3, 4, 5))
    yield ""
    detects = content["detects"]
    yield (
        f"to detect +{detects['change']:.0%} in a {detects['statistic']} "
        f"with {detects['probability']:.0%} probability:"
    )
    for endpoint, found in content["recommended"].items():
        yield f"  {clean(endpoint)}: {_way(found)}"
    enough = content["interleave"]
    if enough is not None:
        blocks, length = enough["blocks"], format_duration(enough["seconds"])
        yield f"  all of them: loadgate compare --interleave A B SCENARIO --blocks {blocks} --block {length}"


def _way(found: Mapping[str, Any]) -> str:
    one, other = found["interleave"], found["stored"]
    if one is None and other is None:
        return str(found["reason"])
    ways = []
    if one is not None:
        load = format_duration(4 * one["blocks"] * one["seconds"])
        ways.append(
            f"{one['blocks']} interleaved blocks of {format_duration(one['seconds'])} ({load} of load)"
        )
    if other is not None:
        ways.append(f"{other['baseline_runs']} baseline runs of {format_duration(other['seconds'])}")
    else:
        ways.append("no number of baseline runs is enough")
    return "; or ".join(ways)


def _share(statistic: str, value: float | None) -> str:
    """Write a standard deviation: as a share of the value, an error rate's in points."""
    if value is None:
        return "-"
    if statistic == "error_rate":
        return f"{value * 100:.3f} pt"
    return f"{math.expm1(value) * 100:.2f}%"
