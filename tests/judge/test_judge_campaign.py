"""The clock, the calendar and the decision of a campaign, as pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from campaign_made import HOST, START, Book, alert, at, ready, ready_by, run_facts
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import clock_fault, fold
from loadgate.judge.campaign_calendar import agenda_at, position_at, startable
from loadgate.judge.campaign_clock import clock_at
from loadgate.judge.campaign_facts import RowFacts, RuleFacts, RunFacts
from loadgate.judge.campaign_lines import Standing
from loadgate.judge.campaign_replay import replayed
from loadgate.judge.decision import Decision, Trust
from loadgate.store.campaign import Entry

GO_AT = at(7, 3)


def standing(decision: Decision, key: str) -> tuple[str, str]:
    """Return how an item stands, and its first reason."""
    item = next(item for item in decision.items if item.key == key)
    return item.standing.value, item.reasons[0]


def line(**content: object) -> dict[str, object]:
    """Return a line of the checklist."""
    return {"id": "a-line", "text": "A line", **content}


# -- the decision ------------------------------------------------------------------------------------------


def test_all_in_place_is_go() -> None:
    """A week of soak, tests, no critical bug, one signature: GO, exit 0, and no reason against it."""
    decision = ready().decide(GO_AT)
    assert (decision.word, decision.exit_code, decision.reasons()) == ("GO", ExitCode.PASS, [])


def test_a_campaign_without_evidence_is_held() -> None:
    """Nothing is met by itself: each row of the matrix is missing, and the exit code says so."""
    decision = Book().decide(at(8))
    assert (decision.word, decision.exit_code) == ("HOLD", ExitCode.INVALID)
    for key in ("bugs", "performance", "tests", "monitoring", "sign-off", "sustained"):
        assert standing(decision, key)[0] == "missing"


def spoiled(book: Book, what: str) -> Book:
    """Spoil one thing of a campaign that would be GO."""
    soon = at(7, 2.5)
    return {
        "critical bug": lambda: book.bugs(soon, "BUG-1"),
        "unreadable bugs": lambda: book.bugs(soon, fault="cannot be read"),
        "failed test": lambda: book.tests(soon, failed=1),
        "no test": lambda: book.tests(soon, tests=0),
        "all skipped": lambda: book.tests(soon, skipped=10),
        "no JUnit": lambda: book.tests(soon, fault="the file is missing"),
        "tests of the future": lambda: book.tests(soon, made_at=at(9)),
        "refused": lambda: book.sign(soon, agrees=False),
        "newest soak WARN": lambda: book.run("soak", 7.01, 0.01, verdict="WARN"),
        "newest soak INVALID": lambda: book.run("soak", 7.01, 0.01, verdict="INVALID"),
        "FAIL of a load": lambda: book.run("load", 7.01, 0.01, verdict="FAIL"),
        "critical alert": lambda: book.run("load", 7.01, 0.01, alerts=(alert(at(7.015)),)),
        "high alert still fires": lambda: book.run("load", 7.01, 0.01, alerts=(alert(at(7.015), "high"),)),
        "down for 61 s": lambda: book.run(
            "load", 7.01, 0.01, down=((at(7.011), at(7.011) + timedelta(seconds=61)),)
        ),
        "not judged": lambda: book.run("load", 7.01, 0.01, verdict=None),
        "died": lambda: book.run("load", 7.01, 0.01, verdict=None, ended="died"),
        "newest soak of another plan": lambda: book.run("soak", 7.01, 0.01, plan="q", verdict="FAIL"),
        "deployment": lambda: book.run("load", 7.01, 0.01, deployments=((at(7.012), "v2"),)),
    }[what]()


@pytest.mark.parametrize(
    ("what", "code", "told"),
    [
        ("critical bug", 20, "1 open: BUG-1"),
        ("unreadable bugs", 30, "cannot be read"),
        ("failed test", 20, "1 of 10 tests failed"),
        ("no test", 30, "holds no test"),
        ("all skipped", 30, "all 10 tests were skipped"),
        ("no JUnit", 30, "the file is missing"),
        ("tests of the future", 30, "the future"),
        ("refused", 20, "refused by qa"),
        ("newest soak WARN", 20, "is WARN"),
        ("newest soak INVALID", 30, "is INVALID"),
        ("FAIL of a load", 20, "ended FAIL"),
        ("critical alert", 20, "alert down (critical) fired"),
        ("high alert still fires", 20, "alert down (high): it is down"),
        ("down for 61 s", 20, "the target was down for 1m1s"),
        ("not judged", 30, "nobody judged it"),
        ("died", 30, "nobody judged it"),
        ("newest soak of another plan", 20, "ended FAIL"),
        ("deployment", 30, "no run of soak since the clock was started"),
    ],
)
def test_one_thing_is_enough_to_hold(what: str, code: int, told: str) -> None:
    """Whatever it is, it is named; bad is 20, missing is 30."""
    decision = spoiled(ready(), what).decide(GO_AT)
    assert (decision.word, int(decision.exit_code)) == ("HOLD", code)
    assert any(told in reason for reason in decision.reasons())


@pytest.mark.parametrize("what", ["a load that counts not", "a high alert that is over", "down for 60 s"])
def test_what_stops_nothing(what: str) -> None:
    """A stress run may FAIL; an alert that was resolved and a short downtime are within the rules."""
    book = ready()
    {
        "a load that counts not": lambda: book.run(
            "stress", 7.01, 0.01, stability=False, verdict="FAIL", alerts=(alert(at(7.015)),)
        ),
        "a high alert that is over": lambda: book.run(
            "load", 7.01, 0.01, alerts=(alert(at(7.012), "high", at(7.013)),)
        ),
        "down for 60 s": lambda: book.run(
            "load", 7.01, 0.01, down=((at(7.011), at(7.011) + timedelta(seconds=60)),)
        ),
    }[what]()
    assert book.decide(GO_AT).word == "GO"


@pytest.mark.parametrize(
    ("seconds", "rules", "word"),
    [
        (300, (RuleFacts("down", 300.0, "c"),), "HOLD"),
        (301, (RuleFacts("down", 300.0, "c"),), "GO"),
        (301, (), "HOLD"),
        (301, (RuleFacts("down", 300.0, "other"),), "HOLD"),
        (301, (RuleFacts("other", 300.0, "c"),), "HOLD"),
    ],
)
def test_only_who_would_have_seen_it_clears_an_alert(
    seconds: int, rules: tuple[RuleFacts, ...], word: str
) -> None:
    """A later run with its rule, which watched for longer than the five minutes that it takes."""
    length = seconds / 86_400
    book = ready().run("load", 7.01, 0.01, alerts=(alert(at(7.015), "high"),))
    book.run("soak", 7.05, length, mode="watch", verdict=None, rules=rules)
    assert book.decide(GO_AT).word == word


@pytest.mark.parametrize(("seconds", "word"), [(10, "HOLD"), (60, "HOLD"), (61, "GO")])
def test_a_glance_clears_no_alert(seconds: int, word: str) -> None:
    """Also where the rule fires at once, a later run must have watched for over a minute."""
    rules = (RuleFacts("down", 0.0, "c"),)
    book = ready().run("load", 7.01, 0.01, alerts=(alert(at(7.015), "high"),), rules=rules)
    book.run("soak", 7.05, seconds / 86_400, mode="watch", verdict=None, rules=rules)
    assert book.decide(GO_AT).word == word


def test_a_soak_of_another_plan_shows_nothing_good() -> None:
    """A week at one request a second under the soak's name: neither performance nor a sustained load."""
    book = Book().run("soak", 0.0, 7.0, plan="q").tests(at(7, 1)).bugs(at(7, 1)).sign(at(7, 2))
    decision = book.decide(GO_AT)
    assert [standing(decision, key)[0] for key in ("performance", "sustained")] == ["missing", "missing"]


