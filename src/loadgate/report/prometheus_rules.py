"""Alert rules for Prometheus, made from an SLA table, over the metrics that a run exposes.

Each row gives one rule for its alert threshold and, where it has one, another for its target. A row is asked
in its own windows where the metrics allow that: p50, p95 and p99 of the response time as exact percentiles of
the last 10 seconds, shares and rates over the row's `every`. Any other row is asked by what the run so far
would be judged by. Rules that watch the run itself come last. They page people; they decide nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from loadgate.measure.window import ALL
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration

SHORTEST_WINDOW: Final = 30
"""Seconds over which a rate is taken at least: six scrapes of the shipped configuration."""
QUANTILES: Final = {5000: "0.5", 9500: "0.95", 9900: "0.99"}
_WORSE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_STEADY: Final = 'on(instance) (loadgate_run_phase{phase="steady"} == 1)'


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule; `held` in seconds."""

    name: str
    expr: str
    held: float
    severity: str
    summary: str
    objective: str = ""


RUN_RULES: Final = (
    Rule(
        "LoadgateObjectiveFails",
        'loadgate_objective_state{state="FAIL"} == 1',
        0,
        "critical",
        "The run so far fails {{ $labels.objective }}.",
    ),
    Rule(
        "LoadgateObjectiveWithoutEvidence",
        'loadgate_objective_state{state="INVALID"} == 1',
        60,
        "warning",
        "{{ $labels.objective }} has no evidence: no data, or a silent source.",
    ),
    Rule(
        "LoadgateAlertFires",
        "loadgate_alert_firing == 1",
        0,
        "warning",
        "The run's own alert rule {{ $labels.rule }} ({{ $labels.severity }}) is firing.",
    ),
    Rule(
        "LoadgateNothingMeasured",
        "loadgate_run_time_seconds - loadgate_measured_until_seconds > 15",
        15,
        "critical",
        "No worker has told what it measured for {{ $value }} s: what is shown is old.",
    ),
    Rule(
        "LoadgateWorkersMissing",
        'loadgate_workers{state="reporting"} < on(instance) loadgate_workers_expected',
        15,
        "critical",
        "Only {{ $value }} of the planned workers report.",
    ),
)
"""Rules of every run, whatever its SLA table."""


def rules_of(objectives: Sequence[Objective]) -> list[Rule]:
    """Return the rules of an SLA table, then those of every run."""
    return [*(rule for row in objectives for rule in _rules(row)), *RUN_RULES]


def render_rules(objectives: Sequence[Objective], source: str) -> str:
    """Write the rules as a rule file of Prometheus (YAML); `source` names the SLA table at its top."""
    lines = [
        f"# Alert rules for Prometheus, made from {source} by `loadgate metrics rules`.",
        "# Do not edit it: make it again.",
        "# yamllint disable rule:line-length",
        "groups:",
        "  - name: loadgate",
        "    rules:",
    ]
    for rule in rules_of(objectives):
        lines += _written(rule)
    return "\n".join(lines) + "\n"


def _written(rule: Rule) -> Iterator[str]:
    yield f"      - alert: {rule.name}"
    yield f"        expr: {_quoted(rule.expr)}"
    if rule.held:
        yield (
            f"        for: {round(rule.held * 1000)}ms" if rule.held % 1 else f"        for: {rule.held:.0f}s"
        )
    yield "        labels:"
    yield f"          severity: {rule.severity}"
    if rule.objective:
        yield f"          objective: {_quoted(rule.objective)}"
    yield "        annotations:"
    yield f"          summary: {_quoted(rule.summary)}"


def _quoted(text: str) -> str:
    """Write text in double quotes, as JSON and YAML both read it."""
    return json.dumps(text, ensure_ascii=False)


def _label(text: str) -> str:
    """Write the value of a label in a query."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _literal(text: str) -> str:
    """Keep what a row is called from being read as a template."""
    return text.replace("{{", "{ {").replace("}}", "} }")


def _rules(row: Objective) -> Iterator[Rule]:
    past = row.alert
    missed = _asked(row, f"{_WORSE[row.target.op]} {_number(row.target)}", retried=True)
    told = f"past its alert threshold {past.text}" if past is not None else f"not {row.target.text}"
    where = f"{_literal(row.name)}{f' {row.statistic}' if row.statistic else ''}"
    for_text = format_duration(row.for_)
    yield Rule(
        "LoadgateObjectivePastAlert" if past is not None else "LoadgateObjectiveMissed",
        f"({_asked(row, f'{past.op} {_number(past)}') if past is not None else missed}) and {_STEADY}",
        row.for_,
        "critical",
        f"{where} is {told} for {for_text}: {{{{ $value }}}}.",
        row.name,
    )
    if past is not None:
        yield Rule(
            "LoadgateObjectiveMissed",
            f"({missed}) and {_STEADY}",
            row.for_,
            "warning",
            f"{where} is not {row.target.text} for {for_text}: {{{{ $value }}}}.",
            row.name,
        )


def _asked(row: Objective, limit: str, *, retried: bool = False) -> str:
    """Return the query that asks whether a row is past a limit; `retried` counts retries as errors.

    An error rate must be no milder than the judged row: a retry keeps that from passing, though it fails no
    row, and what the run so far has lost stays in it, however long ago. Where nothing ended in the window
    the rate has no value, and that of the run so far answers alone.
    """
    if row.metric != "error_rate":
        return f"{_value(row)} {limit}"
    so_far = f"max by (instance) (loadgate_objective_value{{objective={_label(row.name)}}})"
    return f"{_errors(row, retried=retried)} {limit} or {so_far} {limit}"


def _errors(row: Objective, *, retried: bool) -> str:
    """Return the query of the share of errors in a row's window."""
    ok = _rate(row, "loadgate_requests_total", 'outcome="ok"')
    if retried:
        ok = f"clamp_min({ok} - {_rate(row, 'loadgate_retries_total')}, 0)"
    return f"1 - {ok} / {_rate(row, 'loadgate_requests_total')}"


def _value(row: Objective) -> str:
    """Return the query of a row's value."""
    if row.metric == "response_time" and row.latency_on == "adjusted" and row.rank in QUANTILES:
        return (
            f"loadgate_response_recent_seconds{{endpoint={_label(row.endpoint or ALL)},"
            f'quantile="{QUANTILES[row.rank]}"}}'
        )
    if row.metric == "throughput":
        return _rate(row, "loadgate_requests_total", 'outcome="ok"')
    if row.metric == "cache_hit_rate":
        hits = _rate(row, "loadgate_cache_repeats_total", 'result="hit"')
        return f"{hits} / {_rate(row, 'loadgate_cache_repeats_total')}"
    return f"loadgate_objective_value{{objective={_label(row.name)}}}"


def _rate(row: Objective, name: str, *more: str) -> str:
    """Return the rate of a counter over a row's window, summed up for each run that is scraped."""
    labels = [*([f"endpoint={_label(row.endpoint)}"] if row.endpoint else []), *more]
    window = max(SHORTEST_WINDOW, round(row.every))
    return f"sum by (instance) (rate({name}{{{','.join(labels)}}}[{window}s]))"


def _number(limit: Limit) -> str:
    return f"{limit.value:.15g}"
