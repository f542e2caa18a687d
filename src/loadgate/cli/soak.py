"""`loadgate soak`: a long run that starts again what dies, and that can be gone on with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from loadgate.cli.control_room import ControlRoom, Request
from loadgate.cli.distributed import distributed_options, workers_of
from loadgate.cli.options import (
    arm_option,
    host_option,
    json_option,
    results_option,
    set_option,
    strict_option,
)
from loadgate.cli.outlets import listening, run_options
from loadgate.cli.resume import ResumedRoom, newest_soak_of, refuse_another_plan
from loadgate.cli.runs import show_verdict
from loadgate.errors import UsageError
from loadgate.judge.gather import gather
from loadgate.judge.run import COVERAGE_NEEDED
from loadgate.judge.verdict import judge, write
from loadgate.plan.plan import Plan
from loadgate.plan.units import format_duration, format_rate, format_share
from loadgate.store.folder import RunFolder, results_root


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@host_option
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; the scenario says by default.")
@click.option(
    "--resume",
    "resumes",
    is_flag=True,
    help="Go on with the newest soak of this scenario that has no end; start one where there is none.",
)
@click.option(
    "--once",
    is_flag=True,
    help="With --resume: start none where a soak of this scenario has ended, and exit by its verdict.",
)
@distributed_options
@run_options
@arm_option
@set_option
@results_option
@strict_option
@json_option
def soak(
    scenario: Path,
    host: str | None,
    workers: int | None,
    resumes: bool,
    once: bool,
    distributed: bool,
    expect_workers: int | None,
    bind: str | None,
    within: float,
    arm: bool,
    overrides: tuple[str, ...],
    results: str | None,
    strict: bool,
    as_json: bool,
    **where: Any,
) -> int:
    """Run SCENARIO for as long as it says, whatever dies on the way, and judge it.

    A master or worker that dies is started again, as [soak] in the scenario says. After the control
    room or the machine died, `loadgate resume RUN` goes on; so does this command with --resume, which
    a service manager can start again and again. SIGTERM pauses the run, which stays open; Ctrl-C ends
    and judges it.
    """
    number, listen = workers_of(
        workers, distributed=distributed, expect_workers=expect_workers, bind=bind, within=within
    )
    request = Request(
        scenario=scenario,
        host=host,
        workers=number,
        listen=listen,
        overrides=overrides,
        results=results,
        strict=strict,
        as_json=as_json,
        arm=arm,
        supervised=True,
        listening=listening(where),
    )
    if once and not resumes:
        raise UsageError("--once goes with --resume", hint="say both, or leave it out")
    return _go_on(request, once=once) if resumes else SoakRoom(request).run()


def _go_on(request: Request, *, once: bool) -> int:
    """Go on with the newest soak; where it has ended start a new one, or, with `once`, judge it."""
    plan = request.read_plan()
    newest = newest_soak_of(plan.scenario.name, results_root(request.results, request.scenario))
    if newest is None or (newest.ended is not None and not once):
        return SoakRoom(request).run()
    refuse_another_plan(newest.run, plan)
    if newest.ended is None:
        click.echo(f"going on with {newest.run.id}, which has no end yet", err=True)
        return ResumedRoom(newest.run, request).run()
    click.echo(f"{newest.run.id} has ended ({newest.ended}); nothing is started", err=True)
    return _judged_again(newest.run, request)


def _judged_again(run: RunFolder, request: Request) -> int:
    """Judge a run that has ended, by its own plan; return the exit code.

    What stands in its folder is not asked: somebody may have judged it by another table since. Where none
    does, since its control room died too early, the verdict is kept and shown.
    """
    verdict = judge(gather(run), strict=request.strict, now=datetime.now(UTC))
    if not run.verdict_path().exists():
        path = write(run, verdict)
        show_verdict(verdict.to_dict(), path, as_json=request.as_json)
    click.echo(f"judged by its own plan: {verdict.grade.value}", err=True)
    return int(verdict.exit_code)


class SoakRoom(ControlRoom):
    """Carry out a soak: say first what will be done."""

    def _check(self, plan: Plan) -> Path:
        root = super()._check(plan)
        for line in announcement(plan, datetime.now(UTC)):
            click.echo(line, err=True)
        return root


def announcement(plan: Plan, now: datetime) -> list[str]:
    """Say what a soak that begins `now` will do: length, rate, planned end, and what a PASS needs."""
    scenario, timeline = plan.scenario, plan.timeline
    highest = max((max(part.level_start, part.level_end) for part in timeline.segments), default=0.0)
    level = format_rate(highest) if scenario.traffic.model == "open" else f"{highest:g} users"
    soak = scenario.soak
    needs = format_share(COVERAGE_NEEDED)
    ends = now.astimezone() + timedelta(seconds=timeline.end)
    lines = [
        f"soak: {format_duration(round(timeline.end, 3))} at up to {level} against {scenario.host}, "
        f"to about {ends:%Y-%m-%d %H:%M:%S %Z}",
        f"each process is started again up to {soak.restarts} times an hour; "
        f"a PASS needs {needs} of the steady phase measured",
    ]
    if scenario.generator.loss_allowed < 1:
        lines.append(
            f'on_worker_loss is "{scenario.generator.on_worker_loss}": the loss of a worker may void the '
            'run; a soak wants "continue"'
        )
    return lines
