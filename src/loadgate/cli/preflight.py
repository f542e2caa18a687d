"""What is checked of a plan against its locustfile before any load."""

from __future__ import annotations

import difflib

from loadgate.errors import UsageError
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError, Problem
from loadgate.swarm.inspect import Inspection, inspect_locustfile


def check_locustfile(plan: Plan) -> Inspection:
    """Import the locustfile and hold the plan's mix and objectives against what it sends.

    UsageError when it cannot be imported, PlanError when the plan names what it does not send.
    """
    found = inspect_locustfile(plan.scenario.locustfile)
    if not found.kinds:
        raise UsageError(
            f"{plan.scenario.locustfile} has no user class that can follow a plan",
            hint="derive one from loadgate.LoadUser; stock Locust users are recorded under plain `locust`",
        )
    problems = [*_mix_problems(plan, found), *_objective_problems(plan, found)]
    if problems:
        raise PlanError(problems)
    return found


def _mix_problems(plan: Plan, found: Inspection) -> list[Problem]:
    return [
        Problem(
            str(plan.scenario.locustfile),
            f"traffic.mix.{name}",
            f"no user class of the locustfile sends {name!r}",
            _hint(name, found.kinds),
        )
        for name in plan.scenario.traffic.mix
        if name not in found.kinds
    ]


def _objective_problems(plan: Plan, found: Inspection) -> list[Problem]:
    if found.open_names:
        # Flows and stock users name their endpoints while they run.
        return []
    named = {o.endpoint: o.name for o in plan.objectives if o.endpoint is not None}
    return [
        Problem(
            str(plan.scenario.sla or plan.scenario.locustfile),
            f"{row}.endpoint",
            f"no request of the locustfile belongs to the endpoint {endpoint!r}",
            _hint(endpoint, found.endpoints),
        )
        for endpoint, row in named.items()
        if endpoint not in found.endpoints
    ]


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}the locustfile has: {', '.join(known) or 'nothing'}"
