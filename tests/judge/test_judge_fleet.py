"""What became of the workers is told, and what is missing because of it decides."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.fleet import Loss, fleet, losses, lost_workers, seconds_under_loss, stories, tagged
from loadgate.judge.objectives import evaluate_all
from loadgate.judge.results import Grade
from loadgate.judge.run import void_reasons
from loadgate.judge.slots import Interval
from loadgate.plan.scenario import Generator
from loadgate.store.database import Event, LedgerRow

LOST = Event(20.0, "worker_lost", {"worker": "worker-2"})
BACK = Event(31.5, "worker_returned", {"worker": "worker-2"})
GONE = Event(42.0, "worker_written_off", {"worker": "worker-2", "lost": 52, "unoffered": 40})


def told(make: Any, *events: Event, **changes: Any) -> dict[str, str]:
    """Return the sentences of a run's fleet by their kind."""
    return {
        kind: text for kind, text, _ in stories(make.evidence(events=events, workers_expected=3, **changes))
    }


def test_a_quiet_run_has_no_story(make: Any) -> None:
    """Nothing is told of workers that were there all the time."""
    assert told(make) == {}
    assert lost_workers(make.evidence()) == ()


def test_a_worker_that_died_is_told_with_what_it_took_along(make: Any) -> None:
    """The loss has its time and both numbers, and the worker counts as lost."""
    assert losses(make.evidence(events=[LOST, GONE])) == (Loss("worker-2", 20.0, lost=52, unoffered=40),)
    text = told(make, LOST, GONE)["workers_lost"]
    assert text == (
        "1 of 3 workers were lost: worker-2 was lost at 20s, 52 requests are lost with it, "
        "40 it was to make were never made"
    )
    assert lost_workers(make.evidence(events=[LOST, GONE])) == ("worker-2",)


def test_a_worker_that_came_back_is_told_and_is_not_lost(make: Any) -> None:
    """11.5 s later it was there again."""
    assert told(make, LOST, BACK)["workers_lost"] == (
        "no worker stayed lost: worker-2 was lost at 20s and came back after 11.5s"
    )
    assert lost_workers(make.evidence(events=[LOST, BACK])) == ()


NOT_MEASURED = Event(25.0, "not_measured", {"from": 15, "to": 26, "cause": "every worker was gone"})


def test_what_nobody_measured_is_told_with_its_cause(make: Any) -> None:
    """From when to when, by run time."""
    assert told(make, NOT_MEASURED)["not_measured"] == (
        "not measured, since nobody made the load: 15s to 26s (every worker was gone)"
    )


def test_of_many_stretches_the_last_five_are_named(make: Any) -> None:
    """The others are counted; the finding's numbers have them all."""
    events = [
        Event(float(at), "not_measured", {"from": at, "to": at + 2, "cause": "x"}) for at in range(0, 70, 10)
    ]
    assert told(make, *events)["not_measured"].startswith(
        "not measured, since nobody made the load: 2 stretches before, and 20s to 22s (x); 30s to 32s (x)"
    )


def test_a_gap_without_a_control_room_is_told(make: Any) -> None:
    """What could not be read in it is no bad reading."""
    assert told(make, control_gaps=((60.0, 75.04),))["not_watched"] == (
        "not watched, since the run had no control room: 1m to 1m15s; what was not read then is not counted "
        "as bad"
    )


def test_what_is_lost_around_deaths_is_told(make: Any) -> None:
    """Both numbers, and what the first one means."""
    event = Event(60.0, "open_seconds_closed", {"workers": ["worker-1"], "lost": 141, "unoffered": 358})
    assert told(make, event)["open_seconds"] == (
        "around masters and workers that died, 141 requests are lost (they may have reached the target, and "
        "nobody knows how they ended) and 358 were never made"
    )


def restarted(number: int) -> Event:
    """A worker that a supervisor started in place of another."""
    return Event(30.0, "worker_joined", {"worker": f"worker-{number}", "restarted": True})


