"""Deltas on the wire: exact round trips, and garbage that is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import HIGHEST_US
from loadgate.measure.window import Count, Series, Window, over_key

ROW = FleetRow(3, "w-1", 100, 90, 80, 10, 50, 0.75, 50_000_000, 120.0, 300.0, 900.0)
HEALTH = [
    *("cpu_allowed", "throttled_us", "fds", "fds_limit", "ports", "ports_limit", "gc_pause_max_us"),
    *("control_n", "control_failures", "control_p50_us", "control_p99_us"),
]
REST = [0.0] * 6 + [0] + [0.0] * 2 + [0] * 4 + [0.0] + [0] * 2 + [0.0] * 2
"""The rest of a fleet row on the wire, after its memory."""
FAILURE = Failure("emotion", "failed", "HTTP 500", "server error", 3, 1.5, 2.5, ["body"])


def histogram_of(values: list[int]) -> Histogram:
    """Return the histogram of a list."""
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def through_msgpack(delta: Delta) -> Any:
    """Return what the master gets: packed and unpacked."""
    return msgpack.unpackb(msgpack.packb(delta.to_wire()))


@st.composite
def drawn_windows(draw: st.DrawFn) -> Window:
    """Draw a window of any content."""
    window = Window(
        draw(st.integers(-5, 10**6)), draw(st.integers(1, 60)), draw(st.sampled_from("abc")), "steady"
    )
    for series in draw(st.sets(st.sampled_from(list(Series)))):
        values = draw(st.lists(st.integers(0, 2 * HIGHEST_US), min_size=1, max_size=5))
        window.histograms[series.value] = histogram_of(values)
        if series.startswith(("response", "service")):
            window.over[over_key(series, 1000)] = sum(value > 1000 for value in values)
    for name in draw(st.sets(st.sampled_from(list(Count)))):
        window.add(name, draw(st.integers(1, 2**40)))
    return window


@pytest.fixture
def wire() -> dict[str, Any]:
    """Return a good delta as it arrives, to be broken."""
    window = Window(3, 1, "emotion", "steady", {"arrivals": 3, "ok": 3})
    window.histograms["response.ok"] = histogram_of([1000, 1000, 70_000])
    window.histograms["connect"] = histogram_of([5])
    window.over["response.ok>50000"] = 1
    return through_msgpack(Delta("run-1", "w-1", 1, 7, [window], [copy.deepcopy(FAILURE)], [ROW]))


@settings(max_examples=50)
@given(st.lists(drawn_windows(), max_size=4))
def test_delta_round_trip(windows: list[Window]) -> None:
    """What arrives equals what was sent, exact numbers and over-counts included."""
    delta = Delta("run-1", "w-1", 2, 9, windows, [copy.deepcopy(FAILURE)], [ROW])
    assert Delta.from_wire(through_msgpack(delta)) == delta


def test_delta_that_is_empty() -> None:
    """A delta without windows is a heartbeat with a sequence number."""
    delta = Delta("run-1", "w-1", 0, 0)
    assert Delta.from_wire(through_msgpack(delta)) == delta
    assert delta.key == ("w-1", 0, 0)


def test_delta_takes_numbers_of_numpy() -> None:
    """Numbers of numpy, which msgpack refuses, become plain ones."""
    window = Window(int(np.int64(1)), 1, "emotion", "steady", {"ok": np.int64(2)})  # type: ignore[dict-item]
    row = FleetRow(np.int64(3), "w", *[np.int64(1)] * 5, np.float64(0.5), np.int64(1), *[np.float64(1)] * 3)  # type: ignore[arg-type]
    arrived = Delta.from_wire(through_msgpack(Delta("r", "w", 0, 0, [window], [], [row])))
    assert arrived.windows[0].counts == {"ok": 2}
    assert type(arrived.fleet[0].cpu) is float


def test_delta_carries_what_is_told_of_a_worker() -> None:
    """The p99, the clock's offset with its sign, its error and the backlog arrive as they were sent."""
    row = replace(ROW, p99_us=1234.5, clock_offset_us=-250.25, clock_error_us=30.0, unacknowledged=3)
    assert Delta.from_wire(through_msgpack(Delta("r", "w", 0, 0, [], [], [row]))).fleet == [row]


