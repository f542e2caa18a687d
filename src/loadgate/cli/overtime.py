"""When a run that does not come to its planned end is ended by force.

A master that began late, because the run was resumed or its master was started again after the planned end,
needs what any other needs: to start, to take the run up, to drain, and to write the end down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STARTS_WITHIN: Final = 90.0
"""Seconds in which a generator must have begun a run, or taken it up."""
BEYOND: Final = 60.0
"""Seconds beyond its end and its drain that a master gets to leave."""
IN_ALL: Final = 3600.0
"""Seconds beyond all of this in which one master may follow another: none ends the run after that."""


@dataclass(frozen=True)
class Overtime:
    """The overtime of one run. All times are seconds of one clock that does not go back.

    `since` is when the run had begun for this control room, or was taken up by it; `drain` is how many
    seconds requests that are under way may take.
    """

    since: float
    drain: float

    def ends(self, planned_end: float, began: float | None) -> float:
        """Return when the run is ended by force.

        `began` is when its master was started, None while it has none and waits for the next one.
        """
        due = max(planned_end, self.since)
        last = due + self.drain + BEYOND + IN_ALL
        if began is None:
            return last
        # The one that there was at `since` had begun the run by then.
        taken_up = began + STARTS_WITHIN if began > self.since else self.since
        return min(max(due, taken_up) + self.drain + BEYOND, last)
