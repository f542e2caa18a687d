"""`loadgate status`: how a run stands, on one screen, from any terminal."""

from __future__ import annotations

import sys

import click
import orjson

from loadgate.cli.options import json_option, results_option
from loadgate.report.status import read_status
from loadgate.report.status_lines import status_lines
from loadgate.report.text import console_for, is_terminal, symbols_for
from loadgate.store.folder import find_run, results_root
from loadgate.store.run_clock import Now


@click.command()
@click.argument("run")
@results_option
@json_option
def status(run: str, results: str | None, as_json: bool) -> None:
    """Tell how RUN stands: a run id, a path, or "latest".

    Whether it goes on and who writes it, how long it has been stable, its objectives now and over the run so
    far, its last alerts, what was lost, and the disk. It changes nothing, and the exit code is 0 when the run
    could be read: its state is in the text.
    """
    found = read_status(find_run(results_root(results, None), run), Now.read())
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(found.to_dict(), option=orjson.OPT_INDENT_2) + b"\n")
        return
    console = console_for(sys.stdout)
    width = console.width if is_terminal(sys.stdout) else None
    for line in status_lines(found, symbols_for(sys.stdout), width):
        console.print(line)