@pytest.mark.parametrize(
    ("policy", "lost", "replaced", "void"),
    [
        ("continue", 3, 0, False),
        ("degrade <= 50%", 2, 0, True),
        ("degrade <= 50%", 2, 1, False),
        ("degrade <= 50%", 3, 1, True),
        ("invalid", 1, 1, True),
    ],
)
def test_a_worker_that_was_replaced_makes_up_for_one_that_was_lost(
    make: Any, policy: str, lost: int, replaced: int, void: bool
) -> None:
    """Of two workers; but where no loss is allowed, none is, and where any is, no number is too many."""
    events = [Event(20.0, "worker_lost", {"worker": f"worker-{n}"}) for n in range(lost)]
    events += [restarted(n) for n in range(10, 10 + replaced)]
    evidence = make.evidence(events=events, workers_expected=2, generator=Generator(on_worker_loss=policy))
    assert any("workers were lost" in reason for reason in void_reasons(evidence)) is void


@pytest.mark.parametrize(
    ("names", "at", "void"),
    [
        # New ones, after the losses; the same before them; old ones; one name that joined three times.
        (("worker-7", "worker-8", "worker-9"), 30.0, False),
        (("worker-7", "worker-8", "worker-9"), 15.0, True),
        (("worker-1", "worker-2", "worker-4"), 30.0, True),
        (("worker-7", "worker-7", "worker-7"), 30.0, True),
    ],
)
def test_only_a_new_worker_that_joined_after_a_loss_makes_up_for_it(
    make: Any, names: tuple[str, ...], at: float, void: bool
) -> None:
    """Of four workers three are lost at 20, and half of them may be; one replaced of three is not enough."""
    joined = [Event(at, "worker_joined", {"worker": name, "restarted": True}) for name in names]
    lost = [Event(20.0, "worker_lost", {"worker": f"worker-{n}"}) for n in (2, 3, 5)]
    early = Event(12.0, "worker_joined", {"worker": "worker-5"})
    fleet = [row for n in (1, 2, 3, 4) for row in make.fleet(range(5, 19), f"worker-{n}")]
    fleet += make.fleet(range(30, 40), "worker-7")
    events = sorted([early, *joined, *lost], key=lambda event: event.at)
    evidence = make.evidence(
        events=events,
        fleet=fleet,
        workers_expected=4,
        steady=[Interval(10.0, 12.0)],
        generator=Generator(on_worker_loss="degrade <= 25%"),
    )
    assert any("workers were lost" in reason for reason in void_reasons(evidence)) is void


def test_old_workers_that_come_back_to_a_new_master_replace_nobody(make: Any) -> None:
    """All four are lost with their master at 15 and join again at 16; three are lost at 25, for good."""
    names = [f"worker-{n}" for n in (1, 2, 3, 4)]
    events = [Event(15.0, "worker_lost", {"worker": name}) for name in names]
    events += [Event(16.0, "worker_joined", {"worker": name, "restarted": True}) for name in names]
    events += [Event(25.0, "worker_lost", {"worker": name}) for name in names[:3]]
    fleet = [row for name in names for row in make.fleet(range(5, 40 if name == names[3] else 25), name)]
    policy = Generator(on_worker_loss="degrade <= 50%")
    evidence = make.evidence(events=events, fleet=fleet, workers_expected=4, generator=policy)
    assert any("3 of 4 workers were lost" in reason for reason in void_reasons(evidence))


def test_a_worker_that_is_lost_twice_has_two_losses(make: Any) -> None:
    """The second one is the one that it did not come back from, and that was written off."""
    again = Event(35.0, "worker_lost", {"worker": "worker-2"})
    first, second = losses(make.evidence(events=[LOST, BACK, again, GONE]))
    assert (first.returned, first.lost) == (31.5, 0)
    assert (second.at, second.returned, second.lost) == (35.0, None, 52)


