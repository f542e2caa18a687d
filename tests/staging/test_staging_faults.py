"""Faults: how they are written, whom they cover, what they decide, without any I/O."""

from __future__ import annotations

import pytest

from loadgate.errors import UsageError
from loadgate.staging.faults import Decision, FaultBoard, parse_fault, split_spec


def board(*faults: dict[str, object], now: float = 0.0) -> FaultBoard:
    """Make a board with `faults` switched on at `now`."""
    made = FaultBoard(seed=7)
    for fault in faults:
        made.add(fault, now)
    return made


def test_no_faults_decide_nothing():
    """A service without faults is left alone."""
    assert board().decide("emotion") == Decision()


def test_fixed_latency_covers_the_traffic_unless_told():
    """50 ms for a traffic endpoint, none for health."""
    faults = board({"kind": "latency", "delay": "50ms"})
    assert faults.decide("emotion").delay == 0.05
    assert faults.decide("health").delay == 0


def test_latencies_of_two_faults_add_up_where_both_cover():
    """50 ms for all and 20 ms for creative."""
    faults = board(
        {"kind": "latency", "delay": "50ms", "endpoint": "all"},
        {"kind": "latency", "delay": "20ms", "endpoint": "creative"},
    )
    assert faults.decide("creative").delay == pytest.approx(0.07)
    assert faults.decide("health").delay == 0.05


def test_lognormal_latency_has_its_delay_as_the_median():
    """About half of many draws lie under the median, and they differ."""
    faults = board({"kind": "latency", "delay": "100ms", "sigma": 0.5})
    draws = [faults.decide("emotion").delay for _ in range(2000)]
    assert 900 < sum(draw < 0.1 for draw in draws) < 1100
    assert len(set(draws)) > 1990


def test_shares_of_damages_do_not_overlap():
    """10 % of 500 and 10 % of reset damage 20 % of the requests, half each."""
    faults = board(
        {"kind": "error", "status": 500, "share": 0.1},
        {"kind": "reset", "share": "10%"},
    )
    damages = [faults.decide("emotion").damage for _ in range(10_000)]
    assert 850 < damages.count("error") < 1150
    assert 850 < damages.count("reset") < 1150
    assert damages.count("") == 10_000 - damages.count("error") - damages.count("reset")


def test_the_same_seed_decides_the_same():
    """Runs can be repeated."""
    fault = {"kind": "error", "share": 0.5}
    assert [board(fault).decide("emotion") for _ in range(3)] == [board(fault).decide("emotion")] * 3


@pytest.mark.parametrize(
    ("due", "leaves"),
    [
        (100.0, 100.0),  # it begins only after its first period
        (109.9, 109.9),
        (110.0, 112.0),
        (111.5, 112.0),
        (112.0, 112.0),
        (115.0, 115.0),
        (121.0, 122.0),
    ],
)
def test_a_stall_holds_answers_until_its_end(due: float, leaves: float):
    """Switched on at 100, every 10 s for 2 s: silent in 110..112, 120..122 and so on."""
    faults = board({"kind": "stall", "every": "10s", "for": "2s"}, now=100.0)
    assert faults.release("health", due) == pytest.approx(leaves)


def test_a_shutdown_comes_due_after_its_time():
    """After 5 s from when it was asked for."""
    faults = board({"kind": "shutdown", "after": "5s"}, now=10.0)
    assert not faults.shutdown_due(14.9)
    assert faults.shutdown_due(15.0)


def test_faults_are_cleared_by_kind_number_or_all():
    """Each clearing says how many went."""
    faults = board(
        {"kind": "error"}, {"kind": "error", "status": 503}, {"kind": "drip"}, {"kind": "cache_off"}
    )
    assert faults.clear(number=1) == 1
    assert faults.clear(kind="error") == 1
    assert [fault.kind for fault in faults.faults] == ["drip", "cache_off"]
    assert faults.clear() == 2


def test_the_cache_can_be_off_for_one_endpoint():
    """Others keep theirs."""
    faults = board({"kind": "cache_off", "endpoint": "creative"})
    assert faults.cache_is_off("creative")
    assert not faults.cache_is_off("emotion")


def test_a_spec_of_the_command_line_says_the_same_as_json():
    """`kind:key=value,...` gives the values of the JSON object."""
    fault = parse_fault(split_spec("error:status=503,share=1%,endpoint=reasoning"), 1, 0.0)
    assert fault.to_dict() == {
        "id": 1,
        "kind": "error",
        "endpoint": "reasoning",
        "status": 503,
        "share": 0.01,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "slow"}, "unknown fault kind 'slow'"),
        ({}, "unknown fault kind ''"),
        ({"kind": "latency"}, "fault latency: `delay` is missing"),
        ({"kind": "latency", "delay": "0s"}, "fault latency: `delay`: 0s is not a time above zero"),
        (
            {"kind": "error", "status": "200"},
            "fault error: `status`: 200 is not an error status (400 to 599)",
        ),
        (
            {"kind": "error", "share": 2},
            "fault error: `share`: 2 is not a share above 0 and up to 1 (or 100%)",
        ),
        ({"kind": "error", "shares": 1}, "fault error: unknown key `shares`"),
        ({"kind": "error", "endpoint": "x"}, "fault error: unknown endpoint 'x'"),
        ({"kind": "leak", "rate": "1MB", "endpoint": "emotion"}, "fault leak is of the whole process"),
        ({"kind": "stall", "every": "1s", "for": "1s"}, "fault stall: `for` must be shorter than `every`"),
    ],
)
def test_a_wrong_fault_is_refused_with_its_key(values: dict[str, object], message: str):
    """The message names the fault and the key, and there is a hint."""
    with pytest.raises(UsageError) as refusal:
        parse_fault(values, 1, 0.0)
    assert refusal.value.message == message
    assert refusal.value.hint


def test_a_number_without_its_unit_is_refused():
    """50 could be milliseconds or seconds."""
    with pytest.raises(UsageError, match="`delay`"):
        parse_fault({"kind": "latency", "delay": 50}, 1, 0.0)
