"""What is kept of a run to compare it with later: its verdict, its plan, and its steady phase in parts.

A run.db holds much that no comparison needs (other phases, other series, the fleet, failures) and may be
large, so it is not copied. Kept are, for each endpoint, the counts and the histogram of the response times
of ok answers, merged exactly into at most 240 parts of equal length: enough to estimate how the parts of a
run hang together, and with the parts merged every percentile is the run's own, to the last request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from loadgate.errors import StoreError
from loadgate.measure.window import Count, Series, Window
from loadgate.store.folder import RunFolder
from loadgate.store.reader import RunReader
from loadgate.store.rows import pack_histograms, unpack_histograms

MOST_PARTS: Final = 240
"""Parts of an endpoint's steady phase."""
SERIES: Final = (str(Series.RESPONSE_OK),)
VALUES: Final = (
    "scenario",
    "host",
    "mode",
    "model",
    "started_at",
    "ended",
    "workers_expected",
    "versions",
    "machine",
    "fingerprint",
)
"""Keys of the `run` table that say under what conditions a run was made."""

_STEADY = "steady"
_COUNTS = frozenset(str(count) for count in Count)


@dataclass(frozen=True)
class KeptRun:
    """One run as a comparison sees it; `verdict` is the content of its verdict.json, `plan` of plan.json.

    `parts` are the steady windows of each endpoint in order of time, equally long but for the first and
    last; they hold the series of `SERIES` alone.
    """

    id: str
    verdict: Mapping[str, Any]
    plan: Mapping[str, Any] | None
    values: Mapping[str, Any]
    parts: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Return the seconds of steady load that were run."""
        return float(self.verdict["steady_seconds"])

    @property
    def steady(self) -> tuple[tuple[float, float], ...]:
        """Return the steady intervals as they were run, in seconds of run time."""
        return tuple((float(part["start"]), float(part["end"])) for part in self.verdict["steady"])

    def to_wire(self) -> dict[str, Any]:
        """Return it as plain values and bytes."""
        return {
            "id": self.id,
            "verdict": dict(self.verdict),
            "plan": None if self.plan is None else dict(self.plan),
            "values": dict(self.values),
            "parts": {name: [_packed(part) for part in parts] for name, parts in self.parts.items()},
        }

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read it back; StoreError or MeasureError when it is not one."""
        try:
            return cls._checked(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"a kept run is damaged: {error!r}", hint="use a copy of it") from error

    @classmethod
    def _checked(cls, data: Any) -> Self:
        parts = {
            str(name): tuple(_unpacked(str(name), part) for part in packed)
            for name, packed in data["parts"].items()
        }
        run = cls(str(data["id"]), data["verdict"], data["plan"], data["values"], parts)
        _check_verdict(run.verdict)
        if not math.isfinite(run.seconds) or not all(end > start for start, end in run.steady):
            raise ValueError("its steady phase makes no sense")
        return run


def keep(run: RunFolder, verdict: Mapping[str, Any]) -> KeptRun:
    """Read what is kept of a run; `verdict` is the content of its verdict.json.

    Raises StoreError when the run database cannot be read or the verdict is not one.
    """
    try:
        _check_verdict(verdict)
        steady = [(float(part["start"]), float(part["end"])) for part in verdict["steady"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"the verdict of {run.id} is damaged: {error!r}",
            hint=f"judge it again: `loadgate verdict {run.id}`",
        ) from error
    with RunReader(run.database) as reader, reader.snapshot():
        values = {key: reader.value(key, None) for key in VALUES}
        plan = reader.value("plan", None)
        length = steady[-1][1] - steady[0][0] if steady else 0.0
        parts = parts_of(reader.windows(phase=_STEADY, series=SERIES), length)
    return KeptRun(run.id, dict(verdict), plan, values, parts)


def parts_of(windows: Iterable[Window], length: float) -> dict[str, tuple[Window, ...]]:
    """Merge steady windows into at most about `MOST_PARTS` parts an endpoint, exactly.

    `length` in seconds is that from the start of the steady phase to its end. A part is a whole number of
    seconds long, counted from run time 0; longer windows (compacted ones) stay as they are.
    """
    width = max(1, math.ceil(length / MOST_PARTS))
    merged: dict[str, dict[int, Window]] = {}
    for window in windows:
        own = merged.setdefault(window.endpoint, {})
        number = window.second // width
        if number in own:
            own[number].merge(window)
        else:
            own[number] = window.copy()
    return {name: tuple(own[number] for number in sorted(own)) for name, own in sorted(merged.items())}


def _check_verdict(verdict: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError unless what a comparison reads of a verdict is there."""
    if not isinstance(verdict["verdict"], str) or not isinstance(verdict["ended"], str):
        raise TypeError("it has no verdict")
    if type(verdict["void"]) is not bool or type(verdict["running"]) is not bool:
        raise TypeError("it does not say whether the run is void")
    for key in ("steady_seconds", "steady_seconds_planned"):
        if not math.isfinite(float(verdict[key])):
            raise ValueError(f"{key} is {verdict[key]}")
    if not isinstance(verdict["steady"], list):
        raise TypeError("it has no steady phase")


def _packed(window: Window) -> list[Any]:
    counts = {str(name): n for name, n in window.counts.items() if n}
    kept = {name: histogram for name, histogram in window.histograms.items() if name in SERIES}
    return [window.second, window.span, counts, pack_histograms(kept)]


def _unpacked(endpoint: str, data: Any) -> Window:
    second, span, counts, blob = data
    if type(second) is not int or type(span) is not int or span < 1:
        raise ValueError("a part has no time")
    if not _COUNTS.issuperset(counts) or not all(type(n) is int and n >= 0 for n in counts.values()):
        raise ValueError("a part has counts that are none")
    return Window(second, span, endpoint, _STEADY, dict(counts), dict(unpack_histograms(blob, SERIES)))
