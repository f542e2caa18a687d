"""Decide what is done about a target that fails: the ladder of an alert, and the next step of each rung.

Everything here is a function of the journal (`action` of the watch database) and of what the target shows, so
that a control room that was killed at any moment goes on as it should. The journal of one rung is intent,
start, result (and so on again for an attempt that is repeated), and each entry is on the disk before what it
announces begins. So a rung without a start has done nothing, and one with a start and no result may have: an
HTTP action, which may be repeated, is repeated unless the target shows its effect; a command is never run
twice, and is reported as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from loadgate.plan.rollback import Command, Rollback, Verb, parse_action
from loadgate.plan.units import UnitError, format_number
from loadgate.store.watch import ActionStage, AlertChange

INTENT: Final = "intent"
START: Final = "start"
RESULT: Final = "result"
ATTEMPTS_MOST: Final = 3
"""Attempts of one HTTP action; after a crash one more each, up to twice as many."""

Kind = Literal["own", "http", "command", "manual", "faulty"]


class Observation(StrEnum):
    """What the target shows of an action's effect; UNSEEN when nothing can be told."""

    IN_FORCE = "in force"
    ABSENT = "absent"
    UNSEEN = "unseen"


class Outcome(StrEnum):
    """How a rung ended. DRY: not armed. MANUAL: left to people. UNKNOWN: it may have happened, or not."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    DRY = "dry"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Action:
    """One rung: `step` is its name in the journal, `after` the rung that must have been done before it."""

    step: str
    kind: Kind
    verb: Verb | Literal["evidence"]
    argument: str = ""
    value: float | None = None
    command: Command | None = None
    after: str = ""
    text: str = ""

    @property
    def needs_arm(self) -> bool:
        """Tell whether it changes the target or ends the load, so that it needs `--arm`."""
        return self.kind in ("http", "command") or self.verb == "stop-load"

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON body of an HTTP action, as the staging checklist has it."""
        if self.verb == "rate-limit":
            return {"rateLimit": _whole(self.value), "service": self.argument}
        return {"endpoint": self.argument}

    def path(self, rollback: Rollback) -> str:
        """Return the path that an HTTP action is sent to."""
        paths = {"disable-endpoint": rollback.disable, "enable-endpoint": rollback.enable}
        return paths.get(self.verb, rollback.rate_limit)


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the target first, and ask again with what was seen."""


@dataclass(frozen=True, slots=True)
class Act:
    """Write intent and start, and act; `before` is what the target showed before the first attempt."""

    attempt: int
    before: Observation = Observation.UNSEEN


@dataclass(frozen=True, slots=True)
class Report:
    """Write the result without acting."""

    outcome: Outcome
    text: str
    attempt: int
    detail: Mapping[str, Any] = field(default_factory=dict)


Step = Look | Act | Report | None


def ladder(on_fire: Iterable[str], rollback: Rollback, endpoint: str | None = None) -> tuple[Action, ...]:
    """Return the rungs of an alert: stop the load, keep the evidence, then act in the order of `on_fire`.

    `endpoint` is that of the alert's rule. What cannot be understood becomes a rung that fails.
    """
    stops, rest = list[Action](), list[Action]()
    for text in on_fire:
        for action in actions_of(text, rollback, endpoint):
            (stops if action.verb == "stop-load" else rest).append(action)
    if not stops and not rest:
        return ()
    evidence = Action("evidence", "own", "evidence")
    return tuple({action.step: action for action in (*stops, evidence, *rest)}.values())


def actions_of(text: str, rollback: Rollback, endpoint: str | None = None) -> tuple[Action, ...]:
    """Return the rungs that one action of a rule or of a command line means; `revert` may be several."""
    try:
        verb, argument, value = parse_action(text, endpoint, rollback, lifting=True)
    except UnitError as error:
        return (Action(text, "faulty", "revert", text=f"{error.message}; {error.hint}"),)
    if verb == "stop-load":
        return (Action("stop-load", "own", verb),)
    if verb != "revert":
        limit = format_number(value) if value is not None else "off"
        step = f"{verb} {argument}" + (f" {limit}" if verb == "rate-limit" else "")
        return (Action(step, "http", verb, argument, value),)
    if not rollback.revert:
        text = rollback.manual.strip() or "the plan has neither commands nor manual steps for a revert"
        return (Action("revert", "manual" if rollback.manual.strip() else "faulty", verb, text=text),)
    rungs, after = list[Action](), ""
    for number, command in enumerate(rollback.revert, 1):
        step = f"revert {number}: {command.run[0]}"
        rungs.append(Action(step, "command", verb, command=command, after=after))
        after = step
    return tuple(rungs)


def refusal(change: AlertChange, *, void: bool) -> str:
    """Say why nothing may be done for an alert; "" when something may.

    A void run says nothing about its target, and neither does an alert for want of data: acting on either
    would roll back a release for a fault of the measurement.
    """
    if void:
        return "the run is void, so its numbers say nothing about the target"
    if change.detail.get("because") == "no_data":
        return "the alert fired for want of data, which says nothing about the target"
    return ""


def next_step(
    action: Action,
    journal: Sequence[ActionStage],
    seen: Observation | None = None,
    others: Sequence[ActionStage] = (),
) -> Step:
    """Return what comes next for a rung; None when it has ended.

    `journal` are the entries of this rung and alert, `seen` what the target shows now (None: not looked at),
    `others` the other entries of the run's journal: of rungs before this one, and of other alerts.
    """
    last = journal[-1] if journal else None
    if last is not None and last.stage == RESULT and not last.detail.get("again"):
        return None
    attempt = int(last.detail.get("attempt", 1)) if last is not None else 0
    if action.kind == "faulty":
        return Report(Outcome.FAILED, action.text, max(attempt, 1))
    if action.kind == "manual":
        return Report(Outcome.MANUAL, action.text, max(attempt, 1))
    if action.kind == "own":
        # Stopping a load that stands and keeping evidence that is there change nothing.
        return Act(max(attempt, 1))
    if action.kind == "command":
        return _next_of_command(action, last, max(attempt, 1), others)
    return _next_of_http(journal, attempt, seen)


def _next_of_command(
    action: Action, last: ActionStage | None, attempt: int, others: Sequence[ActionStage]
) -> Step:
    if last is not None and last.stage == START:
        text = "the control room ended while it ran, and a command is never run twice: see for yourself"
        return Report(Outcome.UNKNOWN, text, attempt)
    if action.after and not _was_done(action.after, others):
        return Report(Outcome.SKIPPED, f"'{action.after}' was not done", attempt)
    twin = next((row for row in others if row.step == action.step and row.stage == START), None)
    if twin is not None:
        return Report(Outcome.SKIPPED, f"it was run before in this run, for alert {twin.alert}", attempt)
    return Act(attempt)


def _next_of_http(journal: Sequence[ActionStage], attempt: int, seen: Observation | None) -> Step:
    if seen is None:
        return Look()
    if not journal:
        return Act(1, seen)
    before = _before(journal)
    started = any(row.stage == START for row in journal)
    if started and seen is Observation.IN_FORCE and before is Observation.ABSENT:
        text = "found in force afterwards: an earlier attempt had worked"
        return Report(Outcome.DONE, text, attempt, {"verified": True})
    # An intent alone has done nothing, so that the attempt is still to be made.
    following = attempt if journal[-1].stage == INTENT else attempt + 1
    if following > 2 * ATTEMPTS_MOST:
        return Report(Outcome.UNKNOWN, "it was interrupted too often; look at the target yourself", attempt)
    return Act(following, before)


def _before(journal: Sequence[ActionStage]) -> Observation:
    """Return what the target showed before the first attempt."""
    noted = next((row.detail.get("before") for row in journal if row.stage == INTENT), None)
    return Observation(noted) if noted in set(Observation) else Observation.UNSEEN


def _was_done(step: str, others: Sequence[ActionStage]) -> bool:
    results = [row for row in others if row.step == step and row.stage == RESULT]
    return bool(results) and results[-1].detail.get("outcome") == Outcome.DONE


def entries_of(journal: Iterable[ActionStage], alert: int | None, step: str) -> list[ActionStage]:
    """Return the entries of one rung."""
    return [row for row in journal if row.alert == alert and row.step == step]


def unfinished(
    alerts: Sequence[AlertChange], journal: Sequence[ActionStage], rollback: Rollback
) -> list[tuple[AlertChange, bool]]:
    """Return the alerts whose ladder has not come to its end, and whether each still fires.

    That is what is left to do after a crash. An alert that has ended meanwhile and whose ladder was not begun
    needs nothing any more, and is not listed.
    """
    found = []
    for index, change in enumerate(alerts):
        if change.state != "firing" or not change.detail.get("on_fire"):
            continue
        still = not any(
            later.rule == change.rule and later.state == "resolved" for later in alerts[index + 1 :]
        )
        rungs = ladder(change.detail["on_fire"], rollback, endpoint_of(change, rollback))
        rows = [entries_of(journal, change.id, rung.step) for rung in rungs]
        begun = any(rows)
        ended = all(own and own[-1].stage == RESULT and not own[-1].detail.get("again") for own in rows)
        if not ended and (begun or still):
            found.append((change, still))
    return found


def endpoint_of(change: AlertChange, rollback: Rollback) -> str | None:
    """Return the endpoint that an alert is about: as its detail says, else the first word of its metric."""
    named = change.detail.get("endpoint")
    if isinstance(named, str) and named:
        return named
    first = str(change.detail.get("metric", "")).replace(".", " ").split(" ")[0]
    return first if first in rollback.endpoints else None


def action_key(run: str, alert: int | None, step: str, attempt: int) -> str:
    """Return the idempotency key of an attempt."""
    return f"{run}/{alert if alert is not None else 'manual'}/{step}/{attempt}"


def _whole(value: float | None) -> float | int | None:
    """Write 100.0 as 100, as the checklist does."""
    return int(value) if value is not None and value == int(value) else value
