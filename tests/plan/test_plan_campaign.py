"""Campaign files: every fault at once, and the shipped one is the checklist."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.plan.campaign import (
    CRITERIA,
    Bugs,
    Campaign,
    CampaignRun,
    CampaignTests,
    DecisionPlan,
    Line,
    Phase,
    StabilityClock,
)
from loadgate.plan.campaign_file import load_campaign, read_campaign
from loadgate.plan.campaign_plans import calendar_facts, likeness
from loadgate.plan.fields import PlanModel
from loadgate.plan.plan import load_plan
from loadgate.plan.problems import PlanError
from loadgate.plan.strict import keys_of
from loadgate.plan.validate import validate_file

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scenarios" / "campaigns" / "staging.toml"
PAGE = (ROOT / "docs" / "campaign.md").read_text(encoding="utf-8")

SMALL = """
name  = "small"
host  = "http://127.0.0.1:3000"
roles = ["qa"]
[clock]
sustained = "soak"
[decision]
sign_off = ["qa"]
[bugs]
file = "bugs.json"
[[tests]]
name  = "unit"
junit = ["unit.xml"]
[[phase]]
name   = "one"
length = "1d"
[[phase.run]]
name     = "soak"
scenario = "{scenarios}/soak.toml"
"""


@pytest.fixture
def problems(tmp_path: Path, scenarios: Path):
    """Return the problems of a small campaign with something replaced and something added."""

    def find(*changes: tuple[str, str], more: str = "") -> list[str]:
        text = SMALL.format(scenarios=scenarios) + more
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.toml"
        path.write_text(text)
        return [
            problem.line().partition(".toml: ")[2] for problem in read_campaign(path, "small.toml").problems
        ]

    return find


@pytest.mark.parametrize(("words", "told"), [("[]", "bugs.critical"), ('[" "]', "without a word")])
def test_some_severity_must_be_critical(problems, words: str, told: str) -> None:
    """With none of them no bug would ever count."""
    (fault,) = problems(('file = "bugs.json"', f'file = "bugs.json"\ncritical = {words}'))
    assert told in fault


def test_two_scenario_files_of_one_name_are_refused(problems, tmp_path: Path, scenarios: Path) -> None:
    """A run bears only the name, so the laxer one would stand in for the other; one file twice is fine."""
    text = (scenarios / "soak.toml").read_text().replace('"../', f'"{scenarios.parent}/')
    lax = tmp_path / "lax.toml"
    lax.write_text(text.replace('"sla/', f'"{scenarios}/sla/').replace('"alerts/', f'"{scenarios}/alerts/'))
    entry = '\n[[phase.run]]\nname = "again"\nscenario = "{}"\n'
    (fault,) = problems(more=entry.format(lax))
    assert fault.startswith("phase[0].run[1].scenario: 'lax.toml' is called 'soak', and so is 'soak.toml'")
    assert problems(more=entry.format(scenarios / "soak.toml")) == []


@pytest.mark.parametrize("name", ["stability", "sustained", "sign-off"])
def test_a_line_shares_no_name_with_a_part_of_the_decision(problems, name: str) -> None:
    """Whoever waives the line would waive that part, too."""
    (fault,) = problems(more=f'\n[[line]]\nid = "{name}"\ntext = "Reviewed"\nattest = ["qa"]\n')
    assert fault.startswith(f"line[0].id: '{name}' is taken by the decision")


def test_a_smoke_line_needs_a_smoke_check_in_the_calendar(problems) -> None:
    """Else it could never be met."""
    (fault,) = problems(more='\n[[line]]\nid = "limit"\ntext = "Limited"\nsmoke = ["target rate limit"]\n')
    assert fault.startswith("line[0].smoke: asks for a smoke check, and no phase makes one")


# -- what tells plans apart --------------------------------------------------------------------------------

SNAPSHOT = {
    "scenario": {
        "traffic": {"users": 4, "trace": "/here/day.csv"},
        "verdict": {"optional": []},
        "drift": [{"metric": "memory"}],
        "stability": True,
        "locustfile": "/here/soak.py",
        "http": {"headers": {}, "timeout": 30.0, "connect_timeout": 2.0},
        "generator": {"workers": 1, "on_worker_loss": "continue"},
    },
    "objectives": [{"metric": "error_rate"}],
    "files": {"/here/soak.py": "a" * 64, "/here/sla.toml": "b" * 64, "/here/day.csv": "d" * 64},
}


@pytest.mark.parametrize(
    ("changes", "files", "same"),
    [
        ({"drift": []}, {}, False),
        ({"stability": False}, {}, False),
        ({"traffic": {"users": 5, "trace": "/here/day.csv"}}, {}, False),
        ({}, {"/here/day.csv": "e" * 64}, False),
        ({"http": {"headers": {}, "timeout": 9999.0, "connect_timeout": 2.0}}, {}, False),
        ({"http": {"headers": {}, "timeout": 30.0, "connect_timeout": 9.0}}, {}, False),
        ({"generator": {"workers": 1, "on_worker_loss": "stop"}}, {}, False),
        ({"probes": [{"name": "health", "http": "/anything"}]}, {}, False),
        ({"generator": {"workers": 4, "on_worker_loss": "continue"}}, {}, True),
        ({"verdict": {"optional": ["cpu"]}}, {}, False),
        ({}, {"/here/soak.py": "c" * 64}, False),
        ({"http": {"headers": {"A": "b"}, "timeout": 30.0, "connect_timeout": 2.0}}, {}, True),
        ({}, {"/here/sla.toml": "c" * 64}, True),
    ],
)
def test_whatever_decides_tells_plans_apart(changes, files, same: bool) -> None:
    """Load, objectives, which decide, drift rules, stability, files' content, timeouts; headers do not."""
    other = {
        **SNAPSHOT,
        "scenario": SNAPSHOT["scenario"] | changes,
        "files": SNAPSHOT["files"] | files,
    }
    assert (likeness(other) == likeness(SNAPSHOT)) is same


