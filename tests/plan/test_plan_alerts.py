"""Alert rules: their grammar, what they point at, and every way in which they can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.alert_files import check_raw_rules
from loadgate.plan.alerts import AlertEntry, AlertRule, excluded
from loadgate.plan.burn import pairs_of
from loadgate.plan.checks_alerts import Against, resolve
from loadgate.plan.conditions import Condition, OfRow, parse_subject, parse_when, turned
from loadgate.plan.draft import read_draft
from loadgate.plan.explain_alerts import explain_rule, render_rules
from loadgate.plan.plan import Plan, load_plan
from loadgate.plan.problems import PlanError
from loadgate.plan.rules import load_rules, rules_for
from loadgate.plan.sla import Limit
from loadgate.plan.strict import keys_of
from loadgate.plan.units import UnitError
from loadgate.plan.validate import validate_file

Write = Callable[..., Path]
ALERTS = ('sla = "sla.toml"', 'sla = "sla.toml"\nalerts = "rules.toml"')
SLA = 'when = "sla: emotion.response_time > alert"'


@pytest.fixture
def rules(write: Write) -> Callable[..., Path]:
    """Write a scenario with a rules file of these keys of its only rule; return the scenario's path."""

    def make(*keys: str, raw: str | None = None, swaps: tuple[tuple[str, str], ...] = ()) -> Path:
        path = write(ALERTS, *swaps)
        text = "\n".join(["[[alert]]", 'name = "rule"', 'severity = "high"', *keys])
        (path.parent / "rules.toml").write_text(raw if raw is not None else text)
        return path

    return make


def only(path: Path) -> AlertRule:
    """Return the only rule of a scenario."""
    (rule,) = load_plan(path).alerts
    return rule


def problems(path: Path) -> list[tuple[str, str]]:
    """Return key and message of every problem of the rules file."""
    return [(p.key, p.message) for p in read_draft(path).problems if p.file.endswith("rules.toml")]


# ---- conditions


@pytest.mark.parametrize(
    ("text", "metric", "endpoint", "statistic", "limit"),
    [
        ("emotion.response_time > 200ms", "response_time", "emotion", "p95", 0.2),
        ("emotion.response_time.p99.9 > 1s", "response_time", "emotion", "p99.9", 1.0),
        ("response_time.max>=2s", "response_time", None, "max", 2.0),
        ("service_time.mean > 5ms", "service_time", None, "mean", 0.005),
        ("error_rate > 1%", "error_rate", None, None, 0.01),
        ("a.b.error_rate > 1%", "error_rate", "a.b", None, 0.01),
        ("throughput < 500/s", "throughput", None, None, 500.0),
        ("cache_hit_rate < 30%", "cache_hit_rate", None, None, 0.3),
        ("process.memory > 1GB", "process.memory", None, None, 1e9),
        ("health.up < 1", "health.up", None, None, 1.0),
        ("cpu > 80%", "cpu", None, None, 0.8),
    ],
)
def test_a_condition_is_read(
    text: str, metric: str, endpoint: str | None, statistic: str | None, limit: float
) -> None:
    """Endpoint, metric, statistic (p95 for latencies) and the limit in SI."""
    parsed = parse_when(text)
    assert isinstance(parsed, Condition)
    subject = parsed.subject
    assert (subject.metric, subject.endpoint, subject.statistic) == (metric, endpoint, statistic)
    assert parsed.limit.value == pytest.approx(limit)


