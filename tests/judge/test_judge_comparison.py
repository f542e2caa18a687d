"""When a candidate is worse than its baseline: worked by hand, and laws that hold for all runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loadgate.judge.comparison import Comparison, Row, confirm, decide, schema
from loadgate.judge.effects import (
    Effect,
    Floors,
    Spread,
    effects_of_pairs,
    effects_of_runs,
    left_out,
)
from loadgate.judge.figures import STATISTICS, Figure, RunFigures
from loadgate.judge.likeness import Difference
from loadgate.judge.noise import Noise
from loadgate.judge.results import Grade

NOW = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "regression.md"
SPREAD = (-0.02, -0.01, 0.0, 0.01, 0.02)
"""Logs of five baseline runs: their variance is 0.00025, so s = 0.0158114."""
NONE = Floors(0.0, 0.0, 0.0)


def run(
    p95: float | None = 0.1,
    *,
    n: int = 10_000,
    errors: float = 0.0,
    throughput: float = 100.0,
    endpoint: str = "emotion",
    within: float | None = 0.0,
) -> RunFigures:
    """Return a run whose latencies are all the same number of seconds."""
    row = {name: Figure(p95, n, within) for name in ("p50", "p95", "p99", "mean")}
    row["error_rate"] = Figure(errors, n, 0.0)
    row["throughput"] = Figure(throughput, n, 0.0)
    return RunFigures("r", 60.0, {endpoint: row})


def runs(logs: Sequence[float] = SPREAD, scale: float = 0.1) -> list[RunFigures]:
    """Return runs whose latencies are e to these logs, times `scale` seconds."""
    return [run(scale * math.exp(log)) for log in logs]


def only(baseline: Sequence[RunFigures], candidate: Sequence[RunFigures], **more: Any) -> Effect:
    """Return the one effect of p95."""
    (effect,) = effects_of_runs(baseline, candidate, **{"statistics": ["p95"], **more})
    return effect


def cauchy(p: float, statistic: str = "p95", *, floor: float = 0.0) -> Effect:
    """Return an effect with this p-value: with one degree of freedom P(T > t) has a closed form."""
    distance = math.tan(math.pi * (0.5 - p))
    return Effect(
        "emotion", statistic, 0.1, 0.1, floor + distance, floor, spreads=(Spread(1.0, 1, "runs"),), n=1
    )


def by_name(rows: Sequence[Row]) -> Mapping[str, Row]:
    """Return rows by statistic."""
    return {row.effect.statistic: row for row in rows}


# ---- one effect, by hand


def test_an_effect_and_its_bounds_worked_by_hand() -> None:
    """e^0.3 times as slow: error s·√(1 + 1/5) = 0.0173205, t = 2.1318 with 4 degrees: at least 0.26308."""
    effect = only(runs(), runs([0.3]))
    spread = effect.spreads[0]
    assert effect.worsening == pytest.approx(0.3)
    assert (spread.source, spread.df, spread.error) == (
        "runs",
        4,
        pytest.approx(0.0158114 * math.sqrt(1.2), rel=1e-5),
    )
    assert effect.lower(0.05) == pytest.approx(0.3 - 2.13185 * 0.0173205, abs=1e-5)
    assert effect.upper(0.05) == pytest.approx(0.3 + 2.13185 * 0.0173205, abs=1e-5)


def test_the_floor_is_the_larger_of_share_and_milliseconds() -> None:
    """5 % of 100 ms is more than 1 ms; of 4 ms it is not: there it takes 5 ms."""
    assert only(runs(), runs([0.3])).floor == pytest.approx(math.log(1.05))
    assert only(runs(scale=0.004), runs([0.3], 0.004)).floor == pytest.approx(math.log(5 / 4))


def test_the_floor_is_the_same_both_ways() -> None:
    """The faster side decides: 1 ms more than 4 ms is a quarter, whichever side is the baseline."""
    there, back = only(runs(scale=0.004), runs([0.3], 0.004)), only(runs([0.3], 0.004), runs(scale=0.004))
    assert there.floor == back.floor == pytest.approx(math.log(5 / 4))


def test_an_error_rate_is_compared_by_its_difference() -> None:
    """0.1 points more is the floor where errors are rare; at 10 % it is 5 % of that."""
    rare = effects_of_runs([run()] * 5, [run(errors=0.02)], statistics=["error_rate"])[0]
    assert (rare.worsening, rare.floor) == (pytest.approx(0.02), 0.001)
    many = effects_of_runs([run(errors=0.1)] * 5, [run(errors=0.2)], statistics=["error_rate"])[0]
    assert (many.worsening, many.floor) == (pytest.approx(0.1), pytest.approx(0.005))


def test_less_throughput_is_worse() -> None:
    """100/s to 80/s is worse by ln(100/80)."""
    (effect,) = effects_of_runs([run()], [run(throughput=80.0)], statistics=["throughput"])
    assert effect.worsening == pytest.approx(math.log(100 / 80))


def test_four_runs_have_no_spread_and_five_have_one() -> None:
    """On either side; without it nothing can be tested."""
    assert only(runs()[:4], runs([0.3])).spreads == ()
    assert only(runs(), runs([0.3])).testable
    assert only(runs([0.3]), runs()).testable


def test_a_calibration_gives_a_single_run_its_spread() -> None:
    """One run against one: 0.02·√2, with the calibration's 5 degrees."""
    noise = {"emotion": {"p95": Noise(0.02, 5, None, 60.0, 0.1)}}
    effect = only(runs([0.0]), runs([0.3]), noise=noise)
    assert effect.spreads[0] == Spread(pytest.approx(0.02 * math.sqrt(2)), 5, "calibration")


