"""The ladder of an alert: what comes next after any crash, and what must never happen twice."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.rollback import Command, Rollback
from loadgate.store.watch import ActionStage, AlertChange
from loadgate.watch.rollback import (
    INTENT,
    RESULT,
    START,
    Act,
    Action,
    Look,
    Observation,
    Outcome,
    Report,
    action_key,
    actions_of,
    endpoint_of,
    entries_of,
    ladder,
    next_step,
    refusal,
    unfinished,
)

PATH = "/api/v1/emotions/analyze"
ROLLBACK = Rollback(
    endpoints={"emotion": PATH},
    revert=(Command(run=("git", "revert", "HEAD")), Command(run=("npm", "start"), background=True)),
)
DISABLE = Action(f"disable-endpoint {PATH}", "http", "disable-endpoint", PATH)
COMMAND = Action("revert 1: git", "command", "revert", command=ROLLBACK.revert[0])


def fired(rule: str = "spike", number: int = 1, **detail: object) -> AlertChange:
    """Make an alert that fires."""
    return AlertChange(60.0, rule, "critical", "firing", 0.3, detail, id=number)


def entry(
    stage: str, step: str = DISABLE.step, alert: int = 1, attempt: int = 1, **detail: object
) -> ActionStage:
    """Make an entry of the journal."""
    return ActionStage(60.0, step, stage, {"attempt": attempt, **detail}, alert)


# -- the ladder --


def test_the_load_is_stopped_and_the_evidence_kept_before_anything_is_done() -> None:
    """Whatever the order in which a rule names its actions."""
    rungs = ladder(["disable-endpoint emotion", "rate-limit emotions 100", "stop-load"], ROLLBACK)
    assert [rung.step for rung in rungs] == [
        "stop-load",
        "evidence",
        f"disable-endpoint {PATH}",
        "rate-limit emotions 100",
    ]


def test_an_action_without_an_endpoint_means_that_of_the_rule() -> None:
    """As the alert's detail or the first word of its metric says."""
    change = fired(metric="emotion response_time p95")
    (action,) = actions_of("disable-endpoint", ROLLBACK, endpoint_of(change, ROLLBACK))
    assert action == DISABLE
    assert endpoint_of(fired(endpoint="creative"), ROLLBACK) == "creative"
    assert endpoint_of(fired(metric="error_rate"), ROLLBACK) is None


def test_a_revert_is_one_rung_for_each_command_and_each_needs_the_one_before() -> None:
    """So that the journal says how far it came."""
    first, second = actions_of("revert", ROLLBACK)
    assert (first.step, second.step) == ("revert 1: git", "revert 2: npm")
    assert second.after == first.step


def test_a_revert_without_commands_is_for_people() -> None:
    """It is told with its steps; a plan that has neither fails."""
    (manual,) = actions_of("revert", Rollback(manual="git revert HEAD"))
    assert next_step(manual, []) == Report(Outcome.MANUAL, "git revert HEAD", 1)
    (nothing,) = actions_of("revert", Rollback())
    step = next_step(nothing, [])
    assert isinstance(step, Report)
    assert step.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "text", ["", "reboot", "disable-endpoint", "disable-endpoint nosuch", "rate-limit x"]
)
def test_an_action_that_is_not_understood_fails_aloud(text: str) -> None:
    """It never disappears."""
    rung = ladder([text], ROLLBACK)[-1]
    step = next_step(rung, [])
    assert isinstance(step, Report)
    assert step.outcome is Outcome.FAILED
    assert step.text


def test_the_bodies_are_the_checklists() -> None:
    """To the letter; a lifted limit is null."""
    assert DISABLE.body == {"endpoint": PATH}
    (limit,) = actions_of("rate-limit emotions 100", ROLLBACK)
    (lifted,) = actions_of("rate-limit emotions off", ROLLBACK)
    assert limit.body == {"rateLimit": 100, "service": "emotions"}
    assert lifted.body == {"rateLimit": None, "service": "emotions"}


# -- whether at all --


def test_nothing_is_done_in_a_void_run() -> None:
    """Its numbers are the generator's fault, not the target's."""
    assert "void" in refusal(fired(), void=True)
    assert refusal(fired(because="threshold"), void=False) == ""


