"""The recorder: from appended numbers to windows. Run time 0 is at 5000 s of the clock; see conftest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure.failures import MOST_KINDS, OTHER
from loadgate.measure.layout import HIGHEST_US
from loadgate.measure.recorder import OVERFLOW_ENDPOINT, Recorder
from loadgate.measure.records import BLOCK, EARLY_S, MOST_ANCHORS, Anchors, Flag, Outcome
from loadgate.measure.window import Count, Window, windows_merged

ANCHOR = 5000.0
NAN = math.nan
MakeRecorder = Callable[..., Recorder]


def record(
    due: float,
    *,
    wait: float = 0.0,
    lag: float = 0.0,
    connect: float = 0.0,
    service: float = 0.0,
    flags: int = 0,
    size: int = 0,
) -> tuple[float, ...]:
    """Return the seven numbers of a request that was due at a run time and took these parts (seconds)."""
    begun = ANCHOR + due + wait + lag
    sent = begun + connect
    return (ANCHOR + due, wait, begun, sent, sent + service, flags, size)


def drained(recorder: Recorder, *records: tuple[float, ...]) -> Window:
    """Return all that the recorder gives out after these records of one endpoint."""
    for one in records:
        recorder.channel("emotion").done(one)
    return windows_merged(recorder.drain(None))


def only(window: Window, series: str) -> int:
    """Return the one value of a series."""
    histogram = window.histogram(series)
    assert histogram.total == 1
    assert histogram.minimum is not None
    return histogram.minimum


def test_recorder_splits_a_request_into_its_parts(make_recorder: MakeRecorder) -> None:
    """2 ms of waiting for a user, 1 ms of lag, 3 ms to connect, 40 ms of service: 46 ms of response."""
    window = drained(
        make_recorder(), record(3.0, wait=0.002, lag=0.001, connect=0.003, service=0.040, size=119)
    )
    assert only(window, "response.ok") == 46_000
    assert only(window, "service.ok") == 40_000
    assert only(window, "pool_wait") == 2_000
    assert only(window, "start_lag") == 1_000
    assert only(window, "connect") == 3_000
    assert window.counts == {"ok": 1, "bytes_received": 119}


@pytest.mark.parametrize(
    ("outcome", "name"), [(Outcome.OK, "ok"), (Outcome.FAILED, "failed"), (Outcome.TIMEOUT, "timeout")]
)
def test_recorder_keeps_outcomes_apart(make_recorder: MakeRecorder, outcome: Outcome, name: str) -> None:
    """Each outcome has its own count, response and service series; the waits are shared."""
    window = drained(make_recorder(), record(3.0, service=0.5, flags=outcome))
    assert window.counts == {name: 1}
    assert set(window.histograms) == {
        f"response.{name}",
        f"service.{name}",
        "pool_wait",
        "start_lag",
        "connect",
    }


def test_recorder_counts_an_unfinished_request_without_latency(make_recorder: MakeRecorder) -> None:
    """What was in flight at the end has no latency, and needs no time but due and ended."""
    window = drained(make_recorder(), (ANCHOR + 3, NAN, NAN, NAN, ANCHOR + 4, Outcome.UNFINISHED, 0))
    assert window.counts == {"unfinished": 1}
    assert window.histograms == {}


def test_recorder_takes_a_failure_that_sent_nothing(make_recorder: MakeRecorder) -> None:
    """A refused connection has a response time, a pool wait and a lag, but no service and connect time."""
    refused = (ANCHOR + 3, 0.0, ANCHOR + 3.001, NAN, ANCHOR + 3.005, Outcome.FAILED, 0)
    window = drained(make_recorder(), refused, record(3.0, service=0.1, flags=Outcome.FAILED))
    assert window.count(Count.FAILED) == window.histogram("response.failed").total == 2
    assert window.histogram("response.failed").minimum == 5_000
    assert window.histogram("start_lag").total == window.histogram("pool_wait").total == 2
    assert (only(window, "service.failed"), only(window, "connect")) == (100_000, 0)


def test_recorder_never_takes_a_good_answer_to_nothing_sent(make_recorder: MakeRecorder) -> None:
    """An acceptable answer without a time of sending is a broken record."""
    window = drained(make_recorder(), (ANCHOR + 3, 0.0, ANCHOR + 3, NAN, ANCHOR + 4, Outcome.OK, 0))
    assert window.counts == {"lost": 1}


def test_recorder_puts_a_request_where_it_ended_under_the_phase_it_was_due_in(
    make_recorder: MakeRecorder,
) -> None:
    """Due at 1.9 s (warmup), ended at 2.1 s: second 2, phase warmup. Second 2 holds both phases."""
    recorder = make_recorder()
    channel = recorder.channel("emotion")
    channel.done(record(1.9, service=0.2))
    channel.done(record(2.0, service=0.2))
    assert [window.key for window in recorder.drain(None)] == [
        (2, "emotion", "steady"),
        (2, "emotion", "warmup"),
    ]


def test_recorder_counts_arrivals_where_they_were_due(make_recorder: MakeRecorder) -> None:
    """Arrivals of 1.9 s, 2.0 s and 2.5 s: one in second 1 of the warmup, two in second 2 of steady."""
    recorder = make_recorder()
    for due in (1.9, 2.0, 2.5):
        recorder.channel("emotion").due(ANCHOR + due)
    found = [(window.key, window.counts) for window in recorder.drain(None)]
    assert found == [
        ((1, "emotion", "warmup"), {"arrivals": 1}),
        ((2, "emotion", "steady"), {"arrivals": 2}),
    ]


def test_recorder_counts_the_unsent_where_they_were_given_up(make_recorder: MakeRecorder) -> None:
    """Due at 1.9 s and given up at 4.2 s: second 4, phase warmup; the causes are kept apart."""
    recorder = make_recorder()
    recorder.unsent("emotion", ANCHOR + 1.9, "pool", ANCHOR + 4.2)
    recorder.unsent("emotion", ANCHOR + 1.9, "generator", ANCHOR + 4.2)
    (window,) = recorder.drain(None)
    assert window.key == (4, "emotion", "warmup")
    assert window.counts == {"unsent_pool": 1, "unsent_generator": 1}
    with pytest.raises(MeasureError):
        recorder.unsent("emotion", 0.0, "weather", 0.0)  # type: ignore[arg-type]


def test_recorder_rounds_up(make_recorder: MakeRecorder) -> None:
    """A latency of 50.0004 ms is reported as 50.001 ms, and one of exactly 50 ms as 50 ms."""
    window = drained(make_recorder(), record(3.0, service=0.0500004), record(3.0, service=0.05))
    histogram = window.histogram("service.ok")
    assert (histogram.minimum, histogram.maximum) == (50_000, 50_001)


def test_recorder_counts_what_is_over_a_limit_exactly(make_recorder: MakeRecorder) -> None:
    """Of 50 ms, 50.0004 ms and 51 ms two are over 50 ms; the counter of 50 ms is 32 µs wide."""
    recorder = make_recorder({None: [50_000], "emotion": [50_500], "creative": [1]})
    slow = [record(3.0, service=service) for service in (0.05, 0.0500004, 0.051)]
    window = drained(recorder, *slow)
    assert window.over == {
        "response.ok>50000": 2,
        "response.ok>50500": 1,
        "service.ok>50000": 2,
        "service.ok>50500": 1,
    }


def test_recorder_says_that_none_was_over(make_recorder: MakeRecorder) -> None:
    """A threshold that no value passed is counted as 0, not left out."""
    window = drained(make_recorder({None: [50_000]}), record(3.0, service=0.01))
    assert window.response_over(50_000, "ok") == 0
    assert window.over["response.ok>50000"] == 0


def test_recorder_clamps_a_request_of_two_hours(make_recorder: MakeRecorder) -> None:
    """Two hours are over the range: clamped, counted as overflow, the maximum kept."""
    histogram = drained(make_recorder(), record(3.0, service=7200.0)).histogram("response.ok")
    assert (histogram.overflow, histogram.maximum) == (1, 2 * HIGHEST_US)


def test_recorder_splits_by_cache_hit_and_miss(make_recorder: MakeRecorder) -> None:
    """Hits and misses of acceptable answers have their own response series; a failed one has none."""
    window = drained(
        make_recorder({None: [5_000]}),
        record(3.0, service=0.001, flags=Flag.HIT | Flag.REPEAT),
        record(3.0, service=0.002, flags=Flag.HIT),
        record(3.0, service=0.030, flags=Flag.MISS | Flag.REPEAT),
        record(3.0, service=0.040, flags=Flag.MISS | Flag.HIT),
        record(3.0, service=0.050, flags=Flag.HIT | Outcome.FAILED),
        record(3.0, service=0.060),
    )
    counts = {"ok": 5, "failed": 1, "hits": 2, "misses": 2, "repeat_hits": 1, "repeat_misses": 1}
    assert window.counts == counts
    assert (window.histogram("response.hit").minimum, window.histogram("response.hit").maximum) == (
        1_000,
        2_000,
    )
    assert window.histogram("response.miss").minimum == 30_000
    assert (window.over["response.hit>5000"], window.over["response.miss>5000"]) == (0, 2)


def test_recorder_counts_retries_and_rate_limits(make_recorder: MakeRecorder) -> None:
    """Retries start at bit 8; a 429 is bit 5, an exhausted limit bit 6, whatever the outcome."""
    window = drained(
        make_recorder(),
        record(3.0, flags=3 << 8),
        record(3.0, flags=1 << 8 | Flag.RATE_LIMITED | Outcome.FAILED),
        record(3.0, flags=Flag.RATE_LIMIT_EXHAUSTED),
    )
    assert (window.count(Count.RETRIES), window.count(Count.RATE_LIMITED)) == (4, 1)
    assert window.count(Count.RATE_LIMIT_EXHAUSTED) == 1


def test_recorder_takes_a_start_a_little_early(make_recorder: MakeRecorder) -> None:
    """Half a millisecond before its time is a timer's doing: the lag is 0."""
    recorder = make_recorder()
    early = (ANCHOR + 3.0, 0.0, ANCHOR + 2.9995, ANCHOR + 2.9995, ANCHOR + 3.01, 0, 0)
    window = drained(recorder, early)
    assert (only(window, "start_lag"), only(window, "response.ok")) == (0, 10_000)
    assert recorder.counters.malformed == 0


