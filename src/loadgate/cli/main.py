"""The `loadgate` command: its groups, and the one place where an error becomes an exit code."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

import click

from loadgate import __version__
from loadgate.cli.output import keep_going
from loadgate.errors import LoadgateError
from loadgate.exit_codes import ExitCode

COMMANDS = {
    "alerts": "loadgate.cli.alerts:alerts",
    "annotate": "loadgate.cli.annotate:annotate",
    "baseline": "loadgate.cli.baseline:baseline",
    "calibrate": "loadgate.cli.calibrate:calibrate",
    "campaign": "loadgate.cli.campaign:campaign",
    "compare": "loadgate.cli.compare:compare",
    "demo": "loadgate.cli.demo:demo",
    "explain": "loadgate.cli.plans:explain",
    "export": "loadgate.cli.report:export",
    "gate": "loadgate.cli.gate:gate",
    "init": "loadgate.cli.init:init",
    "metrics": "loadgate.cli.metrics:metrics",
    "notify": "loadgate.cli.notify:notify",
    "report": "loadgate.cli.html_report:report",
    "resume": "loadgate.cli.resume:resume",
    "rollback": "loadgate.cli.rollback:rollback",
    "run": "loadgate.cli.run:run",
    "runs": "loadgate.cli.runs:runs",
    "selftest": "loadgate.cli.selftest:selftest",
    "smoke": "loadgate.cli.smoke:smoke",
    "soak": "loadgate.cli.soak:soak",
    "staging": "loadgate.cli.staging:staging",
    "status": "loadgate.cli.status:status",
    "stop": "loadgate.cli.stop:stop",
    "completion": "loadgate.cli.completion:completion",
    "validate": "loadgate.cli.plans:validate",
    "verdict": "loadgate.cli.runs:verdict",
    "watch": "loadgate.cli.watch:watch",
    "worker": "loadgate.cli.worker:worker",
}
"""Where each command lives; it is imported at its use, so that no command waits for another's imports."""


class LazyGroup(click.Group):
    """Import a command at its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List every command, without importing any."""
        return sorted(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import one command."""
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        module, name = home.split(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="loadgate")
def cli() -> None:
    """Put a service under a load it can defend, measure it without lying, and say PASS or FAIL.

    \b
    Start here:
      loadgate demo                 the main job against the reference staging service
      loadgate init DIR             a folder with scenarios and locustfiles of your own
      loadgate run SCENARIO --host URL
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    keep_going()
    code = int(run_cli(arguments))
    # A KeyboardInterrupt that came while a string was executed, as dataclasses do, makes Python end by SIGINT
    # whatever the exit code, though it was caught. Executing another string takes that back.
    exec("")
    sys.exit(code)


def run_cli(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code. Every error is told on standard error."""
    try:
        code: Any = cli.main(args=arguments, prog_name="loadgate", standalone_mode=False)
    except click.exceptions.Abort:
        # What click makes of a KeyboardInterrupt.
        click.echo("loadgate: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except LoadgateError as error:
        tell(error)
        return error.exit_code
    except Exception:  # noqa: BLE001 - the last line of defence: a fault of Loadgate's own
        traceback.print_exc()
        click.echo("loadgate: this is a fault in Loadgate itself; please report the lines above", err=True)
        return ExitCode.INTERNAL
    return code if isinstance(code, int) else ExitCode.PASS


def tell(error: LoadgateError) -> None:
    """Say on standard error what failed and what to do about it; of a plan, everything that is wrong."""
    from loadgate.plan.problems import PlanError

    if isinstance(error, PlanError):
        for problem in error.problems:
            click.echo(problem.line(), err=True)
        return
    click.echo(f"loadgate: {error.message}", err=True)
    for line in error.hint.splitlines():
        click.echo(f"  {line}", err=True)
