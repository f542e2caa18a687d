"""Check one plan file of any kind: what `loadgate validate` reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgate.plan.alert_files import looks_like_rules, read_rules
from loadgate.plan.campaign_file import describe, looks_like_campaign, read_campaign
from loadgate.plan.draft import Draft, looks_like_table, read_draft, read_table
from loadgate.plan.explain import describe_load, plural
from loadgate.plan.problems import Problem
from loadgate.plan.reading import read_toml
from loadgate.plan.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Checked:
    """What `validate` found out about one file."""

    file: str
    kind: str
    summary: str
    problems: tuple[Problem, ...]

    @property
    def good(self) -> bool:
        """Tell whether the file has no error (warnings do not count)."""
        return not any(problem.is_error for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "file": self.file,
            "kind": self.kind,
            "ok": self.good,
            "summary": self.summary,
            "problems": [problem.as_dict() for problem in self.problems],
        }


def validate_file(path: Path) -> Checked:
    """Check one plan file; its kind is recognised by its contents. Never raises for a faulty file."""
    raw, fault = read_toml(path, str(path))
    if raw is None:
        return Checked(str(path), "unknown", "", (fault,) if fault is not None else ())
    if looks_like_table(raw):
        table = read_table(path, str(path))
        count = len(table.rows)
        return Checked(
            str(path), "sla", f"SLA table, {count} {plural('objective', count)}", tuple(table.problems)
        )
    if looks_like_rules(raw):
        rules = read_rules(path, str(path))
        count = len(rules.entries)
        return Checked(
            str(path), "alerts", f"alert rules, {count} {plural('rule', count)}", tuple(rules.problems)
        )
    if looks_like_campaign(raw):
        found = read_campaign(path, str(path))
        return Checked(str(path), "campaign", describe(found), tuple(found.problems))
    if "expect" in raw:
        hint = f"try: loadgate alerts test RULES {path}"
        return Checked(
            str(path), "test", "", (Problem(str(path), "", "is a test of alert rules, not a plan", hint),)
        )
    draft = read_draft(path)
    return Checked(str(path), "scenario", _scenario_summary(draft), tuple(draft.problems))


def _scenario_summary(draft: Draft) -> str:
    """Describe a scenario in a few words; nothing when it is faulty."""
    if draft.scenario is None or any(problem.is_error for problem in draft.problems):
        return ""
    count = len(draft.judged)
    load = describe_load(draft.scenario, Timeline.of(draft.scenario))
    rules = len(draft.alerts)
    more = f", {rules} alert {plural('rule', rules)}" if rules else ""
    return f"scenario '{draft.scenario.name}': {load}; {count} {plural('objective', count)}{more}"
