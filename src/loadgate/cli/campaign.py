"""`loadgate campaign`: the staging period, from its start to GO or HOLD."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.campaign_checklist import checklist
from loadgate.cli.campaign_desk import (
    Place,
    bugs_by_command,
    campaign_option,
    look,
    place_of,
    take_up,
    tell_head,
    user,
    writing,
)
from loadgate.cli.campaign_due import follow, run_due
from loadgate.cli.campaign_people import attest, restart, sign_off, waive
from loadgate.cli.options import json_option, results_option
from loadgate.errors import StoreError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import fold
from loadgate.judge.campaign_evidence import changed_files
from loadgate.judge.campaign_replay import replayed
from loadgate.judge.decision import decide as decide_from
from loadgate.report import campaign as report
from loadgate.store.campaign import (
    CampaignWriter,
    Head,
    Stamp,
    campaign_folder,
    read_entries,
    verify_chain,
)
from loadgate.store.folder import results_root


@click.group()
def campaign() -> None:
    """Lead a release through its staging period, and decide on GO or HOLD."""


for command in (run_due, follow, checklist, attest, sign_off, waive, restart):
    campaign.add_command(command)


@campaign.command()
@click.argument("file", type=click.Path(path_type=Path))
@results_option
def start(file: Path, results: str | None) -> int:
    """Start the campaign of FILE: its calendar and its stability clock begin now.

    A campaign is started once; after a HOLD its clock is started again with `campaign restart`.
    """
    # Only here and at a restart are plans read, which takes longer than all of `status`.
    from loadgate.plan.campaign_file import load_campaign
    from loadgate.plan.campaign_plans import calendar_facts

    draft = load_campaign(file)
    plan = draft.campaign
    assert plan is not None
    for problem in draft.problems:
        click.echo(problem.line(), err=True)
    root = results_root(results, file)
    folder = campaign_folder(root, plan.name)
    content = {
        "plan": plan.model_dump(mode="json"),
        "sha256": draft.sha256,
        "file": str(file.absolute()),
        **calendar_facts(plan),
        **user(),
    }
    with CampaignWriter(folder, new=True) as writer:
        # Looked at while nobody else can write: of two starts at once only one is one.
        began = read_entries(folder)
        if began:
            raise UsageError(
                f"campaign '{plan.name}' was started already on {began[0].at:%Y-%m-%d %H:%M} UTC",
                hint="after a HOLD: loadgate campaign restart; another campaign needs another name",
            )
        writer.append("start", content, Stamp.now())
    place = Place(root, folder)
    for line in report.status_lines(look(place).decision(), look(place).state, look(place).found):
        click.echo(line)
    click.echo("Next: loadgate campaign follow (or run-due from cron), checklist, decide", err=True)
    tell_head(place)
    return ExitCode.PASS


@campaign.command()
@campaign_option
@results_option
@json_option
def status(name: str | None, results: str | None, as_json: bool) -> int:
    """Say where the campaign stands: calendar, stability clock, what is due, and what a decision would lack.

    Nothing is written.
    """
    seen = look(place_of(results, name))
    decision = seen.decision()
    if as_json:
        _json(report.status_dict(decision, seen.state, seen.found))
        return ExitCode.PASS
    for line in report.status_lines(decision, seen.state, seen.found):
        click.echo(line)
    return ExitCode.PASS


@campaign.command()
@campaign_option
@results_option
@json_option
def decide(name: str | None, results: str | None, as_json: bool) -> int:
    """Decide on GO or HOLD from all evidence, and write the decision into the book.

    Exit codes: 0 GO, 20 HOLD, 30 HOLD because evidence is missing or cannot be trusted.
    """
    place = place_of(results, name)
    faults = verify_chain(place.folder)
    if faults:
        # Nothing is added to a book that was changed; what it says is told all the same, and is never GO: a
        # decision that is in no book is none.
        seen = look(place)
        decision = decide_from(seen.state, replace(seen.trust, book=tuple(faults)), seen.now)
    else:
        # Before the book is held: it may take long, and `follow` waits for the book for a moment only.
        plan = fold(read_entries(place.folder)).plan
        bugs = bugs_by_command(plan, Stamp.now())
        with writing(place) as writer:
            stamp = Stamp.now()
            if fold(read_entries(place.folder)).plan.bugs != plan.bugs:
                raise UsageError("the campaign was restarted meanwhile", hint="decide again")
            writer.extend(bugs, stamp)
            seen = take_up(place, writer, stamp, grave_only=False)
            # By the book alone, which now holds all that was found: so it can be made again from it.
            decision = decide_from(seen.written, seen.trust, stamp.at)
            writer.append("decision", decision.to_dict() | user(), stamp)
    if as_json:
        _json(decision.to_dict())
    else:
        for line in report.decision_lines(decision):
            click.echo(line)
        tell_head(place)
    return int(decision.exit_code)


@campaign.command()
@campaign_option
@results_option
@json_option
def history(name: str | None, results: str | None, as_json: bool) -> int:
    """List every entry of the campaign's book."""
    place = place_of(results, name)
    entries = read_entries(place.folder)
    if as_json:
        _json(
            [
                {
                    "seq": entry.seq,
                    "at": entry.at.isoformat(timespec="milliseconds"),
                    "kind": entry.kind,
                    "content": dict(entry.content),
                    "hash": entry.hash,
                }
                for entry in entries
            ]
        )
    else:
        for line in report.history_lines(entries):
            click.echo(line)
        tell_head(place)
    return ExitCode.PASS