def test_the_most_careful_spread_decides() -> None:
    """A calibration that is louder than the runs widens both bounds; a quieter one changes nothing."""
    loud = {"emotion": {"p95": Noise(0.1, 5, None, 60.0, 0.1)}}
    quiet = {"emotion": {"p95": Noise(0.001, 5, None, 60.0, 0.1)}}
    plain, loudly, quietly = (only(runs(), runs([0.3]), noise=noise) for noise in (None, loud, quiet))
    assert loudly.lower(0.05) == pytest.approx(0.3 - 2.01505 * 0.1 * math.sqrt(1.2), abs=1e-4)
    assert quietly.lower(0.05) == plain.lower(0.05)
    assert loudly.p_worse() > plain.p_worse() == quietly.p_worse()


def test_no_threshold_is_below_the_noise_floor() -> None:
    """Five runs against one differ by 0.1·√1.2 where nothing changed: more than the 5 % asked for."""
    noise = {"emotion": {"p95": Noise(0.1, 5, None, 60.0, 0.1)}}
    effect = only(runs(), runs([0.3]), noise=noise)
    assert (effect.floor, effect.floor_by) == (pytest.approx(0.1 * math.sqrt(1.2)), "noise")


def test_runs_that_agree_by_chance_are_not_free_of_noise() -> None:
    """Five equal runs have no variance, but each has some inside: 0.0004 · (1/5 + 1)."""
    same = [run(0.1, within=0.0004)] * 5
    inside = only(same, [run(0.2, within=0.0004)]).spreads[-1]
    assert (inside.source, inside.error) == ("inside", pytest.approx(math.sqrt(0.0004 * 1.2)))


def test_pairs_are_compared_by_their_differences() -> None:
    """A drift of both drops out: differences 0.1, 0.2 and 0.3 have a mean of 0.2 and an error of 0.1/√3."""
    drift = (0.0, 1.0, -1.0)
    pairs = [(runs([at])[0], runs([at + step])[0]) for at, step in zip(drift, (0.1, 0.2, 0.3), strict=True)]
    (effect,) = effects_of_pairs(pairs, statistics=["p95"])
    assert effect.worsening == pytest.approx(0.2)
    assert (effect.spreads[0].error, effect.spreads[0].df) == (pytest.approx(0.1 / math.sqrt(3)), 2)


def test_two_pairs_are_too_few() -> None:
    """INCONCLUSIVE, however large the difference is."""
    (effect,) = effects_of_pairs([(run(0.1), run(0.9))] * 2, statistics=["p95"])
    (row,) = decide([effect])
    assert (row.verdict, row.reason) == (Grade.INCONCLUSIVE, "2 pairs of runs are whole, and it takes 3")


# ---- many rows, by hand


