"""`loadgate metrics`: what a run tells Prometheus, and the alert rules that an SLA table makes of it."""

from __future__ import annotations

from pathlib import Path

import click

from loadgate.cli.report import put
from loadgate.plan.plan import load_sla
from loadgate.report.openmetrics_names import METRICS
from loadgate.report.prometheus_rules import render_rules
from loadgate.report.text import columns


@click.group()
def metrics() -> None:
    """Show what `--metrics-port` exposes, and make alert rules for Prometheus."""


@metrics.command("list")
def list_command() -> None:
    """List every metric with its kind, its labels and its meaning."""
    rows = [
        (metric.samples[0].removesuffix("_bucket"), metric.kind, ", ".join(metric.labels), metric.help)
        for metric in METRICS
    ]
    for line in columns(rows):
        click.echo(line)


@metrics.command("rules")
@click.argument("sla", metavar="SLA", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write [default: standard output]."
)
def rules_command(sla: Path, output: Path | None) -> None:
    """Make alert rules for Prometheus from an SLA table.

    Each row gives a rule for its alert threshold and one for its target; then come
    rules that watch the run itself.
    """
    written = render_rules(load_sla(sla), sla.name)
    if output is not None:
        put(output, written.encode())
        return
    click.echo(written, nl=False)
