"""The templates for CI systems: known to their own schemas, and their scripts call the gate as meant."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from loadgate.cli.gate import gate
from loadgate.cli.main import cli

ROOT = Path(__file__).parents[2]
CI = ROOT / "deploy" / "ci"
BIN = Path(sys.executable).parent
ACTION = yaml.safe_load((CI / "action.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8"))
JENKINS = (CI / "Jenkinsfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")

NASTY = "python -m x --name \"a b\" '$(touch gone)' `touch gone`; touch gone"
"""A command that a shell must not read."""


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def problems(schema: str, path: Path, *more: str) -> str:
    """Hold a file against a schema that check-jsonschema brings; return what it found."""
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *more, path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def run_script(script: str, folder: Path, shell: str, **variables: str) -> list[str]:
    """Run a script whose `loadgate` only writes down its words; return them."""
    for home in (folder / "loadgate" / "bin", folder / ".loadgate" / "bin"):
        home.mkdir(parents=True)
        command = home / "loadgate"
        command.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > "{folder}/words"\nexit 20\n')
        command.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(folder), **variables}
    done = subprocess.run(
        [shell, "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 20, done.stderr
    assert not (folder / "gone").exists()
    return (folder / "words").read_text().split("\0")[:-1]


def parsed(words: list[str]) -> dict[str, Any]:
    """Let the command itself read the words after its name."""
    assert words[0] == "gate"
    # As below `loadgate`: a command keeps its -h from the first context that it is used in.
    parent = click.Context(cli, info_name="loadgate", **cli.context_settings)
    return gate.make_context("gate", words[1:], parent=parent).params


# -- GitHub ------------------------------------------------------------------------------------------


def test_the_action_is_one() -> None:
    """It keeps to the schema of GitHub's actions."""
    assert problems("github-actions", CI / "action.yml") == ""


def test_a_fault_in_an_action_is_found(tmp_path: Path) -> None:
    """The schema is strict: a composite step needs its shell."""
    (tmp_path / "action.yml").write_text((CI / "action.yml").read_text().replace("shell: bash", "shel: bash"))
    assert "shel" in problems("github-actions", tmp_path / "action.yml")


def test_the_workflow_of_the_page_is_one(tmp_path: Path) -> None:
    """It keeps to the schema of GitHub's workflows, and gives the action only inputs that it has."""
    [text] = [block for block in blocks(PAGE, "yaml") if "runs-on" in block]
    (tmp_path / "workflow.yml").write_text(text)
    assert problems("github-workflows", tmp_path / "workflow.yml") == ""
    [step] = [step for step in yaml.safe_load(text)["jobs"]["gate"]["steps"] if step.get("id") == "gate"]
    assert step["uses"] == "./deploy/ci"
    assert set(step["with"]) <= set(ACTION["inputs"])


def steps() -> Iterator[dict[str, Any]]:
    yield from ACTION["runs"]["steps"]


def test_no_input_is_text_of_a_script() -> None:
    """It would be read as commands: every input reaches the shell through the environment."""
    assert [step["name"] for step in steps() if "${{" in step["run"]] == []
    used = {name for step in steps() for name in re.findall(r"inputs\.([\w-]+)", str(step["env"]))}
    assert used == set(ACTION["inputs"])


def test_what_the_service_sees_is_not_the_action_s() -> None:
    """Services read HOST and the like: the action's own variables have names that no service reads."""
    names = {name for step in steps() for name in step["env"]}
    assert all(name.startswith("GATE_") for name in names)


def test_the_outputs_are_those_of_the_gate() -> None:
    """The names that `loadgate gate` writes to $GITHUB_OUTPUT."""
    values = {name: output["value"] for name, output in ACTION["outputs"].items()}
    assert values == {
        name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in ("verdict", "exit-code", "run")
    }
    assert [step.get("id") for step in steps()] == [None, "gate"]


def test_the_action_calls_the_gate(tmp_path: Path) -> None:
    """With all its inputs as they are, whatever they hold, and the gate's exit code."""
    words = run_script(
        list(steps())[1]["run"],
        tmp_path,
        "bash",
        GATE_SCENARIO="-a b.toml",
        GATE_HOST="http://127.0.0.1:1",
        GATE_START=NASTY,
        GATE_WAIT="90s",
        GATE_WORKERS="2",
        GATE_SET="traffic.users=5\n\nname=a b\n",
        GATE_BASELINE="main@2",
        GATE_STRICT="true",
        GATE_RESULTS="my results",
    )
    found = parsed(words)
    assert found["scenario"] == Path("-a b.toml")
    assert (found["host"], found["start"], found["within"]) == ("http://127.0.0.1:1", NASTY, 90.0)
    assert (found["workers"], found["overrides"]) == (2, ("traffic.users=5", "name=a b"))
    assert (found["baseline"], found["no_rerun"]) == ("main@2", False)
    assert (found["strict"], found["github"], found["results"]) == (True, True, "my results")
    assert (found["junit"], found["markdown"]) == (
        Path("my results/junit.xml"),
        Path("my results/gate.md"),
    )


def test_the_action_s_defaults_are_the_gate_s(tmp_path: Path) -> None:
    """Empty inputs give no option."""
    defaults = {
        f"GATE_{name.upper()}": entry["default"]
        for name, entry in ACTION["inputs"].items()
        if name != "python"
    }
    found = parsed(run_script(list(steps())[1]["run"], tmp_path, "bash", **defaults))
    for name in ("scenario", "host", "start", "within", "workers", "baseline"):
        assert found[name] is None
    assert (found["strict"], found["overrides"], found["results"]) == (False, (), "results")


# -- GitLab ------------------------------------------------------------------------------------------


