"""How far counters went between readings, over restarts of whoever counts.

Counters such as a cache's hits count from the start of their process, so what a run did is a difference.
A counter that went down was set back: the difference of that step is its new value, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadgate.plan.probe import RATE
from loadgate.watch.parse import Reason
from loadgate.watch.probes import Value
from loadgate.watch.usage import SHORTEST

if TYPE_CHECKING:
    from loadgate.store.watch import Reading

Row = tuple[float, Sequence[float | None]]
"""A time and the values of some counters that were read together; None where there is no reading."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Counters that were lower at `at` than before: a restart, or somebody emptied them."""

    at: float
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """How far counters went from the reading at `start` to the one at `end` (run time)."""

    start: float
    end: float
    totals: tuple[float, ...]
    resets: tuple[Reset, ...]
    readings: int


def growth(rows: Iterable[Row]) -> Growth | None:
    """Add up how far counters that are read together went; None with fewer than two whole readings.

    Rows are in order of time; a row that lacks a value is passed over. When one counter went down all are
    taken to have begun again at 0, since they live in the same process: after a restart one of them may
    already be past its old value. What was counted between the last reading before a reset and the reset
    itself is not known, so totals are then a lower bound.
    """
    whole = list(_whole(rows))
    if len(whole) < 2:
        return None
    (start, before), *later = whole
    totals = [0.0] * len(before)
    resets = []
    end = start
    for end, after in later:
        base = before
        if went_down(before, after):
            resets.append(Reset(end, before, after))
            base = (0.0,) * len(after)
        totals = [total + new - old for total, new, old in zip(totals, after, base, strict=True)]
        before = after
    return Growth(start, end, tuple(totals), tuple(resets), len(whole))


def went_down(before: Sequence[float], after: Sequence[float]) -> bool:
    """Tell whether any counter is lower than it was."""
    return any(new < old for old, new in zip(before, after, strict=True))


def rows_of(readings: Iterable[Reading], probe: str, names: Sequence[str]) -> list[Row]:
    """Put the named readings of one probe's attempts side by side, in order of time."""
    found: dict[float, dict[str, float | None]] = {}
    for item in readings:
        if item.probe == probe and item.reading in names:
            found.setdefault(item.at, {})[item.reading] = item.value
    return [(at, tuple(values.get(name) for name in names)) for at, values in sorted(found.items())]


def hit_rate(readings: Iterable[Reading], probe: str) -> tuple[float | None, Growth | None]:
    """Return the server's own hit rate over the readings of a cache probe, and the differences behind it.

    hits / (hits + misses), both as differences; None when nothing was asked, or with under two readings.
    """
    grown = growth(rows_of(readings, probe, ("hits", "misses")))
    if grown is None or not sum(grown.totals):
        return None, grown
    return grown.totals[0] / sum(grown.totals), grown


class Rates:
    """The growth per second of the counters of one probe, from attempt to attempt.

    A counter that went down was set back, and with it all of the probe's: they count from 0 then.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._last: tuple[float, dict[str, float]] | None = None

    def add(self, at: float, values: Sequence[Value]) -> tuple[Value, ...]:
        """Take the readings of an attempt at run time `at`, and return a rate for each counter.

        An attempt in which a counter has no value changes nothing, nor does one that comes too soon after the
        last: the next one spans both.
        """
        found = {item.reading: item for item in values if item.reading in self._names}
        now = {name: item.value for name, item in found.items() if item.value is not None}
        if len(now) < len(self._names):
            failed = next((item for item in found.values() if item.value is None), None)
            error = failed.error if failed is not None else str(Reason.FAULT)
            return tuple(Value(f"{name}{RATE}", None, error) for name in self._names)
        last, self._last = self._last, (at, now)
        if last is None:
            missing = f"{Reason.NO_BASELINE}: this is the first look at the counter"
            return tuple(Value(f"{name}{RATE}", None, missing) for name in self._names)
        before, old = last
        if at - before < SHORTEST:
            self._last = last
            return tuple(
                Value(f"{name}{RATE}", None, f"{Reason.TOO_SOON}: {at - before:.3g} s")
                for name in self._names
            )
        base = dict.fromkeys(old, 0.0) if went_down(list(old.values()), [now[name] for name in old]) else old
        return tuple(Value(f"{name}{RATE}", (now[name] - base[name]) / (at - before)) for name in self._names)


def _whole(rows: Iterable[Row]) -> Iterator[tuple[float, tuple[float, ...]]]:
    for at, values in rows:
        known = tuple(value for value in values if value is not None)
        if len(known) == len(values):
            yield at, known
