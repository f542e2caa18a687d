"""The offset to the master's clock: what round trips prove, and when the offset in use follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import GreenletExit
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.swarm import messages
from loadgate.swarm.clock import DRIFT, ClockEstimate, ClockSync

NOISE = 1e-9
"""Seconds of rounding that expected values are allowed."""


def test_nothing_is_known_before_the_first_round_trip() -> None:
    """The offset is 0, and may be off by anything."""
    estimate = ClockEstimate(same_kernel=True)
    assert (estimate.offset, estimate.error(5.0), estimate.round_trip) == (0.0, math.inf, math.inf)


def test_the_middle_of_a_round_trip_is_taken() -> None:
    """Sent at 10.000, answered at 110.002, received at 10.004: 100 s, give or take 2 ms and 4 ms of drift."""
    estimate = ClockEstimate()
    assert not estimate.take(10.0, 110.002, 10.004)
    assert estimate.offset == pytest.approx(100.0, abs=NOISE)
    assert estimate.error(10.004) == pytest.approx(0.002 + 0.004 * 1e-4, abs=NOISE)
    assert estimate.round_trip == pytest.approx(0.004, abs=NOISE)


def test_an_estimate_gets_worse_with_age() -> None:
    """100 s later two clocks may have drifted apart by 10 ms at 100 ppm."""
    estimate = ClockEstimate()
    estimate.take(10.0, 110.002, 10.004)
    assert estimate.error(110.0) == pytest.approx(0.002 + 0.010, abs=NOISE)


def test_a_worse_round_trip_changes_nothing() -> None:
    """A sample of 40 ms that says 5 ms more is believed no more than its bound; the one of 4 ms counts."""
    estimate = ClockEstimate()
    estimate.take(10.0, 110.002, 10.004)
    estimate.take(10.1, 110.125, 10.14)
    assert estimate.offset == pytest.approx(100.0, abs=NOISE)


def test_a_newer_sample_counts_once_drift_may_have_made_the_old_one_worse() -> None:
    """After 30 s the sample of ±1 ms is one of ±4 ms; a new one of ±3 ms is better."""
    estimate = ClockEstimate()
    estimate.take(0.0, 100.001, 0.002)
    estimate.take(30.0, 130.004, 30.006)
    assert estimate.offset == pytest.approx(100.001, abs=NOISE)


def test_a_sample_counts_for_a_minute() -> None:
    """After 61 s a sample without any round trip would be ±6 ms, and yet the new one of ±50 ms counts."""
    estimate = ClockEstimate()
    estimate.take(0.0, 100.0, 0.0)
    estimate.take(61.0, 161.02, 61.1)
    assert estimate.offset == pytest.approx(99.97, abs=NOISE)


def test_one_kernel_is_one_clock_while_nothing_contradicts_it() -> None:
    """With equal boot ids, +0.5 ms ±2 ms is 0 exactly, which then may be wrong by 2.5 ms."""
    same, other = ClockEstimate(same_kernel=True), ClockEstimate()
    for estimate in (same, other):
        estimate.take(10.0, 10.0025, 10.004)
    assert same.offset == 0.0
    assert same.error(10.004) == pytest.approx(0.0025, abs=1e-6)
    assert other.offset == pytest.approx(0.0005, abs=NOISE)


def test_a_time_namespace_has_an_offset_though_the_boot_id_is_equal() -> None:
    """The bound does not reach to 0, so the estimate stands."""
    estimate = ClockEstimate(same_kernel=True)
    estimate.take(10.0, 5010.002, 10.004)
    assert estimate.offset == pytest.approx(5000.0, abs=NOISE)


def test_one_contradiction_is_not_believed_and_two_that_agree_are() -> None:
    """A virtual machine slept for 3 s: its clock stood, so the master's is 3 s further from then on."""
    estimate = ClockEstimate()
    estimate.take(10.0, 110.002, 10.004)
    assert not estimate.take(11.0, 114.002, 11.004)
    assert (estimate.offset, estimate.steps) == (pytest.approx(100.0, abs=NOISE), 0)
    assert estimate.take(11.02, 114.022, 11.024)
    assert (estimate.offset, estimate.steps) == (pytest.approx(103.0, abs=NOISE), 1)