def gitlab_problems(text: str, folder: Path) -> str:
    """Hold a template against the schema of GitLab CI with its job shown: hidden ones are hardly checked."""
    path = folder / "ci.yml"
    path.write_text(text.replace("\n.loadgate:\n", "\nloadgate:\n"))
    return problems("gitlab-ci", path, "--data-transform", "gitlab-ci")


def test_the_template_is_known_to_gitlab(tmp_path: Path) -> None:
    """It keeps to the schema of GitLab CI."""
    assert problems("gitlab-ci", CI / "gitlab-ci.yml", "--data-transform", "gitlab-ci") == ""
    assert gitlab_problems((CI / "gitlab-ci.yml").read_text(), tmp_path) == ""


def test_a_fault_in_a_template_is_found(tmp_path: Path) -> None:
    """The schema is strict: an unknown key of a job is a finding."""
    text = (CI / "gitlab-ci.yml").read_text().replace("expire_in", "expires_in")
    assert "expires_in" in gitlab_problems(text, tmp_path)


def test_the_jobs_of_the_pages_are_known_to_gitlab(tmp_path: Path) -> None:
    """That of docs/ci.md, and that in the template's own comment."""
    comment = re.findall(r"^#   (.*)$", (CI / "gitlab-ci.yml").read_text(), re.MULTILINE)
    [text] = [block for block in blocks(PAGE, "yaml") if "extends" in block]
    for number, block in enumerate(["\n".join(comment), text]):
        job = yaml.safe_load(block)
        assert set(job["performance"]["variables"]) <= set(GITLAB[".loadgate"]["variables"])
        path = tmp_path / f"{number}.yml"
        path.write_text(block)
        assert problems("gitlab-ci", path, "--data-transform", "gitlab-ci") == ""


def test_gitlab_calls_the_gate(tmp_path: Path) -> None:
    """With the command as one word, and the further options as words."""
    job = GITLAB[".loadgate"]
    [script] = job["script"]
    variables = {name: value for name, value in job["variables"].items() if name.startswith("GATE_")}
    found = parsed(run_script(script, tmp_path, "sh", **variables | {
        "GATE_START": NASTY,
        "GATE_OPTIONS": "--strict --workers 2 --baseline main",
    }))  # fmt: skip
    assert (found["scenario"], found["start"]) == (Path("scenarios/gate.toml"), NASTY)
    assert (found["strict"], found["workers"], found["within"]) == (True, 2, 60.0)
    assert found["baseline"] == "main"
    assert str(found["junit"]) == job["artifacts"]["reports"]["junit"]
    assert job["artifacts"]["when"] == "always"


def test_gitlab_s_defaults_start_nothing(tmp_path: Path) -> None:
    """Without a command the target has to be there."""
    job = GITLAB[".loadgate"]
    variables = {name: value for name, value in job["variables"].items() if name.startswith("GATE_")}
    assert parsed(run_script(job["script"][0], tmp_path, "sh", **variables))["start"] is None


def test_only_a_warning_is_let_through_by_gitlab() -> None:
    """Exit 10 is WARN with --strict; no other code may show as less than a failure."""
    assert GITLAB[".loadgate"]["allow_failure"] == {"exit_codes": [10]}


# -- Jenkins -----------------------------------------------------------------------------------------


def test_jenkins_calls_the_gate(tmp_path: Path) -> None:
    """Its parameters reach the shell through the environment, as one word each."""
    [script] = [text for text in re.findall(r"'''(.*?)'''", JENKINS, re.DOTALL) if "loadgate gate" in text]
    variables = {"GATE_SCENARIO": "a b.toml", "GATE_START": NASTY, "GATE_BASELINE": "main"}
    found = parsed(run_script(script, tmp_path, "sh", **variables))
    assert found["baseline"] == "main"
    assert (found["scenario"], found["start"], found["strict"]) == (Path("a b.toml"), NASTY, True)
    assert f"junit(testResults: '{found['junit']}')" in JENKINS
    assert "${" not in script


def test_jenkins_fails_on_every_code_but_those_it_names() -> None:
    """10 is unstable, 20 and every other code but 0 an error; JUnit and the run are kept in any case."""
    branches = re.findall(r"if \((code [!=]= \d+)\) \{\s*(\w+)\(", JENKINS)
    assert branches == [("code == 10", "unstable"), ("code == 20", "error"), ("code != 0", "error")]
    assert re.search(r"post \{\s*always \{\s*archiveArtifacts\(.*\s*junit\(", JENKINS)


def test_jenkins_file_is_closed() -> None:
    """Brackets open and close in pairs, outside of its texts and comments."""
    text = re.sub(r"'''.*?'''|'[^'\n]*'|\"[^\"\n]*\"|//[^\n]*", "", JENKINS, flags=re.DOTALL)
    stack = []
    pairs = {")": "(", "}": "{", "]": "["}
    for character in text:
        if character in "({[":
            stack.append(character)
        elif character in pairs:
            assert stack.pop() == pairs[character]
    assert stack == []


# -- the page ----------------------------------------------------------------------------------------


def test_every_command_of_the_page_is_understood() -> None:
    """What a reader copies is no wrong usage of the gate."""
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    found = [line for line in lines if "loadgate gate" in line]
    assert found
    for line in found:
        words = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {line.partition('loadgate gate ')[2]}"],
            capture_output=True,
            text=True,
        ).stdout.split("\0")[:-1]
        assert parsed(["gate", *words])["start"]


@pytest.mark.parametrize("code", ["0", "10", "20", "30", "31", "40", "2", "70", "130"])
def test_the_page_says_what_to_do_on_each_exit_code(code: str) -> None:
    """A row for each."""
    assert re.search(rf"^\| {code} \| ", PAGE, re.MULTILINE)