@pytest.mark.parametrize(("name", "plan"), [("mine", "p"), ("soak", "q"), ("soak", "")])
def test_a_watch_of_another_plan_watches_nothing(name: str, plan: str) -> None:
    """Its own word, stability = true, is not enough: neither the clock nor the monitoring has it."""
    book = Book().run("soak", 0.0, 7.0, observed=(), monitored=False)
    book.run(name, 0.0, 7.0, plan=plan, mode="watch", verdict=None)
    decision = book.tests(at(7, 1)).bugs(at(7, 1)).sign(at(7, 2)).decide(GO_AT)
    assert [standing(decision, key)[0] for key in ("monitoring", "stability")] == ["missing", "missing"]
    assert decision.clock.observed == 0.0


def test_a_run_of_another_plan_clears_no_alert() -> None:
    """Though it has the rule, and watched for long enough."""
    book = ready().run("load", 7.01, 0.01, alerts=(alert(at(7.015), "high"),))
    assert book.run("soak", 7.03, 0.01, mode="watch", verdict=None, plan="q").decide(GO_AT).word == "HOLD"
    assert book.run("soak", 7.05, 0.01, mode="watch", verdict=None).decide(GO_AT).word == "GO"


@pytest.mark.parametrize("kind", ["book", "evidence", "time"])
def test_what_cannot_be_trusted_is_held(kind: str) -> None:
    """A fault of the book, of the evidence or of the clock: exit 30, and no waiver helps."""
    book = ready().add(
        "waive", at(7, 2.5), item=kind, owner="ops", reason="x", expires="2027-01-01T00:00:00+00:00"
    )
    decision = book.decide(GO_AT, Trust(**{kind: ("something is wrong",)}))
    assert (decision.word, decision.exit_code) == ("HOLD", ExitCode.INVALID)
    assert standing(decision, kind) == ("missing", "something is wrong")


