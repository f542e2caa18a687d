"""`loadgate campaign checklist`: every line with what it stands on, and the commands that lines can run."""

from __future__ import annotations

import sys

import click
import orjson

from loadgate.cli.campaign_desk import campaign_option, look, place_of, tell_head, user, writing
from loadgate.cli.options import json_option, results_option
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign_facts import CommandFacts
from loadgate.judge.campaign_lines import Item, Standing
from loadgate.judge.decision import CHECKLIST, STEPS, SUCCESS, TRUST
from loadgate.plan.campaign import Campaign, Line
from loadgate.plan.strict import suggest
from loadgate.report.campaign import checklist_lines
from loadgate.store.campaign import Stamp
from loadgate.watch.command import Program
from loadgate.watch.parse import NoReading

KEPT = 16_384
"""Characters of a command's output that are kept, its last ones."""
GROUPS = (CHECKLIST, STEPS, SUCCESS)


@click.command()
@click.option(
    "--run",
    "wanted",
    multiple=True,
    metavar="LINE",
    help="Run the commands of this line; `all` for every line.",
)
@campaign_option
@results_option
@json_option
def checklist(wanted: tuple[str, ...], name: str | None, results: str | None, as_json: bool) -> int:
    """Show the checklist, the deployment steps and the success criteria, each line with its evidence.

    With --run the commands of a line are run first, in order and without a shell; output and exit status
    go into the book. Exit codes: 0 when all is met or waived, 20 when a line is not met, 30 when evidence is
    missing, or book, evidence or clock cannot be trusted.
    """
    place = place_of(results, name)
    if wanted:
        for line in _chosen(look(place).written.plan, wanted):
            for index, command in enumerate(line.commands):
                click.echo(f"{line.id}: {' '.join(command)}", err=True)
                facts = _run(line, index, command)
                with writing(place) as writer:
                    writer.append("command", facts.content() | user(), Stamp.now())
                if facts.status != 0:
                    click.echo(f"  {facts.fault or f'exit status {facts.status}'}", err=True)
                    break
    items = [item for item in look(place).decision().items if _is_shown(item)]
    if as_json:
        body = orjson.dumps([item.to_dict() for item in items], option=orjson.OPT_INDENT_2)
        sys.stdout.buffer.write(body + b"\n")
    else:
        for shown in checklist_lines(items):
            click.echo(shown)
        if wanted:
            tell_head(place)
    standings = {item.standing for item in items}
    if Standing.NOT_MET in standings:
        return int(ExitCode.FAIL)
    return int(ExitCode.INVALID if Standing.MISSING in standings else ExitCode.PASS)


def _is_shown(item: Item) -> bool:
    """Tell whether an item is a line, or says why no line can be believed."""
    return item.group in GROUPS or (item.group == TRUST and item.standing is not Standing.MET)


def _chosen(plan: Campaign, wanted: tuple[str, ...]) -> list[Line]:
    runnable = [line for line in plan.lines if line.commands]
    if "all" in wanted:
        return runnable
    chosen = []
    for word in wanted:
        found = next((line for line in runnable if line.id == word), None)
        if found is None:
            hint = suggest(word, [line.id for line in runnable], "lines with commands")
            raise UsageError(f"'{word}' has no commands to run", hint=hint)
        chosen.append(found)
    return chosen


def _run(line: Line, index: int, command: tuple[str, ...]) -> CommandFacts:
    """Run one command of a line to its end; one that cannot be run is a fact as well."""
    status, output, fault = None, "", ""
    try:
        ended = Program().run(command, line.timeout, merged=True)
        status, output = ended.status, ended.out.decode("utf-8", "replace")[-KEPT:]
        if status < 0:
            fault = f"killed by signal {-status}"
    except NoReading as failure:
        fault = failure.message
    return CommandFacts(line.id, index, command, Stamp.now().at, status, output, fault)
