"""The alert engine on windows and readings: which number each rule compares, and that pieces never matter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from alert_series import plan, told, window
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.window import Window
from loadgate.plan.plan import Plan
from loadgate.store.watch import AlertChange, Reading
from loadgate.watch.alerts import AlertWatch, Batch, in_order

MADE = st.sampled_from(["fast", "slow", "failing", "cold", "none", "few"])


def whole(made: Plan, windows: list[Window], readings: tuple[Reading, ...] = (), end: float = 600.0) -> Any:
    """Return the engine after all of a series, and what it said."""
    watch = AlertWatch(made.alerts, made.timeline)
    probed = dict.fromkeys(watch.probes, end)
    changes = watch.advance(Batch(end, windows, range(int(end)), probed, readings))
    return watch, changes


def reading(at: float, value: float | None, name: str = "health.up") -> Reading:
    """Return one reading of a probe."""
    probe, _, of = name.partition(".")
    return Reading(at, probe, of, value, "" if value is not None else "no answer", 0.01)


def test_a_percentile_is_that_of_the_merged_window() -> None:
    """94 fast and 6 slow requests in 10 s: the p95 is slow, though nine of its seconds are all fast."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"})
    windows = [window(second, 20.0, ok=10) for second in range(9)] + [
        window(9, 300.0, ok=6),
        window(9, 20.0, ok=4),
    ]
    _, (change,) = whole(made, windows, end=10.0)
    assert (change.at, change.state) == (10.0, "firing")
    assert change.value == pytest.approx(0.3, rel=1e-3)


def test_failed_requests_count_as_infinitely_slow() -> None:
    """Half of them failed: the p95 is infinite, which is written as no value and said in words."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"})
    _, (change,) = whole(made, [window(0, ok=5, failed=5)], end=10.0)
    assert change.value is None
    assert change.detail["infinite"] is True
    assert "infinitely slow" in change.detail["text"]


def test_a_percentile_at_its_limit_is_decided_by_exact_counts() -> None:
    """A p95 of just 200 ms is not over 200 ms, though its counter reaches to 200.063 ms."""
    made = plan({"name": "slow", "when": "sla: emotion.response_time > alert"})
    exact = window(0, 200.0)
    exact.over = {"response.ok>200000": 0}
    assert whole(made, [exact], end=10.0)[1] == []
    assert told(whole(made, [window(0, 200.0)], end=10.0)[1]) == [(10.0, "slow", "firing")]


def test_other_endpoints_do_not_count() -> None:
    """A rule of emotion does not see that creative is slow."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"})
    assert whole(made, [window(0, 900.0, endpoint="creative")], end=10.0)[1] == []


def test_the_error_rate_leaves_out_what_the_generator_lost() -> None:
    """Of 100 arrivals 2 failed and 60 were lost with a worker: 2 of 40 are errors that are known."""
    made = plan({"name": "errors", "when": "error_rate > 1%"})
    _, (change,) = whole(made, [window(0, ok=38, failed=2, lost=60)], end=10.0)
    assert change.value == pytest.approx(2 / 40)
    assert whole(made, [window(0, ok=40, lost=60, unsent_generator=7)], end=10.0)[1] == []


def test_the_cache_hit_rate_is_of_repeated_texts() -> None:
    """2 of 10 repeated texts came from the cache."""
    made = plan({"name": "cold", "when": "cache_hit_rate < 30%"})
    _, (change,) = whole(made, [window(0, repeat_hits=2, repeat_misses=8, misses=90)], end=10.0)
    assert change.value == pytest.approx(0.2)


def test_throughput_is_ok_answers_per_reported_second() -> None:
    """Ten seconds of which eight were told of, 10 ok answers in each of five: 50 / 8 per second."""
    made = plan({"name": "low", "when": "throughput < 20/s"})
    watch = AlertWatch(made.alerts, made.timeline)
    windows = [window(second, ok=10) for second in range(5)]
    (change,) = watch.advance(Batch(10.0, windows, range(8)))
    assert change.value == pytest.approx(50 / 8)


def test_a_target_that_answers_nothing_has_a_throughput_of_0() -> None:
    """Workers report and no answer comes: that is data. Nobody reports: that is none."""
    made = plan({"name": "low", "when": "throughput < 20/s"})
    watch = AlertWatch(made.alerts, made.timeline)
    (change,) = watch.advance(Batch(20.0, (), range(10)))
    assert (change.at, change.value) == (10.0, 0.0)