def test_stale_bugs_are_missing() -> None:
    """The file may be a day old, and is a day and an hour."""
    book = Book().run("soak", 0.0, 7.0).tests(at(7, 1)).bugs(at(6, 2)).sign(at(7, 2))
    assert standing(book.decide(GO_AT), "bugs") == ("missing", "bugs.json is 1d1h old, and may be 1d")


def test_a_newer_run_that_died_hides_behind_no_older_one() -> None:
    """Of a scenario that does not count for stability: the older PASS is not the last word."""
    plan = {"sign_off": ["qa"], "performance": ["gate"]}
    book = ready_by(decision=plan).run("gate", 7.01, 0.01, stability=False)
    assert book.decide(GO_AT).word == "GO"
    book.run("gate", 7.03, 0.01, stability=False, verdict=None, ended="died")
    assert book.decide(GO_AT).exit_code is ExitCode.INVALID
    assert "(died) is newer, and nobody judged it" in standing(book.decide(GO_AT), "performance")[1]
    assert book.run("gate", 7.05, 0.01, stability=False).decide(GO_AT).word == "GO"


def test_passes_on_end_have_no_unjudged_run_between_them() -> None:
    """Two passes are asked for, and a load between them died."""
    plan = {"sign_off": ["qa"], "performance": ["gate"], "passes": 2}
    book = ready_by(decision=plan)
    for days, changes in ((7.01, {}), (7.03, {"verdict": None, "ended": "died"}), (7.05, {})):
        book.run("gate", days, 0.01, stability=False, **changes)
    assert standing(book.decide(GO_AT), "performance")[0] == "missing"


def test_a_bad_item_outranks_missing_ones() -> None:
    """Something is not met and something is missing: 20."""
    assert Book().bugs(at(1), "BUG-1").decide(at(1, 1)).exit_code is ExitCode.FAIL


def test_a_waiver_counts_until_it_expires() -> None:
    """The last moment at which it does is the one before."""
    book = ready().bugs(at(7, 2.5), "BUG-1")
    book.add(
        "waive",
        at(7, 2.6),
        item="bugs",
        owner="ops",
        reason="no user sees it",
        expires="2026-01-12T12:00:00Z",
    )
    before, after = book.decide(at(7, 3.99)), book.decide(at(7, 4))
    assert (before.word, before.waivers[0].key, before.exit_code) == ("GO", "bugs", ExitCode.PASS)
    assert "no user sees it" in before.to_dict()["waivers"][0]["waiver"]
    assert (after.word, after.exit_code) == ("HOLD", ExitCode.FAIL)
    assert any("the waiver has expired" in reason for reason in after.reasons())


def test_a_decision_can_be_made_again_from_the_book() -> None:
    """And one that was changed, or does not follow, is named."""
    book = ready()
    made = book.decide(GO_AT).to_dict()
    book.add("decision", GO_AT, **made)
    assert replayed(book.entries) == ([], [])
    forged = ready().bugs(at(7, 2.5), "BUG-1").add("decision", GO_AT, **made)
    ((fault,), others) = replayed(forged.entries)
    assert fault.startswith("the decision of entry 7 (GO) does not follow from the book: it would be HOLD")
    assert others == []


@pytest.mark.parametrize("rules", [2, 99])
def test_a_decision_of_other_rules_is_not_made_again(rules: int) -> None:
    """By those of version 2 what goes on over a restart was forgotten: their GO may be a HOLD now."""
    made = ready().decide(GO_AT).to_dict()
    other = ready().add("decision", GO_AT, **(made | {"rules": rules}))
    assert replayed(other.entries) == (
        [],
        ["the decision of entry 6 was made by other rules than this Loadgate's"],
    )


@given(
    st.sets(
        st.sampled_from(["critical bug", "failed test", "refused", "no test", "critical alert", "died"]),
        min_size=1,
    )
)
def test_no_mixture_of_faults_is_go(faults: set[str]) -> None:
    """Good things never make up for bad ones."""
    book = ready()
    for fault in sorted(faults):
        spoiled(book, fault)
    assert book.decide(GO_AT).word == "HOLD"


# -- the clock ---------------------------------------------------------------------------------------------


def test_the_clock_counts_from_the_start() -> None:
    """Six days are missing one, a week is enough."""
    book = Book().run("soak", 0.0, 7.0)
    six, seven = clock_at(book.state(), at(6)), clock_at(book.state(), at(7))
    assert (six.elapsed, six.is_complete) == (6 * 86_400, False)
    assert (seven.elapsed, seven.observed, seven.is_complete) == (7 * 86_400, 1.0, True)


