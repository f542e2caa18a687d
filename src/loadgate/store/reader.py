"""Read a run database: finished, half-written, or growing; never in the way of its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

from loadgate.errors import StoreError
from loadgate.measure.columns import Columns, Encoded
from loadgate.measure.delta import Failure, FleetRow
from loadgate.measure.parts import STEADY
from loadgate.measure.window import ALL, Window
from loadgate.store.connection import open_for_reading
from loadgate.store.failure_table import load_failures
from loadgate.store.failure_times import FailureTime, load_failure_times
from loadgate.store.faults import told_as_store_errors
from loadgate.store.fleet_ledger import LEDGER_SELECT, LONGEST_ROW, LedgerRow
from loadgate.store.fleet_rows import FLEET_SELECT, fleet_row_of
from loadgate.store.ledger import Range, load_sources
from loadgate.store.objective_table import NOT_KEPT, PART_COLUMNS, KeptParts, kept_parts
from loadgate.store.rows import WINDOW_COLUMNS, encoded_histograms, tally_of, window_of
from loadgate.store.schema import run_schema
from loadgate.store.values import from_json, read_value
from loadgate.store.writer import Event

_WINDOW_SELECT = f"SELECT {', '.join(WINDOW_COLUMNS)}, loss FROM window"
_TOTAL_SELECT = f"SELECT {', '.join(WINDOW_COLUMNS)}, loss FROM window_total"

_KEY = itemgetter(0, 1, 2, 3)
"""What rows are ordered by."""

# Rows may be merged further after they were summed, which can spread the mark of a loss: the ledger tells.
_LOST_IN_BLOCK = (
    "SELECT 1 FROM ledger AS told WHERE told.second < block.second + block.span "
    f"AND told.second > block.second - {LONGEST_ROW} AND told.second + told.span > block.second "
    "AND (told.lost > 0 OR told.unoffered > 0)"
)

_MOST_KNOWN = 20_000
"""Values that are looked for among later ones."""


class DeltaSource(NamedTuple):
    """What is known of one incarnation of a worker: deltas committed, come again, and still missing."""

    worker: str
    incarnation: int
    committed: int
    duplicates: int
    last_sequence: int
    gaps: tuple[Range, ...]
    ranges: tuple[Range, ...] = ()
    """What was committed."""


class RunReader:
    """A reader of one run database, for one thread.

    Every method gives the state of one moment. A database that has no table yet reads as an empty run.
    Raises StoreError when the file is missing, empty, damaged, or of a newer Loadgate.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = open_for_reading(path, run_schema())
        self._connection = self._opened.connection
        self._ready = False

    def close(self) -> None:
        """Close the database; again is fine."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read inside come from one and the same moment of a growing run."""
        if self._connection.in_transaction:
            yield
            return
        with told_as_store_errors("read", self._path):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def value(self, key: str, default: Any = None) -> Any:
        """Read a value of the `run` table, or the default where it was never set."""
        with told_as_store_errors("read", self._path):
            return read_value(self._connection, key, default)

    def revision(self) -> int:
        """Give the number of the last commit; 0 for an empty run."""
        return int(self.value("revision", 0))

    def windows(
        self,
        phase: str | None = None,
        start: float | None = None,
        end: float | None = None,
        endpoint: str | Collection[str] | None = None,
        series: Collection[str] | None = None,
    ) -> Iterator[Window]:
        """Give the windows that begin in start <= second < end (run time), in order of time.

        `phase` and `endpoint` (one or several) choose; None means all. `series` names the histograms
        that are wanted, which saves decoding the others. Windows are decoded as they are asked for.
        """
        chosen, values = _chosen(phase, start, end, endpoint)
        for row in self._rows(f"{_WINDOW_SELECT} {chosen} ORDER BY second, span, endpoint, phase", values):
            with told_as_store_errors("read", self._path):
                window = window_of(row, series)
            yield window

    def columns(
        self,
        phase: str | None = None,
        start: float | None = None,
        end: float | None = None,
        endpoint: str | Collection[str] | None = None,
        series: Collection[str] | None = None,
        *,
        totals: Sequence[tuple[int, int]] = (),
    ) -> Columns:
        """Give the windows that `windows` gives by columns, in order of endpoint, then of time.

        All are decoded at once, which takes a fraction of the time, and as much memory as they need. `totals`
        stand for steady rows as in `pieces`.
        """
        chosen, values = _chosen(phase, start, end, endpoint)
        rows = self._with_totals(chosen, values, totals)
        apart: dict[str, Encoded] = {}
        with told_as_store_errors("read", self._path):
            for row in rows:
                tally = tally_of(row, series)
                part = apart.get(tally.endpoint)
                if part is None:
                    part = apart[tally.endpoint] = Encoded()
                part.tallies.append(tally)
                part.histograms.append([] if series == () else encoded_histograms(row[-2], series))
            return Columns.decoded([apart[name] for name in sorted(apart)])

    def pieces(
        self,
        phase: str | None = None,
        end: float | None = None,
        series: Collection[str] | None = None,
        rows: int = 96,
        *,
        but: str | None = None,
        totals: Sequence[tuple[int, int]] = (),
    ) -> Iterator[Columns]:
        """Give the windows that `columns` gives piece by piece, so that memory does not grow with the run.

        Pieces are of so many windows and in order of time; within a piece windows are in order of endpoint,
        then of time. `but` is a phase that is left out. In the place of the steady rows of `totals`, some of
        those that `totals` gives, in order, their sums are given: as one row, without the series that these
        lack.
        """
        chosen, values = _chosen(phase, None, end, None)
        if but is not None:
            chosen, values = f"{chosen} AND phase <> ?", [*values, but]
        found = self._with_totals(chosen, values, totals)
        while piece := list(islice(found, rows)):
            piece.sort(key=itemgetter(2))
            part = Encoded()
            with told_as_store_errors("read", self._path):
                for row in piece:
                    part.tallies.append(tally_of(row, series))
                    part.histograms.append([] if series == () else encoded_histograms(row[-2], series))
                columns = Columns.decoded([part])
            yield columns

    def _with_totals(
        self, chosen: str, values: list[Any], totals: Sequence[tuple[int, int]]
    ) -> Iterator[sqlite3.Row | tuple[Any, ...]]:
        """Give rows in order of time, and those of some blocks as their totals."""
        order = "ORDER BY second, span, endpoint, phase"
        if not totals:
            yield from self._rows(f"{_WINDOW_SELECT} {chosen} {order}", values)
            return
        at = float("-inf")
        for first, end in [*_put_together(totals), (float("inf"), float("inf"))]:
            limits = "AND second >= ? AND second < ?"
            yield from self._rows(f"{_WINDOW_SELECT} {chosen} {limits} {order}", [*values, at, first])
            sums = self._rows(f"{_TOTAL_SELECT} {chosen} {limits} {order}", [*values, first, end])
            others = f"{_WINDOW_SELECT} {chosen} {limits} AND phase <> '{STEADY}' {order}"
            yield from merge(sums, self._rows(others, [*values, first, end]), key=_KEY)
            at = end

    def totals(self, *, but_losses: bool = False) -> list[tuple[int, int]]:
        """Give the first second and the end of the blocks whose steady rows are summed, in order.

        `but_losses` leaves out those in which some load was lost: a sum does not tell when.
        """
        lost = f"AND NOT EXISTS ({_LOST_IN_BLOCK})" if but_losses else ""
        rows = self._rows(
            f"SELECT second, second + span FROM total_block AS block WHERE state = 'whole' {lost} ORDER BY 1",
            [],
        )
        return [(int(first), int(end)) for first, end in rows]

    def extent(self, phase: str | None = None) -> tuple[int, int, int] | None:
        """Give the first second of any window, the end of the last one, and the longest span; or None."""
        clause, values = ("", []) if phase is None else ("WHERE phase = ?", [phase])
        found = next(
            self._rows(f"SELECT min(second), max(second + span), max(span) FROM window {clause}", values),
            None,
        )
        return None if found is None or found[0] is None else (int(found[0]), int(found[1]), int(found[2]))

    def rows(self) -> int:
        """Give the number of windows."""
        return int(next(self._rows("SELECT count(*) FROM window", []), (0,))[0])

    def kept(self, definition: str) -> KeptParts:
        """Give the windows of an objective that were kept, in order of time, and how many were evaluated.

        `measure.parts.definition` tells what objective it is. A window that had no request is there as well:
        StoreError where there are not as many as were evaluated.
        """
        head = next(self._rows("SELECT id, kept FROM objective WHERE definition = ?", [definition]), None)
        if head is None:
            return NOT_KEPT
        columns = ", ".join(PART_COLUMNS)
        rows = self._rows(
            f"SELECT start, span, {columns} FROM objective_window WHERE objective = ? ORDER BY start",
            [head[0]],
        )
        with told_as_store_errors("read", self._path):
            found = kept_parts(int(head[1]), [*rows])
        if len(found.parts) != found.evaluated:
            raise StoreError(
                f"the run database {self._path} is damaged: of the windows that were kept of an objective "
                f"{len(found.parts)} of {head[1]} are there",
                hint="use a copy of the run; without them it cannot be judged",
            )
        return found

    def total(
        self,
        phase: str | None = None,
        start: float | None = None,
        end: float | None = None,
        endpoint: str | Collection[str] | None = None,
        series: Collection[str] | None = None,
    ) -> Window:
        """Merge all windows that `windows` gives into one, exactly.

        Its phase and endpoint are the ones asked for, else the ones that all windows have in common,
        else "*". It covers the time from the first window to the last; without any it is empty, with a
        span of 0.
        """
        whole: Window | None = None
        phases, endpoints = set[str](), set[str]()
        for window in self.windows(phase, start, end, endpoint, series):
            if whole is None:
                whole = Window(window.second, window.span, ALL, ALL)
            whole.merge(window)
            phases.add(window.phase)
            endpoints.add(window.endpoint)
        whole = whole or Window(0, 0, ALL, ALL)
        if isinstance(endpoint, str):
            endpoints = {endpoint}
        whole.phase = phase or (phases.pop() if len(phases) == 1 else ALL)
        whole.endpoint = endpoints.pop() if len(endpoints) == 1 else ALL
        return whole

    def changes(self, after: int) -> tuple[int, list[Window]]:
        """Give the present revision, and every window that commits after revision `after` changed.

        Each is the whole window as it stands now. Passing the returned revision next time misses
        nothing and repeats nothing.
        """
        with self.snapshot():
            revision = self.revision()
            # Left to itself SQLite reads every window in order of time, to save the sorting of a few.
            chosen = "INDEXED BY window_revision WHERE revision > ?"
            statement = f"{_WINDOW_SELECT} {chosen} ORDER BY second, span, endpoint, phase"
            rows = list(self._rows(statement, [after]))
        with told_as_store_errors("read", self._path):
            return revision, [window_of(row) for row in rows]

    def merged_until(self) -> int:
        """Give the run time up to which some window is longer than a second; 0 where none is."""
        rows = self._rows("SELECT coalesce(max(second + span), 0) FROM window WHERE span > 1", [])
        return int(next(iter(rows), (0,))[0])

    def endpoints(self) -> list[str]:
        """Give the endpoints that have any window, sorted."""
        return [row[0] for row in self._rows("SELECT DISTINCT endpoint FROM window ORDER BY endpoint", [])]

    def failures(self) -> list[Failure]:
        """Give the kinds of failure, the most frequent first."""
        with told_as_store_errors("read", self._path):
            return list(load_failures(self._connection)) if self._has_tables() else []

    def failure_times(self) -> list[FailureTime]:
        """Give when the first kinds of failure came, in order of time; none for a run that has no times."""
        with told_as_store_errors("read", self._path):
            return list(load_failure_times(self._connection)) if self._has_tables() else []

    def fleet(self, after: int | None = None) -> Iterator[FleetRow]:
        """Give the workers' rows of the seconds greater than `after` (None: all), in order of time."""
        clause, values = ("", []) if after is None else ("WHERE second > ?", [after])
        known: dict[Any, Any] = {}
        for row in self._rows(f"{FLEET_SELECT} {clause} ORDER BY second, worker, incarnation", values):
            yield fleet_row_of(_shared(row, known))

    def ledger(self, after: int | None = None) -> Iterator[LedgerRow]:
        """Give the fleet ledger's rows of the seconds greater than `after` (None: all), in order of time."""
        clause, values = ("", []) if after is None else ("WHERE second > ?", [after])
        for row in self._rows(f"{LEDGER_SELECT} {clause} ORDER BY second", values):
            yield LedgerRow(*row)

    def events(self) -> list[Event]:
        """Give the events in the order in which they were written."""
        rows = self._rows("SELECT at, kind, detail, wall FROM event ORDER BY id", [])
        with told_as_store_errors("read", self._path):
            return [Event(at, kind, from_json(detail), wall) for at, kind, detail, wall in rows]

    def sources(self) -> list[DeltaSource]:
        """Give, for each incarnation of each worker, the account of its deltas."""
        with self.snapshot(), told_as_store_errors("read", self._path):
            found = load_sources(self._connection) if self._has_tables() else {}
        answer = []
        for (worker, incarnation), source in sorted(found.items()):
            ranges, gaps = source.sequences.ranges(), tuple(source.sequences.gaps())
            last = ranges[-1].last if ranges else -1
            answer.append(
                DeltaSource(
                    worker, incarnation, source.committed, source.duplicates, last, gaps, tuple(ranges)
                )
            )
        return answer

    def _has_tables(self) -> bool:
        """Tell whether the writer has made the tables yet."""
        if not self._ready:
            self._ready = run_schema().version_in(self._connection) == run_schema().version
        return self._ready

    def _rows(self, statement: str, values: list[Any]) -> Iterator[sqlite3.Row | tuple[Any, ...]]:
        with told_as_store_errors("read", self._path):
            if not self._has_tables():
                return
            cursor = self._connection.execute(statement, values)
        while True:
            with told_as_store_errors("read", self._path):
                rows = cursor.fetchmany(64)
            if not rows:
                return
            yield from rows


def _chosen(
    phase: str | None, start: float | None, end: float | None, endpoint: str | Collection[str] | None
) -> tuple[str, list[Any]]:
    """Return the condition that chooses windows, and its values."""
    clauses, values = ["1"], list[Any]()
    for clause, value in (("phase = ?", phase), ("second >= ?", start), ("second < ?", end)):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if endpoint is not None:
        names = [endpoint] if isinstance(endpoint, str) else sorted(set(endpoint))
        clauses.append(f"endpoint IN ({', '.join('?' * len(names))})")
        values += names
    return f"WHERE {' AND '.join(clauses)}", values


def _shared(row: Sequence[Any], known: dict[Any, Any]) -> list[Any]:
    """Return a row whose values are those of earlier rows where they are equal, and of the same type."""
    if len(known) > _MOST_KNOWN:
        known.clear()
    return [known.setdefault((type(value), value), value) for value in row]


def _put_together(blocks: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Return the stretches that blocks in order make up."""
    found: list[tuple[float, float]] = []
    for first, end in blocks:
        if found and found[-1][1] == first:
            found[-1] = found[-1][0], end
        else:
            found.append((first, end))
    return found
