"""Annotations and outputs of GitHub Actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.report import github
from loadgate.report.github import Annotation, Table, capped, escaped, objective_lines, table_at

DATA = Path(__file__).parent.parent / "data" / "report"
ROOT = Path(__file__).parents[2]
STAGING = ROOT / "scenarios" / "sla" / "staging.toml"
CASES = ("pass", "fail", "invalid", "interrupted")

TWO_ROWS = """# a comment that says [[objective]]
[[objective]]
metric = "error_rate"
target = "< 1%"
every  = "30s"

  [[ objective ]]  # the other
metric   = "response_time"
endpoint = "emotion"
target   = "< 50ms"
every    = "30s"
"""


def _content(case: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((DATA / f"verdict-{case}.json").read_bytes())
    return content


@pytest.mark.parametrize("case", CASES)
def test_the_annotations_of_a_verdict_are_as_they_were_checked(case: str) -> None:
    """The run first, then each row that does not pass, at its line of the table."""
    table = Table("scenarios/sla/staging.toml", {"emotion.response_time": 9, "error_rate": 36})
    written = "\n".join(github.annotate(_content(case), table)) + "\n"
    assert written == (DATA / f"github-{case}.txt").read_text(encoding="utf-8")


def test_the_lines_are_those_of_the_table() -> None:
    """Of the shipped table: the line of the header before each row, by the row's name."""
    lines = STAGING.read_text(encoding="utf-8").split("\n")
    found = objective_lines(STAGING)
    assert len(found) == 9
    assert all(lines[number - 1] == "[[objective]]" for number in found.values())
    assert 'metric = "error_rate"' in lines[found["error_rate"]]
    assert lines[found["creative.response_time"] + 1] == 'endpoint  = "creative"'


def test_a_header_in_a_comment_is_none(tmp_path: Path) -> None:
    """Lines 2 and 7; blanks in the header do not matter."""
    path = tmp_path / "sla.toml"
    path.write_text(TWO_ROWS)
    assert objective_lines(path) == {"error_rate": 2, "emotion.response_time": 7}


@pytest.mark.parametrize(
    "text",
    [
        'objective = [{metric = "error_rate", target = "< 1%", every = "30s"}]',
        TWO_ROWS.replace("< 1%", "1"),
        TWO_ROWS + 'name = """\n[[objective]]\n"""\n',
        "[[objective]",
    ],
)
def test_no_line_is_better_than_a_wrong_one(text: str, tmp_path: Path) -> None:
    """Rows written in another way, a faulty table, a header within a text: no lines at all."""
    path = tmp_path / "sla.toml"
    path.write_text(text)
    assert objective_lines(path) == {}


def test_a_table_that_is_gone_has_no_lines(tmp_path: Path) -> None:
    """The annotations then point to the file alone."""
    assert table_at(tmp_path / "none.toml", tmp_path) == Table("none.toml", {})


def test_a_file_outside_of_the_repository_is_not_pointed_to(tmp_path: Path) -> None:
    """GitHub would look for it within."""
    assert table_at(STAGING, tmp_path) == Table()
    assert table_at(None, tmp_path) == Table()
    assert table_at(STAGING, ROOT).file == "scenarios/sla/staging.toml"


def test_special_characters_are_escaped() -> None:
    """As GitHub's toolkit has it: % first, line ends, and in properties : and , as well."""
    annotation = Annotation("error", "a:b,c", "50% of\r\nall", "x,y.toml", 3)
    assert annotation.command() == "::error file=x%2Cy.toml,line=3,title=a%3Ab%2Cc::50%25 of%0D%0Aall"


@given(st.text(), st.text())
def test_a_command_is_one_line(title: str, message: str) -> None:
    """Whatever a target sent, it cannot begin a command of its own; and nothing is lost."""
    command = Annotation("notice", title, message).command()
    assert "\n" not in command
    assert "\r" not in command
    body = command.split("::", 2)[2]
    assert body.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") == message
    told = escaped(title, of="property")
    assert not set(told) & set(":,\r\n")
    for sign, character in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        told = told.replace(sign, character)
    assert told == title


@pytest.mark.parametrize(
    ("verdict", "optional", "strict", "level"),
    [
        ("WARN", False, False, "warning"),
        ("WARN", False, True, "error"),
        ("WARN", True, True, "notice"),
        ("FAIL", False, False, "error"),
        ("FAIL", True, False, "error"),
        ("INVALID", False, False, "error"),
        ("INVALID", True, False, "notice"),
        ("INCONCLUSIVE", False, False, "error"),
    ],
)
def test_each_verdict_has_its_level(verdict: str, optional: bool, strict: bool, level: str) -> None:
    """An error is what stops the job."""
    content = _content("pass")
    row = {**content["objectives"][0], "verdict": verdict, "optional": optional}
    commands = github.annotate({**content, "objectives": [row], "strict": strict}, Table())
    [command] = [one for one in commands if f"title={verdict} " in one]
    assert command.startswith(f"::{level} ")


def test_an_interval_is_told() -> None:
    """Beside the reason and the worst window."""
    content = _content("fail")
    content["objectives"][1]["interval"] = [19.1, 20.9]
    commands = github.annotate(content, Table())
    assert any("95%25 interval 19.1%25 to 20.9%25" in command for command in commands)


def test_ten_of_a_level_are_shown_and_the_rest_is_counted() -> None:
    """GitHub drops the eleventh without a word: of 25, nine are told and the tenth names the others."""
    found = capped([Annotation("error", f"row {n}", "") for n in range(25)])
    assert len(found) == 10
    assert found[-1].title == "and 16 more"
    assert found[-1].message.split(", ") == [f"row {n}" for n in range(9, 25)]


def test_the_outputs_of_a_step_are_three_lines() -> None:
    """Names as the action has them; empty where there was no verdict."""
    assert github.step_outputs("FAIL", 20, "gate-1") == "verdict=FAIL\nexit-code=20\nrun=gate-1\n"
    assert github.step_outputs("", 40, "") == "verdict=\nexit-code=40\nrun=\n"
