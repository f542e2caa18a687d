"""Options of the commands that compare runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from loadgate.judge.figures import STATISTICS

_Command = TypeVar("_Command", bound=Callable[..., Any])

baselines_option = click.option(
    "--baselines",
    metavar="DIR",
    help="Where baselines are kept [default: $LOADGATE_BASELINES, or baselines/ beside the results].",
)
statistic_option = click.option(
    "--statistic",
    "statistics",
    multiple=True,
    type=click.Choice(STATISTICS),
    help="Compare only this statistic. Can be repeated.",
)


def floor_options(command: _Command) -> _Command:
    """Add the options of the practical floors."""
    for option in (
        click.option(
            "--floor-errors",
            default="0.1%",
            show_default=True,
            metavar="SHARE",
            help="How much of all requests an error rate may gain without being worse.",
        ),
        click.option(
            "--floor-latency",
            default="1ms",
            show_default=True,
            metavar="DURATION",
            help="How much longer a latency may be without being worse.",
        ),
        click.option(
            "--floor",
            default="5%",
            show_default=True,
            metavar="SHARE",
            help="By how much anything may change without being worse; "
            "the noise of a calibrated machine raises it.",
        ),
    ):
        command = option(command)
    return command
