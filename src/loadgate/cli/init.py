"""`loadgate init`: start a folder of one's own from the shipped scenarios and locustfiles."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from loadgate.cli.templates import templates
from loadgate.errors import UsageError


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Copy the shipped scenarios, SLA table and locustfiles into DIRECTORY.

    Files that are already there are never overwritten: if one is in the way, nothing is copied.
    """
    source = templates()
    wanted = [
        path.relative_to(source)
        for folder in ("locustfiles", "scenarios")
        for path in sorted((source / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    taken = [path for path in wanted if (directory / path).exists()]
    if taken:
        raise UsageError(
            f"{directory} already holds {taken[0]}" + (f" and {len(taken) - 1} more" if taken[1:] else ""),
            hint="choose an empty folder; nothing was copied",
        )
    try:
        for path in wanted:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, directory / path)
        (directory / "results").mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from error
    click.echo(f"{directory}: {len(wanted)} files")
    click.echo(
        f"Next:\n  cd {directory}\n  loadgate validate scenarios/gate.toml\n"
        "  loadgate run scenarios/gate.toml --host http://127.0.0.1:3000",
        err=True,
    )