def test_holms_levels_worked_by_hand() -> None:
    """p = 0.01, 0.04, 0.03 at 5 %: 0.01 < 0.05/3 is shown; 0.03 < 0.05/2 is not, nor is anything after it."""
    rows = decide([cauchy(0.01, "p50"), cauchy(0.04, "p95"), cauchy(0.03, "p99")])
    assert [row.shown for row in rows] == [True, False, False]
    assert [row.level for row in rows] == [pytest.approx(0.05 / 3), 0.025, 0.025]
    assert [row.p for row in rows] == [pytest.approx(p) for p in (0.01, 0.04, 0.03)]


def test_a_row_that_cannot_be_tested_takes_no_part_of_the_level() -> None:
    """One of two rows has no spread: the other is held against 5 %, not 2.5 %."""
    bare = Effect("emotion", "p95", 0.1, 0.1, 0.0, 0.05)
    rows = by_name(decide([cauchy(0.04, "p50"), bare]))
    assert rows["p50"].shown
    assert rows["p95"].level is None


# ---- grades


def graded(effect: Effect) -> Grade:
    """Return the grade of a row that stands alone."""
    return decide([effect])[0].verdict


def close(worsening: float, upper: float, floor: float = math.log(1.05), **more: Any) -> Effect:
    """Return an effect whose one-sided 95 % upper bound is `upper`: t = 6.3138 with one degree of freedom."""
    error = (upper - worsening) / 6.313752
    return Effect(
        "emotion",
        more.get("statistic", "p95"),
        0.1,
        0.1,
        worsening,
        floor,
        spreads=(Spread(error, 1, "runs"),),
    )


@pytest.mark.parametrize(
    ("worsening", "upper", "grade"),
    [
        (0.0, math.log(1.19), Grade.PASS),
        (0.0, math.log(1.21), Grade.WARN),
        (0.0, math.log(1.99), Grade.WARN),
        (0.0, math.log(2.01), Grade.INCONCLUSIVE),
        (math.log(1.06), math.log(1.19), Grade.INCONCLUSIVE),
        (-1.0, math.log(1.19), Grade.PASS),
    ],
)
def test_a_row_that_is_not_shown_to_be_worse_is_as_green_as_its_evidence(
    worsening: float, upper: float, grade: Grade
) -> None:
    """Up to 20 % PASS, up to twice WARN; what looks worse, or may be twice as bad, INCONCLUSIVE."""
    assert graded(close(worsening, upper)) is grade


@pytest.mark.parametrize(
    ("upper", "grade"), [(0.009, Grade.PASS), (0.011, Grade.WARN), (0.11, Grade.INCONCLUSIVE)]
)
def test_an_error_rate_has_limits_of_its_own(upper: float, grade: Grade) -> None:
    """One point, and ten points."""
    assert graded(close(0.0, upper, 0.001, statistic="error_rate")) is grade


def test_without_a_spread_nothing_passes_and_nothing_fails() -> None:
    """One run against one: what looks worse is INCONCLUSIVE, the rest WARN; both say what to do."""
    slow, same = (decide(effects_of_runs([run()], [run(p95)], statistics=["p95"]))[0] for p95 in (0.2, 0.1))
    assert (slow.verdict, same.verdict) == (Grade.INCONCLUSIVE, Grade.WARN)
    for row in (slow, same):
        assert (
            "promote at least 5 baseline runs, calibrate this machine, or compare with --interleave"
            in row.reason
        )


def test_what_is_shown_awaits_its_rerun() -> None:
    """It is INCONCLUSIVE at first, and listed."""
    comparison = Comparison("stored", "main@1", "r", decide([only(runs(), runs([0.3]))]))
    assert comparison.grade is Grade.INCONCLUSIVE
    assert [row.name for row in comparison.awaiting] == ["emotion p95"]
    assert comparison.exit_code(strict=False) == 31
    assert comparison.reasons[0].startswith("awaits its confirming rerun (emotion p95)")


# ---- the confirming rerun


def confirmed(first: float, second: float) -> Row:
    """Return the row of a candidate at e^first whose rerun is at e^second, against five runs."""
    one, other = (decide([only(runs(), runs([log]))]) for log in (first, second))
    (row,) = confirm(one, other)
    return row