def test_delta_carries_what_a_worker_may_use_and_used() -> None:
    """Every figure of the generator's health arrives as it was sent, whole numbers as such."""
    health = {
        "cpu_allowed": 0.5,
        "throttled_us": 1500.5,
        "fds": 12,
        "fds_limit": 1024,
        "ports": 400,
        "ports_limit": 28_232,
        "gc_pause_max_us": 90.25,
        "control_n": 2,
        "control_failures": 1,
        "control_p50_us": 250.0,
        "control_p99_us": 260.0,
    }
    row = replace(ROW, **health)  # type: ignore[arg-type]
    (arrived,) = Delta.from_wire(through_msgpack(Delta("r", "w", 0, 0, [], [], [row]))).fleet
    assert arrived == row
    assert {name: type(getattr(arrived, name)) for name in health} == {
        name: type(value) for name, value in health.items()
    }


@pytest.mark.parametrize("name", ["p99_us", "clock_error_us", "unacknowledged", "cpu", *HEALTH])
def test_delta_refuses_a_negative_figure(name: str) -> None:
    """Only the clock's offset has a sign."""
    wire = through_msgpack(Delta("r", "w", 0, 0, [], [], [replace(ROW, **{name: -1})]))
    with pytest.raises(MeasureError, match=name):
        Delta.from_wire(wire)


def test_delta_of_another_release_says_so(wire: dict[str, Any]) -> None:
    """A worker of the release before sends version 2: the error names both, and how to mend it."""
    wire["version"] = 2
    with pytest.raises(MeasureError, match="wire version 2, not 3") as caught:
        Delta.from_wire(wire)
    assert "same release" in caught.value.hint


def test_delta_that_arrived_gives_its_windows_each_time(wire: dict[str, Any]) -> None:
    """Changing what `windows` gave changes neither the delta nor what it gives next."""
    delta = Delta.from_wire(wire)
    (window,) = delta.windows
    before = window.copy()
    window.merge(window.copy())
    assert list(delta.windows) == [before]
    assert delta.packed is delta.packed
    assert delta.packed.heads[0].counts == {"arrivals": 3, "ok": 3}


def test_delta_compares_by_content() -> None:
    """Another key or content is another delta; another kind of thing is none."""
    assert Delta("r", "w", 0, 0) == Delta("r", "w", 0, 0)
    assert Delta("r", "w", 0, 0) != Delta("r", "w", 0, 1)
    assert Delta("r", "w", 0, 0) != Delta("r", "w", 0, 0, [Window(0, 1, "e", "steady")])
    assert Delta("r", "w", 0, 0) != 5


def test_delta_takes_text_that_is_no_utf8() -> None:
    """A lone surrogate in a sample is replaced: it cannot be packed."""
    failure = Failure("emotion", "failed", "x", "y", 1, 0.0, 0.0, ["\udc80"])
    assert Delta.from_wire(through_msgpack(Delta("r", "w", 0, 0, [], [failure]))).failures[0].samples == ["?"]


def test_delta_leaves_empty_histograms_out() -> None:
    """A series without values costs nothing on the wire."""
    window = Window(0, 1, "emotion", "steady", histograms={"connect": Histogram()})
    assert Delta.from_wire(through_msgpack(Delta("r", "w", 0, 0, [window]))).windows[0].histograms == {}