def test_nothing_is_done_for_want_of_data() -> None:
    """A silent probe is no reason to roll a release back."""
    assert "want of data" in refusal(fired(because="no_data"), void=False)


# -- the next step --


def test_an_http_action_looks_acts_and_ends() -> None:
    """First what the target shows, then the attempt; after a result nothing follows."""
    assert next_step(DISABLE, []) == Look()
    assert next_step(DISABLE, [], Observation.ABSENT) == Act(1, Observation.ABSENT)
    done = [entry(INTENT), entry(START), entry(RESULT, outcome="done")]
    assert next_step(DISABLE, done) is None


def test_after_a_crash_the_target_is_looked_at_first() -> None:
    """An effect that was absent before is proof; the request is not sent again."""
    journal = [entry(INTENT, before="absent"), entry(START)]
    assert next_step(DISABLE, journal) == Look()
    step = next_step(DISABLE, journal, Observation.IN_FORCE)
    assert isinstance(step, Report)
    assert (step.outcome, step.detail) == (Outcome.DONE, {"verified": True})


@pytest.mark.parametrize("seen", [Observation.ABSENT, Observation.UNSEEN])
def test_an_http_action_whose_effect_does_not_show_is_repeated(seen: Observation) -> None:
    """As the next attempt, with what was seen before the first."""
    journal = [entry(INTENT, before="absent"), entry(START)]
    assert next_step(DISABLE, journal, seen) == Act(2, Observation.ABSENT)


def test_what_looked_in_force_before_is_no_proof() -> None:
    """A 503 of an overloaded endpoint looks like one that is disabled: it is disabled again."""
    journal = [entry(INTENT, before="in force"), entry(START)]
    assert next_step(DISABLE, journal, Observation.IN_FORCE) == Act(2, Observation.IN_FORCE)


def test_an_intent_alone_has_done_nothing() -> None:
    """The same attempt is still to be made."""
    journal = [entry(INTENT, before="absent")]
    assert next_step(DISABLE, journal, Observation.IN_FORCE) == Act(1, Observation.ABSENT)


def test_an_attempt_that_may_be_repeated_is() -> None:
    """As its result says."""
    journal = [
        entry(INTENT, before="absent"),
        entry(START),
        entry(RESULT, outcome="failed", again=True),
    ]
    assert next_step(DISABLE, journal, Observation.ABSENT) == Act(2, Observation.ABSENT)


def test_an_action_that_is_always_interrupted_is_given_up() -> None:
    """A control room that dies of it must not do so for ever."""
    journal = [
        entry(INTENT, before="absent"),
        entry(START),
        entry(INTENT, attempt=6),
        entry(START, attempt=6),
    ]
    step = next_step(DISABLE, journal, Observation.ABSENT)
    assert isinstance(step, Report)
    assert step.outcome is Outcome.UNKNOWN


def test_a_command_that_was_started_is_unknown() -> None:
    """It is never run twice."""
    step = next_step(COMMAND, [entry(INTENT, COMMAND.step), entry(START, COMMAND.step)])
    assert isinstance(step, Report)
    assert step.outcome is Outcome.UNKNOWN


def test_a_command_that_was_only_meant_is_run() -> None:
    """Its start would be on the disk."""
    assert next_step(COMMAND, [entry(INTENT, COMMAND.step)]) == Act(1)


def test_a_command_is_run_once_in_a_run_whatever_alerts_ask_for_it() -> None:
    """To revert twice is to bring the fault back."""
    others = [entry(INTENT, COMMAND.step, 2), entry(START, COMMAND.step, 2)]
    step = next_step(COMMAND, [], None, others)
    assert isinstance(step, Report)
    assert step.outcome is Outcome.SKIPPED
    assert "alert 2" in step.text


@pytest.mark.parametrize("outcome", ["failed", "unknown", "skipped"])
def test_no_command_follows_one_that_was_not_done(outcome: str) -> None:
    """The new version is not started where the revert failed."""
    first, second = actions_of("revert", ROLLBACK)
    others = [entry(RESULT, first.step, outcome=outcome)]
    step = next_step(second, [], None, others)
    assert isinstance(step, Report)
    assert step.outcome is Outcome.SKIPPED
    assert next_step(second, [], None, [entry(RESULT, first.step, outcome="done")]) == Act(1)