def test_a_regression_that_the_rerun_shows_again_fails() -> None:
    """Both are far beyond the floor: exit 20."""
    row = confirmed(0.3, 0.3)
    assert row.verdict is Grade.FAIL
    assert Comparison("stored", "main@1", "r", (row,)).exit_code(strict=False) == 20


def test_beyond_the_floor_is_enough_for_the_rerun() -> None:
    """7 % is over the floor of 5 % and not shown by itself: it confirms, and could also be confirmed."""
    assert confirmed(0.3, 0.07).verdict is Grade.FAIL
    assert confirmed(0.07, 0.3).verdict is Grade.FAIL


def test_two_that_only_look_worse_do_not_fail() -> None:
    """Neither is shown."""
    assert confirmed(0.07, 0.07).verdict is Grade.INCONCLUSIVE


def test_a_regression_that_the_rerun_does_not_show_is_a_warning() -> None:
    """4 % is within the floor."""
    row = confirmed(0.3, 0.04)
    assert (row.verdict, row.change) == (Grade.WARN, "unclear")
    assert "not confirmed" in row.reason


def test_a_rerun_that_is_the_first_to_show_it_awaits_one_of_its_own() -> None:
    """The candidate itself was not beyond the floor."""
    row = confirmed(0.04, 0.3)
    assert (row.verdict, row.shown) == (Grade.INCONCLUSIVE, True)


def test_an_endpoint_that_is_missing_in_the_rerun_is_invalid() -> None:
    """Its row joins the others, and theirs have nothing to be confirmed by."""
    first = decide(effects_of_runs(runs(), runs([0.3]), statistics=["p95"]))
    second = decide(effects_of_runs(runs(), [run(endpoint="other")], statistics=["p95"]))
    grades = [row.verdict for row in confirm(first, second)]
    assert Grade.INVALID in grades
    assert Grade.FAIL not in grades


# ---- what cannot be compared


def rows_of(
    baseline: Sequence[RunFigures], candidate: Sequence[RunFigures], **more: Any
) -> Mapping[str, Row]:
    """Compare and decide."""
    return by_name(decide(effects_of_runs(baseline, candidate, **more)))


def test_no_error_against_no_error_is_no_change() -> None:
    """The binomial variance is not 0, so it is known how many there might be: here far under a point."""
    row = rows_of([run()] * 5, [run()])["error_rate"]
    assert (row.verdict, row.effect.worsening) == (Grade.PASS, 0.0)
    assert 0 < row.effect.upper(0.05) < 0.001


def test_no_error_in_few_requests_says_little() -> None:
    """Sixty requests a run: there may be more than a point of errors."""
    assert rows_of([run(n=60)] * 5, [run(n=60)])["error_rate"].verdict is Grade.WARN


@pytest.mark.parametrize("swapped", [False, True])
def test_an_endpoint_that_appears_or_disappears_is_invalid(swapped: bool) -> None:
    """Exit 30: there is nothing to compare it with."""
    both = RunFigures("r", 60.0, {**run().endpoints, **run(endpoint="creative").endpoints})
    sides = [[both] * 5, [run()]]
    if swapped:
        sides.reverse()
    rows = decide(effects_of_runs(*sides))
    comparison = Comparison("stored", "main@1", "r", rows)
    assert comparison.exit_code(strict=False) == 30
    (gone,) = [row for row in rows if row.effect.endpoint == "creative"]
    assert (gone.verdict, gone.effect.statistic) == (Grade.INVALID, "requests")


def test_no_endpoint_at_all_is_invalid() -> None:
    """No request against no request: exit 30, never green."""
    nothing = RunFigures("r", 60.0, {})
    comparison = Comparison("stored", "a", "b", decide(effects_of_runs([nothing] * 5, [nothing])))
    assert comparison.exit_code(strict=False) == 30
    assert comparison.reasons == ("there is no endpoint to compare: the runs had no steady requests",)


def test_infinitely_slow_on_one_side_is_worse_and_on_both_says_nothing() -> None:
    """Failures make a percentile infinite; infinite against infinite has no ratio."""
    endless = run(math.inf)
    assert rows_of(runs(), [endless])["p95"].shown
    assert rows_of([endless] * 5, runs([0.0]))["p95"].change == "better"
    both = rows_of([endless] * 5, [endless])["p95"]
    assert (both.verdict, both.reason) == (
        Grade.INCONCLUSIVE,
        "it is infinitely slow (failures) on both sides",
    )


