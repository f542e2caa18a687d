"""`loadgate validate` and `loadgate explain`, as transcripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loadgate.cli.main import cli

Write = Callable[..., Path]


def run(command: str, *arguments: object) -> Result:
    """Run a command under its group, as users do: run alone, it would keep `-h` from later tests.

    Click makes the help option of a command once, with the names that its first context had.
    """
    return CliRunner().invoke(cli, [command, *map(str, arguments)])


def test_good_files_are_ok_one_line_each(write: Write) -> None:
    """Both kinds are recognised by what is in them; stderr is silent."""
    path = write()
    result = run("validate", path, path.with_name("sla.toml"))
    assert result.exit_code == 0
    assert result.stdout == (
        f"{path}: OK (scenario 'load': 10m steady of 10m30s, about 660 000 requests judged; 3 objectives)\n"
        f"{path.with_name('sla.toml')}: OK (SLA table, 3 objectives)\n"
    )
    assert result.stderr == ""


def test_warnings_are_printed_and_pass(write: Write) -> None:
    """Exit 0; the warning says that it is one."""
    result = run("validate", write(("1100/s", "1001/s")))
    assert result.exit_code == 0
    assert (
        "traffic.stages: warning: offers 1001/s, less than 5% above 'throughput' >= 1000/s" in result.stderr
    )


def test_errors_are_printed_with_file_key_and_hint(write: Write) -> None:
    """Exit 2; no OK line for the faulty file, one for the good one."""
    path = write(("users = 400", "usres = 400"), ('hold = "10m"', "hold = 10"))
    result = run("validate", path, path.with_name("sla.toml"))
    assert result.exit_code == 2
    assert f"{path}: traffic.usres: unknown key 'usres' (did you mean 'users'?)\n" in result.stderr
    assert f"{path}: traffic.stages[0].hold: 10 has no unit (write text with a unit, for" in result.stderr
    assert result.stdout == f"{path.with_name('sla.toml')}: OK (SLA table, 3 objectives)\n"


def test_validation_as_json(write: Write) -> None:
    """Every file with its kind and problems; the same exit code."""
    path = write(("users = 400", "users = 0"))
    result = run("validate", "--json", path)
    assert result.exit_code == 2
    (file,) = json.loads(result.stdout)
    assert (file["kind"], file["ok"]) == ("scenario", False)
    assert [(p["key"], p["severity"]) for p in file["problems"]] == [("traffic.users", "error")]


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """Exit 2, not a traceback."""
    result = run("validate", tmp_path / name)
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr


def test_a_table_is_explained_without_a_run(write: Write) -> None:
    """What it needs is said; what a run gives is not."""
    result = run("explain", write().with_name("sla.toml"))
    assert result.exit_code == 0
    assert "1. emotion.response_time: target < 50ms, alert > 200ms" in result.stdout
    assert "Needs 59 requests, none of them bad" in result.stdout
    assert "The run" not in result.stdout


def test_a_row_is_explained_with_the_run(write: Write) -> None:
    """1100/s for 600 s, half of it emotion, is 330000; process readings every 10 s are 60."""
    text = " ".join(run("explain", write()).stdout.split())
    assert "Planned run" in text
    assert "a request that takes 50ms or more, or is not answered well; at most 5% of them may be." in text
    assert "Fails when > 200ms over the whole phase, or for 1m in its windows of 30s." in text
    assert "The run is expected to give about 330 000: enough." in text
    assert "The run offers 1100/s: enough." in text
    assert "The run is expected to give about 60: enough." in text


def test_a_table_can_be_held_against_a_scenario(write: Write) -> None:
    """Also one that the scenario does not name itself."""
    path = write(('hold = "10m"', 'hold = "1s"'), ('endpoint = "emotion"', 'statistic = "p99.9"'))
    result = run("explain", path.with_name("sla.toml"), "--scenario", path)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "Needs 2995 requests, none of them bad, for a 95% one-sided claim." in text
    assert "The run is expected to give about 1 100: not enough." in text
    assert "too short for a breach of 1m" in text
    assert "warning" in result.stderr


def test_left_out_and_optional_rows_are_marked(write: Write) -> None:
    """They stay in the explanation."""
    path = write(("[[probes]]", '[verdict]\nleave_out = ["throughput"]\noptional = ["cpu"]\n[[probes]]'))
    text = run("explain", path).stdout
    assert "2. throughput: target >= 1000/s, alert < 500/s  (left out of this run)" in text
    assert "3. cpu: target < 50%, alert > 80%  (optional)" in text


def test_explanations_fit_eighty_columns(scenarios: Path) -> None:
    """As a terminal has them."""
    result = run("explain", scenarios / "sla" / "staging.toml")
    assert max(len(line) for line in result.stdout.splitlines() if str(scenarios) not in line) <= 80


def test_an_explanation_as_json(write: Write) -> None:
    """Needed and expected samples as numbers."""
    rows = json.loads(run("explain", "--json", write()).stdout)["objectives"]
    assert [(row["name"], row["needed"], row["expected"], row["enough"]) for row in rows] == [
        ("emotion.response_time", 59, 330_000.0, True),
        ("throughput", 0, 1100.0, True),
        ("cpu", 5, 60.0, True),
    ]


def test_a_faulty_plan_is_not_explained(write: Write) -> None:
    """Exit 2 with the problems, also as JSON."""
    path = write(('alert = "> 200ms"', 'alert = "> 20ms"'))
    result = run("explain", path.with_name("sla.toml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "objective[0].alert: '> 20ms' lies inside the target '< 50ms'" in result.stderr
    result = run("explain", "--json", path)
    assert (result.exit_code, len(json.loads(result.stdout)["problems"])) == (2, 1)


def test_two_scenarios_are_one_too_many(write: Write) -> None:
    """`explain SCENARIO --scenario OTHER` says what to do."""
    path = write()
    result = run("explain", path, "--scenario", path)
    assert result.exit_code == 2
    assert "name the SLA table first" in result.stderr
