"""The verdict as JUnit XML, which every CI system reads: a suite per endpoint, a case per objective.

| row | case |
|---|---|
| PASS, or WARN of a run that is not strict | passed; its evidence stands in system-out |
| FAIL, or WARN of a strict run | failure |
| INVALID, INCONCLUSIVE | error, with the verdict as its type |
| an optional row that neither passes nor fails | skipped, with the reason |

The suite "run" holds the rows without an endpoint and a case for the run itself. The suite "regression", of a
gate that compared the run with a baseline, holds a case for each row of the comparison and one for the
comparison itself. The file is green only if the exit code is 0: where no row shows why it is not, the case of
the run or of the comparison does.

The form is that of the schema of Jenkins' xunit plugin (junit-10.xsd), the strictest in use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

from loadgate.report import comparison
from loadgate.report.evidence import GREEN, decides, evidence, headline, in_utc, is_red, run_reasons, title
from loadgate.report.text import clean

RUN: Final = "run"
"""Name of the suite for what belongs to no endpoint."""
REGRESSION: Final = "regression"
"""Name of the suite for what a comparison with a baseline says."""

_ELEMENT: Final = {"FAIL": "failure", "WARN": "failure", "INVALID": "error", "INCONCLUSIVE": "error"}


@dataclass(frozen=True)
class Case:
    """One test case; `element` is failure, error or skipped, and empty for one that passed."""

    suite: str
    name: str
    element: str = ""
    kind: str = ""
    message: str = ""
    lines: tuple[str, ...] = ()
    seconds: float = 0.0


def render(content: dict[str, Any]) -> bytes:
    """Return the XML of a verdict.

    `content` is that of verdict.json; a gate that compared the run has that of comparison.json in it, under
    the key `comparison`.
    """
    rows = [_of_row(row, strict=content["strict"]) for row in content["objectives"]]
    rows += _of_comparison(content.get("comparison"))
    shown = any(case.element in ("failure", "error") for case in rows)
    cases = [_of_run(content, shown=shown), *rows]
    return _document(
        clean(content["scenario"] or "loadgate"),
        cases,
        properties=_properties(content),
        timestamp=f"{in_utc(content['started_at']):%Y-%m-%dT%H:%M:%S}",
    )


def without_verdict(scenario: str, kind: str, message: str, more: Sequence[str] = ()) -> bytes:
    """Return the XML of a gate that came to no verdict: one case, an error with `message`."""
    case = Case(RUN, "the run", "error", kind, clean(message), tuple(map(clean, more)))
    return _document(clean(scenario), [case], properties={}, timestamp="")


def _of_row(row: dict[str, Any], *, strict: bool) -> Case:
    """Make the case of an objective."""
    verdict = row["verdict"]
    element = ""
    if is_red(row, strict=strict):
        element = _ELEMENT[verdict]
    elif not decides(row) and verdict != "PASS":
        element = "skipped"
    reason = clean(row["reason"])
    lines = (f"{verdict}: {reason}", *evidence(row))
    return Case(_suite(row["endpoint"]), title(row), element, verdict, reason, lines)


def _suite(endpoint: str | None) -> str:
    """Name the suite of an endpoint; one that is called "run" must not hide in the suite of the run."""
    if endpoint is None:
        return RUN
    name = clean(endpoint)
    return f"{name} (endpoint)" if name in (RUN, REGRESSION) else name


def _of_comparison(content: dict[str, Any] | None) -> list[Case]:
    """Make the cases of a comparison; red when and only when its own exit code is not 0."""
    if content is None:
        return []
    green = ("PASS",) if content["strict"] else GREEN
    rows = []
    for row in content["rows"]:
        verdict, reason = row["verdict"], clean(row["reason"])
        element = "" if verdict in green else _ELEMENT[verdict]
        lines = (f"{verdict}: {reason}", *comparison.evidence(row))
        rows.append(Case(REGRESSION, comparison.row_name(row), element, verdict, reason, lines))
    shown = any(case.element for case in rows)
    reasons = comparison.own_reasons(content)
    lines = (comparison.title(content), *reasons)
    if content["exit_code"] == 0 or shown:
        return [Case(REGRESSION, "the comparison", lines=lines), *rows]
    element, message = _ELEMENT.get(content["verdict"], "error"), reasons[0] if reasons else lines[0]
    return [Case(REGRESSION, "the comparison", element, content["verdict"], message, lines), *rows]


def _of_run(content: dict[str, Any], *, shown: bool) -> Case:
    """Make the case of the run itself; `shown` says whether a row's case is red already."""
    reasons = run_reasons(content)
    lines = (headline(content), *reasons)
    seconds = content["ended_at"] or content["steady_seconds"]
    kind = ""
    if content["void"]:
        kind = "INVALID"
    elif content["running"] or content["ended"] != "planned":
        kind = "running" if content["running"] else content["ended"]
    elif content["exit_code"] != 0 and not shown:
        kind = content["verdict"]
    if not kind:
        return Case(RUN, "the run", lines=lines, seconds=seconds)
    message = reasons[0] if reasons else f"{headline(content)}, exit code {content['exit_code']}"
    return Case(RUN, "the run", "error", kind, message, lines, seconds)


def _properties(content: dict[str, Any]) -> dict[str, str]:
    keys = ("run", "scenario", "host", "model", "verdict", "exit_code", "ended", "started_at", "judged_at")
    found = {key: clean(content[key]) for key in keys}
    return found | {f"version.{clean(name)}": clean(value) for name, value in content["versions"].items()}


def _document(scenario: str, cases: Iterable[Case], *, properties: dict[str, str], timestamp: str) -> bytes:
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    root = ElementTree.Element(
        "testsuites", {"name": scenario, **_counts([c for s in suites.values() for c in s])}
    )
    for name, members in suites.items():
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, **_counts(members)})
        suite.set("skipped", str(sum(case.element == "skipped" for case in members)))
        if timestamp:
            suite.set("timestamp", timestamp)
        if name == RUN and properties:
            listed = ElementTree.SubElement(suite, "properties")
            for key, value in properties.items():
                ElementTree.SubElement(listed, "property", {"name": key, "value": value})
        for case, own_name in zip(members, _unique([case.name for case in members]), strict=True):
            _add(suite, case, own_name, f"{scenario}.{name}")
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    counts = Counter(case.element for case in cases)
    return {
        "tests": str(len(cases)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _unique(names: Sequence[str]) -> list[str]:
    """Number the names that occur before: CI systems keep a case's history by its name."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def _add(suite: ElementTree.Element, case: Case, name: str, class_name: str) -> None:
    attributes = {"classname": class_name, "name": name, "time": f"{case.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", attributes)
    text = "\n".join(case.lines)
    if case.element:
        told = {"type": case.kind, "message": case.message}
        ElementTree.SubElement(element, case.element, told).text = text
    elif text:
        ElementTree.SubElement(element, "system-out").text = text
