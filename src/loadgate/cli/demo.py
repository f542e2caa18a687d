"""`loadgate demo`: the main job against the reference staging service, start to verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loadgate.cli.control_room import ControlRoom, Request
from loadgate.cli.options import json_option, results_option, set_option, strict_option
from loadgate.cli.outlets import listening, run_options
from loadgate.cli.templates import templates
from loadgate.errors import UsageError


@click.command()
@click.option("--scenario", default="gate", show_default=True, help="Which shipped scenario to run.")
@run_options
@set_option
@results_option
@strict_option
@json_option
def demo(
    scenario: str,
    overrides: tuple[str, ...],
    results: str | None,
    strict: bool,
    as_json: bool,
    **where: Any,
) -> int:
    """Start the reference staging service on a free port, run a scenario against it, judge, and stop it.

    It takes about 40 seconds and needs the `staging` extra.
    """
    from loadgate.staging.server import StagingService

    path = _shipped(scenario)
    with StagingService() as service:
        click.echo(f"reference staging service: {service.url} (pid {service.pid})", err=True)
        request = Request(
            scenario=path,
            host=service.url,
            overrides=overrides,
            results=results,
            strict=strict,
            as_json=as_json,
            listening=listening(where),
        )
        return ControlRoom(request).run()


def _shipped(name: str) -> Path:
    """Find a shipped scenario by its name."""
    known = {path.stem: path for path in sorted((templates() / "scenarios").glob("*.toml"))}
    if name not in known:
        hint = f"one of: {', '.join(known)}; your own run with `loadgate run SCENARIO`"
        raise UsageError(f"no scenario named {name!r} is shipped", hint=hint)
    return known[name]
