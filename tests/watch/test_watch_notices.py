"""Who is told what, and when: deadlines by severity, retries, escalation; a restart changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.notify import SEVERITIES, Notify, Receiver
from loadgate.store.watch import ActionStage, AlertChange, Notice
from loadgate.watch.notices import (
    DELIVERED,
    ENTRIES_MOST,
    FAILED,
    GIVEN_UP,
    WAITING_MOST,
    Answer,
    Backlog,
    Delivery,
    rebuilt,
)

TEAM = Receiver(name="team", kind="command", command=("team",))
PAGER = Receiver(name="pager", kind="command", command=("pager",), severities=("critical",))
BOSS = Receiver(name="boss", kind="command", command=("boss",), severities=("low",))
FILE = Receiver(name="tickets", kind="file", severities=SEVERITIES)
GOOD = Answer(True)
BAD = Answer(False, "down")


def alert(
    number: int, at: float, state: str = "firing", severity: str = "critical", rule: str = "spike"
) -> AlertChange:
    """Make a change of state."""
    return AlertChange(at, rule, severity, state, 0.3, {}, id=number)


def result(number: int, at: float, outcome: str, step: str = "stop-load", **detail: object) -> ActionStage:
    """Make the result of an action of alert 1."""
    return ActionStage(at, step, "result", {"outcome": outcome, **detail}, 1, id=number)


def backlog(*receivers: Receiver, digest: float = 6900.0) -> Backlog:
    """Make an empty backlog."""
    return Backlog(Notify(receiver=receivers, digest=digest), "r")


def told(deliveries: list[Delivery]) -> list[tuple[str, list[tuple[int, str]]]]:
    """Return (receiver, entries) of each delivery."""
    return [(item.receiver.name, [entry.id for entry in item.entries]) for item in deliveries]


def settled(log: Backlog, delivery: Delivery, answer: Answer, now: float) -> list[Notice]:
    """Let an attempt end so, and take its notices."""
    notices = log.settle(delivery, answer, now)
    for notice in notices:
        log.take_notice(notice)
    return notices


# -- how soon --


@pytest.mark.parametrize("severity", ["critical", "high"])
def test_critical_and_high_are_told_at_once(severity: str) -> None:
    """Page immediately; alert within 30 minutes, the sooner the better."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 60.0, severity=severity))
    assert told(log.due(60.0)) == [("team", [(1, "firing")])]


def test_medium_alerts_are_one_digest_within_two_hours_of_the_first() -> None:
    """1 h 55 min after the first one, which leaves five minutes for another try."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 100.0, severity="medium", rule="a"))
    log.take_alert(alert(2, 5000.0, severity="medium", rule="b"))
    assert log.due(6999.9) == []
    assert log.next_at() == 7000.0
    (digest,) = log.due(7000.0)
    assert digest.digest
    assert told([digest]) == [("team", [(1, "firing"), (2, "firing")])]


def test_a_medium_alert_after_a_digest_begins_the_next_one() -> None:
    """Its own two hours count."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="medium", rule="a"))
    settled(log, log.due(6900.0)[0], GOOD, 6900.0)
    log.take_alert(alert(2, 7000.0, severity="medium", rule="b"))
    assert log.next_at() == 13_900.0


