"""`loadgate baseline`: named sets of accepted runs, to compare others with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from loadgate.cli.compare import drift_notes
from loadgate.cli.comparison_options import baselines_option
from loadgate.cli.options import json_option, results_option
from loadgate.cli.subjects import Subject, named, read_run
from loadgate.errors import UsageError
from loadgate.judge.effects import Floors
from loadgate.judge.figures import RunFigures, figures
from loadgate.judge.likeness import unlike_runs, unusable
from loadgate.judge.noise import FEWEST_RUNS
from loadgate.judge.results import number
from loadgate.report.comparison import print_baseline, print_baselines
from loadgate.store.baselines import Baseline, Baselines, baselines_root
from loadgate.store.folder import find_run, results_root
from loadgate.store.kept import KeptRun

_ACCEPTED = ("PASS", "WARN")


@click.group()
def baseline() -> None:
    """Keep sets of accepted runs under a name, to compare other runs with."""


@baseline.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--name", required=True, help="The baseline's name; an existing one gets a new generation.")
@click.option("--add", is_flag=True, help="Take the runs of the generation before along.")
@click.option("--force", is_flag=True, help="Take runs that did not pass, or are not alike; it is recorded.")
@baselines_option
@results_option
def promote(
    runs: tuple[str, ...], name: str, add: bool, force: bool, baselines: str | None, results: str | None
) -> int:
    """Keep RUN... as the next generation of a baseline.

    Only runs that ended PASS or WARN are taken; void and unfinished ones never are.
    """
    root = results_root(results, None)
    kept = Baselines(baselines_root(baselines, root))
    chosen = [read_run(find_run(root, run)) for run in runs]
    if add and kept.generations(name):
        chosen = [*kept.load(name).runs, *chosen]
    overruled = _check(chosen, force=force)
    made = kept.promote(name, chosen, now=datetime.now(UTC), forced=overruled)
    click.echo(made.label)
    if len(chosen) < FEWEST_RUNS:
        click.echo(
            f"{len(chosen)} of {FEWEST_RUNS} runs that it takes to tell a regression from noise: "
            "add more with --add, or calibrate",
            err=True,
        )
    return 0


@baseline.command("list")
@baselines_option
@results_option
@json_option
def list_command(baselines: str | None, results: str | None, as_json: bool) -> int:
    """List the baselines with their newest generation."""
    kept = _open(baselines, results)
    now = datetime.now(UTC)
    rows = [_described(kept.load(name), now) for name in kept.names()]
    if as_json:
        _json(rows)
    else:
        print_baselines(rows, kept.root)
    return 0


@baseline.command()
@click.argument("name")
@baselines_option
@results_option
@json_option
def show(name: str, baselines: str | None, results: str | None, as_json: bool) -> int:
    """Show the baseline NAME ("main", "main@2"): its runs, age, and drift from the first generation."""
    kept = _open(baselines, results)
    found = kept.load(*named(name))
    content = {
        **_described(found, datetime.now(UTC)),
        "generations": kept.generations(found.name),
        "values": _values([figures(run) for run in found.runs]),
        "drift": list(drift_notes(Subject(found.label, found.runs, baseline=found), kept, Floors())),
    }
    if as_json:
        _json(content)
    else:
        print_baseline(content)
    return 0


@baseline.command()
@click.argument("name")
@baselines_option
@results_option
def remove(name: str, baselines: str | None, results: str | None) -> int:
    """Remove the baseline NAME with all its generations, or the one that "main@2" names."""
    for path in _open(baselines, results).remove(*named(name)):
        click.echo(str(path))
    return 0


def _open(baselines: str | None, results: str | None) -> Baselines:
    return Baselines(baselines_root(baselines, results_root(results, None)))


def _check(runs: Sequence[KeptRun], *, force: bool) -> tuple[str, ...]:
    """Return what `--force` overruled; UsageError for what it was not there to overrule, or cannot."""
    ids = [run.id for run in runs]
    twice = next((one for one in ids if ids.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice", hint="each run counts once")
    for run in runs:
        why = unusable(run)
        if why:
            raise UsageError(
                f"a baseline needs whole runs: {why}", hint="run it again; --force cannot help here"
            )
    against = [
        f"{run.id} ended {run.verdict['verdict']}" for run in runs if run.verdict["verdict"] not in _ACCEPTED
    ]
    against += [f"unlike {difference.line()}" for difference in unlike_runs(runs)]
    if against and not force:
        raise UsageError(
            "these runs make no baseline",
            hint="\n".join([*against, "leave them out, or overrule this with --force (it is recorded)"]),
        )
    return tuple(against)


def _described(found: Baseline, now: datetime) -> dict[str, Any]:
    return {
        "name": found.name,
        "generation": found.generation,
        "made_at": found.made_at,
        "age": found.age(now),
        "forced": list(found.forced),
        "runs": [
            {"run": run.id, "verdict": run.verdict["verdict"], "seconds": run.seconds} for run in found.runs
        ],
    }


def _values(runs: Sequence[RunFigures]) -> dict[str, dict[str, list[float | None]]]:
    """Return every run's value (SI) by endpoint and statistic; null where it is infinite or missing."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for endpoint in sorted({name for run in runs for name in run.endpoints}):
        for run in runs:
            for statistic, figure in run.endpoints.get(endpoint, {}).items():
                values.setdefault(endpoint, {}).setdefault(statistic, []).append(number(figure.value))
    return values


def _json(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
