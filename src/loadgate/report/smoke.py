"""A smoke check for people and for CI: a checklist of one line per check, and JUnit XML."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from loadgate.plan.units import format_duration
from loadgate.report.evidence import in_utc
from loadgate.report.junit import Case, _document
from loadgate.report.text import STYLES, clean, columns, console_for, counted, symbols_for

_MARKS: Final = {"passed": "PASS", "failed": "FAIL", "skipped": "skipped"}
_ELEMENTS: Final = {"passed": "", "failed": "failure", "skipped": "skipped"}


def print_checklist(content: dict[str, Any]) -> None:
    """Print the checklist on stdout; colours only on a terminal, and none with NO_COLOR."""
    console = console_for(sys.stdout)
    symbols = symbols_for(sys.stdout)
    symbols["skipped"] = "–" if symbols["PASS"] == "✓" else "-"
    for line in render(content, symbols):
        console.print(line)


def render(content: dict[str, Any], symbols: dict[str, str]) -> Iterator[Text]:
    """Give the lines: a mark, what was checked, how long it took of its limit, and what was seen; the result.

    A note stands on a line of its own below its check.
    """
    checks = content["checks"]
    rows = [
        (symbols[_MARKS[check["state"]]], title(check), _time(check), clean(check["seen"]))
        for check in checks
    ]
    for check, line in zip(checks, columns(rows, right={2}) if rows else [], strict=True):
        yield Text.assemble((line[:1], STYLES.get(_MARKS[check["state"]], "dim")), line[1:])
        for note in check["notes"]:
            yield Text.assemble(("   ! ", STYLES["WARN"]), clean(note))
    yield Text()
    result = content["result"]
    yield Text.assemble((result, STYLES[result]), f"  {headline(content)}")


def headline(content: dict[str, Any]) -> str:
    """Say in a sentence what the checks came to."""
    counts = content["counts"]
    total = sum(counts.values())
    where = f"{clean(content['scenario'])} on {clean(content['host'])}"
    if not total:
        return f"{where}: nothing was checked; the scenario has neither probes nor [smoke]"
    what = f"{counts['passed']} of {counted(total, 'check')} passed"
    more = [f"{counts['failed']} failed"] if counts["failed"] else []
    more += [f"{counts['skipped']} could not be made"] if counts["skipped"] else []
    waited = f", after {format_duration(content['waited'])} of waiting" if content["waited"] >= 1 else ""
    return f"{where}: {', '.join([what, *more])}, in {format_duration(content['took'])}{waited}"


def title(check: dict[str, Any]) -> str:
    """Name a check: with its endpoint, where it has one."""
    name = clean(check["name"])
    return name if check["group"] == "target" else f"{clean(check['group'])} {name}"


def junit(content: dict[str, Any]) -> bytes:
    """Return the XML: a suite per endpoint, a case per check; red when the exit code is not 0."""
    cases = [_case(check) for check in content["checks"]]
    red = any(case.element in ("failure", "error") for case in cases)
    if content["exit_code"] and not red:
        line = headline(content)
        cases.append(Case("target", "the smoke check", "error", content["result"], line, (line,)))
    started = in_utc(content["started_at"])
    name = clean(content["scenario"])
    return _document(f"{name} smoke", cases, properties={}, timestamp=f"{started:%Y-%m-%dT%H:%M:%S}")


def _case(check: dict[str, Any]) -> Case:
    seen = clean(check["seen"])
    lines = (seen, *(f"note: {clean(note)}" for note in check["notes"]))
    element = _ELEMENTS[check["state"]]
    kind = clean(check["reason"]) if element else ""
    return Case(
        clean(check["group"]),
        clean(check["name"]),
        element,
        kind,
        seen if element else "",
        lines,
        check["took"],
    )


def _time(check: dict[str, Any]) -> str:
    if not check["limit"]:
        return ""
    return f"{_short(check['took'])} of {format_duration(check['limit'])}"


def _short(seconds: float) -> str:
    """Write a time for a glance: "3.2ms", "1.24s"."""
    return f"{seconds * 1000:.1f}ms" if seconds < 0.9995 else f"{seconds:.2f}s"
