"""A campaign in Markdown: the decision and why, the clock, objectives by day, runs, checklist, sign-offs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_gather import Found
from loadgate.judge.decision import Decision
from loadgate.report.campaign_overview import minute, overview
from loadgate.report.markup import code, escaped


def render(decision: Decision, state: CampaignState, found: Found) -> str:
    """Return the page."""
    return "\n".join([*_lines(overview(decision, state, found)), ""])


def _lines(content: dict[str, Any]) -> Iterator[str]:
    yield from _head(content)
    yield from _decided(content["decision"])
    yield from _calendar(content)
    yield from _evidence(content)
    yield from _book(content)


def _head(content: dict[str, Any]) -> Iterator[str]:
    """Give the decision, where the campaign stands, and its clock."""
    decision, clock = content["decision"], content["clock"]
    yield f"# {decision['decision']}: campaign {escaped(content['campaign'])}"
    yield ""
    yield (
        f"{escaped(content['position'])}, target {code(content['host'])}, {minute(content['at'])} UTC, "
        f"exit code {decision['exit_code']}."
    )
    since = f"cycle {clock['cycle']}, since {minute(clock['since'])}"
    yield f"Stability clock: {escaped(clock['line'])} ({since})."
    yield ""


def _decided(decision: dict[str, Any]) -> Iterator[str]:
    """Give why not, what was waived, and the checklist group by group."""
    yield from _section("Why not", [escaped(reason) for reason in decision["reasons"]])
    yield from _section(
        "Waivers", [f"{code(one['item'])}: {escaped(one['waiver'])}" for one in decision["waivers"]]
    )
    for group, items in groupby(decision["items"], key=lambda item: item["group"]):
        yield f"## {escaped(group.capitalize())}"
        yield ""
        yield from _table(
            ("Standing", "Item", "Why", "Evidence"),
            [
                (
                    item["standing"],
                    escaped(item["title"]),
                    escaped("; ".join(item["reasons"])),
                    " ".join(code(one) for one in item["evidence"]),
                )
                for item in items
            ],
        )


def _calendar(content: dict[str, Any]) -> Iterator[str]:
    """Give the phases, and what stopped the clock or set it back."""
    clock = content["clock"]
    yield "## Calendar"
    yield ""
    yield from _table(
        ("Phase", "From", "To", ""),
        [
            (escaped(one["title"]), minute(one["starts_at"]), minute(one["ends_at"]), one["state"])
            for one in content["phases"]
        ],
    )
    yield from _section(
        "Stops and restarts",
        [
            *(f"{minute(one['at'])} stopped: {escaped(one['reason'])}" for one in clock["stops"]),
            *(f"{minute(one['at'])} restarted: {escaped(one['hotfix'])}" for one in content["restarts"]),
            *(f"{minute(one['at'])} deployment: {escaped(one['text'])}" for one in clock["deployments"]),
        ],
    )


def _evidence(content: dict[str, Any]) -> Iterator[str]:
    """Give the objectives by day, the runs, and their alerts."""
    yield "## Objectives by day"
    yield ""
    yield from _table(
        ("Day", "Objective", "Worst", "Value", "Run"),
        [
            (str(day["day"]), escaped(row["name"]), row["verdict"], escaped(row["value"]), code(row["run"]))
            for day in content["by_day"]
            for row in day["rows"]
        ],
    )
    yield "## Runs"
    yield ""
    yield from _table(
        ("Day", "Run", "Counts", "Verdict", "Ended"),
        [
            (
                str(run["day"]),
                code(run["run"]),
                "yes" if run["counts"] else "no",
                run["verdict"] or "-",
                escaped(run["ended"]),
            )
            for run in content["runs"]
        ],
    )
    yield from _section(
        "Alerts",
        [
            f"{minute(one['fired_at'])} {one['severity']}: {escaped(one['rule'])} in {code(one['run'])}: "
            f"{escaped(one['text'])}"
            for one in content["alerts"]
        ],
    )


def _book(content: dict[str, Any]) -> Iterator[str]:
    """Give who signed, what else is to be known, and the head of the book."""
    yield from _section(
        "Sign-offs",
        [
            f"{escaped(one['role'])}, {minute(one['at'])}, {'signed' if one['agrees'] else 'refused'}: "
            f"{escaped(one['note'])}"
            for one in content["sign_offs"]
        ],
    )
    yield from _section("Notes", [escaped(note) for note in content["notes"]])
    if content["head"]:
        yield f"Head of the book: {code('{seq}:{hash}'.format(**content['head']))}"


def _section(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield f"## {title}"
        yield ""
        yield from (f"- {item}" for item in items)
        yield ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        yield "None yet."
        yield ""
        return
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