def test_only_the_steady_phase_counts_for_requests() -> None:
    """A slow ramp fires nothing; a request that was due in it and ended after it belongs to it."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"}, ramp=20.0)
    windows = [window(second, 900.0, phase="ramp") for second in range(25)]
    assert whole(made, windows, end=60.0)[1] == []


def test_other_phases_count_where_the_rule_says_so() -> None:
    """The ramp lasts 20 s."""
    made = plan(
        {"name": "slow", "when": "emotion.response_time > 200ms", "phases": ["ramp", "steady"]}, ramp=20.0
    )
    windows = [window(second, 900.0, phase="ramp") for second in range(20)]
    assert told(whole(made, windows, end=20.0)[1]) == [(10.0, "slow", "firing")]


def test_timers_count_only_the_seconds_that_a_rule_looks_at() -> None:
    """The ramp ends at 15 s: 5 s of the window to 20 s and the one to 30 s make up the 10 s of `for`."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms", "for": 10.0}, ramp=15.0)
    windows = [window(second, 900.0) for second in range(15, 60)]
    _, changes = whole(made, windows, end=60.0)
    assert told(changes) == [(20.0, "slow", "pending"), (30.0, "slow", "firing")]
    assert changes[1].detail["since"] == 10.0


@pytest.mark.parametrize("exclude", ["first 20s", "0s..20s", "last 590s"])
def test_excluded_times_do_not_count(exclude: str) -> None:
    """Slow from 0 to 20 s, or for nearly all of the ten minutes."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms", "exclude": [exclude]})
    windows = [window(second, 900.0 if 10 <= second < 20 else 20.0) for second in range(60)]
    assert whole(made, windows, end=60.0)[1] == []


def test_requests_that_end_after_their_phase_still_count() -> None:
    """The load stops at 600 s; what was due before and fails in the drain is seen."""
    made = plan({"name": "errors", "when": "error_rate > 1%"})
    windows = [window(second) for second in range(600)] + [window(615, ok=0, failed=3)]
    assert told(whole(made, windows, end=620.0)[1]) == [(620.0, "errors", "firing")]


def test_a_reading_below_its_limit_fires_for_as_long_as_for() -> None:
    """Down at 20, 30 and 40 s: it fires at 50 s; the good reading of 50 s ends it at 60 s."""
    made = plan({"name": "down", "when": "health.up < 1", "for": 30.0})
    readings = tuple(reading(at, 0.0 if 20 <= at < 50 else 1.0) for at in np.arange(0.0, 100.0, 10.0))
    _, changes = whole(made, [], readings, end=100.0)
    assert told(changes) == [(30.0, "down", "pending"), (50.0, "down", "firing"), (60.0, "down", "resolved")]


def test_a_reading_without_a_value_is_no_data() -> None:
    """The process cannot be read for a while: the alert goes on until a reading is good again."""
    made = plan({"name": "memory", "when": "process.memory > 1GB"})
    values = [2e9, None, None, 0.5e9]
    readings = tuple(reading(10.0 * k, value, "process.memory") for k, value in enumerate(values))
    assert told(whole(made, [], readings, end=40.0)[1]) == [
        (10.0, "memory", "firing"),
        (40.0, "memory", "resolved"),
    ]


def test_readings_count_in_every_phase() -> None:
    """A service that is down is down, whatever the load does."""
    made = plan({"name": "down", "when": "health.up < 1"}, ramp=60.0)
    assert told(whole(made, [], (reading(0.0, 0.0),), end=10.0)[1]) == [(10.0, "down", "firing")]


def test_the_worst_reading_of_a_window_counts() -> None:
    """The highest where high is bad, the lowest where low is."""
    made = plan(
        {"name": "memory", "when": "process.memory > 1GB", "every": 20.0},
        {"name": "down", "when": "health.up < 1", "every": 20.0},
    )
    readings = (
        reading(0.0, 2e9, "process.memory"),
        reading(10.0, 1e8, "process.memory"),
        reading(0.0, 1.0),
        reading(10.0, 0.0),
    )
    _, changes = whole(made, [], readings, end=20.0)
    assert [(change.rule, change.value) for change in changes] == [("memory", 2e9), ("down", 0.0)]


def test_cpu_of_the_machine_is_divided_by_its_cores() -> None:
    """Three of four cores in use are 75 %; of one core they are 300 %."""
    readings = (reading(0.0, 3.0, "process.cpu"), reading(0.0, 4.0, "process.cores"))
    rule = {"name": "cpu", "when": "cpu > 70%"}
    _, (change,) = whole(plan(rule, verdict={"cpu_of": "machine"}), [], readings, end=10.0)
    assert change.value == pytest.approx(0.75)
    _, (change,) = whole(plan(rule), [], readings, end=10.0)
    assert change.value == pytest.approx(3.0)


def test_uptime_is_the_share_of_good_readings() -> None:
    """One bad of three in half a minute."""
    made = plan({"name": "uptime", "when": "uptime < 95%", "every": 30.0})
    _, (change,) = whole(made, [], (reading(0.0, 1.0), reading(10.0, 0.0), reading(20.0, 1.0)), end=30.0)
    assert change.value == pytest.approx(2 / 3)


def test_few_requests_are_no_data_where_the_rule_says_so() -> None:
    """19 slow ones say nothing of a rule that wants 20."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms", "at_least": 20})
    assert whole(made, [window(0, 900.0, ok=19)], end=10.0)[1] == []
    assert len(whole(made, [window(0, 900.0, ok=20)], end=10.0)[1]) == 1


