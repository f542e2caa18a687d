"""`loadgate compare --interleave`: two hosts in turn on one machine, so that what is shared drops out.

Each block is A-B-B-A: a drift of the machine that is linear over a block hits both alike. Every run is one
of its own, with its own processes, since what differs between starts is a part of the noise. Two neighbours
are a pair; a pair with a void run is left out.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from loadgate.cli.compare import floor_facts
from loadgate.cli.control_room import ControlRoom, Request
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.subjects import Calibrated, find_calibration, read_run
from loadgate.errors import LoadgateError, StoreError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.comparison import Comparison, Row, confirm, decide, spelled
from loadgate.judge.effects import Floors, effects_of_pairs, left_out
from loadgate.judge.figures import RunFigures, figures
from loadgate.judge.likeness import LOAD_SHAPE, conditions, unusable
from loadgate.plan.plan import Plan, load_plan
from loadgate.plan.scenario import Stage
from loadgate.plan.units import format_duration
from loadgate.store.baselines import Baselines
from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder, list_runs
from loadgate.store.kept import KeptRun

_ORDER = (0, 1, 1, 0)
"""Which host each run of a block goes to."""
_SAID_LAST = 12
_SLA = "blocks.toml"
_ANY_RESULT = """\
# Blocks are compared, not judged: the rows of the scenario's own table may need longer runs.
[[objective]]
metric = "error_rate"
target = "<= 99%"
every  = "30s"
"""


@dataclass(frozen=True)
class Interleaved:
    """What the command line asked for; seconds."""

    scenario: Path
    hosts: tuple[str, str]
    blocks: int
    seconds: float
    warmup: float
    overrides: tuple[str, ...]
    root: Path
    rerun: bool = True
    floors: Floors = field(default_factory=Floors)


@dataclass
class Round:
    """The runs of all blocks of one round, as pairs (A, B) that were made one after the other."""

    pairs: list[tuple[KeptRun, KeptRun]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut: str = ""
    interrupted: bool = False


def interleaved(
    asked: Interleaved, baselines: Baselines, statistics: Sequence[str] | None
) -> tuple[Comparison, Path]:
    """Run all blocks, and again where something looks worse; return the comparison and its folder.

    LoadgateError where the plan is not usable, or a host cannot be reached before anything was run.
    """
    overrides = block_overrides(asked)
    folder = new_folder(asked.root, f"compare-{asked.scenario.stem}")
    with told_as_store_errors("write in", folder):
        (folder / _SLA).write_text(_ANY_RESULT, encoding="utf-8")
    say(
        f"interleaved comparison in {folder}: {asked.blocks} blocks A-B-B-A, "
        f"{format_duration(asked.seconds)} a run; A is {asked.hosts[0]}, B is {asked.hosts[1]}"
    )
    first = run_round(asked, overrides, folder, "")
    calibrated = _calibrated(first, baselines)
    rows, table = _rows(first, asked, statistics, calibrated)
    again: Round | None = None
    if asked.rerun and not first.cut and any(row.shown for row in rows):
        say("something looks worse: the blocks are run again, to confirm it")
        again = run_round(asked, overrides, folder, "rerun ")
        if not again.cut:
            rows = confirm(rows, _rows(again, asked, statistics, calibrated)[0])
    rounds = [first, *([again] if again is not None else [])]
    return (
        Comparison(
            how="interleaved",
            baseline=f"A {asked.hosts[0]}",
            candidate=f"B {asked.hosts[1]}",
            rows=rows,
            baseline_runs=tuple(pair[0].id for pair in first.pairs),
            candidate_runs=tuple(pair[1].id for pair in first.pairs),
            confirming_runs=tuple(pair[1].id for pair in again.pairs) if again is not None else (),
            faults=() if first.pairs or first.cut else ("no pair of runs is whole: see the notes",),
            cut=next((one.cut for one in rounds if one.cut), ""),
            interrupted=any(one.interrupted for one in rounds),
            notes=(*(note for one in rounds for note in one.notes), *(() if statistics else left_out(table))),
            facts=_facts(asked, calibrated) | floor_facts(asked.floors, statistics),
        ),
        folder,
    )


def run_round(asked: Interleaved, overrides: Sequence[str], folder: Path, what: str) -> Round:
    """Run every block once; what was interrupted or broke off is kept as far as its pairs are whole."""
    done = Round()
    with interruptible(done):
        for block in range(1, asked.blocks + 1):
            runs: list[KeptRun | None] = []
            for host in _ORDER:
                name = f"{what}block {block} of {asked.blocks}, {'AB'[host]}"
                run = run_once(asked.scenario, asked.hosts[host], overrides, folder, name, folder / _SLA)
                if run is None:
                    done.interrupted, done.cut = True, f"interrupted in {name}"
                    return done
                why = unusable(run)
                if why:
                    say(f"{name}: void, left out: {why}")
                    done.notes.append(f"{name} is left out with its pair: {why}")
                runs.append(None if why else run)
                if len(runs) in (2, 4):
                    # The second pair ran B first.
                    one, other = runs[-2:] if len(runs) == 2 else (runs[3], runs[2])
                    if one is not None and other is not None:
                        done.pairs.append((one, other))
    return done


@contextmanager
def interruptible(done: Round) -> Iterator[None]:
    """Let a signal, or a fault after the first pair, end a round instead of losing what it has."""
    with Interrupts().caught():
        try:
            yield
        except KeyboardInterrupt:
            done.interrupted, done.cut = True, "interrupted between two runs"
        except LoadgateError as error:
            if not done.pairs:
                raise
            done.cut = error.message


def run_once(
    scenario: Path,
    host: str,
    overrides: Sequence[str],
    folder: Path,
    name: str,
    sla: Path | None = None,
) -> KeptRun | None:
    """Carry out one run, silently, and read it; None when it was interrupted."""
    before = {run.id for run in list_runs(folder)}
    # Runs to compare are all as long as planned.
    whole = (*overrides, "verdict.stop_when_certain=false")
    request = Request(scenario, host, sla=sla, overrides=whole, results=str(folder))
    code, said = quietly(ControlRoom(request).run)
    if code == ExitCode.INTERRUPTED:
        return None
    new = [run for run in list_runs(folder) if run.id not in before]
    if len(new) != 1:
        raise StoreError(f"{name}: the run left no folder in {folder}", hint=said)
    run = read_run(RunFolder(new[0].path))
    say(f"{name}: {run.id}, {_p95(figures(run))}")
    return run


def quietly(work: Callable[[], int]) -> tuple[int, str]:
    """Do something without its output; return what it returned and said last. A fault tells all of it."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = work()
    except LoadgateError:
        click.echo(err.getvalue(), err=True, nl=False)
        raise
    return code, "\n".join(err.getvalue().splitlines()[-_SAID_LAST:])