def test_delta_is_small() -> None:
    """A counter in use takes 3 bytes while counts are below 256: 100 different values, 300 bytes."""
    window = Window(0, 1, "emotion", "steady", histograms={"connect": histogram_of(list(range(100)))})
    wire = Delta("r", "w", 0, 0, [window]).to_wire()["windows"]
    assert len(wire["indices"]) + len(wire["counts"]) == 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 1),
        ("version", 4),
        ("version", None),
        ("run", ""),
        ("run", 5),
        ("worker", "x" * 5000),
        ("incarnation", -1),
        ("incarnation", True),
        ("sequence", 1.5),
        ("sequence", 2**70),
        ("windows", None),
        ("windows", []),
        ("failures", {}),
        ("failures", [[]]),
        ("failures", [["emotion", "bad", "k", "m", 1, 0.0, 0.0, []]]),
        ("failures", [["emotion", "failed", "k", "m", 0, 0.0, 0.0, []]]),
        ("failures", [["emotion", "failed", "k", "m", 1, 2.0, 1.0, []]]),
        ("failures", [["emotion", "failed", "k", "m", 1, float("nan"), 1.0, []]]),
        ("failures", [["emotion", "failed", "k", "m", 1, 0.0, 0.0, ["a", "b", "c", "d"]]]),
        ("failures", [["emotion", "failed", "k", "m", 1, 0.0, 0.0, [5]]]),
        ("failures", [[]] * 1001),
        ("fleet", [[1, 2]]),
        ("fleet", [[3, "w", -1, 0, 0, 0, 0, 0.0, 0, *REST]]),
        ("fleet", [[3, "w", 0, 0, 0, 0, 0, -1.0, 0, *REST]]),
        ("fleet", [[3, "w", 0, 0, 0, 0, 0, float("inf"), 0, *REST]]),
        ("fleet", [[3, "", 0, 0, 0, 0, 0, 0.0, 0, *REST]]),
        ("fleet", [[3, "w", 0, 0, 0, 0, 0, 10**400, 0, *REST]]),
        ("fleet", [[3, "w", 0, 0, 0, 0, 0, 0.0, 0, *REST[:-1]]]),
        ("unknown", 1),
    ],
)
def test_delta_refuses_garbage(wire: dict[str, Any], key: str, value: object) -> None:
    """One wrong entry makes the whole delta an error."""
    wire[key] = value
    with pytest.raises(MeasureError):
        Delta.from_wire(wire)


def test_a_row_of_zeros_is_sound(wire: dict[str, Any]) -> None:
    """What the broken rows above have in common is no reason to refuse them."""
    wire["fleet"] = [[3, "w", 0, 0, 0, 0, 0, 0.0, 0, *REST]]
    assert Delta.from_wire(wire).fleet[0].second == 3


def one_by_one(objs: list[object]) -> list[Delta | str]:
    """Return for each what `from_wire` says."""
    found: list[Delta | str] = []
    for obj in objs:
        try:
            found.append(Delta.from_wire(obj))
        except MeasureError as error:
            found.append(str(error))
    return found


def together(objs: list[object]) -> list[Delta | str]:
    """Return what `all_from_wire` says of all."""
    return [str(one) if isinstance(one, MeasureError) else one for one in Delta.all_from_wire(objs)]


BREAKS: list[tuple[str, object]] = [
    ("lengths", b"\1"),
    ("lengths", b""),
    ("indices", b"\0\0"),
    ("indices", 5),
    ("counts", b""),
    ("counts", b"\0" * 8),
    ("width", 2),
    ("width", True),
    ("width", [1]),
    ("exact", b"\0" * 48),
    ("exact", None),
    ("windows", []),
    ("windows", 7),
    ("unknown", 1),
]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.lists(drawn_windows(), max_size=2), st.none() | st.sampled_from(BREAKS)), max_size=5
    )
)
def test_deltas_together_are_what_each_is_alone(
    parts: list[tuple[list[Window], tuple[str, object] | None]],
) -> None:
    """Whatever the others are: sound or broken, empty or large, with narrow or wide counts."""
    objs = []
    for windows, broken in parts:
        obj = through_msgpack(Delta("run-1", "w-1", 2, 9, windows, [copy.deepcopy(FAILURE)], [ROW]))
        if broken is not None:
            obj["windows"][broken[0]] = broken[1]
        objs.append(obj)
    assert together([*objs, None, {}]) == one_by_one([*objs, None, {}])


