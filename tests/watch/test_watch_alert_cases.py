"""Hand-written series: how they are read, what rules say of them, and what counts as expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from alert_series import plan, told

from loadgate.plan.problems import PlanError
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import UnitError
from loadgate.store.watch import AlertChange
from loadgate.watch.alert_cases import Expected, Given, differences, read_given, say
from loadgate.watch.alert_points import Point
from loadgate.watch.alert_summary import summary_of

HEAD = "expect = []\n"


def write(tmp_path: Path, text: str, name: str = "case.toml") -> Path:
    """Write a file of series."""
    path = tmp_path / name
    path.write_text(text)
    return path


def given(tmp_path: Path, name: str, values: str, every: str = "10s") -> Given:
    """Return one series."""
    text = f'{HEAD}[[series]]\nname = "{name}"\nevery = "{every}"\nvalues = "{values}"\n'
    return read_given(write(tmp_path, text))


def test_values_are_read_with_their_units_and_numbers(tmp_path: Path) -> None:
    """`x N` is N on end, `_` is no data."""
    points = given(tmp_path, "emotion.response_time", "20ms x2, _, 1.5s").points["emotion.response_time"]
    assert points == [
        Point(0.0, 10.0, 0.02),
        Point(10.0, 20.0, 0.02),
        Point(20.0, 30.0, None),
        Point(30.0, 40.0, 1.5),
    ]


def test_a_window_has_the_worst_of_its_values(tmp_path: Path) -> None:
    """Values every 5 s in windows of 10 s; the worst is the lowest where low is bad."""
    made = plan({"name": "down", "when": "health.up < 1"})
    series = given(tmp_path, "health.up", "1 x3, 0, 1 x4", every="5s")
    said = told(say(made.alerts, series, made.timeline))
    assert said == [(20.0, "down", "firing"), (30.0, "down", "resolved")]


def test_a_value_that_spans_windows_is_the_value_of_each(tmp_path: Path) -> None:
    """One value for 30 s, windows of 10 s: with `for` of 30 s it fires at 30 s."""
    made = plan({"name": "memory", "when": "process.memory > 1GB", "for": 30.0})
    series = given(tmp_path, "process.memory", "2GB", every="30s")
    assert told(say(made.alerts, series, made.timeline))[-1] == (30.0, "memory", "firing")


def test_no_data_is_no_data(tmp_path: Path) -> None:
    """It does not resolve."""
    made = plan({"name": "errors", "when": "error_rate > 1%"})
    series = given(tmp_path, "error_rate", "5%, _ x5, 0%")
    said = told(say(made.alerts, series, made.timeline))
    assert said == [(10.0, "errors", "firing"), (70.0, "errors", "resolved")]


def test_phases_hold_for_written_values_too(tmp_path: Path) -> None:
    """The ramp lasts 20 s."""
    made = plan({"name": "errors", "when": "error_rate > 1%"}, ramp=20.0)
    series = given(tmp_path, "error_rate", "5% x3")
    assert told(say(made.alerts, series, made.timeline)) == [(30.0, "errors", "firing")]


def test_a_series_feeds_the_rules_that_are_about_it(tmp_path: Path) -> None:
    """A latency without a statistic is its p95; a metric may be called by its probe's reading."""
    made = plan(
        {"name": "p95", "when": "emotion.response_time > 200ms"},
        {"name": "p99", "when": "emotion.response_time.p99 > 200ms"},
        {"name": "cpu", "when": "cpu > 80%"},
    )
    slow = given(tmp_path, "emotion.response_time", "1s")
    assert told(say(made.alerts, slow, made.timeline)) == [(10.0, "p95", "firing")]
    busy = given(tmp_path, "process.cpu", "95%")
    assert told(say(made.alerts, busy, made.timeline)) == [(10.0, "cpu", "firing")]


def test_a_burn_rate_is_fed_by_shares_of_requests(tmp_path: Path) -> None:
    """At 28.8 times the budget of 0.1 % half of 840 s are enough: 420 s."""
    burn = {"objective": "error_rate", "windows": ["fast"]}
    made = plan({"name": "burn", "burn": burn, "every": 10.0}, hold=604_800.0)
    text = f'{HEAD}[[series]]\nname = "error_rate"\nrequests = 10000\nvalues = "0% x200, 2.88% x60"\n'
    series = read_given(write(tmp_path, text))
    assert told(say(made.alerts, series, made.timeline)) == [(2420.0, "burn", "firing")]


