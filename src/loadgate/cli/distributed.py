"""The options of a run whose load is made by workers of other hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from loadgate.cli.control_room import listen_at
from loadgate.cli.durations import DURATION
from loadgate.errors import UsageError
from loadgate.swarm.launch import Listen

_Command = TypeVar("_Command", bound=Callable[..., Any])


def distributed_options(command: _Command) -> _Command:
    """Add the options that say where a master waits for workers of other hosts, and for how many."""
    distributed = click.option(
        "--distributed", is_flag=True, help="Start no workers here; wait for those of other hosts."
    )
    expect = click.option(
        "--expect-workers", type=click.IntRange(1, 10_000), help="Workers to wait for, with --distributed."
    )
    bind = click.option(
        "--bind",
        metavar="ADDRESS[:PORT]",
        help="Where the master listens, with --distributed [default: 127.0.0.1:5557]. "
        "Anything but loopback needs LOADGATE_SECRET.",
    )
    within = click.option(
        "--wait",
        "within",
        type=DURATION,
        default="60s",
        show_default=True,
        help="How long to wait for the workers, with --distributed.",
    )
    return distributed(expect(bind(within(command))))


def workers_of(
    workers: int | None, *, distributed: bool, expect_workers: int | None, bind: str | None, within: float
) -> tuple[int | None, Listen | None]:
    """Return how many workers a run has, and where it listens for them; UsageError where both are said."""
    if not distributed and (expect_workers is not None or bind is not None):
        raise UsageError(
            "--expect-workers and --bind go with --distributed", hint="for workers on this host: --workers N"
        )
    if distributed and workers is not None:
        raise UsageError(
            "--workers starts workers here, --distributed waits for others", hint="say --expect-workers N"
        )
    return (expect_workers, listen_at(bind, within)) if distributed else (workers, None)
