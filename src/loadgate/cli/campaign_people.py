"""What people say in a campaign: attestations, sign-offs, waivers, and the restart after a HOLD."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import click

from loadgate.cli.campaign_desk import (
    Place,
    campaign_option,
    check_role,
    look,
    place_of,
    role_option,
    take_up,
    tell_head,
    user,
    writing,
)
from loadgate.cli.options import results_option
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import CampaignState, fold
from loadgate.judge.campaign_facts import iso
from loadgate.judge.decision import waivable
from loadgate.plan.strict import suggest
from loadgate.report.campaign import status_lines
from loadgate.store.campaign import Stamp, read_entries

LONGEST_NOTE = 1000


@click.command()
@click.argument("line")
@role_option
@click.option("--note", required=True, help="What was looked at, and where it can be found.")
@click.option("--withdraw", is_flag=True, help="Say that the line does not hold any more.")
@campaign_option
@results_option
def attest(line: str, role: str, note: str, withdraw: bool, name: str | None, results: str | None) -> int:
    """Attest LINE of the checklist, as a role that may, with a note and today's date."""
    place = place_of(results, name)
    plan = _state(place).plan
    found = plan.line_of(line)
    if found is None:
        hint = suggest(line, [one.id for one in plan.lines], "lines")
        raise UsageError(f"the campaign has no line '{line}'", hint=hint)
    if not found.attest:
        raise UsageError(
            f"'{line}' is measured, and nobody can attest it", hint="loadgate campaign checklist says by what"
        )
    check_role(plan, role, found.attest)
    return _say(place, "attest", {"line": line, "role": role, "note": _text(note), "holds": not withdraw})


@click.command("sign-off")
@role_option
@click.option("--note", required=True, help="What it is signed on.")
@click.option("--refuse", is_flag=True, help="Refuse the release instead.")
@campaign_option
@results_option
def sign_off(role: str, note: str, refuse: bool, name: str | None, results: str | None) -> int:
    """Sign the release off as a role, or refuse it. A restart of the clock takes every signature back."""
    place = place_of(results, name)
    plan = _state(place).plan
    check_role(plan, role, plan.decision.sign_off)
    return _say(place, "sign-off", {"role": role, "note": _text(note), "agrees": not refuse})


@click.command()
@click.argument("item")
@click.option("--owner", required=True, help="The role that answers for it.")
@click.option("--reason", required=True, help="Why the release may go without it.")
@click.option("--expires", required=True, metavar="DATE", help="Until when: a date, or an ISO time, in UTC.")
@campaign_option
@results_option
def waive(item: str, owner: str, reason: str, expires: str, name: str | None, results: str | None) -> int:
    """Let ITEM, a criterion or a line, not stand in the way. It is printed with every decision.

    Nothing makes up for a changed book, changed evidence or a changed clock.
    """
    place = place_of(results, name)
    state = _state(place)
    known = waivable(state)
    if item not in known:
        raise UsageError(f"'{item}' cannot be waived", hint=suggest(item, known, "what can be"))
    check_role(state.plan, owner)
    until = _moment(expires)
    if until <= Stamp.now().at:
        raise UsageError(f"--expires {expires} is over already", hint="a date that is to come")
    return _say(
        place, "waive", {"item": item, "owner": owner, "reason": _text(reason), "expires": iso(until)}
    )


@click.command()
@click.option("--hotfix", required=True, help="What was mended: a commit, a version, an issue.")
@role_option
@click.option(
    "--file", type=click.Path(path_type=Path), help="The campaign file [default: the one of the start]."
)
@campaign_option
@results_option
def restart(hotfix: str, role: str, file: Path | None, name: str | None, results: str | None) -> int:
    """Start the stability clock again after a hotfix, by the campaign file as it is now.

    Sign-offs, tests, runs and smoke checks of before speak of another release from here on. A load that
    still goes on should be stopped first: it began with that other release.
    """
    from loadgate.plan.campaign_file import load_campaign
    from loadgate.plan.campaign_plans import calendar_facts

    place = place_of(results, name)
    state = _state(place)
    check_role(state.plan, role)
    draft = load_campaign(file or Path(state.plan_file))
    assert draft.campaign is not None
    if draft.campaign.name != place.name:
        raise UsageError(
            f"the file is of campaign '{draft.campaign.name}', not '{place.name}'", hint="start that one"
        )
    content = {
        "hotfix": _text(hotfix),
        "role": role,
        "plan": draft.campaign.model_dump(mode="json"),
        "sha256": draft.sha256,
        "file": str((file or Path(state.plan_file)).absolute()),
        **calendar_facts(draft.campaign),
        **user(),
    }
    with writing(place) as writer:
        stamp = Stamp.now()
        # What happened until now belongs to the cycle that ends.
        before = take_up(place, writer, stamp, grave_only=False)
        writer.append("restart", content, stamp)
    for run in before.found.under_way:
        if run.mode == "load":
            click.echo(
                f"run {run.run} began before the restart and still goes on: loadgate stop {run.run}", err=True
            )
    seen = look(place)
    for line in status_lines(seen.decision(), seen.state, seen.found):
        click.echo(line)
    tell_head(place)
    return ExitCode.PASS


def _say(place: Place, kind: str, content: dict[str, Any]) -> int:
    with writing(place) as writer:
        entry = writer.append(kind, content | user(), Stamp.now())
    click.echo(f"entry {entry.seq}: {kind} at {iso(entry.at)}")
    tell_head(place)
    return ExitCode.PASS


def _state(place: Place) -> CampaignState:
    return fold(read_entries(place.folder))


def _text(text: str) -> str:
    shown = " ".join(text.split())
    if not shown or len(shown) > LONGEST_NOTE or not shown.isprintable():
        raise UsageError(
            "the note is empty, too long, or holds control characters",
            hint=f"at most {LONGEST_NOTE} characters, in words",
        )
    return shown


def _moment(text: str) -> datetime:
    """Read a date, which counts to its end, or an ISO time; without a zone in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--expires: '{text}' is no date", hint="for example 2026-01-31 or 2026-01-31T18:00"
        ) from error
    if "T" not in text and " " not in text.strip():
        found = datetime.combine(found.date(), time(23, 59, 59))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
