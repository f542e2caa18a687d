"""The windows of a run as a table: one row for each stored window, in order of time.

`docs/exports.md` lists the columns and is held against this list by a test. Columns are only
ever added, at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Count, Series, Window
from loadgate.store.database import RunReader

Kind = Literal["text", "whole", "number", "yes or no"]

PERCENTILES: Final = {"p50": 5000, "p90": 9000, "p95": 9500, "p99": 9900, "p99_9": 9990}
"""The percentiles of each series, in ten-thousandths."""
DETAILED: Final = (Series.RESPONSE_OK, Series.SERVICE_OK)
"""The series of which a row tells more than is judged."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `number` may be infinite or missing."""

    name: str
    kind: Kind
    meaning: str


def _columns() -> Iterator[Column]:
    yield Column("second", "whole", "run time at which the window begins, in seconds")
    yield Column("span", "whole", "its length in seconds: 1, or more where old windows were merged")
    yield Column("wall", "number", "the same moment by the wall clock, in seconds since 1970 (UTC)")
    yield Column("endpoint", "text", "the endpoint")
    yield Column("phase", "text", "the phase in which its requests were due")
    yield Column("loss", "yes or no", "whether a worker was lost in that time")
    for count in Count:
        yield Column(str(count), "whole", "the count of that name in measurement.md")
    yield Column(
        "response_n", "whole", "requests that response times are judged over, infinitely slow ones too"
    )
    yield Column("response_infinite", "whole", "those of them that count as infinitely slow")
    for name in PERCENTILES:
        yield Column(f"response_{name}_us", "number", f"{_spelled(name)} of them in µs, as it is judged")
    for series in DETAILED:
        of = f"of {series}"
        prefix = series.replace(".", "_")
        yield Column(f"{prefix}_n", "whole", f"values {of}")
        yield Column(f"{prefix}_min_us", "number", f"exact minimum {of} in µs")
        yield Column(f"{prefix}_mean_us", "number", f"exact mean {of} in µs")
        for name in PERCENTILES:
            yield Column(f"{prefix}_{name}_us", "number", f"{_spelled(name)} {of} in µs")
        yield Column(f"{prefix}_max_us", "number", f"exact maximum {of} in µs")


def _spelled(name: str) -> str:
    return name.replace("_", ".")


COLUMNS: Final = tuple(_columns())
"""Every column, in order."""


def rows_of(reader: RunReader, phase: str | None = None) -> Iterator[tuple[Any, ...]]:
    """Give the rows one by one; a value is None where there is none, and infinite where its rank is so."""
    wall = wall_of(reader)
    for window in reader.windows(phase=phase, series=[str(series) for series in DETAILED]):
        yield row_of(window, wall)


def wall_of(reader: RunReader) -> float | None:
    """Return the wall-clock second of run time 0; None where the run never began, or does not say."""
    anchor = reader.value("anchor", None)
    return float(anchor["wall"]) if isinstance(anchor, dict) and "wall" in anchor else None


def row_of(window: Window, wall: float | None) -> tuple[Any, ...]:
    """Return the row of a window, by the formulas of `measure`; `wall` is the moment of run time 0."""
    judged, infinite = window.response("adjusted")
    parts: list[Any] = [
        window.second,
        window.span,
        None if wall is None else wall + window.second,
        window.endpoint,
        window.phase,
        window.loss,
        *(window.count(count) for count in Count),
        judged.total + infinite,
        infinite,
        *_percentiles(judged, infinite),
    ]
    for series in DETAILED:
        found = window.histogram(series)
        parts += [found.total, _float(found.minimum), found.mean, *_percentiles(found), _float(found.maximum)]
    return tuple(parts)


def _percentiles(histogram: Histogram, infinite: int = 0) -> list[float | None]:
    return histogram.percentiles(tuple(PERCENTILES.values()), infinite)


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)
