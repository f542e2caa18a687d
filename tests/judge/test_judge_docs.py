"""The pages about verdicts and exit codes say what the code says."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import loadgate.exit_codes
from loadgate.exit_codes import ExitCode
from loadgate.judge import attribution, findings, fleet, generator, run
from loadgate.judge.results import Grade
from loadgate.judge.verdict import schema
from loadgate.plan.sla import METRICS
from loadgate.plan.units import format_duration, format_share

DOCS = Path(__file__).parents[2] / "docs"


def section(page: str, title: str) -> str:
    """Return one section of a page."""
    return page.split(title, 1)[1].split("\n## ", 1)[0]


def keys_in(text: str) -> set[str]:
    """Return the words in the first column of the tables of a text."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_the_page_of_exit_codes_is_the_list_in_the_code() -> None:
    """Codes, names and meanings are those of `ExitCode`, in its order."""
    (body,) = (
        node
        for node in ast.parse(inspect.getsource(loadgate.exit_codes)).body
        if isinstance(node, ast.ClassDef)
    )
    meanings = [ast.literal_eval(node.value) for node in body.body if isinstance(node, ast.Expr)][1:]
    expected = [
        (str(int(code)), code.name, meaning) for code, meaning in zip(ExitCode, meanings, strict=True)
    ]
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \| (\w+) \| (.+) \|$", page, re.MULTILINE) == expected


def test_the_page_of_verdicts_lists_every_key() -> None:
    """Every key of the schema is on the page, and no other."""
    page = section((DOCS / "verdict.md").read_text(encoding="utf-8"), "## Keys of verdict.json")
    whole, rows = page.split("Each row of `objectives`", 1)
    assert keys_in(whole) == set(schema()["properties"])
    assert keys_in(rows) == set(schema()["$defs"]["objective"]["properties"])


def test_the_page_of_verdicts_names_every_verdict_and_metric() -> None:
    """The five verdicts and all metrics have their line."""
    page = (DOCS / "verdict.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([A-Z]+) \|", page, re.MULTILINE) == [grade.value for grade in Grade]
    assert set(METRICS) <= keys_in(section(page, "## The verdict of a row"))


@pytest.mark.parametrize(
    "limit",
    [
        f"under {format_share(run.COVERAGE_NEEDED)}",
        f"over {format_duration(generator.START_LAG_LIMIT_US / 1e6)}",
        f"over {format_share(generator.UNSENT_LIMIT)}",
        f"over {format_duration(generator.LOOP_LAG_LIMIT_US / 1e6)}",
        f"over {format_share(generator.STALLED_LIMIT)}",
        f"{format_share(generator.FULL_CORE)} of a core or more",
        f"over {format_share(generator.FULL_LIMIT)} of its steady seconds",
        f"over {format_duration(generator.FULL_LAG_LIMIT_US / 1e6)}",
        f"under {format_share(generator.ACHIEVED_NEEDED)} of what came due",
        f"less than {format_share(generator.ACHIEVED_NEEDED)} of the planned",
    ],
)
def test_the_limits_of_a_void_run_are_those_of_the_code(limit: str) -> None:
    """Each constant stands on the page as it is."""
    assert limit in section((DOCS / "verdict.md").read_text(encoding="utf-8"), "## The verdict of a run")


def test_every_kind_of_finding_is_on_the_page() -> None:
    """The kinds that the code makes are listed, and no other."""
    made = set(re.findall(r"Finding\(\s*\"(\w+)\"", inspect.getsource(findings)))
    made |= set(re.findall(r"yield \"(\w+)\"", inspect.getsource(fleet) + inspect.getsource(attribution)))
    page = section((DOCS / "verdict.md").read_text(encoding="utf-8"), "## Findings")
    assert set(re.findall(r"`([a-z_]+)`(?=[ ,.])", page)) - {"kind"} == made