def test_a_row_is_pointed_at() -> None:
    """By name, side and column."""
    assert parse_when("sla: emotion.response_time > alert") == OfRow("emotion.response_time", ">", "alert")
    assert parse_when(" sla:throughput<target ") == OfRow("throughput", "<", "target")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not a comparison"),
        ("emotion.response_time", "is not a comparison"),
        ("emotion.response_time > 200", "has no unit"),
        ("error_rate > 200ms", "is not a share"),
        ("error_rate.p95 > 1%", "takes no statistic"),
        ("emotion.response_time.p12 > 1s", "is not a statistic"),
        ("memory.max > 1GB", "takes no statistic"),
        ("respons_time > 1s", "unknown metric 'respons_time'"),
        ("sla: error_rate", "does not point at a row"),
        ("sla: error_rate > worst", "does not point at a row"),
        ("emotion.response_time > alert", "is not a duration"),
    ],
)
def test_a_faulty_condition_says_what_is_wrong(text: str, fault: str) -> None:
    """Each with its reason."""
    with pytest.raises(UnitError, match=fault):
        parse_when(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    """A law: any text is a condition or a named fault."""
    for read in (parse_when, parse_subject, lambda one: excluded(one, 100.0)):
        with suppress(UnitError):
            read(text)


@given(st.sampled_from(["<", "<=", ">", ">="]), st.floats(0, 10), st.floats(0, 10))
def test_a_turned_limit_holds_just_where_the_other_does_not(op: str, limit: float, value: float) -> None:
    """A law of `sla: ROW > target` and of the clear level."""
    one = Limit.parse(f"{op} {limit:.6f}s", "response_time")
    assert turned(one).met(value) != one.met(value)
    assert turned(turned(one)) == one


# ---- what rules point at


def test_a_row_gives_value_statistic_and_window(rules: Callable[..., Path]) -> None:
    """All of the row's; it is clear where it is not violated."""
    rule = only(rules(SLA))
    assert (rule.subject.name, rule.every) == ("emotion.response_time.p95", 30.0)
    assert rule.limit is not None
    assert rule.clear is not None
    assert (rule.limit.text, rule.clear.text) == ("> 200ms", "<= 200ms")
    assert (rule.phases, rule.for_) == (("steady",), 0.0)


def test_a_target_is_violated_where_it_is_not_met(rules: Callable[..., Path]) -> None:
    """The target is < 50ms, so the rule fires at >= 50ms."""
    rule = only(rules('when = "sla: emotion.response_time > target"'))
    assert rule.limit is not None
    assert rule.limit.text == ">= 50ms"


def test_windows_are_as_long_as_their_source_needs(rules: Callable[..., Path]) -> None:
    """10 s of requests; the probe's interval of readings, in whole seconds."""
    assert only(rules('when = "error_rate > 1%"')).every == 10.0
    assert only(rules('when = "process.memory > 1GB"')).every == 10.0
    path = rules('when = "process.memory > 1GB"', swaps=(('every = "10s"', 'every = "1500ms"'),))
    assert only(path).every == 2.0


def test_readings_know_their_probe(rules: Callable[..., Path]) -> None:
    """By name, or as the row of that name finds it; of all cores where the scenario judges so."""
    rule = only(rules('when = "cpu > 80%"', 'every = "10s"'))
    assert (rule.subject.probe, rule.subject.reading, rule.subject.per_core) == ("process", "cpu", False)
    machine = ("[[probes]]", '[verdict]\ncpu_of = "machine"\n\n[[probes]]')
    assert only(rules('when = "cpu > 80%"', swaps=(machine,))).subject.per_core


def test_a_plan_with_rules_is_its_own_snapshot(rules: Callable[..., Path]) -> None:
    """Written and read again, all of it is equal; the rules file is among its files."""
    path = rules(
        SLA, 'for = "1m"', 'flaps = "5 in 10m"', 'exclude = ["first 60s", "ramp"]', 'on_fire = ["stop-load"]'
    )
    plan = load_plan(path)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.alerts[0].for_ == 60.0
    assert plan.alerts[0].flaps == (5, 600.0)
    assert plan.alerts[0].excluded == ((0.0, 60.0),)
    assert str(path.parent / "rules.toml") in plan.files


def test_an_endpoint_of_an_action_is_the_rules_own(rules: Callable[..., Path]) -> None:
    """Where the scenario knows its path."""
    known = ("[[probes]]", '[rollback]\nendpoints = { emotion = "/e" }\n\n[[probes]]')
    path = rules(SLA, 'on_fire = ["stop-load", "disable-endpoint"]', swaps=(known,))
    assert only(path).on_fire == ("stop-load", "disable-endpoint /e")


def test_a_row_that_is_left_out_takes_its_rule_along(rules: Callable[..., Path]) -> None:
    """The plan says so, so it is no error; and it is told."""
    out = ("[[probes]]", '[verdict]\nleave_out = ["throughput"]\n\n[[probes]]')
    draft = read_draft(rules('when = "sla: throughput < alert"', swaps=(out,)))
    assert [p for p in draft.problems if p.is_error] == []
    assert draft.alerts == ()
    assert draft.alerts_left_out == (("rule", "the scenario leaves out the row 'throughput'"),)


def test_a_short_run_leaves_out_what_is_for_longer_ones(rules: Callable[..., Path]) -> None:
    """Ten minutes of steady load are less than 20."""
    draft = read_draft(rules('burn = { objective = "error_rate", budget = "0.1%" }', 'min_run = "20m"'))
    assert draft.alerts == ()
    assert "shorter than min_run = 20m" in draft.alerts_left_out[0][1]


# ---- what is wrong


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        (['when = "sla: emotion.respons_time > alert"'], "when", "the SLA table has no row"),
        (['when = "sla: emotion.response_time < alert"'], "when", "points the wrong way"),
        (['when = "emotions.response_time > 1s"'], "when", "no request goes to 'emotions'"),
        (['when = "cache.entries > 5"'], "when", "no probe of the scenario gives 'cache.entries'"),
        (['when = "process.memorie > 1GB"'], "when", "no probe of the scenario gives"),
        (['when = "uptime < 95%"'], "when", "no probe of the scenario gives 'uptime'"),
        (['when = "process.memory > 1000000"'], "when", "has no unit of 'process.memory'"),
        (['when = "process.cpu > 2"'], "when", "has no unit of 'process.cpu'"),
        (['when = "error_rate < 1%"'], "when", "would fire while all is well"),
        (['when = "error_rate > 100%"'], "when", "can never hold"),
        (['when = "error_rate >= 0%"'], "when", "always holds"),
        (['when = "throughput < 0/s"'], "when", "can never hold"),
        (['when = "response_time > 2h"'], "when", "outside of what is recorded"),
        (['when = "process.memory > 1GB"', 'every = "5s"'], "every", "shorter than the interval of probe"),
        ([SLA, 'every = "1500ms"'], "every", "must be whole seconds"),
        ([SLA, 'clear = "< 300ms"'], "clear", "can both hold"),
        ([SLA, 'clear = "> 100ms"'], "clear", "can both hold"),
        ([SLA, 'clear = "100"'], "clear", "does not start with"),
        ([SLA, 'flaps = "1 in 10m"'], "flaps", "no number of firings"),
        ([SLA, 'exclude = ["sometimes"]'], "exclude[0]", "neither a phase nor a time"),
        ([SLA, 'exclude = ["2m..1m"]'], "exclude[0]", "ends before it begins"),
        ([SLA, 'exclude = ["steady"]'], "exclude", "no phase is left"),
        ([SLA, 'on_fire = ["stop-lod"]'], "on_fire[0]", "'stop-lod' is not an action"),
        ([SLA, 'on_fire = ["disable-endpoint"]'], "on_fire[0]", "the path of 'emotion' is not known"),
        (['when = "error_rate > 1%"', 'on_fire = ["disable-endpoint"]'], "on_fire[0]", "names no endpoint"),
        ([SLA, 'for = "5"'], "for", "has no unit"),
        ([SLA, "for = 60"], "for", "has no unit"),
        ([SLA, 'fore = "5s"'], "fore", "unknown key 'fore'"),
        ([SLA, 'no_data = "ok"'], "no_data", "'ok' is not one of"),
        ([SLA, 'burn = { objective = "error_rate" }'], "", "has both `when` and `burn`"),
        ([], "", "has neither `when` nor `burn`"),
        (['burn = { objective = "error_rate", budget = "0.1%" }'], "burn", "has no pair of windows"),
        (['burn = { objective = "error_rate" }'], "burn.objective", "the SLA table has no row 'error_rate'"),
        (['burn = { objective = "throughput" }'], "burn.objective", "has no budget"),
        (['burn = { objective = "error_rate", budget = "0%" }'], "burn.budget", "must be more than 0%"),
        (['burn = { objective = "error_rate", budget = 0.1 }'], "burn.budget", "must be a share"),
        (['burn = { objective = "error_rate", windows = ["quick"] }'], "burn.windows[0]", "not one of"),
    ],
)
def test_a_faulty_rule_is_an_error_with_its_key(
    rules: Callable[..., Path], keys: list[str], key: str, message: str
) -> None:
    """And the scenario is not usable."""
    path = rules(*keys)
    found = problems(path)
    assert found, "no problem was found"
    where, text = found[0]
    assert where == (f"alert[0].{key}" if key else "alert[0]")
    assert message in text
    assert not validate_file(path).good


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "there are no rules"),
        ("alert = []", "there are no rules"),
        ("alert = 5", "there are no rules"),
        ("[[alert]", "syntax error"),
        (
            "rule = 1\n[[alert]]\nname = 'a'\nseverity = 'low'\nwhen = 'error_rate > 1%'",
            "unknown key 'rule'",
        ),
        ("[[alert]]\nname = 'a b'\nseverity = 'low'\nwhen = 'error_rate > 1%'", "is not a name for a rule"),
        ("[[alert]]\nname = 'a'\nwhen = 'error_rate > 1%'", "is missing"),
        ("[[alert]]\nname = 'a'\nseverity = 'dire'\nwhen = 'error_rate > 1%'", "'dire' is not one of"),
        (2 * "[[alert]]\nname = 'a'\nseverity = 'low'\nwhen = 'error_rate > 1%'\n", "is called 'a' too"),
    ],
)
def test_a_faulty_file_is_an_error(rules: Callable[..., Path], raw: str, message: str) -> None:
    """By itself, and for a scenario that names it."""
    path = rules(raw=raw)
    found = [p.message for p in read_draft(path).problems if p.is_error]
    assert any(message in text for text in found)