def test_a_throughput_that_fell_to_nothing_is_worse() -> None:
    """And nothing against nothing is not green."""
    assert rows_of([run()] * 5, [run(throughput=0.0)])["throughput"].shown
    dead = run(throughput=0.0)
    assert rows_of([dead] * 5, [dead])["throughput"].verdict is Grade.INCONCLUSIVE


def test_some_runs_infinitely_slow_says_which() -> None:
    """A mean over them would be infinite too."""
    row = rows_of([*runs()[:4], run(math.inf)], runs([0.0]))["p95"]
    assert (row.verdict, row.reason) == (
        Grade.INCONCLUSIVE,
        "in 1 of 5 baseline runs it is infinitely slow (failures)",
    )


def test_a_statistic_that_the_baseline_cannot_support_is_left_out_and_told() -> None:
    """100 requests a run are enough for a p95 and not for a p99."""
    small = [run(n=100)] * 5
    assert "p99" not in rows_of(small, [run(n=100)])
    assert left_out(small) == (
        "emotion p99 is not compared: it takes 299 requests a run, and the baseline has 100",
    )


def test_a_statistic_that_was_asked_for_is_not_left_out() -> None:
    """It is INCONCLUSIVE instead."""
    rows = rows_of([run(n=100)] * 5, [run(n=100)], statistics=["p99"])
    assert rows["p99"].verdict is Grade.INCONCLUSIVE


def test_a_candidate_with_too_few_requests_is_not_left_out() -> None:
    """The baseline could show its p99; the candidate sent too little."""
    assert rows_of([run()] * 5, [run(n=100)])["p99"].verdict is Grade.INCONCLUSIVE


def test_an_endpoint_with_too_few_requests_for_anything_is_not_green() -> None:
    """The baseline's two requests support no latency; only statistics that need them were asked for."""
    rows = rows_of([run(n=2)] * 5, [run(n=2)], statistics=None)
    assert set(rows) == {"error_rate", "throughput"}
    assert rows["error_rate"].verdict is not Grade.PASS


def test_void_runs_leave_nothing_to_say() -> None:
    """INVALID whatever the rows are."""
    comparison = Comparison("stored", "a", "b", decide([only(runs(), runs([0.0]))]), faults=("b is void",))
    assert (comparison.grade, comparison.reasons[0]) == (Grade.INVALID, "nothing can be said: b is void")


def test_a_comparison_that_was_cut_short_never_passes() -> None:
    """And an interrupted one exits 130."""
    rows = decide([only(runs(), runs([0.0]))])
    cut = Comparison("interleaved", "A", "B", rows, cut="interrupted in block 2", interrupted=True)
    assert rows[0].verdict is Grade.PASS
    assert (cut.grade, cut.exit_code(strict=False)) == (Grade.INCONCLUSIVE, 130)
    assert Comparison("interleaved", "A", "B", (), cut="interrupted").grade is Grade.INCONCLUSIVE


def test_a_warning_exits_10_when_strict() -> None:
    """As a run's does."""
    warned = Comparison("stored", "a", "b", decide([only(runs([0.0]), runs([0.0]))]))
    assert (warned.exit_code(strict=False), warned.exit_code(strict=True)) == (0, 10)


# ---- laws

LOGS = st.floats(-0.3, 0.3)
SIDE = st.lists(LOGS, min_size=5, max_size=8)
CANDIDATE = st.lists(LOGS, min_size=1, max_size=8)


def changes(
    baseline: list[RunFigures], candidate: list[RunFigures], floors: Floors | None = None
) -> dict[str, str]:
    """Return what is said of each row."""
    rows = decide(effects_of_runs(baseline, candidate, floors=floors))
    return {row.effect.statistic: row.change for row in rows}


@given(SIDE)
def test_a_run_against_itself_is_never_a_regression(logs: list[float]) -> None:
    """Nothing is worse, and nothing looks worse."""
    mine = runs(logs)
    for row in decide(effects_of_runs(mine, mine)):
        assert row.change != "worse"
        assert not row.effect.beyond


