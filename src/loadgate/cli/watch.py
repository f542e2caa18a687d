"""`loadgate watch`: probes, alerts, notifications and rollback without a load of one's own."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click
import orjson

from loadgate.cli.durations import DURATION
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.options import arm_option, host_option, json_option, results_option, set_option
from loadgate.cli.outlets import Lookout, Outlets, listening, listening_options
from loadgate.cli.watched import Attached, Attendance, Own
from loadgate.cli.watching import Watching
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.plan.plan import Plan, load_plan
from loadgate.plan.units import format_duration
from loadgate.report.alerts import summary_lines
from loadgate.report.readings import readings_line
from loadgate.store.folder import RunFolder, find_run, results_root
from loadgate.store.watch import WatchReader
from loadgate.watch.alert_summary import summary_of

_LOOK_EVERY: Final = 0.5
_TELL_EVERY: Final = 60.0
_GRAVE: Final = ("critical", "high")
"""Severities of which an alert that fired makes the command fail."""


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@host_option
@click.option(
    "--run",
    "name",
    metavar="RUN",
    help="Watch beside this run (an id, a path, or latest): one that stock Locust makes, or whose control "
    "room died. Without it there is no load.",
)
@click.option("--for", "length", type=DURATION, help="How long to watch [default: until Ctrl-C].")
@listening_options
@arm_option
@set_option
@results_option
@json_option
def watch(
    scenario: Path,
    host: str | None,
    name: str | None,
    length: float | None,
    arm: bool,
    overrides: tuple[str, ...],
    results: str | None,
    as_json: bool,
    **where: Any,
) -> int:
    """Run the probes, alert rules, notifications and rollback of SCENARIO, without its load.

    With --run it does so beside a load that is made elsewhere, until that ends; a watch that was killed is
    taken up again in the same way. Exit codes: 0, 20 when an alert of severity critical or high fired, 30
    when a probe got no reading at all or the rules could not be followed, 130 after Ctrl-C.
    """
    plan = load_plan(scenario, overrides=list(overrides), host=host)
    for warning in plan.warnings:
        click.echo(warning.line(), err=True)
    if not plan.scenario.probes and not plan.alerts:
        raise UsageError(
            f"{scenario} has neither probes nor alerts, so there is nothing to watch",
            hint='add [[probes]], or alerts = "alerts/staging.toml"',
        )
    root = results_root(results, scenario)
    with (
        closing(Outlets(plan, listening(where), lambda text: click.echo(text, err=True))) as outlets,
        Interrupts().caught() as interrupts,
    ):
        attendance = _attendance(plan, root, name)
        interrupts.count_only()
        outlets.begin(attendance.folder, has_load=attendance.has_load, is_ours=not attendance.has_load)
        try:
            blind = _watch(plan, attendance, interrupts, outlets, arm=arm, length=length)
        finally:
            attendance.close(interrupted=interrupts.count > 0)
    interrupted = interrupts.count > 0
    return tell_what_was_seen(attendance.folder, interrupted=interrupted, as_json=as_json, blind=blind)


def _attendance(plan: Plan, root: Path, name: str | None) -> Attendance:
    """Make a run of our own, take one of ours up again, or join another's."""
    if name is None:
        return Own.new(plan, root)
    folder = find_run(root, name)
    return Own.again(folder) if Own.left(folder) else Attached(plan, folder)


def _watch(
    plan: Plan,
    attendance: Attendance,
    interrupts: Interrupts,
    outlets: Outlets,
    *,
    arm: bool,
    length: float | None,
) -> str:
    """Watch to the end; return why the alert rules could not be followed to the last, or nothing."""
    watching = Watching(
        plan, attendance.folder, arm=arm, stop_load=attendance.stop_load, has_load=attendance.has_load
    )
    lookout = Lookout(plan, attendance.folder, outlets, has_load=attendance.has_load)
    try:
        anchor = attendance.wait_for_anchor(lambda: interrupts.count > 0)
        if anchor is None:
            return "the run ended before it began"
        watching.begin(anchor)
        click.echo(_what(plan, attendance, arm=arm), err=True)
        ends = time.monotonic() + length if length is not None else float("inf")
        tell_at = time.monotonic() + min(
            _TELL_EVERY, min((p.every for p in plan.scenario.probes), default=60)
        )
        while time.monotonic() < ends and not interrupts.count and not attendance.over():
            watching.look()
            lookout.look(watching.latest(), watching.standing, time.monotonic() - anchor)
            if time.monotonic() >= tell_at:
                tell_at = time.monotonic() + _TELL_EVERY
                at = format_duration(round(time.monotonic() - anchor))
                click.echo(f"{at}  {readings_line(watching.latest(), watching.standing)}", err=True)
            time.sleep(max(0.0, min(_LOOK_EVERY, ends - time.monotonic())))
        watching.stop_probes()
        attendance.settle(time.monotonic() - anchor, interrupted=interrupts.count > 0)
    finally:
        lookout.close()
        watching.end()
    return watching.blind


def _what(plan: Plan, attendance: Attendance, *, arm: bool) -> str:
    probes = ", ".join(probe.name for probe in plan.scenario.probes) or "none"
    armed = "armed" if arm else "not armed"
    return (
        f"watching {plan.scenario.host}, run {attendance.folder.path}: probes {probes}; "
        f"{len(plan.alerts)} alert rule(s), {armed}; Ctrl-C ends it"
    )


def tell_what_was_seen(folder: RunFolder, *, interrupted: bool, as_json: bool, blind: str = "") -> int:
    """Print what a watch saw, and return the exit code; `blind` says why it may not have seen all."""
    with WatchReader(folder.watch_database) as reader:
        alerts = summary_of(reader.alerts())
        readings = reader.readings()
        actions = [_action(stage) for stage in reader.actions() if stage.stage == "result"]
    seen = {reading.probe for reading in readings if reading.value is not None}
    silent = sorted({reading.probe for reading in readings} - seen)
    code = _code(alerts, whole=bool(seen) and not silent and not blind, interrupted=interrupted)
    if as_json:
        content = {
            "run": folder.id,
            "alerts": alerts,
            "actions": actions,
            "readings": bool(seen),
            "silent_probes": silent,
            "blind": blind,
            "exit_code": int(code),
        }
        sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        return int(code)
    for line in summary_lines(alerts) or ["no alert fired"]:
        click.echo(line)
    for action in actions:
        click.echo(f"action {action['step']}: {action['outcome']}: {action['text']}")
    if not seen:
        click.echo("no probe got any reading: see that the target can be reached", err=True)
    elif silent:
        click.echo(f"no reading of {', '.join(silent)}: what it would have shown is not known", err=True)
    if blind:
        click.echo(f"the alert rules were not followed to the last: {blind}", err=True)
    return int(code)


def _action(stage: Any) -> dict[str, Any]:
    detail = stage.detail
    return {
        "at": stage.at,
        "step": stage.step,
        "outcome": detail.get("outcome"),
        "text": detail.get("text", ""),
        "verified": detail.get("verified"),
    }


def _code(alerts: list[dict[str, Any]], *, whole: bool, interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if any(alert["severity"] in _GRAVE for alert in alerts):
        return ExitCode.FAIL
    return ExitCode.PASS if whole else ExitCode.INVALID
