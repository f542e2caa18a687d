"""Durations on the command line, written as in plans: 90s, 5m."""

from __future__ import annotations

from typing import Any

import click

from loadgate.plan.units import UnitError, parse_duration


class Duration(click.ParamType[float]):
    """Read a duration with its unit; the value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, or fail with what to write."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(str(value))
        except UnitError as error:
            self.fail(f"{error.message}: {error.hint}" if error.hint else error.message, param, ctx)


DURATION = Duration()