def test_the_end_of_a_run_sends_the_digest() -> None:
    """And whatever else waits."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 100.0, severity="medium"))
    assert told(log.due(101.0, ending=True)) == [("team", [(1, "firing")])]


def test_a_ticket_file_is_written_at_once() -> None:
    """It disturbs nobody."""
    log = backlog(Receiver(name="tickets", kind="file"))
    log.take_alert(alert(1, 60.0, severity="low"))
    assert told(log.due(60.0)) == [("tickets", [(1, "firing")])]


def test_each_severity_goes_to_those_who_want_it() -> None:
    """The boss hears of low ones only, the pager of critical ones."""
    log = backlog(TEAM, PAGER, BOSS)
    log.take_alert(alert(1, 60.0, severity="high"))
    assert [name for name, _ in told(log.due(60.0))] == ["team"]


# -- once --


def test_one_message_when_it_fires_and_one_when_it_is_over() -> None:
    """Nothing while it is pending, nor again while it fires; the end has the id of the beginning."""
    log = backlog(TEAM)
    for change in (alert(1, 30.0, "pending"), alert(2, 60.0), alert(3, 70.0)):
        log.take_alert(change)
    (first,) = log.due(70.0)
    settled(log, first, GOOD, 70.0)
    assert log.due(1000.0) == []
    log.take_alert(alert(4, 1000.0, "resolved"))
    assert told([first]) == [("team", [(2, "firing")])]
    assert told(log.due(1000.0)) == [("team", [(2, "resolved")])]


def test_what_was_never_told_needs_no_end() -> None:
    """A rule that was pending and is inactive again is nobody's business."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 30.0, "pending"))
    log.take_alert(alert(2, 40.0, "inactive"))
    log.take_alert(alert(3, 40.0, "resolved"))
    assert log.due(1000.0) == []


def test_what_is_over_before_its_message_is_one_message() -> None:
    """A digest, or a receiver that was down."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="medium"))
    log.take_alert(alert(2, 50.0, "resolved", severity="medium"))
    assert told(log.due(6900.0)) == [("team", [(1, "firing"), (1, "resolved")])]


def test_flapping_is_one_message() -> None:
    """And how it stands once it is calm another one."""
    log = backlog(TEAM)
    for change in (alert(1, 0.0), alert(2, 10.0, "flapping"), alert(3, 30.0, "flapping")):
        log.take_alert(change)
    (delivery,) = log.due(30.0)
    assert told([delivery]) == [("team", [(1, "firing"), (1, "flapping")])]
    settled(log, delivery, GOOD, 30.0)
    log.take_alert(alert(4, 900.0))
    log.take_alert(alert(5, 1000.0, "resolved"))
    assert told(log.due(1000.0)) == [("team", [(4, "firing"), (4, "resolved")])]


def test_what_was_delivered_is_not_sent_again() -> None:
    """Also not while the receiver is still busy with it."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0))
    (delivery,) = log.due(0.0)
    assert log.due(0.0, busy={"team"}) == []
    settled(log, delivery, GOOD, 1.0)
    assert log.due(10.0) == []
    assert log.waiting == 0


def test_a_key_is_the_same_however_often_it_is_sent() -> None:
    """Run, alert, transition and receiver."""
    log = backlog(TEAM)
    log.take_alert(alert(7, 0.0))
    (first,) = log.due(0.0)
    settled(log, first, BAD, 0.0)
    (second,) = log.due(100.0)
    assert first.key == second.key == "r/7/firing/team"
    assert (first.attempt, second.attempt) == (1, 2)


def test_an_alert_that_is_not_stored_is_refused() -> None:
    """Without an id it could not be told apart from the next one."""
    with pytest.raises(ValueError, match="not stored"):
        backlog(TEAM).take_alert(alert(1, 0.0)._replace(id=None))


# -- actions --


def test_the_steps_of_a_ladder_are_one_message() -> None:
    """Three seconds after the first result; the severity is the alert's, kept evidence is no news."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="high"))
    settled(log, log.due(0.0)[0], GOOD, 0.0)
    log.take_action(result(5, 10.0, "done"))
    log.take_action(result(6, 10.5, "done", "evidence"))
    log.take_action(result(7, 11.0, "failed", "disable-endpoint /x"))
    assert log.due(12.0) == []
    (delivery,) = log.due(14.0)
    assert [(entry.id, entry.severity) for entry in delivery.entries] == [
        ((1, "acted:5"), "high"),
        ((1, "acted:7"), "high"),
    ]


def test_what_was_done_for_a_medium_alert_does_not_wait_for_the_digest() -> None:
    """Somebody may have to look at it now."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="medium"))
    log.take_action(result(5, 10.0, "failed"))
    assert told(log.due(13.0)) == [("team", [(1, "acted:5")])]


