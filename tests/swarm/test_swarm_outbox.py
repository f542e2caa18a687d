"""The outbox: nothing lost, nothing twice, nothing numbered anew, in bounded memory."""

from __future__ import annotations

import copy
import tracemalloc
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loadgate.errors import MeasureError
from loadgate.measure.delta import MOST_FAILURES, Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import LOWEST_EQUIVALENT
from loadgate.measure.window import Window, over_key, windows_merged
from loadgate.swarm import outbox as module
from loadgate.swarm.outbox import SPANS, Outbox

OVER = over_key("response.ok", 5)


def window_of(second: int, values: list[int], endpoint: str = "emotion", phase: str = "steady") -> Window:
    """Return a one-second window of some good answers (µs), as a recorder would give it."""
    window = Window(second, 1, endpoint, phase, {"arrivals": len(values), "ok": len(values)})
    histogram = Histogram()
    histogram.record_many(values)
    window.histograms["response.ok"] = histogram
    window.over[OVER] = sum(value > 5 for value in values)
    return window


def row_of(second: int, *, lag: float = 0.0, worker: str = "worker-1") -> FleetRow:
    """Return a fleet row whose counters are 100 more than the seconds."""
    count = second + 100
    return FleetRow(second, worker, count, count, count, 1, 1, lag, 10**8, lag, lag, lag)


def failure_of(kind: str, at: float = 1.0, count: int = 1) -> Failure:
    """Return one kind of failure."""
    return Failure("emotion", "failed", kind, "message", count, at, at, [f"sample at {at}"])


def box_of(**options: Any) -> Outbox:
    """Return an outbox of worker-1."""
    return Outbox("run", "worker-1", 77, **options)


def second(box: Outbox, number: int, *values: int) -> None:
    """Put a second of good answers."""
    box.put([window_of(number, list(values) or [1])], [], [])


def drained(box: Outbox, now: float = 1e6) -> list[Delta]:
    """Take everything out by a master that acknowledges at once."""
    box.finish()
    deltas: list[Delta] = []
    while not box.empty:
        new = box.next(now)
        assert new, "the outbox neither is empty nor has something to send"
        deltas += new
        box.acknowledged([delta.sequence for delta in new])
    return deltas


def test_a_second_goes_out_as_one_delta() -> None:
    """All that was put since comes in one delta, with the run, the worker, its incarnation and number 1."""
    box = box_of()
    box.put([window_of(3, [1, 9])], [failure_of("HTTP 500")], [row_of(3)])
    (delta,) = box.next(10.0)
    assert (delta.run, *delta.key) == ("run", "worker-1", 77, 1)
    assert delta.windows == [window_of(3, [1, 9])]
    assert delta.failures == [failure_of("HTTP 500")]
    assert delta.fleet == [row_of(3)]
    assert not box.is_final(delta)


def test_nothing_is_sent_twice_in_a_hurry_and_nothing_when_there_is_nothing() -> None:
    """What was just sent waits for its acknowledgement; an idle outbox makes no empty deltas."""
    box = box_of()
    assert box.next(0.0) == []
    second(box, 3)
    assert len(box.next(10.0)) == 1
    assert box.next(13.0) == []
    assert not box.empty


def test_what_is_not_acknowledged_comes_again_as_it_was() -> None:
    """3 s after its last sending, under the same number, whatever was put since; then 3 s later again."""
    box = box_of(again_after=3.0)
    second(box, 3)
    (first,) = box.next(10.0)
    before = first.to_wire()
    second(box, 3)
    (late,) = box.next(12.0)
    (again,) = box.next(13.5)
    assert (late.sequence, again.sequence) == (2, 1)
    assert again.to_wire() == before
    assert [delta.sequence for delta in box.next(16.4)] == [2]
    assert [delta.sequence for delta in box.next(16.6)] == [1]


def test_a_new_master_is_told_everything_in_doubt_at_once() -> None:
    """The one before may have died with it: it comes as it was, without waiting, and once."""
    box = box_of(again_after=3.0)
    second(box, 0, 1000)
    (sent,) = box.next(10.0)
    box.again()
    assert box.next(10.1) == [sent]
    assert box.next(10.2) == []


