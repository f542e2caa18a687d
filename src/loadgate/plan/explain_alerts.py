"""Say each alert rule in words: what it measures, when it fires, when it is over, and what happens then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from loadgate.plan.alerts import PHASE_NAMES, AlertRule
from loadgate.plan.explain import WIDTH, plural
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import format_duration, format_share


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """One rule in words; `note` says why it cannot fire in the planned run, where it cannot."""

    name: str
    severity: str
    when: str
    summary: str
    measures: str
    fires: str
    clears: str
    no_data: str
    then: str
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def explain_rule(rule: AlertRule, timeline: Timeline | None = None) -> ExplainedRule:
    """Say one rule in words; with a timeline, also whether the planned run is long enough for it."""
    return ExplainedRule(
        name=rule.name,
        severity=rule.severity,
        when=rule.when,
        summary=rule.summary,
        measures=_measures(rule),
        fires=_fires(rule),
        clears=_clears(rule),
        no_data=_no_data(rule),
        then=f"In a run that is armed: {', '.join(rule.on_fire)}." if rule.on_fire else "",
        note=_note(rule, timeline),
    )


def _measures(rule: AlertRule) -> str:
    every, where = format_duration(rule.every), _where(rule)
    if rule.burn is not None:
        bad = "requests without an acceptable answer"
        if rule.subject.metric == "cache_hit_rate":
            bad = "repeated requests that the cache does not answer"
        if rule.burn.over is not None:
            bad = f"requests with {rule.burn.over.text}"
        of = f" of {rule.subject.endpoint}" if rule.subject.endpoint else ""
        return (
            f"How fast {bad}{of} use up the {format_share(rule.burn.budget)} of them that the whole run may "
            f"have, worked out every {every} {where}."
        )
    subject = rule.subject
    what = " ".join(part for part in ("the", subject.statistic, subject.metric) if part)
    what += f" of {subject.endpoint}" if subject.endpoint else " of all endpoints together"
    if not rule.subject.of_requests:
        reading = f"{rule.subject.probe}.{rule.subject.reading}" if rule.subject.probe else subject.metric
        what = f"the worst reading of {reading}"
        if rule.subject.metric == "uptime":
            what = f"the share of good readings of {reading}"
        what += ", of all cores that the target may use" if rule.subject.per_core else ""
    few = f", of at least {rule.at_least}" if rule.at_least > 1 else ""
    return f"{what[0].upper()}{what[1:]}{few}, in windows of {every} {where}."


def _where(rule: AlertRule) -> str:
    phases = rule.phases or PHASE_NAMES
    where = "of the whole run"
    if phases != PHASE_NAMES:
        where = f"of the {' and '.join(phases)} {plural('phase', len(phases))}"
    if rule.excluded:
        parts = (f"{format_duration(low)} to {format_duration(high)}" for low, high in rule.excluded)
        where += f" but not from run time {', '.join(parts)}"
    return where


def _fires(rule: AlertRule) -> str:
    lasting = f" for {format_duration(rule.for_)}" if rule.for_ > rule.every else ""
    if rule.burn is not None:
        reaches = "the burn reaches " + ", or ".join(pair.text for pair in rule.burn.pairs)
        return f"Once{lasting} {reaches}." if lasting else f"As soon as {reaches}."
    limit = rule.limit.text if rule.limit is not None else ""
    return f"Once every window with data{lasting} has {limit}." if lasting else f"As soon as one has {limit}."


def _clears(rule: AlertRule) -> str:
    what = f"has {rule.clear.text}" if rule.clear is not None else "does not reach it"
    text = f"As soon as one {what}."
    if rule.keep_firing_for > rule.every:
        text = f"Once every window with data for {format_duration(rule.keep_firing_for)} {what}."
    if rule.flaps is not None:
        times, within = rule.flaps
        text += (
            f" From {times} firings within {format_duration(within)} on it is told once as flapping, and "
            "then not until it has been calm for that long."
        )
    return text


def _no_data(rule: AlertRule) -> str:
    return {
        "hold": "Neither fires nor resolves it, and stops its timers.",
        "fire": "Counts as a violation.",
        "resolve": "Counts as clear.",
    }[rule.no_data]


def _note(rule: AlertRule, timeline: Timeline | None) -> str:
    if timeline is None:
        return ""
    seconds = timeline.end
    if rule.phases:
        seconds = sum(timeline.seconds(phase) for phase in rule.phases if phase != "drain")
    needed = max(rule.for_, min(rule.every, seconds))
    if rule.for_ > 0 and seconds < needed:
        has = format_duration(round(seconds, 3))
        return f"The planned run has {has} of that, so the rule cannot fire in it."
    return ""


def render_rules(
    rules: Sequence[ExplainedRule], left_out: Sequence[tuple[str, str]] = (), width: int = WIDTH
) -> str:
    """Write rules for people, at most `width` columns wide; `left_out` are names with reasons."""
    lines = [f"{len(rules)} alert {plural('rule', len(rules))}"]
    for number, rule in enumerate(rules, 1):
        lines += ["", f"{number}. {rule.name} ({rule.severity}): {rule.when}"]
        entries = (
            ("Means", rule.summary),
            ("Measures", rule.measures),
            ("Fires", rule.fires),
            ("Clears", rule.clears),
            ("No data", rule.no_data),
            ("Then", rule.then),
            ("Note", rule.note),
        )
        lines += [
            fill(text, width, initial_indent=f"   {label:<9} ", subsequent_indent=" " * 13)
            for label, text in entries
            if text
        ]
    for name, reason in left_out:
        lines += ["", fill(f"Left out of this run: {name}, because {reason}", width, subsequent_indent="  ")]
    return "\n".join(lines)