def test_an_attempt_that_is_repeated_and_a_rung_that_was_skipped_are_no_news() -> None:
    """Only what an action came to."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0))
    settled(log, log.due(0.0)[0], GOOD, 0.0)
    log.take_action(result(5, 10.0, "failed", again=True))
    log.take_action(result(6, 10.0, "skipped"))
    log.take_action(ActionStage(10.0, "stop-load", "intent", {}, 1, id=7))
    assert log.waiting == 0


# -- failures --


def test_a_failure_is_followed_by_waits_that_double_up_to_five_minutes() -> None:
    """2, 4, 8 ... 300 s, less up to half of it; the same for the same run."""
    waits = []
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="high"))
    now = 0.0
    for _ in range(9):
        (delivery,) = log.due(now)
        (notice,) = settled(log, delivery, BAD, now)
        waits.append(notice.detail["wait"])
        now += notice.detail["wait"]
    longest = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]
    assert all(whole / 2 <= wait <= whole for wait, whole in zip(waits, longest, strict=True))


def test_a_receiver_is_not_asked_sooner_than_it_wants() -> None:
    """429 with Retry-After: 120; a critical alert waits as well, and a wait of a day is cut to 15 minutes."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="high"))
    settled(log, log.due(0.0)[0], Answer(False, "slow down", retry_after=120.0), 0.0)
    log.take_alert(alert(2, 10.0, rule="b"))
    assert log.due(119.0) == []
    (delivery,) = log.due(120.0)
    settled(log, delivery, Answer(False, "slow down", retry_after=86_400.0), 120.0)
    assert log.due(1019.0) == []
    assert len(log.due(1020.0)) == 1


def test_a_new_critical_alert_does_not_wait_for_old_failures() -> None:
    """The receiver may be well again; what failed before goes along."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="high"))
    for now in (0.0, 10.0, 20.0, 40.0):
        settled(log, log.due(now)[0], BAD, now)
    assert log.due(41.0) == []
    log.take_alert(alert(2, 41.0, rule="b"))
    assert told(log.due(41.0)) == [("team", [(2, "firing")])]


def test_an_entry_is_given_up_after_an_hour() -> None:
    """With a notice of its own; nothing waits any more."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="high"))
    settled(log, log.due(0.0)[0], BAD, 0.0)
    notices = settled(log, log.due(3599.0)[0], BAD, 3599.0)
    assert [notice.stage for notice in notices] == [FAILED, GIVEN_UP]
    assert log.due(9999.0) == []


