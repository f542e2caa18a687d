"""`loadgate compare`: is a candidate worse than its baseline?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.comparison_options import baselines_option, floor_options, statistic_option
from loadgate.cli.durations import DURATION
from loadgate.cli.options import json_option, results_option, set_option, strict_option
from loadgate.cli.output import printed
from loadgate.cli.subjects import (
    Calibrated,
    Subject,
    find_calibration,
    find_subject,
    read_floors,
    refuse_unlike,
)
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.comparison import Comparison, Row, confirm, decide, summary
from loadgate.judge.effects import Floors, effects_of_runs, left_out
from loadgate.judge.figures import figures
from loadgate.judge.likeness import conditions, unknown, unusable
from loadgate.report.comparison import markdown, print_comparison
from loadgate.store.baselines import Baselines, baselines_root, publish
from loadgate.store.folder import RunFolder, results_root
from loadgate.store.kept import KeptRun


@click.command()
@click.argument("names", metavar="BASELINE CANDIDATE|SCENARIO", nargs=-1, required=True)
@click.option(
    "--confirm",
    "confirming",
    metavar="RUN",
    help="A second run of the candidate, that confirms or clears it.",
)
@click.option("--force", is_flag=True, help="Compare runs that are not alike; it is recorded.")
@click.option(
    "--interleave",
    nargs=2,
    metavar="HOST_A HOST_B",
    help="Run SCENARIO against two hosts in turn, A-B-B-A, and compare B with A.",
)
@click.option(
    "--blocks",
    type=click.IntRange(1, 200),
    default=4,
    show_default=True,
    help="A-B-B-A blocks of an interleaved comparison; each has two pairs of runs.",
)
@click.option(
    "--block",
    "seconds",
    type=DURATION,
    default="20s",
    show_default=True,
    help="Steady load of each run of an interleaved comparison.",
)
@click.option(
    "--warmup",
    type=DURATION,
    default="3s",
    show_default=True,
    help="Load before that, which is not compared.",
)
@click.option(
    "--no-rerun",
    is_flag=True,
    help="Do not repeat an interleaved comparison by itself that looks worse, to confirm it.",
)
@floor_options
@statistic_option
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write Markdown to this file."
)
@set_option
@baselines_option
@results_option
@strict_option
@json_option
def compare(
    names: tuple[str, ...],
    confirming: str | None,
    force: bool,
    interleave: tuple[str, str] | None,
    blocks: int,
    seconds: float,
    warmup: float,
    no_rerun: bool,
    floor: str,
    floor_latency: str,
    floor_errors: str,
    statistics: tuple[str, ...],
    markdown_file: Path | None,
    overrides: tuple[str, ...],
    baselines: str | None,
    results: str | None,
    strict: bool,
    as_json: bool,
) -> int:
    """Compare the stored run CANDIDATE with BASELINE, or two hosts under SCENARIO with --interleave.

    BASELINE and CANDIDATE are each a run (an id, a path, "latest") or the name of a baseline ("main",
    "main@2"). Exit code 20 is a confirmed regression, 31 one that awaits its confirming rerun or cannot be
    told from noise, 30 that there is nothing to compare, 2 that the runs are not alike.

    """
    floors = read_floors(floor, floor_latency, floor_errors)
    chosen = statistics or None
    if interleave is not None:
        if seconds < 1:
            raise UsageError("a block has at least 1s of steady load", hint="for example --block 20s")
        if len(names) != 1 or confirming is not None or force:
            raise UsageError(
                "--interleave takes one SCENARIO, and neither --confirm nor --force",
                hint="loadgate compare --interleave HOST_A HOST_B SCENARIO",
            )
        from loadgate.cli.interleave import Interleaved, interleaved

        scenario = Path(names[0])
        root = results_root(results, scenario)
        asked = Interleaved(
            scenario, interleave, blocks, seconds, warmup, overrides, root, rerun=not no_rerun, floors=floors
        )
        comparison, made = interleaved(asked, Baselines(baselines_root(baselines, root)), chosen)
        return tell(comparison, made, markdown_file, strict=strict, as_json=as_json)
    if len(names) != 2 or overrides:
        raise UsageError(
            "compare takes BASELINE and CANDIDATE, and no --set", hint="loadgate compare main latest"
        )
    root = results_root(results, None)
    kept = Baselines(baselines_root(baselines, root))
    comparison, run = stored(names, confirming, root, kept, floors, chosen, force=force)
    return tell(comparison, run.path if run else None, markdown_file, strict=strict, as_json=as_json)


def stored(
    names: Sequence[str],
    confirming: str | None,
    root: Path,
    baselines: Baselines,
    floors: Floors,
    statistics: tuple[str, ...] | None,
    *,
    force: bool,
) -> tuple[Comparison, RunFolder | None]:
    """Compare stored runs; return the comparison, and the candidate's folder where it is a run."""
    baseline, candidate = (find_subject(name, root, baselines) for name in names)
    again = find_subject(confirming, root, baselines) if confirming is not None else None
    _refuse_the_same(baseline, candidate, again, force=force)
    sides = [candidate, *([again] if again is not None else [])]
    differences = refuse_unlike(
        [conditions(run) for run in baseline.runs],
        [conditions(run) for side in sides for run in side.runs],
        force=force,
    )
    comparison = compared(baseline, candidate, again, baselines, floors, statistics)
    return replace(comparison, overruled=differences, forced=force), candidate.folder


