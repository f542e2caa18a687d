"""`loadgate calibrate`: how much like runs differ here, and how long one has to look because of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.comparison_options import baselines_option, floor_options
from loadgate.cli.interleave import Round, interruptible, new_folder, run_once, say
from loadgate.cli.options import json_option, results_option, set_option
from loadgate.cli.subjects import read_floors
from loadgate.exit_codes import ExitCode
from loadgate.judge.calibration import DETECTED, POWER, noise_of, noise_to_dict, recommendations, slowest
from loadgate.judge.effects import Floors
from loadgate.judge.figures import figures
from loadgate.judge.likeness import conditions, unusable
from loadgate.judge.noise import FEWEST_RUNS
from loadgate.judge.results import iso
from loadgate.plan.plan import load_plan
from loadgate.report.calibration import print_calibration
from loadgate.store.baselines import Baselines, baselines_root
from loadgate.store.folder import results_root
from loadgate.store.kept import KeptRun


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--host", metavar="URL", required=True, help="The target, the same for all runs.")
@click.option(
    "--runs",
    type=click.IntRange(FEWEST_RUNS, 100),
    default=6,
    show_default=True,
    help="How many runs to make.",
)
@floor_options
@set_option
@baselines_option
@results_option
@json_option
def calibrate(
    scenario: Path,
    host: str,
    runs: int,
    floor: str,
    floor_latency: str,
    floor_errors: str,
    overrides: tuple[str, ...],
    baselines: str | None,
    results: str | None,
    as_json: bool,
) -> int:
    """Run SCENARIO against one host again and again, and store how much the runs differ.

    No comparison of such runs takes a smaller change for a regression. It also says which interleaved
    comparison, and how many baseline runs of which length, detect +20 % in a p95 with 95 % probability.
    """
    floors = read_floors(floor, floor_latency, floor_errors)
    root = results_root(results, scenario)
    kept = Baselines(baselines_root(baselines, root))
    done, good = _runs(scenario, host, runs, overrides, root)
    if done.interrupted:
        say(f"{done.cut}: nothing is stored")
        return int(ExitCode.INTERRUPTED)
    if len(good) < FEWEST_RUNS:
        why = done.cut or "the others are void"
        say(f"{len(good)} of {runs} runs can be used ({why}), and it takes {FEWEST_RUNS}: nothing is stored")
        return int(ExitCode.INVALID)
    content = calibration(good, floors, now=datetime.now(UTC))
    path = kept.add_calibration(scenario.stem, content)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        print_calibration(content, path)
    return int(ExitCode.PASS)


def calibration(runs: Sequence[KeptRun], floors: Floors, *, now: datetime) -> dict[str, Any]:
    """Return the content of a calibration from like runs."""
    table = noise_of([figures(run) for run in runs])
    found = recommendations(table, floors)
    enough = slowest(found)
    return {
        "scenario": runs[0].values.get("scenario"),
        "conditions": conditions(runs[0]),
        "made_at": iso(now.timestamp()),
        "runs": [run.id for run in runs],
        "seconds": sum(run.seconds for run in runs) / len(runs),
        "noise": noise_to_dict(table),
        "detects": {"statistic": "p95", "change": DETECTED, "probability": POWER},
        "recommended": {endpoint: one.to_dict() for endpoint, one in found.items()},
        "interleave": enough and {"blocks": enough.blocks, "seconds": enough.seconds},
    }


def _runs(
    scenario: Path, host: str, number: int, overrides: tuple[str, ...], root: Path
) -> tuple[Round, list[KeptRun]]:
    """Make the runs; return how it went, and those that can be used."""
    # What is wrong with the plan is told before a folder is made.
    load_plan(scenario, overrides=overrides, host=host)
    folder = new_folder(root, f"calibrate-{scenario.stem}")
    say(f"calibration in {folder}: {number} runs against {host}")
    done, good = Round(), list[KeptRun]()
    with interruptible(done):
        for run_number in range(1, number + 1):
            name = f"run {run_number} of {number}"
            run = run_once(scenario, host, overrides, folder, name)
            if run is None:
                done.interrupted, done.cut = True, f"interrupted in {name}"
                break
            why = unusable(run)
            if why:
                say(f"{name}: void, left out: {why}")
            else:
                good.append(run)
    return done, good
