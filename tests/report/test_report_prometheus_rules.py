"""Alert rules for Prometheus, and the shipped dashboard: they ask for what there is, as the table says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadgate.plan.plan import load_sla
from loadgate.report.openmetrics_names import BY_NAME, SAMPLE_NAMES
from loadgate.report.prometheus_rules import RUN_RULES, render_rules, rules_of

Make = Callable[..., Any]
ROOT = Path(__file__).parents[2]
SLA = ROOT / "scenarios" / "sla" / "staging.toml"
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "loadgate.json").read_text(encoding="utf-8"))
STEADY = ' and on(instance) (loadgate_run_phase{phase="steady"} == 1)'
VALUE = 'loadgate_objective_value{objective="response_time"} >= 1'
ERRORS = 'max by (instance) (loadgate_objective_value{objective="error_rate"})'
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")


def exprs(part: Any) -> Iterator[str]:
    """Give every query of a dashboard."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from exprs(value)
    elif isinstance(part, list):
        for value in part:
            yield from exprs(value)


def labels_asked(expr: str) -> Iterator[tuple[str, str]]:
    """Give each (metric's sample name, label) that a query chooses by."""
    for name, inside in re.findall(r"\b(loadgate_\w+)\{([^}]*)\}", expr):
        for label in re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', '""', inside)):
            yield name, label


def check(folder: Path, text: str) -> str:
    """Have promtool check a rule file; return what it found, nothing where it is well."""
    path = folder / "rules.yml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, timeout=30)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_a_percentile_is_asked_of_the_last_seconds(make_objective: Make) -> None:
    """Past the alert threshold is critical, off the target a warning, each held for the row's `for`."""
    row = make_objective(endpoint="emotion", alert="> 200ms", **{"for": 90.0})
    value = 'loadgate_response_recent_seconds{endpoint="emotion",quantile="0.95"}'
    first, second = rules_of([row])[:2]
    assert (first.expr, first.held, first.severity) == (f"({value} > 0.2){STEADY}", 90.0, "critical")
    assert (second.expr, second.held, second.severity) == (f"({value} >= 0.05){STEADY}", 90.0, "warning")


def test_a_row_without_an_alert_threshold_fails_off_its_target(make_objective: Make) -> None:
    """Then worse than the target is critical, and there is one rule."""
    rules = rules_of([make_objective("error_rate", "< 1%", every=45.0)])
    ok = 'sum by (instance) (rate(loadgate_requests_total{outcome="ok"}[45s]))'
    ended = "sum by (instance) (rate(loadgate_requests_total{}[45s]))"
    retried = "sum by (instance) (rate(loadgate_retries_total{}[45s]))"
    good = f"clamp_min({ok} - {retried}, 0)"
    expr = f"(1 - {good} / {ended} >= 0.01 or {ERRORS} >= 0.01){STEADY}"
    assert (rules[0].expr, rules[0].severity) == (expr, "critical")
    assert tuple(rules[1:]) == RUN_RULES


def test_an_error_rate_is_asked_no_milder_than_it_is_judged(make_objective: Make) -> None:
    """A retry keeps the row from its target but fails nothing; the run so far decides as well."""
    past, missed = rules_of([make_objective("error_rate", "< 1%", alert="> 5%", every=45.0)])[:2]
    assert "retries" not in past.expr
    assert "loadgate_retries_total" in missed.expr
    assert past.expr.endswith(f" > 0.05 or {ERRORS} > 0.05){STEADY}")
    assert missed.expr.endswith(f" >= 0.01 or {ERRORS} >= 0.01){STEADY}")


@pytest.mark.parametrize(
    ("metric", "target", "more", "asked"),
    [
        ("throughput", ">= 1000/s", {}, '(rate(loadgate_requests_total{outcome="ok"}[30s])) < 1000'),
        ("cache_hit_rate", "> 60%", {}, "loadgate_cache_repeats_total"),
        ("memory", "< 500MB", {}, 'loadgate_objective_value{objective="memory"} >= 500000000'),
        ("response_time", "< 1s", {"statistic": "p99.9"}, VALUE),
        ("response_time", "< 1s", {"latency_on": "ok"}, VALUE),
        ("service_time", "< 1s", {}, 'loadgate_objective_value{objective="service_time"} >= 1'),
    ],
)  # fmt: skip
def test_other_rows_are_asked_by_rates_or_by_their_value(
    make_objective: Make, metric: str, target: str, more: dict[str, str], asked: str
) -> None:
    """Where the metrics have no window of the row's own, by what the run so far would be judged by."""
    assert asked in rules_of([make_objective(metric, target, **more)])[0].expr


def test_names_cannot_leave_their_place(make_objective: Make, tmp_path: Path) -> None:
    """Quotes, braces, line ends and templates in names are text, to YAML, to the query and to the alert."""
    odd = 'a"} or vector(1) # {{ .Labels }}\n\\'
    text = render_rules([make_objective(endpoint=odd, name=odd, alert="> 1s")], "t.toml")
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert rules[0]["labels"]["objective"] == odd
    assert r'endpoint="a\"} or vector(1) # {{ .Labels }}\n\\"' in rules[0]["expr"]
    assert "{{ .Labels }}" not in rules[0]["annotations"]["summary"]
    if shutil.which("promtool"):
        assert check(tmp_path, text) == ""


def test_the_shipped_rules_are_those_of_the_shipped_table() -> None:
    """Made again, they are the same, to the byte."""
    made = render_rules(load_sla(SLA), SLA.name)
    assert (DEPLOY / "prometheus" / "loadgate.rules.yml").read_text(encoding="utf-8") == made


@promtool
def test_prometheus_accepts_what_is_shipped() -> None:
    """The scrape configuration and the rules that it names, by Prometheus' own tool."""
    config = DEPLOY / "prometheus" / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_asks_for_what_there_is() -> None:
    """Of the dashboard and of the rules: each name is exposed, and has the labels that it is chosen by."""
    owners = {sample: metric for metric in BY_NAME.values() for sample in metric.samples}
    asked = [*exprs(DASHBOARD), *(rule.expr for rule in rules_of(load_sla(SLA)))]
    names = {name for expr in asked for name in re.findall(r"\bloadgate_\w+", expr)}
    assert len(names) > 20
    assert names <= SAMPLE_NAMES
    for expr in asked:
        for name, label in labels_asked(expr):
            assert label in (*owners[name].labels, "instance", "le"), f"{name} has no label {label}"


def test_the_dashboard_names_no_data_source_of_ours() -> None:
    """Every panel and query takes the one that is chosen on import, and no two panels share a place."""
    (chosen,) = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert chosen["query"] == "prometheus"
    places = set()
    for panel in DASHBOARD["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & places
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@promtool
def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """With Grafana's variables filled in, each is valid PromQL."""
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for number, expr in enumerate(sorted(set(exprs(DASHBOARD)))):
        if expr.startswith("label_values("):
            continue
        filled = expr.replace("$instance", "x").replace("$endpoint", ".+").replace("$__rate_interval", "20s")
        lines += [f"      - record: query{number}", f"        expr: {json.dumps(filled)}"]
    assert check(tmp_path, "\n".join(lines) + "\n") == ""