def compared(
    baseline: Subject,
    candidate: Subject,
    again: Subject | None,
    baselines: Baselines,
    floors: Floors,
    statistics: tuple[str, ...] | None,
) -> Comparison:
    """Compare subjects that are alike; `again` is the confirming rerun. What is unusable becomes a fault."""
    sides = [candidate, *([again] if again is not None else [])]
    faults = tuple(why for side in (baseline, *sides) for run in side.runs if (why := unusable(run)))
    calibrated = find_calibration(baselines, conditions(candidate.runs[0]))
    rows: tuple[Row, ...] = ()
    if not faults:
        rows = _rows(baseline, candidate, floors, statistics, calibrated)
        if again is not None:
            rows = confirm(rows, _rows(baseline, again, floors, statistics, calibrated))
    return Comparison(
        how="stored",
        baseline=baseline.label,
        candidate=candidate.label,
        rows=rows,
        baseline_runs=_ids(baseline.runs),
        candidate_runs=_ids(candidate.runs),
        confirming_runs=_ids(again.runs) if again is not None else (),
        faults=faults,
        notes=(*_notes(baseline, candidate, statistics), *drift_notes(baseline, baselines, floors)),
        facts=_facts(baseline, calibrated) | floor_facts(floors, statistics),
    )


def tell(
    comparison: Comparison,
    folder: Path | None,
    markdown_file: Path | None,
    *,
    strict: bool,
    as_json: bool,
) -> int:
    """Write a comparison beside its candidate, print it, and return the exit code."""
    content = comparison.to_dict(strict=strict, now=datetime.now(UTC))
    path = write(folder, content) if folder is not None else None
    with printed(path or Path("nowhere: the candidate is a baseline")):
        if as_json:
            sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        else:
            print_comparison(content, path)
    code: int = content["exit_code"]
    if markdown_file is not None:
        try:
            markdown_file.write_text(markdown(content), encoding="utf-8")
        except OSError as error:
            click.echo(f"loadgate: cannot write {markdown_file}: {error.strerror or error}", err=True)
            # A report that is missing must not look like one that was read and found good.
            return code or int(ExitCode.USAGE)
    return code


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Write comparison.json, or comparison-2.json and so on where one exists, and return its path."""
    data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    for number in count(1):
        path = folder / ("comparison.json" if number == 1 else f"comparison-{number}.json")
        if publish(data, path):
            return path
    raise AssertionError("unreachable: the numbers do not end")


def _rows(
    baseline: Subject,
    candidate: Subject,
    floors: Floors,
    statistics: tuple[str, ...] | None,
    calibrated: Calibrated | None,
) -> tuple[Row, ...]:
    effects = effects_of_runs(
        [figures(run) for run in baseline.runs],
        [figures(run) for run in candidate.runs],
        floors=floors,
        noise=calibrated.noise if calibrated is not None else None,
        statistics=statistics,
    )
    return decide(effects)


def _refuse_the_same(baseline: Subject, candidate: Subject, again: Subject | None, *, force: bool) -> None:
    """Refuse a run that stands on two sides: what is compared with itself cannot be found worse."""
    seen: dict[str, str] = {}
    sides = [("the baseline", baseline), ("the candidate", candidate)]
    if again is not None:
        sides.append(("the confirming rerun", again))
    for side, subject in sides:
        for run in subject.runs:
            other = seen.setdefault(run.id, side)
            if other != side and (not force or "rerun" in side):
                raise UsageError(
                    f"{run.id} is in {other} and in {side}", hint="name runs that were made apart"
                )


def _notes(baseline: Subject, candidate: Subject, statistics: tuple[str, ...] | None) -> tuple[str, ...]:
    known = unknown(conditions(baseline.runs[0]), conditions(candidate.runs[0]))
    if statistics is not None or any(map(unusable, baseline.runs)):
        return known
    return (*known, *left_out([figures(run) for run in baseline.runs]))


def drift_notes(subject: Subject, baselines: Baselines, floors: Floors) -> tuple[str, ...]:
    """Say in what a generation is worse than the first one: small steps that each pass can add up."""
    kept = subject.baseline
    if kept is None or any(map(unusable, kept.runs)):
        return ()
    first = baselines.generations(kept.name)[0]
    if first >= kept.generation:
        return ()
    oldest = baselines.load(kept.name, first)
    effects = effects_of_runs(
        [figures(run) for run in oldest.runs], [figures(run) for run in kept.runs], floors=floors
    )
    return tuple(
        f"{kept.label} is itself worse than {oldest.label}: {row.name}: {summary(row.effect)}"
        for row in decide(effects)
        if row.effect.beyond
    )


def _facts(baseline: Subject, calibrated: Calibrated | None) -> dict[str, Any]:
    kept = baseline.baseline
    facts: dict[str, Any] = {"baseline": None, "calibration": None}
    if kept is not None:
        facts["baseline"] = {
            "name": kept.name,
            "generation": kept.generation,
            "made_at": kept.made_at,
            "age": kept.age(datetime.now(UTC)),
            "forced": list(kept.forced),
        }
    if calibrated is not None:
        facts["calibration"] = {"file": calibrated.path.name, "runs": calibrated.content.get("runs")}
    return facts


def floor_facts(floors: Floors, statistics: Sequence[str] | None) -> dict[str, Any]:
    """Return what was asked to count as a change, and which statistics were chosen (null: all)."""
    return {
        "floors": {"relative": floors.relative, "seconds": floors.seconds, "errors": floors.errors},
        "statistics": None if statistics is None else list(statistics),
    }


def _ids(runs: Sequence[KeptRun]) -> tuple[str, ...]:
    return tuple(run.id for run in runs)