def test_a_rules_file_that_is_not_there_is_blamed_on_the_scenario(write: Write) -> None:
    """With the key that names it."""
    (problem,) = [p for p in read_draft(write(ALERTS)).problems if p.is_error]
    assert (problem.key, problem.file.endswith("load.toml")) == ("alerts", True)
    assert "there is no rules file" in problem.message


def test_a_rules_file_is_validated_by_itself(rules: Callable[..., Path]) -> None:
    """Its own faults are seen, what it points at is not asked for."""
    path = rules('when = "sla: nowhere > alert"').parent / "rules.toml"
    checked = validate_file(path)
    assert (checked.kind, checked.good, checked.summary) == ("alerts", True, "alert rules, 1 rule")
    path.write_text("[[alert]]\nname = 'a'\nseverity = 'low'\nwhen = 'nothing'\n")
    assert not validate_file(path).good


def test_every_fault_of_every_rule_is_told_at_once(rules: Callable[..., Path]) -> None:
    """Two rules, three faults."""
    raw = (
        "[[alert]]\nname='a'\nseverity='low'\nwhen='error_rate < 1%'\nclear='5'\n"
        "[[alert]]\nname='b'\nseverity='low'\nwhen='cache.entries > 5'\n"
    )
    assert [key for key, _ in problems(rules(raw=raw))] == [
        "alert[0].when",
        "alert[0].clear",
        "alert[1].when",
    ]


