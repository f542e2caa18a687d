"""`loadgate rollback`: the checklist's rollback steps by hand, printed only unless told to carry them out."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.options import json_option
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.plan.draft import read_draft
from loadgate.plan.problems import PlanError
from loadgate.plan.scenario import Scenario, Stage, Traffic, check_url
from loadgate.plan.units import UnitError
from loadgate.report.text import clean
from loadgate.watch.levers import Levers, Result, lines_for
from loadgate.watch.parse import Reason
from loadgate.watch.rollback import Action, Observation, Outcome, action_key, actions_of

_Command = Callable[..., Any]
_CONCERNED = ("host", "http", "rollback", "probes")
"""Tables of a scenario that a rollback goes by; faults of the others must not be in its way."""


def _shared(command: _Command) -> _Command:
    """Add the options that every step has."""
    for option in (
        json_option,
        click.option("--execute", is_flag=True, help="Do it; without this, only print what it would be."),
        click.option(
            "--scenario", type=click.Path(path_type=Path), help="Scenario with host and [rollback]."
        ),
        click.option("--host", metavar="URL", help="The target, in place of the scenario's."),
    ):
        command = option(command)
    return command


@click.group()
def rollback() -> None:
    """Disable an endpoint, limit a service, or bring the old version back.

    Each prints the equivalent commands. With --execute it does them, and looks whether they took effect.
    """


@rollback.command("disable-endpoint")
@click.argument("path", metavar="PATH|NAME")
@_shared
def disable_endpoint(path: str, **options: Any) -> int:
    """Disable the endpoint at PATH, or the one that the scenario's [rollback] calls NAME."""
    return _carry_out(f"disable-endpoint {path}", **options)


@rollback.command("enable-endpoint")
@click.argument("path", metavar="PATH|NAME")
@_shared
def enable_endpoint(path: str, **options: Any) -> int:
    """Enable the endpoint at PATH again."""
    return _carry_out(f"enable-endpoint {path}", **options)


@rollback.command("rate-limit")
@click.argument("service")
@click.argument("limit", metavar="N|off")
@_shared
def rate_limit(service: str, limit: str, **options: Any) -> int:
    """Limit SERVICE to N requests per second; "off" lifts the limit."""
    return _carry_out(f"rate-limit {service} {limit}", **options)


@rollback.command()
@_shared
def revert(**options: Any) -> int:
    """Bring the old version back, by the commands or the manual steps of the scenario's [rollback]."""
    return _carry_out("revert", **options)


def _carry_out(text: str, host: str | None, scenario: Path | None, execute: bool, as_json: bool) -> int:
    chosen = _scenario(host, scenario)
    actions = actions_of(text, chosen.rollback)
    faulty = next((action for action in actions if action.kind == "faulty"), None)
    if faulty is not None:
        raise UsageError(faulty.text, hint="see docs/rollback.md")
    if execute and any(action.kind == "manual" for action in actions):
        raise UsageError(
            "the plan names no commands for a revert, only steps for people", hint=actions[0].text
        )
    results = _execute(chosen, actions) if execute else []
    if as_json:
        click.echo(orjson.dumps(_content(chosen, actions, results), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(chosen, actions, results)
    if not execute:
        click.echo("nothing was done: add --execute to do it", err=True)
    return _exit_code(actions, results)


def _execute(scenario: Scenario, actions: tuple[Action, ...]) -> list[Result]:
    """Carry the actions out in order; none after one that failed."""
    levers = Levers(scenario, os.environ, Path("rollback.log"))
    results: list[Result] = []
    for action in actions:
        before = levers.look(action) if action.kind == "http" else Observation.UNSEEN
        key = action_key(f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}", None, action.step, 1)
        results.append(levers.carry_out(action, key, before, is_last=action is actions[-1]))
        if results[-1].outcome is not Outcome.DONE:
            break
    return results


def _scenario(host: str | None, path: Path | None) -> Scenario:
    """Return what a rollback goes by; UsageError without a target, PlanError for faults that concern it."""
    if path is not None:
        draft = read_draft(path, host=host)
        errors = [problem for problem in draft.problems if problem.is_error]
        mine = [problem for problem in errors if problem.key.startswith(_CONCERNED) or not problem.key]
        if draft.scenario is None or mine:
            raise PlanError(mine or errors)
        return draft.scenario
    if host is None:
        raise UsageError("there is no target", hint="name it: --scenario scenarios/load.toml, or --host URL")
    try:
        check_url(host, query=False)
    except UnitError as error:
        raise UsageError(f"--host {error.message}", hint=error.hint) from error
    traffic = Traffic(stages=(Stage(rate=1.0, hold=1.0),), users=1)
    return Scenario(name="rollback", locustfile=Path("none.py"), host=host, traffic=traffic)


def _print(scenario: Scenario, actions: tuple[Action, ...], results: list[Result]) -> None:
    for action in actions:
        for line in lines_for(action, scenario):
            click.echo(line)
    for action, result in zip(actions, results, strict=False):
        verified = {True: ", verified", False: ", NOT verified", None: ", not verified"}[result.verified]
        click.echo(f"{result.outcome.upper()}{verified}: {action.step}: {clean(result.text)}", err=True)
    for action in actions[len(results) :] if results else ():
        click.echo(f"not done: {action.step}", err=True)


def _content(scenario: Scenario, actions: tuple[Action, ...], results: list[Result]) -> dict[str, Any]:
    done = [*results, *[None] * (len(actions) - len(results))]
    return {
        "host": scenario.rollback.host or scenario.host,
        "executed": bool(results),
        "actions": [
            {
                "step": action.step,
                "commands": lines_for(action, scenario),
                "outcome": str(result.outcome) if result is not None else None,
                "verified": result.verified if result is not None else None,
                "text": clean(result.text) if result is not None else None,
            }
            for action, result in zip(actions, done, strict=True)
        ],
    }


def _exit_code(actions: tuple[Action, ...], results: list[Result]) -> ExitCode:
    failed = next((result for result in results if result.outcome is not Outcome.DONE), None)
    if failed is None:
        return ExitCode.PASS
    if actions[0].kind == "http" and failed.text.startswith((Reason.CONNECTION, Reason.TIMEOUT)):
        return ExitCode.UNREACHABLE
    return ExitCode.FAIL