def test_an_acknowledged_delta_is_gone() -> None:
    """It is not sent again and takes no memory; one more acknowledgement of it means nothing."""
    box = box_of()
    second(box, 3)
    box.next(10.0)
    box.acknowledged([1])
    box.acknowledged([1, 5])
    assert box.empty
    assert (box.bytes, box.waiting) == (0, 0)
    assert box.next(20.0) == []


def test_at_most_eight_deltas_are_in_doubt() -> None:
    """What is put while 8 are unacknowledged waits without a number, and goes as one when there is room."""
    box = box_of()
    for number in range(12):
        second(box, number)
        box.next(1.0)
    assert box.waiting == 8 + 4
    assert box.next(1.0) == []
    box.acknowledged([3])
    (delta,) = box.next(1.0)
    assert delta.sequence == 9
    assert [window.second for window in delta.windows] == [8, 9, 10, 11]


def test_the_last_content_is_in_the_final_delta() -> None:
    """The delta that carries what was put last is the final one."""
    box = box_of()
    second(box, 3)
    (first,) = box.next(1.0)
    second(box, 4)
    box.finish()
    (last,) = box.next(1.0)
    assert not box.is_final(first)
    assert box.is_final(last)
    assert [window.second for window in last.windows] == [4]
    box.acknowledged([1, 2])
    assert box.empty
    assert box.next(9.0) == []


def test_the_final_delta_is_empty_when_all_was_sent_before() -> None:
    """A delta that was sent may be committed as one that was not final, so the end has its own."""
    box = box_of()
    second(box, 3)
    (first,) = box.next(1.0)
    box.finish()
    assert not box.empty
    (last,) = box.next(1.0)
    assert not box.is_final(first)
    assert box.is_final(last)
    assert (last.sequence, last.windows, last.failures, last.fleet) == (2, [], [], [])


def test_the_final_delta_waits_for_room_like_any_other() -> None:
    """With the only place taken there is no final delta yet, and the outbox is not empty."""
    box = box_of(in_doubt=1)
    second(box, 3)
    box.next(1.0)
    box.finish()
    assert box.next(1.0) == []
    box.acknowledged([1])
    assert not box.empty
    (last,) = box.next(1.0)
    assert box.is_final(last)


def test_a_run_without_content_has_a_final_delta_too() -> None:
    """The master learns from it that there was nothing."""
    (last,) = drained(box_of())
    assert last.sequence == 1


def test_nothing_can_be_put_after_the_end() -> None:
    """Content that came after the final delta would never be waited for."""
    box = box_of()
    box.finish()
    box.finish()
    with pytest.raises(MeasureError):
        second(box, 3)


def test_only_seconds_are_taken() -> None:
    """A window of another span may not fit an aligned longer one; nothing of that put is taken."""
    box = box_of()
    with pytest.raises(MeasureError):
        box.put([window_of(3, [1]), Window(8, 5, "emotion", "steady")], [], [])
    assert box.empty
    with pytest.raises(MeasureError):
        box_of(in_doubt=0)


def test_pending_windows_of_one_second_are_one() -> None:
    """What comes late for a second that still waits joins it, exactly."""
    box = box_of()
    second(box, 3, 1, 2)
    second(box, 3, 9)
    (delta,) = drained(box)
    assert delta.windows == [window_of(3, [1, 2, 9])]


def test_failures_of_one_kind_are_one() -> None:
    """Counts add up, first and last are the extremes, kinds stay apart."""
    box = box_of()
    box.put([], [failure_of("a", 1.0, 2), failure_of("b", 1.0)], [])
    box.put([], [failure_of("a", 5.0, 3)], [])
    (delta,) = drained(box)
    a, b = sorted(delta.failures, key=lambda one: one.kind)
    assert (a.count, a.first, a.last, a.samples) == (5, 1.0, 5.0, ["sample at 1.0", "sample at 5.0"])
    assert b.count == 1


def test_memory_is_kept_by_merging_the_oldest_seconds_first() -> None:
    """Just over the bound, the first ten seconds become one window of 10 s, and the newest stay seconds."""
    box = box_of(most_bytes=40 * module._WINDOW_BYTES * 2, in_doubt=1)
    for number in range(60):
        second(box, number)
        if box.merged:
            break
    (delta,) = [one for one in drained(box) if any(window.span > 1 for window in one.windows)]
    assert [(window.second, window.span) for window in delta.windows[:2]] == [(0, 10), (10, 1)]
    assert delta.windows[0].count("ok") == 10
    assert box.merged == 10