def test_slow_requests_cannot_be_written_down(tmp_path: Path) -> None:
    """A value does not tell how many were over the target: it is refused, not guessed."""
    burn = {"objective": "emotion.response_time", "windows": ["fast"]}
    made = plan({"name": "burn", "burn": burn}, hold=604_800.0)
    with pytest.raises(UnitError, match="counts slow requests"):
        say(made.alerts, given(tmp_path, "emotion.response_time", "1s"), made.timeline)


def test_a_csv_row_holds_until_the_next(tmp_path: Path) -> None:
    """Seconds or durations, SI or units, and empty cells without data."""
    text = "at,error_rate,health.up\n0,0.05,1\n10s,1%,\n30,,0\n"
    points = read_given(write(tmp_path, text, "case.csv"))
    assert points.expected is None
    assert points.points == {
        "error_rate": [Point(0.0, 10.0, 0.05), Point(10.0, 30.0, 0.01), Point(30.0, 50.0, None)],
        "health.up": [Point(0.0, 10.0, 1.0), Point(10.0, 30.0, None), Point(30.0, 50.0, 0.0)],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no table of series"),
        ("when,error_rate\n0,1", "is no table of series"),
        ("at,eror_rate\n0,1", "unknown metric"),
        ("at,error_rate\n0,1,2", "3 cells, not 2"),
        ("at,error_rate\n5,1%\n5,1%", "not after the one before"),
        ("at,error_rate\n0,fast", "is not a share"),
        ("at,error_rate\n0,nan", "is no number"),
        ("at,error_rate\n,1%", "not after the one before"),
    ],
)
def test_a_faulty_table_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    """With the line."""
    with pytest.raises(PlanError) as error:
        read_given(write(tmp_path, text, "case.csv"))
    assert message in error.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[series]]\nname = "error_rate"\nvalues = "1%"', "is missing"),
        (f'{HEAD}[[series]]\nname = "eror_rate"\nvalues = "1%"', "unknown metric"),
        (f'{HEAD}[[series]]\nname = "error_rate"\nvalues = "1"', "has no unit"),
        (f'{HEAD}[[series]]\nname = "error_rate"\nvalues = ""', "there are no values"),
        (f'{HEAD}[[series]]\nname = "error_rate"\nvalues = "1% x9999999"', "more than 1000000"),
        (f'{HEAD}[[series]]\nname = "error_rate"\nvalues = "1%"\nvalue = 1', "unknown key 'value'"),
        ('series = []\n[[expect]]\nalert = "a"\nstate = "on"\nat = "1s"', "is not one of"),
        ("[[series]", "syntax error"),
    ],
)
def test_a_faulty_case_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    """A case that expects nothing at all has to say so."""
    with pytest.raises(PlanError) as error:
        read_given(write(tmp_path, text))
    assert message in error.value.problems[0].message


def change(at: float, state: str, rule: str = "a") -> AlertChange:
    """Return a change."""
    return AlertChange(at, rule, "high", state, 1.0, {"text": f"{rule} {state}", "limit": 0.5, "unit": "%"})


def test_what_is_told_must_be_expected_to_the_second() -> None:
    """Pending may come unexpected; firing may not, and not at another time."""
    expected = [Expected(alert="a", state="firing", at=30.0)]
    assert differences([change(10.0, "pending"), change(30.0, "firing")], expected) == []
    assert differences([change(40.0, "firing")], expected) == [
        "expected, but did not come: a firing at 30s",
        "came, but was not expected: a firing at 40s",
    ]
    assert differences([change(30.0, "firing", "b")], []) == ["came, but was not expected: b firing at 30s"]


def test_the_summary_has_each_alert_once() -> None:
    """From firing to resolved; flapping belongs to it; what still fires has no end."""
    changes = [
        change(10.0, "pending"),
        change(20.0, "firing"),
        change(30.0, "resolved"),
        change(40.0, "flapping", "b"),
        change(50.0, "pending"),
        change(60.0, "inactive"),
        change(70.0, "firing", "b"),
        change(80.0, "firing", "c"),
        change(90.0, "resolved", "c"),
    ]
    keys = ("rule", "fired_at", "resolved_at", "state", "flapped")
    found = [tuple(one[key] for key in keys) for one in summary_of(changes)]
    assert found == [
        ("a", 20.0, 30.0, "resolved", False),
        ("b", 40.0, None, "firing", True),
        ("c", 80.0, 90.0, "resolved", False),
    ]


def test_rules_without_a_scenario_look_at_all_of_the_time(tmp_path: Path) -> None:
    """There are no phases then."""
    made = plan({"name": "errors", "when": "error_rate > 1%"})
    series = given(tmp_path, "error_rate", "5%")
    assert told(say(made.alerts, series, Timeline.open_ended())) == [(10.0, "errors", "firing")]