def test_after_a_step_the_samples_of_before_are_forgotten() -> None:
    """They were better, but of another clock."""
    estimate = ClockEstimate()
    estimate.take(10.0, 110.0, 10.0)
    for sent in (11.0, 11.1, 11.2):
        estimate.take(sent, sent + 103.005, sent + 0.01)
    assert (estimate.offset, estimate.steps) == (pytest.approx(103.0, abs=NOISE), 1)


def test_a_contradiction_that_is_contradicted_is_forgotten() -> None:
    """A wild answer, a good one, and another wild one of the same kind: no step."""
    estimate = ClockEstimate()
    for sent, offset in ((10.0, 100.0), (11.0, 103.0), (12.0, 100.0), (13.0, 103.0)):
        assert not estimate.take(sent, sent + offset + 0.002, sent + 0.004)
    assert (estimate.offset, estimate.steps) == (pytest.approx(100.0, abs=NOISE), 0)


def test_two_contradictions_that_do_not_agree_are_no_step() -> None:
    """One says 3 s more, the other 5 s more: nothing is known, and what was known stays."""
    estimate = ClockEstimate()
    for sent, offset in ((10.0, 100.0), (11.0, 103.0), (12.0, 105.0)):
        assert not estimate.take(sent, sent + offset + 0.002, sent + 0.004)
    assert estimate.offset == pytest.approx(100.0, abs=NOISE)


def test_a_slow_answer_neither_proves_nor_clears_a_step() -> None:
    """An answer after 10 s fits both before and after a step of 3 s, so the step is still found."""
    estimate = ClockEstimate()
    estimate.take(10.0, 110.002, 10.004)
    estimate.take(20.0, 123.002, 20.004)
    estimate.take(14.0, 122.0, 24.0)
    assert estimate.offset == pytest.approx(100.0, abs=NOISE)
    assert estimate.take(25.0, 128.002, 25.004)
    assert estimate.offset == pytest.approx(103.0, abs=NOISE)


@pytest.mark.parametrize(
    ("sent", "master", "received"),
    [(10.0, 110.0, 9.0), (math.nan, 110.0, 10.0), (10.0, math.inf, 11.0), (10.0, 110.0, math.inf)],
)
def test_what_is_no_round_trip_is_refused(sent: float, master: float, received: float) -> None:
    """An answer cannot come before its question, and all times are numbers; nothing changes."""
    estimate = ClockEstimate()
    with pytest.raises(MeasureError):
        estimate.take(sent, master, received)
    assert (estimate.samples, estimate.offset) == (0, 0.0)


DELAYS = st.floats(0, 0.5) | st.floats(0, 0.001)
PINGS = st.lists(st.tuples(st.floats(0, 20), DELAYS, DELAYS), min_size=1, max_size=30)


@given(pings=PINGS, start=st.floats(-1e6, 1e6), drift=st.floats(-0.99 * DRIFT, 0.99 * DRIFT))
def test_the_true_offset_is_always_within_the_error(
    pings: list[tuple[float, float, float]], start: float, drift: float
) -> None:
    """However the ways there and back differ and the clocks drift, and nothing is taken for a step."""
    estimate, local = ClockEstimate(), 1000.0
    for pause, there, back in pings:
        sent = local + pause
        master = sent + there + start + drift * (sent + there - 1000.0)
        local = sent + there + back
        estimate.take(sent, master, local)
        for now in (local, local + 30.0):
            truth = start + drift * (now - 1000.0)
            assert abs(estimate.offset - truth) <= estimate.error(now) + NOISE
    assert estimate.steps == 0