def test_a_stop_stands_until_a_restart() -> None:
    """FAIL on day 2; by day 9 nothing has passed; a restart on day 9 begins at zero."""
    book = Book().run("load", 1.0, 0.5, verdict="FAIL")
    stopped = clock_at(book.state(), at(9))
    assert (stopped.elapsed, stopped.is_complete) == (1.5 * 86_400, False)
    assert stopped.stopped is not None
    again = clock_at(book.restart(at(9)).state(), at(10))
    assert (again.elapsed, again.cycle, again.stopped) == (86_400, 2, None)


def test_a_fail_that_is_taken_back_stays_a_fail() -> None:
    """The run is written down a second time, better: what was bad once stays."""
    book = Book().run("load", 1.0, 0.5, verdict="FAIL").run("load", 1.0, 0.5, verdict="PASS")
    assert clock_at(book.state(), at(9)).stopped is not None


@pytest.mark.parametrize(
    "bad",
    [
        {"verdict": "FAIL"},
        {"alerts": (alert(at(1.1)),)},
        {"down": ((at(1.1), at(1.2)),)},
    ],
)
def test_a_run_cannot_take_itself_out(bad: dict[str, object]) -> None:
    """A load with --set stability=false stops the clock as any load; a stress run does not."""
    book = Book().run("load", 1.0, 0.5, stability=False, plan="q", **bad)
    assert clock_at(book.state(), at(9)).stopped is not None
    other = Book().run("stress", 1.0, 0.5, stability=False, **bad)
    assert clock_at(other.state(), at(9)).stopped is None


def test_an_unjudged_run_cannot_take_itself_out() -> None:
    """It died, and its plan says that it does not count: nobody knows what it would have said."""
    book = ready().run("load", 7.01, 0.01, verdict=None, ended="died", stability=False, plan="q")
    assert standing(book.decide(GO_AT), "stability")[0] == "missing"


def test_a_verdict_only_ever_gets_worse() -> None:
    """WARN, then PASS, then nothing at all: WARN with its rows; FAIL after it is FAIL."""
    bad = (RowFacts("error_rate", "WARN", "0.5%", "< 0.1%"),)
    book = Book().run("load", 1.0, 0.5, verdict="WARN", rows=bad)
    name = run_facts("load", 1.0, 0.5).run
    for verdict in ("PASS", None):
        found = book.run("load", 1.0, 0.5, verdict=verdict).state().runs[name]
        assert (found.verdict, found.rows) == ("WARN", bad)
    assert book.run("load", 1.0, 0.5, verdict="FAIL").state().runs[name].verdict == "FAIL"


def test_a_deployment_moves_the_clock_and_does_not_heal_it() -> None:
    """On day 3 of a running clock; not of a stopped one, and not where the campaign does not say so."""
    moved = Book().run("load", 2.0, 0.5, deployments=((at(3), "v2"),))
    assert clock_at(moved.state(), at(4)).since == at(3)
    stopped = Book().run("load", 1.0, 0.5, verdict="FAIL").run("load", 2.0, 0.5, deployments=((at(3), "v2"),))
    assert clock_at(stopped.state(), at(4)).since == START
    still = Book(clock={"deployment_restarts": False}).run("load", 2.0, 0.5, deployments=((at(3), "v2"),))
    assert clock_at(still.state(), at(4)).since == START


def test_a_deployment_before_the_start_makes_older_evidence_stale() -> None:
    """Load on day -5, deployed on day -1: another release, unless deployments do not count."""

    def book(**changes: object) -> Book:
        plan = {"sign_off": ["qa"], "performance": ["load"]}
        made = ready_by(decision=plan, **changes).run("load", -5.0, 0.1)
        return made.run("gate", -2.0, 0.1, deployments=((at(-1), "v2"),))

    assert standing(book().decide(GO_AT), "performance")[0] == "missing"
    assert standing(book().run("load", -0.9, 0.1).decide(GO_AT), "performance")[0] == "met"
    clock = {"length": 7 * 86_400.0, "deployment_restarts": False}
    assert standing(book(clock=clock).decide(GO_AT), "performance")[0] == "met"


def test_only_watched_time_counts() -> None:
    """Of the newest week the soak watched six days: 85.7 %, under 95 %; an early gap is healed."""
    gap = clock_at(Book().run("soak", 1.0, 6.0).state(), at(7))
    assert round(gap.observed, 3) == 0.857
    assert not gap.is_complete
    assert clock_at(Book().run("soak", 1.0, 7.0).state(), at(8)).is_complete


