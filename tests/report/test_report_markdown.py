"""The verdict in Markdown; each .md was checked by hand against the .json beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from loadgate.report import markdown
from loadgate.report.markdown import code, escaped

DATA = Path(__file__).parent.parent / "data" / "report"
CASES = ("pass", "fail", "invalid", "interrupted")
COMMAND = "loadgate gate scenarios/gate.toml --host http://127.0.0.1:3000"
READER = MarkdownIt("gfm-like", {"linkify": False, "html": True})


def _content(case: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((DATA / f"verdict-{case}.json").read_bytes())
    return content


def _shown(text: str) -> str:
    """Return what a reader of Markdown shows of a text on one line, and fail on any markup in it."""
    [paragraph] = [token for token in READER.parse(text) if token.type == "inline"]
    kinds = {child.type for child in paragraph.children or []}
    assert kinds <= {"text", "text_special", "code_inline", "html_inline"}, kinds
    parts = [child for child in paragraph.children or [] if child.type != "html_inline"]
    assert {child.content for child in paragraph.children or [] if child.type == "html_inline"} <= {
        "<!-- -->"
    }
    return "".join(child.content for child in parts)


@pytest.mark.parametrize("case", CASES)
def test_a_verdict_as_markdown_is_as_it_was_checked(case: str) -> None:
    """To the byte; the command to run it again is there where it is known."""
    command = COMMAND if case == "fail" else None
    written = markdown.render(_content(case), command)
    assert written == (DATA / f"verdict-{case}.md").read_text(encoding="utf-8")


def test_the_report_that_was_left_is_named() -> None:
    """As text and not as a link, since where the results are kept is not known here."""
    written = markdown.render(_content("pass"), report="gate-1/report.html")
    assert "Charts, failures and the plan: `gate-1/report.html` among the kept results." in written
    assert "report.html" not in markdown.render(_content("pass"))


@pytest.mark.parametrize("case", CASES)
def test_it_is_short(case: str) -> None:
    """A usual run takes under 60 lines."""
    assert len(markdown.render(_content(case), COMMAND).splitlines()) < 60


@pytest.mark.parametrize("case", CASES)
def test_the_table_is_one(case: str) -> None:
    """A reader finds a table with seven columns and a row for each objective."""
    tokens = READER.parse(markdown.render(_content(case)))
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in ("th_open", "td_open")]
    assert len(rows) == len(_content(case)["objectives"]) + 1
    assert len(cells) == 7 * len(rows)


def test_an_interval_is_shown_in_the_row_s_unit() -> None:
    """48.1 to 49.3 ms; "infinite" where the upper end is among the infinitely slow."""
    content = _content("pass")
    content["objectives"][0]["interval"] = [48.1, 49.3]
    content["objectives"][2]["interval"] = [1090, None]
    written = markdown.render(content)
    assert "| 48.1ms to 49.3ms |" in written
    assert "| 1090 req/s to infinite |" in written


def test_the_alerts_of_a_run_are_listed() -> None:
    """Each with its severity, when it fired and when it was over; without any there is no such list."""
    alert = {
        "rule": "down",
        "severity": "critical",
        "fired_at": 90.0,
        "resolved_at": 120.0,
        "text": "gone | for 1m",
    }
    written = markdown.render(_content("pass") | {"alerts": [alert]})
    section = written.split("Alerts", 1)[1]
    assert r"down (critical) fired at 1m30s, resolved at 2m: gone \| for 1m" in section
    assert "Alerts" not in markdown.render(_content("pass"))


def test_a_long_table_shows_what_does_not_pass() -> None:
    """Of 100 rows the last one fails: it is shown, and the number of those left out is told."""
    content = _content("pass")
    row = content["objectives"][0]
    content["objectives"] = [{**row, "name": f"row {n}"} for n in range(99)] + [
        {**row, "name": "the bad one", "verdict": "FAIL"}
    ]
    written = markdown.render(content)
    assert "**FAIL** | the bad one" in written
    assert "40 more rows in verdict.json." in written
    assert len(written.splitlines()) < 100


def test_a_long_table_cuts_no_failed_row_for_a_warning() -> None:
    """Behind 60 warnings the last row fails: it comes first."""
    content = _content("pass")
    row = content["objectives"][0]
    content["objectives"] = [{**row, "name": f"row {n}", "verdict": "WARN"} for n in range(60)] + [
        {**row, "name": "the bad one", "verdict": "FAIL"}
    ]
    written = markdown.render(content)
    assert "**FAIL** | the bad one" in written
    assert "1 more row in verdict.json." in written


def test_many_reasons_are_counted() -> None:
    """Ten are told, the most telling first, and how many more there are."""
    content = _content("fail") | {"reasons": [f"reason {n}" for n in range(25)]}
    written = markdown.render(content)
    assert "- reason 9\n- and 15 more reasons in verdict.json" in written


def test_a_gate_without_a_verdict_says_so() -> None:
    """With the reason, what was said last, and the exit code."""
    written = markdown.without_verdict("gate", "did not answer", ["| bind: in use"], 40)
    assert written == (
        "## NO VERDICT: gate\n\n- did not answer\n  `| bind: in use`\n\nExit code 40. Nothing was judged.\n"
    )


def test_what_a_target_sent_is_no_markup() -> None:
    """The message of a failure stands in a code span: no link, no mention, no picture, no tag."""
    content = _content("fail")
    content["failures"] = [
        {**content["failures"][0], "message": "<img src=x> @everyone [a](http://b) `x` ![i](j) | *b*"}
    ]
    written = markdown.render(content)
    [line] = [line for line in written.splitlines() if line.startswith("- failures:")]
    inline = next(token for token in READER.parse(line) if token.type == "inline").children or []
    assert {child.type for child in inline} == {"text", "code_inline"}


def test_nobody_is_called_and_nothing_is_linked() -> None:
    """GitHub would tell everybody of a team, and make links of addresses."""
    written = escaped("see @org/team at http://evil.example")
    assert not re.search(r"@\w|://", written)
    assert _shown(written) == "see @org/team at http://evil.example"


PLAIN = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(str.strip)


@given(PLAIN)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    """By a Markdown reader, whatever is in it; behind a word, as reports have it."""
    assert _shown(f"x {escaped(text)}") == f"x {text}"


@given(PLAIN)
def test_code_is_shown_as_it_is(text: str) -> None:
    """Backquotes of any number among it too."""
    [token] = [token for token in READER.parse(f"x {code(text)}") if token.type == "inline"]
    spans = [child.content for child in token.children or [] if child.type == "code_inline"]
    assert spans == [text]


@given(st.text())
def test_a_cell_stays_a_cell(text: str) -> None:
    """No text of a plan adds a column or a row to the table."""
    content = _content("pass")
    content["objectives"][0]["name"] = text
    tokens = READER.parse(markdown.render(content))
    assert sum(token.type == "td_open" for token in tokens) == 3 * 7