@given(
    before=PINGS,
    after=st.lists(st.tuples(st.floats(0, 20), DELAYS, DELAYS), min_size=2, max_size=8),
    step=st.floats(2.5, 1e4),
    sign=st.sampled_from([-1, 1]),
)
def test_a_step_is_found_by_its_second_sample(
    before: list[tuple[float, float, float]],
    after: list[tuple[float, float, float]],
    step: float,
    sign: int,
) -> None:
    """A jump of more than all round trips together is one step, and the new offset is within the error."""
    estimate, local, offset = ClockEstimate(), 1000.0, 50.0
    for number, (pause, there, back) in enumerate(before + after):
        if number == len(before):
            offset += sign * step
        sent = local + pause
        local = sent + there + back
        stepped = estimate.take(sent, sent + there + offset, local)
        assert stepped == (number == len(before) + 1)
        if number != len(before):
            assert abs(estimate.offset - offset) <= estimate.error(local) + NOISE
    assert estimate.steps == 1


class Line:
    """A line to a master whose clock is `offset` ahead, in a time of its own; pings end after some pauses."""

    def __init__(self, pauses: int = 8, **options: Any) -> None:
        self.now, self.offset, self.trip = 100.0, 0.0, 0.002
        self.pings: list[float] = []
        self.pauses: list[float] = []
        self.changes: list[tuple[float, float]] = []
        self.answer = True
        self.left = pauses
        self.sync = ClockSync(
            self.send,
            on_change=lambda offset, error: self.changes.append((offset, error)),
            clock=lambda: self.now,
            pause=self.pause,
            **options,
        )

    def send(self, kind: str, data: dict[str, Any]) -> None:
        assert kind == messages.PING
        self.pings.append(data["sent"])
        if self.answer:
            self.reply(data["sent"])

    def reply(self, sent: float) -> None:
        """Answer a ping half a round trip after it was sent."""
        self.sync.answered(sent, sent + self.trip / 2 + self.offset, sent + self.trip)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.left -= 1
        if not self.left:
            raise GreenletExit

    def run(self) -> Line:
        """Let the pinging greenlet have its turn: no pause takes real time."""
        gevent.sleep(0)
        return self


def test_pings_come_in_bursts() -> None:
    """Eight 20 ms apart at the start, then four every 5 s."""
    line = Line(pauses=17).run()
    assert line.pauses == [0.02] * 8 + [5.0] + [0.02] * 4 + [5.0] + [0.02] * 3
    assert len(line.pings) == 8 + 4 + 3
    assert line.pings[:2] == [100.0, 100.02]


def test_the_first_estimate_is_used_and_told() -> None:
    """A master 50 s ahead: its moment 160 is 110 here; the change is told once, with its error."""
    line = Line()
    line.offset = 50.0
    line.run()
    assert line.sync.to_local(160.0) == pytest.approx(110.0, abs=NOISE)
    ((offset, error),) = line.changes
    assert offset == pytest.approx(50.0, abs=NOISE)
    assert error == pytest.approx(0.001, abs=1e-6)
    assert line.sync.error == pytest.approx(0.001, abs=1e-4)


def test_a_small_move_is_not_followed() -> None:
    """0.4 ms is less than the least move of 0.5 ms; what is in use then may be wrong by so much more."""
    line = Line()
    line.offset, line.trip = 50.0, 0.0001
    line.run()
    line.offset += 0.0004
    line.now += 20.0
    line.sync._ask()
    assert line.sync.offset == pytest.approx(50.0, abs=NOISE)
    assert line.sync.error == pytest.approx(0.0004 + 0.00005, abs=1e-6)
    assert len(line.changes) == 1


def test_a_move_beyond_the_error_is_followed() -> None:
    """0.6 ms at an error of 0.05 ms: the offset in use moves, and that is told."""
    line = Line()
    line.offset, line.trip = 50.0, 0.0001
    line.run()
    line.offset += 0.0006
    line.now += 20.0
    line.sync._ask()
    assert line.sync.offset == pytest.approx(50.0006, abs=NOISE)
    assert [offset for offset, _ in line.changes] == pytest.approx([50.0, 50.0006], abs=NOISE)