@given(SIDE, CANDIDATE, st.floats(-1.0, 1.0))
def test_swapping_both_sides_swaps_better_and_worse(
    one: list[float], other: list[float], shift: float
) -> None:
    """And leaves the rest as it is."""
    baseline, candidate = runs(one), runs([log + shift for log in other])
    swap = {"worse": "better", "better": "worse"}
    there, back = changes(baseline, candidate), changes(candidate, baseline)
    unclear = {"alike", "unclear"}
    for statistic, said in there.items():
        assert back[statistic] == swap.get(said, back[statistic] if said in unclear else "")
        assert (back[statistic] in unclear) == (said in unclear)


@given(SIDE, CANDIDATE, st.floats(-1.0, 1.0), st.integers(-3, 3))
def test_scaling_both_sides_changes_nothing(
    one: list[float], other: list[float], shift: float, power: int
) -> None:
    """Only the ratio counts, once the floor in milliseconds is out of the way; powers of two are exact."""
    floors = Floors(0.05, 0.0, 0.001)
    shifted = [log + shift for log in other]
    plain = effects_of_runs(runs(one), runs(shifted), floors=floors)
    scaled = effects_of_runs(runs(one, 0.1 * 2**power), runs(shifted, 0.1 * 2**power), floors=floors)
    for a, b in zip(plain, scaled, strict=True):
        assert b.worsening == pytest.approx(a.worsening, abs=1e-9)
        assert b.lower(0.05) == pytest.approx(a.lower(0.05), abs=1e-9)
        assert b.floor == pytest.approx(a.floor)


def louder(logs: Sequence[float], factor: float) -> list[float]:
    """Return logs of the same mean that spread `factor` times as far."""
    mean = math.fsum(logs) / len(logs)
    return [mean + factor * (log - mean) for log in logs]


@settings(max_examples=200)
@given(SIDE, CANDIDATE, st.floats(0.0, 1.0), st.floats(1.0, 5.0))
def test_more_noise_never_shows_what_less_did_not(
    one: list[float], other: list[float], shift: float, factor: float
) -> None:
    """With the same means: INCONCLUSIVE never becomes worse, nor FAIL with any rerun."""
    moved = [log + shift for log in other]
    quiet = decide(effects_of_runs(runs(one), runs(moved), floors=Floors(0.05, 0.0)))
    loud = decide(
        effects_of_runs(runs(louder(one, factor)), runs(louder(moved, factor)), floors=Floors(0.05, 0.0))
    )
    for a, b in zip(quiet, loud, strict=True):
        assume(abs(a.effect.worsening - b.effect.worsening) < 1e-9)
        if a.p is not None and a.level is not None and abs(a.p - a.level) > 1e-9:
            assert a.shown or not b.shown