@pytest.mark.parametrize(
    ("changes", "same"),
    [({"severity": "low"}, False), ({"at_least": 1000}, False), ({"summary": "call somebody"}, True)],
)
def test_alert_rules_tell_plans_apart(changes: dict[str, object], same: bool) -> None:
    """What they fire at and how grave that is; what they tell people may differ; none is another plan."""
    rule = {"name": "down", "severity": "critical", "subject": {"probe": "health"}, "at_least": 1}
    one, other = ({**SNAPSHOT, "alerts": [found]} for found in (rule, rule | changes))
    assert (likeness(one) == likeness(other)) is same
    assert likeness(one) != likeness(SNAPSHOT)


def test_a_locustfile_elsewhere_is_the_same_one() -> None:
    """Another machine has it in another folder."""
    scenario = SNAPSHOT["scenario"] | {"locustfile": "/there/soak.py"}
    files = SNAPSHOT["files"] | {"/here/soak.py": "f" * 64, "/there/soak.py": "a" * 64}
    other = {**SNAPSHOT, "scenario": scenario, "files": files}
    assert likeness(other) == likeness(SNAPSHOT)


def test_a_start_writes_down_which_scenarios_count() -> None:
    """Of the shipped ones load and soak do, and stress, which breaks things, does not."""
    plan = load_campaign(SHIPPED).campaign
    assert plan is not None
    facts = calendar_facts(plan)
    assert facts["stable"] == ["load", "soak"]
    assert facts["smokes"] == ["load"]
    assert set(facts["scenarios"]) >= {"load", "soak", "stress"}


# -- the shipped one ---------------------------------------------------------------------------------------


def test_the_shipped_campaign_is_valid() -> None:
    """`loadgate validate` knows its kind and finds nothing."""
    checked = validate_file(SHIPPED)
    assert (checked.kind, checked.problems) == ("campaign", ())
    assert "4 phases over 14d" in checked.summary


def test_it_has_the_checklists_phases() -> None:
    """Days 1 to 5, 6 and 7, then days 1 to 3 and 4 to 7 of the second week."""
    plan = load_campaign(SHIPPED).campaign
    assert plan is not None
    assert [phase.length / 86_400 for phase in plan.phase] == [5, 2, 3, 4]
    assert plan.clock.length == 7 * 86_400


def test_it_has_the_checklists_lines() -> None:
    """Five lines under each of five headings, six steps, eight success criteria; none ticked by itself."""
    plan = load_campaign(SHIPPED).campaign
    assert plan is not None
    groups = [line.group for line in plan.line]
    assert {group: groups.count(group) for group in groups} == {
        "Code Quality": 5,
        "Testing": 5,
        "Performance": 5,
        "Documentation": 5,
        "Security": 5,
    }
    assert [step.group for step in plan.step] == [f"Step {number}" for number in range(1, 7)]
    assert [line.text for line in plan.success] == [
        "All endpoints responsive",
        "No critical errors in logs",
        "Performance meets targets",
        "Cache working correctly",
        "Monitoring dashboards active",
        "7+ days of stable operation",
        "Load test sustained (1 week)",
        "User acceptance approved",
    ]
    assert all(line.is_measured or line.attest for line in plan.lines)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("load", True), ("soak", True), ("smoke", False), ("gate", False), ("stress", False), ("spike", False)],
)
def test_which_shipped_scenarios_count_for_stability(scenarios: Path, name: str, counts: bool) -> None:
    """Those that are meant to hold; a stress run is meant to break things."""
    assert load_plan(scenarios / f"{name}.toml").scenario.stability is counts


def test_the_matrix_is_the_checklists() -> None:
    """Its five rows."""
    assert list(CRITERIA) == ["bugs", "performance", "tests", "monitoring", "sign-off"]