def test_recorder_takes_rounding_for_zero(make_recorder: MakeRecorder) -> None:
    """Half a microsecond below 0 is rounding of floats: 0."""
    rounded = (ANCHOR + 3.0, 0.0, ANCHOR + 3.0, ANCHOR + 3.0 - 5e-7, ANCHOR + 3.0 - 5e-7, 0, 0)
    window = drained(make_recorder(), rounded)
    assert (only(window, "connect"), only(window, "response.ok")) == (0, 0)


GOOD = (ANCHOR + 3.0, 0.0, ANCHOR + 3.0, ANCHOR + 3.0, ANCHOR + 3.1, 0, 10)
BROKEN: list[tuple[int, Any]] = [
    (0, NAN),
    (0, 0.0),
    (0, math.inf),
    (0, -math.inf),
    (0, ANCHOR + 3.002),
    (0, None),
    (0, "x"),
    (1, NAN),
    (1, -0.1),
    (1, 0.5),
    (2, NAN),
    (2, ANCHOR + 3.05),
    (3, ANCHOR + 2.9),
    (3, NAN),
    (4, ANCHOR + 2.0),
    (4, NAN),
    (4, math.inf),
    (4, 10**400),
    (5, -1),
    (5, NAN),
    (5, 1e20),
    (6, -1),
    (6, NAN),
    (6, math.inf),
]


