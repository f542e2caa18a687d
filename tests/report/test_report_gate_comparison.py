"""A gate's comparison in its reports: a suite in JUnit, a section in Markdown, annotations on GitHub."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.report import github, junit, markdown

DATA = Path(__file__).parent.parent / "data" / "report"
PASSED: dict[str, Any] = orjson.loads((DATA / "verdict-pass.json").read_bytes())
GRADES = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS")
CODES = {"FAIL": 20, "INVALID": 30, "INCONCLUSIVE": 31, "WARN": 0, "PASS": 0}
STATISTICS = ("p50", "p95", "p99", "mean", "error_rate", "throughput")


def code(verdict: str, *, strict: bool) -> int:
    """Return the exit code of a verdict."""
    return 10 if verdict == "WARN" and strict else CODES[verdict]


def row(verdict: str, statistic: str = "p95", endpoint: str = "emotion") -> dict[str, Any]:
    """Return a row of comparison.json: 20 ms to 26 ms."""
    return {
        "endpoint": endpoint,
        "statistic": statistic,
        "unit": "ms",
        "baseline": 20.0,
        "candidate": 26.0,
        "change": 0.3,
        "infinite": False,
        "interval": [0.25, 0.35],
        "floor": 0.05,
        "verdict": verdict,
        "reason": "20ms to 26ms (+30%)",
    }


def gated(*verdicts: str, strict: bool = False, faults: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a gate says whose run passed and whose comparison has these rows, or these faults."""
    rows = [row(verdict, statistic) for verdict, statistic in zip(verdicts, STATISTICS, strict=False)]
    worst = "INVALID" if faults or not rows else min(verdicts, key=GRADES.index)
    exit_code = code(worst, strict=strict)
    reasons = [*faults, *(f"{one['verdict']} emotion {one['statistic']}: {one['reason']}" for one in rows)]
    comparison = {
        "how": "stored",
        "baseline": "main@2",
        "candidate": "gate-1",
        "baseline_runs": ["a"],
        "candidate_runs": ["gate-1"],
        "confirming_runs": [],
        "verdict": worst,
        "exit_code": exit_code,
        "strict": strict,
        "reasons": reasons,
        "rows": rows,
        "differences": [],
        "notes": [],
        "facts": {"baseline": None, "calibration": None},
    }
    whole = copy.deepcopy(PASSED)
    return whole | {"verdict": worst, "exit_code": exit_code, "strict": strict, "comparison": comparison}


def cases(content: dict[str, Any]) -> dict[str, str]:
    """Return the element of each case by suite and name; "" for one that passed."""
    found = {}
    for suite in ElementTree.fromstring(junit.render(content)).iter("testsuite"):
        for case in suite.iter("testcase"):
            kinds = [child.tag for child in case if child.tag != "system-out"]
            found[f"{suite.get('name')}: {case.get('name')}"] = kinds[0] if kinds else ""
    return found


@given(st.lists(st.sampled_from(GRADES), max_size=6), st.booleans())
def test_junit_is_green_when_and_only_when_the_exit_code_is_0(verdicts: list[str], strict: bool) -> None:
    """The law of the file, whatever the comparison says; also without any row."""
    content = gated(*verdicts, strict=strict)
    red = [name for name, element in cases(content).items() if element in ("failure", "error")]
    assert bool(red) == (content["exit_code"] != 0)
    # The run itself held; what is red is the comparison's.
    assert all(name.startswith("regression: ") for name in red)


def test_each_row_is_a_case_of_its_own_suite() -> None:
    """FAIL is a failure, what is not known an error, WARN passes."""
    found = cases(gated("FAIL", "INCONCLUSIVE", "WARN", "PASS"))
    assert {name: element for name, element in found.items() if name.startswith("regression")} == {
        "regression: the comparison": "",
        "regression: emotion p50": "failure",
        "regression: emotion p95": "error",
        "regression: emotion p99": "",
        "regression: emotion mean": "",
    }


def test_what_could_not_be_compared_is_an_error_of_the_comparison() -> None:
    """There is no row that could show it."""
    content = gated(faults=("the run is not like main@2", "workers: 1 in the baseline, 2 in the candidate"))
    [error] = ElementTree.fromstring(junit.render(content)).iter("error")
    assert (error.attrib["type"], error.attrib["message"]) == ("INVALID", "the run is not like main@2")
    assert "workers: 1" in str(error.text)


def test_an_endpoint_of_that_name_keeps_apart() -> None:
    """Its suite says that it is an endpoint's."""
    content = gated("PASS")
    content["objectives"] = [content["objectives"][0] | {"endpoint": "regression"}]
    assert any(name.startswith("regression (endpoint): ") for name in cases(content))


def test_it_keeps_to_the_schema_of_jenkins() -> None:
    """As every verdict does."""
    xmlschema = pytest.importorskip("xmlschema", reason="a validator of XML schemas is not installed")
    schema = xmlschema.XMLSchema(DATA / "junit-10.xsd")
    schema.validate(junit.render(gated("FAIL", "WARN")).decode())


def test_markdown_has_a_section_of_it() -> None:
    """Below the table of objectives, above the load; and none without a comparison."""
    text = markdown.render(gated("FAIL", "PASS"))
    assert text.startswith("## FAIL: gate")
    heading = "### FAIL: gate-1 against main@<!-- -->2 (stored)"
    assert text.index("| Result |") < text.index(heading) < text.index("**Load**")
    assert "| FAIL | emotion p50 | 20ms | 26ms | +30.0% | +25.0% .. +35.0% | 5.0% |" in text
    assert "###" not in markdown.render(PASSED)


def test_github_gets_one_annotation_and_one_for_each_red_row() -> None:
    """A comparison that passes is a notice, one that warns a warning."""
    found = github.annotate(gated("FAIL", "INCONCLUSIVE", "WARN", "PASS"), github.Table())
    told = [line.partition("::")[2].partition("::")[0] for line in found]
    assert told == [
        "error title=FAIL gate%2C exit code 20",
        "error title=FAIL regression%3A gate-1 against main@2 (stored)",
        "error title=FAIL emotion p50",
        "error title=INCONCLUSIVE emotion p95",
    ]
    assert "1 FAIL, 1 INCONCLUSIVE, 1 WARN, 1 PASS of 4 rows" in found[1]
    assert "::warning title=WARN regression" in "".join(github.annotate(gated("WARN"), github.Table()))
    assert "::notice title=PASS regression" in "".join(github.annotate(gated("PASS"), github.Table()))
