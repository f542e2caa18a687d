"""`loadgate run`: the main job, from a scenario to a verdict."""

from __future__ import annotations

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


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@host_option
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; the scenario says by default.")
@click.option(
    "--sla", type=click.Path(path_type=Path), help="SLA table to judge by, in place of the scenario's."
)
@distributed_options
@run_options
@arm_option
@set_option
@results_option
@strict_option
@json_option
def run(
    scenario: Path,
    host: str | None,
    workers: int | None,
    sla: Path | None,
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
    """Run SCENARIO against its host and judge the result by its SLA table.

    The exit code is the verdict: 0 PASS or WARN (10 for WARN with --strict), 20 FAIL, 30 INVALID,
    40 the target could not be reached, 130 interrupted. Ctrl-C ends the load gracefully and judges
    what was measured; a second Ctrl-C leaves at once.

    With --distributed the load is made by `loadgate worker --master HOST:PORT` on other hosts.
    """
    number, listen = workers_of(
        workers, distributed=distributed, expect_workers=expect_workers, bind=bind, within=within
    )
    request = Request(
        scenario=scenario,
        host=host,
        workers=number,
        listen=listen,
        sla=sla,
        overrides=overrides,
        results=results,
        strict=strict,
        as_json=as_json,
        arm=arm,
        listening=listening(where),
    )
    return ControlRoom(request).run()
