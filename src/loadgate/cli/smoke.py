"""`loadgate smoke`: is the target up, does it answer well, and does it refuse what it should?"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.durations import DURATION
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.options import host_option, json_option, results_option, set_option, strict_option
from loadgate.cli.output import printed
from loadgate.cli.report import code_after, put
from loadgate.errors import LoadgateError
from loadgate.exit_codes import ExitCode
from loadgate.plan.plan import Plan, load_plan
from loadgate.report import junit as junit_report
from loadgate.report import smoke as report
from loadgate.store.folder import results_root
from loadgate.watch import smoke_results
from loadgate.watch.smoke_run import SmokeRun, wait_for_target


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@host_option
@click.option(
    "--wait",
    "within",
    type=DURATION,
    default="0s",
    show_default=True,
    help="How long a fresh deployment may take to answer and to be healthy.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Write the checks as JUnit XML.")
@set_option
@results_option
@strict_option
@json_option
def smoke(
    scenario: Path,
    host: str | None,
    within: float,
    junit: Path | None,
    overrides: tuple[str, ...],
    results: str | None,
    strict: bool,
    as_json: bool,
) -> int:
    """Check the target of SCENARIO before or after a deployment: no load, one line per check.

    Every probe is read once, and what [smoke] declares is asked: each endpoint with its own sample body
    and again for its cache, pages, processes, and bad requests that must be refused without telling
    anything of the server's inside.

    The exit code is 0 when every check passed or was noted (10 for a note or a skipped check with
    --strict), 20 when one failed, 30 when nothing could be checked, 40 when the target could not be
    reached.
    """
    if junit is not None:
        # A file of an earlier build must not be taken for this one's.
        put(
            junit,
            _no_result(scenario.stem, ExitCode.INTERNAL, "the smoke check was ended before its end", ""),
        )
    try:
        with Interrupts().caught():
            plan = load_plan(scenario, overrides=overrides, host=host)
            root = results_root(results, scenario)
            smoke_results.prepare(root)
            content = _check(plan, within, strict=strict)
    except LoadgateError as error:
        if junit is not None:
            put(junit, _no_result(scenario.stem, error.exit_code, error.message, error.hint))
        raise
    return _tell(content, root, junit, as_json=as_json)


def _check(plan: Plan, within: float, *, strict: bool) -> dict[str, Any]:
    """Wait for the target and check it."""
    for warning in plan.warnings:
        if warning.key.startswith("smoke"):
            click.echo(warning.line(), err=True)
    scenario = plan.scenario
    run = SmokeRun(scenario, os.environ)
    waited = wait_for_target(scenario, os.environ, within)
    started_at, begun = datetime.now(UTC), time.monotonic()
    checks = asyncio.run(run.checks())
    return smoke_results.content_of(
        checks,
        scenario=scenario.name,
        host=scenario.host,
        plan=plan.fingerprint,
        started_at=started_at,
        took=time.monotonic() - begun,
        waited=waited,
        strict=strict,
    )


def _tell(content: dict[str, Any], root: Path, junit: Path | None, *, as_json: bool) -> int:
    """Store, write and print the result; a check whose report is missing must not be green."""
    problems = []
    path: Path | None = None
    try:
        path = smoke_results.store(root, content)
        if junit is not None:
            put(junit, report.junit(content))
    except LoadgateError as error:
        problems.append(error.message)
    with printed(path or root):
        if as_json:
            shown = orjson.dumps(
                content | {"stored": str(path) if path else None}, option=orjson.OPT_INDENT_2
            )
            sys.stdout.write(shown.decode() + "\n")
        else:
            report.print_checklist(content)
            if path is not None:
                click.echo(f"stored in {path}")
    for problem in problems:
        click.echo(f"loadgate: {problem}", err=True)
    return code_after(content["exit_code"], problems)


def _no_result(name: str, code: ExitCode, message: str, hint: str) -> bytes:
    return junit_report.without_verdict(name, code.name, message, hint.splitlines())