def test_an_answer_that_is_final_is_given_up_at_once() -> None:
    """A webhook that was deleted does not come back by asking."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0))
    notices = settled(log, log.due(0.0)[0], Answer(False, "answered 404", final=True), 0.0)
    assert [notice.stage for notice in notices] == [FAILED, GIVEN_UP]


def test_a_long_queue_goes_in_parts_and_has_an_end() -> None:
    """At most 20 entries a message and 1000 waiting; the least urgent and oldest go first, with a notice."""
    log = backlog(TEAM)
    log.take_alert(alert(1, 0.0, severity="medium", rule="old"))
    for number in range(2, WAITING_MOST + 2):
        log.take_alert(alert(number, float(number), severity="high", rule=f"rule {number}"))
    (notice,) = log.dropped(2000.0)
    assert notice.stage == GIVEN_UP
    assert notice.detail["covers"] == [[1, "firing"]]
    assert len(log.due(2000.0)[0].entries) == ENTRIES_MOST


# -- escalation --


def test_a_critical_alert_that_nobody_takes_goes_to_one_receiver_more_each_minute() -> None:
    """In the order of the plan, whatever they want to be told of otherwise."""
    log = backlog(PAGER, TEAM.model_copy(update={"severities": ("high",)}), BOSS)
    log.take_alert(alert(1, 0.0))
    settled(log, log.due(0.0)[0], BAD, 0.0)
    assert "team" not in [name for name, _ in told(log.due(59.0))]
    at_60 = {item.receiver.name: item for item in log.due(60.0)}
    assert at_60["team"].escalated
    assert "boss" not in at_60
    settled(log, at_60["team"], BAD, 60.0)
    assert "boss" in [name for name, _ in told(log.due(120.0))]


def test_one_receiver_that_takes_it_is_enough() -> None:
    """Nobody else is woken."""
    log = backlog(PAGER, TEAM, BOSS)
    log.take_alert(alert(1, 0.0))
    for delivery in log.due(0.0):
        settled(log, delivery, GOOD if delivery.receiver is TEAM else BAD, 0.0)
    assert "boss" not in [name for name, _ in told(log.due(600.0))]


def test_a_high_alert_is_escalated_after_half_an_hour() -> None:
    """Its deadline."""
    log = backlog(TEAM, BOSS)
    log.take_alert(alert(1, 0.0, severity="high"))
    settled(log, log.due(0.0)[0], BAD, 0.0)
    assert [name for name, _ in told(log.due(1799.0))] == ["team"]
    assert [name for name, _ in told(log.due(1800.0))] == ["team", "boss"]


def test_an_alert_that_all_have_given_up_is_escalated_at_once() -> None:
    """There is nothing to wait for."""
    log = backlog(PAGER, BOSS)
    log.take_alert(alert(1, 0.0))
    settled(log, log.due(0.0)[0], Answer(False, "gone", final=True), 0.0)
    assert told(log.due(0.1)) == [("boss", [(1, "firing")])]


def test_a_critical_alert_that_no_receiver_wants_is_told_all_the_same() -> None:
    """To the first one of the plan."""
    log = backlog(BOSS)
    log.take_alert(alert(1, 0.0))
    assert told(log.due(0.0)) == [("boss", [(1, "firing")])]


def test_at_the_end_of_a_run_there_is_no_waiting_for_an_escalation() -> None:
    """Who was tried and did not take it is followed by the next one at once."""
    log = backlog(PAGER, BOSS)
    log.take_alert(alert(1, 0.0))
    settled(log, log.due(0.0, ending=True)[0], BAD, 0.0)
    assert told(log.due(0.1, busy={"pager"}, ending=True)) == [("boss", [(1, "firing")])]


def test_a_restart_after_a_long_run_gives_nothing_up() -> None:
    """More alerts than may wait, all of them told before: nothing waits, and nothing was dropped."""
    log, alerts, notices = backlog(TEAM), [], []
    for number in range(1, WAITING_MOST + 50):
        alerts.append(alert(number, float(number), severity="high", rule=f"rule {number}"))
        log.take_alert(alerts[-1])
        notices += settled(log, log.due(float(number))[0], GOOD, float(number))
    again = rebuilt(Notify(receiver=(TEAM,)), "r", alerts, [], notices)
    assert (again.waiting, again.dropped(9999.0)) == (0, [])


# -- laws --


@dataclass
class Story:
    """A run as it goes: alerts at their times, and receivers that answer as they are told to."""

    receivers: tuple[Receiver, ...]
    alerts: list[AlertChange]
    answers: dict[str, list[Answer]]
    restarts: set[int]
    actions: list[ActionStage] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    sent: list[tuple[float, str, str]] = field(default_factory=list)

    def play(self) -> None:
        """Play it to its end: until nothing waits any more."""
        notify = Notify(receiver=self.receivers)
        log, taken, turn, now = Backlog(notify, "r"), 0, 0, 0.0
        answers = {name: list(items) for name, items in self.answers.items()}
        while True:
            turn += 1
            coming = [change.at for change in self.alerts[taken : taken + 1]]
            times = [*coming, *([at] if (at := log.next_at()) is not None else [])]
            if not times:
                return
            now = max(now, min(times))
            while taken < len(self.alerts) and self.alerts[taken].at <= now:
                log.take_alert(self.alerts[taken])
                taken += 1
            if turn in self.restarts:
                log = rebuilt(notify, "r", self.alerts[:taken], self.actions, self.notices)
            for delivery in log.due(now):
                name = delivery.receiver.name
                answer = answers[name].pop(0) if answers.get(name) else GOOD
                self.sent += [(now, entry.key("r", name), name) for entry in delivery.entries]
                for notice in log.settle(delivery, answer, now):
                    self.notices.append(notice)
                    log.take_notice(notice)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Story, Story]:
    """Make a story, and the same one with restarts."""
    receivers = draw(st.lists(st.sampled_from([TEAM, PAGER, BOSS, FILE]), unique=True, min_size=1))
    steps = draw(
        st.lists(
            st.tuples(
                st.integers(0, 4000),
                st.sampled_from(["a", "b", "c"]),
                st.sampled_from(["pending", "firing", "resolved", "flapping"]),
            ),
            max_size=14,
        )
    )
    severities = {rule: draw(st.sampled_from(SEVERITIES)) for rule in ("a", "b", "c")}
    at, changes = 0.0, []
    for number, (gap, rule, state) in enumerate(steps, 1):
        at += gap
        changes.append(alert(number, at, state, severities[rule], rule))
    kinds = st.sampled_from(
        [GOOD, BAD, Answer(False, "busy", retry_after=90.0), Answer(False, "gone", final=True)]
    )
    answers = {receiver.name: draw(st.lists(kinds, max_size=8)) for receiver in receivers}
    restarts = draw(st.sets(st.integers(1, 30), max_size=6))
    return (
        Story(tuple(receivers), changes, answers, set()),
        Story(tuple(receivers), changes, answers, restarts),
    )


@given(stories())
def test_a_restart_changes_nothing(pair: tuple[Story, Story]) -> None:
    """The same messages at the same times, wherever the control room was started again."""
    plain, restarted = pair
    plain.play()
    restarted.play()
    assert restarted.sent == plain.sent


@given(stories())
def test_what_was_delivered_is_never_sent_again(pair: tuple[Story, Story]) -> None:
    """Each entry reaches a receiver at most once, and ends delivered or given up for all who want it."""
    story = pair[1]
    story.play()
    delivered = [
        (notice.receiver, *cover)
        for notice in story.notices
        if notice.stage == DELIVERED
        for cover in notice.detail["covers"]
    ]
    assert len(delivered) == len(set(delivered))
    ended = {
        (notice.receiver, *cover)
        for notice in story.notices
        if notice.stage != FAILED
        for cover in notice.detail["covers"]
    }
    begun = {}
    for change in story.alerts:
        last = begun.get(change.rule)
        if change.state == "firing" and (last is None or last.state == "flapping"):
            begun[change.rule] = change
            for receiver in story.receivers:
                if change.severity in receiver.severities:
                    assert (receiver.name, change.id, "firing") in ended
        elif change.state == "flapping":
            begun[change.rule] = change
        elif change.state == "resolved":
            begun.pop(change.rule, None)


@given(stories())
def test_deadlines_are_kept_by_receivers_that_are_well(pair: tuple[Story, Story]) -> None:
    """Critical and high at the moment they fire, the others within two hours."""
    story = pair[0]
    story.answers.clear()
    story.play()
    at = {change.id: change for change in story.alerts}
    for now, key, _ in story.sent:
        number, transition = key.split("/")[1:3]
        change = at[int(number)]
        if transition == change.state:
            assert now - change.at <= (0.0 if change.severity in ("critical", "high") else 7200.0)
