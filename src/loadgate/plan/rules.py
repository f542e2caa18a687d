"""Alert rules for a command: of a rules file, of a scenario, or of the two together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from loadgate.plan.alert_files import RulesFile, looks_like_rules, needs_scenario, read_rules
from loadgate.plan.alerts import AlertRule
from loadgate.plan.checks_alerts import Against, resolve
from loadgate.plan.draft import read_draft
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.reading import read_toml
from loadgate.plan.timeline import Timeline


@dataclass(frozen=True)
class Rules:
    """The rules of a run: `left_out` are those without a part in it, with the reasons.

    `timeline` is that of the run, None where no scenario says it.
    """

    rules: tuple[AlertRule, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    timeline: Timeline | None = None
    warnings: tuple[Problem, ...] = ()


def load_rules(path: Path, scenario: Path | None = None) -> Rules:
    """Read the rules of a file for a scenario, or those of a scenario; raise PlanError with every problem.

    A rules file alone will do where no rule points at the SLA table or follows the length of the run.
    """
    if not is_rules_file(path):
        if scenario is not None:
            hint = "name the rules file first, or leave --scenario out"
            raise PlanError([Problem(str(path), "", "is a scenario, and --scenario names another", hint)])
        return _of_scenario(path, ())
    if scenario is None:
        return _alone(path)
    value = orjson.dumps(os.path.abspath(path)).decode()
    return _of_scenario(scenario, (f"alerts={value}",))


def rules_for(path: Path, plan: Plan) -> Rules:
    """Read the rules of a file for a run that has a plan; raise PlanError with every problem."""
    found = _read(path)
    scenario = plan.scenario
    against = Against(
        rows=plan.objectives,
        probes=scenario.probes,
        traffic=scenario.traffic,
        timeline=plan.timeline,
        policy=scenario.verdict,
        rollback=scenario.rollback,
    )
    return _resolved(found, against)


def is_rules_file(path: Path) -> bool:
    """Tell a rules file from a scenario; PlanError when it cannot be read."""
    raw, fault = read_toml(path, str(path))
    if fault is not None:
        raise PlanError([fault])
    return raw is not None and looks_like_rules(raw)


def _of_scenario(path: Path, overrides: tuple[str, ...]) -> Rules:
    draft = read_draft(path, overrides=overrides)
    problems = list(draft.problems)
    if draft.scenario is not None and draft.scenario.alerts is None:
        hint = 'name them: alerts = "alerts/staging.toml"'
        problems.append(Problem(str(path), "alerts", "the scenario has no alert rules", hint))
    if draft.scenario is None or any(problem.is_error for problem in problems):
        raise PlanError(problems)
    return Rules(draft.alerts, draft.alerts_left_out, Timeline.of(draft.scenario), tuple(problems))


def _alone(path: Path) -> Rules:
    found = _read(path)
    hint = "name the scenario with --scenario"
    problems = [
        Problem(str(path), f"alert[{index}]", f"'{entry.name}' takes its numbers from a scenario", hint)
        for index, entry in found.entries
        if needs_scenario(entry)
    ]
    if problems:
        raise PlanError(problems)
    return _resolved(found, Against(rows=None, probes=None))


def _read(path: Path) -> RulesFile:
    found = read_rules(path, str(path))
    if any(problem.is_error for problem in found.problems):
        raise PlanError(found.problems)
    return found


def _resolved(found: RulesFile, against: Against) -> Rules:
    resolved = resolve(found, against)
    problems = [*found.problems, *resolved.problems]
    if any(problem.is_error for problem in problems):
        raise PlanError(problems)
    return Rules(tuple(resolved.rules), tuple(resolved.left_out), against.timeline, tuple(problems))