@pytest.mark.parametrize("name", ["lengths", "indices", "counts", "exact"])
def test_no_delta_lends_to_the_next(wire: dict[str, Any], name: str) -> None:
    """What one lacks of an array and the next has too much of is missed in both, though the sum is right."""
    first, second = copy.deepcopy(wire), copy.deepcopy(wire)
    whole = first["windows"][name]
    first["windows"][name], second["windows"][name] = whole[:-2], whole[-2:] + whole
    found = together([first, wire, second, wire])
    assert found == one_by_one([first, wire, second, wire])
    assert [isinstance(one, str) for one in found] == [True, False, True, False]


def test_counters_may_not_change_hands_between_deltas(wire: dict[str, Any]) -> None:
    """Of two deltas whose arrays have the right sizes, one says it has a counter more, and the other less."""
    first, second = copy.deepcopy(wire), copy.deepcopy(wire)
    lengths = np.frombuffer(wire["windows"]["lengths"], "<u2")
    first["windows"]["lengths"] = (lengths + np.array([0, 1])).astype("<u2").tobytes()
    second["windows"]["lengths"] = (lengths - np.array([1, 0])).astype("<u2").tobytes()
    found = together([first, second])
    assert found == one_by_one([first, second])
    assert all(isinstance(one, str) for one in found)


@pytest.mark.parametrize("obj", [None, 5, [], b"x", {}, {1: 2}])
def test_delta_refuses_what_is_no_delta(obj: object) -> None:
    """Anything may arrive at a port."""
    with pytest.raises(MeasureError):
        Delta.from_wire(obj)


@pytest.mark.parametrize("key", ["run", "windows", "fleet"])
def test_delta_refuses_what_lacks_an_entry(wire: dict[str, Any], key: str) -> None:
    """Every entry is needed."""
    del wire[key]
    with pytest.raises(MeasureError):
        Delta.from_wire(wire)


GOOD_EXACT = [3, 1000, 70_000, 0, 72_000, 0, 1, 5, 5, 0, 5, 0]


def exact(**changes: int) -> bytes:
    """Return the exact numbers of the delta of the fixture with some changed, as `_<position>=value`."""
    numbers = list(GOOD_EXACT)
    for position, value in changes.items():
        numbers[int(position[1:])] = value
    return np.array(numbers, "<i8").tobytes()


def u2(*numbers: int) -> bytes:
    """Return 16-bit numbers as they are sent."""
    return np.array(numbers, "<u2").tobytes()


