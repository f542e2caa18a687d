"""`loadgate notify`: see that the receivers of a plan can be told something, before it is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from loadgate.cli.options import json_option, results_option
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.plan.draft import read_draft
from loadgate.plan.notify import Receiver
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.report.daily import read_summary
from loadgate.report.text import clean, columns
from loadgate.store.folder import find_run, results_root
from loadgate.store.run_clock import Now
from loadgate.watch.alert_feed import stored_plan
from loadgate.watch.messages import markdown
from loadgate.watch.notices import Answer
from loadgate.watch.notifier import send_summary, try_receivers


@click.group()
def notify() -> None:
    """Look after the receivers of notifications."""


@notify.command()
@click.argument("run")
@click.option(
    "--send", is_flag=True, help="Send it to the receivers of the run's plan, and say how that went."
)
@click.option(
    "--receiver", "names", multiple=True, metavar="NAME", help="With --send, only this one; can be repeated."
)
@results_option
@json_option
def daily(run: str, send: bool, names: tuple[str, ...], results: str | None, as_json: bool) -> int:
    """Print the daily summary of RUN as it would be sent now, in Markdown; or send it.

    A run that goes on sends it by itself where its plan says when (`[notify] daily`); one that is sent by
    hand takes nothing from that. Exit status: 0, with --send 20 when a receiver was not told.
    """
    folder = find_run(results_root(results, None), run)
    if names and not send:
        raise UsageError("--receiver is for --send", hint="add --send")
    plan = stored_plan(folder) if send or folder.plan.exists() else None
    if send and plan is not None:
        _refuse_unknown(plan.scenario.notify.receiver, names)
    summary = read_summary(folder, plan, Now.read())
    if send and plan is not None:
        return _tell(send_summary(plan, os.environ, folder, summary, names), as_json=as_json)
    if as_json:
        click.echo(orjson.dumps(summary.to_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(markdown(summary), nl=False)
    return ExitCode.PASS


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
    _refuse_unknown(draft.scenario.notify.receiver, names)
    return _tell(try_receivers(Plan(scenario=draft.scenario), os.environ, names), as_json=as_json)


def _refuse_unknown(receivers: Sequence[Receiver], names: Sequence[str]) -> None:
    """Refuse names that no receiver has, and a plan that has no receivers."""
    known = [receiver.name for receiver in receivers]
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        what = f"there is no receiver '{unknown[0]}'" if unknown else "the plan has no receivers"
        hint = f"receivers: {', '.join(known)}" if known else "add a [[notify.receiver]] to the scenario"
        raise UsageError(what, hint=hint)


def _tell(tried: Sequence[tuple[str, str, Answer]], *, as_json: bool) -> int:
    """Print what came of telling each receiver, and return the exit code."""
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
