"""Remember which deltas were committed: as ranges of sequence numbers, one source at a time."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

# A worker numbers its deltas from 0 or from 1, so only what is missing from 1 on is a gap.
_FIRST_SEQUENCE = 1


class DeltaKey(NamedTuple):
    """What tells the deltas of a run apart; compares equal to a plain tuple of the three."""

    worker: str
    incarnation: int
    sequence: int


class Range(NamedTuple):
    """The sequence numbers from `first` to `last`, both included."""

    first: int
    last: int


class Ranges:
    """A set of sequence numbers, kept as sorted ranges that never touch."""

    def __init__(self, ranges: list[Range] | None = None) -> None:
        self._ranges = sorted(ranges or [])

    def add(self, sequence: int) -> bool:
        """Add a number; False when it is there already."""
        at = bisect_right(self._ranges, (sequence, float("inf")))
        before = self._ranges[at - 1] if at else None
        after = self._ranges[at] if at < len(self._ranges) else None
        if before is not None and before.last >= sequence:
            return False
        joins_before = before is not None and before.last == sequence - 1
        joins_after = after is not None and after.first == sequence + 1
        first = before.first if before is not None and joins_before else sequence
        last = after.last if after is not None and joins_after else sequence
        self._ranges[at - joins_before : at + joins_after] = [Range(first, last)]
        return True

    def ranges(self) -> list[Range]:
        """Give the ranges in order."""
        return list(self._ranges)

    def gaps(self) -> list[Range]:
        """Give what is missing from 1 up to the greatest number there is."""
        missing = []
        expected = _FIRST_SEQUENCE
        for first, last in self._ranges:
            if first > expected:
                missing.append(Range(expected, first - 1))
            expected = last + 1
        return missing


@dataclass
class Source:
    """One incarnation of a worker: its committed deltas, and how many of them came again."""

    committed: int = 0
    duplicates: int = 0
    sequences: Ranges = field(default_factory=Ranges)


class GapChange(NamedTuple):
    """A range of deltas that was found missing ("gap"), or has since come ("gap_filled")."""

    kind: str
    worker: str
    incarnation: int
    missing: Range


class Ledger:
    """The tables `delta` and `delta_source` inside the writer's transactions.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sources = load_sources(connection)
        self._before: dict[tuple[str, int], Ranges] = {}

    def admit(self, key: DeltaKey) -> bool:
        """Note a delta; False for one that was committed before, or was noted before in this commit."""
        name = (key.worker, key.incarnation)
        source = self._sources.setdefault(name, Source())
        if name not in self._before:
            self._before[name] = Ranges(source.sequences.ranges())
        if source.sequences.add(key.sequence):
            source.committed += 1
            return True
        source.duplicates += 1
        return False

    def store(self) -> list[GapChange]:
        """Write what `admit` noted, and return which gaps came up or were filled."""
        gone, new, sources, changes = [], [], [], []
        for name, before in self._before.items():
            source = self._sources[name]
            old, now = set(before.ranges()), set(source.sequences.ranges())
            gone += [(*name, first) for first, _ in old - now]
            new += [(*name, *one) for one in now - old]
            sources.append((*name, source.committed, source.duplicates))
            changes += _gap_changes(name, before, source.sequences)
        self._before = {}
        self._connection.executemany(
            "DELETE FROM delta WHERE worker = ? AND incarnation = ? AND first_sequence = ?", gone
        )
        self._connection.executemany("INSERT INTO delta VALUES (?, ?, ?, ?)", new)
        self._connection.executemany("INSERT OR REPLACE INTO delta_source VALUES (?, ?, ?, ?)", sources)
        return changes


def load_sources(connection: sqlite3.Connection) -> dict[tuple[str, int], Source]:
    """Read every source with its ranges."""
    sources = {
        (worker, incarnation): Source(committed, duplicates)
        for worker, incarnation, committed, duplicates in connection.execute(
            "SELECT worker, incarnation, committed, duplicates FROM delta_source ORDER BY worker, incarnation"
        )
    }
    ranges: dict[tuple[str, int], list[Range]] = {}
    for worker, incarnation, first, last in connection.execute(
        "SELECT worker, incarnation, first_sequence, last_sequence FROM delta"
    ):
        ranges.setdefault((worker, incarnation), []).append(Range(first, last))
    for name, found in ranges.items():
        sources.setdefault(name, Source()).sequences = Ranges(found)
    return sources


def _gap_changes(name: tuple[str, int], before: Ranges, now: Ranges) -> list[GapChange]:
    old, new = before.gaps(), now.gaps()
    # What is left of a gap that was filled in part is no new gap.
    found = [gap for gap in new if not any(one.first <= gap.first and gap.last <= one.last for one in old)]
    filled = [gap for gap in old if not any(gap.first <= one.last and one.first <= gap.last for one in new)]
    return [GapChange("gap", *name, gap) for gap in found] + [
        GapChange("gap_filled", *name, gap) for gap in filled
    ]
