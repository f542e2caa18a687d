"""The roster: who is here, who is lost, who left, and what each has reported."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.delta import Delta, FleetRow
from loadgate.measure.window import Window
from loadgate.store.ledger import Range, Ranges
from loadgate.swarm.leases import SILENT_AFTER
from loadgate.swarm.roster import LOST_AFTER, Change, Roster, State, Worker, count_arrivals


def roster_of(*clients: str, heard: float = 100.0) -> Roster:
    roster = Roster()
    for client in clients:
        roster.join(client, heard, ready=True)
    return roster


def worker_of(roster: Roster, client: str) -> Worker:
    found = roster.get(client)
    assert found is not None
    return found


def report(
    sequence: int, second: int | None, *windows: Window, incarnation: int = 7, name: str = "worker-1"
) -> Delta:
    row = [] if second is None else [FleetRow(second, name, 0, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0)]
    return Delta("run", name, incarnation, sequence, list(windows), fleet=row)


# -- who is who ---------------------------------------------------------------------------------


def test_workers_are_named_and_numbered_in_order_of_joining() -> None:
    """Names count from 1, numbers from 0."""
    roster = roster_of("x", "y")
    assert [(w.name, w.number, w.client) for w in roster] == [("worker-1", 0, "x"), ("worker-2", 1, "y")]


def test_the_same_client_twice_is_one_worker() -> None:
    """A worker that connects again is itself: same name, same number, heard of just now."""
    roster = roster_of("x")
    again = roster.join("x", 105.0, name="other")
    assert (again.name, again.number, again.heard, len(roster)) == ("worker-1", 0, 105.0, 1)


def test_a_worker_keeps_the_name_it_had_under_the_master_before() -> None:
    """And nobody new gets it: worker-2 is taken, so the newcomer is worker-3."""
    roster = Roster()
    roster.join("x", 0.0, name="worker-2")
    assert roster.join("y", 0.0).name == "worker-3"


def test_a_reserved_name_is_for_the_worker_that_had_it() -> None:
    """Reports of worker-1 are on record: a newcomer that joins first must not add to them."""
    roster = Roster()
    roster.reserve(["worker-1"])
    assert roster.join("new", 0.0).name == "worker-2"
    assert roster.join("old", 0.0, name="worker-1").name == "worker-1"


@given(st.lists(st.sampled_from([None, "worker-1", "worker-3", "worker-7"]), max_size=8))
def test_no_newcomer_gets_a_name_that_is_taken(names: list[str | None]) -> None:
    """Whatever names came back before it."""
    roster = Roster()
    for number, name in enumerate(names):
        taken = {worker.name for worker in roster}
        made = roster.join(f"client-{number}", 0.0, name=name)
        if name is None:
            assert made.name not in taken


def test_names_of_strangers_are_their_client_ids() -> None:
    """What came from one that is none of ours is told by Locust's id of it."""
    roster = roster_of("x")
    assert (roster.name_of("x"), roster.name_of("z"), "x" in roster, "z" in roster) == (
        "worker-1",
        "z",
        True,
        False,
    )


# -- here, silent, lost, left -------------------------------------------------------------------


def test_a_worker_counts_until_it_was_silent_for_too_long() -> None:
    """Up to 1.5 s it may be given a share, up to 3 s it is not lost, and both limits are still good."""
    roster = roster_of("x")
    assert (SILENT_AFTER, LOST_AFTER) == (1.5, 3.0)
    assert roster.live(101.5) == [0]
    assert roster.live(101.6) == []
    assert roster.look(103.0) == []
    assert roster.look(103.1) == [Change("worker_lost", worker_of(roster, "x"))]


def test_a_loss_and_a_return_are_told_once() -> None:
    """Looking again says nothing new."""
    roster = roster_of("x")
    assert [change.kind for change in roster.look(104.0) + roster.look(105.0)] == ["worker_lost"]
    roster.hear("x", 105.5)
    assert [change.kind for change in roster.look(106.0) + roster.look(107.0)] == ["worker_returned"]
    assert roster.lost() == []


def test_a_lost_worker_has_no_share_before_it_was_looked_at_again() -> None:
    """It was heard of at 105; the next look makes it one of those that are here."""
    roster = roster_of("x")
    roster.look(104.0)
    roster.hear("x", 105.0)
    assert roster.live(105.0) == []
    roster.look(105.1)
    assert roster.live(105.1) == [0]