def block_overrides(asked: Interleaved) -> tuple[str, ...]:
    """Return what makes a short run of a scenario: its longest steady level, and no probes."""
    plan = load_plan(asked.scenario, overrides=asked.overrides, host=asked.hosts[0])
    stages = _stages(steady_stage(plan), asked.seconds, asked.warmup)
    return (
        *asked.overrides,
        f"traffic.stages=[{stages}]",
        "verdict.leave_out=[]",
        "verdict.optional=[]",
        "probes=[]",
    )


def steady_stage(plan: Plan) -> Stage:
    """Return the longest steady stage of a plan; UsageError where there is none that can be repeated."""
    traffic = plan.scenario.traffic
    steady = [stage for stage in traffic.stages if stage.phase == "steady" and stage.hold > 0]
    if traffic.arrivals == "trace" or not steady:
        raise UsageError(
            "blocks need a steady stage, and this scenario has none",
            hint="give it a [[traffic.stages]] with a hold; a recorded trace cannot be cut into blocks",
        )
    return max(steady, key=lambda stage: stage.hold)


def _stages(stage: Stage, seconds: float, warmup: float) -> str:
    """Write the stages of a block as an override: half of the warm-up ramps, the other half holds."""
    level = f'rate = "{stage.rate:.6f}/s"' if stage.rate is not None else f"users = {stage.users}"
    steady = f'{{ {level}, hold = "{seconds:.3f}s" }}'
    if warmup <= 0:
        return steady
    half = f"{warmup / 2:.3f}s"
    return f'{{ {level}, ramp = "{half}", hold = "{half}", phase = "warmup" }}, {steady}'


def new_folder(root: Path, stem: str) -> Path:
    """Make a results folder of its own for the runs of one comparison or calibration."""
    moment = datetime.now(UTC)
    folder = root / f"{stem}-{moment:%Y%m%d-%H%M%S}-{moment.microsecond // 1000:03d}"
    with told_as_store_errors("make", folder):
        folder.mkdir(parents=True)
    return folder


def say(text: str) -> None:
    """Tell how it goes on standard error."""
    click.echo(text, err=True)


def _calibrated(first: Round, baselines: Baselines) -> Calibrated | None:
    if not first.pairs:
        return None
    return find_calibration(baselines, conditions(first.pairs[0][0]), LOAD_SHAPE)


def _rows(
    done: Round, asked: Interleaved, statistics: Sequence[str] | None, calibrated: Calibrated | None
) -> tuple[tuple[Row, ...], list[RunFigures]]:
    pairs = [(figures(one), figures(other)) for one, other in done.pairs]
    noise = calibrated.noise if calibrated is not None else None
    effects = effects_of_pairs(pairs, floors=asked.floors, noise=noise, statistics=statistics)
    return decide(effects), [pair[0] for pair in pairs]


def _facts(asked: Interleaved, calibrated: Calibrated | None) -> dict[str, Any]:
    return {
        "baseline": None,
        "calibration": None
        if calibrated is None
        else {"file": calibrated.path.name, "runs": calibrated.content.get("runs")},
        "blocks": asked.blocks,
        "block_seconds": asked.seconds,
        "warmup_seconds": asked.warmup,
        "scenario": str(asked.scenario),
    }


def _p95(run: RunFigures) -> str:
    """Say the p95 of each endpoint."""
    told = [f"{name} {spelled('p95', row['p95'].value)}" for name, row in run.endpoints.items()]
    return f"p95 {', '.join(told)}" if told else "no request"
