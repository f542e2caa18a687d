"""The recorder: from appended numbers to windows. Run time 0 is at 5000 s of the clock; see conftest."""

from __future__ import annotations

import math
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
from loadgate.measure.records import BLOCK, Flag, Outcome
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
    """A correction counts from where it came; latencies are the same."""
    recorder = make_recorder()
    recorder.channel("emotion").done(record(3.0, service=0.01))
    recorder.correct_anchor(ANCHOR + 1)
    recorder.channel("emotion").done(record(3.0, service=0.01))
    windows = recorder.drain(None)
    assert [window.second for window in windows] == [2, 3]
    assert windows[0].histograms == windows[1].histograms
    with pytest.raises(MeasureError):
        Recorder().correct_anchor(ANCHOR)


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