def test_a_worker_that_is_not_ready_has_no_share() -> None:
    """It is here, and its users do not exist yet."""
    roster = Roster()
    roster.join("x", 100.0)
    assert roster.live(100.0) == []
    assert [worker.client for worker in roster.here()] == ["x"]


def test_a_worker_that_left_is_never_lost() -> None:
    """Nor does a message that was under way bring it back."""
    roster = roster_of("x")
    roster.leave("x")
    roster.hear("x", 101.0)
    assert roster.look(200.0) == []
    assert (roster.here(), roster.lost(), roster.live(101.0)) == ([], [], [])
    assert worker_of(roster, "x").state is State.LEFT


def test_a_lost_worker_cannot_leave() -> None:
    """What was heard of its goodbye says nothing of what is lost with it."""
    roster = roster_of("x")
    roster.look(110.0)
    roster.leave("x")
    assert worker_of(roster, "x").state is State.LOST


def test_word_that_came_late_makes_nobody_younger() -> None:
    """A time before the last word changes nothing."""
    roster = roster_of("x")
    roster.hear("x", 90.0)
    assert worker_of(roster, "x").heard == 100.0
    assert roster.hear("z", 90.0) is None


# -- what was reported --------------------------------------------------------------------------


def test_a_report_that_comes_again_says_nothing() -> None:
    """10 arrivals and 4 ends are 6 open, however often they are told."""
    roster = roster_of("x")
    delta = report(1, 0, Window(0, 1, "e", "steady", {"arrivals": 10, "ok": 4}))
    assert roster.report("x", delta)
    assert not roster.report("x", delta)
    worker = worker_of(roster, "x")
    assert worker.open_books == {("e", "steady"): 6}
    assert worker.recorded == {0: 10}


def test_a_stranger_reports_nothing() -> None:
    """A client that never joined."""
    assert not roster_of("x").report("z", report(1, 0))


def test_a_hole_between_reports_is_seen_until_it_is_filled() -> None:
    """1 and 3 came: whole up to the second of 1; with 2, up to that of 3."""
    roster = roster_of("x")
    for sequence, second in ((1, 0), (3, 2)):
        roster.report("x", report(sequence, second))
    worker = worker_of(roster, "x")
    assert (worker.reported, worker.whole) == (2, 0)
    roster.report("x", report(2, 1))
    assert (worker.reported, worker.whole) == (2, 2)


def test_the_reports_of_a_master_before_fill_the_hole() -> None:
    """1 to 50 are on record, 51 comes to the new master."""
    roster = roster_of("x")
    worker = worker_of(roster, "x")
    worker.seen[7] = Ranges([Range(1, 50)])
    roster.report("x", report(51, 60))
    assert (worker.reported, worker.whole) == (60, 60)


def test_a_last_report_that_overtook_others_does_not_complete() -> None:
    """It is the last, number 3, and 2 is missing; once that comes the worker is complete."""
    roster = roster_of("x")
    worker = worker_of(roster, "x")
    roster.report("x", report(1, 0))
    assert not worker.is_complete
    roster.report("x", report(3, 2), final=True)
    assert not worker.is_complete
    roster.report("x", report(2, 1))
    assert worker.is_complete


def test_a_last_report_that_is_on_record_completes() -> None:
    """The master before had committed it, and its acknowledgement was lost."""
    roster = roster_of("x")
    worker = worker_of(roster, "x")
    worker.seen[7] = Ranges([Range(1, 4)])
    assert not roster.report("x", report(4, 3), final=True)
    assert worker.is_complete


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_what_was_reported_does_not_depend_on_the_order(order: list[int], twice: int) -> None:
    """Books, counts and ends are the same for each order, with one report twice."""
    roster = roster_of("x")
    for sequence in [*order, *([twice] if twice else [])]:
        window = Window(sequence - 1, 1, "e", "steady", {"arrivals": sequence, "ok": 1})
        roster.report("x", report(sequence, sequence - 1, window), final=sequence == 8)
    worker = worker_of(roster, "x")
    assert worker.is_complete
    assert (worker.reported, worker.whole) == (7, 7)
    assert worker.open_books == {("e", "steady"): sum(range(1, 9)) - 8}
    assert worker.recorded == {second: second + 1 for second in range(8)}


