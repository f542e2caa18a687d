"""Alerts in words: the timeline of what was said, and the alerts of a run in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadgate.plan.alerts import AlertRule
from loadgate.plan.units import format_duration
from loadgate.report.text import clean, columns
from loadgate.store.watch import AlertChange


def timeline(changes: Sequence[AlertChange]) -> list[str]:
    """Return a line for each change: run time, state, rule with severity, and the sentence."""
    if not changes:
        return ["no rule changed its state"]
    return columns(
        [
            (
                format_duration(change.at),
                change.state,
                f"{clean(change.rule)} ({change.severity})",
                clean(change.detail.get("text", "")),
            )
            for change in changes
        ],
        right=(0,),
    )


def summary_lines(alerts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each alert of a run, from what `summary_of` gives."""
    return [
        f"{clean(alert['rule'])} ({alert['severity']}) {_standing(alert)}: {clean(alert['text'])}"
        for alert in alerts
    ]


def _standing(alert: Mapping[str, Any]) -> str:
    """Say when an alert fired and when it was over."""
    fired = f"fired at {format_duration(alert['fired_at'])}"
    flapped = ", flapping" if alert.get("flapped") else ""
    if alert.get("resolved_at") is None:
        return f"{fired}{flapped}, still firing at the end"
    return f"{fired}{flapped}, resolved at {format_duration(alert['resolved_at'])}"


def listing(rules: Sequence[AlertRule], left_out: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each rule with its condition, limit and times; then those that are left out."""
    rows = [("rule", "severity", "when", "limit", "for", "every")]
    for rule in rules:
        held = format_duration(rule.for_) if rule.for_ else "at once"
        limit = rule.limit.text if rule.limit is not None else ""
        if rule.burn is not None:
            limit = " or ".join(f"{pair.factor:g}x/{format_duration(pair.long)}" for pair in rule.burn.pairs)
        rows.append((rule.name, rule.severity, rule.when, limit, held, format_duration(rule.every)))
    return [*columns(rows), *(f"left out: {name}: {reason}" for name, reason in left_out)]