@pytest.mark.parametrize(
    ("event", "kind", "part"),
    [
        (Event(12.0, "resumed", {"measured_until": 9}), "resumed", "resumed at 12s by another master"),
        (Event(15.25, "worker_joined", {"worker": "worker-4"}), "worker_joined", "worker-4 joined at 15.2s"),
        (Event(3.0, "worker_refused", {"host": "b", "reason": "no"}), "worker_refused", "on b was refused"),
    ],
)
def test_what_happened_to_the_fleet_is_told(make: Any, event: Event, kind: str, part: str) -> None:
    """A second master, a newcomer, and one that was not let in."""
    assert part in told(make, event)[kind]


def ledger(*rows: tuple[int, int, int]) -> list[LedgerRow]:
    """Make rows of (second, lost, unoffered)."""
    return [LedgerRow(second, 3, 3 - lost, 0, lost, unoffered) for second, lost, unoffered in rows]


def test_seconds_with_a_lost_worker_or_unoffered_arrivals_are_under_loss(make: Any) -> None:
    """Of four seconds, one had a lost worker and one 7 arrivals that nobody offered."""
    evidence = make.evidence(ledger=ledger((20, 0, 0), (21, 1, 0), (22, 0, 7), (23, 0, 0)))
    assert seconds_under_loss(evidence) == {21, 22}
    found = fleet(evidence)
    assert (found["seconds_under_loss"], found["unoffered"]) == (2, 7)


def test_a_worst_window_under_loss_is_marked(make: Any) -> None:
    """The first of equal 10 s windows, from 10 to 20, holds second 15; 21 and 5 lie outside of it."""
    row = make.objective(statistic="p95", alert="> 200ms")
    for second, lost, marked in ((15, 1, True), (15, 0, False), (21, 1, False), (5, 1, False)):
        evidence = make.evidence(row, ledger=ledger((second, lost, 0)))
        (judged,) = tagged(evidence, evaluate_all(evidence))
        assert judged.worst_window.under_loss is marked


def test_the_spread_of_the_workers_p99_is_reported(make: Any) -> None:
    """Medians of 10 and 30 ms: three times apart; one worker alone has no spread."""
    slow = make.fleet(range(10, 40), "worker-2", p99_us=30_000.0)
    quick = make.fleet(range(10, 40), "worker-1", p99_us=10_000.0)
    spread = fleet(make.evidence(fleet=[*quick, *slow]))["p99_spread"]
    assert spread["ratio"] == pytest.approx(3.0)
    assert (spread["lowest"]["worker"], spread["highest"]["p99_ms"]) == ("worker-1", 30.0)
    assert fleet(make.evidence(fleet=quick))["p99_spread"] is None


def test_lost_requests_alone_never_pass_a_row(make: Any) -> None:
    """1 of 100 lost: with it 1 %, worse than the target, without it 0 %: nobody knows."""
    row = make.objective("error_rate", "< 0.1%", alert="> 1%")
    windows = make.steady({20: 99}, lost=1)
    (judged,) = evaluate_all(make.evidence(row, windows=windows))
    assert judged.verdict is Grade.INCONCLUSIVE


@pytest.mark.parametrize(
    ("policy", "unoffered", "void"),
    [("continue", 30, False), ("continue", 31, True), ("degrade <= 10%", 330, False), ("invalid", 31, True)],
)
def test_more_than_a_hundredth_that_nobody_offered_voids_the_run(
    make: Any, policy: str, unoffered: int, void: bool
) -> None:
    """Of 3000 recorded and 30 unoffered arrivals 30.3 may be missing; of 3330 with a tenth allowed, 363."""
    evidence = make.evidence(ledger=ledger((20, 0, unoffered)), generator=Generator(on_worker_loss=policy))
    assert any("offered by nobody" in reason for reason in void_reasons(evidence)) is void


def test_what_nobody_offered_in_the_warm_up_voids_nothing(make: Any) -> None:
    """Only the steady phase is judged; it begins at 10 here."""
    assert void_reasons(make.evidence(ledger=ledger((5, 0, 2000)))) == ()