def test_delta_garbage_starts_from_a_good_one(wire: dict[str, Any]) -> None:
    """The exact numbers, indices and counts of the fixture are what the cases below change.

    70,000 µs is in 2**16..2**17, whose 1024 counters are 64 µs wide, the first of them 7 · 1024 = 7168:
    70,000 >> 6 is 1093, and the counter is 6 · 1024 + 1093 = 7237.
    """
    windows = wire["windows"]
    assert windows["exact"] == exact()
    assert windows["indices"] == u2(1000, 7237, 5)
    assert (windows["width"], windows["counts"], windows["lengths"]) == (1, b"\x02\x01\x01", u2(2, 1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 3),
        ("width", True),
        ("width", 2),
        ("counts", b"\x02\x00\x01"),
        ("counts", b"\x02\x01"),
        ("counts", b"\x03\x01\x01"),
        ("counts", "abc"),
        ("counts", [2, 1, 1]),
        ("indices", u2(7237, 1000, 5)),
        ("indices", u2(1000, 1000, 5)),
        ("indices", u2(1000, 60_000, 5)),
        ("indices", u2(1001, 7237, 5)),
        ("indices", u2(1000, 7238, 5)),
        ("indices", u2(1000, 7237, 5)[:-1]),
        ("lengths", u2(3)),
        ("lengths", u2(3, 0)),
        ("lengths", u2(1, 2)),
        ("lengths", u2(2, 2)),
        ("lengths", b""),
        ("exact", exact(_0=4)),
        ("exact", exact(_1=999)),
        ("exact", exact(_2=90_000)),
        ("exact", exact(_3=1)),
        ("exact", exact(_3=-1)),
        ("exact", exact(_4=10**6)),
        ("exact", exact(_4=-5)),
        ("exact", exact(_5=1)),
        ("exact", exact()[:-8]),
        ("windows", []),
        ("windows", None),
        ("windows", [[]]),
    ],
)
def test_delta_refuses_garbage_in_its_histograms(wire: dict[str, Any], key: str, value: object) -> None:
    """Counters, lengths and exact numbers must fit one another."""
    wire["windows"][key] = value
    with pytest.raises(MeasureError):
        Delta.from_wire(wire)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 1.5),
        (0, 2**70),
        (1, 0),
        (2, ""),
        (3, None),
        (4, {"okay": 1}),
        (4, {"ok": -1}),
        (4, {"ok": 1.5}),
        (4, [1]),
        (4, {1: 1}),
        (4, {"ok": 2**61}),
        (4, {"ok": True}),
        (5, [["response.ok"], "connect"]),
        (5, ["response.ok", 5]),
        (5, ["response.ok", "response.ok"]),
        (5, ["response.ok", "pool"]),
        (5, ["response.ok"]),
        (5, ["response.ok", "connect", "pool_wait"]),
        (5, "response.ok"),
        (6, {"response.ok>50000": 4}),
        (6, {"response.ok>50000": -1}),
        (6, {"response.ok>-1": 0}),
        (6, {"response.ok": 0}),
        (6, {"connect>5": 0}),
        (6, {"nothing>5": 0}),
        (6, {5: 0}),
        (6, {"response.ok>50000": True}),
        (6, {"response.ok>50000": None}),
        (6, {"response.failed>50000": 1}),
        (6, {f"response.ok>{n}": 0 for n in range(2_001)}),
        (6, []),
        (6, None),
    ],
)
def test_delta_refuses_garbage_in_a_window(wire: dict[str, Any], position: int, value: object) -> None:
    """Names must be known, numbers whole and not negative, over-counts within their series."""
    wire["windows"]["windows"][0][position] = value
    with pytest.raises(MeasureError):
        Delta.from_wire(wire)


def test_delta_keeps_a_sum_of_any_size() -> None:
    """A sum that needs more than 63 bits arrives whole: 2**11 values of 2**53 are 2**64."""
    histogram = Histogram()
    histogram.record(2**53, 2**11)
    window = Window(0, 1, "emotion", "steady", histograms={"connect": histogram})
    arrived = Delta.from_wire(through_msgpack(Delta("r", "w", 0, 0, [window])))
    assert arrived.windows[0].histograms["connect"].sum == 2**64


def test_delta_too_large_is_refused_before_it_is_sent() -> None:
    """What the master would refuse is an error on the worker, where it can still be merged."""
    with pytest.raises(MeasureError):
        Delta("r", "w", 0, 0, failures=[FAILURE] * 1001).to_wire()
    with pytest.raises(MeasureError):
        Delta("r", "w", 0, 0, windows=[Window(0, 1, "e", "steady")] * 20_001).to_wire()


def test_failure_merge() -> None:
    """Counts add, times widen, and three different samples are kept."""
    one = Failure("e", "failed", "k", "m", 2, 5.0, 6.0, ["a", "b"])
    one.merge(Failure("e", "failed", "k", "m", 3, 4.0, 5.5, ["b", "c", "d"]))
    assert one == Failure("e", "failed", "k", "m", 5, 4.0, 6.0, ["a", "b", "c"])
    assert one.fingerprint == "e|failed|k|m"


def test_failure_merge_refuses_another_kind() -> None:
    """Only failures of one fingerprint are one kind."""
    with pytest.raises(MeasureError):
        copy.deepcopy(FAILURE).merge(Failure("e", "failed", "k", "m", 1, 0.0, 0.0))
