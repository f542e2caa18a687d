"""A campaign on the console: where it stands, what a decision came to, its checklist and its book."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_calendar import Due
from loadgate.judge.campaign_facts import iso
from loadgate.judge.campaign_gather import Found
from loadgate.judge.campaign_lines import Item, Standing
from loadgate.judge.decision import Decision
from loadgate.report.campaign_overview import minute, overview
from loadgate.report.text import clean, columns, counted
from loadgate.store.campaign import Entry

MARKS: Final = {
    Standing.MET: "[x]",
    Standing.NOT_MET: "[!]",
    Standing.MISSING: "[ ]",
    Standing.WAIVED: "[w]",
}
_SHOWN: Final = 5


def status_dict(decision: Decision, state: CampaignState, found: Found) -> dict[str, Any]:
    """Return where a campaign stands as plain values."""
    return overview(decision, state, found)


def status_lines(decision: Decision, state: CampaignState, found: Found) -> Iterator[str]:
    """Give the lines of `campaign status`."""
    content = overview(decision, state, found)
    yield f"campaign {state.plan.name} on {state.plan.host}: {content['position']}"
    since = minute(content["clock"]["since"])
    yield f"  clock    {content['clock']['line']} (cycle {decision.clock.cycle}, since {since})"
    for slot in [one for one in content["started"] if one["outcome"] == "goes on"]:
        yield f"  goes on  {slot['key']}, since {minute(slot['at'])}"
    for name in ("due", "next"):
        for due in content[name][:_SHOWN]:
            yield f"  {name:8} {due['key']}: {due['command']} {due['scenario']} at {minute(due['at'])}"
    if content["missed"]:
        keys = ", ".join(one["key"] for one in content["missed"][-_SHOWN:])
        yield f"  missed   {len(content['missed'])} of the calendar: {keys}"
    standing = {one: [item for item in decision.items if item.standing is one] for one in Standing}
    yield (
        f"  decision {decision.word} now: {len(standing[Standing.MET])} met, "
        f"{len(standing[Standing.NOT_MET])} not met, {len(standing[Standing.MISSING])} missing, "
        f"{len(standing[Standing.WAIVED])} waived"
    )
    for item in [*standing[Standing.NOT_MET], *standing[Standing.MISSING]][:_SHOWN]:
        yield f"    {MARKS[item.standing]} {clean(item.title)}: {clean(item.reasons[0])}"
    for note in found.notes:
        yield f"  note     {clean(note)}"


def decision_lines(decision: Decision) -> Iterator[str]:
    """Give the lines of `campaign decide`: the word, every reason, every item of matrix and criteria."""
    waivers = decision.waivers
    told = f", with {counted(len(waivers), 'waiver')}" if waivers else ""
    missing = "" if decision.go or decision.exit_code is not ExitCode.INVALID else " (evidence is missing)"
    yield f"{decision.word}{missing}{told}"
    yield f"  clock: {decision.clock.line()}"
    for group, items in groupby(decision.items, key=lambda item: item.group):
        chosen = list(items)
        met = sum(item.standing is Standing.MET for item in chosen)
        yield f"{group}: {met} of {len(chosen)} met"
        for item in chosen:
            if item.standing is not Standing.MET or group in ("decision matrix", "success criteria"):
                yield from _item_lines(item)
    for note in decision.trust.notes:
        yield f"note: {clean(note)}"


def checklist_lines(items: Sequence[Item]) -> Iterator[str]:
    """Give the lines of `campaign checklist`."""
    for group, found in groupby(items, key=lambda item: item.group):
        chosen = list(found)
        done = sum(item.standing in (Standing.MET, Standing.WAIVED) for item in chosen)
        yield f"{group}: {done} of {len(chosen)}"
        for item in chosen:
            yield from _item_lines(item)


def history_lines(entries: Sequence[Entry]) -> list[str]:
    """Return the lines of `campaign history`."""
    rows = [
        (str(entry.seq), iso(entry.at)[:19], entry.kind, entry.hash[:12], _said(entry)) for entry in entries
    ]
    return columns(rows, right={0}) if rows else []


def due_line(due: Due) -> str:
    """Say one entry of the calendar."""
    return f"{due.key}: {due.run.command} {due.run.scenario.name} at {minute(iso(due.at))}"


def _item_lines(item: Item) -> Iterator[str]:
    yield f"  {MARKS[item.standing]} {item.key:22} {clean(item.title)}"
    for reason in item.reasons[:_SHOWN]:
        yield f"        {clean(reason)}"
    if len(item.reasons) > _SHOWN:
        yield f"        and {len(item.reasons) - _SHOWN} more"
    if item.waiver:
        yield f"        waived by {clean(item.waiver)}"
    elif item.evidence:
        yield f"        evidence: {clean(', '.join(item.evidence[:_SHOWN]))}"


def _said(entry: Entry) -> str:
    """Say in a few words what an entry holds."""
    content = entry.content
    match entry.kind:
        case "start":
            text = f"{content['plan']['name']} on {content['plan']['host']}"
        case "run":
            text = f"{content['run']}: {content['verdict'] or content['ended'] or 'goes on'}"
        case "smoke":
            text = f"{content['file']}: {content['result']}"
        case "tests":
            text = f"{content['name']}: {content['fault'] or str(content['tests']) + ' tests'}"
        case "bugs":
            text = content["fault"] or f"{len(content['critical'])} critical of {content['total']}"
        case "command":
            text = (
                f"{content['line']}: {' '.join(content['command'])}: {content['fault'] or content['status']}"
            )
        case "attest":
            said = "" if content["holds"] else "withdrawn: "
            text = f"{content['line']} by {content['role']}: {said}{content['note']}"
        case "sign-off":
            text = f"{content['role']}: {'' if content['agrees'] else 'refused: '}{content['note']}"
        case "waive":
            until = content["expires"][:16]
            text = f"{content['item']} by {content['owner']} until {until}: {content['reason']}"
        case "restart":
            text = f"by {content['role']}: {content['hotfix']}"
        case "decision":
            text = f"{content['decision']}, exit {content['exit_code']}"
        case _:
            text = ": ".join(str(content[key]) for key in ("key", "text") if content.get(key))
    return clean(text)
