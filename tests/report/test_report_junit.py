"""The verdict as JUnit XML; each .xml was checked by hand against the .json beside it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.report import junit

DATA = Path(__file__).parent.parent / "data" / "report"
CASES = ("pass", "fail", "invalid", "interrupted")
GRADES = ("PASS", "WARN", "FAIL", "INCONCLUSIVE", "INVALID")


def _content(case: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((DATA / f"verdict-{case}.json").read_bytes())
    return content


def _row(**changes: Any) -> dict[str, Any]:
    """Return a row that passes, with some keys changed."""
    return {**_content("pass")["objectives"][0], **changes}


def _run(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a verdict of these rows; verdict and exit code are the caller's to say."""
    return {**_content("pass"), "objectives": list(rows), **changes}


def _parsed(content: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(junit.render(content))


def _states(content: dict[str, Any]) -> dict[str, str]:
    """Return the element of each case by its name; "" for one that passed."""
    found = {}
    for case in _parsed(content).iter("testcase"):
        kinds = [child.tag for child in case if child.tag != "system-out"]
        found[case.attrib["name"]] = kinds[0] if kinds else ""
    return found


def _red(content: dict[str, Any]) -> bool:
    return any(state in ("failure", "error") for state in _states(content).values())


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema of Jenkins' xunit plugin, the strictest in use."""
    xmlschema = pytest.importorskip("xmlschema", reason="a validator of XML schemas is not installed")
    return xmlschema.XMLSchema(DATA / "junit-10.xsd")


# -- the whole file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_verdict_as_junit_is_as_it_was_checked(case: str) -> None:
    """To the byte."""
    assert junit.render(_content(case)) == (DATA / f"verdict-{case}.xml").read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_it_keeps_to_the_schema_of_jenkins(case: str, schema: Any) -> None:
    """No attribute or element that the strictest reader does not know."""
    schema.validate(junit.render(_content(case)).decode())


def test_a_file_without_a_verdict_keeps_to_the_schema(schema: Any) -> None:
    """And is an error: one case, none of them green."""
    written = junit.without_verdict("gate", "UNREACHABLE", "did not answer", ["| last line"])
    schema.validate(written.decode())
    root = ElementTree.fromstring(written)
    assert (root.attrib["tests"], root.attrib["errors"]) == ("1", "1")
    error = next(root.iter("error"))
    assert (error.attrib["type"], error.attrib["message"]) == ("UNREACHABLE", "did not answer")
    assert error.text == "| last line"


def test_a_fault_in_a_file_is_found(schema: Any) -> None:
    """The schema is strict: an attribute of the testsuites that it does not know is refused."""
    assert not schema.is_valid(
        junit.render(_content("pass")).decode().replace("<testsuites ", '<testsuites x="1" ')
    )


# -- its suites and cases ----------------------------------------------------------------------------


def test_endpoints_have_suites_of_their_own() -> None:
    """The run comes first, with the rows of no endpoint; one that is called "run" keeps apart."""
    rows = [_row(endpoint=name, name=f"row {name}") for name in ("emotion", None, "run", "emotion")]
    root = _parsed(_run(*rows))
    assert [suite.attrib["name"] for suite in root] == ["run", "emotion", "run (endpoint)"]
    assert [len(suite.findall("testcase")) for suite in root] == [2, 2, 1]


def test_names_are_told_apart() -> None:
    """CI systems keep a case's history by its name, so that two of one name would be one."""
    names = list(_states(_run(_row(), _row(), _row())))
    assert len(names) == 4


@pytest.mark.parametrize(
    ("verdict", "optional", "strict", "element"),
    [
        ("PASS", False, False, ""),
        ("PASS", True, True, ""),
        ("WARN", False, False, ""),
        ("WARN", False, True, "failure"),
        ("WARN", True, False, "skipped"),
        ("WARN", True, True, "skipped"),
        ("FAIL", False, False, "failure"),
        ("FAIL", True, False, "failure"),
        ("INVALID", False, False, "error"),
        ("INVALID", True, False, "skipped"),
        ("INCONCLUSIVE", False, False, "error"),
        ("INCONCLUSIVE", True, False, "skipped"),
    ],
)
def test_each_verdict_has_its_element(verdict: str, optional: bool, strict: bool, element: str) -> None:
    """An optional row decides only by failing, as in the verdict; WARN stops only a strict gate."""
    row = _row(name="a row", statistic=None, verdict=verdict, optional=optional, reason="because")
    content = _run(row, strict=strict)
    assert _states(content)["a row"] == element
    if element:
        found = next(_parsed(content).iter(element))
        assert (found.attrib["type"], found.attrib["message"]) == (verdict, "because")


def test_a_warning_that_passes_is_told() -> None:
    """Its evidence stands in system-out, with the verdict in front."""
    root = _parsed(_run(_row(verdict="WARN", reason="worse than the target")))
    assert [out.text.splitlines()[0] for out in root.iter("system-out")][1] == "WARN: worse than the target"


def test_a_failure_says_all_that_is_behind_it() -> None:
    """Observed value, limits, samples, interval, worst window with its time, time in violation, notes."""
    row = copy.deepcopy(_content("fail")["objectives"][0]) | {"interval": [210.5, None]}
    [failure] = _parsed(_run(row)).iter("failure")
    assert failure.text.splitlines() == [
        f"FAIL: {row['reason']}",
        "observed: infinite",
        "limit: target < 50ms, alert > 200ms",
        "samples: 27500",
        "95% interval: 210.5ms to infinite",
        "worst window: infinite over 15500 samples, 20:35:27 to 20:35:42 UTC (run time 15s to 30s)",
        "past the alert threshold for 25s in its windows, 25s on end",
        "note: 5500 failed, timed-out, unfinished or unsent requests count as infinitely slow",
    ]


def test_counts_and_times_add_up() -> None:
    """The totals are those of the suites, and the time is the run's, which its own case holds: 30.4 s."""
    root = _parsed(_content("fail"))
    for key in ("tests", "failures", "errors"):
        assert sum(int(suite.attrib[key]) for suite in root) == int(root.attrib[key])
    assert (root.attrib["tests"], root.attrib["failures"]) == ("6", "2")
    assert sum(float(case.attrib["time"]) for case in root.iter("testcase")) == pytest.approx(30.4)


# -- never green without a verdict that is -----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"void": True, "verdict": "INVALID", "exit_code": 30}, "INVALID"),
        ({"ended": "interrupted", "exit_code": 130}, "interrupted"),
        ({"ended": "died", "verdict": "INVALID", "exit_code": 30}, "died"),
        ({"running": True, "verdict": "INVALID", "exit_code": 30}, "running"),
        ({"verdict": "INVALID", "exit_code": 30}, "INVALID"),
        ({"exit_code": 130}, "PASS"),
    ],
)
def test_the_run_has_a_case_of_its_own(changes: dict[str, Any], kind: str) -> None:
    """It is red for a void run, for one that ended early, and where no row shows why the code is not 0."""
    [error] = _parsed(_run(_row(), **changes)).iter("error")
    assert error.attrib["type"] == kind


