"""The examples of the migrating pages are files that Locust and Loadgate take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docs_shell import Command, NamedFile, sections

ROOT = Path(__file__).parents[2]
PAGES = ("migrating-from-locust", "migrating-from-k6")
NOBODY = "http://127.0.0.1:9"
"""A target that nobody answers for."""
pytestmark = pytest.mark.system


def written(name: str, folder: Path) -> list[Command]:
    """Write the files that a page names into a folder, and return the commands that it names."""
    (section,) = sections(ROOT / "docs" / f"{name}.md", whole=True)
    for step in section.steps:
        if isinstance(step, NamedFile):
            (folder / step.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.name).write_text(step.text, encoding="utf-8")
    return section.commands


def loadgate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    command = [sys.executable, "-m", "loadgate", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("page", PAGES)
def test_the_plans_of_a_page_are_valid(page: str, tmp_path: Path) -> None:
    """Its own command says so, without a warning."""
    commands = written(page, tmp_path)
    assert [command.text for command in commands] == ["loadgate validate scenarios/shop.toml"]
    done = loadgate(tmp_path, "validate", "scenarios/shop.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_the_locustfile_of_a_page_sends_what_its_plan_names(page: str, tmp_path: Path) -> None:
    """A run comes as far as the target, where nobody is: its traffic, mix and table fit together."""
    written(page, tmp_path)
    done = loadgate(tmp_path, "run", "scenarios/shop.toml", "--host", NOBODY)
    assert done.returncode == 40, done.stdout + done.stderr


def stock_run(folder: Path, limit: str) -> subprocess.CompletedProcess[str]:
    """Run the page's stock locustfile with Locust alone, against nobody."""
    words = ["-f", "shop_stock.py", "--headless", "-u", "2", "-r", "2", "-t", limit, "-H", NOBODY]
    command = [sys.executable, "-m", "locust", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_stock_locustfile_is_recorded(tmp_path: Path) -> None:
    """Locust runs it with the one line more, and the page's table judges what stands in the results."""
    written("migrating-from-locust", tmp_path)
    done = stock_run(tmp_path, "4s")
    if done.returncode == 30:  # Locust takes its imports off the time; on a busy machine nothing is left
        done = stock_run(tmp_path, "15s")
    assert done.returncode == 1, done.stdout + done.stderr  # Locust's own rule: some request failed
    judged = loadgate(tmp_path, "verdict", "latest", "--sla", "scenarios/sla/shop.toml", "--json")
    (row,) = [row for row in json.loads(judged.stdout)["objectives"] if row["name"] == "error_rate"]
    assert (row["value"], row["n"] > 0) == (100, True)


def test_the_workflow_of_the_tutorial_is_a_workflow() -> None:
    """It is YAML, and its one command of Loadgate's is one that the tutorial has run in that folder."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    (gate,) = [step for step in steps if "loadgate gate" in step.get("run", "")]
    assert gate["working-directory"] == "perf"
    assert gate["run"].startswith("loadgate gate scenarios/feelings.toml --start ")