@pytest.mark.parametrize(("position", "value"), BROKEN)
def test_recorder_counts_a_broken_record_as_lost(
    make_recorder: MakeRecorder, position: int, value: object
) -> None:
    """A record that makes no sense harms no worker and no other record: it is counted and told."""
    recorder = make_recorder()
    broken: Any = [*GOOD]
    broken[position] = value
    window = drained(recorder, GOOD, tuple(broken), GOOD)
    assert window.counts == {"ok": 2, "lost": 1, "bytes_received": 20}
    assert (recorder.counters.malformed, recorder.counters.started, recorder.counters.finished) == (1, 3, 2)
    (failure,) = recorder.failures()
    assert (failure.outcome, failure.kind, failure.count) == ("lost", "MeasureError", 1)


def test_recorder_puts_a_broken_record_under_the_phase_it_was_due_in(make_recorder: MakeRecorder) -> None:
    """Due in the warmup, ended before it began: lost in the second it was found (3), phase warmup."""
    recorder = make_recorder()
    recorder.channel("emotion").done((ANCHOR + 1.5, 0.0, ANCHOR + 1.5, ANCHOR + 1.5, ANCHOR + 1.0, 0, 0))
    (window,) = recorder.drain(None)
    assert window.key == (3, "emotion", "warmup")


