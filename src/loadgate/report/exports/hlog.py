"""Windows as an HDR log (`.hlog`, version 1.3): an interval histogram a line, tagged with its endpoint.

The lines are written here, because the `hdrhistogram` package's writer leaves out tags, cuts the maximum to a
whole number and fails on the start time; its reader, and HistogramLogProcessor, read them back. Values are
µs. The column Interval_Max is in ms, as logs have it by custom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from urllib.parse import quote

from loadgate.measure.window import Window, windows_merged

LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def hlog_lines(windows: Iterable[Window], series: str, run: str, wall: float | None) -> Iterator[bytes]:
    """Give the lines of one series; `windows` are in order of time, `wall` is the moment of run time 0.

    Windows of one endpoint that begin and end together (those of two phases) are one interval. A window
    without a value of the series has no line. Start times are run time; where `wall` is None
    nobody knows more, and no base time is written.
    """
    yield f"#[Loadgate: run {_comment(run)}, series {series}, values in microseconds]\n".encode()
    yield b"#[Histogram log format version 1.3]\n"
    yield from _moments(wall)
    yield f"{LEGEND}\n".encode()
    for (second, span), together in groupby(windows, key=lambda window: (window.second, window.span)):
        parts: dict[str, list[Window]] = {}
        for window in together:
            parts.setdefault(window.endpoint, []).append(window)
        for endpoint in sorted(parts):
            histogram = windows_merged(parts[endpoint]).histogram(series)
            if histogram.maximum is None:
                continue
            text = histogram.to_hdr().encode().decode("ascii")
            longest = histogram.maximum / 1000
            yield f"Tag={tag_of(endpoint)},{second:.3f},{span:.3f},{longest:.3f},{text}\n".encode()


def _moments(wall: float | None) -> Iterator[bytes]:
    """Give the lines that say when run time 0 was; one that says so where nobody knows."""
    if wall is None:
        yield b"#[The start of this run is not known: times are seconds of run time]\n"
        return
    told = datetime.fromtimestamp(wall, UTC).isoformat()
    yield f"#[BaseTime: {wall:.3f} (seconds since epoch)]\n".encode()
    yield f"#[StartTime: {wall:.3f} (seconds since epoch), {told}]\n".encode()


def tag_of(endpoint: str) -> str:
    """Return an endpoint as a tag: what would end it (commas, blanks, line ends) is percent-encoded."""
    return quote(endpoint, safe="/:()[]{}<>+*'\"!?&=;@$#~^|.-_")


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() and char not in "[]" else "?" for char in text)
