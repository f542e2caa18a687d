"""Look at a run while it goes on, to end it as soon as its verdict is certain."""

from __future__ import annotations

from typing import Final

from loadgate.errors import LoadgateError
from loadgate.judge.gather import gather
from loadgate.judge.looks import outcome
from loadgate.plan.looks import looks
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder

_SETTLED_AFTER: Final = 3.0
"""Seconds after a second of run time in which every worker has told of it, and the master has kept it."""


class Looking:
    """Take the looks that a plan with `stop_when_certain` has; none without it."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._plan = plan
        self._folder = folder
        seconds = sum(end - start for start, end in plan.timeline.steady)
        early = looks(seconds)[:-1] if plan.scenario.verdict.stop_when_certain else ()
        self._left = [look.after for look in early]

    def look(self, now: float) -> str | None:
        """Take the look that is due at run time `now`; say once why the run is decided, and None else.

        A look that was missed is left out. A run database that cannot be read just now decides nothing.
        """
        due = [after for after in self._left if self._moment(after) + _SETTLED_AFTER <= now]
        if not due:
            return None
        self._left = self._left[len(due) :]
        moment = self._moment(due[-1])
        try:
            evidence = gather(self._folder, self._plan, running=True, until=moment)
        except LoadgateError:
            return None
        # The busiest minute of a recorded trace may be yet to come.
        may_pass = self._plan.scenario.traffic.arrivals != "trace"
        why = outcome(evidence, moment, may_pass=may_pass)
        if why is not None:
            self._left = []
        return why

    def _moment(self, after: float) -> float:
        """Return the run time at which so many seconds of steady load have been run."""
        for start, end in self._plan.timeline.steady:
            if after <= end - start:
                return start + after
            after -= end - start
        return self._plan.timeline.end