def test_overlapping_runs_watch_once() -> None:
    """Two runs of the same three and a half days are half a week."""
    book = Book().run("load", 0.0, 3.5).run("soak", 0.0, 3.5)
    assert clock_at(book.state(), at(7)).observed == 0.5


def test_the_week_must_be_one_run() -> None:
    """Seven runs of a day are no week; one of 6.9 days is, by less than 99 %, neither."""
    daily = Book()
    for day in range(7):
        daily.run("soak", float(day), 1.0)
    assert standing(daily.decide(at(7)), "sustained")[0] == "missing"
    short = Book().run("soak", 0.0, 6.9)
    assert standing(short.decide(at(7)), "sustained")[0] == "missing"
    assert standing(ready().decide(GO_AT), "sustained")[0] == "met"


@given(st.lists(st.tuples(st.floats(0, 13), st.sampled_from(["stop", "restart", "deployment"])), max_size=8))
def test_the_order_in_which_it_becomes_known_changes_nothing(events: list[tuple[float, str]]) -> None:
    """Runs and deployments may be written down in any order; only restarts have their place."""

    def book(order: list[tuple[float, str]]) -> Book:
        made = Book()
        for days, kind in order:
            if kind == "stop":
                made.entries.append(
                    replace(
                        made.entries[0],
                        seq=len(made.entries) + 1,
                        kind="run",
                        content=run_facts("load", days, 0.0, verdict="FAIL").content(),
                    )
                )
            elif kind == "deployment":
                made.entries.append(
                    replace(
                        made.entries[0],
                        seq=len(made.entries) + 1,
                        kind="run",
                        content=run_facts("soak", days, 0.0, deployments=((at(days), "v"),)).content(),
                    )
                )
        return made

    some = [event for event in events if event[1] != "restart"]
    first, second = (clock_at(book(order).state(), at(14)) for order in (some, some[::-1]))
    assert (first.since, first.elapsed) == (second.since, second.elapsed)


# -- what goes on over a restart or a deployment ------------------------------------------------------------


def over_a_new_start(how: str, ended: float = 9.3, **bad: object) -> Book:
    """Return a campaign that is GO on day 9.4 but for what a watch sees that began before the new start.

    That is on day 2; the watch is of days 0 to `ended`, and the soak of the new cycle follows no rule.
    """
    book = Book().run("soak", 0.0, 2.0, mode="watch", verdict=None, ended=None, run="w", **bad)
    deployments = ((at(2), "v2"),) if how == "deployment" else ()
    if how == "restart":
        book.restart(at(2))
    book.run("soak", 2.05, 7.1, rules=())
    book.run("soak", 0.0, ended, mode="watch", verdict=None, run="w", deployments=deployments, **bad)
    return book.tests(at(9.32)).bugs(at(9.32)).sign(at(9.33))


@pytest.mark.parametrize("how", ["restart", "deployment"])
@pytest.mark.parametrize(("resolved", "word"), [(None, "HOLD"), (at(1.9), "GO"), (at(2.1), "GO")])
def test_a_high_alert_of_before_may_still_fire(how: str, resolved: datetime | None, word: str) -> None:
    """It fired on day 1 in a watch that went on past the new start on day 2, and must be over somewhere."""
    bad = (alert(at(1), "high", resolved),)
    decision = over_a_new_start(how, alerts=bad).decide(at(9.4))
    assert (decision.word, decision.clock.since) == (word, at(2))


@pytest.mark.parametrize(
    ("bad", "stopped"),
    [
        ({"alerts": (alert(at(1)),)}, True),
        ({"alerts": (alert(at(1), resolved=at(2.1)),)}, True),
        ({"alerts": (alert(at(1), resolved=at(2)),)}, False),
        ({"alerts": (alert(at(2), resolved=at(2.1)),)}, True),
        ({"down": ((at(1), at(2) + timedelta(seconds=61)),)}, True),
        ({"down": ((at(1), at(2) + timedelta(seconds=60)),)}, False),
    ],
)
def test_what_goes_on_over_a_restart_stops_the_new_clock(bad: dict[str, object], stopped: bool) -> None:
    """At once; of a downtime the minute that is allowed counts from the restart on."""
    decision = over_a_new_start("restart", **bad).decide(at(9.4))
    stop = decision.clock.stopped
    assert (stop.at if stop else None) == (at(2) if stopped else None)
    assert decision.word == ("HOLD" if stopped else "GO")


def test_an_alert_of_a_run_that_ended_before_the_restart_is_over() -> None:
    """Nobody saw it in the new cycle, so it was of the old release."""
    decision = over_a_new_start("restart", ended=1.9, alerts=(alert(at(1)),)).decide(at(9.4))
    assert decision.word == "GO"


