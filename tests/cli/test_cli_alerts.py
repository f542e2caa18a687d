"""`loadgate alerts`: list, explain, and test against files and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run, plan

from loadgate.cli.main import run_cli
from loadgate.plan.plan import Plan
from loadgate.plan.rules import rules_for
from loadgate.store.folder import RunFolder
from loadgate.store.watch import WatchWriter
from loadgate.watch.alert_feed import replay

SCENARIOS = Path(__file__).parents[2] / "scenarios"
RULES = """
[[alert]]
name = "slow"
when = "emotion.response_time > 10ms"
every = "2s"
severity = "high"
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Write a rules file."""
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command; return exit code, output and errors."""
    code = run_cli(["alerts", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def watched(tmp_path: Path, rules: Path, *, tell: bool = True) -> RunFolder:
    """Return a stored run of ten seconds at 20 ms that had these rules, with what it was told."""
    first = plan()
    made = Plan(**{**dict(first), "alerts": rules_for(rules, first).rules})
    folder = make_run(tmp_path / "results", 1, 20.0, planned=made)
    folder.plan.write_bytes(made.to_json())
    with WatchWriter(folder.watch_database) as writer:
        for change in replay(folder) if tell else []:
            writer.alert(change)
    return folder


def test_the_shipped_test_is_as_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """The rules of the staging checklist say of the written series what their comments promise."""
    alerts = SCENARIOS / "alerts"
    code, out, err = call(capsys, "test", alerts / "staging.toml", alerts / "staging.test.toml")
    assert (code, err.splitlines()[-1].startswith("as expected by")) == (0, True)
    assert "2m30s  firing    emotion-slow (high)" in out


def test_a_series_that_is_not_as_expected_exits_with_20(
    capsys: pytest.CaptureFixture[str], rules: Path, tmp_path: Path
) -> None:
    """And says what did not come and what came instead."""
    case = tmp_path / "case.toml"
    case.write_text(
        '[[series]]\nname = "emotion.response_time"\nvalues = "20ms"\n'
        '[[expect]]\nalert = "slow"\nstate = "firing"\nat = "4s"\n'
    )
    code, _, err = call(capsys, "test", rules, case)
    assert code == 20
    assert "expected, but did not come: slow firing at 4s" in err
    assert "came, but was not expected: slow firing at 2s" in err


def test_a_table_expects_nothing_and_says_so(
    capsys: pytest.CaptureFixture[str], rules: Path, tmp_path: Path
) -> None:
    """Its timeline is printed; JSON says that nothing was held against it."""
    case = tmp_path / "case.csv"
    case.write_text("at,emotion.response_time\n0,20ms\n10,5ms\n")
    code, out, err = call(capsys, "test", rules, case)
    assert (code, "slow (high)" in out, "nothing was checked" in err) == (0, True, True)
    _, out, _ = call(capsys, "test", rules, case, "--json")
    content = json.loads(out)
    assert content["as_expected"] is None
    assert [(one["at"], one["state"]) for one in content["changes"]] == [(2.0, "firing"), (12.0, "resolved")]
    assert content["alerts"][0]["resolved_at"] == 12.0


def test_an_expectation_of_no_rule_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], rules: Path, tmp_path: Path
) -> None:
    """It could never come true."""
    case = tmp_path / "case.toml"
    case.write_text('series = []\n[[expect]]\nalert = "slov"\nstate = "firing"\nat = "4s"\n')
    code, _, err = call(capsys, "test", rules, case)
    assert (code, "'slov' is not among the rules" in err) == (2, True)


def test_a_replay_of_a_run_is_what_it_was_told(
    capsys: pytest.CaptureFixture[str], rules: Path, tmp_path: Path
) -> None:
    """A run with these rules and their alerts is as expected."""
    folder = watched(tmp_path, rules)
    code, out, err = call(capsys, "test", rules, folder.path)
    assert (code, "2s  firing  slow (high)" in out) == (0, True)
    assert f"as expected by what run {folder.id} was told" in err


def test_a_run_that_was_told_something_else_exits_with_20(
    capsys: pytest.CaptureFixture[str], rules: Path, tmp_path: Path
) -> None:
    """Its stored series says that the rule fired."""
    folder = watched(tmp_path, rules, tell=False)
    code, _, err = call(capsys, "test", rules, folder.path)
    assert (code, "but it was not said: slow firing at 2s" in err) == (20, True)


def test_a_run_with_other_rules_is_only_replayed(
    capsys: pytest.CaptureFixture[str], rules: Path, tmp_path: Path
) -> None:
    """There is nothing to hold it against."""
    folder = make_run(tmp_path / "results", 1, 20.0)
    folder.plan.write_bytes(plan().to_json())
    code, out, err = call(capsys, "test", rules, folder.path)
    assert (code, "firing" in out, "other rules" in err) == (0, True, True)


def test_rules_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines, in words and as JSON; those left out with the reason."""
    code, out, _ = call(capsys, "list", SCENARIOS / "gate.toml")
    assert (code, out.splitlines()[0].split()) == (0, ["rule", "severity", "when", "limit", "for", "every"])
    assert "left out: budget-slow: the run's steady load of 25s is shorter" in out
    shipped = SCENARIOS / "alerts" / "staging.toml"
    code, out, _ = call(capsys, "explain", shipped, "--scenario", SCENARIOS / "soak.toml")
    assert (code, "14.4 times for 14m" in " ".join(out.split())) == (0, True)
    for command in ("list", "explain"):
        _, out, _ = call(capsys, command, SCENARIOS / "soak.toml", "--json")
        content: dict[str, Any] = json.loads(out)
        assert content["rules"][0]["name"] == "emotion-slow"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "nowhere.toml"],
        ["explain", SCENARIOS / "alerts" / "staging.toml"],
        ["test", SCENARIOS / "alerts" / "staging.toml", "nowhere.toml"],
        ["test", SCENARIOS / "alerts" / "staging.toml", "no-such-run"],
    ],
)
def test_wrong_usage_exits_with_2(
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a reason on standard error, and no traceback."""
    monkeypatch.setenv("LOADGATE_RESULTS", str(tmp_path))
    code, _, err = call(capsys, *arguments)
    assert (code, bool(err), "Traceback" in err) == (2, True, False)
