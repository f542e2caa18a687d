"""Keep when each kind of failure came: counts by second for an hour, by 10 s for a day, by minute for ever.

The first kinds of a run have this; of later ones `failure` has the first and the last time. A report tells of
about a second, so all that it counted of a kind are put in the second of its last one.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

MOST_TIMED: Final = 20
"""Kinds whose times are kept: some 21,000 rows each in a week, if they come all the time."""
AGES: Final = ((3600, 10), (86_400, 60))
"""From which age in seconds on, counts are put together by how many seconds."""
MERGE_EVERY: Final = 600
"""Seconds of run time between two mergings of what has become old enough."""

Fingerprint = tuple[str, str, str, str]
_ADD = (
    "INSERT INTO failure_time (second, span, kind_id, count) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET count = count + excluded.count"
)


class FailureTime(NamedTuple):
    """How many failures of a kind came in `span` seconds from run second `second` on."""

    second: int
    span: int
    endpoint: str
    outcome: str
    kind: str
    message: str
    number: int


class FailureTimes:
    """The tables `failure_kind` and `failure_time` inside the writer's transactions.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[Fingerprint, int] = {
            (endpoint, outcome, kind, message): number
            for number, endpoint, outcome, kind, message in connection.execute(
                "SELECT id, endpoint, outcome, kind, message FROM failure_kind"
            )
        }
        self._merge_at = -math.inf

    def add(self, failures: Iterable[tuple[Fingerprint, float, int]], latest: float) -> None:
        """Count failures, each with its run time and number; `latest` is the newest run time there is."""
        found: Counter[tuple[int, int]] = Counter()
        for fingerprint, at, count in failures:
            number = self._id_of(fingerprint)
            if number is not None:
                found[max(0, math.floor(at)), number] += count
        self._connection.executemany(_ADD, [(at, 1, number, n) for (at, number), n in found.items()])
        if latest >= self._merge_at:
            self._merge_at = latest + MERGE_EVERY
            self._merge(latest)

    def _id_of(self, fingerprint: Fingerprint) -> int | None:
        """Return the number of a kind; None for one too many."""
        if fingerprint not in self._ids and len(self._ids) < MOST_TIMED:
            cursor = self._connection.execute(
                "INSERT INTO failure_kind (endpoint, outcome, kind, message) VALUES (?, ?, ?, ?)", fingerprint
            )
            self._ids[fingerprint] = int(cursor.lastrowid or 0)
        return self._ids.get(fingerprint)

    def _merge(self, latest: float) -> None:
        for age, span in AGES:
            limit = math.floor(latest - age) // span * span
            old = self._connection.execute(
                "SELECT second / ?1 * ?1, ?1, kind_id, sum(count) FROM failure_time "
                "WHERE second < ?2 AND span < ?1 GROUP BY 1, 3",
                (span, limit),
            ).fetchall()
            self._connection.execute("DELETE FROM failure_time WHERE second < ? AND span < ?", (limit, span))
            self._connection.executemany(_ADD, old)


def load_failure_times(connection: sqlite3.Connection) -> Iterator[FailureTime]:
    """Read when each kind came, in order of time."""
    rows = connection.execute(
        "SELECT second, span, endpoint, outcome, kind, message, count "
        "FROM failure_time JOIN failure_kind ON id = kind_id ORDER BY second, span, kind_id"
    )
    yield from map(FailureTime._make, rows)