def test_what_goes_on_since_before_the_campaign_stops_its_clock() -> None:
    """A critical alert of an hour before the start, still firing a day after it."""
    book = Book().run("soak", -1 / 24, 1.0, alerts=(alert(at(0, -1)),))
    stop = clock_at(book.state(), at(9)).stopped
    assert stop is not None
    assert stop.at == START


def test_a_run_clears_no_alert_that_fires_longer_than_it_watched() -> None:
    """A run of the same rule, begun later, ended before the one in which the alert still fires."""
    fires = {"alerts": (alert(at(7.01), "high"),), "mode": "watch", "verdict": None}
    book = ready().run("load", 7.02, 0.03).run("soak", 7.0, 0.1, **fires)
    assert book.decide(GO_AT).word == "HOLD"
    assert book.run("load", 7.105, 0.005).decide(GO_AT).word == "GO"


# -- clock steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wall", "boot", "monotonic", "told"),
    [
        (3600, "boot", 3600, ""),
        (3600, "boot", 3650, ""),
        (3600, "boot", 0, "was set forward by 3600 s"),
        (10, "boot", 3600, "was set backward by 3590 s"),
        (-3600, "boot", 10, "went backward by 3600 s"),
        (-3600, "other", 10, "went backward by 3600 s"),
        (86_400, "other", 10, ""),
        (-1, "boot", 0, ""),
    ],
)
def test_a_step_of_the_wall_clock_is_named(wall: int, boot: str, monotonic: int, told: str) -> None:
    """Within a boot the two clocks go alike; over one the wall clock may only go forward."""
    last = Entry(1, START, "boot", 0.0, "start", {})
    found = clock_fault(last, START + timedelta(seconds=wall), boot, float(monotonic))
    assert told in found
    assert bool(found) == bool(told)


def test_a_restart_ends_what_was_wrong_with_the_clock() -> None:
    """Its own entry is the first of a new count."""
    book = Book().bugs(at(2)).bugs(at(1))
    assert standing(book.decide(at(2)), "time")[0] == "missing"
    book.restart(at(2))
    assert standing(book.decide(at(3)), "time")[0] == "met"


# -- lines -------------------------------------------------------------------------------------------------


def of_line(book: Book, moment: datetime = GO_AT) -> tuple[str, str]:
    """Return how the one line of a campaign stands."""
    return standing(book.decide(moment), "a-line")


def test_a_row_is_looked_up_in_the_newest_run_that_has_it() -> None:
    """PASS on day 1, WARN on day 2: not met; a run without the row does not hide it."""
    book = Book(line=[line(objectives=["error_rate"])]).run("load", 1.0, 0.1)
    assert of_line(book)[0] == "met"
    book.run("load", 2.0, 0.1, rows=(RowFacts("error_rate", "WARN", "0.5%", "< 0.1%"),))
    book.run("load", 3.0, 0.1, rows=())
    assert of_line(book) == (
        "not met",
        f"error_rate 0.5% (< 0.1%): WARN in {run_facts('load', 2.0, 0.1).run}",
    )


@pytest.mark.parametrize(
    "changes", [{"stability": False}, {"verdict": "INVALID"}, {"verdict": None}, {"ended": None}]
)
def test_a_row_needs_a_run_that_says_something(changes: dict[str, object]) -> None:
    """Not one that does not count, is void, was not judged, or goes on."""
    assert (
        of_line(Book(line=[line(objectives=["error_rate"])]).run("load", 1.0, 0.1, **changes))[0] == "missing"
    )


@pytest.mark.parametrize(
    ("newest", "told"),
    [
        ({"verdict": "INVALID"}, "is INVALID, and newer than any with error_rate"),
        ({"verdict": None, "ended": "died"}, "(died) is newer than any with error_rate"),
    ],
)
def test_an_older_row_does_not_stand_in_for_a_void_run(newest: dict[str, object], told: str) -> None:
    """PASS on day 1; on day 2 a run that has no rows because it says nothing."""
    book = Book(line=[line(objectives=["error_rate"], scenario="gate")])
    book.run("gate", 1.0, 0.1, stability=False)
    book.run("gate", 2.0, 0.1, stability=False, rows=(), **newest)
    assert of_line(book)[0] == "missing"
    assert told in of_line(book)[1]


def test_a_row_of_a_named_scenario_needs_no_counting_run() -> None:
    """The line says which one."""
    book = Book(line=[line(objectives=["error_rate"], scenario="gate")]).run(
        "gate", 1.0, 0.1, stability=False
    )
    assert of_line(book)[0] == "met"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("passed", "passed"), "met"),
        (("passed", "failed"), "not met"),
        (("passed", "skipped"), "missing"),
    ],
)
def test_a_smoke_line_needs_every_check_of_its_pattern(states: tuple[str, str], expected: str) -> None:
    """`*` stands for any text."""
    book = Book(line=[line(smoke=["* is refused"])])
    book.smoke(
        at(1), ("emotion malformed JSON is refused", states[0]), ("creative a field is refused", states[1])
    )
    assert of_line(book)[0] == expected


