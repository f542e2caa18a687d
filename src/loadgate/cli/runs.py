"""`loadgate runs` and `loadgate verdict`: stored runs, listed, pruned and judged again."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.options import json_option, results_option, strict_option
from loadgate.cli.output import printed
from loadgate.errors import UsageError
from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.plan.plan import load_sla
from loadgate.report.listing import print_runs
from loadgate.report.standing import WATCH
from loadgate.report.verdict import print_report, print_verdict
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, find_run, list_runs, prune, results_root


@click.group(invoke_without_command=True)
@results_option
@json_option
@click.pass_context
def runs(ctx: click.Context, results: str | None, as_json: bool) -> None:
    """List the stored runs, newest first."""
    root = results_root(results, None)
    ctx.obj = root
    if ctx.invoked_subcommand is not None:
        return
    rows = [describe(run) for run in reversed(list_runs(root))]
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        print_runs(rows, root)


@runs.command("prune")
@click.option("--keep", type=click.IntRange(0), required=True, help="How many of the newest runs stay.")
@results_option
@click.pass_obj
def prune_command(root: Path, keep: int, results: str | None) -> None:
    """Remove all but the newest runs. A run that is still being written stays."""
    # The option may stand before "prune" as well, where the group has read it.
    for run in prune(results_root(results, None) if results else root, keep):
        click.echo(run.id)


@click.command()
@click.argument("run")
@click.option(
    "--sla", type=click.Path(path_type=Path), help="Judge by this SLA table in place of the run's own."
)
@results_option
@strict_option
@json_option
def verdict(run: str, sla: Path | None, results: str | None, strict: bool, as_json: bool) -> int:
    """Judge the stored RUN again: a run id, a path, or "latest".

    The first verdict is never overwritten: this one is written beside it.
    """
    folder = find_run(results_root(results, None), run)
    objectives = load_sla(sla) if sla is not None else None
    _refuse_watch(folder)
    result = judge(gather(folder, objectives=objectives), strict=strict, now=datetime.now(UTC))
    path, content, code = write(folder, result), result.to_dict(), int(result.exit_code)
    # What a week is judged by is large: it goes before the report is made.
    del result
    show_verdict(content, path, as_json=as_json)
    return code


def _refuse_watch(run: RunFolder) -> None:
    """Raise UsageError for a run without a load: a verdict of it would say INVALID of nothing."""
    with RunReader(run.database) as reader:
        if reader.value("mode", None) == WATCH:
            raise UsageError(
                f"{run.id} is a watch: it has no load that could be judged",
                hint=f"see what it saw: loadgate status {run.id}",
            )


def show_verdict(content: dict[str, Any], path: Path, *, as_json: bool) -> None:
    """Print a verdict: JSON for machines, a table for people; then leave the run's report.html beside it."""
    from loadgate.cli.html_report import leave_report

    with printed(path):
        if as_json:
            sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        else:
            print_verdict(content, path)
    # Last: whoever waits for the verdict has it by now.
    page = leave_report(RunFolder(path.parent))
    if page is not None and not as_json:
        with printed(path):
            print_report(page)


def describe(run: RunFolder) -> dict[str, Any]:
    """Say of one run what the list shows; a run that cannot be read says why."""
    from loadgate.errors import LoadgateError

    row: dict[str, Any] = {"run": run.id, "path": str(run.path), "verdict": _verdict_of(run)}
    try:
        with RunReader(run.database) as reader:
            for key in ("scenario", "started_at", "ended", "mode", "model", "host"):
                row[key] = reader.value(key, None)
    except LoadgateError as error:
        row["fault"] = error.message
    return row


def _verdict_of(run: RunFolder) -> str | None:
    try:
        number = run.newest_verdict()
        return str(orjson.loads(run.verdict_path(number).read_bytes())["verdict"]) if number else None
    except (orjson.JSONDecodeError, KeyError, OSError):
        return None
