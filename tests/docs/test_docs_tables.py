"""The tables that are made from the code: those written into pages, and those of the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import database_tables
import page_tables
import settings_tables
from loadgate.plan.campaign import Campaign
from loadgate.plan.scenario import Scenario
from loadgate.plan.strict import keys_of

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = settings_tables.settings_tables()
DATABASE = database_tables.database_tables()


def rows(heading: str, text: str) -> dict[str, list[str]]:
    """Read the table below a heading: the cells of each row by its first one."""
    body = text.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("name", page_tables.PAGES)
def test_the_tables_in_pages_are_those_of_the_code(name: str) -> None:
    """`make reference` has nothing to do."""
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page_tables.PAGES[name](page) == page, "run `make reference`"


def test_making_tables_leaves_the_prose_alone() -> None:
    """A table is made in place, added where a command has none yet, and a section of no command stays."""
    page = "# Commands\n\n## loadgate init\n\nCopies.\n\n## not a command\n\n| a | b |\n"
    assert page_tables.with_options(page) == page
    made = page_tables.with_options("## loadgate runs\n\nLists.\n\n## loadgate init\n\nCopies.\n")
    assert made.startswith("## loadgate runs\n\nLists.\n\n| option | default | meaning |\n")
    assert made.endswith("|\n\n## loadgate init\n\nCopies.\n")
    assert page_tables.with_options(made) == made


def tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Give a model and those in it."""
    yield model
    for field in model.model_fields.values():
        nested, _ = settings_tables._nested(field.annotation)
        if nested is not None:
            yield from tables(nested)


@pytest.mark.parametrize("plan", [Scenario, Campaign])
def test_every_key_of_a_plan_is_in_the_settings(plan: type[BaseModel]) -> None:
    """Whatever is added to the models is on the page; what is written as text has no table of its own."""
    told = {key for line in SETTINGS.splitlines() if line.startswith("| `") for key in [line.split("`")[1]]}
    spelt = {"Limit", "Growth"}
    wanted = {key for model in tables(plan) if model.__name__ not in spelt for key in keys_of(model)}
    assert wanted - told == set()


@pytest.mark.parametrize(
    ("heading", "key", "value", "default"),
    [
        ("### [[traffic.stages]]", "rate", '`"1100/s"`', "none"),
        ("### [[traffic.stages]]", "phase", '`"steady"`, `"warmup"`', '`"steady"`'),
        ("### [traffic]", "wait", "text", '`"0s"`'),
        ("### [http]", "timeout", "duration, more than 0", '`"30s"`'),
        ("### [http]", "verify", "`true`, `false`", "`true`"),
        ("### [generator]", "workers", "whole number, at least 1, at most 10000", "`1`"),
        ("### [smoke]", "oversized", "quantity", "`2000000` in SI units"),
        ("### [[objective]]", "target", 'quantity, such as `"< 50ms"`', "required"),
        ("### [[objective]]", "for", "duration", "follows from other keys"),
        ("### [[alert]]", "flaps", "text", "none"),
    ],
)
def test_kinds_and_defaults_are_in_the_words_of_a_plan(
    heading: str, key: str, value: str, default: str
) -> None:
    """A quantity with its unit, a choice with its words, what is required as such."""
    cells = rows(heading, SETTINGS)[key]
    assert value in cells[0]
    assert cells[1] == default


def test_the_schema_page_lists_the_columns_that_run_database_md_explains() -> None:
    """Both pages hold the same tables and columns, in the same order."""
    prose = (DOCS / "run-database.md").read_text(encoding="utf-8")
    for table in re.findall(r"^### `(\w+)`$", DATABASE, re.MULTILINE):
        explained = prose.split(f"\n### `{table}`\n", 1)[1].split("\n#", 1)[0]
        lines = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", explained, re.MULTILINE)
        names = [name for line in lines for name in re.findall(r"\w+", line)]
        found = list(rows(f"### `{table}`", DATABASE))
        if table != "schema_version":  # which both databases have
            assert names == found, table


def test_the_schema_page_tells_keys_from_columns() -> None:
    """The places in a primary key, and what may be null, are SQLite's own answers."""
    window = rows("### `window`", DATABASE)
    assert [name for name, cells in window.items() if cells[3]] == ["second", "span", "endpoint", "phase"]
    assert window["arrivals"] == ["INTEGER", "", "", ""]
