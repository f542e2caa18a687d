"""The verdict on a terminal and in a log; each .txt was checked by hand against the .json beside it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from loadgate.judge.verdict import schema
from loadgate.report.evidence import value_text
from loadgate.report.text import SYMBOLS
from loadgate.report.verdict import print_verdict, render
from loadgate.report.verdict_facts import again, steady
from loadgate.report.verdict_table import bounds

STORED = Path("/srv/results/gate-20261122-203512/verdict.json")
CASES = ("pass", "fail", "invalid", "interrupted")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the results folder of the golden files be found by path alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGATE_RESULTS", raising=False)


def _content(data: Path, case: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((data / f"verdict-{case}.json").read_bytes())
    return content


@pytest.mark.parametrize("case", CASES)
def test_the_golden_verdicts_are_verdicts(case: str, data: Path) -> None:
    """What is rendered here has the form that judging writes."""
    jsonschema.validate(_content(data, case), schema())


@pytest.mark.parametrize("case", CASES)
def test_a_piped_verdict_is_plain_text(case: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stable columns, whole sentences on a line, no colour and no control character, all on stdout."""
    print_verdict(_content(data, case), STORED)
    captured = capsys.readouterr()
    assert captured.out == (data / f"verdict-{case}.txt").read_text(encoding="utf-8")
    assert captured.err == ""
    assert captured.out.replace("\n", "").isprintable()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("case", CASES)
def test_a_verdict_fits_the_terminal(case: str, width: int, data: Path) -> None:
    """Every line has room, but for a single word (a path, a URL) that is longer than the line."""
    for line in render(_content(data, case), STORED, width, SYMBOLS):
        text = line.plain
        assert len(text) <= width or len(text.split()[-1]) > width - 20, text


def test_a_narrow_terminal_shows_all_that_a_wide_one_shows(data: Path) -> None:
    """At 60 columns the table becomes two lines a row: its value, limits and samples are still there."""
    text = "\n".join(line.plain for line in render(_content(data, "fail"), STORED, 60, SYMBOLS))
    assert "880 req/s, target >= 1000/s, alert < 500/s, 27500" in " ".join(text.split())


def test_a_terminal_gets_symbols_and_colours(
    data: Path, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is told by symbol and word, and coloured as well."""
    monkeypatch.setattr(sys, "stdout", terminal)
    print_verdict(_content(data, "fail"), STORED)
    assert "✗ FAIL" in terminal.getvalue()
    assert "\x1b[1;31m✗ FAIL" in terminal.getvalue()


def test_no_color_is_honoured(data: Path, terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the symbols stay and no colour code (30 to 37, 90 to 97) is written."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", terminal)
    print_verdict(_content(data, "fail"), STORED)
    assert "✗ FAIL" in terminal.getvalue()
    assert "\x1b[1;31m" not in terminal.getvalue()
    assert not any(f"\x1b[{code}m" in terminal.getvalue() for code in (*range(30, 38), *range(90, 98)))


def test_what_a_target_sent_cannot_steer_the_terminal(data: Path) -> None:
    """The escape sequence in a failure's message is shown, not obeyed."""
    content = _content(data, "fail")
    assert "\x1b" in content["failures"][0]["message"]
    assert not any("\x1b" in line.plain for line in render(content, STORED, 80, SYMBOLS))


def test_a_value_that_would_round_onto_its_limit_is_written_out() -> None:
    """0.09999999% is below 0.1%, and with six digits it would read as 0.1%."""
    row = {"value": 0.09999999, "value_text": "0.1%", "unit": "%", "target_value": 0.1, "alert_value": 1.0}
    assert value_text(row) == "0.09999999%"
    assert value_text({**row, "value": 0.1}) == "0.1%"
    rate = {
        "value": 999.99999,
        "value_text": "1000 req/s",
        "unit": "req/s",
        "target_value": 1000.0,
        "alert_value": None,
    }
    assert value_text(rate) == "999.99999 req/s"


@pytest.mark.parametrize(
    ("interval", "unit", "text"),
    [
        ([4.3351, 25.472], "ms", "4.335 .. 25.47ms"),
        ([19.999, None], "ms", "20 .. infinite"),
        ([0.0, 0.0109183], "%", "0 .. 0.01092%"),
        (None, "%", "-"),
    ],
)
def test_bounds_are_rounded_to_what_they_are_worth(
    interval: list[float | None] | None, unit: str, text: str
) -> None:
    """Four significant digits of an interval; null is its infinite end."""
    assert bounds({"interval": interval, "unit": unit}) == text


def test_the_bounds_are_the_first_to_go_where_it_is_narrow(data: Path) -> None:
    """A log and a wide terminal show them; a narrow one keeps the rest of the table."""
    content = copy.deepcopy(_content(data, "pass"))
    content["objectives"][0]["interval"] = [1.25, 1.75]
    wide, narrow = ([line.plain for line in render(content, STORED, width, SYMBOLS)] for width in (None, 90))
    assert any("95% BOUNDS" in line for line in wide)
    assert any("1.25 .. 1.75ms" in line for line in wide)
    assert not any("BOUNDS" in line for line in narrow)
    assert any("OBJECTIVE" in line for line in narrow)


def test_nearly_all_is_not_all(data: Path) -> None:
    """One of ten million requests failed: the share is not written as 100%."""
    content = copy.deepcopy(_content(data, "pass"))
    content["books"]["steady"]["*"] |= {"arrivals": 10_000_000, "ok": 9_999_999}
    assert "(over 99.9999%)" in steady(content)


def test_the_command_to_judge_again_finds_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By id where the results folder is the default one, else by path."""
    content = _content(data, "pass")
    monkeypatch.setenv("LOADGATE_RESULTS", "/srv/results")
    assert again(content, STORED) == "loadgate verdict gate-20261122-203512"
    monkeypatch.delenv("LOADGATE_RESULTS")
    assert again(content, STORED) == "loadgate verdict /srv/results/gate-20261122-203512"


def test_a_row_that_is_optional_is_told_once_when_it_fails(data: Path) -> None:
    """Its reason stands under its row, and is not among the reasons of the run as well."""
    content = _content(data, "fail")
    row = next(row for row in content["objectives"] if row["verdict"] == "FAIL")
    row["optional"] = True
    content["reasons"] = [f"FAIL {row['name']}: {row['reason']}"]
    text = "\n".join(line.plain for line in render(content, STORED, None, {}))
    assert text.count(row["reason"]) == 1


def test_the_bounds_have_the_confidence_that_they_were_made_with(data: Path) -> None:
    """95% in a verdict of an older release, which does not say it; more where the run was looked at."""
    content = _content(data, "pass")
    for row in content["objectives"]:
        row["interval"] = [1.0, 2.0]
    heading = next(line.plain for line in render(content, STORED, None, {}) if "RESULT" in line.plain)
    assert "  95% BOUNDS  " in heading
    for row in content["objectives"]:
        row["confidence"] = 0.975
    heading = next(line.plain for line in render(content, STORED, None, {}) if "RESULT" in line.plain)
    assert "  97.5% BOUNDS  " in heading