def test_merged_counts_each_window_that_became_longer() -> None:
    """Seconds 0 and 1 become one window of 10 s; second 2 joins it, which is no longer than it was."""
    box = box_of(most_bytes=1)
    second(box, 0)
    assert box.merged == 0
    second(box, 1)
    assert box.merged == 2
    second(box, 2)
    assert box.merged == 3


def test_longer_spans_are_aligned_by_floor() -> None:
    """Seconds -3 and 12 are in the spans from -10 and from 10, as any other worker would have them."""
    box = box_of(most_bytes=1)
    for number in (-3, -2, 12, 13):
        second(box, number)
    windows = [window for delta in drained(box) for window in delta.windows]
    assert [(window.second, window.span) for window in windows] == [(-10, 10), (10, 10)]


def test_a_span_that_would_save_nothing_is_not_widened() -> None:
    """Two windows of different phases cannot be merged, so they stay seconds, however short memory is."""
    box = box_of(most_bytes=1)
    box.put([window_of(3, [1], phase="warmup"), window_of(4, [1])], [], [])
    windows = [window for delta in drained(box) for window in delta.windows]
    assert [(window.second, window.span) for window in windows] == [(3, 1), (4, 1)]
    assert box.merged == 0


def test_fleet_rows_are_thinned_to_the_last_with_the_worst() -> None:
    """Of seconds 0 to 3 the row of 3 stays, its counters as they were, its lags and CPU the greatest."""
    box = box_of(most_bytes=1)
    box.put([], [], [row_of(number, lag=lag) for number, lag in enumerate((1.0, 7.0, 3.0, 2.0))])
    (delta,) = drained(box)
    (row,) = delta.fleet
    assert (row.second, row.offered, row.rss) == (3, 103, 10**8)
    assert (row.cpu, row.start_lag_p99_us, row.loop_lag_p99_us, row.loop_lag_max_us) == (7.0, 7.0, 7.0, 7.0)


def test_the_bound_of_two_hundred_kilobytes_holds() -> None:
    """An hour without a master: the estimate stays under the bound, the real memory about there."""
    draw = np.random.default_rng(1)
    values = draw.integers(1, 2000, 20).tolist()
    box = box_of(most_bytes=200_000)
    tracemalloc.start()
    before, most = tracemalloc.get_traced_memory()[0], 0
    for number in range(3600):
        box.put(
            [window_of(number, values, "emotion"), window_of(number, values, "creative")],
            [failure_of(f"kind {number % 3}", float(number))],
            [row_of(number)],
        )
        box.next(float(number))
        assert box.bytes <= 200_000
        if number % 400 == 399:
            most = max(most, tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert most < 1.25 * 200_000
    windows = [window for delta in drained(box) for window in delta.windows]
    for endpoint in ("emotion", "creative"):
        whole = windows_merged(window for window in windows if window.endpoint == endpoint)
        assert whole.count("ok") == whole.histogram("response.ok").total == 3600 * 20
        assert whole.histogram("response.ok").sum == 3600 * sum(values)


def test_full_histograms_are_weighed_as_what_they_take() -> None:
    """Histograms with over 4096 counters in use are arrays of all 23,552: 188 kB each."""
    values = LOWEST_EQUIVALENT[2000 : 2000 + 4096]
    full = [window_of(number, values.tolist()) for number in range(0, 40, 10)]
    for window in full:
        window.compact()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    copies = [window.copy() for window in full]
    real = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    box = box_of()
    box.put(copies, [], [])
    assert real <= box.bytes <= 1.1 * real


def test_merged_histograms_take_their_smaller_form() -> None:
    """Two of 3000 counters make an array of 23,552 while they are merged, and 48 kB after that."""
    values = LOWEST_EQUIVALENT[:3000].tolist()
    box = box_of()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2):
        second(box, 0, *values)
    real = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert real <= 1.1 * box.bytes
    assert box.bytes < 60_000


def test_what_cannot_be_merged_stays_whatever_the_bound() -> None:
    """Of each endpoint and phase one window is kept, and of each kind of failure one: never dropped."""
    box = box_of(most_bytes=1)
    for number in range(100):
        box.put([window_of(number, [number])], [failure_of("a", float(number))], [row_of(number)])
    deltas = drained(box)
    (window,) = [window for delta in deltas for window in delta.windows]
    assert (window.second, window.span, window.count("ok")) == (0, 600, 100)
    assert sum(failure.count for delta in deltas for failure in delta.failures) == 100


