"""Options that several commands share."""

from __future__ import annotations

import click

host_option = click.option("--host", metavar="URL", help="The target, for example http://127.0.0.1:3000.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one key of the scenario, for example traffic.users=200. Can be repeated.",
)
results_option = click.option(
    "--results", metavar="DIR", help="Where runs are stored [default: $LOADGATE_RESULTS, or results/]."
)
strict_option = click.option("--strict", is_flag=True, help="Exit 10 on WARN.")
arm_option = click.option(
    "--arm", is_flag=True, help="Let alerts end the load and change the target, as their on_fire says."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
