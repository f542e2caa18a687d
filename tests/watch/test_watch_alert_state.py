"""The states of an alert rule: when it fires, when it is over, and what a gap does to it."""

from __future__ import annotations

import pytest
from alert_series import rule
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.alerts import AlertRule
from loadgate.watch.alert_state import RuleState, move
from loadgate.watch.series import Sample


def run(rule: AlertRule, marks: str) -> list[tuple[float, str]]:
    """Say what a rule says of windows of 10 s: x violated, o clear, - between, _ no data, e excluded."""
    state, said = RuleState(), []
    for index, mark in enumerate(marks):
        past, clear = {"x": (True, False), "o": (False, True), "-": (False, False)}.get(mark, (None, None))
        seconds = 0.0 if mark == "e" else 10.0
        moved = move(rule, state, Sample(index * 10.0, index * 10.0 + 10, seconds, 1.0, 1, past, clear))
        state = moved.state
        if moved.said:
            said.append((index * 10.0 + 10, moved.said))
    return said


def test_without_for_it_fires_at_the_end_of_the_first_window() -> None:
    """And is over at the end of the first clear one."""
    assert run(rule(when="error_rate > 1%"), "oxxo") == [(20, "firing"), (40, "resolved")]


def test_with_for_it_fires_when_that_is_over() -> None:
    """30 s of windows of 10 s are three on end: violated from 10 s on, it fires at 40 s."""
    said = run(rule(when="error_rate > 1%", **{"for": 30.0}), "oxxxxo")
    assert said == [(20, "pending"), (40, "firing"), (60, "resolved")]


def test_a_for_between_two_windows_is_over_at_the_end_of_the_later() -> None:
    """25 s take three windows of 10 s."""
    assert run(rule(when="error_rate > 1%", **{"for": 25.0}), "xxx") == [(10, "pending"), (30, "firing")]


def test_a_breach_that_ends_before_for_fires_nothing() -> None:
    """The timer starts again from nothing: two, one clear, two more are not three on end."""
    said = run(rule(when="error_rate > 1%", **{"for": 30.0}), "xxoxxo")
    assert said == [(10, "pending"), (30, "inactive"), (40, "pending"), (60, "inactive")]


def test_a_gap_neither_advances_nor_resets_the_timer() -> None:
    """Violated 10 s, 40 s without data, violated 20 s: the 30 s are over at 70 s."""
    said = run(rule(when="error_rate > 1%", **{"for": 30.0}), "x____xx")
    assert said == [(10, "pending"), (70, "firing")]


def test_a_gap_does_not_resolve() -> None:
    """Only a window that is clear does."""
    assert run(rule(when="error_rate > 1%"), "x_____o") == [(10, "firing"), (70, "resolved")]


def test_keep_firing_for_takes_clear_windows_on_end() -> None:
    """A violated one starts it again; a gap leaves it as it is."""
    said = run(rule(when="error_rate > 1%", keep_firing_for=20.0), "xoxo_o")
    assert said == [(10, "firing"), (60, "resolved")]


def test_between_limit_and_clear_level_it_goes_on_as_it_was() -> None:
    """Firing it stays so, and the time for which it has to be clear starts again; else it does not fire."""
    firing = rule(when="process.memory > 1GB", clear="< 900MB", keep_firing_for=20.0)
    assert run(firing, "-x-o-oo") == [(20, "firing"), (70, "resolved")]


@pytest.mark.parametrize(
    ("no_data", "said"),
    [
        ("hold", []),
        ("fire", [(20, "firing"), (40, "resolved")]),
        ("resolve", []),
    ],
)
def test_no_data_means_what_the_rule_says(no_data: str, said: list[tuple[float, str]]) -> None:
    """Two windows of silence between clear ones."""
    assert run(rule(when="error_rate > 1%", no_data=no_data), "o__o") == said


def test_no_data_resolves_where_the_rule_says_so() -> None:
    """As a clear window would."""
    assert run(rule(when="error_rate > 1%", no_data="resolve"), "x_") == [(10, "firing"), (20, "resolved")]


