"""`loadgate notify`: see that the receivers of a plan can be told something, before it is needed."""

from __future__ import annotations

import os
from pathlib import Path

import click
import orjson

from loadgate.cli.options import json_option
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.plan.draft import read_draft
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.report.text import clean, columns
from loadgate.watch.notifier import try_receivers


@click.group()
def notify() -> None:
    """Look after the receivers of notifications."""


@notify.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--receiver", "names", multiple=True, metavar="NAME", help="Only this receiver; can be repeated."
)
@json_option
def test(scenario: Path, names: tuple[str, ...], as_json: bool) -> int:
    """Send a test message to each receiver of SCENARIO, and say what happened.

    A receiver of kind file without a path writes tickets.md in the working folder. Exit status: 0 when all
    were told, 20 when one was not.
    """
    draft = read_draft(scenario)
    errors = [problem for problem in draft.problems if problem.is_error]
    if draft.scenario is None or any(problem.key.startswith("notify") for problem in errors):
        raise PlanError(errors)
    known = [receiver.name for receiver in draft.scenario.notify.receiver]
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        what = f"there is no receiver '{unknown[0]}'" if unknown else "the plan has no receivers"
        hint = f"receivers: {', '.join(known)}" if known else "add a [[notify.receiver]] to the scenario"
        raise UsageError(what, hint=hint)
    tried = try_receivers(Plan(scenario=draft.scenario), os.environ, names)
    if as_json:
        content = [
            {"receiver": name, "place": place, "delivered": answer.ok, "text": clean(answer.text)}
            for name, place, answer in tried
        ]
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        rows = [
            ("told" if answer.ok else "FAILED", name, place, clean(answer.text))
            for name, place, answer in tried
        ]
        for line in columns(rows):
            click.echo(line)
    return ExitCode.PASS if all(answer.ok for _, _, answer in tried) else ExitCode.FAIL