def test_what_is_written_says_all_of_it() -> None:
    """Value, limit, unit, window, cause and actions, as others rely on them."""
    entry = {"name": "slow", "when": "emotion.response_time > 200ms", "severity": "critical"}
    made = plan(
        {**entry, "on_fire": ["stop-load", "disable-endpoint /api/v1/emotions/analyze"], "summary": "S"}
    )
    _, (change,) = whole(made, [window(second, 300.0) for second in range(10)], end=10.0)
    assert (change.rule, change.severity, change.state, change.at) == ("slow", "critical", "firing", 10.0)
    assert change.detail == {
        "limit": 0.2,
        "unit": "ms",
        "metric": "emotion response_time p95",
        "window": [0.0, 10.0],
        "since": 0.0,
        "because": "threshold",
        "text": (
            "emotion response_time p95 is 300.031ms from run time 0s to 10s "
            "(> 200ms fires), violated since 0s"
        ),
        "on_fire": ["stop-load", "disable-endpoint /api/v1/emotions/analyze"],
        "n": 100,
        "summary": "S",
    }


def test_no_data_that_fires_says_so() -> None:
    """The cause is the silence, and there is no value."""
    made = plan({"name": "down", "when": "health.up < 1", "no_data": "fire"})
    _, (change,) = whole(made, [], end=10.0)
    assert (change.value, change.detail["because"]) == (None, "no_data")
    assert "there is no data of health.up" in change.detail["text"]


def test_a_late_window_changes_nothing_that_was_said() -> None:
    """It is counted, and the rule stands as it stood."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"})
    watch = AlertWatch(made.alerts, made.timeline)
    assert watch.advance(Batch(10.0, [window(0)])) == []
    assert watch.advance(Batch(20.0, [window(5, 900.0), window(12)])) == []
    assert watch.late == 1


def test_a_merged_window_that_cannot_be_cut_says_nothing() -> None:
    """One of 60 s says nothing of 10 s, which is noted and is no silence; one of 5 s does."""
    made = plan({"name": "errors", "when": "error_rate > 1%", "no_data": "fire"})
    watch = AlertWatch(made.alerts, made.timeline)
    assert watch.advance(Batch(60.0, [Window(0, 60, "emotion", "steady", {"ok": 1})])) == []
    assert watch.unread == {"errors": [(0.0, 60.0)]}
    fits = Window(5, 5, "emotion", "steady", {"failed": 1})
    assert len(AlertWatch(made.alerts, made.timeline).advance(Batch(10.0, [fits]))) == 1


def test_the_last_window_of_a_run_counts_from_half_of_it_on() -> None:
    """A run that ended at 16 s: the window from 10 s on has 6 of its 10 s."""
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"}, hold=16.0)
    watch = AlertWatch(made.alerts, made.timeline)
    windows = [window(second, 20.0 if second < 10 else 900.0) for second in range(16)]
    assert watch.advance(Batch(16.0, windows)) == []
    assert told(watch.finish(16.0)) == [(16.0, "slow", "firing")]


def test_a_shorter_rest_does_not_count_unless_it_is_all() -> None:
    """4 s of 10 do not; a run of 4 s has no other window."""
    slow = [window(second, 900.0) for second in range(10, 14)]
    made = plan({"name": "slow", "when": "emotion.response_time > 200ms"}, hold=14.0)
    watch = AlertWatch(made.alerts, made.timeline)
    watch.advance(Batch(14.0, [window(second) for second in range(10)] + slow))
    assert watch.finish(14.0) == []
    short = plan({"name": "slow", "when": "emotion.response_time > 200ms"}, hold=4.0)
    watch = AlertWatch(short.alerts, short.timeline)
    watch.advance(Batch(4.0, [window(second, 900.0) for second in range(4)]))
    assert told(watch.finish(4.0)) == [(4.0, "slow", "firing")]


# ---- burn rates


WEEK = 604_800.0


def burning(share: float, start: int, end: int, span: int = 10) -> list[Window]:
    """Return windows of 10,000 requests of which a share fails."""
    failed = round(10_000 * share)
    counts = {"ok": 10_000 - failed, "failed": failed}
    return [Window(at, span, "emotion", "steady", dict(counts)) for at in range(start, end, span)]


def burn_plan(**more: Any) -> Plan:
    """Return a week with a budget of 0.1 % and one pair of windows: 14.4 times over 840 s and 70 s."""
    burn = {"objective": "error_rate", "windows": ["fast"]}
    return plan({"name": "burn", "burn": burn, "every": 10.0, **more}, hold=WEEK)


def test_a_burn_fires_once_its_share_of_the_budget_is_gone() -> None:
    """2 % of a week's budget: at 28.8 times the rate that takes half of the 840 s, 420 s."""
    windows = burning(0.0, 0, 2000) + burning(0.0288, 2000, 2600)
    _, changes = whole(burn_plan(), windows, end=2600.0)
    assert told(changes) == [(2420.0, "burn", "firing")]
    assert changes[0].value == pytest.approx(14.4)
    assert changes[0].detail["limit"] == 14.4
    assert changes[0].detail["because"] == "burn"