def test_what_is_excluded_is_no_silence() -> None:
    """A window that does not count fires nothing, even where no data does."""
    assert run(rule(when="error_rate > 1%", no_data="fire"), "oeeeo") == []


def test_flapping_is_told_once_and_held() -> None:
    """Three firings within a minute; then nothing until it has been calm for a minute."""
    said = run(rule(when="error_rate > 1%", flaps="3 in 1m"), "xoxoxoxoxooooooooo")
    assert said == [
        (10, "firing"),
        (20, "resolved"),
        (30, "firing"),
        (40, "resolved"),
        (50, "flapping"),
        (160, "resolved"),
    ]


def test_flapping_that_settles_in_a_breach_is_told_as_firing() -> None:
    """Calm at the bad level is no recovery."""
    said = run(rule(when="error_rate > 1%", flaps="2 in 1m"), "xoxxxxxxxx")
    assert said == [(10, "firing"), (20, "resolved"), (30, "flapping"), (90, "firing")]


def test_firings_that_lie_far_apart_do_not_flap() -> None:
    """Two in a minute are asked for, and there are 70 s between them."""
    said = run(rule(when="error_rate > 1%", flaps="2 in 1m"), "xooooooxo")
    assert [state for _, state in said] == ["firing", "resolved", "firing", "resolved"]


marks = st.text(alphabet="xo-_e", max_size=60)


@given(marks, st.integers(0, 60), st.sampled_from([0.0, 10.0, 30.0]), st.sampled_from([0.0, 20.0]))
def test_gaps_put_in_anywhere_change_nothing_but_the_time(
    marks: str, place: int, held: float, kept: float
) -> None:
    """A law: silence, however long, only shifts what comes after it."""
    made = rule(when="error_rate > 1%", keep_firing_for=kept, **{"for": held})
    at = min(place, len(marks))
    with_gap = run(made, marks[:at] + "___" + marks[at:])
    moved = [(time + 30 if time > at * 10 else time, state) for time, state in run(made, marks)]
    assert with_gap == moved


@given(marks, st.sampled_from([0.0, 10.0, 30.0]))
def test_states_follow_each_other(marks: str, held: float) -> None:
    """A law: what is told is a path of the diagram, whatever the samples."""
    after = {
        None: {"pending", "firing"},
        "pending": {"inactive", "firing"},
        "inactive": {"pending", "firing"},
        "firing": {"resolved"},
        "resolved": {"pending", "firing"},
    }
    last = None
    for _, state in run(rule(when="error_rate > 1%", **{"for": held}), marks):
        assert state in after[last]
        last = state


@given(marks, st.sampled_from([0.0, 10.0, 30.0]))
def test_it_fires_where_a_count_of_violated_windows_says_so(marks: str, held: float) -> None:
    """A law: without gaps it fires at the end of each run of violated windows that is as long as `for`."""
    marks = marks.replace("_", "").replace("e", "").replace("-", "o")
    needed = max(1, round(held / 10))
    expected, run_length = [], 0
    for index, mark in enumerate(marks):
        run_length = run_length + 1 if mark == "x" else 0
        if run_length == needed:
            expected.append(index * 10.0 + 10)
    found = [
        at for at, state in run(rule(when="error_rate > 1%", **{"for": held}), marks) if state == "firing"
    ]
    assert found == expected


@given(marks, st.integers(0, 60))
def test_a_state_that_was_stored_goes_on_the_same(marks: str, cut: int) -> None:
    """A law: written as plain values and read again anywhere, it says the same."""
    made = rule(when="error_rate > 1%", flaps="2 in 1m", keep_firing_for=20.0, **{"for": 20.0})
    state = RuleState()
    for index, mark in enumerate(marks):
        if index == cut:
            assert RuleState.from_dict(state.to_dict()) == state
        past = {"x": True, "o": False}.get(mark)
        state = move(
            made, state, Sample(index * 10.0, index * 10.0 + 10, 10.0, 1.0, 1, past, past is False)
        ).state