def test_recorder_keeps_the_books_with_broken_arrivals(make_recorder: MakeRecorder) -> None:
    """Arrivals and unsent ones without a usable time still count, at the time they were found."""
    recorder = make_recorder()
    channel = recorder.channel("emotion")
    for due in (NAN, 0.0, ANCHOR + 3.5):
        channel.due(due)
    recorder.unsent("emotion", NAN, "pool", ANCHOR + 4.0)
    recorder.unsent("emotion", ANCHOR + 3.5, "generator", NAN)
    window = windows_merged(recorder.drain(None))
    assert window.counts == {"arrivals": 3, "unsent_pool": 1, "unsent_generator": 1}
    assert (recorder.counters.offered, recorder.counters.unsent, recorder.counters.malformed) == (3, 2, 4)
    assert sum(failure.count for failure in recorder.failures()) == 4


def test_recorder_gives_out_closed_seconds_only(make_recorder: MakeRecorder) -> None:
    """drain(4.9) gives the seconds before 4; what comes late for a second comes as a window of its own."""
    recorder = make_recorder()
    channel = recorder.channel("emotion")
    for due in (2.5, 3.5, 4.5):
        channel.done(record(due))
    assert [window.second for window in recorder.drain(4.9)] == [2, 3]
    channel.done(record(3.6))
    assert [window.second for window in recorder.drain(4.9)] == [3]
    assert [window.second for window in recorder.drain(None)] == [4]
    assert recorder.drain(None) == []


def test_recorder_waits_for_its_start() -> None:
    """What comes before the anchor is known is kept, not lost."""
    recorder = Recorder()
    recorder.channel("emotion").done(record(3.0, service=0.01))
    recorder.failure("emotion", "failed", "k", "m")
    assert recorder.drain(None) == []
    assert recorder.failures() == []
    recorder.start(ANCHOR, lambda times: np.zeros(times.shape, np.int8), ("steady",))
    assert windows_merged(recorder.drain(None)).count(Count.OK) == 1
    assert len(recorder.failures()) == 1


def test_recorder_starts_once(make_recorder: MakeRecorder) -> None:
    """A second start would count two runs from one anchor."""
    with pytest.raises(MeasureError):
        make_recorder().start(ANCHOR, lambda times: np.zeros(times.shape, np.int8), ("steady",))
    with pytest.raises(MeasureError):
        Recorder().start(NAN, lambda times: np.zeros(times.shape, np.int8), ("steady",))


def test_recorder_corrects_its_anchor(make_recorder: MakeRecorder) -> None:
    """A correction at 3 s sets what is due from then on a second back; latencies are the same."""
    recorder = make_recorder()
    recorder.correct_anchor(ANCHOR + 1)
    for due in (2.5, 4.5):
        recorder.channel("emotion").done(record(due, service=0.01))
    early, late = recorder.drain(None)
    assert (early.second, late.second) == (2, 3)
    assert early.histograms == late.histograms
    assert (recorder.run_time(ANCHOR + 2.5), recorder.run_time(ANCHOR + 4.5)) == (2.5, 3.5)


def test_recorder_corrects_only_what_was_started() -> None:
    """Before the start there is no anchor, and no run time; an anchor is a finite time."""
    recorder = Recorder()
    for ask in (recorder.correct_anchor, recorder.run_time):
        with pytest.raises(MeasureError):
            ask(ANCHOR)
    recorder.start(ANCHOR, lambda times: np.zeros(times.shape, np.int8), ("steady",))
    with pytest.raises(MeasureError):
        recorder.correct_anchor(NAN)