def test_a_burn_below_its_factor_never_fires() -> None:
    """14 times for ever is under 14.4 times."""
    assert whole(burn_plan(), burning(0.014, 0, 5000), end=5000.0)[1] == []


def test_a_burn_is_over_soon_after_its_cause() -> None:
    """The short window of 70 s is clean again long before the long one is."""
    windows = burning(0.0, 0, 1000) + burning(0.0288, 1000, 2000) + burning(0.0, 2000, 2200)
    _, changes = whole(burn_plan(), windows, end=2200.0)
    assert [change.state for change in changes] == ["firing", "resolved"]
    assert changes[1].at == 2040.0  # 4 of 7 tens of seconds at 28.8: 16.5; 3 of 7: 12.3


def test_the_beginning_of_a_run_is_no_whole_window() -> None:
    """All requests of its first 10 s fail: 1000 times over 10 of 840 s is 11.9 times, not 1000."""
    assert whole(burn_plan(), burning(1.0, 0, 10), end=10.0)[1] == []
    assert told(whole(burn_plan(), burning(1.0, 0, 20), end=20.0)[1]) == [(20.0, "burn", "firing")]


def test_a_gap_in_a_burn_neither_fires_nor_resolves() -> None:
    """Half an hour without data."""
    windows = burning(0.0288, 0, 1000)
    _, changes = whole(burn_plan(), windows, end=3000.0)
    assert [change.state for change in changes] == ["firing"]


def test_a_burn_of_slow_requests_counts_those_over_the_target() -> None:
    """The budget of a p95 is 5 %: with every request slow it burns 20 times, and 14.4 times is the limit."""
    burn = {"objective": "emotion.response_time", "windows": ["fast"]}
    made = plan({"name": "burn", "burn": burn, "every": 10.0}, hold=86_400.0)
    windows = [window(second, 60.0) for second in range(120)]
    _, changes = whole(made, windows, end=120.0)
    # Over 120 s: 87 s of all requests slow are 20 * 87 / 120 = 14.5 times, worked out at 90 s.
    assert told(changes) == [(90.0, "burn", "firing")]


# ---- pieces


ENTRIES = (
    {"name": "slow", "when": "emotion.response_time > 200ms", "for": 20.0, "keep_firing_for": 10.0},
    {"name": "errors", "when": "error_rate > 1%", "every": 7.0, "flaps": "2 in 1m"},
    {"name": "cold", "when": "cache_hit_rate < 30%", "no_data": "fire", "exclude": ["30s..45s"]},
    {"name": "low", "when": "throughput < 5/s", "every": 5.0},
    {"name": "down", "when": "health.up < 1", "for": 20.0, "no_data": "fire"},
    {"name": "memory", "when": "process.memory > 1GB", "clear": "< 900MB"},
)
LENGTH = 120


def seconds_of(kinds: list[str]) -> list[Window]:
    """Return a window for each kind of second."""
    made = {
        "fast": lambda at: window(at, repeat_hits=8, repeat_misses=2),
        "slow": lambda at: window(at, 900.0, repeat_hits=8, repeat_misses=2),
        "failing": lambda at: window(at, ok=6, failed=4),
        "cold": lambda at: window(at, repeat_misses=9, repeat_hits=1),
        "few": lambda at: window(at, ok=1),
    }
    return [made[kind](at) for at, kind in enumerate(kinds) if kind != "none"]


