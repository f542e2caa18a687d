"""How a run ends, as the control room sees it: asked to by somebody, or as its master wrote it down."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import click

from loadgate.errors import GeneratorError, LoadgateError, StoreError
from loadgate.exit_codes import ExitCode
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder
from loadgate.store.requests import ask_to_stop, is_asked_to_stop, process_of
from loadgate.swarm.launch import Generator


def passes_on_stop(generator: Generator) -> bool:
    """Tell whether somebody asks the master to end the run, and pass on to it what we were asked instead."""
    master, folder = process_of(generator.master.pid), generator.folder
    if is_asked_to_stop(folder):
        with suppress(StoreError):
            ask_to_stop(folder, master, datetime.now(UTC).isoformat(timespec="milliseconds"))
    return is_asked_to_stop(folder, master.pid)


def how_it_ended(folder: RunFolder) -> str | None:
    """Return how the run ended as its master wrote it down; None while it has not, or cannot be read."""
    with suppress(LoadgateError), RunReader(folder.database) as reader:
        ended: str | None = reader.value("ended", None)
        return ended
    return None


def is_kept(generator: Generator) -> bool:
    """Tell whether the generator's master has begun the run, or taken it up; also where nobody can tell."""
    with suppress(LoadgateError), RunReader(generator.folder.database) as reader:
        return bool(reader.value("pid", None) == generator.master.pid)
    return True


def tell_fault(folder: RunFolder) -> None:
    """Say why the master ended the run; GeneratorError with its exit code when the load never began."""
    with suppress(StoreError), RunReader(folder.database) as reader:
        fault, began = reader.value("fault", None), reader.value("anchor", None) is not None
        if fault and began:
            click.echo(f"the run could not go on: {fault}", err=True)
        elif fault:
            error = GeneratorError(fault, hint=reader.value("fault_hint", "") or f"see {folder.logs}")
            error.exit_code = ExitCode(reader.value("fault_exit_code", int(ExitCode.INTERNAL)))
            raise error