class Moving:
    """A recorder whose clock is moved by hand, in phases of half a second: a, b, c, d, a and so on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.recorder = Recorder(clock=lambda: ANCHOR + self.now)
        self.recorder.start(ANCHOR, lambda times: (np.floor(times * 2) % 4).astype(np.int8), "abcd")

    def phases(self) -> list[str]:
        """Return the phase of each window."""
        return [window.phase for window in self.recorder.drain(None)]


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("end", ["ok", "pool", "broken"])
def test_recorder_keeps_a_request_in_one_phase_over_a_correction(flushed: bool, end: str) -> None:
    """Due at 0.45 s in a, though by the new anchor 0.45 s is in b: the arrival and its end are in a."""
    moving = Moving()
    moving.now = 0.45
    moving.recorder.channel("emotion").due(ANCHOR + 0.45)
    if flushed:
        moving.recorder.flush()
    moving.recorder.correct_anchor(ANCHOR - 0.1)
    moving.now = 0.6
    if end == "pool":
        moving.recorder.unsent("emotion", ANCHOR + 0.45, "pool", ANCHOR + 0.6)
    else:
        wait = NAN if end == "broken" else 0.0
        moving.recorder.channel("emotion").done((ANCHOR + 0.45, wait, *record(0.45, service=0.1)[2:]))
    (window,) = moving.recorder.drain(None)
    assert (window.phase, window.imbalance, window.count(Count.ARRIVALS)) == ("a", 0, 1)


def test_recorder_takes_what_is_due_a_moment_ahead_by_the_anchor_before() -> None:
    """Due 0.9 ms after the correction may be counted already: it keeps the old anchor, 1.1 ms has the new."""
    moving = Moving()
    moving.now = 0.498
    moving.recorder.channel("emotion").due(ANCHOR + 0.4989)
    moving.recorder.flush()
    moving.recorder.correct_anchor(ANCHOR - 0.1)
    moving.recorder.channel("emotion").done(record(0.4989))
    moving.recorder.channel("creative").done(record(0.4991))
    assert [(one.endpoint, one.phase) for one in moving.recorder.drain(None)] == [
        ("creative", "b"),
        ("emotion", "a"),
    ]


def test_recorder_gives_failures_first_before_last_over_a_correction() -> None:
    """Seen at 3.0 s and, after run time was set back by 0.5 s, at 2.7 s: first 2.7, last 3.0."""
    moving = Moving()
    moving.now = 3.0
    moving.recorder.failure("emotion", "failed", "k", "m")
    moving.recorder.correct_anchor(ANCHOR + 0.5)
    moving.now = 3.2
    moving.recorder.failure("emotion", "failed", "k", "m")
    (failure,) = moving.recorder.failures()
    assert (failure.first, failure.last) == (pytest.approx(2.7), pytest.approx(3.0))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 0.3)),
        st.tuples(st.just("arrive"), st.floats(-0.2, 0.001)),
        st.tuples(st.just("end"), st.sampled_from(["ok", "failed", "unfinished", "pool", "broken"])),
        st.tuples(st.just("correct"), st.floats(-0.4, 0.4)),
        st.tuples(st.just("flush"), st.booleans()),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(steps=STEPS)
def test_recorder_books_balance_over_corrections(steps: list[tuple[str, Any]]) -> None:
    """Per phase, whatever was corrected and flushed between an arrival and its end; and the phase is right.

    It is that of the last anchor whose correction was more than a millisecond before the due time.
    """
    moving, under_way, windows = Moving(), [], []
    recorder, pieces = moving.recorder, [(-math.inf, ANCHOR)]
    expected: Counter[str] = Counter()
    ends = [("end", "ok")] * sum(kind == "arrive" for kind, _ in steps)
    for kind, value in steps + ends:
        now = ANCHOR + moving.now
        if kind == "wait":
            moving.now += value
        elif kind == "arrive":
            due = now + value
            recorder.channel("emotion").due(due)
            under_way.append(due)
            anchor = [anchor for start, anchor in pieces if start < due][-1]
            expected["abcd"[math.floor((due - anchor) * 2) % 4]] += 1
        elif kind == "end" and under_way:
            finish(recorder, under_way.pop(), now, value)
        elif kind == "correct":
            pieces.append((now + EARLY_S, pieces[-1][1] + value))
            recorder.correct_anchor(pieces[-1][1])
        elif kind == "flush":
            windows += recorder.drain(moving.now) if value else []
            recorder.flush()
    windows += recorder.drain(None)
    assert all(window.imbalance == 0 for window in by_phase(windows).values())
    assert {phase: one.count(Count.ARRIVALS) for phase, one in by_phase(windows).items()} == expected


def finish(recorder: Recorder, due: float, now: float, how: str) -> None:
    """End a request that was due at `due` of the clock, now or as soon as it may."""
    begun, ended = due, max(now, due)
    if how == "pool":
        recorder.unsent("emotion", due, "pool", now)
        return
    wait = NAN if how == "broken" else 0.0
    recorder.channel("emotion").done((due, wait, begun, begun, ended, CODES[how], 0))


def by_phase(windows: list[Window]) -> dict[str, Window]:
    """Return the windows of each phase as one."""
    phases = {window.phase for window in windows}
    return {phase: windows_merged(one for one in windows if one.phase == phase) for phase in phases}


@given(
    corrections=st.lists(st.tuples(st.floats(0, 100), st.floats(-5, 5)), max_size=12),
    times=st.lists(st.floats(-10, 1500) | st.just(NAN) | st.just(math.inf), max_size=20),
)
def test_anchors_hold_from_their_correction_on(
    corrections: list[tuple[float, float]], times: list[float]
) -> None:
    """Each time less the last anchor whose correction was over a millisecond before it."""
    anchors, now, pieces = Anchors(7.0), 0.0, [(-math.inf, 7.0)]
    for pause, anchor in corrections:
        now += pause
        anchors.correct(anchor, now)
        pieces.append((now + EARLY_S, anchor))
    in_force = [[anchor for start, anchor in pieces if not time <= start][-1] for time in times]
    expected = [time - anchor for time, anchor in zip(times, in_force, strict=True)]
    assert anchors.convert(np.array(times)).tolist() == pytest.approx(expected, nan_ok=True)
    assert [anchors.run_time(time) for time in times] == pytest.approx(expected, nan_ok=True)


def test_anchors_hold_after_their_beginning_not_from_it() -> None:
    """A due time just as far ahead as it may be can have been converted before, so it keeps its anchor."""
    anchors = Anchors(0.0)
    anchors.correct(1.0, 5.0)
    edge = 5.0 + EARLY_S
    assert anchors.convert(np.array([edge])).tolist() == [edge] == [anchors.run_time(edge)]
    assert anchors.run_time(math.nextafter(edge, 9.0)) == pytest.approx(edge - 1.0)


def test_anchors_take_the_last_of_two_corrections_at_once() -> None:
    """At one moment only the last word counts."""
    anchors = Anchors(0.0)
    anchors.correct(1.0, 5.0)
    anchors.correct(2.0, 5.0)
    anchors.correct(2.0, 6.0)
    assert [anchors.run_time(time) for time in (4.0, 5.5, 6.5)] == [4.0, 3.5, 4.5]


def test_anchors_are_kept_for_an_hour() -> None:
    """Corrected every 10 s for three hours: of the last hour each holds, before that the oldest of those."""
    anchors = Anchors(0.0)
    for number in range(1, 1081):
        anchors.correct(number * 1e-3, number * 10.0)
    assert len(anchors) <= 362
    recent = np.arange(7205.0, 10800.0, 10.0)
    expected = [time - int(time // 10) * 1e-3 for time in recent.tolist()]
    assert anchors.convert(recent.copy()).tolist() == pytest.approx(expected, abs=1e-9)
    assert anchors.run_time(100.0) == pytest.approx(100.0 - 0.719, abs=1e-9)


def test_anchors_are_bounded_however_often_they_are_corrected() -> None:
    """5000 corrections a millisecond apart keep 4096; the newest holds."""
    anchors = Anchors(0.0)
    for number in range(1, 5001):
        anchors.correct(float(number), number * 1e-3)
    assert len(anchors) == MOST_ANCHORS
    assert anchors.run_time(10_000.0) == 5_000.0


def test_recorder_keeps_bound_methods_valid(make_recorder: MakeRecorder) -> None:
    """A user may keep `done` and `due` over any number of drains."""
    recorder = make_recorder()
    channel = recorder.channel("emotion")
    done, due = channel.done, channel.due
    for _ in range(3):
        due(ANCHOR + 3.0)
        done(record(3.0))
        assert windows_merged(recorder.drain(None)).counts == {"arrivals": 1, "ok": 1}


def test_recorder_leaves_a_record_that_is_not_whole_yet(make_recorder: MakeRecorder) -> None:
    """Numbers short of a record stay for the next flush."""
    recorder = make_recorder()
    channel = recorder.channel("emotion")
    channel.done((*GOOD, *GOOD[:3]))
    assert windows_merged(recorder.drain(None)).count(Count.OK) == 1
    channel.done(GOOD[3:])
    assert windows_merged(recorder.drain(None)).count(Count.OK) == 1


def test_recorder_limits_endpoints(make_recorder: MakeRecorder) -> None:
    """From the third endpoint on, with a limit of two, all go to one that shows."""
    recorder = make_recorder(endpoint_limit=2)
    one, two = recorder.channel("one"), recorder.channel("two")
    assert recorder.channel("three") is recorder.channel("four") is recorder.channel(OVERFLOW_ENDPOINT)
    assert recorder.channel("one") is one
    assert recorder.channel("two") is two
    assert recorder.channel("three").endpoint == "(overflow)"


def test_recorder_counts_failures_by_kind(make_recorder: MakeRecorder) -> None:
    """The same kind is counted; the clock of the fixture stands at run time 3 s; three samples are kept."""
    recorder = make_recorder()
    for sample in ("a", "b", "", "c", "d"):
        recorder.failure("emotion", "failed", "HTTP 500", "server error", sample)
    (failure,) = recorder.failures()
    assert (failure.count, failure.first, failure.last, failure.samples) == (5, 3.0, 3.0, ["a", "b", "c"])
    assert recorder.failures() == []


def test_recorder_bounds_the_kinds_of_failure(make_recorder: MakeRecorder) -> None:
    """A message with a number in it cannot fill the memory: what is too much is counted as one kind."""
    recorder = make_recorder()
    for number in range(MOST_KINDS + 7):
        recorder.failure("emotion", "failed", "k", f"request {number}")
    failures = recorder.failures()
    assert len(failures) == MOST_KINDS + 1
    assert [failure.count for failure in failures if failure.message == OTHER] == [7]


def test_recorder_refuses_an_unknown_outcome(make_recorder: MakeRecorder) -> None:
    """A failure has one of the known outcomes."""
    with pytest.raises(MeasureError):
        make_recorder().failure("emotion", "broken", "k", "m")


def test_recorder_offers_the_recent_start_lags(make_recorder: MakeRecorder) -> None:
    """`start_lag` is that of the last drain only, over all endpoints."""
    recorder = make_recorder()
    recorder.channel("emotion").done(record(3.0, lag=0.002))
    recorder.channel("creative").done(record(3.0, lag=0.003))
    recorder.drain(3.0)
    assert (recorder.start_lag.total, recorder.start_lag.maximum) == (2, 3_000)
    recorder.drain(3.0)
    assert recorder.start_lag.total == 0


def test_recorder_counters_are_cumulative(make_recorder: MakeRecorder) -> None:
    """Offered counts arrivals, started every record, finished those that are not unfinished."""
    recorder = make_recorder()
    channel = recorder.channel("emotion")
    for _ in range(2):
        channel.due(ANCHOR + 3.0)
        channel.due(ANCHOR + 3.0)
        channel.done(record(3.0))
        channel.done(record(3.0, flags=Outcome.UNFINISHED))
        recorder.drain(None)
    counters = recorder.counters
    assert (counters.offered, counters.started, counters.finished) == (4, 4, 2)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "failed", "timeout", "unfinished", "pool", "generator", "broken"]),
        st.integers(0, 7_000_000),
        st.integers(0, 5_000_000),
        st.sampled_from(["emotion", "creative", "reasoning"]),
        st.integers(0, 31),
    ),
    max_size=40,
)
CODES = {"ok": 0, "failed": 1, "timeout": 2, "unfinished": 3, "broken": 0}


def happen(recorder: Recorder, event: tuple[str, int, int, str, int]) -> None:
    """Let one arrival happen: due and service in µs of run time, with flag bits 2 to 6."""
    kind, due_us, service_us, endpoint, bits = event
    due, service = due_us / 1e6, service_us / 1e6
    channel = recorder.channel(endpoint)
    channel.due(ANCHOR + due)
    if kind in ("pool", "generator"):
        recorder.unsent(endpoint, ANCHOR + due, kind, ANCHOR + due + service)  # type: ignore[arg-type]
        return
    wait = NAN if kind == "broken" else 0.0
    numbers = record(due, lag=1e-4, connect=2e-4, service=service, flags=CODES[kind] | bits << 2, size=bits)
    channel.done((numbers[0], wait, *numbers[2:]))


def by_key(windows: list[Window]) -> dict[tuple[int, str, str], Window]:
    """Return windows merged by their key."""
    found: dict[tuple[int, str, str], Window] = {}
    for window in windows:
        if window.key in found:
            found[window.key].merge(window)
        else:
            found[window.key] = window.copy()
    return found


@settings(max_examples=60)
@given(events=EVENTS)
def test_recorder_books_balance(make_recorder: MakeRecorder, events: list[Any]) -> None:
    """arrivals = ok + failed + timeout + unsent + unfinished + lost, per endpoint and phase of a run."""
    recorder = make_recorder()
    for event in events:
        happen(recorder, event)
    windows = recorder.drain(None)
    for endpoint, phase in {(window.endpoint, window.phase) for window in windows}:
        chosen = [window for window in windows if (window.endpoint, window.phase) == (endpoint, phase)]
        assert windows_merged(chosen).imbalance == 0
    total = windows_merged(windows)
    assert total.count(Count.ARRIVALS) == len(events)
    for outcome in ("ok", "failed", "timeout"):
        expected = sum(event[0] == outcome for event in events)
        assert total.count(outcome) == total.histogram(f"response.{outcome}").total == expected


@settings(max_examples=60)
@given(events=EVENTS, data=st.data())
def test_recorder_split_over_workers_gives_the_same_windows(
    make_recorder: MakeRecorder, events: list[Any], data: st.DataObject
) -> None:
    """However arrivals are dealt to workers and drains fall, the merged windows are identical."""
    thresholds: dict[str | None, list[int]] = {None: [50_000], "emotion": [1_000_000]}
    single, workers = make_recorder(thresholds), [make_recorder(thresholds) for _ in range(3)]
    windows = []
    for event in events:
        happen(single, event)
        worker = workers[data.draw(st.integers(0, 2))]
        happen(worker, event)
        if data.draw(st.booleans()):
            windows += worker.drain(data.draw(st.floats(0, 8)))
    for worker in workers:
        windows += worker.drain(None)
    assert by_key(windows) == by_key(single.drain(None))


def test_recorder_takes_a_stall_whole(make_recorder: MakeRecorder) -> None:
    """10,000 answers of 1 ms and one of 100 s: p99.99 is 1 ms, one is over 50 s, the mean is exact."""
    recorder = make_recorder({None: [50_000_000]})
    fast = [record(2.0 + number * 1e-4, service=0.001) for number in range(10_000)]
    window = drained(recorder, *fast, record(3.0, service=100.0))
    histogram = window.histogram("response.ok")
    assert histogram.percentiles([5000, 9999, 10_000]) == [1000.0, 1000.0, 100_007_935.0]
    assert histogram.sum == 10_000 * 1_000 + 100_000_000
    assert window.over["response.ok>50000000"] == 1


def test_recorder_takes_more_than_a_block_at_once(make_recorder: MakeRecorder) -> None:
    """A flush of more records than are worked on at a time loses none, nor a broken one among them."""
    recorder = make_recorder()
    many = BLOCK + 3
    recorder.channel("emotion").done((*GOOD * many, NAN, *GOOD[1:], *GOOD * many))
    (window,) = recorder.drain(None)
    assert window.counts == {"ok": 2 * many, "lost": 1, "bytes_received": 20 * many}
    assert window.histogram("response.ok").sum == 2 * many * 100_000
    assert recorder.channel("emotion").records == []
