"""A smoke check for people and for CI."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.report.smoke import headline, junit, render
from loadgate.report.text import ASCII_SYMBOLS, SYMBOLS
from loadgate.watch.smoke import Check, State
from loadgate.watch.smoke_results import content_of

XSD = Path(__file__).parent.parent / "data" / "report" / "junit-10.xsd"
HEALTH = Check("target", "health", State.PASSED, "up, uptime 5", limit=5.0, took=0.0123)
LIMIT = Check("target", "rate limit", State.PASSED, "headers ratelimit", notes=("is it in force?",))
ANSWER = Check("emotion", "answers with valid data", State.FAILED, "answered: 503", "answered", 5.0, 1.234)
CACHE = Check("emotion", "answers from its cache", State.SKIPPED, "its first answer failed")


def content(*checks: Check, strict: bool = False, waited: float = 0.0) -> dict[str, Any]:
    return content_of(
        checks,
        scenario="load",
        host="http://127.0.0.1:3000",
        plan="abc",
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        took=1.5,
        waited=waited,
        strict=strict,
    )


def lines(*checks: Check, **more: Any) -> list[str]:
    symbols = {**SYMBOLS, "skipped": "–"}
    return [line.plain.rstrip() for line in render(content(*checks, **more), symbols)]


def test_a_checklist_has_a_line_per_check():
    """Its mark, its name, its time of its limit, what was seen; notes below, and the result at the end."""
    assert lines(HEALTH, LIMIT, ANSWER, CACHE) == [
        "✓  health                           12.3ms of 5s  up, uptime 5",
        "✓  rate limit                                     headers ratelimit",
        "   ! is it in force?",
        "✗  emotion answers with valid data   1.23s of 5s  answered: 503",
        "–  emotion answers from its cache                 its first answer failed",
        "",
        "FAIL  load on http://127.0.0.1:3000: 2 of 4 checks passed, 1 failed, 1 could not be made, in 1.5s",
    ]


def test_nothing_checked_is_said():
    """With what to do about it."""
    assert lines() == [
        "",
        "INVALID  load on http://127.0.0.1:3000: nothing was checked; "
        "the scenario has neither probes nor [smoke]",
    ]


def test_the_waiting_is_told():
    """A second or more of it."""
    assert headline(content(HEALTH, waited=12.0)).endswith(
        "1 of 1 check passed, in 1.5s, after 12s of waiting"
    )
    assert headline(content(HEALTH, waited=0.2)).endswith("1 of 1 check passed, in 1.5s")


def test_other_encodings_have_other_marks():
    """Where ✓ cannot be written."""
    (first, *_) = render(content(HEALTH), {**ASCII_SYMBOLS, "skipped": "-"})
    assert first.plain.startswith("+  health")


def test_what_a_target_says_moves_no_cursor():
    """Control characters and line ends are taken out."""
    evil = Check("target", "health", State.FAILED, "a\x1b[2Jb\nc\r", "not up")
    assert lines(evil)[0].endswith("a?[2Jb c")


# -- JUnit --


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema of Jenkins' xunit plugin, the strictest in use."""
    xmlschema = pytest.importorskip("xmlschema", reason="a validator of XML schemas is not installed")
    return xmlschema.XMLSchema(XSD)


def cases(found: dict[str, Any]) -> dict[str, str]:
    """Return the element of each case; "" for one that passed."""
    result = {}
    for case in ElementTree.fromstring(junit(found)).iter("testcase"):
        kinds = [child.tag for child in case if child.tag != "system-out"]
        result[f"{case.attrib['classname']} {case.attrib['name']}"] = kinds[0] if kinds else ""
    return result


def test_each_endpoint_is_a_suite_and_each_check_a_case():
    """Failed is a failure, what could not be made is skipped."""
    assert cases(content(HEALTH, LIMIT, ANSWER, CACHE)) == {
        "load smoke.target health": "",
        "load smoke.target rate limit": "",
        "load smoke.emotion answers with valid data": "failure",
        "load smoke.emotion answers from its cache": "skipped",
    }


@pytest.mark.parametrize("checks", [(), (CACHE,)])
def test_nothing_checked_is_red(checks):
    """No case at all would look green."""
    assert cases(content(*checks))["load smoke.target the smoke check"] == "error"


some = st.sampled_from([HEALTH, LIMIT, ANSWER, CACHE])


@given(st.lists(some, max_size=5), st.booleans())
def test_the_file_is_red_exactly_when_the_exit_code_is_not_0(checks, strict):
    """Strict warnings too."""
    found = content(*checks, strict=strict)
    assert any(kind in ("failure", "error") for kind in cases(found).values()) == (found["exit_code"] != 0)


@given(st.lists(some, max_size=5), st.text(max_size=20))
def test_it_is_valid_to_the_schema(schema, checks, words):
    """Whatever a target says."""
    odd = Check(words or "x", words, State.FAILED, words, "answered", 1.0, 0.5)
    schema.validate(junit(content(*checks, odd)).decode())