# -- after a crash --


def test_what_a_crash_left_is_found() -> None:
    """An alert that still fires and was not answered, and one that was begun; not one that was answered."""
    alerts = [
        fired("a", 1, on_fire=["stop-load"]),
        fired("b", 2, on_fire=["stop-load"]),
        fired("c", 3, on_fire=["stop-load"]),
        fired("d", 4, on_fire=["stop-load"]),
        fired("e", 5),
        AlertChange(70.0, "c", "critical", "resolved", 0.1, {}, id=6),
        AlertChange(70.0, "d", "critical", "resolved", 0.1, {}, id=7),
    ]
    journal = [
        entry(RESULT, "stop-load", 1, outcome="done"),
        entry(RESULT, "evidence", 1, outcome="done"),
        entry(INTENT, "stop-load", 3),
    ]
    found = [(change.rule, still) for change, still in unfinished(alerts, journal, ROLLBACK)]
    assert found == [("b", True), ("c", False)]


def test_a_key_names_run_alert_step_and_attempt() -> None:
    """So that a target can tell a repetition."""
    assert action_key("r", 7, "stop-load", 2) == "r/7/stop-load/2"


class Crash(Exception):
    """The control room was killed."""


@dataclass
class World:
    """A target, a journal on a disk, and a control room that is killed after so many moments."""

    journal: list[ActionStage] = field(default_factory=list)
    off: bool = False
    runs: int = 0
    left: int = 0

    def moment(self) -> None:
        """Be killed here when it is time."""
        self.left -= 1
        if self.left < 0:
            raise Crash

    def write(self, action: Action, stage: str, **detail: object) -> None:
        """Write an entry; it is on the disk when this returns."""
        self.moment()
        self.journal.append(entry(stage, action.step, **detail))
        self.moment()

    def act(self, action: Action) -> None:
        """Have the effect."""
        if action.kind == "http":
            self.off = True
        else:
            self.runs += 1
        self.moment()

    def carry_out(self, action: Action, sights: list[bool]) -> None:
        """Follow `next_step` to its end; where `sights` runs out or says so the target shows what it is."""
        seen: Observation | None = None
        while True:
            step = next_step(action, entries_of(self.journal, 1, action.step), seen)
            if step is None:
                return
            if isinstance(step, Look):
                clear = sights.pop() if sights else True
                seen = Observation.UNSEEN if not clear else Observation.ABSENT
                if clear and self.off:
                    seen = Observation.IN_FORCE
            elif isinstance(step, Report):
                self.write(action, RESULT, outcome=str(step.outcome))
            else:
                own = entries_of(self.journal, 1, action.step)
                if not own or own[-1].stage != INTENT:
                    self.write(action, INTENT, attempt=step.attempt, before=str(step.before))
                self.write(action, START, attempt=step.attempt)
                self.act(action)
                self.write(action, RESULT, attempt=step.attempt, outcome="done")
                seen = None


@given(
    deaths=st.lists(st.integers(0, 8), max_size=5),
    sights=st.lists(st.booleans(), max_size=12),
    kind=st.sampled_from([DISABLE, COMMAND]),
)
def test_whatever_moment_it_dies_an_action_is_in_force_and_a_command_runs_at_most_once(
    deaths: list[int], sights: list[bool], kind: Action
) -> None:
    """The law of the ladder: any number of deaths, at any moments, whatever could be seen of the target."""
    world = World()
    for left in [*deaths, 10_000]:
        world.left = left
        try:
            world.carry_out(kind, sights)
        except Crash:
            continue
    results = [row for row in world.journal if row.stage == RESULT]
    assert len(results) == 1
    if kind is DISABLE:
        assert world.off
        assert results[0].detail["outcome"] == "done"
    else:
        assert (world.runs, results[0].detail["outcome"]) in ((1, "done"), (1, "unknown"), (0, "unknown"))
