"""A planned end that moves: the plan of a run in which nobody made the load for a while.

The stretch becomes a pause in the plan, a stage of rate 0 that is not judged, and all that was planned from
then on comes after it. So everything that follows from a plan (the schedule, what is steady, how long is
left, what is judged) follows from one pure function of it. What was before the stretch stays as it was, to
the last arrival: each second of the schedule is drawn from the count before it and from its own seed.
"""

from __future__ import annotations

from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Stage


def moved(plan: Plan, start: float, end: float) -> Plan | None:
    """Return the plan with nothing planned from run time `start` to `end`; None where its end has to stay.

    It moves only where a steady hold is cut in two. A stretch that begins in a ramp or a warm-up is not made
    up for, nor is what it took of the holds after it: these are missed, and count as not measured. A pause
    that is planned there already counts as part of the stretch.
    """
    now = 0.0
    for index, stage in enumerate(plan.scenario.traffic.stages):
        begins = now + stage.ramp
        now = begins + stage.hold
        if not begins <= start < now:
            continue
        if _is_pause(stage):
            return moved(plan, now, end)
        if stage.phase != "steady" or end <= start:
            return None
        return _with_stages(plan, index, _cut(stage, start - begins, end - start))
    return None


def _is_pause(stage: Stage) -> bool:
    return stage.phase == "warmup" and stage.rate == 0


def _cut(stage: Stage, after: float, pause: float) -> tuple[Stage, ...]:
    """Cut the hold of a stage in two, `after` seconds from its begin and `pause` seconds apart."""
    before = stage.model_copy(update={"hold": after})
    rest = stage.model_copy(update={"ramp": 0.0, "hold": stage.hold - after})
    kept = (before,) if before.ramp > 0 or before.hold > 0 else ()
    return (*kept, Stage(rate=0.0, hold=pause, phase="warmup"), rest)


def _with_stages(plan: Plan, index: int, new: tuple[Stage, ...]) -> Plan:
    scenario = plan.scenario
    stages = (*scenario.traffic.stages[:index], *new, *scenario.traffic.stages[index + 1 :])
    traffic = scenario.traffic.model_copy(update={"stages": stages})
    return plan.model_copy(update={"scenario": scenario.model_copy(update={"traffic": traffic})})