def test_optional_rows_alone_are_not_green() -> None:
    """All of them without data: the verdict is INVALID though each row is skipped."""
    row = _row(verdict="INVALID", optional=True, value=None, value_text="no data")
    assert _red(_run(row, verdict="INVALID", exit_code=30))


@st.composite
def _verdicts(draw: st.DrawFn) -> dict[str, Any]:
    """Draw rows and a run around them, with an exit code as the table of exit codes has it."""
    rows = [
        _row(verdict=draw(st.sampled_from(GRADES)), optional=draw(st.booleans()), name=f"row {n}")
        for n in range(draw(st.integers(0, 5)))
    ]
    strict, void = draw(st.booleans()), draw(st.booleans())
    ended = draw(st.sampled_from(["planned", "planned", "stopped", "interrupted", "died"]))
    verdict = draw(st.sampled_from(GRADES))
    if ended != "planned" and verdict != "FAIL":
        verdict = "INVALID"
    code = {"PASS": 0, "WARN": 10 if strict else 0, "FAIL": 20, "INVALID": 30, "INCONCLUSIVE": 31}[verdict]
    code = 130 if ended == "interrupted" else code
    return _run(*rows, strict=strict, void=void, ended=ended, verdict=verdict, exit_code=code)


@given(_verdicts())
def test_a_green_file_means_exit_code_0(content: dict[str, Any]) -> None:
    """Whatever the rows are: with any other code, or a void run, something is red."""
    assert _red(content) or (content["exit_code"] == 0 and not content["void"])


@given(st.text(), st.text(), st.text())
def test_any_text_is_well_formed(reason: str, name: str, scenario: str) -> None:
    """Control characters, surrogates and markup of a target do not break the file; readers parse it."""
    row = _row(verdict="FAIL", reason=reason, name=name, endpoint=name, statistic=None)
    root = _parsed(_run(row, scenario=scenario, reasons=[reason], host=reason))
    [failure] = root.iter("failure")
    assert failure.attrib["message"].isprintable()
