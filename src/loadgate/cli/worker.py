"""`loadgate worker`: make load for a master on another host."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from loadgate.cli.durations import DURATION
from loadgate.errors import UsageError
from loadgate.swarm.address import DEFAULT_PORT, parse_address
from loadgate.swarm.ask import ask_master
from loadgate.swarm.inspect import generator_environment
from loadgate.swarm.secret import secret_for


@click.command()
@click.option(
    "--master", required=True, metavar="HOST[:PORT]", help=f"The master; port {DEFAULT_PORT} unless given."
)
@click.option(
    "--locustfile",
    type=click.Path(path_type=Path),
    help="The traffic [default: what the master runs, found in this project].",
)
@click.option(
    "--wait",
    "within",
    type=DURATION,
    default="60s",
    show_default=True,
    help="How long to try to reach the master.",
)
@click.option("--processes", type=click.IntRange(1, 64), help="How many workers to start: one a core.")
def worker(master: str, locustfile: Path | None, within: float, processes: int | None) -> None:
    """Make load for a master: `loadgate run SCENARIO --distributed`, or stock `locust --master`.

    The same files have to be here as on the master, and the same LOADGATE_SECRET (or LOADGATE_SECRET_FILE) in
    the environment; on loopback none is needed. It ends with the master's run. Exit code 40: the master could
    not be reached.
    """
    host, port = parse_address(master)
    secret = secret_for(host, os.environ)
    found = ask_master(host, port, secret, within=within, tell=lambda text: click.echo(text, err=True))
    path = _locustfile(locustfile, str(found.get("locustfile", "")))
    click.echo(
        f"worker of the master at {host}:{port}, run {found.get('run') or 'not begun'}: {path}", err=True
    )
    command = [sys.executable, "-m", "locust", "-f", str(path), "--loglevel", "INFO"]
    command += ["--worker", "--master-host", host, "--master-port", str(port)]
    if processes is not None and processes > 1:
        command += ["--processes", str(processes)]
    environment = generator_environment() | {"LOADGATE_CONNECT_WITHIN": str(within)}
    # Locust reads locust.conf and pyproject.toml of the current folder without being asked.
    os.chdir("/")
    os.execve(sys.executable, command, environment)


def _locustfile(given: Path | None, told: str) -> Path:
    """Return the locustfile to run: the one that was named, or the master's as it lies in this project."""
    if given is not None:
        if not given.is_file():
            raise UsageError(
                f"there is no locustfile {given}", hint="name an existing file with --locustfile"
            )
        return given.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if told and (folder / told).is_file():
            return (folder / told).resolve()
    raise UsageError(
        f"the master's locustfile {told or '(none)'} is not found from {here} upwards",
        hint="run this in a copy of the master's project, or name the file with --locustfile",
    )