def test_a_smoke_check_by_another_scenario_stands_in_for_none() -> None:
    """The calendar smokes `load`; a newer, good one of `gate` takes no failure back."""
    book = Book(line=[line(smoke=["target rate limit"])]).smoke(
        at(1), ("target rate limit", "passed"), scenario="gate"
    )
    assert of_line(book)[0] == "missing"
    book.smoke(at(1.1), ("target rate limit", "failed"))
    book.smoke(at(1.2), ("target rate limit", "passed"), scenario="gate")
    assert of_line(book)[0] == "not met"


def test_a_smoke_line_without_its_check_is_missing() -> None:
    """Neither a check of another name nor no smoke check at all will do."""
    book = Book(line=[line(smoke=["target rate limit"])])
    assert of_line(book)[0] == "missing"
    assert of_line(book.smoke(at(1), ("target health", "passed")))[0] == "missing"


def command(status: int | None, index: int = 0, words: tuple[str, ...] = ("qa",)) -> dict[str, object]:
    """Return the entry of a command that ended."""
    return {
        "line": "a-line",
        "index": index,
        "command": list(words),
        "at": at(1).isoformat(),
        "status": status,
        "output": "",
        "fault": "" if status is not None else "it took too long",
    }


def test_every_command_must_end_well() -> None:
    """Not run, ended with 1, or took too long are three ways not to."""
    lines = [line(commands=[["qa"], ["uat"]])]
    book = Book(line=lines).add("command", at(1), **command(0))
    assert of_line(book) == ("missing", "not run: uat")
    assert of_line(book.add("command", at(1), **command(1, 1, ("uat",)))) == ("not met", "exit status 1: uat")
    assert of_line(book.add("command", at(1), **command(None, 1, ("uat",))))[0] == "not met"
    assert of_line(book.add("command", at(1), **command(0, 1, ("uat",))))[0] == "met"


def test_an_attestation_stands_in_for_commands_that_never_ran() -> None:
    """And never for one that failed."""
    book = Book(line=[line(commands=[["qa"]], attest=["ops"])])
    book.add("attest", at(1), line="a-line", role="ops", note="by hand", holds=True)
    assert of_line(book)[0] == "met"
    assert of_line(book.add("command", at(1, 1), **command(3)))[0] == "not met"


def test_an_attestation_can_be_withdrawn_and_may_need_renewal() -> None:
    """With `renew` it counts for one cycle."""
    book = Book(line=[line(attest=["ops"], renew=True)])
    assert of_line(book)[0] == "missing"
    assert of_line(book.add("attest", at(1), line="a-line", role="ops", note="seen", holds=True))[0] == "met"
    assert of_line(book.restart(at(2)))[0] == "missing"
    book.add("attest", at(3), line="a-line", role="ops", note="gone", holds=False)
    assert of_line(book)[0] == "not met"


def test_a_line_repeats_a_criterion() -> None:
    """With its reason."""
    book = Book(success=[line(criterion="bugs")]).bugs(at(7, 1), "BUG-1")
    assert of_line(book) == ("not met", "1 open: BUG-1")


def test_a_line_that_repeats_a_waived_criterion_has_its_waiver() -> None:
    """With owner, reason and end, as every waiver of a decision."""
    book = Book(success=[line(criterion="bugs")]).bugs(at(7, 1), "BUG-1")
    book.add("waive", at(7, 2), item="bugs", owner="ops", reason="rare", expires="2027-01-01T00:00:00Z")
    item = next(item for item in book.decide(GO_AT).items if item.key == "a-line")
    assert item.standing is Standing.WAIVED
    assert item.waiver == "ops, until 2027-01-01T00:00: rare (entry 3)"


def test_a_line_of_an_older_book_has_no_waiver_of_a_criterion() -> None:
    """It is called as one is, which no campaign file may any more."""
    book = Book(line=[line(id="stability", attest=["qa"])]).run("soak", 0.0, 6.0)
    book.add("waive", at(6, 1), item="stability", owner="ops", reason="x", expires="2027-01-01T00:00:00Z")
    items = [item for item in book.decide(at(6, 2)).items if item.key == "stability"]
    assert [item.standing for item in items] == [Standing.WAIVED, Standing.MISSING]


# -- the calendar ------------------------------------------------------------------------------------------