@campaign.command()
@click.option("--head", "kept", metavar="SEQ:HASH", help="A head that was kept elsewhere, to find a cut.")
@campaign_option
@results_option
@json_option
def verify(kept: str | None, name: str | None, results: str | None, as_json: bool) -> int:
    """Check that book and evidence are as they were written, and make every decision again from the book.

    Exit codes: 0 when nothing is wrong, 20 otherwise.
    """
    place = place_of(results, name)
    faults = verify_chain(place.folder, Head.parse(kept) if kept is not None else None)
    notes: list[str] = []
    try:
        seen = look(place)
        faults += [*seen.trust.evidence, *seen.trust.time]
        # A decision asks only for what speaks of the present release; this is about all of the book.
        faults += [*seen.found.older, *changed_files(place.root, seen.written.linked())]
        faults += [f"entry {fault.seq}: {fault.text}" for fault in seen.written.clock_faults]
        wrong, others = replayed(seen.entries)
        faults += wrong
        notes = [note for note in (*seen.found.notes, *others) if note not in faults]
        count = len(seen.entries)
    except StoreError as error:
        faults.append(error.message)
        count = 0
    faults = list(dict.fromkeys(faults))
    if as_json:
        _json({"ok": not faults, "faults": faults, "notes": notes, "entries": count})
    else:
        for fault in faults:
            click.echo(f"✗ {fault}")
        for note in notes:
            click.echo(f"  note: {note}")
        if not faults:
            click.echo(f"{count} entries, their evidence and every decision are as they were written")
            tell_head(place)
    return int(ExitCode.FAIL if faults else ExitCode.PASS)


@campaign.command("report")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="HTML page to write [default: in the campaign's folder].",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write Markdown to this file, too.")
@campaign_option
@results_option
def report_command(output: Path | None, markdown: Path | None, name: str | None, results: str | None) -> int:
    """Write one self-contained HTML page about the campaign, for the go/no-go meeting.

    The exit code says whether that was done, not what the decision is.
    """
    # The templates take their time, which no other command should wait for.
    from loadgate.cli.campaign_links import links_from
    from loadgate.cli.report import put
    from loadgate.report import campaign_markdown
    from loadgate.report.html import campaign as page

    place = place_of(results, name)
    seen = look(place)
    decision = seen.decision()
    path = output or place.folder / "report.html"
    link = links_from(path.parent, place.root)
    put(path, page.render(decision, seen.state, seen.found, link).encode())
    click.echo(str(path))
    if markdown is not None:
        put(markdown, campaign_markdown.render(decision, seen.state, seen.found).encode())
        click.echo(str(markdown))
    return ExitCode.PASS


def _json(value: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