# ---- burn rates


def test_the_constants_of_30_days_are_the_books() -> None:
    """1 h and 5 min, 6 h and 30 min, 3 days and 6 h, at 14.4, 6 and 1."""
    month = pairs_of(30 * 86_400.0, 0.001, ("fast", "medium", "slow"))
    assert [(pair.long, pair.short, pair.factor) for pair in month] == [
        (pytest.approx(3600), pytest.approx(300), pytest.approx(14.4)),
        (pytest.approx(6 * 3600), pytest.approx(1800), pytest.approx(6)),
        (pytest.approx(3 * 86_400), pytest.approx(6 * 3600), pytest.approx(1)),
    ]


@given(st.floats(60, 1e7), st.floats(1e-5, 0.5))
def test_a_pair_says_the_same_share_of_any_budget(seconds: float, budget: float) -> None:
    """A law: factor times window is the share of the whole run; no pair is too short, or beyond reach."""
    for pair in pairs_of(seconds, budget, ("fast", "medium", "slow")):
        assert pair.factor * pair.long / seconds == pytest.approx(pair.share)
        assert pair.short >= 10 - 1e-6
        assert pair.factor * budget <= 1


def test_a_factor_that_no_run_can_reach_is_left_out() -> None:
    """Of a budget of 10 % everything failing burns 10 times, so 14.4 is never reached."""
    assert [pair.speed for pair in pairs_of(604_800.0, 0.1, ("fast", "medium", "slow"))] == ["medium", "slow"]


# ---- shipped rules, and rules for commands


