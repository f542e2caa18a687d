"""`loadgate alerts`: list and explain alert rules, and test them against series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from loadgate.cli.options import json_option, results_option
from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.plan.explain_alerts import explain_rule, render_rules
from loadgate.plan.rules import Rules, is_rules_file, load_rules, rules_for
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import UnitError, format_duration
from loadgate.report.alerts import listing, timeline
from loadgate.store.folder import RunFolder, find_run, results_root
from loadgate.store.watch import AlertChange, Dropped, WatchReader
from loadgate.watch.alert_cases import TOLD, differences, points_of, read_given, say
from loadgate.watch.alert_feed import replay, stored_plan
from loadgate.watch.alert_summary import summary_of

FILE = click.Path(path_type=Path)
scenario_option = click.option(
    "--scenario", type=FILE, help="The scenario that the rules are for: its SLA table, probes and length."
)


@click.group()
def alerts() -> None:
    """List and explain alert rules, and test them against recorded or hand-written series."""


@alerts.command("list")
@click.argument("rules", metavar="RULES|SCENARIO", type=FILE)
@scenario_option
@json_option
def list_command(rules: Path, scenario: Path | None, as_json: bool) -> int:
    """List the rules, one line each."""
    found = _load(rules, scenario)
    if as_json:
        _json(
            {
                "rules": [rule.model_dump(mode="json", by_alias=True) for rule in found.rules],
                "left_out": dict(found.left_out),
            }
        )
    else:
        click.echo("\n".join(listing(found.rules, found.left_out)))
    return ExitCode.PASS


@alerts.command()
@click.argument("rules", metavar="RULES|SCENARIO", type=FILE)
@scenario_option
@json_option
def explain(rules: Path, scenario: Path | None, as_json: bool) -> int:
    """Say each rule in words: what it measures, when it fires, when it is over, and what happens then."""
    found = _load(rules, scenario)
    told = [explain_rule(rule, found.timeline) for rule in found.rules]
    if as_json:
        _json({"rules": [rule.as_dict() for rule in told], "left_out": dict(found.left_out)})
    else:
        click.echo(render_rules(told, found.left_out))
    return ExitCode.PASS


@alerts.command()
@click.argument("rules", metavar="RULES|SCENARIO", type=FILE)
@click.argument("series")
@scenario_option
@results_option
@json_option
def test(rules: Path, series: str, scenario: Path | None, results: str | None, as_json: bool) -> int:
    """Check the rules against SERIES: a run, or a file of hand-written values (.toml or .csv).

    Prints what the rules say, and when. A TOML file says what it expects; of a run that had these rules,
    what they said while it ran is expected. Exit status: 0 when all is as expected, 20 when it is not.
    """
    path = Path(series)
    if path.suffix in (".toml", ".csv"):
        outcome = _of_file(rules, path, scenario)
    else:
        outcome = _of_run(rules, find_run(results_root(results, scenario), series), scenario)
    if as_json:
        _json(outcome.as_dict())
    else:
        outcome.print()
    return ExitCode.FAIL if outcome.wrong else ExitCode.PASS


@dataclass(frozen=True)
class Outcome:
    """What the rules said, what of it is wrong, and what it was held against (nothing: None)."""

    changes: Sequence[AlertChange]
    against: str | None
    wrong: Sequence[str] = ()
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        changes = [
            {"at": one.at, "alert": one.rule, "severity": one.severity, "state": one.state}
            | {"value": one.value, "detail": dict(one.detail)}
            for one in self.changes
        ]
        return {
            "as_expected": None if self.against is None else not self.wrong,
            "against": self.against,
            "differences": list(self.wrong),
            "notes": list(self.notes),
            "changes": changes,
            "alerts": summary_of(self.changes),
        }

    def print(self) -> None:
        """Print the timeline to standard output, and everything else to standard error."""
        for line in timeline(self.changes):
            click.echo(line)
        for line in [*self.notes, *self.wrong]:
            click.echo(line, err=True)
        if self.against is not None:
            click.echo(f"{'not ' if self.wrong else ''}as expected by {self.against}", err=True)


def _of_file(rules: Path, path: Path, scenario: Path | None) -> Outcome:
    given = read_given(path)
    found = _load(rules, scenario or given.scenario)
    _refuse_unknown(found, [one.alert for one in given.expected or ()])
    try:
        changes = say(found.rules, given, found.timeline or Timeline.open_ended())
    except UnitError as error:
        raise UsageError(error.message, hint=error.hint) from error
    notes = [
        f"no series for {rule.name}: it takes {rule.subject.name}"
        for rule in found.rules
        if not points_of(rule.subject, given)
    ]
    if given.expected is None:
        return Outcome(changes, None, notes=[*notes, f"{path} expects nothing, so nothing was checked"])
    return Outcome(changes, str(path), differences(changes, given.expected), notes)


def _refuse_unknown(found: Rules, names: Sequence[str]) -> None:
    """Refuse an expectation of a rule that is not there: it could never come true."""
    known = {rule.name for rule in found.rules}
    for name in names:
        if name not in known:
            reason = dict(found.left_out).get(name)
            why = f"is left out, because {reason}" if reason else "is not among the rules"
            raise UsageError(f"rule '{name}' {why}", hint=f"rules: {', '.join(sorted(known))}")


def _of_run(rules: Path, folder: RunFolder, scenario: Path | None) -> Outcome:
    plan = stored_plan(folder)
    if scenario is None and is_rules_file(rules):
        chosen = rules_for(rules, plan).rules
    else:
        chosen = _load(rules, scenario).rules
    unread: dict[str, list[str]] = {}
    changes = replay(folder, chosen, plan, unread)
    notes = [text for texts in unread.values() for text in texts]
    nothing = ""
    if chosen != plan.alerts:
        nothing = "the run had other rules, so there is nothing to hold this against"
    elif not folder.watch_database.exists():
        nothing = "nobody watched the run, so there is nothing to hold this against"
    if nothing:
        return Outcome(changes, None, notes=[*notes, nothing])
    with WatchReader(folder.watch_database) as reader:
        said, dropped = reader.alerts(), {one.name: one for one in reader.dropped() if one.kind == "changes"}
    notes += [
        f"{one.n} earlier changes of rule '{one.name}' are not kept: there were too many"
        for one in dropped.values()
    ]
    # What was said of a time that cannot be told any more, or is not kept, is neither right nor wrong.
    told = [one for one in changes if one.rule not in unread and not _is_dropped(one, dropped)]
    known = [one for one in said if one.rule not in unread and not _is_dropped(one, dropped)]
    return Outcome(changes, f"what run {folder.id} was told", _unlike(told, known), notes)


def _is_dropped(change: AlertChange, dropped: Mapping[str, Dropped]) -> bool:
    found = dropped.get(change.rule)
    return found is not None and change.at <= found.until


def _unlike(changes: Sequence[AlertChange], said: Sequence[AlertChange]) -> list[str]:
    """Return how a replay differs from what was said while the run went on."""
    now = {(one.rule, one.state, round(one.at, 3)) for one in changes if one.state in TOLD}
    then = {(one.rule, one.state, round(one.at, 3)) for one in said if one.state in TOLD}
    more = [f"was said, but the stored series does not say so: {_text(one)}" for one in sorted(then - now)]
    less = [f"the stored series says so, but it was not said: {_text(one)}" for one in sorted(now - then)]
    return more + less


def _text(key: tuple[str, str, float]) -> str:
    rule, state, at = key
    return f"{rule} {state} at {format_duration(at)}"


def _load(rules: Path, scenario: Path | None) -> Rules:
    """Read rules, and tell the warnings of their scenario."""
    found = load_rules(rules, scenario)
    for warning in found.warnings:
        click.echo(warning.line(), err=True)
    return found


def _json(value: object) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