@st.composite
def series(draw: st.DrawFn) -> tuple[list[Window], list[Reading], list[int]]:
    """Give two minutes of windows and readings, in stretches of one kind, and where to cut them."""
    kinds: list[str] = []
    while len(kinds) < LENGTH:
        kinds += [draw(MADE)] * draw(st.integers(1, 30))
    ups = draw(st.lists(st.sampled_from([1.0, 0.0, None]), min_size=12, max_size=12))
    sizes = draw(st.lists(st.sampled_from([5e8, 9.5e8, 2e9, None]), min_size=12, max_size=12))
    readings = [reading(10.0 * k, value) for k, value in enumerate(ups) if value is not None]
    readings += [reading(10.0 * k, value, "process.memory") for k, value in enumerate(sizes)]
    cuts = draw(st.lists(st.integers(1, LENGTH - 1), max_size=8))
    return seconds_of(kinds[:LENGTH]), sorted(readings, key=lambda one: one.at), sorted(cuts)


def in_pieces(
    made: Plan, windows: list[Window], readings: list[Reading], cuts: list[int], *, restart: bool
) -> list[AlertChange]:
    """Give a series in pieces; with `restart` to a new engine each time, with what the last one stored."""
    watch, changes, at = AlertWatch(made.alerts, made.timeline), list[AlertChange](), 0
    for end in [*cuts, LENGTH]:
        since, wanted = float(at), dict.fromkeys(watch.probes, float(at))
        if restart:
            stored = orjson.loads(orjson.dumps(watch.to_dict()))
            watch = AlertWatch(made.alerts, made.timeline)
            watch.restore(stored)
            since, wanted = watch.since, {name: watch.wanted_of(name) for name in watch.probes}
        piece = Batch(
            float(end),
            [one for one in windows if since <= one.second < end],
            range(math.floor(since), end),
            dict.fromkeys(watch.probes, float(end)),
            [one for one in readings if wanted[one.probe] <= one.at < end],
        )
        changes += watch.advance(piece)
        at = end
    return in_order(changes, made.alerts)


@settings(deadline=None, max_examples=60)
@given(series())
def test_pieces_never_matter(drawn: tuple[list[Window], list[Reading], list[int]]) -> None:
    """A law: in any pieces the changes are those of the whole."""
    windows, readings, cuts = drawn
    made = plan(*ENTRIES)
    _, changes = whole(made, windows, tuple(readings), end=float(LENGTH))
    assert in_pieces(made, windows, readings, cuts, restart=False) == changes


@settings(deadline=None, max_examples=60)
@given(series())
def test_restarts_never_matter(drawn: tuple[list[Window], list[Reading], list[int]]) -> None:
    """A law: stopped anywhere, also in the middle of a `for`, and started again, it says the same."""
    windows, readings, cuts = drawn
    made = plan(*ENTRIES)
    _, changes = whole(made, windows, tuple(readings), end=float(LENGTH))
    assert in_pieces(made, windows, readings, cuts, restart=True) == changes


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 0.2), min_size=40, max_size=40), st.lists(st.integers(1, 119), max_size=5))
def test_restarts_never_matter_to_a_burn(shares: list[float], cuts: list[int]) -> None:
    """A law: the counts of the long window are stored too."""
    made = burn_plan()
    windows = [one for at, share in enumerate(shares) for one in burning(share, at * 3, at * 3 + 3, 1)]
    _, changes = whole(made, windows, end=float(LENGTH))
    assert in_pieces(made, windows, [], sorted(cuts), restart=True) == changes


def test_a_state_of_other_rules_is_refused() -> None:
    """It would mean something else."""
    one, other = plan(ENTRIES[0]), plan(ENTRIES[1])
    stored = AlertWatch(one.alerts, one.timeline).to_dict()
    with pytest.raises(StoreError, match="not of these alert rules"):
        AlertWatch(other.alerts, other.timeline).restore(stored)


def test_memory_does_not_grow_with_the_run() -> None:
    """After an hour only the open windows are kept: the stored state is as small as after a minute."""
    made = plan(*ENTRIES, hold=4000.0)
    watch = AlertWatch(made.alerts, made.timeline)
    sizes = []
    for minute in range(60):
        start = minute * 60
        windows = [window(second) for second in range(start, start + 60)]
        watch.advance(
            Batch(start + 60.0, windows, range(start, start + 60), dict.fromkeys(watch.probes, start + 60.0))
        )
        sizes.append(len(orjson.dumps(watch.to_dict())))
    assert max(sizes) < sizes[0] + 200
    assert all(len(one._buckets) <= 1 for one in watch._requests.values())