@settings(max_examples=200)
@given(SIDE, CANDIDATE, st.floats(0.0, 1.0), st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_a_louder_calibration_never_shows_what_a_quieter_did_not(
    one: list[float], other: list[float], shift: float, quiet: float, more: float
) -> None:
    """It widens the bounds and raises the floor."""
    moved = runs([log + shift for log in other])
    found = []
    for total in (quiet, quiet + more):
        noise = {"emotion": {name: Noise(total, 5, None, 60.0, 0.1) for name in STATISTICS}}
        found.append(decide(effects_of_runs(runs(one), moved, noise=noise)))
    for a, b in zip(*found, strict=True):
        assert a.shown or not b.shown


@given(SIDE, CANDIDATE, st.floats(-1.0, 1.0), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_a_higher_floor_never_shows_what_a_lower_did_not(
    one: list[float], other: list[float], shift: float, low: float, more: float
) -> None:
    """The set of rows that are worse only shrinks."""
    moved = runs([log + shift for log in other])
    lower, higher = (changes(runs(one), moved, Floors(at, 0.0)) for at in (low, low + more))
    worse = [{name for name, said in found.items() if said == "worse"} for found in (lower, higher)]
    assert worse[1] <= worse[0]


@given(st.lists(st.floats(1e-6, 0.999999), min_size=1, max_size=20))
def test_holms_rows_are_those_of_the_textbook(values: list[float]) -> None:
    """Rejected are the k smallest, with k the longest beginning that stays under alpha / (m - i)."""
    rows = decide([cauchy(p) for p in values])
    ordered = sorted(values)
    k = next((i for i, p in enumerate(ordered) if p >= 0.05 / (len(ordered) - i)), len(ordered))
    assume(all(abs(p - 0.05 / (len(ordered) - i)) > 1e-9 for i, p in enumerate(ordered)))
    expected = set(ordered[:k])
    assert [row.shown for row in rows] == [p in expected for p in values]


@given(SIDE, CANDIDATE, st.floats(-1.0, 1.0))
def test_shown_means_that_the_bound_excludes_the_floor(
    one: list[float], other: list[float], shift: float
) -> None:
    """The two ways to say it are the same."""
    for row in decide(effects_of_runs(runs(one), runs([log + shift for log in other]), floors=NONE)):
        if row.shown:
            assert row.level is not None
            assert row.effect.lower(row.level) > row.effect.floor - 1e-9


# ---- comparison.json


def comparisons() -> list[Comparison]:
    """Return comparisons of every kind."""
    shown, again = (decide(effects_of_runs(runs(), runs([0.3]))) for _ in range(2))
    facts = {
        "baseline": None,
        "calibration": None,
        "floors": {"relative": 0.05, "seconds": 0.001, "errors": 0.001},
    }
    facts["statistics"] = None
    noise = {"emotion": {"p95": Noise(0.1, 5, None, 60.0, 0.1)}}
    broken = [run(math.inf, errors=0.5, throughput=0.0)]
    return [
        Comparison("stored", "main@1", "r", rows, facts=facts, **more)
        for rows, more in (
            (shown, {}),
            (confirm(shown, again), {"confirming_runs": ("s",)}),
            (decide(effects_of_runs(runs(), broken, noise=noise)), {}),
            (decide(effects_of_runs([run()], [run(endpoint="other")])), {}),
            ((), {"faults": ("b is void",), "overruled": (Difference("workers", "1", "2"),), "forced": True}),
            ((), {"cut": "interrupted", "interrupted": True}),
        )
    ]


@pytest.mark.parametrize("comparison", comparisons())
def test_what_is_written_keeps_to_its_schema(comparison: Comparison) -> None:
    """Every kind of comparison, as JSON that holds no NaN and no infinity."""
    content = comparison.to_dict(strict=False, now=NOW)
    jsonschema.validate(json.loads(json.dumps(content, allow_nan=False)), schema())


def test_a_row_is_written_in_the_units_of_people() -> None:
    """Milliseconds; changes as shares: e^0.3 is 34.99 % more, 100 ms to 135 ms."""
    comparison = Comparison("stored", "main@1", "r", decide([only(runs(), runs([0.3]))]))
    (row,) = comparison.to_dict(strict=False, now=NOW)["rows"]
    assert (row["unit"], row["baseline"], row["candidate"]) == (
        "ms",
        pytest.approx(100),
        pytest.approx(134.986, abs=1e-3),
    )
    assert row["change"] == pytest.approx(math.exp(0.3) - 1)
    assert row["interval"] == [
        pytest.approx(math.exp(0.3 + sign * 2.13185 * 0.0173205) - 1, abs=1e-4) for sign in (-1, 1)
    ]
    assert row["floor"] == pytest.approx(0.05)


def test_less_throughput_is_written_as_less() -> None:
    """100/s to 80/s is a change of -20 %, its lower bound first."""
    rows = decide(effects_of_runs([run()] * 5, [run(throughput=80.0)], statistics=["throughput"]))
    (row,) = Comparison("stored", "a", "b", rows).to_dict(strict=False, now=NOW)["rows"]
    assert row["change"] == pytest.approx(-0.2)
    assert row["interval"][0] <= row["change"] <= row["interval"][1]


def test_the_page_lists_every_key() -> None:
    """Of comparison.json and of its rows, and no other."""
    page = PAGE.read_text(encoding="utf-8").split("## Keys of comparison.json", 1)[1]
    top, rows = page.split("Each row of `rows`", 1)

    def keys(text: str) -> set[str]:
        cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}

    assert keys(top) == set(schema()["properties"])
    assert keys(rows) == set(schema()["properties"]["rows"]["items"]["properties"])
