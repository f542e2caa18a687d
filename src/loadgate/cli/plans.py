"""`loadgate validate` and `loadgate explain`: check plans, and say each rule in words."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from loadgate.exit_codes import ExitCode
from loadgate.plan.explain import explain_file, render
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.validate import validate_file

FILE = click.Path(path_type=Path)


def _report(problem: Problem) -> None:
    """Print one problem to stderr."""
    click.echo(problem.line(), err=True)


def _json(value: object) -> None:
    """Print JSON to stdout."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON to stdout.")
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check scenarios and SLA tables, and name every problem with its file and key.

    Exit status: 0 when no file has an error (warnings are printed), 2 otherwise.
    """
    results = [validate_file(path) for path in files]
    if as_json:
        _json([result.as_dict() for result in results])
    else:
        for result in results:
            for problem in result.problems:
                _report(problem)
            if result.good:
                click.echo(f"{result.file}: OK ({result.summary})")
    if not all(result.good for result in results):
        raise click.exceptions.Exit(ExitCode.USAGE)


@click.command()
@click.argument("file", metavar="SLA|SCENARIO", type=FILE)
@click.option("--scenario", type=FILE, help="A scenario whose planned run is held against the SLA table.")
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON to stdout.")
def explain(file: Path, scenario: Path | None, as_json: bool) -> None:
    """Say each objective in words: what it measures, what decides, the evidence it needs.

    With a scenario, also how much evidence its run is expected to give, and whether that is enough.
    Exit status: 0, or 2 when the plan has errors.
    """
    try:
        explanation = explain_file(file, scenario)
    except PlanError as error:
        if as_json:
            _json({"problems": [problem.as_dict() for problem in error.problems]})
        else:
            for problem in error.problems:
                _report(problem)
        raise click.exceptions.Exit(ExitCode.USAGE) from error
    if as_json:
        _json(explanation.as_dict())
        return
    for problem in explanation.problems:
        _report(problem)
    click.echo(render(explanation))