def test_a_move_within_the_error_is_not_followed() -> None:
    """On a line of 40 ms, 5 ms more an hour later are within the new sample's own ±20 ms."""
    line = Line()
    line.offset, line.trip = 50.0, 0.04
    line.run()
    line.offset += 0.005
    line.now += 3600.0
    line.sync._ask()
    assert line.sync.offset == pytest.approx(50.0, abs=NOISE)
    assert line.sync.error == pytest.approx(0.005 + 0.02, abs=1e-5)


def test_a_step_is_followed_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """After 3 s of sleep the second ping moves the offset by 3 s."""
    line = Line().run()
    line.offset += 3.0
    line.sync._ask()
    line.now += 0.02
    assert (line.sync.offset, line.sync.steps) == (0.0, 0)
    line.sync._ask()
    assert (line.sync.offset, line.sync.steps) == (pytest.approx(3.0, abs=NOISE), 1)
    assert "jumped by 3.0000 s" in caplog.text


def test_one_kernel_is_pinged_too_and_changes_nothing() -> None:
    """Equal boot ids are checked by round trips; where they agree the offset stays 0 and nothing is told."""
    line = Line(same_kernel=True).run()
    assert (line.sync.offset, line.changes) == (0.0, [])
    assert line.sync.error < 0.01
    assert len(line.pings) == 8


def test_answers_that_were_not_asked_for_are_passed_over() -> None:
    """A stranger's answer, one that comes again, and one that makes no sense change nothing."""
    line = Line()
    line.answer = False
    line.run()
    line.sync.answered(99.0, 5000.0, 100.0)
    line.sync.answered(line.pings[0], math.nan, 100.1)
    line.sync.answered(line.pings[1], "soon", 100.1)  # type: ignore[arg-type]
    assert line.sync.error == math.inf
    line.reply(line.pings[2])
    error = line.sync.error
    assert error < 0.01
    line.sync.answered(line.pings[2], line.pings[2], line.pings[2])
    assert line.sync.error == error
    assert line.sync.steps == 0


def test_unanswered_pings_are_not_remembered_for_ever() -> None:
    """A master that is away for a day takes no memory."""
    line = Line(pauses=1000)
    line.answer = False
    line.run()
    assert len(line.pings) > 700
    assert len(line.sync._asked) == 64


def test_a_send_that_fails_does_not_end_the_asking(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, and the next ping tries again."""
    line = Line()

    def broken(kind: str, data: dict[str, Any]) -> None:
        line.pings.append(data["sent"])
        raise ConnectionError("no master")

    line.sync._send = broken
    line.run()
    assert len(line.pings) == 8
    assert len(caplog.records) == 1
    assert not line.sync.wait_first(0)


@pytest.mark.parametrize("answer", [True, False])
def test_waiting_for_the_first_answers(answer: bool) -> None:
    """It says whether there is an estimate, and does not wait for longer than it may."""
    line = Line(pauses=9)
    line.answer = answer
    line.run()
    assert line.sync.wait_first(0) is answer


def test_there_is_no_wait_once_the_first_pings_are_answered() -> None:
    """Whoever asks after the first burst is told at once."""
    line = Line(pauses=9).run()
    waiting = gevent.spawn(line.sync.wait_first, 60.0)
    gevent.sleep(0)
    assert waiting.value is True


def test_the_wait_ends_with_the_first_answer_after_the_first_pings() -> None:
    """On a slow line all eight are under way before the first answer; any of them ends the wait."""
    line = Line(pauses=9)
    line.answer = False
    line.run()
    waiting = gevent.spawn(line.sync.wait_first, 60.0)
    gevent.sleep(0)
    assert not waiting.ready()
    line.reply(line.pings[3])
    gevent.sleep(0)
    assert waiting.value is True


def test_a_closed_clock_asks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the rest of a burst nor another one."""
    line = Line(pauses=100)
    pause: Callable[[float], None] = line.pause

    def close_in_third(seconds: float) -> None:
        pause(seconds)
        if len(line.pings) == 3:
            line.sync.close()

    line.sync._pause = close_in_third
    line.run()
    assert len(line.pings) == 3
