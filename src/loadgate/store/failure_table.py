"""Keep failures by kind: exact counts, first and last times, three samples, in bounded space."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator

from loadgate.errors import StoreError
from loadgate.measure.delta import MOST_SAMPLES, OF_USER_CODE, Failure
from loadgate.store.failure_times import FailureTimes
from loadgate.store.values import from_json, to_json

MOST_FINGERPRINTS = 1_000
OTHER = "(other)"
"""The kind and message of the rows that count what came after the limit: one per endpoint and outcome.

What the user's own code failed keeps its kind there, since the verdict must not blame the target for it.
"""

Fingerprint = tuple[str, str, str, str]


class FailureTable:
    """The `failure` table inside the writer's transactions, all of it kept in memory.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known = {_fingerprint(failure): failure for failure in load_failures(connection)}
        self._distinct = sum(failure.message != OTHER for failure in self._known.values())
        self._times = FailureTimes(connection)

    def merge(self, failures: Iterable[Failure], admitted: Callable[[str], str], latest: float) -> None:
        """Add failures to their rows; the given ones are not changed.

        `admitted` gives the name under which an endpoint is counted, `latest` is the newest run time.
        """
        changed: dict[Fingerprint, Failure] = {}
        came = []
        for given in failures:
            failure = self._named(given, admitted(given.endpoint))
            key = _fingerprint(failure)
            came.append((key, failure.last, failure.count))
            known = self._known.get(key)
            if known is None:
                self._known[key] = known = failure
            else:
                known.merge(failure)
            changed[key] = known
        self._connection.executemany(
            "INSERT OR REPLACE INTO failure "
            "(endpoint, outcome, kind, message, count, first, last, samples) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(*key, one.count, one.first, one.last, to_json(one.samples)) for key, one in changed.items()],
        )
        self._times.add(came, latest)

    def _named(self, given: Failure, endpoint: str) -> Failure:
        """Give a copy of a failure, made nameless where its kind is one too many."""
        copy = Failure(
            endpoint,
            given.outcome,
            given.kind,
            given.message,
            given.count,
            given.first,
            given.last,
            given.samples[:MOST_SAMPLES],
        )
        if _fingerprint(copy) in self._known:
            return copy
        if copy.kind == OTHER or self._distinct >= MOST_FINGERPRINTS:
            copy.kind, copy.message = self._kind_of_other(given), OTHER
        else:
            self._distinct += 1
        return copy

    def _kind_of_other(self, given: Failure) -> str:
        """Return the kind under which a failure counts that is one too many."""
        if not given.is_of_user_code or len(self._known) < 2 * MOST_FINGERPRINTS:
            return given.kind if given.is_of_user_code else OTHER
        return next(beginning for beginning in OF_USER_CODE if given.kind.startswith(beginning))


def load_failures(connection: sqlite3.Connection) -> Iterator[Failure]:
    """Read all failures, the most frequent first."""
    rows = connection.execute(
        "SELECT endpoint, outcome, kind, message, count, first, last, samples FROM failure "
        "ORDER BY count DESC, endpoint, outcome, kind, message"
    )
    for *values, text in rows:
        samples = from_json(text)
        if not isinstance(samples, list):
            raise StoreError("the samples of a failure are damaged", hint="use a copy of the run")
        endpoint, outcome, kind, message, count, first, last = values
        texts = [str(sample) for sample in samples]
        yield Failure(endpoint, outcome, kind, message, count, first, last, texts)


def _fingerprint(failure: Failure) -> Fingerprint:
    return failure.endpoint, failure.outcome, failure.kind, failure.message