PHASES = [
    {
        "name": "one",
        "length": 5 * 86_400.0,
        "run": [{"name": "daily", "scenario": "load.toml", "at": 3600.0, "every": 86_400.0}],
    },
    {
        "name": "two",
        "length": 2 * 86_400.0,
        "run": [
            {"name": "stress", "scenario": "stress.toml"},
            {"name": "soak", "scenario": "soak.toml", "at": 3600.0, "each_cycle": True},
            {"name": "smoke", "scenario": "load.toml", "command": "smoke", "beside": True},
        ],
    },
]


def keys(book: Book, moment: datetime, which: str = "due") -> list[str]:
    """Return the keys that the calendar has at a moment."""
    state = book.state()
    return [one.key for one in getattr(agenda_at(state, clock_at(state, moment), moment), which)]


@pytest.mark.parametrize(
    ("moment", "day", "phase"),
    [(at(0), 1, "one"), (at(4.99), 5, "one"), (at(5), 6, "two"), (at(6.99), 7, "two"), (at(7), 8, None)],
)
def test_a_moment_has_its_day_and_phase(moment: datetime, day: int, phase: str | None) -> None:
    """Days count from 1; a phase ends when the next one begins."""
    position = position_at(Book(phase=PHASES).state().plan, START, moment)
    assert (position.day, position.phase.name if position.phase else None) == (day, phase)


def test_only_the_newest_occurrence_is_due() -> None:
    """After three days without anybody the loads of the first two are missed, and not made up for."""
    book = Book(phase=PHASES)
    assert keys(book, at(0)) == []
    assert keys(book, at(2, 2)) == ["one/daily#3"]
    assert keys(book, at(2, 2), "missed") == ["one/daily#1", "one/daily#2"]
    assert keys(book, at(2, 2), "next") == ["one/daily#4", "two/smoke", "two/stress", "two/soak@1"]


def test_what_was_started_is_due_no_more() -> None:
    """Also when nothing came of it; but what provably never began is."""
    book = Book(phase=PHASES).add("intent", at(0, 1), key="one/daily#1", attempt=1, command=[])
    assert keys(book, at(0, 2)) == []
    nothing = Book(phase=PHASES).add("intent", at(0, 1), key="one/daily#1", attempt=1, command=[])
    nothing.add("done", at(0, 2), key="one/daily#1", outcome="nothing", run=None, text="")
    assert keys(nothing, at(0, 3)) == []
    never = Book(phase=PHASES).add("intent", at(0, 1), key="one/daily#1", attempt=1, command=[])
    never.add("done", at(0, 2), key="one/daily#1", outcome="unstarted", run=None, text="")
    assert keys(never, at(0, 3)) == ["one/daily#1"]


def test_a_new_cycle_has_its_own_soak() -> None:
    """Restarted on day 9, after the calendar: the soak of cycle 2 is due at once, that of cycle 1 missed."""
    book = Book(phase=PHASES).restart(at(9))
    assert keys(book, at(9, 1)) == ["two/soak@2"]
    assert "two/soak@1" in keys(book, at(9, 1), "missed")


def test_one_load_at_a_time() -> None:
    """With stress and soak due the first one starts; the smoke check goes beside any of them."""
    book = Book(phase=PHASES)
    state = book.state()
    due = agenda_at(state, clock_at(state, at(5, 2)), at(5, 2)).due
    assert [one.key for one in due] == ["two/smoke", "two/stress", "two/soak@1"]
    assert [one.key for one in startable(due, [], load_runs=False)] == ["two/smoke", "two/stress"]
    assert [one.key for one in startable(due, [], load_runs=True)] == ["two/smoke"]
    stress = next(one.run for one in due if one.key == "two/stress")
    assert [one.key for one in startable(due, [stress], load_runs=False)] == ["two/smoke"]


# -- the fold ----------------------------------------------------------------------------------------------


def test_a_book_begins_with_its_start() -> None:
    """Neither nothing nor anything else."""
    with pytest.raises(StoreError, match="is empty"):
        fold([])
    with pytest.raises(StoreError, match="begins with 'bugs'"):
        fold(Book().bugs(at(1)).entries[1:])


def test_an_entry_of_a_newer_loadgate_is_refused() -> None:
    """Leaving it out could leave out a stop."""
    with pytest.raises(StoreError, match="'omen' that this Loadgate does not know"):
        Book().add("omen", at(1)).state()


def test_facts_survive_the_book() -> None:
    """What is read back is what was written."""
    facts = run_facts(
        "soak",
        1.0,
        2.0,
        alerts=(alert(at(1.5), resolved=at(1.6)),),
        down=((at(1.5), at(1.6)),),
        sha256={"a": "b"},
        deployments=((at(1.2), "v2"),),
    )
    assert RunFacts.of(facts.content()) == facts
    assert facts.host == HOST
    assert Standing.MET.value == "met"