def test_many_failures_and_rows_are_split_into_deltas_that_the_wire_takes() -> None:
    """2500 kinds and 2500 rows are more than a delta may hold: each comes once, none is refused."""
    box = box_of()
    box.put([], [failure_of(f"kind {number}") for number in range(2500)], [row_of(n) for n in range(2500)])
    deltas = [Delta.from_wire(delta.to_wire()) for delta in drained(box)]
    assert all(len(one.failures) <= MOST_FAILURES and len(one.fleet) <= MOST_FAILURES for one in deltas)
    assert sorted(row.second for one in deltas for row in one.fleet) == list(range(2500))
    assert len({failure.kind for one in deltas for failure in one.failures}) == 2500


@pytest.mark.parametrize(("limit", "value"), [("MOST_WINDOWS", 3), ("MOST_COUNTERS", 7)])
def test_the_wire_limits_split_a_second(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    """Nine windows of two counters each: three deltas of three windows, by either limit."""
    monkeypatch.setattr(module, limit, value)
    box = box_of()
    box.put([window_of(3, [1, 9], endpoint) for endpoint in "abcdefghi"], [], [])
    deltas = drained(box)
    assert [len(delta.windows) for delta in deltas] == [3, 3, 3]
    assert [box.is_final(delta) for delta in deltas] == [False, False, True]


def test_a_backlog_comes_in_small_deltas_the_oldest_first() -> None:
    """No delta takes more than a sixteenth of a small bound, so what is in doubt is at most half of it."""
    box = box_of(most_bytes=160_000)
    for number in range(60):
        second(box, number)
    before = box.bytes
    deltas = box.next(1.0)
    assert len(deltas) == 8
    assert box.bytes == before
    assert box._sent_bytes <= 80_000
    seconds = [window.second for delta in deltas for window in delta.windows]
    assert seconds == sorted(seconds)
    assert seconds[0] == 0


VALUES = st.lists(st.integers(1, 12), min_size=1, max_size=4)
ENDPOINTS, PHASES = st.sampled_from(["emotion", "creative"]), st.sampled_from(["steady", "drain"])
BOUND, IN_DOUBT = 50_000, 3


class Exchange(RuleBasedStateMachine):
    """A worker's outbox and a master over a network that loses, repeats and reorders messages.

    The oracle is the plain lists of what was put: values, counts, failures by endpoint and phase.
    """

    def __init__(self) -> None:
        super().__init__()
        self.box = box_of(most_bytes=BOUND, in_doubt=IN_DOUBT, again_after=3.0)
        self.now = 0.0
        self.run_second = -3
        self.put_values: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.put_failures: Counter[str] = Counter()
        self.put_rows: list[FleetRow] = []
        self.to_master: list[Delta] = []
        self.to_worker: list[int] = []
        self.sent: dict[int, Any] = {}
        self.acked: set[int] = set()
        self.committed: dict[int, Delta] = {}

    @initialize(jump=st.integers(0, 5000))
    def begin(self, jump: int) -> None:
        self.run_second += jump

    @rule(
        windows=st.lists(st.tuples(VALUES, ENDPOINTS, PHASES), max_size=4),
        kinds=st.lists(st.sampled_from("ab"), max_size=2),
        lag=st.integers(0, 9),
        pause=st.sampled_from([1, 1, 1, 2, 7, 70]),
        times=st.sampled_from([1, 1, 5]),
    )
    def put(self, windows: list[Any], kinds: list[str], lag: int, pause: int, times: int) -> None:
        """Let some seconds pass and put what each brought, a late window among it."""
        for _ in range(times):
            self.run_second += pause
            given = []
            for number, (values, endpoint, phase) in enumerate(windows):
                given.append(window_of(self.run_second - number % 2, values, endpoint, phase))
                self.put_values[endpoint, phase] += values
            self.put_failures.update(kinds)
            row = row_of(self.run_second, lag=float(lag))
            self.put_rows.append(row)
            self.box.put(given, [failure_of(kind, float(self.run_second)) for kind in kinds], [row])
            assert self.box.bytes <= BOUND

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.5]))
    def send(self, seconds: float) -> None:
        """Send what is due, under numbers without a hole, and repeat only what was sent, as it was."""
        self.now += seconds
        for delta in self.box.next(self.now):
            wire = delta.to_wire()
            if delta.sequence in self.sent:
                assert wire == self.sent[delta.sequence]
                assert delta.sequence not in self.acked
            else:
                assert delta.sequence == len(self.sent) + 1
                self.sent[delta.sequence] = wire
            self.to_master.append(Delta.from_wire(wire))

    @precondition(lambda self: self.to_master)
    @rule(choice=st.integers(0, 99), repeat=st.booleans(), lost=st.booleans())
    def reach_master(self, choice: int, repeat: bool, lost: bool) -> None:
        """Let any message arrive, or get lost, or arrive and come again later."""
        at = choice % len(self.to_master)
        delta = self.to_master[at] if repeat else self.to_master.pop(at)
        if not lost:
            self.commit(delta)

    def commit(self, delta: Delta) -> None:
        self.committed.setdefault(delta.sequence, delta)
        self.to_worker.append(delta.sequence)

    @precondition(lambda self: self.to_worker)
    @rule(choice=st.integers(0, 99), repeat=st.booleans(), lost=st.booleans())
    def reach_worker(self, choice: int, repeat: bool, lost: bool) -> None:
        """Let any acknowledgement arrive, or get lost, or arrive and come again later."""
        at = choice % len(self.to_worker)
        sequence = self.to_worker[at] if repeat else self.to_worker.pop(at)
        if not lost:
            self.box.acknowledged([sequence])
            self.acked.add(sequence)

    @rule()
    def reconnect(self) -> None:
        """Lose everything under way, as when the master starts again: what it committed stands."""
        self.to_master, self.to_worker = [], []

    @invariant()
    def few_are_in_doubt(self) -> None:
        assert len(self.sent) - len(self.acked) <= IN_DOUBT

    def teardown(self) -> None:
        """Once messages arrive, the master has exactly what was put."""
        self.box.finish()
        for _ in range(1000):
            if self.box.empty:
                break
            self.send(3.5)
            for delta in self.to_master:
                self.commit(delta)
            self.acked.update(self.to_worker)
            self.box.acknowledged(self.to_worker)
            self.to_master, self.to_worker = [], []
        assert self.box.empty
        assert (self.box.bytes, self.box.waiting) == (0, 0)
        assert sorted(self.committed) == list(range(1, len(self.sent) + 1))
        finals = [number for number, delta in self.committed.items() if self.box.is_final(delta)]
        assert finals == [len(self.sent)]
        self.check_windows()
        self.check_failures_and_rows()

    def check_windows(self) -> None:
        windows = [window for delta in self.committed.values() for window in delta.windows]
        for window in windows:
            assert window.span in SPANS
            assert window.second % window.span == 0
        assert {(window.endpoint, window.phase) for window in windows} == set(self.put_values)
        for (endpoint, phase), values in self.put_values.items():
            chosen = [one for one in windows if (one.endpoint, one.phase) == (endpoint, phase)]
            whole, expected = windows_merged(chosen), window_of(0, values)
            assert whole.counts == expected.counts
            assert whole.histograms == expected.histograms
            assert whole.over == expected.over

    def check_failures_and_rows(self) -> None:
        counted: Counter[str] = Counter()
        for delta in self.committed.values():
            for failure in delta.failures:
                counted[failure.kind] += failure.count
        assert counted == self.put_failures
        rows = {row.second: row for delta in self.committed.values() for row in delta.fleet}
        given = {row.second: row for row in self.put_rows}
        assert all(given[number].offered == row.offered for number, row in rows.items())
        if given:
            assert max(rows) == max(given)
            assert max(row.cpu for row in rows.values()) == max(row.cpu for row in given.values())


Exchange.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_master_ends_with_exactly_what_was_put = Exchange.TestCase


def test_the_outbox_never_changes_what_was_given_to_a_delta() -> None:
    """Merging pending windows leaves those in doubt alone, even of the same second."""
    box = box_of(most_bytes=20_000, in_doubt=2)
    second(box, 0, 1, 2)
    (sent,) = box.next(0.0)
    before = copy.deepcopy(sent)
    for number in range(100):
        second(box, number % 20, number + 1)
    assert box.merged > 0
    assert sent == before