# -- faults ------------------------------------------------------------------------------------------------


def test_a_small_campaign_has_no_problem(problems) -> None:
    """The one that the tests below break."""
    assert problems() == []


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """Unknown keys, missing units, unknown words, each with its key and a hint."""
    path = tmp_path / "bad.toml"
    path.write_text(
        'name = "Bad Name"\nhost = "nowhere"\nroles = []\nclok = 1\n[clock]\nlength = 7\nobserved = "10%"\n'
        '[[phase]]\nname = "one"\nlength = "5 days"\n'
        '[[phase.run]]\nname = "a"\nscenario = "a.toml"\ncommand = "rn"\n'
    )
    with pytest.raises(PlanError) as raised:
        load_campaign(path)
    keys = {problem.key for problem in raised.value.problems}
    assert keys == {
        "name",
        "host",
        "roles",
        "clok",
        "clock.length",
        "clock.observed",
        "phase[0].length",
        "phase[0].run[0].command",
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('sign_off = ["qa"]', 'sign_off = ["qe"]'), "decision.sign_off: 'qe' is not one of the roles"),
        (('sign_off = ["qa"]', ""), "decision.sign_off: is missing"),
        (('[bugs]\nfile = "bugs.json"', ""), "bugs: is missing"),
        (('file = "bugs.json"', ""), "bugs: needs a file or a command"),
        (('[[tests]]\nname  = "unit"\njunit = ["unit.xml"]', ""), "tests: is missing"),
        (("soak.toml", "sock.toml"), "phase[0].run[0].scenario: there is no scenario 'sock.toml'"),
        (("soak.toml", "stress.toml"), "clock.sustained: no phase runs a scenario 'soak'"),
        (('"soak"\n[dec', '"load"\n[dec'), "clock.sustained: no phase runs a scenario 'load'"),
    ],
)
def test_a_fault_is_named(problems, change: tuple[str, str], told: str) -> None:
    """With its key, and what to do."""
    (only,) = problems(change)
    assert only.startswith(told)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("at = '2d'", "phase[0].run[0].at: is after the end of the phase"),
        ("beside = true", "phase[0].run[0].beside: a run makes a load"),
        ("every = '1h'\neach_cycle = true", "phase[0].run[0].each_cycle: stands beside `every`"),
        ("[[phase]]\nname = 'one'\nlength = '1d'", "phase[1].name: phase[0] is called 'one' too"),
        ("[[line]]\nid = 'a'\ntext = 'A'", "line[0]: says neither what measures it nor who attests it"),
        ("[[line]]\nid = 'bugs'\ntext = 'A'\nattest = ['qa']", "line[0].id: 'bugs' is taken by the decision"),
        ("[[line]]\nid = 'a'\ntext = 'A'\nattest = ['dev']", "line[0].attest: 'dev' is not one of the roles"),
        ("[[line]]\nid = 'a'\ntext = 'A'\ntests = ['e2e']", "line[0].tests: there are no tests 'e2e'"),
        ("[[line]]\nid = 'a'\ntext = 'A'\ncriterion = 'x'", "line[0].criterion: 'x' is no criterion"),
        (
            "[[line]]\nid = 'a'\ntext = 'A'\nattest = ['qa']\nsmoke = ['*']",
            "line[0].attest: is measured, so nobody can attest it",
        ),
    ],
)
def test_a_rule_that_is_broken_is_named(problems, more: str, told: str) -> None:
    """Rules that tie values together."""
    (only,) = problems(more=more)
    assert only.startswith(told)


def test_critical_alerts_always_stop_the_clock(problems) -> None:
    """A list without them would let a GO through that no checklist knows."""
    (only,) = problems(('sustained = "soak"', 'severities = ["high"]'))
    assert only.startswith("clock.severities: leaves out critical")


def test_the_plan_survives_the_book() -> None:
    """What the book keeps gives an equal plan back."""
    plan = load_campaign(SHIPPED).campaign
    assert plan is not None
    assert Campaign.model_validate(plan.model_dump(mode="json")) == plan


# -- the page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## The campaign file", Campaign),
        ("### [clock]", StabilityClock),
        ("### [[phase]]", Phase),
        ("### [[phase.run]]", CampaignRun),
        ("### [[tests]]", CampaignTests),
        ("### [bugs]", Bugs),
        ("### [decision]", DecisionPlan),
        ("### [[line]], [[step]], [[success]]", Line),
    ],
)
def test_every_key_is_on_the_page(heading: str, model: type[PlanModel]) -> None:
    """The same keys, none more, and each has a description for hints."""
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    found = [word.strip().strip("`") for cell in cells for word in cell.split(",")]
    assert sorted(found) == sorted(keys_of(model))
    assert all(field.description for field in model.model_fields.values())
