"""The log of what went wrong: each kind once, with a count and a few samples."""

from __future__ import annotations

from loadgate.errors import MeasureError
from loadgate.measure.delta import MOST_SAMPLES, OUTCOMES, Failure

MOST_KINDS = 500
"""Kinds that one run's log tells apart; later ones are counted under OTHER."""
OTHER = "(other messages)"
LONGEST_MESSAGE = 500
"""Characters of a message that are kept."""
LONGEST_SAMPLE = 1000
"""Characters of a sample that are kept."""


class FailureLog:
    """Count failures by kind until they are taken. Memory is bounded however varied the messages are."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._counted: dict[str, Failure] = {}

    def add(
        self,
        endpoint: str,
        outcome: str,
        kind: str,
        message: str,
        at: float,
        sample: str = "",
        count: int = 1,
    ) -> None:
        """Count a failure that happened at time `at` (any clock that `take` converts from)."""
        if outcome not in OUTCOMES:
            raise MeasureError(f"there is no outcome {outcome!r}", hint=f"Use one of {', '.join(OUTCOMES)}.")
        failure = Failure(endpoint, outcome, kind[:LONGEST_MESSAGE], message[:LONGEST_MESSAGE], count, at, at)
        key = failure.fingerprint
        if key not in self._known:
            if len(self._known) < MOST_KINDS:
                self._known.add(key)
            else:
                failure.kind, failure.message = OTHER, OTHER
                key = failure.fingerprint
        if sample:
            failure.samples.append(sample[:LONGEST_SAMPLE])
        counted = self._counted.get(key)
        if counted is None:
            self._counted[key] = failure
        elif sample and len(counted.samples) < MOST_SAMPLES:
            counted.merge(failure)
        else:
            counted.count += count
            counted.first, counted.last = min(counted.first, at), max(counted.last, at)

    def take(self, anchor: float) -> list[Failure]:
        """Return what was counted since the last call, with its times made relative to `anchor`."""
        taken, self._counted = list(self._counted.values()), {}
        for failure in taken:
            failure.first -= anchor
            failure.last -= anchor
        return taken