def test_counts_of_seconds_long_past_are_dropped() -> None:
    """A week of seconds takes no memory, and the last two minutes stay."""
    roster = roster_of("x")
    for second in range(1000):
        roster.report("x", report(second + 1, second, Window(second, 1, "e", "steady", {"arrivals": 3})))
    recorded = worker_of(roster, "x").recorded
    assert len(recorded) <= 151
    assert all(recorded[second] == 3 for second in range(880, 1000))


def test_a_worker_is_found_by_its_name() -> None:
    """The first to join is worker-1; nobody has a name that was not given."""
    roster = roster_of("x", "y")
    assert [roster.client_of(name) for name in ("worker-1", "worker-2", "worker-3")] == ["x", "y", None]


@given(st.integers(0, 50), st.integers(1, 600), st.integers(0, 5000))
def test_a_longer_window_is_put_to_its_seconds_evenly(second: int, span: int, arrivals: int) -> None:
    """All of it, and no two seconds more than one apart."""
    counted: Counter[int] = Counter()
    count_arrivals(counted, Window(second, span, "e", "steady", {"arrivals": arrivals}))
    assert counted.total() == arrivals
    assert all(second <= one < second + span for one in counted)
    numbers = [counted[one] for one in range(second, second + span)]
    assert max(numbers) - min(numbers) <= 1


def test_a_window_of_hours_is_put_to_no_second() -> None:
    """It says nothing of any one of them."""
    counted: Counter[int] = Counter()
    count_arrivals(counted, Window(0, 6000, "e", "steady", {"arrivals": 10**6}))
    assert not counted


# -- the ledger ---------------------------------------------------------------------------------


def test_each_expected_worker_is_reporting_late_or_lost() -> None:
    """Of four: one reported second 5, one is late, one is lost, one left and is not expected."""
    roster = roster_of("a", "b", "c", "d")
    roster.report("a", report(1, 5))
    for client in ("a", "b", "d"):
        roster.hear(client, 106.0)
    roster.leave("d")
    roster.look(106.0)
    row = roster.ledger(5, unoffered=3)
    assert (row.second, row.expected, row.reporting, row.late, row.lost, row.unoffered) == (5, 3, 1, 1, 1, 3)


def test_a_lost_worker_that_had_reported_is_no_loss_of_that_second() -> None:
    """It told of second 5, and is missing from 6 on."""
    roster = roster_of("x")
    roster.report("x", report(1, 5))
    roster.look(200.0)
    assert [(roster.ledger(s).reporting, roster.ledger(s).lost) for s in (5, 6)] == [(1, 0), (0, 1)]


def test_a_second_whose_report_went_missing_is_a_loss() -> None:
    """Reports 1 and 3 came, of seconds 0 and 2; the worker is lost, and with it second 1 and after."""
    roster = roster_of("x")
    roster.report("x", report(1, 0))
    roster.report("x", report(3, 2))
    assert roster.ledger(1).reporting == 1
    roster.look(200.0)
    assert [roster.ledger(second).lost for second in (0, 1, 2, 3)] == [0, 1, 1, 1]


happenings = st.lists(
    st.tuples(st.sampled_from("hlrb"), st.sampled_from("abc"), st.floats(0.0, 4.0), st.integers(1, 9)),
    max_size=40,
)


@given(happenings)
def test_the_three_always_add_up(happened: list[tuple[str, str, float, int]]) -> None:
    """Whatever happens: expected = reporting + late + lost, and those that left are not expected."""
    roster, now = roster_of("a", "b", "c"), 100.0
    for what, client, passed, number in happened:
        now += passed
        if what == "h":
            roster.hear(client, now)
        elif what == "l":
            roster.leave(client)
        elif what == "r":
            roster.report(client, report(number, number))
        roster.look(now)
        for second in range(11):
            row = roster.ledger(second)
            assert row.expected == row.reporting + row.late + row.lost
            assert row.expected == sum(worker.state is not State.LEFT for worker in roster)


@pytest.mark.parametrize("state", list(State))
def test_only_a_worker_that_is_here_is_heard(state: State) -> None:
    """A lost or gone one is given nothing, however fresh its last word."""
    worker = Worker("worker-1", 0, "x", heard=100.0, state=state)
    assert worker.is_heard(100.0) is (state is State.HERE)
