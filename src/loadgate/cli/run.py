"""`loadgate run`: the main job, from a scenario to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loadgate.cli.control_room import ControlRoom, Request, listen_at
from loadgate.cli.durations import DURATION
from loadgate.cli.options import (
    arm_option,
    host_option,
    json_option,
    results_option,
    set_option,
    strict_option,
)
from loadgate.cli.outlets import listening, run_options
from loadgate.errors import UsageError


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@host_option
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; the scenario says by default.")
@click.option(
    "--sla", type=click.Path(path_type=Path), help="SLA table to judge by, in place of the scenario's."
)
@click.option("--distributed", is_flag=True, help="Start no workers here; wait for those of other hosts.")
@click.option(
    "--expect-workers", type=click.IntRange(1, 10_000), help="Workers to wait for, with --distributed."
)
@click.option(
    "--bind",
    metavar="ADDRESS[:PORT]",
    help="Where the master listens, with --distributed [default: 127.0.0.1:5557]. "
    "Anything but loopback needs LOADGATE_SECRET.",
)
@click.option(
    "--wait",
    "within",
    type=DURATION,
    default="60s",
    show_default=True,
    help="How long to wait for the workers, with --distributed.",
)
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
    if not distributed and (expect_workers is not None or bind is not None):
        raise UsageError(
            "--expect-workers and --bind go with --distributed", hint="for workers on this host: --workers N"
        )
    if distributed and workers is not None:
        raise UsageError(
            "--workers starts workers here, --distributed waits for others", hint="say --expect-workers N"
        )
    request = Request(
        scenario=scenario,
        host=host,
        workers=expect_workers if distributed else workers,
        listen=listen_at(bind, within) if distributed else None,
        sla=sla,
        overrides=overrides,
        results=results,
        strict=strict,
        as_json=as_json,
        arm=arm,
        listening=listening(where),
    )
    return ControlRoom(request).run()