@pytest.mark.parametrize("name", ["smoke", "gate", "load", "stress", "spike", "soak"])
def test_the_six_rules_of_the_checklist_are_in_every_scenario(scenarios: Path, name: str) -> None:
    """With the checklist's numbers, whatever the scenario's length."""
    found = {rule.name: rule for rule in load_plan(scenarios / f"{name}.toml").alerts}
    numbers = {
        "emotion-slow": ("emotion response_time p95", "> 200ms"),
        "errors": ("error_rate", "> 1%"),
        "cache-cold": ("cache_hit_rate", "< 30%"),
        "down": ("health.up", "< 1"),
        "memory": ("memory", "> 1GB"),
        "cpu": ("cpu", "> 80%"),
    }
    for rule, (subject, limit) in numbers.items():
        assert found[rule].subject.text == subject
        assert found[rule].limit is not None
        assert found[rule].limit.text == limit
    assert found["down"].for_ == 60.0


def test_a_week_has_burn_rates(scenarios: Path) -> None:
    """All three pairs; half a minute has none, and says why."""
    rules = {rule.name: rule for rule in load_plan(scenarios / "soak.toml").alerts}
    fast, slow = rules["budget-fast"].burn, rules["budget-slow"].burn
    assert fast is not None
    assert slow is not None
    assert [pair.speed for pair in (*fast.pairs, *slow.pairs)] == ["fast", "medium", "slow"]
    assert {name for name, _ in read_draft(scenarios / "gate.toml").alerts_left_out} == {
        "budget-fast",
        "budget-slow",
    }


def test_rules_can_be_held_against_another_scenario(scenarios: Path) -> None:
    """A rules file with a scenario gives that scenario's numbers."""
    with_soak = load_rules(scenarios / "alerts" / "staging.toml", scenarios / "soak.toml")
    assert with_soak.rules == load_plan(scenarios / "soak.toml").alerts
    plan = load_plan(scenarios / "stress.toml")
    assert rules_for(scenarios / "alerts" / "staging.toml", plan).rules == plan.alerts


def test_rules_that_take_their_numbers_from_a_scenario_need_one(scenarios: Path, tmp_path: Path) -> None:
    """Others stand alone."""
    with pytest.raises(PlanError) as error:
        load_rules(scenarios / "alerts" / "staging.toml")
    assert len(error.value.problems) == 7
    path = tmp_path / "alone.toml"
    path.write_text("[[alert]]\nname='a'\nseverity='low'\nwhen='health.up < 1'\n")
    assert [rule.name for rule in load_rules(path).rules] == ["a"]


def test_a_scenario_without_rules_says_so(write: Write) -> None:
    """There is nothing to list."""
    with pytest.raises(PlanError, match="has no alert rules"):
        load_rules(write())


def test_every_shipped_rule_is_said_in_words(scenarios: Path) -> None:
    """What it measures, when it fires and when it is over; and which cannot fire in half a minute."""
    plan = load_plan(scenarios / "gate.toml")
    told = {rule.name: explain_rule(rule, plan.timeline) for rule in plan.alerts}
    assert told["down"].fires == "Once every window with data for 1m has < 1."
    assert told["memory"].clears == "As soon as one has < 900MB."
    assert "cannot fire" in told["cpu"].note
    assert told["emotion-slow"].measures == (
        "The p95 response_time of emotion, in windows of 30s of the steady phase."
    )
    text = render_rules(list(told.values()), [("budget-fast", "the run is short")])
    assert max(map(len, text.splitlines())) <= 80
    assert "budget-fast" in text


# ---- junk

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**9) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
GOOD = {"name": "rule", "severity": "high", "when": "error_rate > 1%", "for": "1m", "every": "30s"}


@given(st.sampled_from([*keys_of(AlertEntry), "unknown"]), junk)
def test_no_value_of_a_key_breaks_the_reader(key: str, value: object) -> None:
    """A law: whatever TOML can hold is a rule, or named problems with the file and the key."""
    found = check_raw_rules({"alert": [{**GOOD, key: value}]}, "rules.toml")
    resolved = resolve(found, Against(rows=(), probes=()))
    if not resolved.rules:
        problems = [*found.problems, *resolved.problems]
        assert problems or resolved.left_out
        assert all(problem.file == "rules.toml" for problem in problems)


@given(junk)
def test_no_content_breaks_the_reader(value: object) -> None:
    """A law: `alert` may be anything."""
    found = check_raw_rules({"alert": value}, "rules.toml")
    assert found.problems or found.entries
